//! Where tests find the things that a clone does not hold; absent ones are named and the test passes.
#![allow(dead_code, unreachable_pub, clippy::print_stdout)]

use ml::runtime::Runtime;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A file of the shared test material, or a line that says that it is not here.
pub fn shared(path: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("VIDICON_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let found = folder.is_dir().then(|| folder.join(path));
    if found.is_none() {
        println!("skipped: ../shared is not here");
    }
    found
}

/// ONNX Runtime, or a line that says that it is not here.
pub fn runtime() -> Option<Runtime> {
    let path = std::env::var_os("VIDICON_ONNXRUNTIME")
        .map_or_else(|| root().join(".vidicon-tools/onnxruntime/libonnxruntime.so"), PathBuf::from);
    if !path.is_file() {
        println!("skipped: no ONNX Runtime here (VIDICON_ONNXRUNTIME, or .vidicon-tools/onnxruntime)");
        return None;
    }
    Some(Runtime::load(Some(&path)).expect("the library that tests are given loads"))
}

/// Every `every`th frame of a clip in presentation order, as packed I420, decoded by the ffmpeg program.
pub fn frames(clip: &Path, every: usize, mut frame: impl FnMut(usize, usize, usize, &[u8])) {
    use std::{
        io::Read,
        process::{Command, Stdio},
    };
    let probe = Command::new("ffprobe")
        .args(["-v", "quiet", "-select_streams", "v:0", "-show_entries", "stream=width,height", "-of", "csv=p=0"])
        .arg(clip)
        .output()
        .expect("ffprobe runs");
    let text = String::from_utf8(probe.stdout).expect("numbers");
    let mut sizes = text.trim().split(',').map(|n| n.trim().parse::<usize>().expect("a number"));
    let (width, height) = (sizes.next().expect("a width"), sizes.next().expect("a height"));
    let mut ffmpeg = Command::new("ffmpeg")
        .args(["-v", "error", "-threads", "1", "-i"])
        .arg(clip)
        .args([
            "-map",
            "0:v:0",
            "-vsync",
            "passthrough",
            "-enc_time_base",
            "1:1000000",
            "-f",
            "rawvideo",
            "-pix_fmt",
            "yuv420p",
            "-",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("ffmpeg runs");
    let mut pipe = ffmpeg.stdout.take().expect("piped");
    let mut bytes = vec![0; width * height + 2 * width.div_ceil(2) * height.div_ceil(2)];
    let mut index = 0;
    while pipe.read_exact(&mut bytes).is_ok() {
        if index % every == 0 {
            frame(index, width, height, &bytes);
        }
        index += 1;
    }
    ffmpeg.wait().expect("ffmpeg ends");
}
