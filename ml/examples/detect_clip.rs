//! Detects in a clip and prints what was found, as JSON: `{"frames": {index: {"pts", "detections": [{label, class_id, score,
//! box}]}}}` with boxes in pixels, left, top, right, bottom. Indexes are those of decoded frames in presentation order.
//!
//! `cargo run --release -p vidicon-ml --example detect_clip -- LIBONNXRUNTIME MODEL CLIP [EVERY]` (needs ffmpeg)
#![allow(clippy::print_stdout)]

#[path = "../tests/common/mod.rs"]
mod common;

use ml::{
    detector::Detector,
    image::{Image, Matrix},
    runtime::Runtime,
};
use std::{error::Error, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [library, model, clip, rest @ ..] = &arguments[..] else {
        return Err("usage: detect_clip LIBONNXRUNTIME MODEL CLIP [EVERY]".into());
    };
    let every = rest.first().map_or(Ok(1), |text| text.parse::<usize>())?.max(1);
    let runtime = Runtime::load(Some(Path::new(library)))?;
    let mut detector = Detector::from_file(&runtime, Path::new(model), 2)?;
    let mut frames = serde_json::Map::new();
    common::frames(Path::new(clip), every, |index, width, height, bytes| {
        let Some(image) = Image::i420(width, height, bytes, Matrix::BT601) else { return };
        let found = detector.detect(&image, 0.25).unwrap_or_else(|error| {
            eprintln!("frame {index}: {error}");
            Vec::new()
        });
        let detections: Vec<_> = found
            .iter()
            .map(|f| {
                let [left, top, right, bottom] = f.bounds;
                let (w, h) = (width as f32, height as f32);
                let corners = [left * w, top * h, right * w, bottom * h];
                serde_json::json!({ "label": *f.name, "class_id": f.class, "score": f.score, "box": corners })
            })
            .collect();
        frames.insert(index.to_string(), serde_json::json!({ "detections": detections }));
    });
    println!("{}", serde_json::json!({ "frames": frames }));
    Ok(())
}
