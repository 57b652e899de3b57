use super::*;

const PRINT: &str = "1B:EA:BF:33:B8:11:26:6D:91:AD:1B:A0:16:FD:5D:60:59:33:F7:46:A3:BA:99:2A:1D:04:99:A6:F2:C6:2D:43";

/// The shape of Chromium's offer for audio and video to receive.
fn chromium() -> String {
    format!(
        "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1 2\r\na=extmap-allow-mixed\r\n\
        a=msid-semantic: WMS\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:VFrm\r\n\
        a=ice-pwd:3bxkPFZZkwRx0OjsGBdrjD+3\r\na=ice-options:trickle\r\na=fingerprint:sha-256 {PRINT}\r\na=setup:actpass\r\n\
        a=mid:0\r\na=recvonly\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103 106 107 108 127 112\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:VFrm\r\n\
        a=ice-pwd:3bxkPFZZkwRx0OjsGBdrjD+3\r\na=fingerprint:sha-256 {PRINT}\r\na=setup:actpass\r\na=mid:1\r\na=recvonly\r\n\
        a=rtcp-mux\r\na=rtcp-rsize\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtpmap:102 H264/90000\r\n\
        a=rtcp-fb:102 goog-remb\r\na=rtcp-fb:102 nack\r\na=rtcp-fb:102 nack pli\r\n\
        a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f\r\n\
        a=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\n\
        a=rtpmap:106 H264/90000\r\na=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
        a=rtpmap:108 H264/90000\r\na=fmtp:108 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f\r\n\
        a=rtpmap:127 H264/90000\r\na=rtcp-fb:* nack\r\na=fmtp:127 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f\r\n\
        a=rtpmap:112 H264/90000\r\na=fmtp:112 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=64001f\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:2\r\na=sctp-port:5000\r\n"
    )
}

fn local<'a>(ice: &'a Credentials, candidates: &'a [Candidate]) -> Local<'a> {
    Local { session: 7, ice, fingerprint: PRINT, ssrc: 42, sound_ssrc: 44, cname: "name", candidates }
}

/// A stream of pictures alone.
fn pictures(profile_idc: u8, constraints: u8) -> Tracks {
    Tracks { video: Some([profile_idc, constraints]), sound: None }
}

#[test]
fn a_browsers_offer_is_read() {
    let offer = Offer::parse(&chromium()).expect("an offer");
    assert_eq!((offer.ufrag.as_str(), offer.fingerprint.as_str(), offer.active), ("VFrm", PRINT, false));
    assert_eq!((offer.video, offer.sound, offer.sections.len()), (Some(1), Some(0), 3));
}

#[test]
fn the_payload_type_with_the_streams_profile_is_chosen() {
    let offer = Offer::parse(&chromium()).expect("an offer");
    let number = |idc, flags| offer.choose(idc, flags).expect("one").number;
    assert_eq!(number(0x42, 0xe0), 106, "constrained baseline");
    assert_eq!(number(0x42, 0x00), 102, "baseline");
    assert_eq!(number(0x4d, 0x00), 127, "main");
    assert_eq!(number(0x64, 0x00), 112, "high");
    assert_eq!(number(0x6e, 0x00), 112, "what nobody offers gets the nearest below");
    let only_baseline = chromium().replace("4d001f", "42e01f").replace("64001f", "42e01f");
    let offer = Offer::parse(&only_baseline).expect("an offer");
    assert!(offer.choose(0x64, 0).is_some(), "a browser that offers baseline only still decodes more");
}

#[test]
fn the_answer_sends_video_keeps_sound_silent_and_rejects_the_rest() {
    let offer = Offer::parse(&chromium()).expect("an offer");
    let ice = Credentials::from_random([1; 32]);
    let candidates = [Candidate { addr: "192.0.2.1:8080".parse().expect("an address"), priority: 1 }];
    let answer = offer.answer(&offer.chosen(pictures(0x64, 0)).expect("one"), &local(&ice, &candidates));
    let sections: Vec<&str> = answer.split("m=").skip(1).collect();
    assert_eq!(sections.len(), 3, "as many as in the offer, in its order");
    assert!(answer.contains("a=group:BUNDLE 0 1\r\n") && answer.contains("a=ice-lite\r\n"));
    assert!(sections[0].starts_with("audio 9 UDP/TLS/RTP/SAVPF 111\r\n") && sections[0].contains("a=inactive\r\n"));
    assert!(sections[0].contains("a=candidate:"), "browsers take candidates from the first section of the bundle");
    assert!(sections[1].starts_with("video 9 UDP/TLS/RTP/SAVPF 112\r\n"));
    for line in [
        "a=sendonly",
        "a=setup:passive",
        "a=rtcp-mux",
        "a=rtpmap:112 H264/90000",
        "a=fmtp:112 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=64001f",
        "a=rtcp-fb:112 nack",
        "a=ssrc:42 cname:name",
        "a=end-of-candidates",
        "a=mid:1",
    ] {
        assert!(sections[1].contains(&format!("{line}\r\n")), "{line} is missing in {}", sections[1]);
    }
    assert!(sections[1].contains("a=candidate:") && sections[1].contains("192.0.2.1 8080 typ host"));
    assert!(sections[2].starts_with("application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n"));
    assert!(answer.lines().all(|line| line.len() > 2));
}

#[test]
fn sound_is_sent_beside_the_pictures_or_alone() {
    let ice = Credentials::from_random([1; 32]);
    let candidates = [Candidate { addr: "192.0.2.1:8080".parse().expect("an address"), priority: 1 }];
    let answer = |text: &str, tracks: Tracks| {
        let offer = Offer::parse(text).expect("an offer");
        offer.chosen(tracks).map(|chosen| offer.answer(&chosen, &local(&ice, &candidates)))
    };
    let of = |sound| Tracks { sound: Some(sound), ..pictures(0x64, 0) };
    let both = answer(&chromium(), of(Sound::Opus)).expect("an answer");
    let sections: Vec<&str> = both.split("m=").skip(1).collect();
    assert!(sections[0].starts_with("audio 9 UDP/TLS/RTP/SAVPF 111\r\n"), "{both}");
    for line in ["a=sendonly", "a=rtpmap:111 opus/48000/2", "a=ssrc:44 cname:name", "a=msid:vidicon audio"] {
        assert!(sections[0].contains(&format!("{line}\r\n")), "{line} is missing in {}", sections[0]);
    }
    assert!(sections[1].contains("a=sendonly\r\n") && sections[1].contains("a=msid:vidicon video\r\n"));
    assert!(sections[..2].iter().all(|s| s.contains("a=candidate:")), "{both}");

    // What is not offered is not sent; G.711 has payload types that need no words.
    let silent = answer(&chromium(), of(Sound::Pcmu)).expect("an answer");
    assert!(silent.split("m=").nth(1).expect("a section").contains("a=inactive\r\n"));
    let g711 = chromium().replace("SAVPF 111 63", "SAVPF 111 0 8");
    for (sound, format, map) in [(Sound::Pcmu, 0, "PCMU/8000"), (Sound::Pcma, 8, "PCMA/8000")] {
        let answer = answer(&g711, of(sound)).expect("an answer");
        assert!(answer.contains(&format!("m=audio 9 UDP/TLS/RTP/SAVPF {format}\r\n")), "{answer}");
        assert!(answer.contains(&format!("a=rtpmap:{format} {map}\r\n")));
    }

    // Sound alone, asked for or had.
    let end = chromium().find("m=video").expect("a video section");
    let asks = chromium()[..end].replace("BUNDLE 0 1 2", "BUNDLE 0");
    let alone = answer(&asks, of(Sound::Opus)).expect("an answer");
    assert!(
        alone.contains("a=sendonly\r\n") && alone.contains("a=candidate:") && !alone.contains("m=video"),
        "{alone}"
    );
    assert_eq!(answer(&asks, pictures(0x64, 0)), None);
    let had = answer(&chromium(), Tracks { video: None, sound: Some(Sound::Opus) }).expect("an answer");
    let sections: Vec<&str> = had.split("m=").skip(1).collect();
    assert!(sections[0].contains("a=sendonly\r\n") && sections[1].contains("a=inactive\r\n"), "{had}");
    assert!(sections[1].starts_with("video 9 ") && sections[0].contains("a=candidate:"), "{had}");

    // On a transport of its own it could not be sent.
    let apart = answer(&chromium().replace("BUNDLE 0 1 2", "BUNDLE 1 2"), of(Sound::Opus)).expect("an answer");
    assert!(apart.split("m=").nth(1).expect("a section").starts_with("audio 0 "), "{apart}");
}

#[test]
fn roles_and_places_of_attributes_follow_the_offer() {
    let offer = Offer::parse(&chromium().replace("a=setup:actpass", "a=setup:passive")).expect("an offer");
    assert!(offer.active);
    let ice = Credentials::from_random([1; 32]);
    let answer = offer.answer(&offer.chosen(pictures(0x42, 0xe0)).expect("one"), &local(&ice, &[]));
    assert!(answer.contains("a=setup:active"));
    // Firefox puts the fingerprint before all sections, and an aggregate offer has transport attributes once.
    let moved = format!("a=fingerprint:sha-256 {PRINT}\r\n");
    let text = chromium().replace(&moved, "").replace("a=group:BUNDLE", &format!("{moved}a=group:BUNDLE"));
    assert_eq!(Offer::parse(&text).expect("an offer").fingerprint, PRINT);
}

#[test]
fn what_cannot_be_answered_is_refused_with_a_reason() {
    let refused = |text: &str| Offer::parse(text).expect_err("refused");
    assert!(refused("").contains("v=0"));
    assert!(refused("hello").contains("v=0"));
    assert!(refused(&"v=0\r\n".repeat(20_000)).contains("bytes"));
    assert!(refused("v=0\r\ns=-\r\n").contains("video"));
    assert!(refused(&chromium().replace("a=recvonly", "a=sendonly")).contains("receive"));
    assert!(refused(&chromium().replace("H264/90000", "VP9/90000")).contains("H.264"));
    assert!(
        refused(&chromium().replace("packetization-mode=1", "packetization-mode=0")).contains("packetization-mode")
    );
    assert!(refused(&chromium().replace("sha-256", "sha-1")).contains("fingerprint"));
    assert!(refused(&chromium().replace("a=ice-ufrag", "a=x")).contains("ice-ufrag"));
    assert!(refused(&chromium().replace("a=ice-pwd", "a=x")).contains("ice-pwd"));
    assert!(refused(&chromium().replace("a=rtcp-mux", "a=x")).contains("rtcp-mux"));
    assert!(refused(&chromium().replace("m=video 9", "m=video nine")).contains("port"));
    assert!(refused(&format!("{}{}", chromium(), "m=audio 9 X 1\r\n".repeat(40))).contains("sections"));
}

#[test]
fn any_cut_or_bent_offer_is_handled() {
    let whole = chromium();
    let ice = Credentials::from_random([1; 32]);
    for end in (0..whole.len()).step_by(7) {
        if let Ok(offer) = Offer::parse(&whole[..end]) {
            // Cut before its video section, it asks for sound alone.
            let Some(chosen) = offer.chosen(pictures(0x64, 0)) else {
                assert!(!offer.wants_video());
                continue;
            };
            assert!(offer.answer(&chosen, &local(&ice, &[])).starts_with("v=0"));
        }
    }
}

#[test]
fn a_hostile_offer_costs_little() {
    // More formats than there are payload types, and feedback for all of them.
    let formats = format!("v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF{}\r\n", " 7".repeat(16_000));
    let hostile = formats + &"a=rtcp-fb:* x\r\n".repeat(2_000);
    assert!(hostile.len() <= MOST_BYTES && hostile.len() > 60_000);
    let started = std::time::Instant::now();
    assert!(Offer::parse(&hostile).expect_err("refused").contains("formats"));

    // As much as is read: all sections with all payload types, told of by as many lines as there is room for.
    let all: String = (0..128).map(|n| format!(" {n}")).collect();
    let mut largest = chromium();
    (3..MOST_SECTIONS).for_each(|_| largest += &format!("m=video 9 UDP/TLS/RTP/SAVPF{all}\r\na=rtcp-fb:* nack\r\n"));
    for line in ["rtcp-fb:* nack pli", "rtcp-fb:* x", "fmtp:* y", "rtpmap:* y"].into_iter().cycle() {
        let line = format!("a={line}\r\n");
        if largest.len() + line.len() > MOST_BYTES {
            break;
        }
        largest += &line;
    }
    let offer = Offer::parse(&largest).expect("an offer");
    assert_eq!(offer.sections.len(), MOST_SECTIONS);
    assert!(offer.sections.iter().flat_map(|s| &s.payloads).all(|p| p.feedback.len() <= FEEDBACK.len()));
    assert!(offer.bytes() < 1 << 20, "it takes {} bytes", offer.bytes());

    // One long value for many payload types, and many names in a group.
    let value = "z".repeat(MOST_VALUE_BYTES - 20);
    let same = format!("m=audio 9 UDP/TLS/RTP/SAVPF{}\r\n", " 5".repeat(128));
    let longest =
        format!("{}{same}a=fmtp:* {value}\r\na=fmtp:5 {value}\r\na=mid:{}\r\n", chromium(), "m".repeat(2_000));
    let longest = longest.replace("a=group:BUNDLE 0", &format!("a=group:BUNDLE 0{}", " n".repeat(450)));
    let offer = Offer::parse(&longest).expect("an offer");
    let last = offer.sections.last().expect("the added one");
    assert_eq!((last.payloads.len(), last.payloads[0].fmtp.len(), &last.mid), (1, value.len(), &None));
    assert_eq!(offer.bundle.len(), MOST_SECTIONS);
    assert!(offer.bytes() < 32 << 10, "it takes {} bytes", offer.bytes());
    assert!(started.elapsed() < std::time::Duration::from_secs(2), "took {:?}", started.elapsed());
}

#[test]
fn a_payload_type_has_seven_bits() {
    let text = chromium().replace("102 103 106", "102 103 230").replace(":106", ":230");
    let offer = Offer::parse(&text).expect("an offer");
    assert_eq!(offer.choose(0x42, 0xe0).expect("one").number, 102);
}
