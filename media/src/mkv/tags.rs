//! Tags: pairs of text that stand beside clusters (RFC 9559, section 5.1.8).
//!
//! ```text
//! Tags > Tag > SimpleTag > TagName, TagString
//! ```

use super::{
    ebml::{Element, Elements, put_id},
    error::{Error, Reason},
    id,
};
use bytes::{BufMut, Bytes, BytesMut};

/// How deep SimpleTags may lie in one another before what is below is left out.
const DEPTH: usize = 8;
/// Length of a size as [`write_tags`] writes it.
const SIZE: usize = 4;

/// A Tags element with one Tag of these names and values, every size four bytes wide. That is the form in which Kinesis
/// Video Streams writes its own tags into GetMedia output, seen in captures of it.
///
/// Names and values together must stay below 2^28 bytes; what is longer is left out.
pub fn write_tags<N: AsRef<str>, V: AsRef<str>>(pairs: &[(N, V)]) -> Bytes {
    let mut simple = BytesMut::new();
    for (name, value) in pairs {
        let (name, value) = (name.as_ref().as_bytes(), value.as_ref().as_bytes());
        // Two heads of 2 + 4 bytes around the two texts.
        let body = 2 * (2 + SIZE) + name.len() + value.len();
        if simple.len() + body > 1 << 27 {
            continue;
        }
        put_head(&mut simple, id::SIMPLE_TAG, body);
        put_head(&mut simple, id::TAG_NAME, name.len());
        simple.put_slice(name);
        put_head(&mut simple, id::TAG_STRING, value.len());
        simple.put_slice(value);
    }
    let mut out = BytesMut::with_capacity(simple.len() + 4 + 2 + 2 * SIZE);
    put_head(&mut out, id::TAGS, simple.len() + 2 + SIZE);
    put_head(&mut out, id::TAG, simple.len());
    out.put_slice(&simple);
    out.freeze()
}

fn put_head(out: &mut BytesMut, id: u32, len: usize) {
    put_id(out, id);
    // The marker of a size of four bytes.
    out.put_u32(len as u32 & 0x0FFF_FFFF | 0x1000_0000);
}

/// The names and values of all SimpleTags in these elements (a Tags element, or several with others between them), in
/// order. One without a name is skipped, one without a string has an empty value; invalid UTF-8 is replaced.
///
/// # Errors
/// Where the bytes are no elements, or one of a Tags element is cut off or does not state its size.
pub fn parse_tags(bytes: &[u8]) -> Result<Vec<(String, String)>, Error> {
    let mut found = Vec::new();
    let mut elements = Elements::new(bytes, 0..bytes.len());
    while let Some(element) = elements.next()? {
        match element.id {
            id::TAGS if !element.sized => return Err(Error::new(element.at, Reason::UnknownSize(element.id))),
            id::TAGS => {
                let mut tags = Elements::new(bytes, element.body.clone());
                while let Some(tag) = tags.next_sized()? {
                    if tag.id == id::TAG {
                        simple_tags(bytes, &tag, DEPTH, &mut found)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

fn simple_tags(bytes: &[u8], parent: &Element, depth: usize, found: &mut Vec<(String, String)>) -> Result<(), Error> {
    let mut children = Elements::new(bytes, parent.body.clone());
    while let Some(child) = children.next_sized()? {
        if child.id != id::SIMPLE_TAG {
            continue;
        }
        let (mut name, mut value, mut nests) = (None, String::new(), false);
        let mut fields = Elements::new(bytes, child.body.clone());
        while let Some(field) = fields.next_sized()? {
            match field.id {
                id::TAG_NAME => name = Some(field.text(bytes)),
                id::TAG_STRING => value = field.text(bytes),
                id::SIMPLE_TAG => nests = true,
                _ => {}
            }
        }
        found.extend(name.map(|name| (name, value)));
        if nests && depth > 0 {
            simple_tags(bytes, &child, depth - 1, found)?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "tags_tests.rs"]
mod tests;
