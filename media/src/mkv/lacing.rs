//! Several frames in one block (RFC 9559, section 10.3).

use super::{ebml, error::Reason};
use std::ops::Range;

/// The frames of a block, as ranges of `body`, the block's bytes after its flags. `kind` is 1 for Xiph lacing, 2 for
/// fixed sizes, 3 for EBML lacing.
pub(super) fn frames(kind: u8, body: &[u8]) -> Result<Vec<Range<usize>>, Reason> {
    let (&count, _) = body.split_first().ok_or(Reason::Lacing)?;
    let count = usize::from(count) + 1;
    let mut at = 1;
    let sizes = match kind {
        1 => xiph(body, &mut at, count)?,
        2 => fixed(body.len() - 1, count)?,
        _ => ebml_sizes(body, &mut at, count)?,
    };
    let mut ranges = Vec::with_capacity(count);
    for size in sizes {
        let end = at.checked_add(size).filter(|end| *end <= body.len()).ok_or(Reason::Lacing)?;
        ranges.push(at..end);
        at = end;
    }
    // The last frame takes what is left; with fixed sizes nothing is.
    if kind != 2 {
        ranges.push(at..body.len());
    }
    Ok(ranges)
}

/// All but the last size, each a sum of bytes that ends with one below 255.
fn xiph(body: &[u8], at: &mut usize, count: usize) -> Result<Vec<usize>, Reason> {
    let mut sizes = Vec::with_capacity(count - 1);
    for _ in 1..count {
        let mut size = 0;
        loop {
            let byte = *body.get(*at).ok_or(Reason::Lacing)?;
            *at += 1;
            size += usize::from(byte);
            if byte != 255 {
                break;
            }
        }
        sizes.push(size);
    }
    Ok(sizes)
}

/// All sizes, the same for each.
fn fixed(len: usize, count: usize) -> Result<Vec<usize>, Reason> {
    if !len.is_multiple_of(count) {
        return Err(Reason::Lacing);
    }
    Ok(vec![len / count; count])
}

/// All but the last size: the first as it is, each further one as a difference to the one before.
fn ebml_sizes(body: &[u8], at: &mut usize, count: usize) -> Result<Vec<usize>, Reason> {
    let mut sizes = Vec::with_capacity(count - 1);
    let mut size = 0i64;
    for index in 1..count {
        let (value, len) = ebml::vint(&body[*at..]).map_err(|_| Reason::Lacing)?.ok_or(Reason::Lacing)?;
        *at += len;
        // Values have at most 56 bits, so neither line can overflow before the bound is checked.
        let value = value as i64;
        size += if index == 1 { value } else { value - ((1i64 << (7 * len - 1)) - 1) };
        let valid = usize::try_from(size).ok().filter(|size| *size <= body.len()).ok_or(Reason::Lacing)?;
        sizes.push(valid);
    }
    Ok(sizes)
}
