//! H.264 to pictures, each mapped back to the frame it came from.
//!
//! The elements (h264parse, avdec_h264, videoconvert) hang between two pads of ours, without sources or sinks: the thread
//! that pushes a frame decodes it, and has its pictures when the push returns. So a watch needs one thread, knows when a
//! frame is done, and can ask for what the decoder still holds back.

use crate::image::{Image, Matrix, Plane};
use gstreamer::{self as gst, prelude::*};
use gstreamer_video::{self as gst_video, prelude::*};
use media::{FragmentNumber, Header, UnixMicros, UnixMillis};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};
use store::LiveFrame;

/// Which frame of which fragment a picture came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shot {
    /// The fragment.
    pub fragment: FragmentNumber,
    /// The frame's index among all frames of the fragment.
    pub index: u32,
    /// From the start of the fragment to the picture, in ms of producer time.
    pub offset_ms: u32,
    /// Producer time of the picture.
    pub time: UnixMillis,
    /// Whether it is a key frame.
    pub key: bool,
}

impl Shot {
    /// The shot of a followed frame.
    pub fn of(live: &LiveFrame) -> Shot {
        let time = live.frame.time.to_millis();
        // Leading pictures of an open group precede the key frame that starts the fragment: offset 0, true time.
        let offset_ms = time.0.saturating_sub(live.fragment.producer_start.0).clamp(0, i64::from(u32::MAX)) as u32;
        Shot { fragment: live.fragment.number, index: live.index, offset_ms, time, key: live.frame.key }
    }
}

/// A decoded picture. Holds the decoder's own buffer; nothing is copied until it is looked at.
#[derive(Clone)]
pub struct Picture {
    /// Where it came from.
    pub shot: Shot,
    info: gst_video::VideoInfo,
    buffer: gst::Buffer,
}

impl Picture {
    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.info.width(), self.info.height())
    }

    /// Reads the pixels. `None` if the decoder's buffer is not what it says.
    pub fn with_image<T>(&self, read: impl FnOnce(&Image<'_>) -> T) -> Option<T> {
        let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(&self.buffer, &self.info).ok()?;
        let plane =
            |n: u32| Some((frame.plane_data(n).ok()?, usize::try_from(*frame.plane_stride().get(n as usize)?).ok()?));
        let (y, y_stride) = plane(0)?;
        let (second, second_stride) = plane(1)?;
        let channels = match frame.format() {
            gst_video::VideoFormat::Nv12 => [
                Plane { data: y, stride: y_stride, step: 1 },
                Plane { data: second, stride: second_stride, step: 2 },
                Plane { data: second.get(1..)?, stride: second_stride, step: 2 },
            ],
            gst_video::VideoFormat::I420 => {
                let (third, third_stride) = plane(2)?;
                [(y, y_stride), (second, second_stride), (third, third_stride)].map(|(data, stride)| Plane {
                    data,
                    stride,
                    step: 1,
                })
            }
            _ => return None,
        };
        let image = Image::yuv420(frame.width() as usize, frame.height() as usize, channels, matrix(&self.info))?;
        Some(read(&image))
    }
}

fn matrix(info: &gst_video::VideoInfo) -> Matrix {
    use gst_video::{VideoColorMatrix as Is, VideoColorRange};
    let colour = info.colorimetry();
    let base = match colour.matrix() {
        Is::Bt709 => Matrix::BT709,
        Is::Bt2020 => Matrix::BT2020,
        _ => Matrix::BT601,
    };
    Matrix { full_range: colour.range() == VideoColorRange::Range0_255, ..base }
}

/// Why a decoder cannot be made or cannot go on. The watch makes a new one at the next key frame.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The header has no video, or video that is not H.264.
    #[error("only H.264 is watched now, this stream has {0}")]
    Codec(String),
    /// GStreamer lacks a part.
    #[error("GStreamer cannot decode here: {0}")]
    Missing(String),
    /// The decoder stopped.
    #[error("the decoder stopped: {0}")]
    Stopped(String),
}

/// Pictures on their way out: filled by the elements during a push.
#[derive(Default)]
struct Pending {
    info: Option<gst_video::VideoInfo>,
    pictures: VecDeque<(gst_video::VideoInfo, gst::Buffer)>,
}

/// Decodes the video track of one header.
pub struct Decoder {
    pipeline: gst::Pipeline,
    input: gst::Pad,
    output: gst::Pad,
    pending: Arc<Mutex<Pending>>,
    track: u8,
    timeline: Timeline,
    waiting: VecDeque<(u64, Shot)>,
}

/// Frames that a decoder may hold back for reordering (16 by H.264 A.3.1) and some that it swallowed.
const MOST_WAITING: usize = 64;

impl Decoder {
    /// A decoder for the header's first video track.
    pub fn new(header: &Header) -> Result<Decoder, Error> {
        let track = header.video().ok_or_else(|| Error::Codec("no video".into()))?;
        if !track.is_h264() || track.codec_private.is_empty() {
            return Err(Error::Codec(track.codec_id.clone()));
        }
        let missing = |what: &str| Error::Missing(what.to_owned());
        gst::init().map_err(|e| missing(&e.to_string()))?;
        let make =
            |name: &str| gst::ElementFactory::make(name).build().map_err(|_| missing(&format!("no element {name}")));
        let (parse, decode, convert) = (make("h264parse")?, make("avdec_h264")?, make("videoconvert")?);
        decode.set_property("max-threads", 1i32);
        // Otherwise a stream that does not state its reordering depth is held back by 16 pictures.
        decode.set_property_from_str("std-compliance", "normal");
        let pipeline = gst::Pipeline::new();
        let refused = |_| missing("its elements do not fit together");
        pipeline.add_many([&parse, &decode, &convert]).map_err(refused)?;
        gst::Element::link_many([&parse, &decode, &convert]).map_err(refused)?;

        let pending = Arc::<Mutex<Pending>>::default();
        let input = gst::Pad::builder(gst::PadDirection::Src).name("frames").build();
        let output = output_pad(&pending).ok_or_else(|| missing("no output pad"))?;
        let (first, last) = (parse.static_pad("sink"), convert.static_pad("src"));
        let (Some(first), Some(last)) = (first, last) else { return Err(missing("an element without pads")) };
        input.link(&first).map_err(|e| missing(&e.to_string()))?;
        last.link(&output).map_err(|e| missing(&e.to_string()))?;
        let inactive = |e: gst::glib::BoolError| missing(&e.to_string());
        output.set_active(true).map_err(inactive)?;
        input.set_active(true).map_err(inactive)?;
        pipeline.set_state(gst::State::Playing).map_err(|e| missing(&e.to_string()))?;

        let mut caps = gst::Caps::builder("video/x-h264")
            .field("stream-format", "avc")
            .field("alignment", "au")
            .field("codec_data", gst::Buffer::from_slice(track.codec_private.clone()));
        if let Some((width, height)) = track.size.filter(|(w, h)| *w > 0 && *h > 0 && *w <= 16_384 && *h <= 16_384) {
            caps = caps.field("width", width as i32).field("height", height as i32);
        }
        let decoder = Decoder {
            pipeline,
            input,
            output,
            pending,
            track: track.number,
            timeline: Timeline::default(),
            waiting: VecDeque::new(),
        };
        decoder.input.push_event(gst::event::StreamStart::new("frames"));
        decoder.input.push_event(gst::event::Caps::new(&caps.build()));
        decoder.input.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
        Ok(decoder)
    }

    /// Whether frames of this track are for this decoder.
    pub fn takes(&self, track: u8) -> bool {
        self.track == track
    }

    /// Decodes a frame and appends the pictures that came out, in presentation order. With B-frames these are pictures of
    /// earlier frames. The first frame must be a key frame.
    pub fn push(&mut self, live: &LiveFrame, out: &mut Vec<Picture>) -> Result<(), Error> {
        let mut pts = self.timeline.pts_us(live.frame.time, live.frame.key);
        while self.waiting.iter().any(|(other, _)| *other == pts) {
            pts += 1;
        }
        if self.waiting.len() == MOST_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back((pts, Shot::of(live)));
        let mut buffer = gst::Buffer::from_slice(live.frame.data.clone());
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(gst::ClockTime::from_useconds(pts));
            if !live.frame.key {
                buffer.set_flags(gst::BufferFlags::DELTA_UNIT);
            }
        }
        let pushed = self.input.push(buffer);
        self.take(out);
        pushed.map(drop).map_err(|flow| Error::Stopped(self.reason().unwrap_or_else(|| format!("{flow:?}"))))
    }

    /// Has the decoder give all pictures that it holds back; the next frame must be a key frame.
    pub fn drain(&mut self, out: &mut Vec<Picture>) {
        // A new stream on the same pads: decoders finish the old one first.
        self.input.push_event(gst::event::StreamStart::new("frames"));
        self.take(out);
        self.waiting.clear();
    }

    fn take(&mut self, out: &mut Vec<Picture>) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        for (info, buffer) in pending.pictures.drain(..) {
            let pts = buffer.pts().map(gst::ClockTime::useconds);
            let Some(at) = self.waiting.iter().position(|(waiting, _)| Some(*waiting) == pts) else { continue };
            if let Some((_, shot)) = self.waiting.remove(at) {
                out.push(Picture { shot, info, buffer });
            }
        }
    }

    /// What an element complained about last.
    fn reason(&self) -> Option<String> {
        let bus = self.pipeline.bus()?;
        let mut reason = None;
        while let Some(message) = bus.pop_filtered(&[gst::MessageType::Error]) {
            if let gst::MessageView::Error(error) = message.view() {
                reason = Some(error.error().to_string());
            }
        }
        reason
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // Stopping cannot fail in a way that anyone could act on.
        let _ = self.pipeline.set_state(gst::State::Null);
        let _ = self.input.set_active(false);
        let _ = self.output.set_active(false);
    }
}

/// A pad that takes pictures and puts them into `pending`.
fn output_pad(pending: &Arc<Mutex<Pending>>) -> Option<gst::Pad> {
    let caps = gst_video::VideoCapsBuilder::new()
        .format_list([gst_video::VideoFormat::I420, gst_video::VideoFormat::Nv12])
        .build();
    let template = gst::PadTemplate::new("pictures", gst::PadDirection::Sink, gst::PadPresence::Always, &caps).ok()?;
    let (for_events, for_buffers) = (pending.clone(), pending.clone());
    let pad = gst::Pad::builder_from_template(&template)
        .event_function(move |pad, parent, event| {
            if let gst::EventView::Caps(caps) = event.view() {
                let info = gst_video::VideoInfo::from_caps(caps.caps()).ok();
                for_events.lock().unwrap_or_else(PoisonError::into_inner).info = info;
                return true;
            }
            gst::Pad::event_default(pad, parent, event)
        })
        .query_function(|pad, parent, query| {
            if let gst::QueryViewMut::Allocation(allocation) = query.view_mut() {
                // Without this the decoder copies each picture into rows without padding.
                allocation.add_allocation_meta::<gst_video::VideoMeta>(None);
                return true;
            }
            gst::Pad::query_default(pad, parent, query)
        })
        .chain_function(move |_, _, buffer| {
            let mut pending = for_buffers.lock().unwrap_or_else(PoisonError::into_inner);
            let info = pending.info.clone().ok_or(gst::FlowError::NotNegotiated)?;
            pending.pictures.push_back((info, buffer));
            Ok(gst::FlowSuccess::Ok)
        })
        .build();
    Some(pad)
}

/// Producer time to the decoder's own clock, which starts near 0 and never jumps: producer clocks do.
#[derive(Debug, Default)]
struct Timeline {
    shift_us: Option<i64>,
    last_us: i64,
}

impl Timeline {
    /// The time stamp of a frame, in µs.
    fn pts_us(&mut self, time: UnixMicros, key: bool) -> u64 {
        const LARGEST_STEP_US: i64 = 10_000_000;
        // Leading pictures may precede the first key frame: leave them a second.
        let shift = *self.shift_us.get_or_insert(time.0.saturating_sub(1_000_000));
        let mut at = time.0.saturating_sub(shift);
        if key && (at.saturating_sub(self.last_us)).saturating_abs() > LARGEST_STEP_US {
            at = self.last_us + 1_000_000;
            self.shift_us = Some(time.0.saturating_sub(at));
        }
        // Kept small enough for nanoseconds in 64 bits whatever a stream claims.
        at = at.clamp(0, i64::MAX / 4_000);
        self.last_us = at;
        at as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_decoders_clock_follows_and_swallows_jumps() {
        let mut line = Timeline::default();
        let start = 1_700_000_000_000_000;
        assert_eq!(line.pts_us(UnixMicros(start), true), 1_000_000);
        assert_eq!(line.pts_us(UnixMicros(start + 80_000), false), 1_080_000);
        assert_eq!(line.pts_us(UnixMicros(start + 40_000), false), 1_040_000, "a B-frame");
        assert_eq!(line.pts_us(UnixMicros(start - 3_600_000_000), true), 2_040_000, "the clock was set back");
        assert_eq!(line.pts_us(UnixMicros(start - 3_600_000_000 + 40_000), false), 2_080_000);
        assert_eq!(line.pts_us(UnixMicros(i64::MAX), true), 3_080_000);
        assert_eq!(line.pts_us(UnixMicros(i64::MIN), false), 0);
    }
}
