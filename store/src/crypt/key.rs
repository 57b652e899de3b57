//! Keys: the operator's master key, and the key of a stream, which lies nowhere but wrapped by it. Pure but for drawing randomness.

use super::envelope::{self, SALT_LEN};
use crate::{Error, Kind};
use bytes::{Bytes, BytesMut};
use media::HeaderId;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::{hkdf, hmac};
use uuid::Uuid;
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a key, AES-256's.
pub(crate) const KEY_LEN: usize = 32;
/// Bytes of a wrapped key: nonce, key, tag.
pub(crate) const WRAPPED_LEN: usize = 12 + KEY_LEN + 16;

/// The operator's key, under which the keys of streams are wrapped. Never shown; overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey(Zeroizing<[u8; KEY_LEN]>);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MasterKey({})", self.id())
    }
}

impl MasterKey {
    /// Reads 32 bytes, as 64 hexadecimal digits or as Base64, with white space around it; `None` if they are anything else.
    pub fn parse(text: &str) -> Option<MasterKey> {
        let text = text.trim();
        let mut bytes = match text.len() {
            64 => (0..KEY_LEN).map(|i| u8::from_str_radix(text.get(i * 2..i * 2 + 2)?, 16).ok()).collect::<Option<_>>(),
            _ => base64::Engine::decode(&base64::prelude::BASE64_STANDARD, text).ok(),
        }?;
        let key = <[u8; KEY_LEN]>::try_from(&bytes[..]).ok().map(|key| MasterKey(Zeroizing::new(key)));
        bytes.zeroize();
        key
    }

    /// Tells it apart from others, and nothing of it: 16 hexadecimal digits.
    pub fn id(&self) -> String {
        let mut id = [0; 8];
        expand(&self.0, &[b"vidicon master key id"], &mut id);
        id.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn aead(&self) -> LessSafeKey {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        expand(&self.0, &[b"vidicon wrap"], &mut *key);
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*key).expect("32 bytes are the length of its keys"))
    }

    fn aad(store: Uuid, stream: u64) -> Vec<u8> {
        [&b"vidicon stream key 1"[..], store.as_bytes(), &stream.to_le_bytes()].concat()
    }

    /// Wraps the key of a stream. The nonce is drawn: 2^32 of them under one master key are safe, and there is one a stream and rotation.
    pub(crate) fn wrap(&self, store: Uuid, stream: u64, key: &StreamKey) -> Result<[u8; WRAPPED_LEN], Error> {
        let mut out = [0; WRAPPED_LEN];
        draw(&mut out[..12])?;
        let nonce: [u8; 12] = out[..12].try_into().expect("a slice of 12 bytes");
        out[12..12 + KEY_LEN].copy_from_slice(&*key.bytes);
        let (nonce, aad) = (Nonce::assume_unique_for_key(nonce), Aad::from(MasterKey::aad(store, stream)));
        let tag = self.aead().seal_in_place_separate_tag(nonce, aad, &mut out[12..12 + KEY_LEN]);
        out[12 + KEY_LEN..].copy_from_slice(tag.expect("32 bytes are not too long").as_ref());
        Ok(out)
    }

    /// Unwraps it. `None` if it was not wrapped by this key, for that stream of that store.
    pub(crate) fn unwrap(&self, store: Uuid, stream: u64, wrapped: &[u8; WRAPPED_LEN]) -> Option<StreamKey> {
        let nonce = Nonce::assume_unique_for_key(wrapped[..12].try_into().ok()?);
        let mut rest = Zeroizing::new(<[u8; KEY_LEN + 16]>::try_from(&wrapped[12..]).ok()?);
        let opened = self.aead().open_in_place(nonce, Aad::from(MasterKey::aad(store, stream)), &mut *rest).ok()?;
        Some(StreamKey::new(<[u8; KEY_LEN]>::try_from(&*opened).ok()?))
    }
}

/// The key of a stream. Overwritten when it is dropped.
pub(crate) struct StreamKey {
    bytes: Zeroizing<[u8; KEY_LEN]>,
    id: [u8; 4],
}

impl std::fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StreamKey(…)")
    }
}

impl StreamKey {
    pub(crate) fn new(bytes: [u8; KEY_LEN]) -> StreamKey {
        let bytes = Zeroizing::new(bytes);
        let mut id = [0; 4];
        expand(&bytes, &[b"vidicon stream key id"], &mut id);
        StreamKey { bytes, id }
    }

    /// A new one.
    pub(crate) fn generate() -> Result<StreamKey, Error> {
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        draw(&mut *bytes)?;
        Ok(StreamKey::new(*bytes))
    }

    /// Tells it apart from others.
    pub(super) fn id(&self) -> [u8; 4] {
        self.id
    }

    /// The key of the envelope that has this salt.
    pub(super) fn of_envelope(&self, salt: &[u8]) -> LessSafeKey {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        expand(&self.bytes, &[b"vidicon envelope 1", salt], &mut *key);
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*key).expect("32 bytes are the length of its keys"))
    }

    fn hmac(&self, label: &[u8]) -> hmac::Key {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        expand(&self.bytes, &[label], &mut *key);
        hmac::Key::new(hmac::HMAC_SHA256, &*key)
    }

    /// What tells a fragment of the stream that is sent again from others, in place of the checksum of its bytes: equal where that, its
    /// time, header and lengths are. `crc32c` is the checksum.
    pub(crate) fn mark(&self, start: media::UnixMillis, header: HeaderId, lead: u32, bytes: u32, crc32c: u32) -> u32 {
        let mut of = hmac::Context::with_key(&self.hmac(b"vidicon mark"));
        of.update(&start.0.to_le_bytes());
        of.update(&header.0.to_le_bytes());
        for number in [lead, bytes, crc32c] {
            of.update(&number.to_le_bytes());
        }
        u32::from_le_bytes(of.sign().as_ref()[..4].try_into().expect("a slice of 4 bytes"))
    }

    /// Encrypts a header of the stream. The salt is made of the bytes, so that the same header is the same envelope in each segment, and
    /// in the catalog.
    pub(crate) fn encrypt_header(&self, stream: u64, id: HeaderId, bytes: &[u8]) -> Bytes {
        let (place, mut out) = (header_place(stream, id), BytesMut::new());
        let mut salt = hmac::Context::with_key(&self.hmac(b"vidicon header salt"));
        salt.update(&place);
        salt.update(bytes);
        let salt: [u8; SALT_LEN] = salt.sign().as_ref()[..SALT_LEN].try_into().expect("a slice of as many bytes");
        envelope::encrypt(self, &place, &salt, 0, std::iter::once(bytes), &mut out);
        out.freeze()
    }

    /// Decrypts what [`Self::encrypt_header`] made.
    pub(crate) fn decrypt_header(&self, stream: u64, id: HeaderId, bytes: Bytes) -> Result<Bytes, envelope::OpenError> {
        envelope::decrypt(self, &header_place(stream, id), bytes)
    }

    /// Encrypts the picture of an alert.
    pub(crate) fn encrypt_snapshot(&self, stream: u64, alert: &str, jpeg: &[u8]) -> Result<Bytes, Error> {
        let mut out = BytesMut::new();
        let place = snapshot_place(stream, alert);
        envelope::encrypt(self, &place, &salt()?, 0, std::iter::once(jpeg), &mut out);
        Ok(out.freeze())
    }

    /// Decrypts what [`Self::encrypt_snapshot`] made.
    pub(crate) fn decrypt_snapshot(
        &self,
        stream: u64,
        alert: &str,
        bytes: Bytes,
    ) -> Result<Bytes, envelope::OpenError> {
        envelope::decrypt(self, &snapshot_place(stream, alert), bytes)
    }
}

/// A salt, drawn.
pub(crate) fn salt() -> Result<[u8; SALT_LEN], Error> {
    let mut salt = [0; SALT_LEN];
    draw(&mut salt)?;
    Ok(salt)
}

fn header_place(stream: u64, id: HeaderId) -> Vec<u8> {
    [&b"header"[..], &stream.to_le_bytes(), &id.0.to_le_bytes()].concat()
}

fn snapshot_place(stream: u64, alert: &str) -> Vec<u8> {
    [&b"snapshot"[..], &stream.to_le_bytes(), alert.as_bytes()].concat()
}

fn draw(out: &mut [u8]) -> Result<(), Error> {
    getrandom::fill(out).map_err(|e| Error::new(Kind::Unavailable, format!("the system gave no random bytes: {e}")))
}

/// HKDF-Expand with SHA-256 (RFC 5869; the key is uniformly random, so nothing has to be extracted first).
fn expand(key: &[u8; KEY_LEN], info: &[&[u8]], out: &mut [u8]) {
    struct Len(usize);
    impl hkdf::KeyType for Len {
        fn len(&self) -> usize {
            self.0
        }
    }
    let prk = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, key);
    let filled = prk.expand(info, Len(out.len())).and_then(|okm| okm.fill(out));
    filled.expect("so few bytes can always be derived");
}
