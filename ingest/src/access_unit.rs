//! A look into an H.264 access unit: is there a picture, and can decoding start at it?
//!
//! Sources disagree about what a key frame is (a flag set on SEI-only units, cameras that never send IDR pictures), so
//! every source's frames pass here. One walk over the unit lengths per frame; no byte is copied.

/// The access unit's lengths do not add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the access unit breaks at byte {offset} of {len}")]
pub struct Malformed {
    /// Where the length that does not fit stands.
    pub offset: usize,
    /// Length of the access unit.
    pub len: usize,
}

/// What is in an access unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Slices of a primary coded picture (NAL types 1, 2 and 5). None: there is nothing to show.
    pub slices: u32,
    /// Slices of an IDR picture.
    pub idr_slices: u32,
    /// A recovery point SEI with `recovery_frame_cnt` 0 (ITU-T H.264 D.2.8): decoding may start here, at an open GOP.
    pub recovery_point: bool,
}

impl Contents {
    /// Whether a picture is in it.
    pub fn has_picture(&self) -> bool {
        self.slices > 0
    }
    /// Whether decoding can start here: an IDR picture, or an exact recovery point.
    pub fn is_key(&self) -> bool {
        self.slices > 0 && (self.idr_slices == self.slices || (self.recovery_point && self.idr_slices == 0))
    }
}

/// Reads an access unit whose NAL units are prefixed by their length in 4 bytes.
pub fn look(unit: &[u8]) -> Result<Contents, Malformed> {
    let mut contents = Contents::default();
    let mut at = 0usize;
    while at < unit.len() {
        let malformed = Malformed { offset: at, len: unit.len() };
        let length = unit.get(at..at + 4).ok_or(malformed)?;
        let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
        let nal = unit.get(at + 4..).and_then(|rest| rest.get(..length)).ok_or(malformed)?;
        match nal.first().map(|header| header & 0x1f) {
            Some(1 | 2) => contents.slices += 1,
            Some(5) => {
                contents.slices += 1;
                contents.idr_slices += 1;
            }
            Some(6) => contents.recovery_point |= has_exact_recovery_point(&nal[1..]),
            _ => {}
        }
        at += 4 + length;
    }
    Ok(contents)
}

/// Whether the SEI messages hold a recovery point (type 6) with `recovery_frame_cnt` 0. The count is ue(v), so a first
/// bit of 1 is zero; emulation prevention cannot touch a message that starts with that bit.
fn has_exact_recovery_point(mut sei: &[u8]) -> bool {
    loop {
        let (Some(kind), rest) = sei_number(sei) else { return false };
        let (Some(size), rest) = sei_number(rest) else { return false };
        if kind == 6 {
            return size > 0 && rest.first().is_some_and(|b| b & 0x80 != 0);
        }
        match rest.get(size..) {
            Some(next) if next.len() > 1 => sei = next,
            _ => return false,
        }
    }
}

/// A number in the SEI's coding: 0xff bytes add 255 each, the first other byte ends it.
fn sei_number(bytes: &[u8]) -> (Option<usize>, &[u8]) {
    let run = bytes.iter().take_while(|b| **b == 0xff).count();
    match bytes.get(run) {
        Some(last) => (Some(run * 255 + usize::from(*last)), &bytes[run + 1..]),
        None => (None, &[]),
    }
}

/// The fuzz target: bytes that may be an access unit. It has no more slices than fit into it.
pub fn fuzz(data: &[u8]) {
    if let Ok(contents) = look(data) {
        assert!(contents.slices as usize * 5 <= data.len());
        assert!(contents.idr_slices <= contents.slices);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unit(nals: &[&[u8]]) -> Vec<u8> {
        nals.iter().flat_map(|n| [&(n.len() as u32).to_be_bytes()[..], n].concat()).collect()
    }

    #[test]
    fn tells_idr_recovery_point_and_delta_apart() {
        assert!(look(&unit(&[&[0x09, 0x10], &[0x65, 0x88]])).is_ok_and(|c| c.is_key()));
        assert!(look(&unit(&[&[0x41, 0x9a]])).is_ok_and(|c| !c.is_key() && c.has_picture()));
        // SEI type 6, size 1, recovery_frame_cnt 0 (bit 1), then an I slice of type 1.
        assert!(look(&unit(&[&[0x06, 0x06, 0x01, 0xc4, 0x80], &[0x61, 0x88]])).is_ok_and(|c| c.is_key()));
        // The same with recovery_frame_cnt 1 (010): a gradual refresh is no place to start.
        assert!(look(&unit(&[&[0x06, 0x06, 0x01, 0x44, 0x80], &[0x61, 0x88]])).is_ok_and(|c| !c.is_key()));
        // A user-data message stands before the recovery point.
        assert!(look(&unit(&[&[0x06, 0x05, 0x02, 1, 2, 0x06, 0x01, 0xc4, 0x80], &[0x61]])).is_ok_and(|c| c.is_key()));
        // SEI alone: nothing to show, so no key frame.
        assert!(look(&unit(&[&[0x06, 0x06, 0x01, 0xc4, 0x80]])).is_ok_and(|c| !c.is_key() && !c.has_picture()));
    }

    #[test]
    fn names_the_byte_where_it_breaks() {
        assert_eq!(look(&[0, 0, 0]), Err(Malformed { offset: 0, len: 3 }));
        let mut broken = unit(&[&[0x65, 1, 2]]);
        broken.extend([0, 0, 1, 0, 0x41]);
        assert_eq!(look(&broken), Err(Malformed { offset: 7, len: 12 }));
        assert_eq!(look(&[]), Ok(Contents::default()));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            let _ = look(&bytes);
        }

        #[test]
        fn counts_every_slice(kinds in prop::collection::vec(1u8..=5, 0..20)) {
            let nals: Vec<Vec<u8>> = kinds.iter().map(|k| vec![0x60 | k, 0x80, 0x40]).collect();
            let refs: Vec<&[u8]> = nals.iter().map(Vec::as_slice).collect();
            let contents = look(&unit(&refs)).expect("well formed");
            prop_assert_eq!(contents.slices as usize, kinds.iter().filter(|k| [1, 2, 5].contains(k)).count());
            prop_assert_eq!(contents.idr_slices as usize, kinds.iter().filter(|k| **k == 5).count());
        }
    }
}
