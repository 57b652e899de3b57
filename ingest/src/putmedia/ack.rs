//! What a PutMedia producer is told of its fragments: one JSON object an acknowledgement, and the queue between a session
//! and whoever sends them.
//!
//! The members and their order are those of the service (Kinesis Video Streams API, PutMedia, response syntax). Producers
//! parse them with small hand-written parsers: flat objects, no member twice, fewer than [`MAX_BYTES`] bytes.

use bytes::Bytes;
use media::FragmentNumber;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// An acknowledgement is shorter than this: the C SDK's parser has a buffer of so many bytes.
pub const MAX_BYTES: usize = 1024;
/// The most bytes of the reason in an ERROR acknowledgement.
const REASON_BYTES: usize = 512;
/// Acknowledgements that wait for a client which does not read; the oldest go first, as later ones say more.
const MOST_WAITING: usize = 256;

/// One acknowledgement. Time codes are those of the producer's clusters, in its own units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ack {
    /// The first bytes of the fragment came.
    Buffering(Of),
    /// The fragment is complete.
    Received(Of),
    /// The fragment is durable.
    Persisted(Of),
    /// Nothing came for a while; the connection is well.
    Idle,
    /// The session is over. Fragments that were acknowledged before stay.
    Error {
        /// The cluster at fault, as far as one is.
        timecode: Option<u64>,
        /// Its number, if it had got one.
        number: Option<FragmentNumber>,
        /// Such as 4006.
        id: u16,
        /// Such as `INVALID_MKV_DATA`.
        code: &'static str,
        /// What is wrong, and where. Not of the service: its clients skip members that they do not know.
        reason: String,
    },
}

/// The fragment that an acknowledgement is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Of {
    /// The cluster's Timecode element as it was sent.
    pub timecode: u64,
    /// The fragment's number.
    pub number: FragmentNumber,
}

/// The members in the order in which the service writes them.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Wire<'a> {
    event_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fragment_timecode: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fragment_number: Option<FragmentNumber>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_id: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

impl Ack {
    /// `BUFFERING` and so on.
    pub fn event_type(&self) -> &'static str {
        match self {
            Ack::Buffering(_) => "BUFFERING",
            Ack::Received(_) => "RECEIVED",
            Ack::Persisted(_) => "PERSISTED",
            Ack::Idle => "IDLE",
            Ack::Error { .. } => "ERROR",
        }
    }

    /// The bytes of one chunk of the answer: a JSON object and a line end, shorter than [`MAX_BYTES`].
    pub fn to_wire(&self) -> Bytes {
        let mut wire = Wire {
            event_type: self.event_type(),
            fragment_timecode: None,
            fragment_number: None,
            error_code: None,
            error_id: None,
            message: None,
        };
        match self {
            Ack::Buffering(of) | Ack::Received(of) | Ack::Persisted(of) => {
                wire.fragment_timecode = Some(of.timecode);
                wire.fragment_number = Some(of.number);
            }
            Ack::Idle => {}
            Ack::Error { timecode, number, id, code, reason } => {
                wire.fragment_timecode = *timecode;
                wire.fragment_number = *number;
                (wire.error_code, wire.error_id) = (Some(*code), Some(*id));
                wire.message = Some(plain(reason)).filter(|m| !m.is_empty());
            }
        }
        let mut json = serde_json::to_vec(&wire).expect("members of plain types");
        json.extend_from_slice(b"\r\n");
        json.into()
    }
}

/// The start of a reason that needs no escape in JSON: escapes would make it longer, and the small parsers do not know them all.
fn plain(reason: &str) -> &str {
    let end = reason
        .char_indices()
        .find(|(at, c)| at + c.len_utf8() > REASON_BYTES || c.is_control() || matches!(c, '"' | '\\'))
        .map_or(reason.len(), |(at, _)| at);
    &reason[..end]
}

/// A queue of acknowledgements: its two ends.
pub fn queue() -> (Sender, Acks) {
    let shared = Arc::new(Mutex::new(Queue::default()));
    (Sender(shared.clone()), Acks(shared))
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Ack>,
    /// Nothing more comes.
    ended: bool,
    reader: Option<Waker>,
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The session's end. The reader's queue ends when it is dropped.
pub struct Sender(Arc<Mutex<Queue>>);

impl Sender {
    /// Puts an acknowledgement into the queue; whether an older one had to go for it.
    pub fn push(&self, ack: Ack) -> bool {
        let mut queue = lock(&self.0);
        let full = queue.waiting.len() == MOST_WAITING;
        if full {
            queue.waiting.pop_front();
        }
        queue.waiting.push_back(ack);
        wake(queue);
        full
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut queue = lock(&self.0);
        queue.ended = true;
        wake(queue);
    }
}

fn wake(mut queue: MutexGuard<'_, Queue>) {
    let reader = queue.reader.take();
    drop(queue);
    if let Some(reader) = reader {
        reader.wake();
    }
}

/// The end from which acknowledgements are sent to the producer, in order.
pub struct Acks(Arc<Mutex<Queue>>);

impl Acks {
    /// The next acknowledgement; `None` when the session has ended and all were taken.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Ack>> {
        let mut queue = lock(&self.0);
        match queue.waiting.pop_front() {
            Some(ack) => Poll::Ready(Some(ack)),
            None if queue.ended => Poll::Ready(None),
            None => {
                if !queue.reader.as_ref().is_some_and(|w| w.will_wake(context.waker())) {
                    queue.reader = Some(context.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    /// The next acknowledgement; `None` when the session has ended and all were taken. Cancel safe.
    pub async fn next(&mut self) -> Option<Ack> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    fn of(timecode: u64) -> Of {
        Of { timecode, number: FragmentNumber::new(7, 1_795_404_896_353, 5) }
    }

    #[test]
    fn members_are_in_the_order_of_the_service() {
        let number = of(0).number;
        assert_eq!(number.to_string().len(), 47);
        let cases = [
            (
                Ack::Buffering(of(1_795_404_896_353)),
                format!(
                    r#"{{"EventType":"BUFFERING","FragmentTimecode":1795404896353,"FragmentNumber":"{number}"}}"#
                ),
            ),
            (
                Ack::Received(of(0)),
                format!(r#"{{"EventType":"RECEIVED","FragmentTimecode":0,"FragmentNumber":"{number}"}}"#),
            ),
            (
                Ack::Persisted(of(u64::MAX)),
                format!(
                    r#"{{"EventType":"PERSISTED","FragmentTimecode":18446744073709551615,"FragmentNumber":"{number}"}}"#
                ),
            ),
            (Ack::Idle, r#"{"EventType":"IDLE"}"#.to_owned()),
            (
                Ack::Error {
                    timecode: Some(152_148),
                    number: Some(number),
                    id: 4002,
                    code: "MAX_FRAGMENT_DURATION_REACHED",
                    reason: String::new(),
                },
                format!(
                    r#"{{"EventType":"ERROR","FragmentTimecode":152148,"FragmentNumber":"{number}","ErrorCode":"MAX_FRAGMENT_DURATION_REACHED","ErrorId":4002}}"#
                ),
            ),
            (
                Ack::Error {
                    timecode: None,
                    number: None,
                    id: 4006,
                    code: "INVALID_MKV_DATA",
                    reason: "stream gate, byte 12: not EBML".to_owned(),
                },
                r#"{"EventType":"ERROR","ErrorCode":"INVALID_MKV_DATA","ErrorId":4006,"Message":"stream gate, byte 12: not EBML"}"#
                    .to_owned(),
            ),
        ];
        for (ack, json) in cases {
            assert_eq!(ack.to_wire(), (json + "\r\n").as_bytes(), "{ack:?}");
        }
    }

    proptest! {
        #[test]
        fn any_reason_gives_a_short_flat_object(reason in any::<String>(), long in 0..2000usize) {
            let reason = reason.clone() + &"x".repeat(long);
            let ack = Ack::Error { timecode: Some(u64::MAX), number: Some(of(0).number), id: u16::MAX, code: "MAX_FRAGMENT_DURATION_REACHED", reason: reason.clone() };
            let wire = ack.to_wire();
            prop_assert!(wire.len() < MAX_BYTES);
            let value: serde_json::Value = serde_json::from_slice(&wire).unwrap();
            prop_assert!(value.as_object().unwrap().values().all(|v| v.is_string() || v.is_u64()));
            if let Some(message) = value.get("Message") {
                prop_assert!(reason.starts_with(message.as_str().unwrap()));
            }
        }
    }

    #[tokio::test]
    async fn the_queue_keeps_order_ends_and_forgets_the_oldest() {
        let (sender, mut acks) = queue();
        let waiting = tokio::spawn(async move {
            let first = acks.next().await;
            (first, acks)
        });
        tokio::task::yield_now().await;
        assert!(!sender.push(Ack::Idle));
        let (first, mut acks) = waiting.await.unwrap();
        assert_eq!(first, Some(Ack::Idle));
        for n in 0..MOST_WAITING as u64 + 3 {
            assert_eq!(sender.push(Ack::Persisted(of(n))), n >= MOST_WAITING as u64);
        }
        drop(sender);
        for n in 3..MOST_WAITING as u64 + 3 {
            assert_eq!(acks.next().await, Some(Ack::Persisted(of(n))));
        }
        assert_eq!(acks.next().await, None);
    }
}
