//! What every kind of source yields, so that the recorder and the probe need not know which one it is.

use crate::{Failure, gst_source, rtsp};
use bytes::Bytes;
use media::{Track, UnixMicros};

/// Index of the video track in clocks and items.
pub(crate) const VIDEO: usize = 0;
/// Index of the audio track.
pub(crate) const AUDIO: usize = 1;

/// What a source yields, in the order of arrival.
#[derive(Debug)]
pub(crate) enum Item {
    /// The tracks of the frames that follow, video first: before the first frame and whenever parameters change.
    Tracks(Vec<Track>),
    /// An access unit: H.264 with 4-byte lengths, or raw AAC.
    Frame(Unit),
    /// An RTCP sender report.
    Report {
        /// Index of the track.
        track: usize,
        /// RTP timestamp of the instant.
        rtp: u32,
        /// NTP timestamp of the instant.
        ntp: u64,
        /// When it arrived.
        arrival: UnixMicros,
    },
    /// This many video packets were unusable, and the pictures they belonged to.
    Lost(u32),
}

/// An access unit as it came.
#[derive(Debug)]
pub(crate) struct Unit {
    /// Index of the track.
    pub track: usize,
    /// Timestamp at the track's clock rate; wraps.
    pub rtp: u32,
    /// When its first byte arrived.
    pub arrival: UnixMicros,
    /// Packets lost between the unit before it and this one.
    pub lost: u32,
    /// The payload.
    pub data: Bytes,
}

/// An open source.
pub(crate) enum Session {
    /// Pulled by retina. Boxed: it is much the larger one.
    Rtsp(Box<rtsp::Session>),
    /// Pulled by GStreamer.
    Gstreamer(gst_source::Session),
}

impl Session {
    /// The next item. Cancel safe. A failure ends the session.
    pub(crate) async fn next(&mut self) -> Result<Item, Failure> {
        match self {
            Session::Rtsp(session) => session.next().await,
            Session::Gstreamer(session) => session.next().await,
        }
    }

    /// How media is pulled.
    pub(crate) fn via(&self) -> &'static str {
        match self {
            Session::Rtsp(session) => session.via(),
            Session::Gstreamer(_) => "gstreamer",
        }
    }

    /// Clock rates of the tracks in Hz, video first.
    pub(crate) fn rates_hz(&self) -> Vec<u32> {
        match self {
            Session::Rtsp(session) => session.rates_hz(),
            Session::Gstreamer(_) => vec![gst_source::RATE_HZ; 2],
        }
    }

    /// What a person should know of it: tracks that are not recorded, ….
    pub(crate) fn remarks(&self) -> Vec<String> {
        match self {
            Session::Rtsp(session) => session.remarks().to_vec(),
            Session::Gstreamer(_) => Vec::new(),
        }
    }

    /// Says good-bye to the source (TEARDOWN) and waits a moment for it.
    pub(crate) async fn close(self) {
        match self {
            Session::Rtsp(session) => session.close().await,
            Session::Gstreamer(session) => session.close().await,
        }
    }
}
