//! Bodies of the fuzz targets of what publishers send.

use super::core::{Core, Formats};
use super::offer::{Local, Offer};
use crate::candidates::Candidate;
use crate::ice::Credentials;
use bytes::Bytes;
use media::{Item, UnixMicros, h264};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A publisher's offer: one that can be read gets an answer with as many sections, no longer than what it repeats and lines of our own.
pub fn whip_offer(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(offer) = Offer::parse(&text) else { return };
    assert!(offer.formats.video < 128 && offer.formats.audio != Some(offer.formats.video));
    let ice = Credentials::from_random([5; 32]);
    let candidates = [Candidate { addr: SocketAddr::from(([192, 0, 2, 1], 8080)), priority: 1 }];
    let answer = offer.answer(&Local { session: 7, ice: &ice, fingerprint: "00", candidates: &candidates });
    let sections = |text: &str| text.lines().filter(|line| line.starts_with("m=")).count();
    assert!(answer.starts_with("v=0\r\n") && answer.ends_with("\r\n"));
    assert_eq!(sections(&answer), sections(&text));
    assert!(answer.len() <= 2 * text.len() + (32 << 10));
}

/// A script of packets, each after two bytes: how long it takes to come in ms, and its length. What is kept is bounded, what comes out is
/// whole, and feedback can be read.
pub fn publisher(mut script: &[u8]) {
    let begun = Instant::now();
    let mut now = begun;
    let formats = Formats {
        video: 102,
        audio: Some(111),
        transport_cc: Some(3),
        nack: [true; 2],
        pli: true,
        ..Formats::default()
    };
    let mut core = Core::new(formats, 1, Duration::from_secs(2), now);
    while let Some(([wait, length], rest)) = script.split_first_chunk::<2>() {
        now += Duration::from_millis(u64::from(*wait));
        let arrival = UnixMicros(now.duration_since(begun).as_micros() as i64);
        let (packet, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        script = rest;
        if packet.get(1).is_some_and(|kind| (192..=223).contains(kind)) {
            core.control(packet, arrival, now);
        } else if let Some(head) = core.head(packet, now) {
            core.packet(&head, Bytes::copy_from_slice(packet), arrival, now);
        }
        core.handle_timeout(now);
        assert!(core.held() <= 10_000);
        while let Some(item) = core.poll_item() {
            if let Item::Frame(unit) = item {
                assert!(unit.track > 0 || h264::nal_units(&unit.data, 4).all(|nal| nal.is_ok()));
            }
        }
        if let Some(feedback) = core.poll_feedback(now) {
            assert!(feedback.len() <= 8 << 10 && feedback.len().is_multiple_of(4));
            assert!(rtc::rtcp::packet::unmarshal(&mut &feedback[..]).is_ok());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn every_target_holds_for_any_bytes(
            packets in proptest::collection::vec((any::<u8>(), 0u16..60, any::<bool>(), any::<bool>(),
                proptest::collection::vec(any::<u8>(), 0..40)), 0..60),
            text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut script = Vec::new();
            for (wait, number, sound, marker, body) in packets {
                let kind = if sound { 111 } else { 102 } | if marker { 0x80 } else { 0 };
                let mut packet = vec![0x80, kind];
                packet.extend((number.wrapping_sub(20)).to_be_bytes());
                packet.extend([0, 0, 0, (number / 4) as u8, 0, 0, 0, 7]);
                packet.extend(body);
                script.extend([wait, packet.len() as u8]);
                script.extend(packet);
            }
            publisher(&script);
            publisher(&text);
            whip_offer(&text);
        }
    }
}
