//! Offers as browsers and other publishers make them.
#![allow(clippy::unwrap_used)]

use super::*;
use std::net::SocketAddr;

const FINGERPRINT: &str =
    "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF";

/// What a browser offers that sends sound and pictures, with these payload types of video.
fn offer(video: &str) -> String {
    format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
         m=audio 9 UDP/TLS/RTP/SAVPF 111 9\r\na=ice-ufrag:VFrm\r\na=ice-pwd:3bxkPFZZkwRx0OjsGBdrjD+3\r\n\
         a=fingerprint:sha-256 {FINGERPRINT}\r\na=setup:actpass\r\na=mid:0\r\na=extmap:3 {TRANSPORT_CC}\r\na=sendonly\r\n\
         a=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
         a=rtpmap:9 G722/8000\r\n\
         m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103 104\r\na=mid:1\r\na=extmap:4/sendonly urn:x\r\na=extmap:3 {TRANSPORT_CC}\r\n\
         a=sendonly\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n{video}"
    )
}

const H264: &str = "a=rtpmap:104 H264/90000\r\na=fmtp:104 packetization-mode=0;profile-level-id=42001f\r\n\
    a=rtpmap:102 H264/90000\r\na=rtcp-fb:102 goog-remb\r\na=rtcp-fb:102 transport-cc\r\na=rtcp-fb:102 ccm fir\r\n\
    a=rtcp-fb:102 nack\r\na=rtcp-fb:102 nack pli\r\n\
    a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f;sprop-parameter-sets=Z0LAH9oBQBY=,aM48gA==,!\r\n";

fn answer(offer: &Offer) -> String {
    let ice = Credentials::from_random([5; 32]);
    let candidates = [Candidate { addr: SocketAddr::from(([192, 0, 2, 1], 8080)), priority: 1 }];
    offer.answer(&Local { session: 7, ice: &ice, fingerprint: "00", candidates: &candidates })
}

#[test]
fn pictures_and_sound_of_a_browser_are_received() {
    let offer = Offer::parse(&offer(H264)).unwrap();
    let formats = &offer.formats;
    assert_eq!((formats.video, formats.audio, formats.transport_cc), (102, Some(111), Some(3)));
    assert_eq!((formats.nack, formats.pli, offer.remote.active), ([true, false], true, false));
    assert_eq!(
        (&formats.sets[0][0][..], &formats.sets[1][0][..]),
        (&crate::testing::SPS[..], &crate::testing::PPS[..])
    );
    let answer = answer(&offer);
    for line in [
        "a=group:BUNDLE 0 1",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "a=fmtp:111 minptime=10;useinbandfec=1",
        "m=video 9 UDP/TLS/RTP/SAVPF 102",
        "a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e034",
        "a=rtcp-fb:102 transport-cc",
        "a=rtcp-fb:102 nack pli",
        "a=ice-lite",
    ] {
        assert_eq!(answer.lines().filter(|l| *l == line).count(), 1, "{line} in\n{answer}");
    }
    assert_eq!(answer.matches("a=recvonly").count(), 2);
    assert!(answer.find("a=candidate") < answer.find("m=video"), "in the first section of the bundle");
    assert_eq!(answer.matches(&format!("a=extmap:3 {TRANSPORT_CC}")).count(), 2);
    assert!(!answer.contains("goog-remb") && !answer.contains("sprop") && !answer.contains("rtx"));
}

#[test]
fn what_cannot_be_received_is_silent_or_refused_by_name() {
    // Sound that is no Opus stays, silent; a section that only wants to receive is rejected.
    let other = offer(H264).replace("opus/48000/2", "PCMU/8000").replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 0 1 2")
        + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:2\r\na=recvonly\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n";
    let parsed = Offer::parse(&other).unwrap();
    let text = answer(&parsed);
    assert_eq!(parsed.formats.audio, None);
    assert!(text.contains("a=rtpmap:111 PCMU/8000\r\na=inactive") && text.contains("m=video 0 UDP/TLS/RTP/SAVPF 96"));
    assert!(text.contains("a=group:BUNDLE 0 1\r\n"));

    let refused = |text: &str| Offer::parse(text).err().unwrap();
    let no_h264 = refused(&offer("a=rtpmap:102 VP9/90000\r\na=rtpmap:103 AV1/90000\r\na=rtpmap:104 H265/90000\r\n"));
    assert!(no_h264.ends_with("it offers AV1, H265, VP8, VP9"), "{no_h264}");
    assert_eq!(refused(&offer(H264).replace("a=sendonly", "a=recvonly")), "no video section of it sends");
    let audio_alone = offer(H264).split("m=video").next().unwrap().to_owned();
    assert_eq!(refused(&audio_alone), "no video section of it sends");
    assert!(
        refused(&offer(H264).replace("a=rtpmap:102", "a=rtpmap:111").replace("102", "111")).contains("payload type")
    );
    assert!(refused("hello").contains("v=0"));
}

#[test]
fn single_units_will_do_and_levels_stay_where_they_must() {
    let video = "a=rtpmap:104 H264/90000\r\na=rtcp-fb:104 goog-remb\r\na=fmtp:104 profile-level-id=640028\r\n";
    let parsed = Offer::parse(&offer(video)).unwrap();
    let formats = &parsed.formats;
    assert_eq!((formats.video, formats.transport_cc, formats.remb, formats.pli), (104, None, true, false));
    let text = answer(&parsed);
    assert!(text.contains("a=fmtp:104 profile-level-id=640028\r\n") && text.contains("a=rtcp-fb:104 goog-remb"));
    assert!(!text.contains("transport-wide-cc") && !text.contains("a=rtcp-fb:111 transport-cc\r\na=extmap"));
}
