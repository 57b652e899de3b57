//! The task of one camera: connect, record, and when it fails wait and try again.

use crate::source::{Item, Session};
use crate::{CameraState, Config, Failure, address::Address, backoff::Backoff, gst_source, recorder::Recorder, rtsp};
use futures_util::FutureExt;
use media::{Cause, UnixMillis};
use metrics::{counter, gauge};
use std::panic::AssertUnwindSafe;
use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};
use std::time::Duration;
use store::{Store, records::Camera};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A session that lasted so long has proved its source: the next failure starts the back-off anew.
const PROVED: Duration = Duration::from_secs(10);

/// What others may see of a camera.
pub(crate) struct Shared {
    state: Mutex<CameraState>,
    reconnects: AtomicU64,
}

impl Shared {
    pub(crate) fn new(state: CameraState) -> Self {
        Shared { state: Mutex::new(state), reconnects: AtomicU64::new(0) }
    }
    pub(crate) fn state(&self) -> CameraState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    pub(crate) fn set(&self, state: CameraState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
    pub(crate) fn reconnects(&self) -> u64 {
        self.reconnects.load(Ordering::Relaxed)
    }
}

/// Opens what a camera's URL names, before `deadline`.
pub(crate) async fn open(camera: &Camera, deadline: Instant) -> Result<Session, Failure> {
    Ok(match Address::parse(&camera.url)? {
        Address::Rtsp(server) => Session::Rtsp(Box::new(rtsp::open(&server, camera, deadline).await?)),
        Address::RtspByGstreamer(server) => Session::Gstreamer(gst_source::open_rtsp(&server, camera).await?),
        Address::Pipeline(pipeline) => Session::Gstreamer(gst_source::open_pipeline(camera.stream.as_str(), pipeline)?),
    })
}

/// What a camera is called in messages and logs: host, port and path, or the pipeline's kind. Never a secret.
pub(crate) fn shown(camera: &Camera) -> String {
    match Address::parse(&camera.url) {
        Ok(Address::Rtsp(server) | Address::RtspByGstreamer(server)) => server.shown(),
        Ok(Address::Pipeline(_)) => "GStreamer pipeline".to_owned(),
        Err(_) => "unreadable URL".to_owned(),
    }
}

/// Runs one camera until it is stopped.
pub(crate) struct CameraTask {
    pub(crate) camera: Camera,
    pub(crate) config: Config,
    pub(crate) store: Store,
    pub(crate) shared: Arc<Shared>,
    pub(crate) stop: CancellationToken,
    /// Why the first fragment does not continue the one before it.
    pub(crate) cause: Cause,
    /// Carried from session to session: how far the camera's clock is ahead of arrival.
    pub(crate) lead_us: i64,
    pub(crate) was_live: bool,
    /// Logged last.
    pub(crate) remarks: Vec<String>,
}

impl CameraTask {
    pub(crate) async fn run(mut self) {
        let stream = self.camera.stream.to_string();
        let source = shown(&self.camera);
        tracing::info!(%source, "camera starts");
        gauge!("vidicon_camera_up", "stream" => stream.clone()).set(0.0);
        let mut backoff = Backoff::new(Duration::from_secs(self.config.max_backoff_s));
        let mut logged: Option<Failure> = None;
        loop {
            // One that keeps failing goes on showing why, also while it is tried again.
            if backoff.failures() < 2 {
                self.shared.set(CameraState::Connecting { since: self.now() });
            }
            let began = Instant::now();
            let session = guarded(self.session()).await;
            gauge!("vidicon_camera_up", "stream" => stream.clone()).set(0.0);
            let failure = match session {
                Ok(None) => break,
                Ok(Some(failure)) => failure,
                Err(failure) => {
                    counter!("vidicon_camera_panics_total", "stream" => stream.clone()).increment(1);
                    failure
                }
            };
            let lived = matches!(self.shared.state(), CameraState::Live { .. });
            if lived {
                logged = None;
                if began.elapsed() >= PROVED {
                    backoff.reset();
                }
            }
            let wait = backoff.next(getrandom::u32().unwrap_or(u32::MAX / 2));
            if logged.as_ref() == Some(&failure) {
                tracing::debug!(%source, code = failure.code, reason = %failure.message, ?wait, "camera failed again");
            } else {
                tracing::warn!(%source, code = failure.code, reason = %failure.message, ?wait, "camera failed");
            }
            logged = Some(failure.clone());
            let now = self.now();
            let since = match self.shared.state() {
                CameraState::Failed { since, reason, .. } if reason == failure => since,
                _ => now,
            };
            let retry_at = now.plus(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
            self.shared.set(CameraState::Failed { since, reason: failure, retry_at });
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
        }
        tracing::info!(%source, "camera ended");
    }

    fn now(&self) -> UnixMillis {
        self.store.now()
    }

    /// One session, from connecting to its end. `None` when it was stopped.
    async fn session(&mut self) -> Option<Failure> {
        let stop = self.stop.clone();
        let deadline = Instant::now() + Duration::from_secs(self.config.connect_timeout_s.max(1));
        let opened = tokio::select! {
            () = stop.cancelled() => return None,
            opened = open(&self.camera, deadline) => opened,
        };
        let mut source = match opened {
            Ok(source) => source,
            Err(failure) => return Some(failure),
        };
        let remarks = source.remarks();
        if remarks != self.remarks {
            remarks.iter().for_each(|remark| tracing::info!(%remark, "remark"));
            self.remarks = remarks;
        }
        let stream = match self.store.stream(&self.camera.stream) {
            Ok(stream) => stream,
            Err(e) => return Some(Failure::new("store", format!("the stream cannot be written: {e}"))),
        };
        let mut recorder = Recorder::new(&stream, &source.rates_hz(), self.lead_us, self.cause);
        let outcome = tokio::select! {
            () = stop.cancelled() => None,
            failure = self.pull(&mut source, &mut recorder) => Some(failure),
        };
        self.lead_us = recorder.finish();
        source.close().await;
        outcome
    }

    /// Records until the source fails or falls silent. Cancel safe between two items.
    async fn pull(&mut self, source: &mut Session, recorder: &mut Recorder) -> Failure {
        let silence = Duration::from_secs(self.config.silence_timeout_s.max(1));
        let mut last_picture = Instant::now();
        // One timer, moved only when it fires: no timer work per frame.
        let timer = tokio::time::sleep_until(last_picture + silence);
        tokio::pin!(timer);
        let mut clock = None;
        loop {
            let item = tokio::select! {
                item = source.next() => item,
                () = &mut timer => {
                    if last_picture.elapsed() >= silence {
                        let message = format!("{} sent no picture for {} s", shown(&self.camera), silence.as_secs());
                        return Failure::new("lost", message);
                    }
                    timer.as_mut().reset(last_picture + silence);
                    continue;
                }
            };
            let picture = match item.and_then(|item: Item| recorder.take(item)) {
                Ok(picture) => picture,
                Err(failure) => return failure,
            };
            if !picture {
                continue;
            }
            last_picture = Instant::now();
            if clock != Some(recorder.clock_source()) {
                let first = clock.is_none();
                clock = Some(recorder.clock_source());
                self.became_live(source.via(), recorder.clock_source().as_str(), first);
            }
        }
    }

    fn became_live(&mut self, via: &'static str, clock: &'static str, first: bool) {
        let since = match self.shared.state() {
            CameraState::Live { since, .. } => since,
            _ => self.now(),
        };
        self.shared.set(CameraState::Live { since, clock, via });
        if !first {
            tracing::info!(clock, "camera's times are derived anew");
            return;
        }
        tracing::info!(source = %shown(&self.camera), via, "camera is live");
        gauge!("vidicon_camera_up", "stream" => self.camera.stream.to_string()).set(1.0);
        if self.was_live {
            self.shared.reconnects.fetch_add(1, Ordering::Relaxed);
            counter!("vidicon_camera_reconnects_total", "stream" => self.camera.stream.to_string()).increment(1);
        }
        self.was_live = true;
        self.cause = Cause::SourceLost;
    }
}

/// Runs a session; a panic in it is logged and becomes a failure like any other, so that the camera is tried again.
async fn guarded(session: impl Future<Output = Option<Failure>>) -> Result<Option<Failure>, Failure> {
    AssertUnwindSafe(session).catch_unwind().await.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        tracing::error!(panic = text.unwrap_or("no message"), "camera task panicked; it is tried again");
        Failure::new("internal", "a defect of this program; its log has the details")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_a_failure_and_failures_pass() {
        let panicked = guarded(async { panic!("boom {}", 1) }).await;
        assert_eq!(panicked.expect_err("a panic").code, "internal");
        let failure = Failure::new("lost", "x");
        assert_eq!(guarded(async { Some(failure.clone()) }).await, Ok(Some(failure.clone())));
        assert_eq!(guarded(async { None }).await, Ok(None));
    }
}
