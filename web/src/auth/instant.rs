//! Instants as text: the basic form of ISO 8601 that signatures use (`20150830T123600Z`), RFC 3339 as policies write it,
//! and the date of HTTP's `Date` header.

use media::UnixMillis;

const DAY_MS: i64 = 86_400_000;

/// Days from 1970-01-01 to a date of the Gregorian calendar (Howard Hinnant's algorithm); `None` where there is no such date.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=longest).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

fn instant(year: i64, month: i64, day: i64, time: [i64; 3]) -> Option<UnixMillis> {
    let [hour, minute, second] = time;
    // A leap second counts as the one before it.
    let fits = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..=60).contains(&second);
    let of_day = (hour * 3600 + minute * 60 + second.min(59)) * 1000;
    days(year, month, day).filter(|_| fits).map(|days| UnixMillis(days * DAY_MS + of_day))
}

/// So many digits.
fn number(text: &str, from: usize, to: usize) -> Option<i64> {
    let digits = text.get(from..to)?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// `20150830T123600Z`.
pub(crate) fn parse_basic(text: &str) -> Option<UnixMillis> {
    let bytes = text.as_bytes();
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let n = |from, to| number(text, from, to);
    instant(n(0, 4)?, n(4, 6)?, n(6, 8)?, [n(9, 11)?, n(11, 13)?, n(13, 15)?])
}

/// An instant as `20150830T123600Z`.
pub(crate) fn basic(at: UnixMillis) -> String {
    at.to_rfc3339().split('.').next().unwrap_or_default().replace(['-', ':'], "") + "Z"
}

/// An instant as `2015-08-30T12:36:00Z`: how STS writes expirations.
pub(crate) fn seconds(at: UnixMillis) -> String {
    at.to_rfc3339().split('.').next().unwrap_or_default().to_owned() + "Z"
}

/// `2015-08-30T12:36:00Z`, with a fraction or an offset too, or the date alone.
pub(crate) fn parse_rfc3339(text: &str) -> Option<UnixMillis> {
    let n = |from, to| number(text, from, to);
    let at = |i: usize| text.as_bytes().get(i).copied();
    if (at(4), at(7)) != (Some(b'-'), Some(b'-')) {
        return None;
    }
    let (year, month, day) = (n(0, 4)?, n(5, 7)?, n(8, 10)?);
    if text.len() == 10 {
        return instant(year, month, day, [0; 3]);
    }
    if !matches!(at(10), Some(b'T' | b't' | b' ')) || at(13) != Some(b':') {
        return None;
    }
    let (seconds, mut rest) = match at(16) {
        Some(b':') => (n(17, 19)?, text.get(19..)?),
        _ => (0, text.get(16..)?),
    };
    let whole = instant(year, month, day, [n(11, 13)?, n(14, 16)?, seconds])?;
    let mut millis = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.len() - fraction.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if digits == 0 {
            return None;
        }
        millis = format!("{:0<3.3}", &fraction[..digits]).parse().ok()?;
        rest = &fraction[digits..];
    }
    let offset_min = match rest {
        "Z" | "z" => 0,
        _ => {
            let sign = match rest.as_bytes().first()? {
                b'+' => 1,
                b'-' => -1,
                _ => return None,
            };
            if rest.len() != 6 || rest.as_bytes()[3] != b':' {
                return None;
            }
            sign * (number(rest, 1, 3)? * 60 + number(rest, 4, 6)?)
        }
    };
    Some(whole.plus(millis - offset_min * 60_000))
}

/// `Sun, 30 Aug 2015 12:36:00 GMT` (RFC 9110 §5.6.7, the form that may still be sent).
pub(crate) fn parse_http(text: &str) -> Option<UnixMillis> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let text = text.split_once(", ")?.1;
    if text.len() != 24 || !text.is_ascii() || !text.ends_with(" GMT") {
        return None;
    }
    let n = |from, to| number(text, from, to);
    let month = MONTHS.find(&text[3..6]).filter(|at| at % 3 == 0)? / 3 + 1;
    instant(n(7, 11)?, month as i64, n(0, 2)?, [n(12, 14)?, n(15, 17)?, n(18, 20)?])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const AT: UnixMillis = UnixMillis(1_440_938_160_000);

    #[test]
    fn the_same_instant_in_each_form() {
        assert_eq!(parse_basic("20150830T123600Z"), Some(AT));
        assert_eq!((basic(AT), seconds(AT)), ("20150830T123600Z".into(), "2015-08-30T12:36:00Z".into()));
        assert_eq!(parse_http("Sun, 30 Aug 2015 12:36:00 GMT"), Some(AT));
        for text in
            ["2015-08-30T12:36:00Z", "2015-08-30T14:36:00+02:00", "2015-08-30T12:36Z", "2015-08-30t12:36:00.0004z"]
        {
            assert_eq!(parse_rfc3339(text), Some(AT), "{text}");
        }
        assert_eq!(parse_rfc3339("2015-08-30T12:36:00.25Z"), Some(AT.plus(250)));
        assert_eq!(parse_rfc3339("1970-01-01"), Some(UnixMillis(0)));
        assert_eq!(parse_rfc3339("2000-02-29T00:00:00.123Z"), Some(UnixMillis(951_782_400_123)));
    }

    #[test]
    fn what_is_no_instant() {
        for text in [
            "",
            "20150830T123600",
            "20150830T123600z",
            "20151330T123600Z",
            "20150229T000000Z",
            "20150830T240000Z",
            "2015083éT12360Z",
            "+0150830T123600Z",
        ] {
            assert_eq!(parse_basic(text), None, "{text}");
        }
        for text in [
            "",
            "2015",
            "2015-08-30T",
            "2015-08-30T12:36:00",
            "2015-08-30T12:36:00.Z",
            "2015-08-30T12:36:00+0200",
            "é015-08-30T12:36:00Z",
            "2015-08-3é",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
        for text in
            ["", "Sun, 30 Aug 2015 12:36:00 CET", "Sun, 30 anF 2015 12:36:00 GMT", "Sun, 30 Aug 2015 12:36:é0 GM"]
        {
            assert_eq!(parse_http(text), None, "{text}");
        }
    }

    #[test]
    fn days_count_on() {
        let mut at = UnixMillis(-40_000 * DAY_MS);
        for _ in 0..90_000 {
            assert_eq!(parse_rfc3339(&at.to_rfc3339()), Some(at));
            at = at.plus(DAY_MS);
        }
    }
}
