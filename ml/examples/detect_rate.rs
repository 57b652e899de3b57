//! How fast pictures go through the detector, beside bare inference: the same model, pictures and threads.
//!
//! `cargo run --release -p vidicon-ml --example detect_rate -- [MODEL [THREADS [WIDTHxHEIGHT]]]`
//! prints one line of JSON: `{"detector_fps":…,"bare_ort_fps":…,"ratio":…}`. Without a model it takes the street model of the
//! binary. The library is `VIDICON_ONNXRUNTIME`, else the one that `./run` puts in place; without it there is a line that
//! starts with `skipped`.
//!
//! The detector works as in the server: one thread makes pictures ready, the other runs the model and reads its answer.
//! Bare inference runs the same session on pictures that are ready. The two take turns in rounds, so that a noisy machine
//! disturbs both alike; the figures are medians over the rounds.
#![allow(clippy::print_stdout)]

#[path = "../tests/common/mod.rs"]
mod common;

use ml::{
    detector::Detector,
    image::{Image, Matrix},
    preprocess::{Input, Letterbox},
};
use std::{error::Error, path::Path, sync::mpsc::sync_channel, time::Instant};

const ROUNDS: usize = 15;
/// Seconds of one round of either side, about.
const ROUND: f64 = 0.3;
const MIN_SCORE: f32 = 0.25;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let threads = arguments.get(1).map_or(Ok(1), |text| text.parse::<usize>())?;
    let size = arguments.get(2).map_or("1280x720", String::as_str);
    let (width, height) = size.split_once('x').ok_or("a size is WIDTHxHEIGHT")?;
    let (width, height): (usize, usize) = (width.parse()?, height.parse()?);
    let Some(runtime) = common::runtime() else { return Ok(()) };
    let mut detector = match arguments.first() {
        Some(model) => Detector::from_file(&runtime, Path::new(model), threads)?,
        None => Detector::from_bytes(&runtime, include_bytes!("../models/street.onnx"), threads)?,
    };

    let pictures: Vec<Vec<u8>> = (0..8).map(|n| scene(width, height, n)).collect();
    let images: Option<Vec<Image<'_>>> =
        pictures.iter().map(|bytes| Image::i420(width, height, bytes, Matrix::BT709)).collect();
    let images = images.ok_or("a picture too small")?;
    let mut letterbox = detector.layout().letterbox();
    // Warm: the first runs allocate.
    pipelined(&mut detector, &mut letterbox, &images, 10)?;
    let ready: Vec<Input> = images.iter().map(|image| letterbox.fill(image)).collect();
    let per_round = (bare(&mut detector, &ready, 10)? * ROUND).clamp(10.0, 1e6) as usize;
    let (mut whole, mut alone, mut prepared) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        whole.push(pipelined(&mut detector, &mut letterbox, &images, per_round)?);
        alone.push(bare(&mut detector, &ready, per_round)?);
        let started = Instant::now();
        images.iter().for_each(|image| drop(letterbox.fill(image)));
        prepared.push(started.elapsed().as_secs_f64() * 1000.0 / images.len() as f64);
    }
    let (detector_fps, bare_ort_fps, prepare_ms) = (median(whole), median(alone), median(prepared));
    let ratio = detector_fps / bare_ort_fps;
    println!(
        "{{\"detector_fps\":{detector_fps:.1},\"bare_ort_fps\":{bare_ort_fps:.1},\"ratio\":{ratio:.3},\"prepare_ms\":{prepare_ms:.3},\"threads\":{threads},\"picture\":\"{width}x{height}\"}}"
    );
    Ok(())
}

/// Pictures a second of the detector: made ready here, looked at there, at most two waiting between.
fn pipelined(
    detector: &mut Detector,
    letterbox: &mut Letterbox,
    images: &[Image<'_>],
    count: usize,
) -> Result<f64, Box<dyn Error>> {
    let started = Instant::now();
    std::thread::scope(|scope| {
        let (ready, to_look_at) = sync_channel(2);
        scope.spawn(move || {
            // A receiver that is gone met an error, which it reports.
            let _ = images.iter().cycle().take(count).try_for_each(|image| ready.send(letterbox.fill(image)));
        });
        to_look_at.into_iter().try_for_each(|input| detector.detect_in(&input, MIN_SCORE).map(drop))
    })?;
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

/// Pictures a second of the session alone.
fn bare(detector: &mut Detector, ready: &[Input], count: usize) -> Result<f64, Box<dyn Error>> {
    let started = Instant::now();
    ready.iter().cycle().take(count).try_for_each(|input| detector.bare_run(input))?;
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A moving pattern with edges in it; what it shows does not matter to the time a network takes.
fn scene(width: usize, height: usize, n: usize) -> Vec<u8> {
    let luma = (0..width * height).map(|at| {
        let (x, y) = (at % width + n * 13, at / width);
        (((x / 32 + y / 32) % 2) * 120 + (x * y / 64) % 90 + 20) as u8
    });
    let chroma = 2 * width.div_ceil(2) * height.div_ceil(2);
    luma.chain((0..chroma).map(|at| (128 + (at * 7 + n) % 40) as u8)).collect()
}
