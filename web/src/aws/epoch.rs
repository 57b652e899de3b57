//! Points in time as JSON bodies of the AWS surface say them: seconds since 1970 as a number with a fraction, both ways
//! (REFERENCE §1.1). Resolution: a millisecond.

use media::UnixMillis;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Visitor},
};
use std::fmt;

/// The last instant that a client may name: the end of the year 9999.
const LAST_MS: i64 = 253_402_300_799_999;

/// An instant, in bodies `1577836800.123`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Epoch(pub(crate) UnixMillis);

impl Serialize for Epoch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Exact to the millisecond for every year that fits: 53 bits hold 285 000 years of them.
        serializer.serialize_f64(self.0.0 as f64 / 1000.0)
    }
}

impl<'de> Deserialize<'de> for Epoch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Seconds)
    }
}

struct Seconds;

impl Visitor<'_> for Seconds {
    type Value = Epoch;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("seconds since 1970 as a number")
    }
    fn visit_f64<E: Error>(self, seconds: f64) -> Result<Epoch, E> {
        let ms = (seconds * 1000.0).round();
        match (0.0..=LAST_MS as f64).contains(&ms) {
            true => Ok(Epoch(UnixMillis(ms as i64))),
            false => Err(E::custom("Member must be seconds since 1970, up to the year 9999")),
        }
    }
    fn visit_i64<E: Error>(self, seconds: i64) -> Result<Epoch, E> {
        self.visit_f64(seconds as f64)
    }
    fn visit_u64<E: Error>(self, seconds: u64) -> Result<Epoch, E> {
        self.visit_f64(seconds as f64)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(text: &str) -> Option<i64> {
        serde_json::from_str::<Epoch>(text).ok().map(|e| e.0.0)
    }

    #[test]
    fn seconds_with_a_fraction_both_ways() {
        assert_eq!(serde_json::to_string(&Epoch(UnixMillis(1_577_836_800_123))).unwrap(), "1577836800.123");
        assert_eq!(serde_json::to_string(&Epoch(UnixMillis(0))).unwrap(), "0.0");
        assert_eq!(read("1577836800.123"), Some(1_577_836_800_123));
        assert_eq!(read("1.551924009774E9"), Some(1_551_924_009_774), "as Java prints it");
        assert_eq!(read("1577836800"), Some(1_577_836_800_000));
        assert_eq!(read("253402300799.999"), Some(LAST_MS));
        for wrong in ["-0.001", "253402300800", "1e300", "\"1577836800\"", "null", "[]", "-1", "1e999"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_millisecond_survives() {
        // A stride that is prime to 1000 meets every fraction all over the range.
        let mut ms = 0;
        while ms < LAST_MS {
            let text = serde_json::to_string(&Epoch(UnixMillis(ms))).unwrap();
            assert_eq!(read(&text), Some(ms));
            ms += 123_456_789_011;
        }
    }
}
