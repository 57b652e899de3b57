//! Settings of PutMedia.

use super::core::{Limits, Policy, Timecode};
use serde::{Deserialize, Serialize};

/// Settings of PutMedia: `[putmedia]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// A session of which nothing comes for so long is closed, in seconds.
    pub silence_timeout_s: u64,
    /// Nothing came for so long: an IDLE acknowledgement tells that the connection is well, in seconds.
    pub idle_ack_s: u64,
    /// The longest a session may last, in seconds; 0 is no bound. The service has 2700.
    pub max_session_s: u64,
    /// Sessions at a time, all streams together.
    pub max_sessions: usize,
    /// Of them, those of one access key and of the sessions that it asked for.
    pub max_sessions_per_key: usize,
    /// Of them, those on one stream. Producers overlap two when their credentials change, and what a broken connection leaves behind
    /// lasts `silence_timeout_s`.
    pub max_sessions_per_stream: usize,
    /// What becomes of what the service refuses: `lenient` takes it and marks it, `strict` refuses it.
    pub policy: Policy,
    /// How much a session may send of what.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            silence_timeout_s: 30,
            idle_ack_s: 5,
            max_session_s: 0,
            max_sessions: 4096,
            max_sessions_per_key: 2048,
            max_sessions_per_stream: 64,
            policy: Policy::Lenient,
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// Whether the values make sense.
    ///
    /// # Errors
    /// A line that names the key.
    pub fn check(&self) -> Result<(), String> {
        let Limits { max_fragment_ms, max_fragment_bytes, max_header_bytes, max_lead_bytes, .. } = self.limits;
        let least = |key: &str, value: u64, least: u64| match value >= least {
            true => Ok(()),
            false => Err(format!("putmedia.{key} is {value}, the least is {least}")),
        };
        let most = |key: &str, value: u64, most: u64| match value <= most {
            true => Ok(()),
            false => Err(format!("putmedia.{key} is {value}, the most is {most}")),
        };
        least("silence_timeout_s", self.silence_timeout_s, 1)?;
        least("idle_ack_s", self.idle_ack_s, 1)?;
        for (key, sessions) in [
            ("max_sessions", self.max_sessions),
            ("max_sessions_per_key", self.max_sessions_per_key),
            ("max_sessions_per_stream", self.max_sessions_per_stream),
        ] {
            least(key, sessions as u64, 1)?;
            most(key, sessions as u64, 1 << 20)?;
        }
        least("limits.max_fragment_ms", u64::from(max_fragment_ms), 1)?;
        most("limits.max_fragment_ms", u64::from(max_fragment_ms), 60_000)?;
        most("limits.max_fragment_bytes", max_fragment_bytes as u64, u64::from(u32::MAX))?;
        least("limits.max_header_bytes", max_header_bytes as u64, 1)?;
        most("limits.max_lead_bytes", max_lead_bytes as u64, 64 << 10)
    }
}

impl Config {
    /// Whether a fragment as large as these allow fits the byte budget of a stream.
    ///
    /// # Errors
    /// A line that names both keys.
    pub fn check_budget(&self, stream_budget_bytes: u64) -> Result<(), String> {
        let (wanted, most) = (self.limits.max_fragment_bytes as u64, Limits::most_of(stream_budget_bytes));
        match wanted <= most {
            true => Ok(()),
            false => Err(format!(
                "putmedia.limits.max_fragment_bytes is {wanted}, and store.stream_budget_bytes ({stream_budget_bytes}), in which a \
                 fragment lies whole, takes at most {most} of it: lower the one, raise the other, or leave max_fragment_bytes at 0"
            )),
        }
    }
}

/// What a request asks of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What cluster time codes count from.
    pub timecode: Timecode,
    /// Whether the producer wants acknowledgements.
    pub acks: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_named() {
        assert_eq!(Config::default().check(), Ok(()));
        let none = Config { idle_ack_s: 0, ..Config::default() };
        assert_eq!(none.check(), Err("putmedia.idle_ack_s is 0, the least is 1".into()));
        let none = Config { max_sessions_per_stream: 0, ..Config::default() };
        assert_eq!(none.check(), Err("putmedia.max_sessions_per_stream is 0, the least is 1".into()));
        let large = |max_fragment_bytes| Limits { max_fragment_bytes, ..Limits::default() };
        let large = |bytes| Config { limits: large(bytes), ..Config::default() };
        assert_eq!((large(0).check_budget(1), large(56 << 20).check_budget(64 << 20)), (Ok(()), Ok(())));
        let error = large((56 << 20) + 1).check_budget(64 << 20).err();
        assert!(error.is_some_and(|e| e.contains("is 58720257, and store.stream_budget_bytes (67108864)")));
        let long = Limits { max_fragment_ms: 90_000, ..Limits::default() };
        let long = Config { limits: long, ..Config::default() };
        assert_eq!(long.check(), Err("putmedia.limits.max_fragment_ms is 90000, the most is 60000".into()));
    }
}
