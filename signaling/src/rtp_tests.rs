#![allow(clippy::unwrap_used)]

use super::*;
use crate::fanout::Packetizer;
use crate::testing::Camera;

fn pictures(count: usize) -> Vec<Arc<Picture>> {
    let (mut camera, mut packetizer) = (Camera::new(1000), Packetizer::default());
    (0..count).map(|_| Arc::new(packetizer.frame(&camera.live()).unwrap().unwrap())).collect()
}

fn drain(sender: &mut Sender, now: Instant) -> Vec<Packet> {
    std::iter::from_fn(|| sender.poll(now)).collect()
}

#[test]
fn pacing_lets_a_burst_go_and_then_a_steady_flow() {
    let pictures = pictures(200);
    let mut now = Instant::now();
    let mut sender = Sender::new(0, now);
    sender.start(&pictures);
    let total: usize = pictures.iter().map(|p| p.payloads.len()).sum();
    assert_eq!(drain(&mut sender, now).len(), 32);
    let mut sent = 32;
    let mut took = 0;
    while sender.is_behind() {
        now += Duration::from_millis(1);
        took += 1;
        let packets = drain(&mut sender, now).len();
        assert!(packets <= 6, "{packets} in a millisecond");
        sent += packets;
    }
    assert_eq!(sent, total);
    assert!(took <= total / 5 + 1);
}

#[test]
fn a_packet_is_written_as_rfc_3550_says() {
    let pictures = pictures(1);
    let mut sender = Sender::new(0x0005_0000_0007_u64 << 16 | 9, Instant::now());
    sender.start(&pictures);
    let packets = drain(&mut sender, Instant::now());
    let (mut first, mut last) = (Vec::new(), Vec::new());
    packets[0].write(102, 0xdead_beef, &mut first);
    packets[packets.len() - 1].write(102, 0xdead_beef, &mut last);
    assert_eq!((first[0], first[1], last[1]), (0x80, 102, 0x80 | 102), "the marker is on the last one");
    assert_eq!(first[8..12], [0xde, 0xad, 0xbe, 0xef]);
    let sequence = |p: &[u8]| u16::from_be_bytes([p[2], p[3]]);
    assert_eq!(sequence(&last) - sequence(&first), packets.len() as u16 - 1);
    assert_eq!(first[4..8], last[4..8], "one picture has one timestamp");
}

#[test]
fn history_answers_what_it_has_and_nothing_else() {
    let pictures = pictures(1500);
    let mut now = Instant::now();
    let mut sender = Sender::new(0, now);
    assert!(sender.repeat(0, now).is_none(), "nothing was sent");
    sender.start(&pictures);
    let mut packets = Vec::new();
    while sender.is_behind() {
        now += Duration::from_millis(1);
        packets.extend(drain(&mut sender, now));
    }
    assert!(packets.len() > HISTORY);
    let newest = packets.last().unwrap().sequence;
    assert!(sender.repeat(newest.wrapping_add(1), now).is_none(), "not sent yet");
    now += Duration::from_millis(100);
    for back in [0usize, 5, HISTORY - 1] {
        let wanted = &packets[packets.len() - 1 - back];
        let again = sender.repeat(wanted.sequence, now).unwrap();
        assert_eq!((again.sequence, again.timestamp, again.index), (wanted.sequence, wanted.timestamp, wanted.index));
    }
    assert!(sender.repeat(newest.wrapping_sub(HISTORY as u16), now).is_none(), "too old");
    let granted = (0..1000).filter(|_| sender.repeat(newest, now).is_some()).count();
    assert!(granted <= 32, "a NACK storm is paced: {granted}");
}

#[test]
fn a_viewer_that_is_too_slow_waits_for_the_next_key_frame() {
    let now = Instant::now();
    let mut sender = Sender::new(0, now);
    let (mut camera, mut packetizer) = (Camera::new(5000), Packetizer::default());
    let mut next = || Arc::new(packetizer.frame(&camera.live()).unwrap().unwrap());
    let first = next();
    assert_eq!(sender.picture(&first), 0, "not started, so nothing is missed");
    sender.start(&[first]);
    // Nothing is drained: the queue fills up to its bound, then all of it is skipped.
    let mut offered = 1u64;
    let skipped = loop {
        let picture = next();
        offered += 1;
        let skipped = sender.picture(&picture);
        if skipped > 0 {
            break skipped;
        }
        assert!(offered < 20_000);
    };
    assert_eq!(skipped, offered);
    assert_eq!(sender.picture(&next()), 1);
    assert!(!sender.is_behind());
    let mut camera = Camera::new(1);
    let key = Arc::new(Packetizer::default().frame(&camera.live()).unwrap().unwrap());
    assert_eq!(sender.picture(&key), 0);
    assert!(sender.is_behind());
}

#[test]
fn ntp_counts_from_1900() {
    assert_eq!(to_ntp(UnixMicros(0)), 2_208_988_800 << 32);
    assert_eq!(to_ntp(UnixMicros(500_000)), (2_208_988_800 << 32) + (1 << 31));
    assert_eq!(to_ntp(UnixMicros(-500_000)), (2_208_988_799 << 32) + (1 << 31));
}

#[test]
fn sender_reports_give_the_producer_time_of_a_true_timestamp() {
    let pictures = pictures(60);
    let mut now = Instant::now();
    let mut sender = Sender::new(12345, now);
    assert!(sender.poll_report(now).is_none(), "nothing was sent");
    sender.start(&pictures);
    let mut reports = Vec::new();
    let mut packets = Vec::new();
    while sender.is_behind() {
        now += Duration::from_millis(1);
        packets.extend(drain(&mut sender, now));
        reports.extend(sender.poll_report(now));
    }
    let newest = pictures.last().unwrap();
    let [report] = reports[..] else { panic!("one report, not {}", reports.len()) };
    assert_eq!((report.ntp, report.rtp), (to_ntp(newest.time), packets.last().unwrap().timestamp));
    assert_eq!(report.packets as usize, packets.len());
    assert_eq!(report.octets as usize, pictures.iter().map(|p| p.bytes).sum::<usize>());
    assert!(sender.poll_report(now + Duration::from_millis(1999)).is_none());
    assert!(sender.poll_report(now + REPORT_INTERVAL).is_some());
}
