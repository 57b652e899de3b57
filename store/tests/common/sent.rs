//! Clusters as producers send them, which no cluster writer of this program would make.

use super::*;
use media::Chunks;
use store::{Verbatim, VerbatimWriter};

/// A fragment of a producer: how it begins, its frames, and its bytes.
#[derive(Clone)]
pub struct Sent {
    pub start: Start,
    pub frames: Vec<Frame>,
    pub verbatim: Verbatim,
}

impl Sent {
    /// Lead and cluster in one.
    pub fn bytes(&self) -> Vec<u8> {
        [&self.verbatim.lead[..], &self.verbatim.cluster.to_bytes()].concat()
    }
}

/// A cluster of unknown size with fields as wide as they can be and an element that nothing needs, like those of the C++ producer
/// and beyond; frames 100 ms apart, the payloads slices of it. `timestamp` is what it says its start is.
pub fn cluster_at(
    timestamp: u64,
    first_ms: i16,
    frames: usize,
    payload: impl Fn(usize) -> Bytes,
) -> (Bytes, Vec<Bytes>) {
    let mut out = vec![0x1f, 0x43, 0xb6, 0x75, 0xff, 0xe7, 0x88];
    out.extend(timestamp.to_be_bytes());
    out.extend([0xa7, 0x81, 0x00, 0xec, 0x83, 1, 2, 3]);
    let mut at = Vec::new();
    for i in 0..frames {
        let data = payload(i);
        out.extend([0xa3, 0x01]);
        out.extend(&(data.len() as u64 + 4).to_be_bytes()[1..]);
        out.push(0x81);
        out.extend((first_ms + i as i16 * 100).to_be_bytes());
        out.push(if i == 0 { 0x80 } else { 0x00 });
        at.push(out.len()..out.len() + data.len());
        out.extend(data);
    }
    let cluster = Bytes::from(out);
    let payloads = at.into_iter().map(|range| cluster.slice(range)).collect();
    (cluster, payloads)
}

/// What a producer sends that counts from the Unix epoch: tags, and a cluster in pieces as they came from a socket. Its bytes follow
/// from the arguments alone.
pub fn sent(width: u32, start: i64, frames: usize, frame_bytes: usize) -> Sent {
    let of = |i: usize| payload(start as u64 ^ (i as u64) << 48, frame_bytes);
    let (cluster, payloads) = cluster_at(start as u64, 0, frames, of);
    let frame = |(i, data)| Frame { track: 1, time: UnixMicros((start + i as i64 * 100) * 1000), key: i == 0, data };
    Sent {
        start: Start { header: header(width), producer_start: UnixMillis(start), cause: None },
        frames: payloads.into_iter().enumerate().map(frame).collect(),
        verbatim: Verbatim {
            lead: media::mkv::write_tags(&[("at", start.to_string())]),
            cluster: cluster.chunks(977).map(|part| cluster.slice_ref(part)).collect::<Chunks>(),
            duration_ms: None,
        },
    }
}

/// Sends a fragment up to its end.
pub async fn send(writer: &mut VerbatimWriter, sent: &Sent) -> Result<Offer, Error> {
    writer.begin(sent.start.clone()).await?;
    for frame in &sent.frames {
        writer.frame(frame.clone()).await?;
    }
    writer.end(sent.verbatim.clone()).await
}

/// Sends a fragment that is new, and waits until it is durable.
pub async fn store_new(writer: &mut VerbatimWriter, sent: &Sent) -> FragmentMeta {
    match send(writer, sent).await.unwrap() {
        Offer::Sealed(_, durable) => durable.wait().await.unwrap(),
        other => panic!("not stored: {}", kind_of(&other)),
    }
}

/// Sends a fragment that the stream holds; gives the number that it is told, and the promise.
pub async fn send_again(writer: &mut VerbatimWriter, sent: &Sent) -> (FragmentNumber, Durable) {
    match send(writer, sent).await.unwrap() {
        Offer::Duplicate(number, durable) => (number, durable),
        other => panic!("not found to be sent before: {}", kind_of(&other)),
    }
}

pub fn kind_of(offer: &Offer) -> &'static str {
    match offer {
        Offer::Taken => "taken",
        Offer::Sealed(..) => "sealed",
        Offer::Duplicate(..) => "duplicate",
        Offer::Dropped => "dropped",
    }
}
