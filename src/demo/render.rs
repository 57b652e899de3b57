//! Frames with the truth about them, to train and to test a detector on.
//!
//! A folder gets `frames.rgb` (all frames one after the other, rows from the top, red green blue, a byte each) and `labels.json`
//! (size, seed and, per frame, its time and what is in it).

use super::scene::{Labelled, Scene};
use serde::Serialize;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use tiny_skia::Pixmap;

/// Between two frames: not a multiple of any lane's rhythm, and far enough for other people to be in view.
const STEP_MS: i64 = 4_663_217;
const FIRST_MS: i64 = 1_700_000_000_000;

/// What to render.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The folder that the files go into; made if it is missing.
    pub(crate) out: PathBuf,
    /// How many frames.
    pub(crate) count: u32,
    /// The first street's seed.
    pub(crate) seed: u64,
    /// So many streets, of consecutive seeds, take turns.
    pub(crate) streets: u32,
    /// Pixels across.
    pub(crate) width: u32,
    /// Pixels down.
    pub(crate) height: u32,
}

#[derive(Serialize)]
struct Labels {
    width: u32,
    height: u32,
    seed: u64,
    streets: u32,
    frames: Vec<Frame>,
}

#[derive(Serialize)]
struct Frame {
    t_ms: i64,
    street: u64,
    objects: Vec<Labelled>,
}

/// Renders the frames and their labels.
///
/// # Errors
/// One line when a size is out of range or a file cannot be written.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let Options { out, count, seed, streets, width, height } = options;
    let mut pixmap = Pixmap::new(*width, *height).filter(|_| *width <= 7680 && *height <= 4320);
    let pixmap = pixmap.as_mut().ok_or_else(|| format!("cannot render at {width}×{height}"))?;
    let failed = |path: &PathBuf, error: std::io::Error| format!("cannot write {}: {error}", path.display());
    fs::create_dir_all(out).map_err(|error| failed(out, error))?;
    let frames_path = out.join("frames.rgb");
    let mut file = BufWriter::new(fs::File::create(&frames_path).map_err(|error| failed(&frames_path, error))?);
    let mut frames = Vec::with_capacity(*count as usize);
    for number in 0..*count {
        let street = seed + u64::from(number % (*streets).max(1));
        let t_ms = FIRST_MS + i64::from(number) * STEP_MS;
        let mut scene = Scene::new(*width, *height, street);
        scene.draw(t_ms, number, pixmap);
        let rgb: Vec<u8> =
            pixmap.pixels().iter().flat_map(|pixel| [pixel.red(), pixel.green(), pixel.blue()]).collect();
        file.write_all(&rgb).map_err(|error| failed(&frames_path, error))?;
        frames.push(Frame { t_ms, street, objects: scene.objects(t_ms) });
    }
    file.flush().map_err(|error| failed(&frames_path, error))?;
    let labels = Labels { width: *width, height: *height, seed: *seed, streets: *streets, frames };
    let labels_path = out.join("labels.json");
    let json =
        serde_json::to_vec(&labels).map_err(|error| format!("cannot write {}: {error}", labels_path.display()))?;
    fs::write(&labels_path, json).map_err(|error| failed(&labels_path, error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn frames_and_labels_agree() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { out: dir.path().join("made"), count: 5, seed: 3, streets: 2, width: 160, height: 90 };
        run(&options).unwrap();
        assert_eq!(fs::metadata(options.out.join("frames.rgb")).unwrap().len(), 5 * 160 * 90 * 3);
        let labels: serde_json::Value =
            serde_json::from_slice(&fs::read(options.out.join("labels.json")).unwrap()).unwrap();
        assert_eq!(labels["frames"].as_array().unwrap().len(), 5);
        assert_eq!(labels["frames"][3]["street"], 4);
        let t_ms = labels["frames"][3]["t_ms"].as_i64().unwrap();
        let written = serde_json::to_string(&Scene::new(160, 90, 4).objects(t_ms)).unwrap();
        let expected: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert_eq!(labels["frames"][3]["objects"], expected);
    }

    #[test]
    fn an_impossible_size_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { out: dir.path().to_owned(), count: 1, seed: 1, streets: 1, width: 0, height: 90 };
        assert_eq!(run(&options), Err("cannot render at 0×90".to_owned()));
    }
}
