//! A look at a camera that need not be recorded yet.

use crate::source::{Item, Session, VIDEO};
use crate::{Config, Failure, Probe, access_unit, camera};
use media::{Track, TrackKind};
use std::time::Duration;
use store::records::Camera;
use tokio::time::Instant;

/// How long a camera is looked at.
const LOOK: Duration = Duration::from_secs(3);
/// Key frames further apart than this make a slow start for every viewer.
const LONG_INTERVAL_MS: u32 = 4_000;

/// Connects, looks for at most three seconds, and says what came.
pub(crate) async fn probe(config: &Config, camera: &Camera) -> Result<Probe, Failure> {
    let deadline = Instant::now() + Duration::from_secs(config.connect_timeout_s.max(1));
    let mut session = camera::open(camera, deadline).await?;
    let mut seen = Seen { rate_hz: session.rates_hz().first().copied().unwrap_or(90_000).max(1), ..Seen::default() };
    let looked = tokio::time::timeout(LOOK, look(&mut session, &mut seen)).await;
    let remarks = session.remarks();
    session.close().await;
    match looked {
        Ok(Err(failure)) if seen.pictures == 0 => Err(failure),
        _ => seen.into_probe(remarks).ok_or_else(|| {
            Failure::new(
                "timeout",
                format!("{} sends no picture that can be decoded within {} s", camera::shown(camera), LOOK.as_secs()),
            )
        }),
    }
}

/// Takes items until the source fails; the caller sets the time.
async fn look(session: &mut Session, seen: &mut Seen) -> Result<(), Failure> {
    loop {
        seen.item(session.next().await?);
    }
}

#[derive(Default)]
struct Seen {
    rate_hz: u32,
    tracks: Vec<Track>,
    pictures: u32,
    lost: u32,
    /// Ticks since the first picture: of the last picture, the newest one, and the key frames.
    first_rtp: Option<u32>,
    last: i64,
    newest: i64,
    keys: Vec<i64>,
    reordered: bool,
}

impl Seen {
    fn item(&mut self, item: Item) {
        match item {
            Item::Tracks(tracks) => self.tracks = tracks,
            Item::Lost(packets) => self.lost = self.lost.saturating_add(packets),
            Item::Frame(unit) if unit.track == VIDEO => {
                let Ok(contents) = access_unit::look(&unit.data) else { return };
                if !contents.has_picture() {
                    return;
                }
                let first = *self.first_rtp.get_or_insert(unit.rtp);
                let ticks = i64::from(unit.rtp.wrapping_sub(first) as i32);
                self.lost = self.lost.saturating_add(unit.lost);
                self.reordered |= self.pictures > 0 && ticks < self.last;
                self.last = ticks;
                self.newest = self.newest.max(ticks);
                self.pictures += 1;
                if contents.is_key() {
                    self.keys.push(ticks);
                }
            }
            Item::Frame(_) | Item::Report { .. } => {}
        }
    }

    fn into_probe(self, mut remarks: Vec<String>) -> Option<Probe> {
        let video = self.tracks.iter().find(|t| t.kind == TrackKind::Video).filter(|_| self.pictures > 0)?;
        let seconds = self.newest as f64 / f64::from(self.rate_hz);
        let fps = if seconds > 0.0 { f64::from(self.pictures - 1) / seconds } else { 0.0 };
        let interval =
            self.keys.windows(2).next().map(|pair| (pair[1] - pair[0]).saturating_mul(1000) / i64::from(self.rate_hz));
        let key_interval_ms = interval.and_then(|ms| u32::try_from(ms).ok());
        match key_interval_ms {
            None => remarks.push(format!("no two key frames came within {} s: viewers wait that long for a picture; set the camera to one or two seconds", LOOK.as_secs())),
            Some(ms) if ms > LONG_INTERVAL_MS => remarks.push(format!("key frames are {} s apart: viewers wait that long for a picture", ms / 1000)),
            Some(_) => {}
        }
        if self.reordered {
            remarks
                .push("pictures are reordered (B-frames): browsers show this camera by HLS, not by WebRTC".to_owned());
        }
        if self.lost > 0 {
            remarks.push(format!("{} packets were lost while looking", self.lost));
        }
        let (width, height) = video.size.unwrap_or_default();
        Some(Probe {
            video: describe(video),
            width,
            height,
            fps: (fps * 100.0).round() / 100.0,
            key_interval_ms,
            has_b_frames: self.reordered,
            audio: self.tracks.iter().find(|t| t.kind == TrackKind::Audio).map(describe),
            remarks,
        })
    }
}

fn describe(track: &Track) -> String {
    media::describe(&media::mkv::write_header(std::slice::from_ref(track)))
}
