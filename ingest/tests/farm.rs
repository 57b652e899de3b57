//! Cameras of the farm in `../shared/tools`: good ones, and each kind of mischief.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Farm, Rig, camera, causes, quick, with_login};
use ingest::CameraState;
use media::Cause;
use store::records::{Camera, Transport};

const AV: &str = "derived/cam_av_720p15_gop30_aac.mp4";
const TINY: &str = "derived/cam_tiny_176p10_gop20.mp4";
const B_FRAMES: &str = "one-by-one-person_768x432_h264main_bframes_10fps.mp4";

#[tokio::test(flavor = "multi_thread")]
async fn h264_and_aac_over_tcp_are_recorded_and_decode() {
    let Some(farm) = Farm::start(AV, &[]) else { return };
    let rig = Rig::with(quick(), camera(&farm.url())).await;
    let state = rig.wait_live().await;
    assert!(matches!(state, CameraState::Live { via: "rtsp/tcp", .. }), "{state:?}");
    let fragments = rig.wait_fragments("four fragments", |f| f.len() >= 4).await;
    assert_eq!(causes(&fragments), [Cause::Start]);
    // Key frames are two seconds apart, at 15 pictures a second.
    let fragment = rig.load(&fragments[1]).await;
    let frames = fragment.frames().unwrap();
    assert_eq!(frames.iter().filter(|f| f.track == 1).count(), 30);
    assert!(frames.iter().filter(|f| f.track == 2).count() > 60, "{} audio frames", frames.len() - 30);
    assert!((1_900..=2_100).contains(&fragments[1].duration_ms));
    rig.decodes(&fragments[1]).await;
    // Sender reports came, and they name the time it is.
    rig.wait("sender reports", |s| matches!(s, CameraState::Live { clock: "sender_reports", .. })).await;
    let off = fragments[1].producer_start.0 - fragments[1].server_start.0;
    assert!(off.abs() < 2_000, "{off} ms between producer and server");
    let fragments = rig.stop().await;
    rig.check(&fragments).await;
    // The fragment that was open at the stop is there, up to its last frame.
    assert!(fragments.last().unwrap().producer_end().0 > rig.store.now().0 - 4_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_udp_with_b_frames() {
    let Some(farm) = Farm::start(B_FRAMES, &[]) else { return };
    let mut udp = camera(&farm.url());
    udp.transport = Transport::Udp;
    let rig = Rig::with(quick(), udp).await;
    let state = rig.wait_live().await;
    assert!(matches!(state, CameraState::Live { via: "rtsp/udp", .. }), "{state:?}");
    let fragments = rig.wait_fragments("two fragments", |f| f.len() >= 2).await;
    rig.check(&fragments).await;
    let times: Vec<_> = rig.load(&fragments[0]).await.frames().unwrap().iter().map(|f| f.time).collect();
    assert!(times.windows(2).any(|w| w[1] < w[0]), "decode order is kept: presentation times go back and forth");
    rig.decodes(&fragments[0]).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn digest_and_basic_and_a_wrong_password() {
    for basic in [false, true] {
        let mut args = vec!["--user", "admin", "--password", "s3cret-s3cret"];
        args.extend(basic.then_some("--basic"));
        let Some(farm) = Farm::start(TINY, &args) else { return };
        let rig = Rig::with(quick(), with_login(camera(&farm.url()), "admin", "s3cret-s3cret")).await;
        rig.wait_live().await;
        rig.store.put_camera(with_login(camera(&farm.url()), "admin", "wr0ng-wr0ng")).await.unwrap();
        let failure = rig.wait_failed().await;
        assert_eq!(failure.code, "unauthorized");
        assert!(
            failure.message.contains("401") && failure.message.contains(&farm.port.to_string()),
            "{}",
            failure.message
        );
        assert!(!failure.message.contains("wr0ng-wr0ng"));
        rig.store.put_camera(camera(&farm.url())).await.unwrap();
        let asks = |s: &CameraState| matches!(s, CameraState::Failed { reason, .. } if reason.message.contains("wants a user name"));
        rig.wait("a demand for a user name", asks).await;
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn loss_cuts_fragments_but_what_is_recorded_decodes() {
    for transport in [Transport::Tcp, Transport::Udp] {
        let Some(farm) = Farm::start(AV, &["--loss", "0.004"]) else { return };
        let rig = Rig::with(quick(), Camera { transport, ..camera(&farm.url()) }).await;
        let fragments = rig.wait_fragments("loss", |f| f.len() >= 5 && causes(f).contains(&Cause::PacketLoss)).await;
        rig.check(&fragments).await;
        for meta in &fragments[..3] {
            rig.decodes(meta).await;
        }
        assert_eq!(rig.cameras.reconnects(&"gate".parse().unwrap()), 0, "loss is no reason to reconnect");
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reordered_packets_cost_pictures_not_the_session() {
    for transport in [Transport::Tcp, Transport::Udp] {
        let Some(farm) = Farm::start(TINY, &["--reorder", "0.02"]) else { return };
        let rig = Rig::with(quick(), Camera { transport, ..camera(&farm.url()) }).await;
        let fragments = rig.wait_fragments("fragments", |f| f.len() >= 4).await;
        rig.check(&fragments).await;
        assert_eq!(rig.cameras.reconnects(&"gate".parse().unwrap()), 0);
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jump_of_the_cameras_clock_is_a_discontinuity() {
    let Some(farm) = Farm::start(AV, &["--ts-jump", "4:90000000"]) else { return };
    let rig = Rig::with(quick(), camera(&farm.url())).await;
    let jumped = |f: &[media::FragmentMeta]| {
        f.iter().position(|f| f.cause == Some(Cause::TimeJump)).is_some_and(|at| f.len() > at + 2)
    };
    let fragments = rig.wait_fragments("a jump and more", jumped).await;
    rig.check(&fragments).await;
    assert_eq!(causes(&fragments), [Cause::Start, Cause::TimeJump]);
    // A thousand seconds on the camera, none on the timeline.
    let (first, last) = (fragments.first().unwrap(), fragments.last().unwrap());
    assert!(last.producer_start.0 - first.producer_start.0 < 60_000);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_falls_silent_is_reconnected() {
    let Some(farm) = Farm::start(TINY, &["--die-after", "5"]) else { return };
    let rig = Rig::with(quick(), camera(&farm.url())).await;
    rig.wait_live().await;
    let failure = rig.wait_failed().await;
    assert_eq!(failure.code, "lost");
    assert!(failure.message.contains("no picture for 2 s"), "{}", failure.message);
    let fragments = rig.wait_fragments("a fragment after it", |f| causes(f).contains(&Cause::SourceLost)).await;
    rig.check(&fragments).await;
    assert!(rig.cameras.reconnects(&"gate".parse().unwrap()) >= 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_comes_back_with_another_picture_size() {
    let port = common::free_port();
    let Some(farm) = Farm::start_at(port, TINY, &[]) else { return };
    let rig = Rig::with(quick(), camera(&farm.url())).await;
    rig.wait_fragments("a small one", |f| !f.is_empty()).await;
    drop(farm);
    let failure = rig.wait_failed().await;
    assert!(["lost", "refused", "protocol"].contains(&failure.code), "{failure:?}");
    let farm = Farm::start_at(port, AV, &[]).unwrap();
    let fragments = rig.wait_fragments("a large one", |f| causes(f).contains(&Cause::SourceLost)).await;
    let (first, last) = (rig.load(&fragments[0]).await, rig.load(fragments.last().unwrap()).await);
    assert_ne!(first.header.id, last.header.id);
    assert_eq!(last.header.video().unwrap().size, Some((1280, 720)));
    rig.stop().await;
    drop(farm);
}

#[tokio::test(flavor = "multi_thread")]
async fn parameter_sets_in_band_only_and_a_start_in_the_middle() {
    let Some(farm) = Farm::start(AV, &["--no-sprop", "--mid-gop"]) else { return };
    let rig = Rig::with(quick(), camera(&farm.url())).await;
    let fragments = rig.wait_fragments("three fragments", |f| f.len() >= 3).await;
    rig.check(&fragments).await;
    rig.decodes(&fragments[1]).await;
    assert_eq!(rig.load(&fragments[0]).await.header.video().unwrap().size, Some((1280, 720)));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_sequence_of_answers_is_named() {
    let Some(farm) = Farm::start(TINY, &["--cseq-lie"]) else { return };
    let rig = Rig::with(quick(), camera(&farm.url())).await;
    let failure = rig.wait_failed().await;
    assert_eq!(failure.code, "protocol");
    assert!(failure.message.contains("CSeq") && failure.message.contains("rtsp+gst://"), "{}", failure.message);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_camera_by_way_of_gstreamer() {
    for transport in [Transport::Tcp, Transport::Udp] {
        let Some(farm) = Farm::start(AV, &["--user", "admin", "--password", "s3cret-s3cret"]) else { return };
        let url = farm.url().replace("rtsp://", "rtsp+gst://");
        let rig = Rig::with(quick(), Camera { transport, ..with_login(camera(&url), "admin", "s3cret-s3cret") }).await;
        let state = rig.wait_live().await;
        assert!(matches!(state, CameraState::Live { via: "gstreamer", .. }), "{state:?}");
        let fragments = rig.wait_fragments("three fragments", |f| f.len() >= 3).await;
        rig.check(&fragments).await;
        rig.decodes(&fragments[1]).await;
        assert!(rig.load(&fragments[1]).await.header.audio().is_some());
        rig.store.put_camera(with_login(camera(&url), "admin", "wr0ng-wr0ng")).await.unwrap();
        let failure = rig.wait_failed().await;
        assert_eq!(failure.code, "unauthorized", "{failure:?}");
        assert!(!failure.message.contains("wr0ng"), "{}", failure.message);
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_says_what_a_camera_sends() {
    let Some(farm) = Farm::start(AV, &[]) else { return };
    let rig = Rig::new(quick()).await;
    let probe = rig.cameras.probe(&camera(&farm.url())).await.unwrap();
    assert_eq!((probe.width, probe.height), (1280, 720));
    assert!(probe.video.contains("H.264"), "{probe:?}");
    assert!(probe.audio.as_ref().is_some_and(|a| a.contains("AAC")), "{probe:?}");
    assert!((13.0..=17.0).contains(&probe.fps), "{probe:?}");
    assert!(!probe.has_b_frames);
    drop(farm);
    let Some(farm) = Farm::start(B_FRAMES, &[]) else { return };
    let probe = rig.cameras.probe(&camera(&farm.url())).await.unwrap();
    assert!(probe.has_b_frames && probe.remarks.iter().any(|r| r.contains("B-frames")), "{probe:?}");
    assert_eq!(probe.audio, None);
    let failure = rig.cameras.probe(&camera(&farm.url().replace("cam0", "cam7"))).await.unwrap_err();
    assert_eq!(failure.code, "not_found");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disabled_removed_and_added_again() {
    let Some(farm) = Farm::start(TINY, &[]) else { return };
    let rig = Rig::with(quick(), camera(&farm.url())).await;
    rig.wait_fragments("one", |f| !f.is_empty()).await;
    rig.store.put_camera(Camera { enabled: false, ..camera(&farm.url()) }).await.unwrap();
    rig.wait("disabled", |s| *s == CameraState::Disabled).await;
    rig.store.put_camera(camera(&farm.url())).await.unwrap();
    rig.wait_fragments("one more", |f| causes(f) == [Cause::Start, Cause::SourceStopped]).await;
    rig.store.delete_camera(&"gate".parse().unwrap()).await.unwrap();
    for _ in 0..200 {
        if rig.state().is_none() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(rig.state(), None);
    assert!(!rig.fragments().await.is_empty(), "the recording stays");
    rig.stop().await;
}
