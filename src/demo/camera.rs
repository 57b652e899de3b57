//! The demo's camera: the drawn street over RTSP, H.264 and AAC, as a camera would serve it. In a process of its own.
//!
//! The time in the picture, the presentation time of the frame and the NTP time in RTCP sender reports (RFC 3550 §6.4.1) are one and
//! the same. One stream for all who watch; nothing is drawn while nobody does.

use super::i420::I420;
use super::scene::Scene;
use super::sound::{RATE, Sound};
use gst::glib;
use gst::prelude::*;
use gst_rtsp_server::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use gstreamer_rtsp_server as gst_rtsp_server;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tiny_skia::Pixmap;

const WIDTH: u32 = 1280;
const HEIGHT: u32 = 720;
const FPS: u64 = 15;
const SECOND_US: u64 = 1_000_000;
/// The sound goes out in chunks of 20 ms.
const CHUNK_US: u64 = 20_000;
const SAMPLES_IN_CHUNK: u64 = RATE * CHUNK_US / SECOND_US;
const MOUNT: &str = "/street";

/// What the camera is made of, and the Debian package that each element comes in.
const ELEMENTS: [(&str, &str); 9] = [
    ("appsrc", "gstreamer1.0-plugins-base"),
    ("audioconvert", "gstreamer1.0-plugins-base"),
    ("x264enc", "gstreamer1.0-plugins-ugly"),
    ("h264parse", "gstreamer1.0-plugins-bad"),
    ("rtph264pay", "gstreamer1.0-plugins-good"),
    ("rtpmp4gpay", "gstreamer1.0-plugins-good"),
    ("rtpbin", "gstreamer1.0-plugins-good"),
    ("udpsink", "gstreamer1.0-plugins-good"),
    ("multiudpsink", "gstreamer1.0-plugins-good"),
];
/// Any of these encodes the sound, the first that is there.
const AAC_ENCODERS: [&str; 3] = ["fdkaacenc", "avenc_aac", "voaacenc"];

/// How to serve.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// RTSP port on the loopback address; 0 takes a free one.
    pub(crate) port: u16,
    /// Which street.
    pub(crate) seed: u64,
}

/// Serves until standard input closes. When ready, prints `ready` and the camera's URL on a line.
///
/// # Errors
/// One line: an element that is missing and where it comes from, or a port that cannot be bound.
#[allow(clippy::print_stdout)]
pub(crate) fn run(options: &Options) -> Result<(), String> {
    gst::init().map_err(|error| format!("GStreamer cannot start: {error}"))?;
    let launch = pipeline(|element| gst::ElementFactory::find(element).is_some())?;
    let server = gst_rtsp_server::RTSPServer::new();
    server.set_address("127.0.0.1");
    server.set_service(&options.port.to_string());
    let mounts = server.mount_points().ok_or("GStreamer's RTSP server has no mount points")?;
    mounts.add_factory(MOUNT, factory(&launch, options.seed)?);
    let _source =
        server.attach(None).map_err(|_| format!("RTSP port {} on 127.0.0.1 cannot be bound", options.port))?;

    let main_loop = glib::MainLoop::new(None, false);
    let at_end = main_loop.clone();
    std::thread::spawn(move || {
        let mut ignored = [0; 256];
        while matches!(std::io::stdin().read(&mut ignored), Ok(1..)) {}
        at_end.quit();
    });
    // Sessions of clients that vanished.
    if let Some(pool) = server.session_pool() {
        glib::timeout_add_seconds(10, move || {
            pool.cleanup();
            glib::ControlFlow::Continue
        });
    }
    println!("ready rtsp://127.0.0.1:{}{MOUNT}", server.bound_port());
    let _ = std::io::stdout().flush();
    main_loop.run();
    Ok(())
}

/// The pipeline in GStreamer's launch syntax; `there` tells whether an element is installed.
fn pipeline(there: impl Fn(&str) -> bool) -> Result<String, String> {
    let missing = |element: &str, package: &str| {
        format!("the demo camera needs the GStreamer element {element}, which is in the Debian package {package}")
    };
    if let Some((element, package)) = ELEMENTS.iter().find(|(element, _)| !there(element)) {
        return Err(missing(element, package));
    }
    let aac = AAC_ENCODERS.into_iter().find(|encoder| there(encoder));
    let aac = aac.ok_or_else(|| missing("avenc_aac", "gstreamer1.0-libav"))?;
    let source = "is-live=true format=time block=false leaky-type=downstream";
    Ok(format!(
        "( appsrc name=picture {source} max-buffers=15 \
           caps=video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate={FPS}/1,colorimetry=bt709,pixel-aspect-ratio=1/1 \
         ! x264enc tune=zerolatency speed-preset=superfast threads=1 sliced-threads=false bitrate=2000 vbv-buf-capacity=1000 \
           key-int-max={FPS} bframes=0 option-string=scenecut=0 \
         ! video/x-h264,profile=high ! h264parse \
         ! rtph264pay name=pay0 pt=96 config-interval=-1 aggregate-mode=zero-latency \
         appsrc name=sound {source} max-buffers=50 caps=audio/x-raw,format=S16LE,layout=interleaved,rate={RATE},channels=1 \
         ! audioconvert ! {aac} bitrate=64000 ! rtpmp4gpay name=pay1 pt=97 )"
    ))
}

fn factory(launch: &str, seed: u64) -> Result<gst_rtsp_server::RTSPMediaFactory, String> {
    let factory = gst_rtsp_server::RTSPMediaFactory::new();
    factory.set_launch(launch);
    factory.set_shared(true);
    factory.set_latency(0);
    // Media over UDP leaves from the loopback address too.
    let pool = gst_rtsp_server::RTSPAddressPool::new();
    pool.add_range("127.0.0.1", "127.0.0.1", 51_000, 58_999, 0).map_err(|error| error.to_string())?;
    factory.set_address_pool(Some(&pool));
    factory.connect_media_configure(move |_, media| feed(media, seed));
    Ok(factory)
}

/// Starts the threads that draw and sound, which end with `media`.
fn feed(media: &gst_rtsp_server::RTSPMedia, seed: u64) {
    let Some(bin) = media.element().downcast::<gst::Bin>().ok() else { return };
    let over = Arc::new(AtomicBool::new(false));
    let ended = over.clone();
    media.connect_unprepared(move |_| ended.store(true, Ordering::Relaxed));
    if let Some(pipeline) = bin.parent().and_then(|parent| parent.downcast::<gst::Bin>().ok()) {
        // Sender reports are to tell when a frame was taken, not when it left the encoder.
        pipeline.connect_element_added(|_, element| {
            if element.has_property("rtcp-sync-send-time") {
                element.set_property("rtcp-sync-send-time", false);
            }
        });
    }
    let source = |name: &str| bin.by_name(name).and_then(|element| element.downcast::<gst_app::AppSrc>().ok());
    if let (Some(picture), Some(sound)) = (source("picture"), source("sound")) {
        let ended = over.clone();
        std::thread::spawn(move || draw(&picture, seed, &ended));
        std::thread::spawn(move || play(&sound, &over));
    }
}

/// Draws a frame at each fifteenth of a second of the wall clock.
fn draw(source: &gst_app::AppSrc, seed: u64, over: &AtomicBool) {
    let mut scene = Scene::new(WIDTH, HEIGHT, seed);
    let mut planes = I420::new(WIDTH, HEIGHT);
    let Some(mut picture) = Pixmap::new(WIDTH, HEIGHT) else { return };
    let mut number = wall_us() * FPS / SECOND_US + 1;
    while !over.load(Ordering::Relaxed) {
        let taken_us = number * SECOND_US / FPS;
        if let Some(pts) = wait_until(source, taken_us) {
            scene.draw((taken_us / 1000).cast_signed(), (number & 0xfff) as u32, &mut picture);
            let buffer = gst::Buffer::from_slice(planes.convert(&picture).to_vec());
            if !push(source, buffer, pts, SECOND_US / FPS) {
                return;
            }
        }
        // After a halt, or when the clock was set, go on from now.
        let now = wall_us() * FPS / SECOND_US;
        number = if now.abs_diff(number) > FPS { now + 1 } else { number + 1 };
    }
}

/// Makes the sound, chunk by chunk, in step with the wall clock.
fn play(source: &gst_app::AppSrc, over: &AtomicBool) {
    let mut sound = Sound::new();
    let mut chunk = wall_us() / CHUNK_US + 1;
    while !over.load(Ordering::Relaxed) {
        if let Some(pts) = wait_until(source, chunk * CHUNK_US) {
            let samples = chunk * SAMPLES_IN_CHUNK..(chunk + 1) * SAMPLES_IN_CHUNK;
            let bytes: Vec<u8> = samples.flat_map(|n| sound.sample(n).to_le_bytes()).collect();
            if !push(source, gst::Buffer::from_slice(bytes), pts, CHUNK_US) {
                return;
            }
        }
        let now = wall_us() / CHUNK_US;
        chunk = if now.abs_diff(chunk) > SECOND_US / CHUNK_US { now + 1 } else { chunk + 1 };
    }
}

fn wall_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// Sleeps until the wall clock shows `at_us`; the pipeline's running time of that moment, once it runs.
fn wait_until(source: &gst_app::AppSrc, at_us: u64) -> Option<gst::ClockTime> {
    let ahead = at_us.saturating_sub(wall_us()).min(SECOND_US);
    std::thread::sleep(Duration::from_micros(ahead));
    let running = source.current_running_time()?;
    running.checked_sub(gst::ClockTime::from_useconds(wall_us().saturating_sub(at_us)))
}

/// Hands a buffer over; false when the pipeline takes no more.
fn push(source: &gst_app::AppSrc, mut buffer: gst::Buffer, pts: gst::ClockTime, duration_us: u64) -> bool {
    if let Some(header) = buffer.get_mut() {
        header.set_pts(pts);
        header.set_duration(gst::ClockTime::from_useconds(duration_us));
    }
    source.push_buffer(buffer).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_element_is_named_with_its_package() {
        let without_x264 = pipeline(|element| element != "x264enc").expect_err("x264enc is needed");
        assert!(
            without_x264.contains("x264enc") && without_x264.contains("gstreamer1.0-plugins-ugly"),
            "{without_x264}"
        );
        let without_aac = pipeline(|element| !AAC_ENCODERS.contains(&element)).expect_err("an encoder is needed");
        assert!(without_aac.contains("avenc_aac") && without_aac.contains("gstreamer1.0-libav"), "{without_aac}");
    }

    #[test]
    fn any_aac_encoder_will_do() {
        let launch = pipeline(|element| element != "fdkaacenc" && element != "avenc_aac").expect("voaacenc is left");
        assert!(launch.contains("! voaacenc "), "{launch}");
    }
}
