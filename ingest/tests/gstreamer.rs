//! Sources that are GStreamer pipelines.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use common::{Rig, camera, causes, quick};
use gstreamer as gst;
use ingest::CameraState;
use media::Cause;

/// Whether the elements are installed; says so if not.
fn have(elements: &[&str]) -> bool {
    gst::init().unwrap();
    let missing: Vec<_> = elements.iter().filter(|name| gst::ElementFactory::find(name).is_none()).collect();
    if !missing.is_empty() {
        println!("skipped: GStreamer lacks {missing:?}");
    }
    missing.is_empty()
}

const PICTURES: &str = "videotestsrc is-live=true ! video/x-raw,width=160,height=120,framerate=20/1 \
    ! x264enc tune=zerolatency key-int-max=20 ! h264parse ! appsink name=video";

#[tokio::test(flavor = "multi_thread")]
async fn pictures_and_sound_of_a_pipeline_are_recorded() {
    if !have(&["videotestsrc", "x264enc", "h264parse", "audiotestsrc", "avenc_aac", "aacparse"]) {
        return;
    }
    let url =
        format!("gst:{PICTURES} audiotestsrc is-live=true ! audioconvert ! avenc_aac ! aacparse ! appsink name=audio");
    let rig = Rig::with(quick(), camera(&url)).await;
    let state = rig.wait_live().await;
    assert!(matches!(state, CameraState::Live { via: "gstreamer", clock: "arrival", .. }), "{state:?}");
    let fragments = rig.wait_fragments("three fragments", |f| f.len() >= 3).await;
    rig.check(&fragments).await;
    assert_eq!(causes(&fragments), [Cause::Start]);
    let fragment = rig.load(&fragments[1]).await;
    assert_eq!(fragment.header.video().unwrap().size, Some((160, 120)));
    let frames = fragment.frames().unwrap();
    assert_eq!(frames.iter().filter(|f| f.track == 1).count(), 20);
    assert!(frames.iter().any(|f| f.track == 2));
    let probe = rig.cameras.probe(&camera(&url)).await.unwrap();
    assert_eq!((probe.width, probe.height, probe.key_interval_ms), (160, 120, Some(1000)));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_ends_is_started_again() {
    if !have(&["videotestsrc", "x264enc", "h264parse"]) {
        return;
    }
    let url = format!("gst:{}", PICTURES.replace("is-live=true", "is-live=true num-buffers=50"));
    let rig = Rig::with(quick(), camera(&url)).await;
    let fragments = rig.wait_fragments("a second run", |f| causes(f).contains(&Cause::SourceLost)).await;
    rig.check(&fragments).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelines_that_cannot_work_say_why() {
    if !have(&["fakesink", "videotestsrc"]) {
        return;
    }
    for (pipeline, why) in [
        ("no-such-element ! appsink name=video", "no-such-element"),
        ("videotestsrc ! fakesink", "appsink name=video"),
        ("videotestsrc ! identity name=video ! fakesink", "no appsink"),
        ("filesrc location=/no/such/file ! h264parse ! appsink name=video", "filesrc"),
    ] {
        let rig = Rig::with(quick(), camera(&format!("gst:{pipeline}"))).await;
        let failure = rig.wait_failed().await;
        assert!(["pipeline", "not_found"].contains(&failure.code), "{failure:?}");
        assert!(failure.message.contains(why), "{pipeline}: {}", failure.message);
        rig.stop().await;
    }
}
