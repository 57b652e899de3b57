//! The model in the binary is the one that its card describes, and loads as the default.
#![allow(clippy::unwrap_used)]

mod common;

use ml::{
    detector::Detector,
    image::Image,
    layout::{Output, Pixels},
};
use sha2::Digest;

const ONNX: &[u8] = include_bytes!("../models/street.onnx");

#[test]
fn the_committed_model_is_the_one_of_the_card() {
    let card: serde_json::Value = serde_json::from_str(include_str!("../models/street.json")).unwrap();
    let sum: String = sha2::Sha256::digest(ONNX).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(card["sha256"], sum);
    assert_eq!(card["bytes"], ONNX.len());
    assert!(ONNX.len() <= 2 << 20, "at most 2 MiB in the binary");
}

#[test]
fn it_is_recognised_and_sees_nothing_on_an_empty_street() {
    let Some(runtime) = common::runtime() else { return };
    let mut detector = Detector::from_bytes(&runtime, ONNX, 1).unwrap();
    let layout = detector.layout();
    assert_eq!((layout.output, layout.pixels), (Output::YoloxGrid { classes: 3 }, Pixels::Bgr255));
    assert_eq!(layout.names, ["person", "bicycle", "car"]);
    let grey = vec![114; 640 * 360 * 3];
    let found = detector.detect(&Image::rgb(640, 360, &grey).unwrap(), 0.5).unwrap();
    assert!(found.is_empty(), "{found:?}");
}
