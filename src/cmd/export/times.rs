//! Times as people and programs write them.

use media::UnixMillis;

/// A time of RFC 3339 (with seconds, and a zone), or a number: of milliseconds since 1970 from 10^11 on, else of seconds, with or without a part.
pub(super) fn parse(text: &str) -> Option<UnixMillis> {
    if let Ok(number) = text.parse::<f64>() {
        let ms = if number.abs() >= 1e11 { number } else { number * 1000.0 };
        return (ms.is_finite() && ms.abs() < 1e15).then_some(UnixMillis(ms.round() as i64));
    }
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let mut parts = date.splitn(3, '-').map(|part| number(part, if part.len() == 4 { 4 } else { 2 }));
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let at = time.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = time.split_at(at);
    let mut parts = clock.splitn(3, ':');
    let (hour, minute) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let (second, part) = parts.next()?.split_once('.').unwrap_or_else(|| (clock.rsplit(':').next().unwrap_or(""), "0"));
    let second = number(second, 2)?;
    let digits = part.len().min(9);
    if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let ms = part[..digits.min(3)].parse::<i64>().ok()? * 10i64.pow(3 - digits.min(3) as u32);
    let offset_min = match zone {
        "Z" | "z" => 0,
        _ => {
            let (hours, minutes) = zone[1..].split_once(':')?;
            let minutes = number(hours, 2)? * 60 + number(minutes, 2)?;
            if zone.starts_with('-') { -minutes } else { minutes }
        }
    };
    let fits = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    let seconds = (days(year, month, day) * 24 + hour) * 3600 + (minute - offset_min) * 60 + second;
    fits.then_some(UnixMillis(seconds * 1000 + ms))
}

fn number(text: &str, digits: usize) -> Option<i64> {
    (text.len() == digits && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, counted in years that begin in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, month) = (year.div_euclid(400), (month + 9) % 12);
    let of_era = year.rem_euclid(400);
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-23T06:01:21Z", 1_795_413_681_000),
            ("2026-11-23T06:01:21.042Z", 1_795_413_681_042),
            ("2026-11-23 07:31:21.5+01:30", 1_795_413_681_500),
            ("2024-02-29T23:59:59.9999999Z", 1_709_251_199_999),
            ("1795413681", 1_795_413_681_000),
            ("1795413681.25", 1_795_413_681_250),
            ("1795413681042", 1_795_413_681_042),
        ] {
            assert_eq!(parse(text), Some(UnixMillis(ms)), "{text}");
            if text.ends_with("042Z") {
                assert_eq!(UnixMillis(ms).to_rfc3339(), text);
            }
        }
        for wrong in [
            "",
            "now",
            "2026-11-23",
            "2026-11-23T06:01Z",
            "2026-11-23T06:01:21",
            "2026-13-23T06:01:21Z",
            "2026-11-23T06:01:21.Z",
            "NaN",
            "1e300",
            "2026-11-23T06:01:21+1",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
