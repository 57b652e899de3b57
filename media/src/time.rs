//! Points in time. Media time in a timescale is a plain integer whose name ends in the scale (`_90k`).

use serde::{Deserialize, Serialize};

/// Microseconds since the Unix epoch. The resolution of frames while they are live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMicros(pub i64);

/// Milliseconds since the Unix epoch. The resolution of fragments, the catalog and the APIs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub i64);

impl UnixMicros {
    /// The millisecond this instant falls in (rounds towards the past).
    pub fn to_millis(self) -> UnixMillis {
        UnixMillis(self.0.div_euclid(1000))
    }
    /// This instant `micros` later, saturating at the ends of the range.
    pub fn plus(self, micros: i64) -> UnixMicros {
        UnixMicros(self.0.saturating_add(micros))
    }
}

impl UnixMillis {
    /// The first microsecond of this millisecond, saturating.
    pub fn to_micros(self) -> UnixMicros {
        UnixMicros(self.0.saturating_mul(1000))
    }
    /// This instant `millis` later, saturating at the ends of the range.
    pub fn plus(self, millis: i64) -> UnixMillis {
        UnixMillis(self.0.saturating_add(millis))
    }
    /// RFC 3339 in UTC with milliseconds, as HLS and the REST API print it: `2026-11-23T06:01:21.042Z`.
    pub fn to_rfc3339(self) -> String {
        let days = self.0.div_euclid(86_400_000);
        let ms = self.0.rem_euclid(86_400_000);
        let (year, month, day) = civil_from_days(days);
        let (h, m, s, milli) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000);
        format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{milli:03}Z")
    }
}

/// Days since 1970-01-01 to (year, month, day) in the proleptic Gregorian calendar (Howard Hinnant's algorithm).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_of_known_instants() {
        assert_eq!(UnixMillis(0).to_rfc3339(), "1970-01-01T00:00:00.000Z");
        assert_eq!(UnixMillis(951_782_400_123).to_rfc3339(), "2000-02-29T00:00:00.123Z");
        assert_eq!(UnixMillis(-1).to_rfc3339(), "1969-12-31T23:59:59.999Z");
        assert_eq!(UnixMillis(1_795_413_681_042).to_rfc3339(), "2026-11-23T06:01:21.042Z");
    }

    #[test]
    fn micros_round_towards_the_past() {
        assert_eq!(UnixMicros(-1).to_millis(), UnixMillis(-1));
        assert_eq!(UnixMicros(1_999).to_millis(), UnixMillis(1));
    }
}
