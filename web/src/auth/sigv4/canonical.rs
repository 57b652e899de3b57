//! The canonical request: the text that client and server have to agree on.

use super::{Request, Signed};

/// The canonical request in one form. Bytes, since values of headers need not be text.
pub(super) fn request(
    request: &Request<'_>,
    signed: &Signed<'_>,
    path: &str,
    query: &str,
    host: &str,
    payload: &str,
) -> Vec<u8> {
    let mut text = Vec::with_capacity(1024);
    for part in [request.method, path, query] {
        text.extend_from_slice(part.as_bytes());
        text.push(b'\n');
    }
    for name in &signed.headers {
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        if name == "host" {
            text.extend_from_slice(host.as_bytes());
        } else {
            for (n, value) in request.headers.get_all(name.as_str()).iter().enumerate() {
                if n > 0 {
                    text.push(b',');
                }
                trimmed(value.as_bytes(), &mut text);
            }
        }
        text.push(b'\n');
    }
    text.push(b'\n');
    for (n, name) in signed.headers.iter().enumerate() {
        if n > 0 {
            text.push(b';');
        }
        text.extend_from_slice(name.as_bytes());
    }
    text.push(b'\n');
    text.extend_from_slice(payload.as_bytes());
    text
}

/// A value without spaces at its ends, and with one where there were several.
fn trimmed(value: &[u8], text: &mut Vec<u8>) {
    let mut after_space = false;
    for byte in value.trim_ascii() {
        let space = *byte == b' ';
        if !(space && after_space) {
            text.push(*byte);
        }
        after_space = space;
    }
}

/// The query without its signature, sorted by name and value; `anew` decodes and encodes each, else they stay as they came.
pub(super) fn query(query: &str, anew: bool) -> String {
    if query.is_empty() {
        return String::new();
    }
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter(|(name, _)| decoded(name) != b"X-Amz-Signature")
        .map(|(name, value)| match anew {
            true => (encoded(&decoded(name), false), encoded(&decoded(value), false)),
            false => (name.to_owned(), value.to_owned()),
        })
        .collect();
    pairs.sort_unstable();
    let mut text = String::with_capacity(query.len() + 64);
    for (n, (name, value)) in pairs.iter().enumerate() {
        if n > 0 {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        text.push_str(value);
    }
    text
}

/// The path encoded once more, as the rules want of every service but S3.
pub(super) fn path(path: &str) -> String {
    encoded(path.as_bytes(), true)
}

/// Percent-decoded; what is no escape stays as it is.
pub(super) fn decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digit = |i: usize| bytes.get(i).and_then(|b| char::from(*b).to_digit(16));
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, _, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// Percent-encoded as RFC 3986 has it: all but letters, digits, `-`, `.`, `_` and `~`, and `/` where that stays.
fn encoded(bytes: &[u8], keep_slash: bool) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut text = String::with_capacity(bytes.len() + 16);
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => text.push(char::from(*byte)),
            b'/' if keep_slash => text.push('/'),
            _ => {
                text.push('%');
                text.push(char::from(DIGITS[usize::from(byte >> 4)]));
                text.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
    }
    text
}
