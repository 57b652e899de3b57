//! The detector against what plain ONNX Runtime and OpenCV found in the same frames of real clips.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use ml::{
    detector::{Detector, Found},
    image::{Image, Matrix},
    postprocess::overlap,
};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct References {
    frames: BTreeMap<String, Frame>,
}

#[derive(Deserialize)]
struct Frame {
    detections: Vec<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    label: String,
    score: f32,
    #[serde(rename = "box")]
    corners: [f32; 4],
}

/// Boxes above the threshold that the other side does not have at IoU ≥ 0.5 with the same label, whatever its score there:
/// at equal thresholds a box whose score differs in the third digit would otherwise count as missing.
fn missing<'a>(
    those: &[(&'a str, f32, [f32; 4])],
    among: &[(&'a str, f32, [f32; 4])],
    threshold: f32,
) -> (usize, usize) {
    let strong: Vec<_> = those.iter().filter(|d| d.1 >= threshold).collect();
    let found = |d: &&&(&str, f32, [f32; 4])| {
        among.iter().any(|o| o.0 == d.0 && o.1 >= threshold - 0.05 && overlap(&o.2, &d.2) >= 0.5)
    };
    (strong.len(), strong.len() - strong.iter().filter(found).count())
}

fn compare(model: &str, clip: &str, references: &str, every: usize) {
    let (Some(models), Some(runtime)) = (common::shared("models"), common::runtime()) else { return };
    let references: References =
        serde_json::from_slice(&std::fs::read(models.join("refs").join(references)).unwrap()).unwrap();
    let mut detector = Detector::from_file(&runtime, &models.join(model), 2).unwrap();
    let (mut wanted, mut lost, mut given, mut extra, mut frames) = (0, 0, 0, 0, 0);
    common::frames(&models.join("../media").join(clip), every, |index, width, height, bytes| {
        let image = Image::i420(width, height, bytes, Matrix::BT601).unwrap();
        let found: Vec<Found> = detector.detect(&image, 0.25).unwrap();
        let Some(reference) = references.frames.get(&index.to_string()) else { return };
        let ours: Vec<_> = found
            .iter()
            .map(|f| {
                let [l, t, r, b] = f.bounds;
                (f.name.as_ref(), f.score, [l * width as f32, t * height as f32, r * width as f32, b * height as f32])
            })
            .collect();
        let theirs: Vec<_> = reference.detections.iter().map(|d| (d.label.as_str(), d.score, d.corners)).collect();
        let threshold = 0.4;
        let (n, missed) = missing(&theirs, &ours, threshold);
        (wanted, lost) = (wanted + n, lost + missed);
        let (n, unmatched) = missing(&ours, &theirs, threshold);
        (given, extra) = (given + n, extra + unmatched);
        frames += 1;
    });
    let recall = 1.0 - lost as f64 / wanted as f64;
    let precision = 1.0 - extra as f64 / given as f64;
    println!("{model} on {clip}: {frames} frames, {wanted} boxes, recall {recall:.4}, precision {precision:.4}");
    assert!(frames >= 50 && wanted >= 50, "too little was compared: {frames} frames, {wanted} boxes");
    assert!(recall >= 0.95 && precision >= 0.95, "recall {recall}, precision {precision}");
}

#[test]
fn yolox_nano_sees_what_the_reference_sees_on_the_street() {
    compare("yolox_nano.onnx", "street-cars_640x352_h264_24fps_gop48.mp4", "yolox_nano__street-cars.json", 12);
}

#[test]
fn yolox_nano_sees_the_people_one_by_one() {
    compare(
        "yolox_nano.onnx",
        "one-by-one-person_768x432_h264main_bframes_10fps.mp4",
        "yolox_nano__one-by-one-person.json",
        12,
    );
}

#[test]
fn the_end_to_end_export_sees_the_same() {
    compare("yolox_nano_e2e.onnx", "street-cars_640x352_h264_24fps_gop48.mp4", "yolox_nano_e2e__street-cars.json", 15);
}

#[test]
fn a_model_of_another_kind_is_refused_with_its_tensors_named() {
    let (Some(models), Some(runtime)) = (common::shared("models"), common::runtime()) else { return };
    for (file, tensor) in
        [("yunet_n_640.onnx", "bbox_32"), ("nanodet_m_416.onnx", "cls_pred_stride_8"), ("README.md", "not a model")]
    {
        let Err(error) = Detector::from_file(&runtime, &models.join(file), 1) else { panic!("{file} was taken") };
        let line = error.to_string();
        println!("{line}");
        assert!(line.contains(file) && line.contains(tensor) && !line.contains('\n'), "{line}");
    }
}
