use super::*;
use proptest::prelude::*;

/// What OpenCV's INTER_LINEAR computes, written down plainly in floating point.
fn bilinear(data: &[u8], width: usize, height: usize, step: usize, x: f64, y: f64) -> f64 {
    let (x, y) = (x.clamp(0.0, (width - 1) as f64), y.clamp(0.0, (height - 1) as f64));
    let (x0, y0) = (x.floor() as usize, y.floor() as usize);
    let (x1, y1) = ((x0 + 1).min(width - 1), (y0 + 1).min(height - 1));
    let at = |x: usize, y: usize| f64::from(data[(y * width + x) * step]);
    let (fx, fy) = (x - x0 as f64, y - y0 as f64);
    let top = at(x0, y0) * (1.0 - fx) + at(x1, y0) * fx;
    let bottom = at(x0, y1) * (1.0 - fx) + at(x1, y1) * fx;
    top * (1.0 - fy) + bottom * fy
}

proptest! {
    #[test]
    fn scaling_is_bilinear_with_aligned_centres(width in 1usize..40, height in 1usize..40, to_width in 1usize..50, to_height in 1usize..50, seed in any::<u64>()) {
        let mut state = seed | 1;
        let data: Vec<u8> = (0..width * height * 3).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        }).collect();
        let image = Image::rgb(width, height, &data).expect("long enough");
        let mut worst = 0.0f64;
        Scaler::default().rows(&image, to_width, to_height, |y, rgb| {
            for x in 0..to_width {
                let sx = (x as f64 + 0.5) * width as f64 / to_width as f64 - 0.5;
                let sy = (y as f64 + 0.5) * height as f64 / to_height as f64 - 0.5;
                for (channel, row) in rgb.iter().enumerate() {
                    let exact = bilinear(&data[channel..], width, height, 3, sx, sy);
                    worst = worst.max((exact - f64::from(row[x])).abs());
                }
            }
        });
        // Weights are in 1/256: at most half a step of 255 on each axis.
        prop_assert!(worst < 1.01, "off by {worst}");
    }
}

#[test]
fn colours_come_out_as_the_standards_say() {
    // BT.601 limited: red is Y 81, U 90, V 240; white is 235, 128, 128; black is 16.
    for (yuv, rgb) in [
        ([81, 90, 240], [255.0, 0.0, 0.0]),
        ([235, 128, 128], [255.0; 3]),
        ([16, 128, 128], [0.0; 3]),
        ([41, 240, 110], [0.0, 0.0, 255.0]),
    ] {
        let mut data = vec![yuv[0]; 16];
        data.extend([yuv[1]; 4]);
        data.extend([yuv[2]; 4]);
        let image = Image::i420(4, 4, &data, Matrix::BT601).expect("long enough");
        Scaler::default().rows(&image, 3, 3, |_, got| {
            for channel in 0..3 {
                assert!((got[channel][1] - rgb[channel]).abs() < 2.0, "{yuv:?} → {:?}", got.map(|r| r[1]));
            }
        });
    }
}

#[test]
fn nv12_and_i420_of_the_same_picture_are_the_same() {
    let (width, height) = (6, 4);
    let y: Vec<u8> = (0..24).map(|n| n * 9).collect();
    let (u, v): (Vec<u8>, Vec<u8>) = (0..6).map(|n| (100 + n * 7, 200 - n * 11)).unzip();
    let packed: Vec<u8> = [&y[..], &u, &v].concat();
    let pairs: Vec<u8> = u.iter().zip(&v).flat_map(|(u, v)| [*u, *v]).collect();
    let i420 = Image::i420(width, height, &packed, Matrix::BT709).expect("I420");
    let plane = |data, stride, step| Plane { data, stride, step };
    let channels = [plane(&y[..], 6, 1), plane(&pairs[..], 6, 2), plane(&pairs[1..], 6, 2)];
    let nv12 = Image::yuv420(width, height, channels, Matrix::BT709).expect("NV12");
    let [i420, nv12] = [i420, nv12].map(|image| Letterbox::new(32, 32, Pixels::Bgr255).fill(&image));
    assert_eq!((i420.scale, i420.picture), (nv12.scale, nv12.picture));
    assert_eq!(i420.tensor(), nv12.tensor());
}

#[test]
fn the_picture_lies_top_left_and_the_rest_is_padding_also_after_a_larger_one() {
    let large = vec![10; 64 * 64 * 3];
    let wide = [200, 100, 50].repeat(64 * 16);
    let mut letterbox = Letterbox::new(32, 32, Pixels::Rgb01);
    let input = letterbox.fill(&Image::rgb(64, 64, &large).expect("square"));
    assert_eq!((input.scale, input.picture), (0.5, (64, 64)));
    assert!(input.tensor().iter().all(|v| (v - 10.0 / 255.0).abs() < 1e-6));
    drop(input);
    let input = letterbox.fill(&Image::rgb(64, 16, &wide).expect("wide"));
    assert_eq!((input.scale, input.picture), (0.5, (64, 16)));
    let red = &input.tensor()[..32 * 32];
    assert!(red[..8 * 32].iter().all(|v| (v - 200.0 / 255.0).abs() < 1e-6));
    assert!(red[8 * 32..].iter().all(|v| (v - f32::from(PAD) / 255.0).abs() < 1e-6));
    let bgr = Letterbox::new(32, 32, Pixels::Bgr255).fill(&Image::rgb(64, 16, &wide).expect("wide"));
    assert_eq!((bgr.tensor()[0], bgr.tensor()[2 * 32 * 32]), (50.0, 200.0));
}

#[test]
fn buffers_come_back_and_pictures_under_way_keep_their_own() {
    let (dark, light) = (vec![10; 32 * 32 * 3], vec![250; 32 * 32 * 3]);
    let [dark, light] = [&dark, &light].map(|bytes| Image::rgb(32, 32, bytes).expect("square"));
    let mut letterbox = Letterbox::new(32, 32, Pixels::Bgr255);
    let first = letterbox.fill(&dark);
    let second = letterbox.fill(&light);
    assert_eq!((first.tensor()[0], second.tensor()[0]), (10.0, 250.0));
    let at = first.tensor().as_ptr();
    drop(first);
    let third = letterbox.fill(&light);
    assert_eq!(third.tensor().as_ptr(), at, "no new buffer while one is spare");
    let many: Vec<Input> = (0..3 * MOST_SPARE).map(|_| letterbox.fill(&dark)).collect();
    drop((second, third, many));
    assert_eq!(letterbox.spare.lock().expect("not poisoned").len(), MOST_SPARE);
    // An input may outlive what made it.
    let last = letterbox.fill(&dark);
    drop(letterbox);
    assert_eq!(last.tensor()[0], 10.0);
}
