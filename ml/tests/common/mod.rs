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

/// The H.264 frames of a clip in decode order with the header that a recorder would make, read by GStreamer.
/// Presentation times start at `start`.
pub fn h264(clip: &Path, start: media::UnixMicros) -> (std::sync::Arc<media::Header>, Vec<media::Frame>) {
    use gstreamer::{self as gst, prelude::*};
    use std::sync::{Arc, Mutex};
    gst::init().expect("GStreamer starts");
    let demux = if clip.extension().is_some_and(|e| e == "mp4") { "qtdemux" } else { "matroskademux" };
    let line = format!(
        "filesrc name=file ! {demux} ! h264parse ! video/x-h264,stream-format=avc,alignment=au ! fakesink name=out sync=false signal-handoffs=true"
    );
    let pipeline = gst::parse::launch(&line).expect("a pipeline").downcast::<gst::Pipeline>().expect("a pipeline");
    pipeline.by_name("file").expect("a source").set_property("location", clip.to_str().expect("a path in UTF-8"));
    type Read = (Option<gst::Caps>, Vec<(u64, bool, bytes::Bytes)>);
    let read = Arc::<Mutex<Read>>::default();
    let into = read.clone();
    pipeline.by_name("out").expect("a sink").connect("handoff", false, move |values| {
        let buffer = values[1].get::<gst::Buffer>().expect("a buffer");
        let pad = values[2].get::<gst::Pad>().expect("a pad");
        let mut read = into.lock().expect("not poisoned");
        if read.0.is_none() {
            read.0 = pad.current_caps();
        }
        let data = bytes::Bytes::copy_from_slice(buffer.map_readable().expect("readable").as_slice());
        let key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        read.1.push((buffer.pts().expect("a time").useconds(), key, data));
        None
    });
    pipeline.set_state(gst::State::Playing).expect("plays");
    let bus = pipeline.bus().expect("a bus");
    let end =
        bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &[gst::MessageType::Eos, gst::MessageType::Error]);
    assert!(end.is_some_and(|m| m.type_() == gst::MessageType::Eos), "{} is read to its end", clip.display());
    pipeline.set_state(gst::State::Null).expect("stops");
    let (caps, frames) = std::mem::take(&mut *read.lock().expect("not poisoned"));
    let caps = caps.expect("caps");
    let caps = caps.structure(0).expect("a structure");
    let codec = caps.get::<gst::Buffer>("codec_data").expect("codec data");
    let codec_private = bytes::Bytes::copy_from_slice(codec.map_readable().expect("readable").as_slice());
    let side = |name| u32::try_from(caps.get::<i32>(name).expect("a size")).expect("positive");
    let track = media::Track {
        number: 1,
        kind: media::TrackKind::Video,
        codec_id: media::Track::H264.into(),
        codec_private,
        size: Some((side("width"), side("height"))),
        audio: None,
    };
    let header = media::mkv::write_header(&[track]).shared();
    let first = frames.iter().map(|f| f.0).min().expect("a frame");
    let frame = |(pts, key, data): (u64, bool, bytes::Bytes)| media::Frame {
        track: 1,
        time: start.plus((pts - first) as i64),
        key,
        data,
    };
    (header, frames.into_iter().map(frame).collect())
}
