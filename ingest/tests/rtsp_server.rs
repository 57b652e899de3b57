//! Against an RTSP server that this project did not write (gst-rtsp-server), in this process: pictures and sound made on
//! the spot, so nothing beside the repository is needed.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use common::{Rig, camera, causes, quick};
use gstreamer as gst;
use gstreamer_rtsp_server as gst_rtsp_server;
use gstreamer_rtsp_server::prelude::*;
use ingest::CameraState;
use media::Cause;
use store::records::{Camera, Transport};

const ELEMENTS: [&str; 7] =
    ["videotestsrc", "x264enc", "h264parse", "rtph264pay", "audiotestsrc", "avenc_aac", "rtpmp4gpay"];

/// A server at a free port with `/cam0`; it runs until the process ends. `None`, said in a line, where parts are missing.
fn server() -> Option<i32> {
    gst::init().unwrap();
    let missing: Vec<_> = ELEMENTS.iter().filter(|name| gst::ElementFactory::find(name).is_none()).collect();
    if !missing.is_empty() {
        println!("skipped: GStreamer lacks {missing:?}");
        return None;
    }
    let (tell, port) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // A context of its own: tests run beside each other.
        let context = gst::glib::MainContext::new();
        let server = gst_rtsp_server::RTSPServer::new();
        server.set_address("127.0.0.1");
        server.set_service("0");
        let factory = gst_rtsp_server::RTSPMediaFactory::new();
        factory.set_launch(
            "( videotestsrc is-live=true ! video/x-raw,width=160,height=120,framerate=20/1 \
             ! x264enc tune=zerolatency key-int-max=20 ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1 \
             audiotestsrc is-live=true ! audioconvert ! avenc_aac ! rtpmp4gpay name=pay1 pt=97 )",
        );
        factory.set_shared(true);
        server.mount_points().unwrap().add_factory("/cam0", factory);
        let _source = server.attach(Some(&context)).unwrap();
        tell.send(server.bound_port()).unwrap();
        gst::glib::MainLoop::new(Some(&context), false).run();
    });
    Some(port.recv().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_and_sound_over_tcp_and_udp() {
    let Some(port) = server() else { return };
    for (transport, via) in [(Transport::Tcp, "rtsp/tcp"), (Transport::Udp, "rtsp/udp")] {
        let rig = Rig::with(quick(), Camera { transport, ..camera(&format!("rtsp://127.0.0.1:{port}/cam0")) }).await;
        let state = rig.wait_live().await;
        assert!(matches!(state, CameraState::Live { via: v, .. } if v == via), "{state:?}");
        let fragments = rig.wait_fragments("six fragments", |f| f.len() >= 6).await;
        rig.check(&fragments).await;
        assert_eq!(causes(&fragments), [Cause::Start], "{transport:?}");
        let fragment = rig.load(&fragments[2]).await;
        assert_eq!(fragment.header.video().unwrap().size, Some((160, 120)));
        let frames = fragment.frames().unwrap();
        assert_eq!(frames.iter().filter(|f| f.track == 1).count(), 20);
        assert!(frames.iter().filter(|f| f.track == 2).count() > 30);
        let clocked = |s: &CameraState| matches!(s, CameraState::Live { clock: "sender_reports", .. });
        rig.wait("sender reports", clocked).await;
        let off = fragments[2].producer_start.0 - fragments[2].server_start.0;
        assert!(off.abs() < 1_500, "{off} ms between producer and server");
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_not_there_and_one_that_is_probed() {
    let Some(port) = server() else { return };
    let rig = Rig::new(quick()).await;
    let failure = rig.cameras.probe(&camera(&format!("rtsp://127.0.0.1:{port}/nothing"))).await.unwrap_err();
    assert_eq!(failure.code, "not_found", "{failure:?}");
    let probe = rig.cameras.probe(&camera(&format!("rtsp://127.0.0.1:{port}/cam0"))).await.unwrap();
    assert_eq!((probe.width, probe.height, probe.key_interval_ms), (160, 120, Some(1000)), "{probe:?}");
    assert!(probe.audio.is_some() && (18.0..=22.0).contains(&probe.fps), "{probe:?}");
    rig.stop().await;
}
