//! Bodies of fuzz targets: bytes in, no panic, and what must hold of the result. `./run fuzz` runs them; the tests below run each over
//! random bytes too.

pub use crate::channel::fuzz::fuzz as channel;
pub use crate::receive::fuzz::{publisher, whip_offer};

use crate::candidates::Candidate;
use crate::demux::{Demux, Kind};
use crate::fanout::Tracks;
use crate::ice::{Credentials, Lite};
use crate::sdp::{Local, Offer};
pub use crate::turn::fuzzing::{stun_message, turn_session};
use media::rtp::sound::Sound;
use std::net::SocketAddr;

/// The viewer's ICE fragment.
const VIEWER: &str = "viewer";

/// Our ICE fragment and password.
fn credentials() -> Credentials {
    Credentials::from_random([5; 32])
}

/// An offer that can be read takes a bounded number of bytes, has a payload type for every stream, and gets an answer
/// with as many sections.
pub fn sdp_offer(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(offer) = Offer::parse(&text) else { return };
    assert!(offer.bytes() <= (1 << 20) + 4 * text.len());
    let ice = credentials();
    let candidates = [Candidate { addr: SocketAddr::from(([192, 0, 2, 1], 8080)), priority: 1 }];
    let local = Local {
        session: 7,
        ice: &ice,
        fingerprint: "00",
        ssrc: 42,
        sound_ssrc: 43,
        cname: "name",
        candidates: &candidates,
    };
    let sections = |text: &str| text.lines().filter(|line| line.starts_with("m=")).count();
    for (profile_idc, sound) in
        [(0x42, None), (0x4d, Some(Sound::Opus)), (0x64, Some(Sound::Pcmu)), (0xff, Some(Sound::Pcma))]
    {
        let Some(chosen) = offer.chosen(Tracks { video: Some([profile_idc, 0]), sound }) else {
            assert!(!offer.wants_video(), "an offer of pictures that is read has a payload type for each profile");
            continue;
        };
        assert_eq!(chosen.video.is_some(), offer.wants_video());
        assert!(chosen.video.is_none_or(|payload| payload.number < 128));
        let answer = offer.answer(&chosen, &local);
        assert!(answer.starts_with("v=0\r\n") && answer.ends_with("\r\n"));
        assert_eq!(sections(&answer), sections(&text));
        // What it repeats of the offer, and at most 32 sections of our own lines.
        assert!(answer.len() <= 2 * text.len() + (32 << 10));
    }
}

/// A datagram from a known address, and from an unknown one: which peer it is for goes by its first byte, its user
/// name and that address. A check is answered with as much as any other.
pub fn datagram(data: &[u8]) {
    let ours = credentials();
    let (known, unknown) = (SocketAddr::from(([192, 0, 2, 7], 7)), SocketAddr::from(([192, 0, 2, 8], 8)));
    let mut demux = Demux::default();
    demux.add(&ours.ufrag, 1);
    demux.learn(known, 2);
    let (from_known, from_unknown) = (demux.route(known, data), demux.route(unknown, data));
    match from_known {
        Ok((peer, Kind::Stun)) => {
            assert_eq!((peer, &data[..2]), (1, &[0, 1][..]));
            assert!(data.windows(9).any(|w| w == format!("{}:", ours.ufrag).as_bytes()));
            assert_eq!(from_unknown, from_known, "a check goes by its name, wherever it comes from");
        }
        Ok((peer, kind)) => {
            assert_eq!((peer, kind == Kind::Dtls), (2, (20..=63).contains(&data[0])));
            assert!(from_unknown.is_err());
        }
        Err(_) => assert!(from_unknown.is_err()),
    }
    let crypto = rtc::crypto::default_provider().expect("a provider is compiled in");
    if let Some(checked) = Lite::new(ours, VIEWER, crypto).check(data, known) {
        // The header, the address, the signature and the checksum: an answer is no amplifier.
        assert_eq!(checked.response.len(), 20 + 12 + 24 + 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rtc::stun::attributes::ATTR_USERNAME;
    use rtc::stun::integrity::MessageIntegrity;
    use rtc::stun::message::{BINDING_REQUEST, Message, Setter, TransactionId};
    use rtc::stun::textattrs::TextAttribute;

    const OFFER: &str = "v=0\r\na=group:BUNDLE 0 1\r\n\
        a=fingerprint:sha-256 1B:EA:BF:33:B8:11:26:6D:91:AD:1B:A0:16:FD:5D:60:59:33:F7:46:A3:BA:99:2A:1D:04:99:A6:F2:C6:2D:43\r\n\
        a=ice-ufrag:VFrm\r\na=ice-pwd:3bxkPFZZkwRx0OjsGBdrjD+3\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
        a=rtpmap:111 opus/48000/2\r\nm=video 9 UDP/TLS/RTP/SAVPF 96 102\r\na=mid:1\r\na=rtcp-mux\r\na=setup:actpass\r\n\
        a=rtpmap:102 H264/90000\r\na=rtcp-fb:* nack\r\na=fmtp:102 packetization-mode=1;profile-level-id=42e01f\r\n";

    /// A Binding request under our fragment.
    fn request() -> Vec<u8> {
        let user = format!("{}:{VIEWER}", credentials().ufrag);
        let mut attributes = vec![0, 0x25, 0, 0, 0, 6, 0, user.len() as u8];
        attributes.extend_from_slice(user.as_bytes());
        attributes.resize(attributes.len().next_multiple_of(4), 0);
        let mut message = vec![0, 1, 0, attributes.len() as u8, 0x21, 0x12, 0xa4, 0x42];
        message.extend_from_slice(&[7; 12]);
        message.extend_from_slice(&attributes);
        message
    }

    /// One that is signed.
    fn signed() -> Vec<u8> {
        let (ours, crypto) = (credentials(), rtc::crypto::default_provider().expect("a provider is compiled in"));
        let user = TextAttribute::new(ATTR_USERNAME, format!("{}:{VIEWER}", ours.ufrag));
        let integrity = MessageIntegrity::new_short_term_integrity_with_provider(ours.pwd, crypto.crypto());
        let mut message = Message::new();
        let parts: [Box<dyn Setter>; 4] =
            [Box::new(TransactionId([9; 12])), Box::new(BINDING_REQUEST), Box::new(user), Box::new(integrity)];
        message.build(&parts).expect("builds");
        message.raw
    }

    /// Random bytes, and bytes that look like what the parsers want for a while, some of them changed.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let seed = prop_oneof![
            Just(Vec::new()),
            Just(OFFER.as_bytes().to_vec()),
            Just(request()),
            Just(signed()),
            Just(vec![22, 0xfe, 0xfd]),
            Just(vec![0x80, 200]),
        ];
        let lines = [
            "a=rtcp-fb:* nack\r\n",
            "m=audio 9 X 1 1\r\n",
            "a=mid:1\r\n",
            "a=fmtp:102 x\r\n",
            "\r",
            "a=setup:passive\n",
        ];
        let line = prop::sample::select(lines.to_vec()).prop_map(|line| line.as_bytes().to_vec());
        let piece = prop_oneof![line, proptest::collection::vec(any::<u8>(), 0..40)];
        let tail = proptest::collection::vec(piece, 0..4);
        let changes = proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
        (seed, tail, changes).prop_map(|(mut bytes, tail, changes)| {
            bytes.extend(tail.concat());
            for (at, byte) in changes {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
            }
            bytes
        })
    }

    #[test]
    fn what_the_bytes_begin_with_is_taken() {
        assert!(Offer::parse(OFFER).is_ok());
        let mut demux = Demux::default();
        demux.add(&credentials().ufrag, 1);
        assert_eq!(demux.route(SocketAddr::from(([192, 0, 2, 9], 9)), &request()), Ok((1, Kind::Stun)));
        let crypto = rtc::crypto::default_provider().expect("a provider is compiled in");
        let lite = Lite::new(credentials(), VIEWER, crypto);
        assert!(lite.check(&signed(), SocketAddr::from(([192, 0, 2, 7], 7))).is_some());
        datagram(&signed());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn every_target_holds_for_any_bytes(bytes in bytes()) {
            sdp_offer(&bytes);
            datagram(&bytes);
        }
    }
}
