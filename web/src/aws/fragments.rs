//! Fragments as GetMedia and GetMediaForFragmentList send them (REFERENCE §3.2): for each a Matroska document of its own, with
//! tags of this server before and after the producer's cluster, which goes out byte for byte as it came in.

use crate::body::LONGEST_PIECE;
use bytes::{Bytes, BytesMut};
use media::{Chunks, Fragment, FragmentMeta, FragmentNumber, UnixMillis, mkv};

/// Parts of at least so many bytes go out as they lie; smaller neighbours are copied into one piece, because each piece is a
/// chunk on the wire.
const OWN_PIECE: usize = 16 << 10;

/// Which operation's tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    GetMedia,
    /// GetMediaForFragmentList. Its reference documents other names for the times than consumers read, so it writes both.
    FragmentList,
}

impl Form {
    /// The operation's name.
    pub(crate) fn operation(self) -> &'static str {
        match self {
            Form::GetMedia => "GetMedia",
            Form::FragmentList => "GetMediaForFragmentList",
        }
    }
}

/// Why no more fragments come, as tags say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) id: u16,
    pub(crate) text: &'static str,
    /// The fragment that was asked for, in a list.
    pub(crate) fragment: Option<FragmentNumber>,
}

impl Fault {
    /// 4000: the request names a fragment that is not there.
    pub(crate) fn not_found(fragment: Option<FragmentNumber>) -> Self {
        Fault { id: 4000, text: "Requested fragment is not found", fragment }
    }
    /// 5000: something went wrong here; the log says what.
    pub(crate) fn internal(fragment: Option<FragmentNumber>) -> Self {
        Fault { id: 5000, text: "Internal error", fragment }
    }
}

/// The tags before a cluster.
fn before(form: Form, meta: &FragmentMeta) -> Bytes {
    let number = meta.number.to_string();
    let (server, producer) = (seconds(meta.server_start), seconds(meta.producer_start));
    let pairs = [
        ("AWS_KINESISVIDEO_FRAGMENT_NUMBER", &number),
        ("AWS_KINESISVIDEO_SERVER_TIMESTAMP", &server),
        ("AWS_KINESISVIDEO_PRODUCER_TIMESTAMP", &producer),
        ("AWS_KINESISVIDEO_SERVER_SIDE_TIMESTAMP", &server),
        ("AWS_KINESISVIDEO_PRODUCER_SIDE_TIMESTAMP", &producer),
    ];
    match form {
        Form::GetMedia => mkv::write_tags(&pairs[..3]),
        Form::FragmentList => mkv::write_tags(&pairs),
    }
}

/// How long ago a fragment began to arrive, in ms; 0 where the clock stepped back since.
pub(crate) fn behind_ms(meta: &FragmentMeta, now: UnixMillis) -> i64 {
    now.0.saturating_sub(meta.server_start.0).max(0)
}

/// The tags after a cluster: how far behind it is, and where another request goes on.
pub(crate) fn after(meta: &FragmentMeta, now: UnixMillis) -> Bytes {
    let behind = behind_ms(meta, now).to_string();
    mkv::write_tags(&[
        ("AWS_KINESISVIDEO_MILLIS_BEHIND_NOW", behind),
        ("AWS_KINESISVIDEO_CONTINUATION_TOKEN", meta.number.to_string()),
    ])
}

/// The tags that say why no more comes.
pub(crate) fn failed(form: Form, fault: Fault) -> Bytes {
    let id = fault.id.to_string();
    let mut pairs =
        vec![("AWS_KINESISVIDEO_ERROR_CODE", fault.text.to_owned()), ("AWS_KINESISVIDEO_ERROR_ID", id.clone())];
    if form == Form::FragmentList {
        pairs.push(("AWS_KINESISVIDEO_EXCEPTION_ERROR_CODE", id));
        pairs.push(("AWS_KINESISVIDEO_EXCEPTION_MESSAGE", fault.text.to_owned()));
        pairs.extend(fault.fragment.map(|number| ("AWS_KINESISVIDEO_FRAGMENT_NUMBER", number.to_string())));
    }
    mkv::write_tags(&pairs)
}

/// What goes out of a fragment up to the end of its cluster; `begun` if its document already is. Large parts are not copied.
pub(crate) fn pieces(form: Form, fragment: &Fragment, begun: bool) -> Pieces {
    let mut pieces = Pieces::default();
    if !begun {
        pieces.extend(&mkv::document_start(&fragment.header));
    }
    pieces.push(&fragment.lead);
    pieces.push(&before(form, &fragment.meta));
    pieces.extend(&fragment.cluster);
    pieces
}

/// Bytes in order, cut and gathered to sizes that suit a connection.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    done: std::collections::VecDeque<Bytes>,
    small: BytesMut,
}

impl Pieces {
    pub(crate) fn extend(&mut self, parts: &Chunks) {
        parts.parts().iter().for_each(|part| self.push(part));
    }
    pub(crate) fn push(&mut self, part: &Bytes) {
        if part.len() < OWN_PIECE {
            self.small.extend_from_slice(part);
            if self.small.len() >= LONGEST_PIECE - OWN_PIECE {
                self.close();
            }
            return;
        }
        self.close();
        let mut rest = part.clone();
        while rest.len() > LONGEST_PIECE {
            self.done.push_back(rest.split_to(LONGEST_PIECE));
        }
        self.done.push_back(rest);
    }
    fn close(&mut self) {
        if !self.small.is_empty() {
            self.done.push_back(self.small.split().freeze());
        }
    }
    /// The next piece.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        if self.done.is_empty() {
            self.close();
        }
        self.done.pop_front()
    }
}

/// Seconds since 1970 with always three decimals, as in captured output.
fn seconds(at: UnixMillis) -> String {
    let (sign, ms) = (if at.0 < 0 { "-" } else { "" }, at.0.unsigned_abs());
    format!("{sign}{}.{:03}", ms / 1000, ms % 1000)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use media::HeaderId;

    fn meta() -> FragmentMeta {
        FragmentMeta {
            number: "91343852333181432392682062607743920146159169392".parse().unwrap(),
            producer_start: UnixMillis(1_511_852_108_513),
            server_start: UnixMillis(1_511_852_109_026),
            duration_ms: 2000,
            bytes: 10,
            lead_bytes: 0,
            frames: 1,
            crc32c: 0,
            header: HeaderId(0),
            cause: None,
            encrypted: false,
        }
    }

    fn read(tags: &Bytes) -> Vec<(String, String)> {
        mkv::parse_tags(tags).unwrap()
    }

    #[test]
    fn names_and_values_are_those_that_consumers_read() {
        let tags = read(&before(Form::GetMedia, &meta()));
        let expected = [
            ("AWS_KINESISVIDEO_FRAGMENT_NUMBER", "91343852333181432392682062607743920146159169392"),
            ("AWS_KINESISVIDEO_SERVER_TIMESTAMP", "1511852109.026"),
            ("AWS_KINESISVIDEO_PRODUCER_TIMESTAMP", "1511852108.513"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(tags, expected);
        let listed = read(&before(Form::FragmentList, &meta()));
        assert_eq!((&listed[..3], listed.len()), (&expected[..], 5));
        let behind = read(&after(&meta(), UnixMillis(1_511_852_110_000)));
        assert_eq!(behind[0], ("AWS_KINESISVIDEO_MILLIS_BEHIND_NOW".to_owned(), "974".to_owned()));
        assert_eq!((&*behind[1].0, &behind[1].1), ("AWS_KINESISVIDEO_CONTINUATION_TOKEN", &tags[0].1));
        assert_eq!(read(&after(&meta(), UnixMillis(0)))[0].1, "0", "a clock that stepped back");
        let fault = read(&failed(Form::GetMedia, Fault::not_found(None)));
        assert_eq!(fault[1], ("AWS_KINESISVIDEO_ERROR_ID".to_owned(), "4000".to_owned()));
        let fault = read(&failed(Form::FragmentList, Fault::internal(Some(meta().number))));
        assert_eq!((fault.len(), &*fault[2].1, &fault[4].1), (5, "5000", &tags[0].1));
    }

    #[test]
    fn seconds_have_three_decimals() {
        let cases =
            [(0, "0.000"), (1, "0.001"), (-70, "-0.070"), (-1070, "-1.070"), (i64::MAX, "9223372036854775.807")];
        for (ms, text) in cases {
            assert_eq!(seconds(UnixMillis(ms)), text);
        }
    }

    #[test]
    fn small_parts_are_gathered_and_large_ones_are_not_copied() {
        let large = Bytes::from(vec![7; LONGEST_PIECE + OWN_PIECE]);
        let mut pieces = Pieces::default();
        for part in [&Bytes::from_static(b"one"), &Bytes::new(), &Bytes::from_static(b"two"), &large] {
            pieces.push(part);
        }
        pieces.push(&Bytes::from_static(b"three"));
        assert_eq!(pieces.pop().unwrap(), "onetwo");
        let (first, second) = (pieces.pop().unwrap(), pieces.pop().unwrap());
        assert_eq!((first.as_ptr(), first.len()), (large.as_ptr(), LONGEST_PIECE));
        assert_eq!((second.as_ptr(), second.len()), (large[LONGEST_PIECE..].as_ptr(), OWN_PIECE));
        assert_eq!((pieces.pop().unwrap(), pieces.pop()), (Bytes::from_static(b"three"), None));
        for _ in 0..1000 {
            pieces.push(&Bytes::from(vec![1; 1000]));
        }
        let sizes: Vec<_> = std::iter::from_fn(|| pieces.pop()).map(|piece| piece.len()).collect();
        assert!(sizes.iter().all(|size| *size <= LONGEST_PIECE) && sizes.len() < 8, "{sizes:?}");
        assert_eq!(sizes.iter().sum::<usize>(), 1_000_000);
    }
}
