//! A range of a stream as one file: Matroska, or fragmented MP4. The timeline begins at 0 with the first fragment and goes on as the producer's
//! clock did, so a gap stays a gap.
//!
//! What belongs here: bytes of a file, from the first to the last, one fragment at a time. What does not: which fragments.

use crate::{Chunks, Fragment, Header, UnixMillis, fmp4, mkv};

/// What kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Matroska: every codec, each frame as it was stored, the tags that producers sent.
    Mkv,
    /// Fragmented MP4: H.264, H.265 and AAC.
    Mp4,
}

/// Why a fragment or a header cannot be in the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A track's codec.
    #[error("track {track} ({codec}) cannot be in an MP4 file, which takes H.264, H.265 and AAC here: choose mkv")]
    Codec {
        /// The track's number.
        track: u16,
        /// Its Matroska codec id.
        codec: String,
    },
    /// As MP4.
    #[error(transparent)]
    Mp4(#[from] fmp4::Error),
    /// As Matroska.
    #[error(transparent)]
    Mkv(#[from] mkv::Error),
}

/// Writes one file.
#[derive(Debug)]
pub struct Muxer {
    format: Format,
    /// The instant that becomes 0, once the first fragment came.
    base: Option<UnixMillis>,
    sequence: u32,
}

impl Muxer {
    /// A file for fragments under this header, or under ones for which [`alike`] holds, if it can hold them all.
    pub fn new(format: Format, header: &Header) -> Result<Muxer, Error> {
        if format == Format::Mp4 {
            let shown = fmp4::shown_tracks(header);
            if let Some(track) = header.tracks.iter().find(|track| !shown.contains(&track.number)) {
                return Err(Error::Codec { track: track.number.into(), codec: track.codec_id.clone() });
            }
            fmp4::init(header)?;
        }
        Ok(Muxer { format, base: None, sequence: 0 })
    }

    /// The bytes of the next fragment, with what a file begins with before the first.
    pub fn fragment(&mut self, fragment: &Fragment) -> Result<Chunks, Error> {
        let mut out = Chunks::default();
        let base = match self.base {
            Some(base) => base,
            None => {
                // Pictures that are decoded later may be shown earlier than the first.
                let earliest = fragment.frames()?.iter().map(|frame| frame.time.to_millis()).min();
                let base = earliest.unwrap_or(fragment.meta.producer_start).min(fragment.meta.producer_start);
                match self.format {
                    Format::Mkv => append(&mut out, mkv::document_start(&fragment.header)),
                    Format::Mp4 => out.push(fmp4::init(&fragment.header)?),
                }
                *self.base.insert(base)
            }
        };
        match self.format {
            Format::Mp4 => {
                self.sequence = self.sequence.wrapping_add(1);
                append(&mut out, fmp4::segment_from(fragment, self.sequence, base)?);
            }
            Format::Mkv => {
                if !fragment.lead.is_empty() {
                    out.push(fragment.lead.clone());
                }
                let scale = i128::from(fragment.header.timestamp_scale_ns.max(1));
                let ticks = |ms: i64| i128::from(ms) * 1_000_000 / scale;
                let start = fragment.meta.producer_start;
                let moved = mkv::retime(&fragment.cluster.to_bytes(), |said| {
                    // Ticks that are no whole millisecond stay.
                    let whole_ms = (i128::from(said) * scale / 1_000_000) as i64;
                    let below = i128::from(said) - ticks(whole_ms);
                    u64::try_from(ticks(start.0.saturating_sub(base.0)) + below).unwrap_or(0)
                })?;
                append(&mut out, moved);
            }
        }
        Ok(out)
    }
}

fn append(out: &mut Chunks, more: Chunks) {
    more.parts().iter().for_each(|part| out.push(part.clone()));
}

/// Whether fragments under either header can stand in one file.
pub fn alike(one: &Header, other: &Header) -> bool {
    one.timestamp_scale_ns == other.timestamp_scale_ns && one.tracks == other.tracks
}
