//! What every kind of source yields, so that the recorder and the probe need not know which one it is.

use crate::{Failure, gst_source, rtsp};
pub(crate) use media::item::{AUDIO, Item, Unit, VIDEO};

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
