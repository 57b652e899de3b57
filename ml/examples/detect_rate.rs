//! How fast pictures go through the whole detector, beside bare inference of the same model with the same threads.
//!
//! `cargo run --release -p vidicon-ml --example detect_rate -- LIBONNXRUNTIME MODEL [PICTURES] [THREADS] [WIDTHxHEIGHT]`
//! prints one line of JSON: `{"detector_fps":…,"bare_ort_fps":…,"ratio":…}`. The two take turns in rounds, so that a noisy
//! machine disturbs both alike; the figures are medians over the rounds.
#![allow(clippy::print_stdout)]

use ml::{
    detector::Detector,
    image::{Image, Matrix},
    runtime::Runtime,
};
use std::{error::Error, path::Path, time::Instant};

const ROUNDS: usize = 15;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [library, model, rest @ ..] = &arguments[..] else {
        return Err("usage: detect_rate LIBONNXRUNTIME MODEL [PICTURES] [THREADS] [WIDTHxHEIGHT]".into());
    };
    let number = |at: usize, default: usize| rest.get(at).map_or(Ok(default), |text| text.parse::<usize>());
    let (pictures, threads) = (number(0, 150)?, number(1, 1)?);
    let size = rest.get(2).map_or("1280x720", String::as_str);
    let (width, height) = size.split_once('x').ok_or("a size is WIDTHxHEIGHT")?;
    let (width, height): (usize, usize) = (width.parse()?, height.parse()?);

    let runtime = Runtime::load(Some(Path::new(library)))?;
    let mut detector = Detector::from_file(&runtime, Path::new(model), threads)?;
    let frames: Vec<Vec<u8>> = (0..8).map(|n| scene(width, height, n)).collect();
    let image =
        |n: usize| Image::i420(width, height, &frames[n % frames.len()], Matrix::BT709).ok_or("a picture too small");
    // Warm: the first runs allocate.
    for n in 0..5 {
        detector.detect(&image(n)?, 0.25)?;
    }
    let per_round = pictures.div_ceil(ROUNDS).max(1);
    let (mut whole, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let started = Instant::now();
        for n in 0..per_round {
            detector.detect(&image(n)?, 0.25)?;
        }
        whole.push(per_round as f64 / started.elapsed().as_secs_f64());
        let started = Instant::now();
        for _ in 0..per_round {
            detector.bare_run()?;
        }
        bare.push(per_round as f64 / started.elapsed().as_secs_f64());
    }
    let (detector_fps, bare_ort_fps) = (median(whole), median(bare));
    let ratio = detector_fps / bare_ort_fps;
    println!(
        "{{\"detector_fps\":{detector_fps:.1},\"bare_ort_fps\":{bare_ort_fps:.1},\"ratio\":{ratio:.3},\"threads\":{threads},\"picture\":\"{width}x{height}\"}}"
    );
    Ok(())
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
