//! Producer time: from RTP timestamps and RTCP sender reports to wall clock. Pure; the caller says when things arrived.
//!
//! One mapping for all tracks of a source: track 0 (video) is the reference, the others stand at a fixed relation to it.
//! A track's time is `media time + offset`; what changes is the offset, and slowly:
//!
//! * The **target** of the offset comes from sender reports (RFC 3550 §6.4.1) while they are sane: the reported wall clock
//!   is within [`SANE_US`] of arrival, and it agrees with the report before it or with the mapping in use. Else it comes
//!   from arrival: the earliest arrival, relative to media time, of the last [`WINDOW_US`]–2·[`WINDOW_US`]. The earliest,
//!   because a network can only delay.
//! * The offset **slews** to the target: 500 ppm up to 100 ms, 1 % beyond it (a step would tear the recording apart).
//! * It **steps** when the target is more than [`JUMP_US`] ahead or [`BACK_US`] behind, or when the media time itself jumps
//!   by more than [`JUMP_US`] against arrival. A step of the reference track is told as `jumped`; the caller makes it a
//!   discontinuity. Between two jumps the mapping is strictly increasing.
//!
//! A camera that lies about time thus costs accuracy, never the recording.

use media::UnixMicros;

/// A camera's wall clock is believed within this distance of arrival (it is left at twice the distance). Ten seconds:
/// more than any network delays, less than what makes a timeline misleading.
pub const SANE_US: i64 = 10_000_000;
/// A media time that departs from arrival by more than this at once has jumped; so has a target so far ahead.
pub const JUMP_US: i64 = 1_000_000;
/// A target this far behind is stepped back to (someone set the server's clock), nearer ones are slewed to.
pub const BACK_US: i64 = 30_000_000;
/// Length of each of the two windows in which the earliest arrival is looked for.
pub const WINDOW_US: i64 = 5_000_000;
/// Sender reports that stop coming are trusted for so long.
const REPORT_LIFE_US: i64 = 120_000_000;
/// The lead of the session before stands for so long while the first report is awaited.
const REPORT_WAIT_US: i64 = 15_000_000;
/// Two reports agree when they differ by no more than this.
const AGREE_US: i64 = 500_000;
/// Errors up to this are slewed at [`SLOW_PPM`], greater ones at [`FAST_PPM`].
const SMALL_US: i64 = 100_000;
const SLOW_PPM: i64 = 500;
const FAST_PPM: i64 = 10_000;
/// Seconds from the NTP epoch (1900) to the Unix epoch.
const NTP_UNIX_S: i64 = 2_208_988_800;

/// What producer times are derived from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// RTCP sender reports.
    SenderReports,
    /// The time of arrival.
    Arrival,
}

impl Source {
    /// As the APIs say it.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::SenderReports => "sender_reports",
            Source::Arrival => "arrival",
        }
    }
}

/// The producer time of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Producer time of presentation.
    pub time: UnixMicros,
    /// The mapping was stepped just before this frame: it does not continue the frames before it.
    pub jumped: bool,
}

/// The clock of one session of a source. Track 0 is the reference.
#[derive(Clone, Debug)]
pub struct Clock {
    tracks: Vec<Track>,
    /// How far the source's wall clock was ahead of arrival, carried over from the session before.
    lead_us: i64,
    source: Source,
}

#[derive(Clone, Debug)]
struct Track {
    rate_hz: i64,
    /// The last RTP timestamp and its unwrapped value in ticks; `None` before the first frame.
    last: Option<(u32, i64)>,
    last_arrival: i64,
    /// Arrival of the first frame of this time base.
    began: i64,
    /// Greatest media time so far: slewing advances with it.
    newest_us: i64,
    offset_us: i64,
    earliest: Earliest,
    report: Option<Report>,
}

#[derive(Clone, Copy, Debug)]
struct Report {
    /// Offset that the report asks for.
    offset_us: i64,
    arrival: i64,
    /// Agrees with the one before, or with the mapping in use.
    trusted: bool,
}

/// The least `arrival - media time` of two adjoining windows.
#[derive(Clone, Copy, Debug)]
struct Earliest {
    began: i64,
    current: i64,
    previous: i64,
}

impl Earliest {
    fn new(arrival: i64, difference: i64) -> Self {
        Earliest { began: arrival, current: difference, previous: difference }
    }
    fn add(&mut self, arrival: i64, difference: i64) {
        // Also when the server's clock was set back: a window never outlives its length in either direction.
        if arrival.saturating_sub(self.began).saturating_abs() > WINDOW_US {
            *self = Earliest { began: arrival, current: difference, previous: self.current };
        }
        self.current = self.current.min(difference);
    }
    fn get(&self) -> i64 {
        self.current.min(self.previous)
    }
}

impl Clock {
    /// A clock for tracks of these RTP clock rates (0 is taken as 1), the reference first.
    pub fn new(rates_hz: &[u32]) -> Self {
        Self::continuing(rates_hz, 0)
    }

    /// The same, for a source whose wall clock was seen to be ahead of arrival by `lead_us` (see [`Clock::lead_us`]): a
    /// reconnect then needs no step when its first sender report comes.
    pub fn continuing(rates_hz: &[u32], lead_us: i64) -> Self {
        Clock {
            tracks: rates_hz.iter().map(|rate| Track::new(*rate)).collect(),
            lead_us: lead_us.clamp(-2 * SANE_US, 2 * SANE_US),
            source: Source::Arrival,
        }
    }

    /// What times are derived from now.
    pub fn source(&self) -> Source {
        self.source
    }

    /// How far the source's wall clock is ahead of arrival, in µs; 0 while times follow arrival.
    pub fn lead_us(&self) -> i64 {
        self.lead_us
    }

    /// Takes a sender report: `ntp` is the 64-bit NTP timestamp, `rtp` the RTP timestamp of the same instant. Insane
    /// reports, and those before the track's first frame, are ignored. Unknown tracks too.
    pub fn sender_report(&mut self, track: usize, rtp: u32, ntp: u64, arrival: UnixMicros) {
        let Some(track) = self.tracks.get_mut(track) else { return };
        let Some((last_rtp, ticks)) = track.last else { return };
        if ntp >> 32 == 0 {
            return; // RFC 3550: a sender without a notion of wall clock says 0.
        }
        let media_us = track.micros(ticks.saturating_add(i64::from(rtp.wrapping_sub(last_rtp) as i32)));
        let offset_us = ntp_to_unix_us(ntp, arrival.0).saturating_sub(media_us);
        let lead = offset_us.saturating_sub(track.earliest.get());
        let limit = if track.report.is_some() { 2 * SANE_US } else { SANE_US };
        if lead.saturating_abs() > limit {
            track.report = None;
            return;
        }
        let agrees = |with: i64| offset_us.saturating_sub(with).saturating_abs() <= AGREE_US;
        let trusted = agrees(track.offset_us) || track.report.is_some_and(|before| agrees(before.offset_us));
        track.report = Some(Report { offset_us, arrival: arrival.0, trusted });
    }

    /// The producer time of a frame with this RTP timestamp, which arrived at `arrival`. Frames come in decode order; with
    /// B-frames the timestamps go back and forth, up to a second.
    ///
    /// An unknown track is stamped with its arrival.
    pub fn frame(&mut self, index: usize, rtp: u32, arrival: UnixMicros) -> Stamp {
        let arrival = arrival.0;
        if index >= self.tracks.len() {
            return Stamp { time: UnixMicros(arrival), jumped: false };
        }
        let mut jumped = false;
        let lead = self.lead_us;
        let track = &mut self.tracks[index];
        let (media_us, advanced) = match track.last {
            None => (track.restart(rtp, arrival, lead), 0),
            Some((last_rtp, ticks)) => {
                let delta = i64::from(rtp.wrapping_sub(last_rtp) as i32);
                let delta_us = track.micros(delta);
                let waited = arrival.saturating_sub(track.last_arrival).max(0);
                if delta_us < -JUMP_US || delta_us > waited.saturating_add(JUMP_US) {
                    jumped = true;
                    (track.restart(rtp, arrival, lead), 0)
                } else {
                    let ticks = ticks.saturating_add(delta);
                    track.last = Some((rtp, ticks));
                    let media_us = track.micros(ticks);
                    track.earliest.add(arrival, arrival.saturating_sub(media_us));
                    let advanced = media_us.saturating_sub(track.newest_us).max(0);
                    track.newest_us = track.newest_us.max(media_us);
                    (media_us, advanced)
                }
            }
        };
        track.last_arrival = arrival;
        jumped |= self.steer(index, arrival, advanced);
        let time = media_us.saturating_add(self.tracks[index].offset_us);
        // Only the reference's jumps matter to the caller: the others are put back beside it.
        Stamp { time: UnixMicros(time), jumped: jumped && index == 0 }
    }

    /// Moves a track's offset towards its target; whether it was stepped.
    fn steer(&mut self, index: usize, arrival: i64, advanced_us: i64) -> bool {
        let reference = &self.tracks[0];
        let reference_target = reference.reported(arrival);
        if index == 0 {
            let target = reference_target.unwrap_or_else(|| reference.earliest.get());
            self.source = if reference_target.is_some() { Source::SenderReports } else { Source::Arrival };
            if reference_target.is_some() {
                self.lead_us = target.saturating_sub(reference.earliest.get()).clamp(-2 * SANE_US, 2 * SANE_US);
            } else if arrival.saturating_sub(reference.began).saturating_abs() > REPORT_WAIT_US {
                self.lead_us = 0;
            }
            let target = if reference_target.is_some() { target } else { target.saturating_add(self.lead_us) };
            return self.tracks[0].approach(target, advanced_us, SLOW_PPM);
        }
        if reference.last.is_none() {
            return false; // No reference yet: the track stands on its own arrival.
        }
        // The relation of the two tracks: by reports when both have them, else by arrival.
        let track = &self.tracks[index];
        let relation = match (track.reported(arrival), reference_target) {
            (Some(own), Some(reference)) => own.saturating_sub(reference),
            _ => track.earliest.get().saturating_sub(reference.earliest.get()),
        };
        let target = reference.offset_us.saturating_add(relation);
        self.tracks[index].approach(target, advanced_us, FAST_PPM)
    }
}

impl Track {
    fn new(rate_hz: u32) -> Self {
        Track {
            rate_hz: i64::from(rate_hz.max(1)),
            last: None,
            last_arrival: 0,
            began: 0,
            newest_us: 0,
            offset_us: 0,
            earliest: Earliest::new(0, 0),
            report: None,
        }
    }

    /// Ticks in µs, without overflow for any tick count.
    fn micros(&self, ticks: i64) -> i64 {
        let micros = i128::from(ticks) * 1_000_000 / i128::from(self.rate_hz);
        micros.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }

    /// Starts again at this timestamp: it arrived now, and earlier reports speak of another time base. Returns media time.
    fn restart(&mut self, rtp: u32, arrival: i64, lead_us: i64) -> i64 {
        self.last = Some((rtp, 0));
        self.began = arrival;
        self.newest_us = 0;
        self.offset_us = arrival.saturating_add(lead_us);
        self.earliest = Earliest::new(arrival, arrival);
        self.report = None;
        0
    }

    /// The offset that sender reports ask for, while they are to be trusted.
    fn reported(&self, arrival: i64) -> Option<i64> {
        let report = self.report.filter(|r| r.trusted)?;
        (arrival.saturating_sub(report.arrival) <= REPORT_LIFE_US).then_some(report.offset_us)
    }

    /// Slews or steps the offset to the target; whether it stepped.
    fn approach(&mut self, target_us: i64, advanced_us: i64, small_ppm: i64) -> bool {
        let error = target_us.saturating_sub(self.offset_us);
        if !(-BACK_US..=JUMP_US).contains(&error) {
            self.offset_us = target_us;
            return true;
        }
        let ppm = if error.abs() <= SMALL_US { small_ppm } else { FAST_PPM };
        let most = advanced_us.saturating_mul(ppm) / 1_000_000;
        self.offset_us += error.clamp(-most, most);
        false
    }
}

/// An NTP timestamp in µs since the Unix epoch, in the era that is nearest to `near_us` (the field wraps in 2036).
fn ntp_to_unix_us(ntp: u64, near_us: i64) -> i64 {
    const ERA_S: i64 = 1 << 32;
    let seconds = (ntp >> 32) as i64 - NTP_UNIX_S;
    let near_s = near_us.div_euclid(1_000_000);
    let eras = near_s.saturating_sub(seconds).saturating_add(ERA_S / 2).div_euclid(ERA_S);
    let fraction_us = ((ntp & 0xffff_ffff) * 1_000_000) >> 32;
    seconds.saturating_add(eras.saturating_mul(ERA_S)).saturating_mul(1_000_000).saturating_add(fraction_us as i64)
}

/// The body of the fuzz target: bytes as a script of frames and reports, with what must hold asserted.
#[doc(hidden)]
pub fn drive(script: &[u8]) {
    let mut clock = Clock::new(&[90_000, 48_000]);
    let mut now = 1_800_000_000_000_000i64;
    let mut before: Option<(u32, i64)> = None;
    for step in script.chunks_exact(16) {
        let word = |at: usize| u32::from_be_bytes(step[at..at + 4].try_into().expect("four bytes"));
        let (kind, rtp) = (step[0], word(4));
        let track = usize::from(kind >> 1 & 1);
        if kind & 1 == 0 {
            // From a step of five minutes back to half an hour on.
            now += i64::from(word(8) >> (kind >> 2 & 31)) - 300_000_000 * i64::from(kind >> 7);
            let stamp = clock.frame(track, rtp, UnixMicros(now));
            if track == 0 {
                if let Some((last_rtp, last)) = before.filter(|_| !stamp.jumped)
                    && (rtp.wrapping_sub(last_rtp) as i32) > 0
                {
                    assert!(stamp.time.0 >= last, "a later timestamp, an earlier time");
                }
                before = Some((rtp, stamp.time.0));
            }
        } else {
            clock.sender_report(track, rtp, u64::from(word(8)) << 32 | u64::from(word(12)), UnixMicros(now));
        }
    }
}

#[cfg(test)]
mod tests;
