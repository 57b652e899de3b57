//! One publisher's media: opened packets in, items for the recorder and feedback for the publisher out. Without I/O, told the time.

use super::order::{Next, Order, Put};
use super::packet::Head;
use super::twcc::Arrivals;
use bytes::{Bytes, BytesMut};
use media::item::{AUDIO, VIDEO};
use media::rtp::assembler::{AccessUnit, Assembler};
use media::{Item, Track, TrackKind, Unit, UnixMicros, h264, opus};
use rtc::rtcp;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::reception_report::ReceptionReport;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::{TransportLayerNack, nack_pairs_from_sequence_numbers};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Clock rate of pictures (RFC 6184 §8.2.1).
pub(crate) const VIDEO_HZ: u32 = 90_000;
/// Between two reports of what came.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// A key frame is asked for again after this.
const ASK_AGAIN: Duration = Duration::from_millis(700);
/// Of another source of the same payload type nothing is taken while the first was heard within this time.
const SOURCE_HELD: Duration = Duration::from_secs(2);
/// Bounds of what a publisher without transport-wide feedback is told to send, and where it begins, in bits a second.
const RATES: (f32, f32, f32) = (100e3, 2e6, 20e6);

/// What was agreed on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Formats {
    /// Payload type of H.264.
    pub(crate) video: u8,
    /// Parameter sets that the description had, if any.
    pub(crate) sets: [Vec<Bytes>; 2],
    /// Payload type of Opus.
    pub(crate) audio: Option<u8>,
    /// Id of the extension with the transport's numbers.
    pub(crate) transport_cc: Option<u8>,
    /// Whether an estimate of the line is taken.
    pub(crate) remb: bool,
    /// Whether lost pictures and lost sound may be asked for again.
    pub(crate) nack: [bool; 2],
    /// Whether a key frame may be asked for.
    pub(crate) pli: bool,
}

/// An opened packet.
#[derive(Debug)]
struct Packet {
    timestamp: u32,
    marker: bool,
    payload: Bytes,
    arrival: UnixMicros,
}

/// One of the two streams of packets.
#[derive(Debug)]
struct Inbound {
    rate_hz: u32,
    ssrc: Option<u32>,
    heard: Option<Instant>,
    order: Order<Packet>,
    /// Number of the first packet, and how many came; the same at the last report.
    first: u32,
    came: u32,
    told: (u32, u32),
    /// RFC 3550 §A.8: the timestamp and arrival of the last packet, both in ticks, and the jitter in sixteenths of one.
    transit: Option<i64>,
    jitter: u32,
    /// The middle of the NTP time of its last sender report, and when it came.
    report: Option<(u32, Instant)>,
}

impl Inbound {
    fn new(rate_hz: u32) -> Self {
        let (order, told) = (Order::default(), (0, 0));
        let (first, came, jitter) = (0, 0, 0);
        Inbound { rate_hz, ssrc: None, heard: None, order, first, came, told, transit: None, jitter, report: None }
    }

    /// Whether a packet of this source is taken.
    fn is_of(&mut self, ssrc: u32, now: Instant) -> bool {
        let is_other = self.ssrc.is_some_and(|known| known != ssrc);
        if is_other && self.heard.is_some_and(|at| now.saturating_duration_since(at) < SOURCE_HELD) {
            return false;
        }
        if is_other {
            *self = Inbound::new(self.rate_hz);
        }
        self.ssrc = Some(ssrc);
        true
    }

    fn count(&mut self, head: &Head, arrival: UnixMicros) {
        if self.came == 0 {
            self.first = self.order.newest();
        }
        self.came = self.came.wrapping_add(1);
        let ticks = i128::from(arrival.0) * i128::from(self.rate_hz) / 1_000_000;
        let transit = i64::from((ticks as u32).wrapping_sub(head.timestamp));
        if let Some(before) = self.transit.replace(transit) {
            let difference = (i64::from((transit as u32).wrapping_sub(before as u32) as i32)).unsigned_abs() as u32;
            self.jitter = (self.jitter - ((self.jitter + 8) >> 4)).saturating_add(difference.min(1 << 24));
        }
    }

    /// A block for the next report (RFC 3550 §6.4.1), and which part was lost since the last.
    fn block(&mut self, now: Instant) -> Option<(ReceptionReport, f32)> {
        let ssrc = self.ssrc.filter(|_| self.came > 0)?;
        let expected = self.order.newest().wrapping_sub(self.first).wrapping_add(1);
        let (expected_now, came_now) = (expected.wrapping_sub(self.told.0), self.came.wrapping_sub(self.told.1));
        self.told = (expected, self.came);
        let lost_now = expected_now.saturating_sub(came_now);
        let fraction = lost_now as f32 / expected_now.max(1) as f32;
        let (last_sender_report, delay) = self.report.map_or((0, 0), |(ntp, at)| {
            let since = now.saturating_duration_since(at);
            (ntp, (since.as_micros() * 65_536 / 1_000_000) as u32)
        });
        let block = ReceptionReport {
            ssrc,
            fraction_lost: (fraction * 256.0).min(255.0) as u8,
            total_lost: expected.saturating_sub(self.came).min(0x7f_ffff),
            last_sequence_number: self.order.newest(),
            jitter: self.jitter >> 4,
            last_sender_report,
            delay,
        };
        Some((block, fraction))
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Core {
    formats: Formats,
    /// Ours, in what we send.
    ssrc: u32,
    streams: [Inbound; 2],
    assembler: Assembler,
    /// Parameter sets of the pictures that come, and whether they were told.
    sets: [Vec<Bytes>; 2],
    told: bool,
    /// When the first packet of a picture came.
    began: Option<(u32, UnixMicros)>,
    lost_sound: u32,
    arrivals: Option<Arrivals>,
    items: VecDeque<Item>,
    /// Key frames: one is wanted at once; when the last came; when one was last asked for; how often they shall come.
    key_wanted: bool,
    last_key: Instant,
    asked: Option<Instant>,
    key_every: Duration,
    report_due: Instant,
    /// Since the last report, and what the line is thought to carry, in bits a second.
    bytes: u64,
    estimate: f32,
}

impl Core {
    /// A core that has heard nothing. `ssrc` is ours; a key frame is asked for where none came for `key_every`.
    pub(crate) fn new(formats: Formats, ssrc: u32, key_every: Duration, now: Instant) -> Self {
        Core {
            sets: formats.sets.clone(),
            arrivals: formats.transport_cc.map(|_| Arrivals::new(now)),
            formats,
            ssrc,
            streams: [Inbound::new(VIDEO_HZ), Inbound::new(opus::RATE_HZ)],
            assembler: Assembler::default(),
            told: false,
            began: None,
            lost_sound: 0,
            items: VecDeque::new(),
            key_wanted: true,
            last_key: now,
            asked: None,
            key_every,
            report_due: now + REPORT_EVERY,
            bytes: 0,
            estimate: RATES.1,
        }
    }

    /// Reads the head of a packet, which is sent in clear, and says whether the packet is worth opening.
    pub(crate) fn head(&mut self, packet: &[u8], now: Instant) -> Option<Head> {
        let head = Head::parse(packet, self.formats.transport_cc)?;
        let track = self.track(head.payload_type)?;
        self.streams[track].is_of(head.ssrc, now).then_some(head)
    }

    fn track(&self, payload_type: u8) -> Option<usize> {
        match payload_type {
            number if number == self.formats.video => Some(VIDEO),
            number if Some(number) == self.formats.audio => Some(AUDIO),
            _ => None,
        }
    }

    /// Takes an opened packet. False if it was of no use.
    pub(crate) fn packet(&mut self, head: &Head, opened: Bytes, arrival: UnixMicros, now: Instant) -> bool {
        let (Some(track), Some(range)) = (self.track(head.payload_type), head.payload(&opened)) else { return false };
        if let (Some(arrivals), Some(number)) = (&mut self.arrivals, head.transport_sequence) {
            arrivals.put(number, now);
        }
        self.bytes += opened.len() as u64;
        let stream = &mut self.streams[track];
        stream.heard = Some(now);
        let packet = Packet { timestamp: head.timestamp, marker: head.marker, payload: opened.slice(range), arrival };
        let put = stream.order.put(head.sequence, packet, now);
        if put == Put::Taken {
            stream.count(head, arrival);
        }
        self.drain(now);
        put == Put::Taken
    }

    /// Takes an opened RTCP packet. False if it cannot be read.
    pub(crate) fn control(&mut self, opened: &[u8], arrival: UnixMicros, now: Instant) -> bool {
        let Ok(packets) = rtcp::packet::unmarshal(&mut &opened[..]) else { return false };
        for packet in &packets {
            let Some(report) = packet.as_any().downcast_ref::<SenderReport>() else { continue };
            let Some(track) = self.streams.iter().position(|s| s.ssrc == Some(report.ssrc)) else { continue };
            self.streams[track].report = Some(((report.ntp_time >> 16) as u32, now));
            self.items.push_back(Item::Report { track, rtp: report.rtp_time, ntp: report.ntp_time, arrival });
        }
        true
    }

    /// Time passes: what is missing too long is given up.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.drain(now);
    }

    /// What was made of the packets.
    pub(crate) fn poll_item(&mut self) -> Option<Item> {
        self.items.pop_front()
    }

    /// Items were not taken: pictures are of use again from the next key frame on.
    pub(crate) fn overtaken(&mut self) {
        self.key_wanted = true;
        // What says how they are decoded may be among what was not taken.
        self.told = false;
    }

    fn drain(&mut self, now: Instant) {
        while let Some(next) = self.streams[VIDEO].order.pop(now) {
            match next {
                Next::Packet(packet) if packet.payload.is_empty() => {} // It only fills the line.
                Next::Packet(packet) => {
                    if self.began.is_none_or(|(timestamp, _)| timestamp != packet.timestamp) {
                        self.began = Some((packet.timestamp, packet.arrival));
                    }
                    self.assembler.push(&packet.payload, packet.timestamp, packet.marker);
                }
                Next::Lost(packets) => {
                    self.assembler.lost();
                    self.missed(packets);
                }
            }
            let dropped = self.assembler.take_dropped();
            if dropped > 0 {
                self.missed(dropped);
            }
            while let Some(unit) = self.assembler.poll() {
                self.picture(unit, now);
            }
        }
        while let Some(next) = self.streams[AUDIO].order.pop(now) {
            match next {
                Next::Packet(packet) if packet.payload.is_empty() => {}
                Next::Packet(Packet { timestamp: rtp, payload: data, arrival, .. }) => {
                    let lost = std::mem::take(&mut self.lost_sound);
                    // Before the tracks are known, nothing can be made of it.
                    if self.told {
                        self.items.push_back(Item::Frame(Unit { track: AUDIO, rtp, arrival, lost, data }));
                    }
                }
                Next::Lost(packets) => self.lost_sound = self.lost_sound.saturating_add(packets),
            }
        }
    }

    fn missed(&mut self, packets: u32) {
        self.key_wanted = true;
        if let Some(Item::Lost(before)) = self.items.back_mut() {
            *before = before.saturating_add(packets);
        } else {
            self.items.push_back(Item::Lost(packets));
        }
    }

    fn picture(&mut self, unit: AccessUnit, now: Instant) {
        for (known, new) in self.sets.iter_mut().zip([unit.sps, unit.pps]) {
            if !new.is_empty() && *known != new {
                *known = new;
                self.told = false;
            }
        }
        let [sps, pps] = &self.sets;
        if sps.is_empty() || pps.is_empty() {
            return; // No decoder could do anything with it.
        }
        let key = h264::is_idr(&unit.data, 4);
        if key {
            self.key_wanted = false;
            self.last_key = now;
        }
        if !self.told {
            self.told = true;
            self.items.push_back(Item::Tracks(self.tracks()));
        }
        let arrival = self.began.filter(|(timestamp, _)| *timestamp == unit.timestamp).map(|(_, at)| at);
        // The change of the timestamp ended it: the packet that is noted is the next one's, and came right after.
        let arrival = arrival.or(self.began.map(|(_, at)| at)).unwrap_or(UnixMicros(0));
        let frame = Unit { track: VIDEO, rtp: unit.timestamp, arrival, lost: 0, data: unit.data };
        self.items.push_back(Item::Frame(frame));
    }

    fn tracks(&self) -> Vec<Track> {
        let [sps, pps] = &self.sets;
        let size = sps.first().and_then(|set| h264::sps_info(set).ok()).map(|info| (info.width, info.height));
        let video = Track {
            number: VIDEO as u8 + 1,
            kind: TrackKind::Video,
            codec_id: Track::H264.to_owned(),
            codec_private: h264::Avcc::from_parameter_sets(sps, pps),
            size,
            audio: None,
        };
        // Two channels whatever is in the packets: each says for itself whether it is stereo (RFC 7587 §7).
        let audio = self.formats.audio.map(|_| opus::track(AUDIO as u8 + 1, 2));
        [Some(video), audio].into_iter().flatten().collect()
    }

    /// What the publisher is to be told now: an RTCP packet, not yet sealed.
    pub(crate) fn poll_feedback(&mut self, now: Instant) -> Option<BytesMut> {
        let ours = self.ssrc;
        let mut packets: Vec<Box<dyn rtcp::Packet>> = Vec::new();
        let mut reports = Vec::new();
        let is_due = now >= self.report_due;
        if is_due {
            let since = REPORT_EVERY + now.saturating_duration_since(self.report_due);
            self.report_due = now + REPORT_EVERY;
            let blocks: Vec<_> = self.streams.iter_mut().map(|stream| stream.block(now)).collect();
            let lost = blocks[VIDEO].as_ref().map_or(0.0, |(_, fraction)| *fraction);
            self.estimate(since, lost);
            reports.extend(blocks.into_iter().flatten().map(|(block, _)| block));
        }
        for track in [VIDEO, AUDIO] {
            let (stream, mut missing) = (&mut self.streams[track], Vec::new());
            stream.order.poll_missing(now, &mut missing);
            if let Some(media_ssrc) = stream.ssrc.filter(|_| self.formats.nack[track] && !missing.is_empty()) {
                let nacks = nack_pairs_from_sequence_numbers(&missing);
                packets.push(Box::new(TransportLayerNack { sender_ssrc: ours, media_ssrc, nacks }));
            }
        }
        let video = self.streams[VIDEO].ssrc;
        let wanted = self.key_wanted || now.saturating_duration_since(self.last_key) >= self.key_every;
        let again = self.asked.is_none_or(|at| now.saturating_duration_since(at) >= ASK_AGAIN);
        if let Some(media_ssrc) = video.filter(|_| self.formats.pli && wanted && again) {
            self.asked = Some(now);
            packets.push(Box::new(PictureLossIndication { sender_ssrc: ours, media_ssrc }));
        }
        if let Some(media) = video.filter(|_| is_due && self.formats.remb && self.arrivals.is_none()) {
            let (bitrate, ssrcs) = (self.estimate, vec![media]);
            packets.push(Box::new(ReceiverEstimatedMaximumBitrate { sender_ssrc: ours, bitrate, ssrcs }));
        }
        let theirs = video.or(self.streams[AUDIO].ssrc).unwrap_or(0);
        let came = self.arrivals.as_mut().and_then(|arrivals| arrivals.poll(now, ours, theirs));
        if packets.is_empty() && reports.is_empty() && came.is_none() {
            return None;
        }
        // A compound packet begins with a report, be it empty (RFC 3550 §6.1).
        packets.insert(0, Box::new(ReceiverReport { ssrc: ours, reports, ..ReceiverReport::default() }));
        let mut out = rtcp::packet::marshal(&packets).ok()?;
        out.extend_from_slice(&came.unwrap_or_default());
        Some(out)
    }

    /// Loss says that the line is full; a line without loss that is made use of may carry more.
    fn estimate(&mut self, since: Duration, lost: f32) {
        let rate = (std::mem::take(&mut self.bytes) * 8) as f32 / since.as_secs_f32().max(0.1);
        self.estimate = match lost {
            lost if lost > 0.1 => rate * 0.85,
            lost if lost < 0.02 && rate > self.estimate / 2.0 => self.estimate * 1.15,
            _ => self.estimate,
        };
        self.estimate = self.estimate.clamp(RATES.0, RATES.2);
    }

    /// Packets and arrivals that are kept, for tests of how many they can be.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn held(&self) -> usize {
        self.streams.iter().map(|s| s.order.held()).sum::<usize>() + self.arrivals.as_ref().map_or(0, Arrivals::len)
    }
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
