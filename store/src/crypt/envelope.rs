//! The form of encrypted bytes. This file alone writes and reads it. Pure.
//!
//! ```text
//!  0 magic "VENC"   4 id of the stream's key (4)   8 salt (16)   24 mark (4)
//! 28 CRC-32C of bytes 0–27 and of all that follows (4)
//! 32 pieces of 64 KiB, the last one shorter, each encrypted and followed by its tag of 16 bytes
//! ```
//!
//! Each envelope has an AES-256-GCM key of its own, HKDF-Expand of the stream's key with the salt; so the nonce of a piece is its index,
//! and no nonce is ever used twice under a key as long as no salt is drawn twice. With each piece are authenticated: what the envelope is
//! of (its *place*, such as the head of a record), the length of all pieces together, and bytes 0–27.
//!
//! The checksum is over what lies on the disk, so that damage is found without a key.

use super::key::StreamKey;
use bytes::{Bytes, BytesMut};
use ring::aead::{Aad, LessSafeKey, Nonce};

/// Bytes before the first piece.
pub(crate) const HEAD_LEN: usize = 32;
/// Bytes of a piece before it is encrypted.
pub(crate) const PIECE: usize = 64 << 10;
/// Bytes of the tag behind each piece.
pub(crate) const TAG_LEN: usize = 16;
/// Bytes of a salt.
pub(crate) const SALT_LEN: usize = 16;

const MAGIC: [u8; 4] = *b"VENC";

/// Why encrypted bytes are not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenError {
    /// They are no envelope, or one of another length.
    #[error("it is not what encrypted bytes look like")]
    Form,
    /// They were encrypted under another key.
    #[error("it is encrypted under another key than the stream's")]
    Key,
    /// They, or what they were said to be of, are not what was encrypted.
    #[error("it is not what was encrypted there")]
    Forged,
}

/// Bytes of the envelope of so many bytes.
pub(crate) fn len(plain: u64) -> u64 {
    HEAD_LEN as u64 + plain + TAG_LEN as u64 * plain.div_ceil(PIECE as u64).max(1)
}

/// Bytes in an envelope of so many, if any have one of that length.
fn plain_len(envelope: usize) -> Option<usize> {
    let body = envelope.checked_sub(HEAD_LEN)?;
    let plain = body.checked_sub(TAG_LEN * body.div_ceil(PIECE + TAG_LEN).max(1))?;
    (len(plain as u64) == envelope as u64).then_some(plain)
}

/// Whether bytes are an envelope, by how they begin. No Matroska header and no JPEG does.
pub(crate) fn is_one(bytes: &[u8]) -> bool {
    bytes.len() >= HEAD_LEN && bytes[..4] == MAGIC
}

/// The mark in the first [`HEAD_LEN`] bytes of an envelope, and its checksum; `None` if they are none.
pub(crate) fn read_head(head: &[u8; HEAD_LEN]) -> Option<(u32, u32)> {
    is_one(head).then(|| (u32_at(head, 24), u32_at(head, 28)))
}

/// What the checksum of an envelope begins with; it goes on over all behind the head.
pub(crate) fn crc_of_head(head: &[u8; HEAD_LEN]) -> u32 {
    crc32c::crc32c(&head[..28])
}

/// Whether an envelope is as it was written; looked at without a key. With `mark`, whether it has that one too.
pub(crate) fn is_whole(bytes: &[u8], mark: Option<u32>) -> bool {
    let Some((head, body)) = bytes.split_first_chunk::<HEAD_LEN>() else { return false };
    let Some((said, crc)) = read_head(head) else { return false };
    mark.is_none_or(|mark| mark == said) && crc32c::crc32c_append(crc_of_head(head), body) == crc
}

/// What the pieces of one envelope are encrypted with.
struct Pieces {
    key: LessSafeKey,
    aad: Vec<u8>,
    next: u64,
}

impl Pieces {
    fn new(key: &StreamKey, head: &[u8], place: &[u8], plain: usize) -> Pieces {
        let aad = [&(plain as u64).to_le_bytes()[..], &head[..28], place].concat();
        Pieces { key: key.of_envelope(&head[8..8 + SALT_LEN]), aad, next: 0 }
    }

    fn nonce(&mut self) -> Nonce {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.next.to_le_bytes());
        self.next += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Encrypts these parts, one after the other, into `out`, which must be empty; [`len`] says what they take. `salt` must be drawn for these
/// bytes, or made of them and of the place: another content never has it. `mark` is shown in clear.
pub(crate) fn encrypt<'a>(
    key: &StreamKey,
    place: &[u8],
    salt: &[u8; SALT_LEN],
    mark: u32,
    parts: impl Iterator<Item = &'a [u8]> + Clone,
    out: &mut BytesMut,
) {
    debug_assert!(out.is_empty());
    let plain: usize = parts.clone().map(<[u8]>::len).sum();
    out.reserve(len(plain as u64) as usize);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&key.id());
    out.extend_from_slice(salt);
    out.extend_from_slice(&mark.to_le_bytes());
    let mut crc = crc32c::crc32c(out);
    let mut pieces = Pieces::new(key, out, place, plain);
    out.extend_from_slice(&[0; 4]);
    let (mut parts, mut rest, mut left) = (parts, &[][..], plain);
    loop {
        let start = out.len();
        // Copied piece by piece, so that what is encrypted next is in the processor's cache.
        let end = start + left.min(PIECE);
        while out.len() < end {
            if rest.is_empty() {
                rest = parts.next().expect("their lengths were added up above");
                continue;
            }
            let (now, later) = rest.split_at(rest.len().min(end - out.len()));
            out.extend_from_slice(now);
            rest = later;
        }
        let nonce = pieces.nonce();
        let tag = pieces.key.seal_in_place_separate_tag(nonce, Aad::from(&pieces.aad), &mut out[start..]);
        out.extend_from_slice(tag.expect("a piece is far shorter than what AES-GCM can take").as_ref());
        crc = crc32c::crc32c_append(crc, &out[start..]);
        left -= end - start;
        if left == 0 {
            break;
        }
    }
    out[28..HEAD_LEN].copy_from_slice(&crc.to_le_bytes());
}

/// Decrypts an envelope that is of this place; in its own memory, if nobody else has a part of it.
pub(crate) fn decrypt(key: &StreamKey, place: &[u8], bytes: Bytes) -> Result<Bytes, OpenError> {
    let mut bytes = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    let plain = plain_len(bytes.len()).filter(|_| is_one(&bytes)).ok_or(OpenError::Form)?;
    if bytes[4..8] != key.id() {
        return Err(OpenError::Key);
    }
    let mut pieces = Pieces::new(key, &bytes[..HEAD_LEN], place, plain);
    let mut body = bytes.split_off(HEAD_LEN);
    let (mut from, mut to) = (0, 0);
    while from < body.len() {
        let end = body.len().min(from + PIECE + TAG_LEN);
        let nonce = pieces.nonce();
        // Moved to the front as it is decrypted, over the tags before it.
        let opened =
            pieces.key.open_within(nonce, Aad::from(&pieces.aad), &mut body[to..end], from - to..).map(|p| p.len());
        to += opened.map_err(|_| OpenError::Forged)?;
        from = end;
    }
    body.truncate(to);
    Ok(body.freeze())
}

fn u32_at(bytes: &[u8; HEAD_LEN], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a slice of 4 bytes"))
}

/// The body of the fuzz target: bytes that are no envelope are refused; what is encrypted is read back, and nothing else is.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    let key = StreamKey::new([7; 32]);
    let _ = is_whole(data, None);
    assert!(decrypt(&key, b"", Bytes::copy_from_slice(data)).is_err(), "nobody has the key");
    let (salt, mut sealed) = ([1; SALT_LEN], BytesMut::new());
    let (at, flip) = (data.first().copied().unwrap_or(0), data.get(1).copied().unwrap_or(1).max(1));
    encrypt(&key, b"place", &salt, 5, data.chunks(1 + usize::from(at)), &mut sealed);
    assert_eq!(sealed.len() as u64, len(data.len() as u64));
    assert!(is_whole(&sealed, Some(5)) && !is_whole(&sealed, Some(6)));
    assert_eq!(decrypt(&key, b"place", Bytes::copy_from_slice(&sealed)).as_deref(), Ok(data));
    let at = usize::from(at) * 257 % sealed.len();
    sealed[at] ^= flip;
    assert!(!is_whole(&sealed, Some(5)));
    let is_crc = (28..HEAD_LEN).contains(&at);
    assert_eq!(
        decrypt(&key, b"place", sealed.freeze()).is_ok(),
        is_crc,
        "of all bytes the checksum alone is not authenticated"
    );
}
