//! The chunked transfer coding of HTTP/1.1 (RFC 9112 §7.1), taken out of bytes in place. Pure: no socket, no clock.
//!
//! Chunk extensions and trailers are skipped, within bounds. A line ends with CR LF and with nothing else: whoever takes a
//! lone LF for a line end sees other requests than whoever does not.

use std::fmt;

/// The most bytes of all chunk extensions, and of the trailers, of one body.
const MOST_BESIDE: u32 = 16 << 10;
/// The most digits of a size: larger ones do not fit 64 bits.
const SIZE_DIGITS: u8 = 16;

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    Size,
    LineEnd,
    Long,
    Beside,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Malformed::Size => "a chunk's size is no hexadecimal number of at most 16 digits",
            Malformed::LineEnd => "a line of the chunked coding does not end with CR LF",
            Malformed::Long => "a chunk is longer than its size says",
            Malformed::Beside => "chunk extensions or trailers are too long",
        })
    }
}

impl std::error::Error for Malformed {}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Digits of a size, of which so many were seen.
    Size {
        digits: u8,
        size: u64,
    },
    /// Blanks behind a size.
    Blank(u64),
    /// A chunk extension.
    Extension(u64),
    /// The LF behind a size.
    SizeEnd(u64),
    /// So many bytes of a chunk.
    Data(u64),
    /// The CR, the LF behind a chunk.
    DataCr,
    DataLf,
    /// A trailer's line, of which something was seen or nothing.
    Trailer {
        begun: bool,
    },
    /// The LF of such a line.
    TrailerEnd {
        begun: bool,
    },
    /// Nothing.
    Over,
}

/// The decoder of one body.
#[derive(Debug)]
pub(super) struct Chunked {
    next: Next,
    beside: u32,
}

/// What was found in some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    /// So many bytes at the beginning are the body's now.
    pub(super) body: usize,
    /// So many bytes were looked at: all, unless the body ended before, or is malformed there.
    pub(super) used: usize,
    /// What is wrong with what follows. There is no going on.
    pub(super) malformed: Option<Malformed>,
}

impl Chunked {
    pub(super) fn new() -> Chunked {
        Chunked { next: Next::Size { digits: 0, size: 0 }, beside: 0 }
    }

    /// Whether the body has come to its end.
    pub(super) fn is_over(&self) -> bool {
        self.next == Next::Over
    }

    /// Bytes of the current chunk that are still to come.
    pub(super) fn left(&self) -> u64 {
        match self.next {
            Next::Data(left) | Next::SizeEnd(left) => left,
            _ => 0,
        }
    }

    /// Takes the next bytes, and moves those of the body to their beginning.
    pub(super) fn decode(&mut self, bytes: &mut [u8]) -> Decoded {
        let (mut at, mut body) = (0, 0);
        while at < bytes.len() && self.next != Next::Over {
            if let Next::Data(left) = self.next {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                if at != body {
                    bytes.copy_within(at..at + here, body);
                }
                (at, body) = (at + here, body + here);
                self.next = match left - here as u64 {
                    0 => Next::DataCr,
                    left => Next::Data(left),
                };
            } else {
                match self.step(bytes[at]) {
                    Ok(next) => self.next = next,
                    Err(malformed) => return Decoded { body, used: at, malformed: Some(malformed) },
                }
                at += 1;
            }
        }
        Decoded { body, used: at, malformed: None }
    }

    /// One byte that is not the body's.
    fn step(&mut self, byte: u8) -> Result<Next, Malformed> {
        Ok(match (self.next, byte) {
            (Next::Size { digits, size }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if digits == SIZE_DIGITS {
                    return Err(Malformed::Size);
                }
                let digit = (byte as char).to_digit(16).unwrap_or_default();
                Next::Size { digits: digits + 1, size: size << 4 | u64::from(digit) }
            }
            (Next::Size { digits: 0, .. }, _) => return Err(Malformed::Size),
            (Next::Size { size, .. } | Next::Blank(size), b'\t' | b' ') => self.beside(Next::Blank(size))?,
            (Next::Size { size, .. } | Next::Blank(size), b';') => self.beside(Next::Extension(size))?,
            (Next::Size { size, .. } | Next::Blank(size) | Next::Extension(size), b'\r') => Next::SizeEnd(size),
            (Next::Size { .. } | Next::Blank(_), b'\n') => return Err(Malformed::LineEnd),
            (Next::Size { .. } | Next::Blank(_), _) => return Err(Malformed::Size),
            (Next::Extension(_), b'\n') => return Err(Malformed::LineEnd),
            (Next::Extension(size), _) => self.beside(Next::Extension(size))?,
            (Next::SizeEnd(0), b'\n') => Next::Trailer { begun: false },
            (Next::SizeEnd(size), b'\n') => Next::Data(size),
            (Next::DataCr, b'\r') => Next::DataLf,
            (Next::DataCr, _) => return Err(Malformed::Long),
            (Next::DataLf, b'\n') => Next::Size { digits: 0, size: 0 },
            (Next::Trailer { begun }, b'\r') => Next::TrailerEnd { begun },
            (Next::Trailer { .. }, b'\n') => return Err(Malformed::LineEnd),
            (Next::Trailer { .. }, _) => self.beside(Next::Trailer { begun: true })?,
            (Next::TrailerEnd { begun: true }, b'\n') => Next::Trailer { begun: false },
            (Next::TrailerEnd { begun: false }, b'\n') => Next::Over,
            (Next::SizeEnd(_) | Next::DataLf | Next::TrailerEnd { .. }, _) => return Err(Malformed::LineEnd),
            (Next::Data(_) | Next::Over, _) => self.next,
        })
    }

    fn beside(&mut self, next: Next) -> Result<Next, Malformed> {
        self.beside += 1;
        if self.beside > MOST_BESIDE {
            return Err(Malformed::Beside);
        }
        Ok(next)
    }
}

/// A body, what is left behind it, and whether it has ended.
type Whole = (Vec<u8>, Vec<u8>, bool);

/// What stands in these bytes, given in pieces of these lengths; or what is wrong, and the body before that.
fn decode(wire: &[u8], pieces: &[usize]) -> Result<Whole, (Malformed, Vec<u8>)> {
    let (mut chunked, mut body, mut at) = (Chunked::new(), Vec::new(), 0);
    let mut pieces = pieces.iter().cycle();
    while at < wire.len() && !chunked.is_over() {
        let end = wire.len().min(at + pieces.next().map_or(1, |piece| *piece.max(&1)));
        let mut piece = wire[at..end].to_vec();
        let found = chunked.decode(&mut piece);
        body.extend_from_slice(&piece[..found.body]);
        if let Some(malformed) = found.malformed {
            return Err((malformed, body));
        }
        assert!(found.used == piece.len() || chunked.is_over());
        at += found.used;
    }
    Ok((body, wire[at..].to_vec(), chunked.is_over()))
}

/// The fuzz target: the length of a piece, and bytes that may be a chunked body. It is the same in pieces and whole, and no longer
/// than what it came in.
pub fn fuzz(data: &[u8]) {
    let Some((&piece, wire)) = data.split_first() else { return };
    let whole = decode(wire, &[wire.len().max(1)]);
    assert_eq!(decode(wire, &[usize::from(piece)]), whole);
    let (Ok((body, ..)) | Err((_, body))) = whole;
    assert!(body.len() <= wire.len());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_extensions_and_trailers() {
        let wire =
            b"5\r\nhello\r\n00A;name=\"x;y\" \r\n, world!!!\r\n1 \t\r\n.\r\n0;last\r\nx: y\r\nz:\r\n\r\nGET / HTTP/1.1";
        let expected = (b"hello, world!!!.".to_vec(), b"GET / HTTP/1.1".to_vec(), true);
        for pieces in [&[1][..], &[2], &[3, 5], &[1000]] {
            assert_eq!(decode(wire, pieces), Ok(expected.clone()), "{pieces:?}");
        }
        let (body, _, over) = decode(b"5\r\nhel", &[100]).unwrap();
        assert_eq!((&body[..], over), (&b"hel"[..], false));
    }

    #[test]
    fn what_is_left_of_a_chunk() {
        let mut chunked = Chunked::new();
        assert_eq!(chunked.left(), 0);
        chunked.decode(&mut b"ffffffffffffffff\r\nabc".to_vec());
        assert_eq!(chunked.left(), u64::MAX - 3);
    }

    #[test]
    fn malformed_bodies_are_refused() {
        for (wire, why) in [
            (&b"x"[..], Malformed::Size),
            (b"\r\n", Malformed::Size),
            (b";a\r\n", Malformed::Size),
            (b" 5\r\n", Malformed::Size),
            (b"-5\r\n", Malformed::Size),
            (b"0x5\r\n", Malformed::Size),
            (b"5 5\r\n", Malformed::Size),
            (b"10000000000000000\r\n", Malformed::Size),
            (b"5\nhello", Malformed::LineEnd),
            (b"5\rhello", Malformed::LineEnd),
            (b"5;a\nhello", Malformed::LineEnd),
            (b"5\r\nhello!\r\n", Malformed::Long),
            (b"5\r\nhello\r!", Malformed::LineEnd),
            (b"5\r\nhello\n0\r\n", Malformed::Long),
            (b"0\r\n\n", Malformed::LineEnd),
            (b"0\r\na: b\n", Malformed::LineEnd),
            (b"0\r\n\rX", Malformed::LineEnd),
        ] {
            for pieces in [&[1][..], &[1000]] {
                let body = if wire.starts_with(b"5\r\nhello") { &b"hello"[..] } else { b"" };
                assert_eq!(decode(wire, pieces), Err((why, body.to_vec())), "{:?}", String::from_utf8_lossy(wire));
            }
        }
    }

    #[test]
    fn what_stands_beside_the_body_is_bounded() {
        let many = |start: &[u8], line: &[u8], count| [start.to_vec(), line.repeat(count)].concat();
        let extensions = |count| many(b"", b"1;aaaaaaaaa\r\nx\r\n", count);
        assert!(decode(&extensions(1600), &[4096]).is_ok());
        assert_eq!(decode(&extensions(1700), &[4096]).unwrap_err().0, Malformed::Beside);
        assert_eq!(decode(&many(b"1;", b"a", 20_000), &[4096]).unwrap_err().0, Malformed::Beside);
        assert_eq!(decode(&many(b"0\r\n", b"a: b\r\n", 20_000), &[4096]).unwrap_err().0, Malformed::Beside);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_in_pieces_of_any_size(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..20),
            behind in prop::collection::vec(any::<u8>(), 0..50),
            pieces in prop::collection::vec(1usize..400, 1..10),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend(format!("{:x}\r\n", chunk.len()).bytes().chain(chunk.iter().copied()).chain(*b"\r\n"));
            }
            wire.extend(b"0\r\n\r\n".iter().chain(&behind));
            let (body, rest, over) = decode(&wire, &pieces).unwrap();
            prop_assert!(over);
            prop_assert_eq!(body, chunks.concat());
            // A piece is given whole: what is behind the end stays in it.
            prop_assert_eq!(rest, behind);
        }

        #[test]
        fn any_bytes_are_decoded_alike_in_any_pieces(
            wire in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'3'), Just(b';'), Just(b' '), any::<u8>()], 0..200),
            pieces in prop::collection::vec(1usize..50, 1..10),
        ) {
            prop_assert_eq!(decode(&wire, &pieces), decode(&wire, &[wire.len().max(1)]));
            fuzz(&wire);
        }
    }
}
