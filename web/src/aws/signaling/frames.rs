//! Frames of WebSockets as a server reads and writes them (RFC 6455 §5). Pure: bytes come in pieces of any size.
//!
//! No extension is negotiated, so there is no compression. A decoder holds the message that is coming and nothing else: between two messages
//! it has no buffer, which is what makes thousands of idle sockets cheap.
//!
//! ```text
//!  0 1 2 3 4 5 6 7   0 1 … 7
//! +-+-+-+-+-------+ +-+-------+ +----------------+ +----------+ +---------+
//! |F|  RSV  opcode| |M| len 7 | | len 16 or 64   | | mask 32  | | payload |
//! +-+-+-+-+-------+ +-+-------+ +----------------+ +----------+ +---------+
//! ```

use std::fmt;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// Longest payload of a control frame.
const LONGEST_CONTROL: usize = 125;
/// A message grows by so much at most before it is read on.
const GROWTH: usize = 4 << 10;

/// What came whole. No `Debug`: see the core's messages.
#[derive(PartialEq, Eq)]
pub(super) enum Event {
    Text(String),
    /// With what its pong must hold.
    Ping(Vec<u8>),
    Pong,
    /// With its code, if it has one.
    Close(Option<u16>),
}

/// What ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// The message is no text.
    NotText,
    /// The text is no UTF-8.
    NotUtf8,
    /// The message has more than these bytes.
    TooLarge(usize),
    /// The protocol is broken.
    Protocol(&'static str),
}

impl Wrong {
    /// The code of the close frame (RFC 6455 §7.4.1).
    pub(super) fn code(self) -> u16 {
        match self {
            Wrong::Protocol(_) => 1002,
            Wrong::NotText => 1003,
            Wrong::NotUtf8 => 1007,
            Wrong::TooLarge(_) => 1009,
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::NotText => f.write_str("messages must be text"),
            Wrong::NotUtf8 => f.write_str("a text is not UTF-8"),
            Wrong::TooLarge(most) => write!(f, "a message has more than {most} bytes (signaling.max_message_bytes)"),
            Wrong::Protocol(what) => write!(f, "the protocol is broken: {what}"),
        }
    }
}

/// A frame whose head has come.
#[derive(Clone, Copy)]
struct Frame {
    opcode: u8,
    is_last: bool,
    mask: [u8; 4],
    /// Bytes of its payload, and how many of them have come.
    len: usize,
    have: usize,
}

/// Reads what a client sends.
pub(super) struct Decoder {
    /// Bytes of a message at most.
    most: usize,
    head: [u8; 14],
    head_len: usize,
    frame: Option<Frame>,
    /// Of the message that is coming: what has come of it, and room for what comes next.
    message: Vec<u8>,
    message_len: usize,
    is_in_message: bool,
    control: Vec<u8>,
}

impl Decoder {
    pub(super) fn new(most: usize) -> Self {
        Decoder {
            most,
            head: [0; 14],
            head_len: 0,
            frame: None,
            message: Vec::new(),
            message_len: 0,
            is_in_message: false,
            control: Vec::new(),
        }
    }

    /// Whether something has begun to come that is not whole.
    pub(super) fn is_amid(&self) -> bool {
        self.head_len > 0 || self.frame.is_some() || self.is_in_message
    }

    /// What the message that is coming takes in memory when the next space is given.
    pub(super) fn held(&self) -> usize {
        match self.frame {
            Some(frame) if frame.opcode < CLOSE => self.message_len + (frame.len - frame.have).min(GROWTH),
            _ => self.message_len,
        }
    }

    /// Where the next bytes are to be put: never empty, and never more than belongs to what is coming.
    pub(super) fn space(&mut self) -> &mut [u8] {
        let Some(frame) = self.frame else {
            let wanted = head_size(&self.head[..self.head_len]);
            return &mut self.head[self.head_len..wanted];
        };
        let (into, start) = match frame.opcode < CLOSE {
            true => (&mut self.message, self.message_len),
            false => (&mut self.control, frame.have),
        };
        // What was given before and not filled is given again.
        into.truncate(start);
        into.resize(start + (frame.len - frame.have).min(GROWTH), 0);
        &mut into[start..]
    }

    /// The first `n` bytes of the space have come.
    pub(super) fn filled(&mut self, n: usize) -> Result<Option<Event>, Wrong> {
        match &mut self.frame {
            None => {
                self.head_len += n;
                if self.head_len < head_size(&self.head[..self.head_len]) {
                    return Ok(None);
                }
                let frame = self.begun()?;
                self.head_len = 0;
                self.frame = Some(frame);
            }
            Some(frame) => {
                let (into, start) = match frame.opcode < CLOSE {
                    true => (&mut self.message, self.message_len),
                    false => (&mut self.control, frame.have),
                };
                for (at, byte) in into[start..start + n].iter_mut().enumerate() {
                    *byte ^= frame.mask[(frame.have + at) % 4];
                }
                frame.have += n;
                if frame.opcode < CLOSE {
                    self.message_len += n;
                }
            }
        }
        match self.frame {
            Some(frame) if frame.have == frame.len => {
                self.frame = None;
                self.ended(frame)
            }
            _ => Ok(None),
        }
    }

    /// A head has come whole.
    fn begun(&self) -> Result<Frame, Wrong> {
        let head = &self.head[..self.head_len];
        let (opcode, is_last) = (head[0] & 0x0f, head[0] & 0x80 != 0);
        if head[0] & 0x70 != 0 {
            return Err(Wrong::Protocol("a reserved bit is set"));
        }
        if head[1] & 0x80 == 0 {
            return Err(Wrong::Protocol("a frame of a client is not masked"));
        }
        let (len, mask) = match head[1] & 0x7f {
            126 => (u64::from(u16::from_be_bytes([head[2], head[3]])), 4),
            127 => (u64::from_be_bytes([head[2], head[3], head[4], head[5], head[6], head[7], head[8], head[9]]), 10),
            len => (u64::from(len), 2),
        };
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        match opcode {
            CONTINUATION if !self.is_in_message => return Err(Wrong::Protocol("a message goes on that has not begun")),
            TEXT | BINARY if self.is_in_message => return Err(Wrong::Protocol("a message begins within another")),
            BINARY => return Err(Wrong::NotText),
            CONTINUATION | TEXT if len > self.most - self.message_len => return Err(Wrong::TooLarge(self.most)),
            CONTINUATION | TEXT => {}
            CLOSE | PING | PONG if len > LONGEST_CONTROL || !is_last => {
                return Err(Wrong::Protocol("a control frame is too long, or in parts"));
            }
            CLOSE | PING | PONG => {}
            _ => return Err(Wrong::Protocol("a frame of an unknown kind")),
        }
        let mask = [head[mask], head[mask + 1], head[mask + 2], head[mask + 3]];
        Ok(Frame { opcode, is_last, mask, len, have: 0 })
    }

    /// A frame has come whole.
    fn ended(&mut self, frame: Frame) -> Result<Option<Event>, Wrong> {
        if frame.opcode < CLOSE {
            self.is_in_message = !frame.is_last;
            if self.is_in_message {
                return Ok(None);
            }
            let mut message = std::mem::take(&mut self.message);
            message.truncate(std::mem::take(&mut self.message_len));
            let text = String::from_utf8(message).map_err(|_| Wrong::NotUtf8)?;
            return Ok(Some(Event::Text(text)));
        }
        let payload = std::mem::take(&mut self.control);
        match (frame.opcode, payload.as_slice()) {
            (PING, _) => Ok(Some(Event::Ping(payload))),
            (PONG, _) => Ok(Some(Event::Pong)),
            (_, []) => Ok(Some(Event::Close(None))),
            (_, [_]) => Err(Wrong::Protocol("half a code in a close frame")),
            (_, [high, low, ..]) => Ok(Some(Event::Close(Some(u16::from_be_bytes([*high, *low]))))),
        }
    }
}

/// How many bytes the head of a frame has, as far as its beginning says.
fn head_size(begin: &[u8]) -> usize {
    let masked = |byte: u8| if byte & 0x80 != 0 { 4 } else { 0 };
    match begin {
        [_, second, ..] => match second & 0x7f {
            126 => 4 + masked(*second),
            127 => 10 + masked(*second),
            _ => 2 + masked(*second),
        },
        _ => 2,
    }
}

/// A frame to a client, which is never masked and never in parts.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(10 + payload.len());
    frame.push(0x80 | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(len @ ..=125), _) => frame.push(len),
        (_, Ok(len)) => {
            frame.push(126);
            frame.extend(len.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

pub(super) fn text(text: &str) -> Vec<u8> {
    frame(TEXT, text.as_bytes())
}
pub(super) fn ping() -> Vec<u8> {
    frame(PING, &[])
}
/// The answer to a ping, with what that held.
pub(super) fn pong(payload: &[u8]) -> Vec<u8> {
    frame(PONG, payload)
}
/// The end, with a reason that is cut where it does not fit.
pub(super) fn close(code: u16, reason: &str) -> Vec<u8> {
    let end = reason.floor_char_boundary(LONGEST_CONTROL - 2);
    frame(CLOSE, &[&code.to_be_bytes(), &reason.as_bytes()[..end]].concat())
}

/// The fuzz target: bytes of a client, in pieces whose sizes the first byte says. However they are cut, the same comes of them, and no more is held than a
/// message may have.
pub(crate) fn fuzz(data: &[u8]) {
    const MOST: usize = 300;
    let read = |piece: usize| {
        let (mut decoder, mut rest, mut events) = (Decoder::new(MOST), data.get(1..).unwrap_or_default(), Vec::new());
        while !rest.is_empty() {
            let (held, space) = (decoder.held(), decoder.space());
            let n = space.len().min(piece).min(rest.len());
            assert!(n > 0 && held <= MOST);
            space[..n].copy_from_slice(&rest[..n]);
            rest = &rest[n..];
            match decoder.filled(n) {
                Ok(event) => events.extend(event),
                Err(wrong) => return (events, Some(wrong)),
            }
        }
        (events, None)
    };
    let (piece, whole) = (usize::from(data.first().copied().unwrap_or(0) % 7) + 1, read(usize::MAX));
    assert!(read(piece) == whole);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A frame as a client sends it.
    fn sent(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = frame(0, payload);
        frame[0] = first;
        frame[1] |= 0x80;
        let head = frame.len() - payload.len();
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        let masked: Vec<u8> = payload.iter().enumerate().map(|(at, b)| b ^ mask[at % 4]).collect();
        [&frame[..head], &mask, &masked].concat()
    }
    fn read(bytes: &[u8], most: usize) -> Result<Vec<Event>, Wrong> {
        let (mut decoder, mut rest, mut events) = (Decoder::new(most), bytes, Vec::new());
        while !rest.is_empty() {
            // Asked for twice, as by a reader that was given up in between.
            decoder.space().fill(0xff);
            let space = decoder.space();
            let n = space.len().min(rest.len());
            space[..n].copy_from_slice(&rest[..n]);
            rest = &rest[n..];
            events.extend(decoder.filled(n)?);
        }
        assert!(!decoder.is_amid() && decoder.message.capacity() == 0, "nothing is held between two messages");
        Ok(events)
    }
    fn texts(bytes: &[u8], most: usize) -> Vec<String> {
        let text = |event| match event {
            Event::Text(text) => text,
            _ => panic!("no text"),
        };
        read(bytes, most).unwrap().into_iter().map(text).collect()
    }

    #[test]
    fn messages_of_any_length_whole_and_in_parts() {
        // The masked "Hello" of RFC 6455 §5.7, and the unmasked one of ours.
        let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(texts(&hello, 5), ["Hello"]);
        assert_eq!(text("Hello"), [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        for len in [0, 1, 125, 126, 127, 4095, 4096, 4097, 65_535, 65_536, 70_000] {
            let long = "x".repeat(len);
            assert_eq!(texts(&sent(0x81, long.as_bytes()), 70_000), [long.as_str()]);
            assert_eq!(
                text(&long).len(),
                len + if len < 126 {
                    2
                } else if len < 65_536 {
                    4
                } else {
                    10
                }
            );
        }
        let parts = [sent(0x01, b"Hel"), sent(0x89, b"ping"), sent(0x00, b""), sent(0x80, b"lo")].concat();
        let events = read(&parts, 5).unwrap();
        assert!(events == [Event::Ping(b"ping".to_vec()), Event::Text("Hello".into())]);
        let ends = [sent(0x8a, b""), sent(0x88, &[0x03, 0xe8, b'x']), sent(0x88, b"")].concat();
        assert!(read(&ends, 5).unwrap() == [Event::Pong, Event::Close(Some(1000)), Event::Close(None)]);
        assert_eq!(pong(b"ping"), [0x8a, 4, b'p', b'i', b'n', b'g']);
        assert_eq!(ping(), [0x89, 0]);
        assert_eq!(close(1000, "x"), [0x88, 3, 0x03, 0xe8, b'x']);
        assert_eq!(close(1000, &"ä".repeat(100)).len(), 2 + 2 + 122, "cut between two characters");
    }

    #[test]
    fn what_breaks_the_protocol_ends_it() {
        let wrong = |bytes: &[u8]| read(bytes, 10).err().unwrap();
        let protocol = |bytes: &[u8]| matches!(wrong(bytes), Wrong::Protocol(_));
        assert_eq!(wrong(&sent(0x82, b"x")), Wrong::NotText);
        assert_eq!(wrong(&sent(0x81, &[0xff])), Wrong::NotUtf8);
        assert_eq!(wrong(&sent(0x81, &[0; 11])), Wrong::TooLarge(10));
        assert_eq!(wrong(&[sent(0x01, &[b'x'; 6]), sent(0x80, &[b'x'; 5])].concat()), Wrong::TooLarge(10));
        assert_eq!(wrong(&[0x81, 0xff, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0]), Wrong::TooLarge(10));
        assert!(protocol(&[0x81, 0x01, b'x']), "not masked");
        assert!(protocol(&sent(0xc1, b"x")) && protocol(&sent(0x83, b"x")) && protocol(&sent(0x80, b"x")));
        assert!(protocol(&[sent(0x01, b"x"), sent(0x81, b"x")].concat()));
        assert!(protocol(&sent(0x09, b"")) && protocol(&sent(0x89, &[0; 126])) && protocol(&sent(0x88, b"x")));
        let codes = [Wrong::NotText, Wrong::NotUtf8, Wrong::TooLarge(10), Wrong::Protocol("")].map(Wrong::code);
        assert_eq!(codes, [1003, 1007, 1009, 1002]);
    }

    proptest::proptest! {
        #[test]
        fn pieces_make_no_difference(data: Vec<u8>, texts in proptest::collection::vec(("[a-zä]{0,200}", 0u8..=255), 0..6)) {
            fuzz(&data);
            let mut bytes = vec![data.first().copied().unwrap_or(0)];
            for (text, first) in &texts {
                bytes.extend(sent(if *first < 200 { 0x81 } else { *first }, text.as_bytes()));
            }
            fuzz(&bytes);
        }
    }
}
