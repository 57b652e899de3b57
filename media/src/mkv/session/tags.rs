//! Tags that stand in a header.

use crate::Header;
use crate::mkv::{ebml::Elements, header::open_segment, id, parse_tags};

/// Names and values of the tags in a header, before its Tracks, where some producers put those of the first fragment. What cannot
/// be read is left out.
pub fn header_tags(header: &Header) -> Vec<(String, String)> {
    let bytes = &header.bytes;
    let Ok(segment) = open_segment(bytes) else { return Vec::new() };
    let mut found = Vec::new();
    let mut elements = Elements::new(bytes, segment.end..bytes.len());
    while let Ok(Some(element)) = elements.next() {
        if element.id == id::TAGS {
            found.extend(parse_tags(&bytes[element.at..element.body.end]).unwrap_or_default());
        }
    }
    found
}
