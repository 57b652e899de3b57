//! The head of an RTP packet (RFC 3550 §5.1, RFC 8285).

use std::ops::Range;

/// What stands in the head of a packet. It is sent in clear, so most of it is known before the packet is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Payload type.
    pub(crate) payload_type: u8,
    /// Whether it ends a picture.
    pub(crate) marker: bool,
    /// Its number.
    pub(crate) sequence: u16,
    /// Its timestamp.
    pub(crate) timestamp: u32,
    /// Whose it is.
    pub(crate) ssrc: u32,
    /// Its number among all packets of the transport, if it has one.
    pub(crate) transport_sequence: Option<u16>,
    /// Where its head ends.
    body: usize,
    padded: bool,
}

impl Head {
    /// Reads the head. `transport_cc` is the id of the extension with the number of the transport.
    pub(crate) fn parse(packet: &[u8], transport_cc: Option<u8>) -> Option<Head> {
        let fixed = packet.first_chunk::<12>()?;
        if fixed[0] >> 6 != 2 {
            return None;
        }
        let word = |at: usize| u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        let mut head = Head {
            payload_type: fixed[1] & 0x7f,
            marker: fixed[1] & 0x80 != 0,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: word(4),
            ssrc: word(8),
            transport_sequence: None,
            body: 12 + 4 * usize::from(fixed[0] & 0x0f),
            padded: fixed[0] & 0x20 != 0,
        };
        if fixed[0] & 0x10 != 0 {
            let [a, b, c, d] = *packet.get(head.body..)?.first_chunk::<4>()?;
            let length = 4 * usize::from(u16::from_be_bytes([c, d]));
            let elements = packet.get(head.body + 4..)?.get(..length)?;
            head.transport_sequence = transport_cc.and_then(|id| extension(u16::from_be_bytes([a, b]), elements, id));
            head.body += 4 + length;
        }
        (head.body <= packet.len()).then_some(head)
    }

    /// Where the payload of the opened packet is: empty for one that only fills the line. `None` if its padding is longer than it.
    pub(crate) fn payload(&self, opened: &[u8]) -> Option<Range<usize>> {
        let padding = if self.padded { usize::from(*opened.last()?) } else { 0 };
        let end = opened.len().checked_sub(padding)?;
        (self.body <= end && (!self.padded || padding > 0)).then_some(self.body..end)
    }
}

/// Two bytes of the extension with this id, in either form.
fn extension(profile: u16, mut rest: &[u8], wanted: u8) -> Option<u16> {
    let two_bytes = profile >> 4 == 0x100;
    if !two_bytes && profile != 0xbede {
        return None;
    }
    while let Some((first, tail)) = rest.split_first() {
        if *first == 0 {
            rest = tail; // Padding.
            continue;
        }
        let (id, length, tail) = match two_bytes {
            true => (*first, usize::from(*tail.first()?), &tail[1..]),
            false => (first >> 4, usize::from(first & 0x0f) + 1, tail),
        };
        if !two_bytes && id == 15 {
            return None; // RFC 8285 §4.2: nothing that follows is to be read.
        }
        let (value, tail) = tail.split_at_checked(length)?;
        if id == wanted {
            return value.first_chunk().map(|v| u16::from_be_bytes(*v));
        }
        rest = tail;
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn packet(first: u8, after: &[u8]) -> Vec<u8> {
        [&[first, 0x80 | 102, 1, 2, 0, 0, 0, 9, 0, 0, 0, 7][..], after].concat()
    }

    #[test]
    fn heads_are_read_in_all_their_forms() {
        let plain = packet(0x80, &[5, 6]);
        let head = Head::parse(&plain, Some(3)).unwrap();
        assert_eq!(
            (head.payload_type, head.marker, head.sequence, head.timestamp, head.ssrc),
            (102, true, 0x0102, 9, 7)
        );
        assert_eq!((head.payload(&plain), head.transport_sequence), (Some(12..14), None));
        let one = packet(0x90, &[0xbe, 0xde, 0, 2, 0x10, 1, 0x31, 0xab, 0xcd, 0, 0, 0, 5]);
        let head = Head::parse(&one, Some(3)).unwrap();
        assert_eq!((head.transport_sequence, head.payload(&one)), (Some(0xabcd), Some(24..25)));
        let two = packet(0x90, &[0x10, 0, 0, 2, 1, 0, 3, 2, 0xab, 0xcd, 0, 0, 5]);
        assert_eq!(Head::parse(&two, Some(3)).unwrap().transport_sequence, Some(0xabcd));
        assert_eq!(Head::parse(&two, None).unwrap().transport_sequence, None);
        let sources = packet(0x81, &[0, 0, 0, 8, 5]);
        assert_eq!(Head::parse(&sources, None).unwrap().payload(&sources), Some(16..17));
        let padded = packet(0xa0, &[5, 0, 0, 3]);
        assert_eq!(Head::parse(&padded, None).unwrap().payload(&padded), Some(12..13));
        let only = packet(0xa0, &[0, 0, 3]);
        assert_eq!(Head::parse(&only, None).unwrap().payload(&only), Some(12..12));
        for bad in [packet(0xa0, &[0, 0, 4]), packet(0xa0, &[0, 0, 0])] {
            assert_eq!(Head::parse(&bad, None).unwrap().payload(&bad), None);
        }
    }

    #[test]
    fn what_is_cut_short_is_no_packet() {
        let whole = packet(0x91, &[0, 0, 0, 8, 0xbe, 0xde, 0, 1, 0x31, 0xab, 0xcd, 0]);
        assert!(Head::parse(&whole, Some(3)).is_some());
        for end in 0..whole.len() {
            assert_eq!(Head::parse(&whole[..end], Some(3)), None, "cut at {end}");
        }
        assert_eq!(Head::parse(&packet(0x40, &[]), None), None);
    }
}
