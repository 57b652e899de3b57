//! The RTP stream to one viewer: its own numbers on packets that all viewers share.
//!
//! What belongs here: sequence numbers, timestamps, pacing, the history that answers NACKs, sender reports' figures.
//! Pure: no keys, no sockets; `now` is passed in.
//!
//! **Catching up.** A new viewer first gets the pictures of the open fragment, from its key frame to the live edge, as
//! fast as pacing allows and with timestamps one millisecond apart that end at the newest picture's true one. A browser
//! plays by timestamps: with the true ones it would show the past at normal speed and stay behind for good. This way it
//! decodes them all at once, shows the first as soon as it is there, and is live when the last has arrived.

use crate::fanout::Picture;
use media::UnixMicros;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between the timestamps of pictures that are caught up on: 1 ms, so that they stay apart and are all due at once.
const CATCH_UP_STEP_90K: u32 = 90;
/// Packets that may leave at once. A browser's socket buffer has 64 KiB or more; this is under 40 KiB.
const BURST_PACKETS: f64 = 32.0;
/// And so many a millisecond after that: 48 Mbit/s.
const PACKETS_PER_MS: f64 = 5.0;
/// Packets kept for NACKs: at 48 Mbit/s 0.4 s, at 4 Mbit/s 5 s. An entry is a few words; payloads are shared.
const HISTORY: usize = 2048;
/// A viewer that is behind by more waits for the next key frame.
const BACKLOG_BYTES: usize = 8 << 20;
/// Between sender reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(2);

/// A packet to send: a shared payload with this viewer's numbers.
#[derive(Clone)]
pub(crate) struct Packet {
    /// The picture that holds the payload.
    pub(crate) picture: Arc<Picture>,
    /// Which payload of the picture.
    pub(crate) index: usize,
    /// Sequence number.
    pub(crate) sequence: u16,
    /// Timestamp, in units of the stream's clock.
    pub(crate) timestamp: u32,
}

impl Packet {
    /// Writes the RTP header (RFC 3550 §5.1) and the payload.
    pub(crate) fn write(&self, payload_type: u8, ssrc: u32, out: &mut Vec<u8>) {
        let payload = &self.picture.payloads[self.index];
        out.clear();
        out.push(0x80);
        out.push(payload_type & 0x7f | u8::from(payload.marker) << 7);
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&ssrc.to_be_bytes());
        out.extend_from_slice(payload.head());
        out.extend_from_slice(&payload.body);
    }
}

struct Queued {
    picture: Arc<Picture>,
    timestamp: u32,
    next: usize,
}

/// What a sender report says (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// Producer time as NTP: 32.32 fixed point seconds since 1900.
    pub(crate) ntp: u64,
    /// The same instant as RTP timestamp.
    pub(crate) rtp: u32,
    /// Packets sent so far.
    pub(crate) packets: u32,
    /// Payload bytes sent so far.
    pub(crate) octets: u32,
}

/// The RTP stream to one viewer.
pub(crate) struct Sender {
    sequence: u16,
    /// Added to every timestamp: they start at random (RFC 3550 §5.1).
    offset: u32,
    queue: VecDeque<Queued>,
    queued_bytes: usize,
    history: VecDeque<Packet>,
    tokens: f64,
    refilled: Instant,
    started: bool,
    /// Pictures are skipped until the next key frame.
    waits_for_key: bool,
    /// Producer time and timestamp of the newest picture sent with its true timestamp.
    newest: Option<(UnixMicros, u32)>,
    /// Timestamp of the newest packet sent.
    last_sent: Option<u32>,
    packets: u32,
    octets: u32,
    report_at: Instant,
}

impl Sender {
    /// A stream that starts at random numbers.
    pub(crate) fn new(random: u64, now: Instant) -> Self {
        Sender {
            // Low at first, so that the first packets cannot be lost around a rollover (RFC 3711 §3.3.1).
            sequence: (random >> 32) as u16 & 0x3fff,
            offset: random as u32,
            queue: VecDeque::new(),
            queued_bytes: 0,
            history: VecDeque::new(),
            tokens: BURST_PACKETS,
            refilled: now,
            started: false,
            waits_for_key: true,
            newest: None,
            last_sent: None,
            packets: 0,
            octets: 0,
            report_at: now,
        }
    }

    /// The viewer is ready, or has to start again: queues the pictures since the last key frame, if there are any.
    /// Sound starts with none.
    pub(crate) fn start(&mut self, pictures: &[Arc<Picture>]) {
        self.started = true;
        let Some(last) = pictures.last() else { return };
        self.queue.clear();
        self.queued_bytes = 0;
        self.waits_for_key = false;
        let behind = (pictures.len() as u32 - 1) * CATCH_UP_STEP_90K;
        if let Some(sent) = self.last_sent {
            // Timestamps only grow, also where pictures are sent for the second time: the whole stream moves on a little.
            let first = self.timestamp(last).wrapping_sub(behind);
            let ahead = sent.wrapping_add(CATCH_UP_STEP_90K).wrapping_sub(first);
            if ahead as i32 > 0 {
                self.offset = self.offset.wrapping_add(ahead);
            }
        }
        let mut timestamp = self.timestamp(last).wrapping_sub(behind);
        for picture in pictures {
            self.push(picture.clone(), timestamp);
            timestamp = timestamp.wrapping_add(CATCH_UP_STEP_90K);
        }
    }

    /// Queues a picture of the live edge. Returns how many pictures this viewer now misses because of it.
    pub(crate) fn picture(&mut self, picture: &Arc<Picture>) -> u64 {
        if !self.started {
            return 0;
        }
        let skipped = if self.queued_bytes > BACKLOG_BYTES { self.skip() } else { 0 };
        if self.waits_for_key && !picture.key {
            return skipped + 1;
        }
        self.waits_for_key = false;
        self.push(picture.clone(), self.timestamp(picture));
        skipped
    }

    /// Bytes of the pictures that wait.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Lets go of what waits; it goes on with the next key frame. Returns how many pictures are missed because of it.
    pub(crate) fn skip(&mut self) -> u64 {
        let skipped = self.queue.len() as u64;
        self.queue.clear();
        self.queued_bytes = 0;
        self.waits_for_key = true;
        skipped
    }

    /// Lets go of what was sent but for the newest packets: who asks for others again asks in vain.
    pub(crate) fn forget_sent(&mut self, kept: usize) {
        let much = self.history.len().saturating_sub(kept);
        self.history.drain(..much);
    }

    fn timestamp(&self, picture: &Picture) -> u32 {
        // Timestamps wrap by design.
        self.offset.wrapping_add(picture.media_time as u32)
    }

    fn push(&mut self, picture: Arc<Picture>, timestamp: u32) {
        self.queued_bytes += picture.bytes;
        self.queue.push_back(Queued { picture, timestamp, next: 0 });
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.refilled).as_secs_f64() * 1000.0;
        self.tokens = (self.tokens + elapsed * PACKETS_PER_MS).min(BURST_PACKETS);
        self.refilled = now;
    }

    /// Whether something waits for pacing.
    pub(crate) fn is_behind(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The next packet that may leave now.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Packet> {
        if self.tokens < 1.0 {
            self.refill(now);
            if self.tokens < 1.0 {
                return None;
            }
        }
        let front = self.queue.front_mut()?;
        let index = front.next;
        front.next += 1;
        let packet =
            Packet { picture: front.picture.clone(), index, sequence: self.sequence, timestamp: front.timestamp };
        self.last_sent = Some(packet.timestamp);
        self.sequence = self.sequence.wrapping_add(1);
        self.tokens -= 1.0;
        self.packets = self.packets.wrapping_add(1);
        let payload = &packet.picture.payloads[index];
        self.octets = self.octets.wrapping_add((payload.head().len() + payload.body.len()) as u32);
        if index + 1 == packet.picture.payloads.len() {
            self.queued_bytes -= packet.picture.bytes;
            self.queue.pop_front();
            let true_timestamp = self.timestamp(&packet.picture);
            if packet.timestamp == true_timestamp {
                self.newest = Some((packet.picture.time, true_timestamp));
            }
        }
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(packet.clone());
        Some(packet)
    }

    /// A packet that the viewer misses, if it is still known and pacing allows to send it again.
    pub(crate) fn repeat(&mut self, sequence: u16, now: Instant) -> Option<Packet> {
        let newest = self.history.back()?.sequence;
        let back = usize::from(newest.wrapping_sub(sequence));
        let index = self.history.len().checked_sub(back + 1)?;
        self.refill(now);
        if self.tokens < 1.0 {
            return None;
        }
        self.tokens -= 1.0;
        self.history.get(index).cloned()
    }

    /// A sender report, when one is due and there is something to say.
    pub(crate) fn poll_report(&mut self, now: Instant) -> Option<Report> {
        let (time, rtp) = self.newest?;
        if now < self.report_at {
            return None;
        }
        self.report_at = now + REPORT_INTERVAL;
        Some(Report { ntp: to_ntp(time), rtp, packets: self.packets, octets: self.octets })
    }
}

/// Seconds since 1900 as 32.32 fixed point (RFC 5905 §6); wraps in 2036 as everybody's does.
fn to_ntp(time: UnixMicros) -> u64 {
    const UNIX_EPOCH_S: i64 = 2_208_988_800;
    let seconds = time.0.div_euclid(1_000_000).wrapping_add(UNIX_EPOCH_S) as u32;
    let fraction = ((time.0.rem_euclid(1_000_000) as u64) << 32) / 1_000_000;
    u64::from(seconds) << 32 | fraction
}

#[cfg(test)]
#[path = "rtp_tests.rs"]
mod tests;
