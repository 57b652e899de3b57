//! The writing side of a session: events in, sealed fragments out.

use crate::budget::{Charge, FRAGMENT_OVERHEAD, FRAME_OVERHEAD};
use crate::catalog::fragments::MAX_DURATION_MS;
use crate::commit::Sealed;
use crate::follow::{LiveFragment, LiveFrame};
use crate::state::StreamState;
use crate::stats::is_video;
use crate::{Durable, Error, Kind, Offer};
use media::mkv::ClusterWriter;
use media::{Cause, Event, Fragment, FragmentMeta, FragmentNumber, Frame, Start, UnixMicros, UnixMillis};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;

/// How long the last frame of a fragment is shown when nothing tells: a frame at 25 per second.
const DEFAULT_FRAME_US: i64 = 40_000;

/// Writes the events of one session. Not shared: a session has one writer. Dropping it drops the open fragment.
pub struct Writer {
    stream: Arc<StreamState>,
    open: Option<Open>,
    /// Events up to the next `Begin` are dropped.
    dropping: bool,
    /// The cause of a fragment that was dropped after its `Begin`; the next one carries it.
    pending_cause: Option<Cause>,
    /// Frame interval of the last fragment, for one that has a single frame.
    frame_us: i64,
}

struct Open {
    live: Arc<LiveFragment>,
    cause: Option<Cause>,
    cluster: ClusterWriter,
    charge: Charge,
    extent: Extent,
}

impl Writer {
    pub(crate) fn new(stream: Arc<StreamState>) -> Writer {
        Writer { stream, open: None, dropping: false, pending_cause: None, frame_us: DEFAULT_FRAME_US }
    }

    /// Takes an event, waiting for room in the byte budget (a producer that can be slowed down: PutMedia). Cancel safe: a
    /// cancelled event was not taken. `LimitExceeded` when the open fragment can never fit the budget; it is dropped.
    pub async fn write(&mut self, event: Event) -> Result<Offer, Error> {
        self.stream.check_open()?;
        if let Event::Begin(_) = event {
            self.abandon();
            self.dropping = false;
        }
        let cost = self.cost(&event);
        let charge = match cost {
            0 => None,
            cost => match self.stream.budget.take(cost).await {
                Some(charge) => Some(charge),
                None => {
                    self.abandon();
                    self.dropping = true;
                    let message = format!("stream {}: the fragment does not fit the byte budget", self.stream.name());
                    return Err(Error::new(Kind::LimitExceeded, message));
                }
            },
        };
        self.stream.check_open()?;
        self.apply(event, charge)
    }

    /// Takes an event without ever waiting (a live source): a full budget drops whole groups of pictures and counts them;
    /// the first fragment after it carries `Cause::Overload`.
    pub fn offer(&mut self, event: Event) -> Result<Offer, Error> {
        self.stream.check_open()?;
        if let Event::Begin(start) = &event {
            // A cause that the source gave for a fragment that is dropped belongs to the next one.
            let given = start.cause;
            self.abandon();
            self.dropping = false;
            let charge = self.stream.budget.try_take(self.cost(&event));
            if charge.is_none() {
                self.overload(given);
                return Ok(Offer::Dropped);
            }
            return self.apply(event, charge);
        }
        let cost = self.cost(&event);
        let charge = if cost == 0 { None } else { self.stream.budget.try_take(cost) };
        if cost > 0 && charge.is_none() {
            let given = self.open.as_ref().and_then(|o| o.cause);
            self.abandon();
            self.overload(given);
            return Ok(Offer::Dropped);
        }
        self.apply(event, charge)
    }

    /// Bytes of the budget that an event needs. 0 for what is dropped anyway.
    fn cost(&self, event: &Event) -> u64 {
        match event {
            Event::Begin(start) => FRAGMENT_OVERHEAD + start.header.bytes.len() as u64,
            Event::Frame(frame) if self.open.is_some() => FRAME_OVERHEAD + frame.data.len() as u64,
            Event::Frame(_) | Event::End => 0,
        }
    }

    fn overload(&mut self, given: Option<Cause>) {
        self.dropping = true;
        self.pending_cause = given.or(self.pending_cause).or(Some(Cause::Overload));
        self.stream.dropped_gop();
    }

    /// Drops the open fragment: it was never visible but to followers, who go on with the next.
    fn abandon(&mut self) {
        if let Some(open) = self.open.take() {
            self.pending_cause = open.cause.or(self.pending_cause);
            self.stream.hub.end(open.live.number);
            self.stream.abandon(open.live.number);
        }
    }

    fn apply(&mut self, event: Event, charge: Option<Charge>) -> Result<Offer, Error> {
        match (event, charge) {
            (Event::Begin(start), Some(charge)) => self.begin(start, charge).map(|()| Offer::Taken),
            (Event::Frame(frame), Some(charge)) => self.frame(frame, charge).map(|()| Offer::Taken),
            (Event::End, _) if self.open.is_some() => self.end(),
            _ if self.dropping => Ok(Offer::Dropped),
            _ => Err(Error::new(
                Kind::Invalid,
                format!("stream {}: a frame or end without a beginning", self.stream.name()),
            )),
        }
    }

    fn begin(&mut self, start: Start, charge: Charge) -> Result<(), Error> {
        let now = UnixMillis(self.stream.now().0.max(0));
        let number = self.stream.begin(&start.header, now).inspect_err(|_| self.dropping = true)?;
        let live = Arc::new(LiveFragment {
            number,
            header: start.header,
            producer_start: start.producer_start,
            server_start: now,
        });
        self.stream.hub.begin(&live);
        let cluster = ClusterWriter::new(start.producer_start);
        let cause = start.cause.or(self.pending_cause.take());
        self.open = Some(Open { live, cause, cluster, charge, extent: Extent::default() });
        Ok(())
    }

    fn frame(&mut self, frame: Frame, charge: Charge) -> Result<(), Error> {
        let open = self.open.as_mut().expect("a frame has a charge only while a fragment is open");
        if let Err(error) = open.cluster.push(&frame) {
            let number = open.live.number;
            self.abandon();
            self.dropping = true;
            let message = format!(
                "stream {} fragment {number}: a frame does not fit; the fragment is dropped",
                self.stream.name()
            );
            return Err(Error::new(Kind::Invalid, message).with_source(error));
        }
        open.charge.add(charge);
        let video = is_video(&open.live.header, &frame);
        open.extent.add(&frame, video);
        self.stream.frame(open.live.number, &frame, video);
        let index = open.cluster.frames() - 1;
        self.stream.hub.push(LiveFrame { fragment: open.live.clone(), index, frame });
        Ok(())
    }

    fn end(&mut self) -> Result<Offer, Error> {
        let Some(open) = &self.open else { unreachable!("the caller looked") };
        let number = open.live.number;
        let (duration_ms, frame_us) = open.extent.duration(open.live.producer_start, self.frame_us);
        let frames = open.cluster.frames();
        if frames == 0 || duration_ms > MAX_DURATION_MS {
            self.abandon();
            let why = if frames == 0 {
                "it has no frame".to_owned()
            } else {
                format!("it lasts {duration_ms} ms, more than {MAX_DURATION_MS}")
            };
            return Err(Error::new(
                Kind::Invalid,
                format!("stream {} fragment {number} is dropped: {why}", self.stream.name()),
            ));
        }
        self.frame_us = frame_us;
        let mut open = self.open.take().expect("looked at just above");
        self.stream.hub.end(number);
        let cluster = open.cluster.finish();
        let crc32c = cluster.parts().iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part));
        let meta = FragmentMeta {
            number,
            producer_start: open.live.producer_start,
            server_start: open.live.server_start,
            duration_ms,
            // The byte budget is far below 4 GiB, and so is the record's own bound.
            bytes: u32::try_from(cluster.len())
                .map_err(|_| Error::new(Kind::Invalid, "a fragment of more than 4 GiB"))?,
            frames,
            crc32c,
            header: open.live.header.id,
            cause: self.stream.take_cause(open.cause),
        };
        let fragment = Arc::new(Fragment { meta, header: open.live.header.clone(), cluster });
        open.charge.seal();
        let (durable, answer) = oneshot::channel();
        let (stream, charge) = (self.stream.clone(), open.charge);
        let sealed = Sealed { stream, fragment, charge, durable, notify: None, at: Instant::now() };
        self.stream.seal(sealed)?;
        Ok(Offer::Sealed(number, Durable::new(answer)))
    }

    /// The number of the open fragment.
    pub fn open_number(&self) -> Option<FragmentNumber> {
        self.open.as_ref().map(|o| o.live.number)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// From when to when the frames of a fragment last.
#[derive(Debug, Default)]
struct Extent {
    /// First and last presentation time and the number of video frames.
    video: Option<(UnixMicros, UnixMicros, u32)>,
    /// The last presentation time of any frame.
    last: Option<UnixMicros>,
}

impl Extent {
    fn add(&mut self, frame: &Frame, video: bool) {
        let t = frame.time;
        self.last = self.last.max(Some(t));
        if video {
            let (first, last, n) = self.video.unwrap_or((t, t, 0));
            self.video = Some((first.min(t), last.max(t), n + 1));
        }
    }

    /// Length in ms from `start` to the end of the last picture, at least 1; and the frame interval in µs. The last picture is
    /// taken to last as long as the others do on average. Without pictures, to the last frame's time.
    fn duration(&self, start: UnixMillis, frame_us: i64) -> (u32, i64) {
        let (end, frame_us) = match (self.video, self.last) {
            (Some((first, last, n)), _) if n > 1 => {
                let interval = (last.0 - first.0) / i64::from(n - 1);
                (last.plus(interval), interval)
            }
            (Some((_, last, _)), _) | (None, Some(last)) => (last.plus(frame_us), frame_us),
            (None, None) => (start.to_micros(), frame_us),
        };
        let us = end.0.saturating_sub(start.to_micros().0);
        let ms = us.saturating_add(500) / 1000;
        (u32::try_from(ms.max(1)).unwrap_or(u32::MAX), frame_us)
    }
}
