//! When each packet of a transport came, told to its sender, whose estimate of the line's bandwidth it feeds
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3).

use bytes::{BufMut, BytesMut};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Between two reports.
const INTERVAL: Duration = Duration::from_millis(100);
/// Packets that are told in one report, and kept for it.
const MOST: usize = 512;
/// Numbers that one report spans.
const MOST_SPAN: u64 = 2000;
/// Of an arrival.
const TICK_US: i64 = 250;
/// Of the time that a report begins with.
const BASE_US: i64 = 64_000;

/// Arrivals that were not told yet.
#[derive(Debug)]
pub(crate) struct Arrivals {
    begun: Instant,
    due: Instant,
    newest: Option<u64>,
    /// By number, in microseconds since it began.
    came: BTreeMap<u64, i64>,
    reports: u8,
}

impl Arrivals {
    /// None so far.
    pub(crate) fn new(now: Instant) -> Self {
        Arrivals { begun: now, due: now, newest: None, came: BTreeMap::new(), reports: 0 }
    }

    /// A packet with this number came.
    pub(crate) fn put(&mut self, sequence: u16, now: Instant) {
        let newest = self.newest.unwrap_or((1 << 32) + u64::from(sequence));
        let number = newest.wrapping_add_signed(i64::from(sequence.wrapping_sub(newest as u16) as i16));
        self.newest = Some(newest.max(number));
        let at = i64::try_from(now.saturating_duration_since(self.begun).as_micros()).unwrap_or(i64::MAX);
        self.came.entry(number).or_insert(at);
        if self.came.len() > MOST {
            self.came.pop_first();
        }
    }

    /// The next report, if one is due and there is something to tell: the bytes of an RTCP packet.
    pub(crate) fn poll(&mut self, now: Instant, ours: u32, theirs: u32) -> Option<BytesMut> {
        if now < self.due && self.came.len() < MOST / 2 {
            return None;
        }
        let (&base, &first) = self.came.first_key_value()?;
        self.due = now + INTERVAL;
        let reference = first.div_euclid(BASE_US);
        let (mut symbols, mut deltas) = (Vec::new(), BytesMut::new());
        let mut time = reference * (BASE_US / TICK_US);
        while let Some((&number, &at)) = self.came.first_key_value() {
            let delta = at.div_euclid(TICK_US) - time;
            let (Ok(wide), true) = (i16::try_from(delta), number - base < MOST_SPAN) else { break };
            time += delta;
            symbols.resize((number - base) as usize, 0u16);
            match u8::try_from(delta) {
                Ok(small) => (symbols.push(1), deltas.put_u8(small)),
                Err(_) => (symbols.push(2), deltas.put_i16(wide)),
            };
            self.came.pop_first();
        }
        let mut out = BytesMut::with_capacity(24 + symbols.len());
        out.put_u8(0x80 | 15);
        out.put_u8(205);
        out.put_u16(0);
        out.put_u32(ours);
        out.put_u32(theirs);
        out.put_u16(base as u16);
        out.put_u16(symbols.len() as u16);
        out.put_u32((reference as u32) << 8 | u32::from(self.reports));
        self.reports = self.reports.wrapping_add(1);
        // Vectors of seven symbols of two bits each.
        for seven in symbols.chunks(7) {
            let packed =
                seven.iter().zip((0..7).rev()).fold(0xc000, |all, (symbol, place)| all | symbol << (2 * place));
            out.put_u16(packed);
        }
        out.put_slice(&deltas);
        let padding = out.len().next_multiple_of(4) - out.len();
        if padding > 0 {
            out.put_bytes(0, padding - 1);
            out.put_u8(padding as u8);
            out[0] |= 0x20;
        }
        let words = (out.len() / 4 - 1) as u16;
        out[2..4].copy_from_slice(&words.to_be_bytes());
        Some(out)
    }

    /// What is kept, for tests of how much that can be.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn len(&self) -> usize {
        self.came.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rtc::rtcp::transport_feedbacks::transport_layer_cc::{PacketStatusChunk, SymbolTypeTcc, TransportLayerCc};
    use rtc::shared::marshal::Unmarshal;

    /// Numbers and arrivals as another implementation reads them.
    fn read(report: &[u8]) -> Vec<(u16, i64)> {
        let read = TransportLayerCc::unmarshal(&mut &report[..]).unwrap();
        let mut symbols = Vec::new();
        for chunk in &read.packet_chunks {
            match chunk {
                PacketStatusChunk::StatusVectorChunk(chunk) => symbols.extend(chunk.symbol_list.iter().copied()),
                PacketStatusChunk::RunLengthChunk(_) => unreachable!("none is written"),
            }
        }
        symbols.truncate(usize::from(read.packet_status_count));
        let (mut time, mut deltas) = (i64::from(read.reference_time) * BASE_US, read.recv_deltas.iter());
        let mut came = Vec::new();
        for (step, symbol) in (0u16..).zip(symbols) {
            if symbol != SymbolTypeTcc::PacketNotReceived {
                time += deltas.next().unwrap().delta;
                came.push((read.base_sequence_number.wrapping_add(step), time));
            }
        }
        came
    }

    #[test]
    fn another_reads_what_came_when() {
        let begun = Instant::now();
        let mut arrivals = Arrivals::new(begun);
        let sent = [(65_533u16, 70_000), (65_534, 71_000), (1, 90_250), (0, 95_000), (9, 900_000)];
        for (sequence, us) in sent {
            arrivals.put(sequence, begun + Duration::from_micros(us));
        }
        let now = begun + Duration::from_secs(1);
        let report = arrivals.poll(now, 1, 2).unwrap();
        assert_eq!(report.len() % 4, 0);
        assert_eq!(read(&report), [(65_533, 70_000), (65_534, 71_000), (0, 95_000), (1, 90_250), (9, 900_000)]);
        assert_eq!(arrivals.poll(now, 1, 2), None);
        // A long pause does not fit into one report.
        arrivals.put(10, now);
        arrivals.put(11, now + Duration::from_secs(20));
        let later = now + Duration::from_secs(20);
        assert_eq!(read(&arrivals.poll(later, 1, 2).unwrap()), [(10, 1_000_000)]);
        assert_eq!(read(&arrivals.poll(later + INTERVAL, 1, 2).unwrap()), [(11, 21_000_000)]);
    }
}
