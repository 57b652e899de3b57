//! Writing boxes: a size, a type, and a body that may hold further boxes (ISO/IEC 14496-12, section 4.2).

use bytes::{BufMut, BytesMut};

/// Writes a box around what `body` writes. Sizes fit 32 bits: only `mdat` is large, and it is not written here.
pub(super) fn put_box(out: &mut BytesMut, kind: &[u8; 4], body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u32(0);
    out.put_slice(kind);
    body(out);
    let size = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

/// Writes a box whose body begins with a version and 24 flags.
pub(super) fn put_full_box(
    out: &mut BytesMut,
    kind: &[u8; 4],
    version: u8,
    flags: u32,
    body: impl FnOnce(&mut BytesMut),
) {
    put_box(out, kind, |out| {
        out.put_u32(u32::from(version) << 24 | flags & 0x00FF_FFFF);
        body(out);
    });
}

/// Writes numbers of 32 bits.
pub(super) fn put_u32s(out: &mut BytesMut, values: &[u32]) {
    values.iter().for_each(|value| out.put_u32(*value));
}

/// Writes numbers of 16 bits.
pub(super) fn put_u16s(out: &mut BytesMut, values: &[u16]) {
    values.iter().for_each(|value| out.put_u16(*value));
}

/// The identity matrix of `mvhd` and `tkhd`.
pub(super) fn put_matrix(out: &mut BytesMut) {
    put_u32s(out, &[0x0001_0000, 0, 0, 0, 0x0001_0000, 0, 0, 0, 0x4000_0000]);
}
