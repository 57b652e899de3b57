//! From a model's numbers to boxes: decoding and non-maximum suppression, pure.
//!
//! The numbers are foreign: any of them may be NaN, infinite or absurd. None of that may panic, loop for long or come out.

use crate::layout::STRIDES;

/// A box with its class, in pixels of the model's input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Left, top, right, bottom.
    pub corners: [f32; 4],
    /// The class's number.
    pub class: usize,
    /// Score, 0–1.
    pub score: f32,
}

/// Overlap above which the weaker of two boxes of a class is dropped (YOLOX's own value).
pub const NMS_IOU: f32 = 0.45;

/// Suppression compares each with each; a model that fires everywhere is cut to its best ones.
const MOST_CANDIDATES: usize = 2_000;

/// Decodes YOLOX's raw grid `[N, 5 + classes]` for an input of `width` × `height` into `out`: for each cell
/// x = (o₀ + column) · stride, y likewise, w = exp(o₂) · stride, h likewise, score = o₄ · best class.
/// A tensor of another length yields nothing.
pub fn yolox_grid(
    tensor: &[f32],
    width: usize,
    height: usize,
    classes: usize,
    min_score: f32,
    out: &mut Vec<Candidate>,
) {
    out.clear();
    let columns = 5 + classes;
    if classes == 0 || tensor.len() != crate::layout::cells(width, height).saturating_mul(columns) {
        return;
    }
    let mut rows = tensor.chunks_exact(columns);
    for stride in STRIDES {
        let (across, down) = (width / stride, height / stride);
        for cell in 0..across * down {
            let Some(row) = rows.next() else { return };
            // No class can lift the score over the objectness: most cells end here.
            if row[4] < min_score || row[4].is_nan() {
                continue;
            }
            let (class, best) = best(&row[5..]);
            let score = row[4] * best;
            if score < min_score || score.is_nan() {
                continue;
            }
            let step = stride as f32;
            let (x, y) = ((row[0] + (cell % across) as f32) * step, (row[1] + (cell / across) as f32) * step);
            let (w, h) = (row[2].exp() * step, row[3].exp() * step);
            push(out, [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0], class, score);
        }
    }
}

/// Takes the outputs of a model that suppresses by itself; lists of different lengths are read to the shortest.
pub fn end_to_end(
    boxes: &[f32],
    scores: &[f32],
    labels: &[i64],
    classes: usize,
    min_score: f32,
    out: &mut Vec<Candidate>,
) {
    out.clear();
    for ((corners, score), label) in boxes.chunks_exact(4).zip(scores).zip(labels) {
        let Ok(class) = usize::try_from(*label) else { continue };
        if class < classes && *score >= min_score {
            push(out, [corners[0], corners[1], corners[2], corners[3]], class, *score);
        }
    }
    strongest_first(out);
}

fn push(out: &mut Vec<Candidate>, corners: [f32; 4], class: usize, score: f32) {
    if corners.iter().all(|c| c.is_finite()) && score.is_finite() {
        out.push(Candidate { corners, class, score: score.min(1.0) });
    }
}

fn best(scores: &[f32]) -> (usize, f32) {
    let mut best = (0, f32::MIN);
    for (class, score) in scores.iter().enumerate() {
        if *score > best.1 {
            best = (class, *score);
        }
    }
    best
}

fn strongest_first(candidates: &mut Vec<Candidate>) {
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
    candidates.truncate(MOST_CANDIDATES);
}

/// Greedy suppression per class: keeps the strongest box and drops those of its class that overlap it by more than `iou`.
/// Leaves the strongest first.
pub fn suppress(candidates: &mut Vec<Candidate>, iou: f32) {
    strongest_first(candidates);
    let mut kept = 0;
    for at in 0..candidates.len() {
        let candidate = candidates[at];
        let covered = candidates[..kept]
            .iter()
            .any(|k| k.class == candidate.class && overlap(&k.corners, &candidate.corners) > iou);
        if !covered {
            candidates[kept] = candidate;
            kept += 1;
        }
    }
    candidates.truncate(kept);
}

/// Intersection over union of two boxes; 0 for boxes without area.
pub fn overlap(a: &[f32; 4], b: &[f32; 4]) -> f32 {
    let width = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let height = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let shared = width * height;
    let area = |c: &[f32; 4]| (c[2] - c[0]).max(0.0) * (c[3] - c[1]).max(0.0);
    let joined = area(a) + area(b) - shared;
    if shared > 0.0 && joined > 0.0 { shared / joined } else { 0.0 }
}

/// Maps a box from input pixels to 0–1 of the picture: `scale` is input pixels per picture pixel (letterbox at the top
/// left), clipped to the picture. `None` if nothing of it lies inside.
pub fn to_picture(corners: &[f32; 4], scale: f32, width: usize, height: usize) -> Option<[f32; 4]> {
    let across = |v: f32| (v / scale / width as f32).clamp(0.0, 1.0);
    let down = |v: f32| (v / scale / height as f32).clamp(0.0, 1.0);
    let bounds = [across(corners[0]), down(corners[1]), across(corners[2]), down(corners[3])];
    (bounds[2] > bounds[0] && bounds[3] > bounds[1]).then_some(bounds)
}

/// The body of the fuzz target: bytes become a model's answer of some shape; whatever comes out is within bounds.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    let [width, height, classes, min_score, rest @ ..] = data else { return };
    let (width, height) = ((usize::from(*width) % 8 + 1) * 32, (usize::from(*height) % 8 + 1) * 32);
    let (classes, min_score) = (usize::from(*classes) % 4, f32::from(*min_score) / 255.0);
    let given: Vec<f32> = rest.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let whole = crate::layout::cells(width, height) * (5 + classes);
    let tensor: Vec<f32> = given.iter().cycle().take(if given.is_empty() { 0 } else { whole }).copied().collect();
    let labels: Vec<i64> = rest.chunks_exact(8).map(|b| i64::from(b[0]) - 4).collect();
    let mut out = Vec::new();
    for round in 0..3 {
        match round {
            0 => yolox_grid(&tensor, width, height, classes, min_score, &mut out),
            1 => yolox_grid(&given, width, height, classes, min_score, &mut out),
            _ => end_to_end(&given, &given, &labels, classes, min_score, &mut out),
        }
        suppress(&mut out, NMS_IOU);
        for candidate in &out {
            assert!(candidate.class < classes && candidate.score >= min_score && candidate.score <= 1.0);
            if let Some(bounds) = to_picture(&candidate.corners, 0.3, width, height) {
                assert!(bounds.iter().all(|v| (0.0..=1.0).contains(v)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidate(corners: [f32; 4], class: usize, score: f32) -> Candidate {
        Candidate { corners, class, score }
    }

    #[test]
    fn decodes_the_cell_that_fires_and_no_other() {
        let (width, height, classes) = (64, 32, 2);
        let columns = 5 + classes;
        // Strides 8, 16, 32 have 8×4, 4×2 and 2×1 cells. Row 3 of the second grid: column 3, row 0, stride 16.
        let mut tensor = vec![0.0; crate::layout::cells(width, height) * columns];
        let row = &mut tensor[(32 + 3) * columns..][..columns];
        row.copy_from_slice(&[0.5, 0.25, 0.0, 2f32.ln(), 0.9, 0.1, 0.8]);
        let mut out = vec![candidate([0.0; 4], 9, 1.0)];
        yolox_grid(&tensor, width, height, classes, 0.25, &mut out);
        assert_eq!(out.len(), 1);
        // Centre (3.5 · 16, 0.25 · 16) = (56, 4), size 16 × 32.
        let expected = [48.0, -12.0, 64.0, 20.0];
        assert!(out[0].corners.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4), "{out:?}");
        assert_eq!(out[0].class, 1);
        assert!((out[0].score - 0.72).abs() < 1e-6);
        yolox_grid(&tensor[1..], width, height, classes, 0.25, &mut out);
        assert!(out.is_empty(), "a tensor of the wrong length");
    }

    #[test]
    fn suppresses_within_a_class_only() {
        let mut all = vec![
            candidate([0.0, 0.0, 10.0, 10.0], 0, 0.6),
            candidate([1.0, 0.0, 11.0, 10.0], 0, 0.9),
            candidate([1.0, 0.0, 11.0, 10.0], 1, 0.5),
            candidate([20.0, 0.0, 30.0, 10.0], 0, 0.4),
        ];
        suppress(&mut all, NMS_IOU);
        assert_eq!(all.iter().map(|c| (c.class, c.score)).collect::<Vec<_>>(), [(0, 0.9), (1, 0.5), (0, 0.4)]);
    }

    #[test]
    fn boxes_are_clipped_to_the_picture_and_lost_outside() {
        assert_eq!(to_picture(&[-10.0, 0.0, 50.0, 25.0], 0.5, 200, 100), Some([0.0, 0.0, 0.5, 0.5]));
        assert_eq!(to_picture(&[200.0, 0.0, 250.0, 10.0], 0.5, 200, 100), None);
    }

    proptest! {
        #[test]
        fn foreign_numbers_yield_finite_boxes_within_the_picture(bits in proptest::collection::vec(any::<u32>(), 14 * 7), min in 0.0f32..1.0) {
            let numbers: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
            let mut out = Vec::new();
            // 32 × 64: 4·8 + 2·4 + 1·2 = 42 cells of 7 columns.
            let tensor: Vec<f32> = numbers.iter().cycle().take(42 * 7).copied().collect();
            yolox_grid(&tensor, 32, 64, 2, min, &mut out);
            suppress(&mut out, NMS_IOU);
            for c in &out {
                prop_assert!(c.score >= min && c.score <= 1.0 && c.class < 2);
                if let Some(b) = to_picture(&c.corners, 0.7, 100, 50) {
                    prop_assert!(b.iter().all(|v| (0.0..=1.0).contains(v)));
                }
            }
            prop_assert!(out.windows(2).all(|w| w[0].score >= w[1].score));
        }

        #[test]
        fn the_fuzz_targets_body_holds(data in proptest::collection::vec(any::<u8>(), 0..600)) {
            fuzz(&data);
        }

        #[test]
        fn what_is_kept_does_not_overlap_within_its_class(seed in proptest::collection::vec((0u8..60, 0u8..60, 1u8..40, 1u8..40, 0usize..3, 0u8..100), 0..80)) {
            let mut all: Vec<Candidate> = seed.iter().map(|&(x, y, w, h, class, score)| {
                let (x, y) = (f32::from(x), f32::from(y));
                candidate([x, y, x + f32::from(w), y + f32::from(h)], class, f32::from(score) / 100.0)
            }).collect();
            let before = all.clone();
            suppress(&mut all, NMS_IOU);
            for (at, a) in all.iter().enumerate() {
                for b in &all[at + 1..] {
                    prop_assert!(a.class != b.class || overlap(&a.corners, &b.corners) <= NMS_IOU);
                }
            }
            // Whatever was dropped is covered by a kept box of its class that is at least as strong.
            for c in &before {
                prop_assert!(all.iter().any(|k| k == c || (k.class == c.class && k.score >= c.score && overlap(&k.corners, &c.corners) > NMS_IOU)));
            }
        }
    }
}
