//! What a folder's lives were told, and what the folder must therefore hold.

use crate::common::{T0, name};
use crate::fragments::{PRODUCERS, STEP, events_at, nth};
use media::{Fragment, FragmentMeta, FragmentNumber, UnixMillis};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use store::{Kind, Position, Range, Store, Stream};

const ALL: Range = Range { from: UnixMillis(0), to: UnixMillis(i64::MAX) };
/// A camera's acknowledged fragment.
#[derive(Clone, Debug)]
struct Ack {
    number: FragmentNumber,
    crc32c: u32,
    start: i64,
    /// In which life.
    round: i64,
}

#[derive(Clone, Default)]
pub struct Told {
    /// By stream.
    cameras: BTreeMap<String, Vec<Ack>>,
    /// Of each producer, the numbers under which its fragment `i` was acknowledged, and the last life in which it was.
    pub producers: [BTreeMap<i64, (BTreeSet<FragmentNumber>, i64)>; PRODUCERS],
    pub deleting: BTreeSet<i64>,
    pub deleted: BTreeSet<i64>,
    made: BTreeSet<String>,
    dropping: BTreeSet<String>,
    pub dropped: BTreeSet<String>,
    pub acked: u64,
}

impl Told {
    pub fn read(&mut self, lines: &[String], round: i64) {
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["cam", stream, number, crc, start, "."] => {
                    let crc32c = u32::from_str_radix(crc, 16).unwrap();
                    let ack = Ack { number: number.parse().unwrap(), crc32c, start: start.parse().unwrap(), round };
                    let before = self.cameras.entry(stream.to_owned()).or_default();
                    // Invariant 3: from life to life numbers only grow, and none is given twice.
                    let earlier = before.iter().filter(|a| a.round < round || a.number == ack.number);
                    assert!(earlier.clone().all(|a| a.number < ack.number), "{stream}: {ack:?} in life {round}");
                    before.push(ack);
                    self.acked += 1;
                }
                ["ack", s, i, number, "."] => {
                    let of = self.producers[s.parse::<usize>().unwrap()].entry(i.parse().unwrap()).or_default();
                    of.0.insert(number.parse().unwrap());
                    of.1 = round;
                    self.acked += 1;
                }
                ["deleting", i, "."] => drop(self.deleting.insert(i.parse().unwrap())),
                ["deleted", i, "."] => drop(self.deleted.insert(i.parse().unwrap())),
                ["made", stream, "."] => drop(self.made.insert(stream.to_owned())),
                ["dropping", stream, "."] => drop(self.dropping.insert(stream.to_owned())),
                ["dropped", stream, "."] => drop(self.dropped.insert(stream.to_owned())),
                _ => {}
            }
        }
    }

    /// Nothing that was acknowledged is missing but what retention took (`expired` says what it may take), nothing is there twice,
    /// nothing that was deleted is there, and the bytes of what was acknowledged from life `bytes_from` on are those that were sent.
    /// `by_segments`: the catalog was made anew from them.
    pub async fn prove(
        &self,
        store: &Store,
        expired: &dyn Fn(FragmentNumber) -> bool,
        bytes_from: i64,
        by_segments: bool,
    ) {
        // Segments know a stream from its first fragment on, and forget it with its last.
        let of = |stream: &String| self.cameras.get(stream).into_iter().flatten();
        let known = |stream: &String| !by_segments || of(stream).any(|ack| !expired(ack.number));
        for stream in self.made.iter().filter(|s| !self.dropping.contains(*s) && known(s)) {
            store.stream(&name(stream)).unwrap_or_else(|e| panic!("{e}"));
        }
        for stream in &self.dropped {
            assert!(store.stream(&name(stream)).is_err(), "{stream} was deleted and is there");
        }
        for (text, acks) in &self.cameras {
            let Ok(stream) = store.stream(&name(text)) else {
                assert!(self.dropping.contains(text) || !known(text), "{text} is gone with {} fragments", acks.len());
                continue;
            };
            // One that was being deleted is there whole, or not at all.
            self.camera(&stream, acks, expired, bytes_from).await;
        }
        for (s, acks) in self.producers.iter().enumerate() {
            match store.stream(&name(&format!("producer-{s}"))) {
                Ok(stream) => self.producer(s, &stream, expired, bytes_from).await,
                Err(error) => {
                    let expired = |(numbers, _): &(BTreeSet<FragmentNumber>, i64)| numbers.iter().all(|n| expired(*n));
                    assert!(acks.values().all(expired), "{error}");
                }
            }
        }
    }

    async fn camera(&self, stream: &Stream, acks: &[Ack], expired: &dyn Fn(FragmentNumber) -> bool, bytes_from: i64) {
        let all = by_number(stream).await;
        let mut starts: Vec<i64> = all.values().map(|m| m.producer_start.0).collect();
        starts.sort_unstable();
        assert!(starts.is_sorted_by(|a, b| a < b), "a camera's fragment is there twice");
        let camera: usize = stream.info().name.as_str().strip_prefix("camera-").map_or(0, |s| s.parse().unwrap());
        for ack in acks {
            let Some(meta) = all.get(&ack.number) else {
                assert!(expired(ack.number), "acknowledged and lost: {} {ack:?}", stream.info().name);
                continue;
            };
            assert_eq!((meta.crc32c, meta.producer_start.0), (ack.crc32c, ack.start), "{ack:?}");
            if ack.round < bytes_from {
                continue;
            }
            let Some(fragment) = read(stream, ack.number, expired).await else { continue };
            if !meta.encrypted {
                assert_eq!(crc32c::crc32c(&fragment.cluster.to_bytes()), ack.crc32c, "{ack:?}");
            }
            let written = events_at(camera, ack.start);
            let media::Event::Begin(start) = &written[0] else { unreachable!() };
            assert_eq!(fragment.header, start.header, "{ack:?}");
            let read = fragment.frames().unwrap();
            assert_eq!(read.len(), written.len() - 2);
            for (read, wrote) in read.iter().zip(&written[1..]) {
                let media::Event::Frame(wrote) = wrote else { unreachable!() };
                assert_eq!(read, wrote, "{ack:?}");
            }
        }
    }

    async fn producer(&self, s: usize, stream: &Stream, expired: &dyn Fn(FragmentNumber) -> bool, bytes_from: i64) {
        let all = by_number(stream).await;
        let listed = listed(stream).await;
        let place = |m: &FragmentMeta| (m.producer_start.0 - T0) / STEP;
        let places: Vec<i64> = listed.iter().map(place).collect();
        assert!(places.is_sorted_by(|a, b| a < b), "producer {s}: each once: {places:?}");
        // Of one whose commit was in doubt and that was sent again there may be two; one of them is shown.
        for meta in all.values().filter(|m| places.binary_search(&place(m)).is_err()) {
            // Between the two looks.
            assert!(expired(meta.number), "producer {s} fragment {} is there and not listed", place(meta));
        }
        let in_deletion = |of: &BTreeSet<i64>, i: i64| s == 1 && of.contains(&(i / 10 * 10)) && i % 10 < 3;
        for i in &places {
            assert!(!in_deletion(&self.deleted, *i), "producer {s} fragment {i} was deleted and is there");
        }
        for (i, (numbers, round)) in &self.producers[s] {
            let there: Vec<_> = numbers.iter().filter_map(|n| all.get(n)).collect();
            let may_be_gone = in_deletion(&self.deleting, *i) || numbers.iter().any(|n| expired(*n));
            if there.is_empty() {
                assert!(may_be_gone, "acknowledged and lost: producer {s} fragment {i} {numbers:?} in life {round}");
                continue;
            }
            if *round >= bytes_from {
                let sent = nth(s, *i);
                for meta in there {
                    let Some(fragment) = read(stream, meta.number, expired).await else { continue };
                    assert_eq!(fragment.to_mkv().to_bytes(), [&sent.start.header.bytes[..], &sent.bytes()].concat());
                    assert_eq!(fragment.lead, sent.verbatim.lead);
                }
            }
        }
    }
}

/// A fragment's bytes; `None` where retention took it meanwhile.
async fn read(
    stream: &Stream,
    number: FragmentNumber,
    expired: &dyn Fn(FragmentNumber) -> bool,
) -> Option<Arc<Fragment>> {
    match stream.fragment(number).await {
        Ok(fragment) => Some(fragment),
        Err(error) if error.kind() == Kind::NotFound && expired(number) => None,
        Err(error) => panic!("{} {number}: {error}", stream.info().name),
    }
}

/// All that a stream holds.
pub async fn by_number(stream: &Stream) -> BTreeMap<FragmentNumber, FragmentMeta> {
    let mut all = BTreeMap::new();
    let mut after = FragmentNumber::new(0, 0, 0);
    loop {
        let page = stream.next_after(after, 1000).await.unwrap();
        let Some(last) = page.last() else { return all };
        assert!(page[0].number > after && page.is_sorted_by(|a, b| a.number < b.number), "numbers in order, each once");
        after = last.number;
        all.extend(page.into_iter().map(|m| (m.number, m)));
    }
}

/// All that a stream shows by producer time.
async fn listed(stream: &Stream) -> Vec<FragmentMeta> {
    let mut all: Vec<FragmentMeta> = Vec::new();
    loop {
        let at = all.last().map_or(Position::Start, |m| Position::After(m.number));
        let page = stream.fragments(ALL, at, 1000).await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}
