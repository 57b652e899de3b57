//! EBML header, Segment start, Info and Tracks.

use super::{
    ebml::{self, Element, Elements, put, put_id, put_uint},
    error::{Error, Reason},
    id,
};
use crate::{Chunks, Header, HeaderId, Track, TrackKind};
use bytes::{BufMut, Bytes, BytesMut};
use std::ops::Range;

/// Name written as MuxingApp and WritingApp.
const APP: &[u8] = b"Vidicon";
/// Matroska's TrackType of metadata, for whatever is neither video nor audio.
const TYPE_METADATA: u64 = 33;

/// Reads a header: an EBML header, the start of a Segment, and in it Info (optional) and Tracks.
///
/// Reading stops at the first Cluster or Tags, or after Tracks where the bytes end or make no sense. The header's own
/// bytes are those given up to the end of Tracks (or Info, if that comes later), so bytes read and stored come out the
/// same when they are read again. A Segment's size may be anything: it counts the clusters that are not here.
pub fn parse_header(bytes: &Bytes) -> Result<Header, Error> {
    let children = open_segment(bytes)?.end;
    let mut scale = 1_000_000;
    let mut tracks = None;
    let mut end = children;
    let mut elements = Elements::new(bytes, children..bytes.len());
    loop {
        let element = match elements.next() {
            Ok(Some(element)) => element,
            Err(error) if tracks.is_none() => return Err(error),
            Ok(None) | Err(_) => break,
        };
        match element.id {
            id::INFO if element.sized => {
                scale = parse_info(bytes, &element)?;
                end = element.body.end;
            }
            id::TRACKS if element.sized && tracks.is_none() => {
                tracks = Some(parse_tracks(bytes, &element)?);
                end = element.body.end;
            }
            id::CLUSTER | id::EBML | id::SEGMENT => break,
            id::TAGS if tracks.is_some() => break,
            other if !element.sized => {
                return Err(Error::new(element.at, Reason::UnknownSize(other)));
            }
            _ => {}
        }
    }
    let tracks = tracks.ok_or(Error::new(end, Reason::Missing("Tracks")))?;
    let bytes = bytes.slice(..end);
    Ok(Header { id: HeaderId::of(&bytes), bytes, timestamp_scale_ns: scale, tracks })
}

/// A Segment's ID and an unknown size in eight bytes.
const ENDLESS_SEGMENT: [u8; 12] = [0x18, 0x53, 0x80, 0x67, 1, 255, 255, 255, 255, 255, 255, 255];

/// The header's bytes as the start of a document that clusters follow without end: the Segment's size, which says how long the
/// producer's document is, becomes unknown, in eight bytes. All else is as it came; nothing is copied.
pub fn document_start(header: &Header) -> Chunks {
    let bytes = &header.bytes;
    match open_segment(bytes) {
        Ok(head) if bytes[head.clone()] != ENDLESS_SEGMENT => {
            let parts = [bytes.slice(..head.start), Bytes::from_static(&ENDLESS_SEGMENT), bytes.slice(head.end..)];
            parts.into_iter().collect()
        }
        _ => Chunks::from(bytes.clone()),
    }
}

/// Where the head (ID and size) of the first Segment lies; its children follow.
pub(super) fn open_segment(bytes: &[u8]) -> Result<Range<usize>, Error> {
    let mut elements = Elements::new(bytes, 0..bytes.len());
    let ebml = elements.next_sized()?.ok_or(Error::new(0, Reason::Truncated))?;
    if ebml.id != id::EBML {
        return Err(Error::new(0, Reason::Unexpected(ebml.id, "an EBML header")));
    }
    let mut fields = Elements::new(bytes, ebml.body.clone());
    while let Some(field) = fields.next_sized()? {
        if field.id == id::DOC_TYPE && !matches!(field.text(bytes).as_str(), "matroska" | "webm") {
            return Err(Error::new(field.at, Reason::Value("DocType")));
        }
    }
    // Only Void and CRC-32 may lie between the two, but whatever it is, it is skipped.
    let mut at = ebml.body.end;
    loop {
        let error = |reason| Error::new(at, reason);
        let (id, size, len) = ebml::head(&bytes[at..]).map_err(error)?.ok_or(error(Reason::Truncated))?;
        if id == id::SEGMENT {
            return Ok(at..at + len);
        }
        let size = size.ok_or(error(Reason::UnknownSize(id)))?;
        let next = usize::try_from(size).ok().and_then(|size| (at + len).checked_add(size));
        at = next.filter(|next| *next <= bytes.len()).ok_or(error(Reason::Truncated))?;
    }
}

fn parse_info(bytes: &[u8], info: &Element) -> Result<u64, Error> {
    let mut scale = 1_000_000;
    let mut fields = Elements::new(bytes, info.body.clone());
    while let Some(field) = fields.next_sized()? {
        if field.id == id::TIMESTAMP_SCALE {
            scale = field.uint(bytes, "TimestampScale")?;
            if scale == 0 {
                return Err(Error::new(field.at, Reason::Value("TimestampScale")));
            }
        }
    }
    Ok(scale)
}

fn parse_tracks(bytes: &Bytes, tracks: &Element) -> Result<Vec<Track>, Error> {
    let mut found = Vec::new();
    let mut entries = Elements::new(bytes, tracks.body.clone());
    while let Some(entry) = entries.next_sized()? {
        if entry.id == id::TRACK_ENTRY {
            found.push(parse_track(bytes, &entry)?);
        }
    }
    Ok(found)
}

fn parse_track(bytes: &Bytes, entry: &Element) -> Result<Track, Error> {
    let mut track = Track {
        number: 0,
        kind: TrackKind::Data,
        codec_id: String::new(),
        codec_private: Bytes::new(),
        size: None,
        audio: None,
    };
    let mut fields = Elements::new(bytes, entry.body.clone());
    while let Some(field) = fields.next_sized()? {
        match field.id {
            id::TRACK_NUMBER => {
                let number = field.uint(bytes, "TrackNumber")?;
                track.number = u8::try_from(number).map_err(|_| Error::new(field.at, Reason::Value("TrackNumber")))?;
            }
            id::TRACK_TYPE => {
                track.kind = match field.uint(bytes, "TrackType")? {
                    1 => TrackKind::Video,
                    2 => TrackKind::Audio,
                    _ => TrackKind::Data,
                }
            }
            id::CODEC_ID => track.codec_id = field.text(bytes),
            id::CODEC_PRIVATE => track.codec_private = bytes.slice(field.body),
            id::VIDEO => track.size = parse_video(bytes, &field)?,
            id::AUDIO => track.audio = Some(parse_audio(bytes, &field)?),
            _ => {}
        }
    }
    if track.number == 0 {
        return Err(Error::new(entry.at, Reason::Missing("TrackNumber")));
    }
    Ok(track)
}

fn parse_video(bytes: &[u8], video: &Element) -> Result<Option<(u32, u32)>, Error> {
    let (mut width, mut height) = (0, 0);
    let mut fields = Elements::new(bytes, video.body.clone());
    while let Some(field) = fields.next_sized()? {
        let side = match field.id {
            id::PIXEL_WIDTH => &mut width,
            id::PIXEL_HEIGHT => &mut height,
            _ => continue,
        };
        let value = field.uint(bytes, "a pixel count")?;
        *side = u32::try_from(value).map_err(|_| Error::new(field.at, Reason::Value("a pixel count")))?;
    }
    Ok((width != 0 && height != 0).then_some((width, height)))
}

fn parse_audio(bytes: &[u8], audio: &Element) -> Result<(u32, u8), Error> {
    // The defaults of RFC 9559 for absent elements.
    let (mut rate, mut channels) = (8000, 1);
    let mut fields = Elements::new(bytes, audio.body.clone());
    while let Some(field) = fields.next_sized()? {
        match field.id {
            // A float cast saturates, so nonsense stays a number.
            id::SAMPLING_FREQUENCY => rate = field.float(bytes, "SamplingFrequency")?.round() as u32,
            id::CHANNELS => channels = u8::try_from(field.uint(bytes, "Channels")?).unwrap_or(u8::MAX),
            _ => {}
        }
    }
    Ok((rate, channels))
}

/// DefaultDuration of each track that states one: (track number, nanoseconds per frame).
pub(super) fn default_durations(header: &Header) -> Vec<(u8, u64)> {
    let bytes = &header.bytes;
    let walk = || -> Result<Vec<(u8, u64)>, Error> {
        let mut found = Vec::new();
        let mut elements = Elements::new(bytes, open_segment(bytes)?.end..bytes.len());
        while let Some(element) = elements.next()? {
            if element.id != id::TRACKS {
                continue;
            }
            let mut entries = Elements::new(bytes, element.body);
            while let Some(entry) = entries.next()? {
                let (mut number, mut duration) = (0, None);
                let mut fields = Elements::new(bytes, entry.body);
                while let Some(field) = fields.next()? {
                    match field.id {
                        id::TRACK_NUMBER => number = field.uint(bytes, "TrackNumber")? as u8,
                        id::DEFAULT_DURATION => duration = Some(field.uint(bytes, "DefaultDuration")?),
                        _ => {}
                    }
                }
                found.extend(duration.map(|duration| (number, duration)));
            }
        }
        Ok(found)
    };
    walk().unwrap_or_default()
}

/// Writes the header for these tracks: times in ms, a Segment of unknown size.
///
/// The same tracks give the same bytes, and so the same [`HeaderId`].
pub fn write_header(tracks: &[Track]) -> Header {
    let mut ebml = BytesMut::new();
    // EBMLVersion, EBMLReadVersion, EBMLMaxIDLength, EBMLMaxSizeLength, then the document's type and versions.
    put_uint(&mut ebml, 0x4286, 1);
    put_uint(&mut ebml, 0x42F7, 1);
    put_uint(&mut ebml, 0x42F2, 4);
    put_uint(&mut ebml, 0x42F3, 8);
    put(&mut ebml, id::DOC_TYPE, b"matroska");
    put_uint(&mut ebml, 0x4287, 4);
    put_uint(&mut ebml, 0x4285, 2);

    let mut info = BytesMut::new();
    put_uint(&mut info, id::TIMESTAMP_SCALE, 1_000_000);
    put(&mut info, id::MUXING_APP, APP);
    put(&mut info, id::WRITING_APP, APP);

    let mut entries = BytesMut::new();
    tracks.iter().for_each(|track| put(&mut entries, id::TRACK_ENTRY, &track_entry(track)));

    let mut out = BytesMut::new();
    put(&mut out, id::EBML, &ebml);
    put_id(&mut out, id::SEGMENT);
    out.put_u64(0x01FF_FFFF_FFFF_FFFF);
    put(&mut out, id::INFO, &info);
    put(&mut out, id::TRACKS, &entries);
    let bytes = out.freeze();
    Header { id: HeaderId::of(&bytes), bytes, timestamp_scale_ns: 1_000_000, tracks: tracks.to_vec() }
}

fn track_entry(track: &Track) -> BytesMut {
    let mut out = BytesMut::new();
    put_uint(&mut out, id::TRACK_NUMBER, u64::from(track.number));
    put_uint(&mut out, id::TRACK_UID, u64::from(track.number));
    let kind = match track.kind {
        TrackKind::Video => 1,
        TrackKind::Audio => 2,
        TrackKind::Data => TYPE_METADATA,
    };
    put_uint(&mut out, id::TRACK_TYPE, kind);
    put_uint(&mut out, id::FLAG_LACING, 0);
    put(&mut out, id::CODEC_ID, track.codec_id.as_bytes());
    if !track.codec_private.is_empty() {
        put(&mut out, id::CODEC_PRIVATE, &track.codec_private);
    }
    if let Some((width, height)) = track.size {
        let mut video = BytesMut::new();
        put_uint(&mut video, id::PIXEL_WIDTH, u64::from(width));
        put_uint(&mut video, id::PIXEL_HEIGHT, u64::from(height));
        put(&mut out, id::VIDEO, &video);
    }
    if let Some((rate, channels)) = track.audio {
        let mut audio = BytesMut::new();
        put(&mut audio, id::SAMPLING_FREQUENCY, &f64::from(rate).to_be_bytes());
        put_uint(&mut audio, id::CHANNELS, u64::from(channels));
        put(&mut out, id::AUDIO, &audio);
    }
    out
}
