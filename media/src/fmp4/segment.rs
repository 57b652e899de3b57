//! A media segment: `styp`, `moof` and `mdat` for one fragment.
//!
//! ```text
//!  styp   moof { mfhd  traf { tfhd tfdt trun } … }   mdat { samples of the first track | of the second | … }
//! ```

use super::{
    Codec, Error, Shown,
    boxes::{put_box, put_full_box},
    shown,
    timing::{self, Timing},
};
use crate::{Chunks, Fragment, Frame, UnixMicros, UnixMillis, h264};
use bytes::{BufMut, Bytes, BytesMut};

/// `sample_flags` (ISO/IEC 14496-12, section 8.8.3.1) of a sample that depends on no other…
const SYNC: u32 = 0x0200_0000;
/// … and of one that does, and so is no sync sample.
const NOT_SYNC: u32 = 0x0101_0000;

/// The samples of one track, in decode order.
struct Run<'a> {
    shown: &'a Shown<'a>,
    frames: Vec<&'a Frame>,
    samples: Vec<Bytes>,
    timings: Vec<Timing>,
}

/// The media segment of a fragment, to be played after the [`super::init`] of its header. `sequence` goes into `mfhd`
/// and should grow from segment to segment.
pub fn segment(fragment: &Fragment, sequence: u32) -> Result<Chunks, Error> {
    segment_from(fragment, sequence, UnixMillis(0))
}

/// The same on a timeline that begins at `base` instead of the Unix epoch.
pub fn segment_from(fragment: &Fragment, sequence: u32, base: UnixMillis) -> Result<Chunks, Error> {
    let tracks = shown(&fragment.header);
    if tracks.is_empty() {
        return Err(Error::NothingPlayable);
    }
    let mut frames = fragment.frames()?;
    frames.iter_mut().for_each(|frame| frame.time = frame.time.plus(-base.to_micros().0));
    let end = fragment.meta.producer_end().plus(-base.0).to_micros();
    let runs: Vec<Run<'_>> = tracks.iter().filter_map(|shown| run(shown, &frames, end)).collect();
    if runs.is_empty() {
        return Err(Error::NoFrames);
    }
    let media: usize = runs.iter().map(Run::len).sum();
    let mdat = u32::try_from(media + 8).ok().filter(|len| *len < i32::MAX as u32 / 2).ok_or(Error::TooLarge)?;

    let mut head = BytesMut::with_capacity(256 + 16 * frames.len());
    put_box(&mut head, b"styp", |out| {
        out.put_slice(b"msdh");
        out.put_u32(0);
        out.put_slice(b"msdhmsix");
    });
    let moof = head.len();
    let mut offsets = Vec::with_capacity(runs.len());
    put_box(&mut head, b"moof", |out| {
        put_full_box(out, b"mfhd", 0, 0, |out| out.put_u32(sequence));
        runs.iter().for_each(|run| offsets.push(put_traf(out, run)));
    });
    // Where each track's samples start, counted from the start of `moof`.
    let mut at = head.len() - moof + 8;
    for (run, offset) in runs.iter().zip(offsets) {
        head[offset..offset + 4].copy_from_slice(&(at as u32).to_be_bytes());
        at += run.len();
    }
    head.put_u32(mdat);
    head.put_slice(b"mdat");

    let mut out = Chunks::from(head.freeze());
    runs.into_iter().flat_map(|run| run.samples).for_each(|sample| out.push(sample));
    Ok(out)
}

/// The samples of a track, if the fragment has any.
fn run<'a>(shown: &'a Shown<'a>, frames: &'a [Frame], end: UnixMicros) -> Option<Run<'a>> {
    let frames: Vec<&Frame> = frames.iter().filter(|frame| frame.track == shown.track.number).collect();
    if frames.is_empty() {
        return None;
    }
    let times: Vec<_> = frames.iter().map(|frame| frame.time).collect();
    let timings = match &shown.codec {
        Codec::Aac(config) => timing::sound(&times, shown.timescale(), config.samples_per_frame),
        _ => timing::video(&times, shown.timescale(), end),
    };
    let annexb = matches!(shown.codec, Codec::H264 { annexb: true, .. });
    let sample = |frame: &&Frame| match annexb && h264::is_annexb(&frame.data) {
        true => h264::annexb_to_lengths(&frame.data),
        false => frame.data.clone(),
    };
    let samples = frames.iter().map(sample).collect();
    Some(Run { shown, frames, samples, timings })
}

impl Run<'_> {
    fn len(&self) -> usize {
        self.samples.iter().map(Bytes::len).sum()
    }
    /// Sound has one duration and one kind of sample, most of the time.
    fn is_even(&self) -> bool {
        matches!(self.shown.codec, Codec::Aac(_))
            && self.timings.windows(2).all(|pair| pair[0].duration == pair[1].duration)
    }
}

/// Writes a `traf` and gives the position of its data offset, to be filled in.
fn put_traf(out: &mut BytesMut, run: &Run<'_>) -> usize {
    let mut offset = 0;
    put_box(out, b"traf", |out| {
        let even = run.is_even();
        // Offsets count from the start of `moof`; even sound states duration and flags once.
        let defaults = if even { 0x08 | 0x20 } else { 0 };
        put_full_box(out, b"tfhd", 0, 0x02_0000 | defaults, |out| {
            out.put_u32(u32::from(run.shown.track.number));
            if even {
                out.put_u32(run.timings[0].duration);
                out.put_u32(SYNC);
            }
        });
        put_full_box(out, b"tfdt", 1, 0, |out| out.put_u64(run.timings[0].dts));
        let composed = run.timings.iter().any(|timing| timing.composition != 0);
        let each = if even { 0x200 } else { 0x100 | 0x200 | 0x400 } | if composed { 0x800 } else { 0 };
        put_full_box(out, b"trun", 1, 0x1 | each, |out| {
            out.put_u32(run.samples.len() as u32);
            offset = out.len();
            out.put_u32(0);
            for ((frame, sample), timing) in run.frames.iter().zip(&run.samples).zip(&run.timings) {
                if !even {
                    out.put_u32(timing.duration);
                }
                out.put_u32(sample.len() as u32);
                if !even {
                    out.put_u32(if frame.key { SYNC } else { NOT_SYNC });
                }
                if composed {
                    out.put_i32(timing.composition);
                }
            }
        });
    });
    offset
}
