//! The bytes of a webhook, pure: the CloudEvents body, the signatures, and when to try again.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use media::UnixMillis;
use serde_json::json;
use sha2::Sha256;
use store::records::{Alert, Secret};

/// The media type of the body.
pub const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";
/// How long a delivery is tried before it is dead, in ms.
pub const GIVE_UP_AFTER_MS: i64 = 24 * 3_600_000;
/// Longest pause between two attempts, in ms.
pub const LONGEST_PAUSE_MS: u64 = 300_000;

/// The body: CloudEvents 1.0 in structured JSON. The same in every attempt, so that a receiver may compare.
pub fn body(alert: &Alert, snapshot_jpeg: &[u8]) -> Vec<u8> {
    let seen = &alert.detection;
    let value = json!({
        "specversion": "1.0",
        "id": alert.id,
        "source": format!("urn:vidicon:stream:{}", alert.stream),
        "type": "vidicon.alert.v1",
        "subject": alert.rule,
        "time": seen.time.to_rfc3339(),
        "datacontenttype": "application/json",
        "data": {
            "rule": alert.rule,
            "stream": alert.stream,
            "fragment": seen.fragment,
            "offset_ms": seen.offset_ms,
            "producer_time_ms": seen.time,
            "class": seen.class,
            "score": seen.score,
            "box": seen.bounds,
            "raised_at_ms": alert.raised_at,
            "snapshot_jpeg_base64": BASE64.encode(snapshot_jpeg),
        },
    });
    value.to_string().into_bytes()
}

/// The headers that let a receiver check who sent a body, when, and whether it has seen it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// `webhook-id`: the alert's id, the same in each attempt.
    pub id: String,
    /// `webhook-timestamp`: seconds since the Unix epoch, of this attempt.
    pub timestamp: String,
    /// `webhook-signature` (Standard Webhooks): `v1,` and base64 of HMAC-SHA-256 over `id.timestamp.body`.
    pub standard: String,
    /// `x-vidicon-signature`: `t=…,v1=` and hex of HMAC-SHA-256 over `timestamp.body`.
    pub vidicon: String,
}

/// Signs a body. The key is the secret's text; for the Standard Webhooks header of a secret `whsec_…` it is what stands
/// behind the prefix in base64, as that standard says.
pub fn sign(secret: &Secret, id: &str, now: UnixMillis, body: &[u8]) -> Signed {
    let timestamp = now.0.div_euclid(1000).to_string();
    let text = secret.0.as_bytes();
    let decoded = secret.0.strip_prefix("whsec_").and_then(|key| BASE64.decode(key).ok());
    let standard = mac(decoded.as_deref().unwrap_or(text), &[id.as_bytes(), b".", timestamp.as_bytes(), b".", body]);
    let vidicon = mac(text, &[timestamp.as_bytes(), b".", body]);
    let hex: String = vidicon.iter().map(|b| format!("{b:02x}")).collect();
    let (standard, vidicon) = (format!("v1,{}", BASE64.encode(standard)), format!("t={timestamp},v1={hex}"));
    Signed { id: id.to_owned(), timestamp, standard, vidicon }
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    parts.iter().for_each(|p| mac.update(p));
    mac.finalize().into_bytes().into()
}

/// The pause after the `attempts`th failed attempt (from 1), in ms: 1 s, doubled each time up to five minutes, ± a quarter.
/// `jitter` is any random number.
pub fn pause_ms(attempts: u32, jitter: u32) -> u64 {
    let doubled = 1000u64 << attempts.saturating_sub(1).min(20);
    let pause = doubled.min(LONGEST_PAUSE_MS);
    let share = u64::from(jitter % 1001);
    pause * 3 / 4 + pause / 2 * share / 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use media::FragmentNumber;
    use store::records::Detection;

    fn alert() -> Alert {
        let detection = Detection {
            fragment: FragmentNumber::new(7, 1_700_000_000_000, 5),
            offset_ms: 480,
            time: UnixMillis(1_700_000_000_480),
            class: "person".into(),
            score: 0.75,
            bounds: [0.25, 0.5, 0.5, 1.0],
        };
        let name = |n: &str| n.parse().expect("a name");
        Alert {
            id: "018bcfe5-0000-7000-8000-000000000000".into(),
            rule: name("people"),
            stream: name("gate"),
            detection,
            raised_at: UnixMillis(1_700_000_001_000),
        }
    }

    #[test]
    fn the_body_is_a_cloud_event_with_everything_a_receiver_needs() {
        let value: serde_json::Value = serde_json::from_slice(&body(&alert(), b"jpeg")).expect("JSON");
        assert_eq!(value["specversion"], "1.0");
        assert_eq!(value["type"], "vidicon.alert.v1");
        assert_eq!(value["id"], alert().id);
        assert_eq!(value["source"], "urn:vidicon:stream:gate");
        assert_eq!(value["time"], "2023-11-14T22:13:20.480Z");
        let data = &value["data"];
        assert_eq!(data["fragment"], alert().detection.fragment.to_string());
        assert_eq!(
            (&data["offset_ms"], &data["producer_time_ms"], &data["raised_at_ms"]),
            (&480.into(), &1_700_000_000_480i64.into(), &1_700_000_001_000i64.into())
        );
        assert_eq!(data["box"], serde_json::json!([0.25, 0.5, 0.5, 1.0]));
        assert_eq!(
            (&data["class"], &data["score"], &data["rule"], &data["stream"]),
            (&"person".into(), &0.75.into(), &"people".into(), &"gate".into())
        );
        assert_eq!(data["snapshot_jpeg_base64"], "anBlZw==");
    }

    #[test]
    fn signs_as_the_standard_webhooks_libraries_do() {
        // The example of the Standard Webhooks reference libraries.
        let secret = Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into());
        let signed =
            sign(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", UnixMillis(1_614_265_330_000), br#"{"test": 2432232314}"#);
        assert_eq!(signed.standard, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(signed.timestamp, "1614265330");
        // RFC 4231, test case 2, with the key and message that it gives: the MAC itself.
        let hex: String =
            mac(b"Jefe", &[b"what do ya want ", b"for nothing?"]).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn the_key_of_a_plain_secret_is_its_text() {
        let signed = sign(&Secret("Jefe".into()), "i", UnixMillis(1_999), b"b");
        let hex: String = mac(b"Jefe", &[b"1.b"]).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(signed.vidicon, format!("t=1,v1={hex}"));
        assert_eq!(signed.standard, format!("v1,{}", BASE64.encode(mac(b"Jefe", &[b"i.1.b"]))));
    }

    #[test]
    fn pauses_grow_from_a_second_to_five_minutes() {
        let middle: Vec<u64> = (1..=11).map(|n| pause_ms(n, 500)).collect();
        assert_eq!(middle, [1000, 2000, 4000, 8000, 16_000, 32_000, 64_000, 128_000, 256_000, 300_000, 300_000]);
        for attempts in [1, 2, 30, u32::MAX] {
            let (least, most) = (pause_ms(attempts, 0), pause_ms(attempts, 1000));
            assert!(least < most && least >= 750 && most <= LONGEST_PAUSE_MS * 5 / 4);
        }
        // At that pace a target has hundreds of chances before a delivery is dead.
        let total: u64 = (1..=290).map(|n| pause_ms(n, 500)).sum();
        assert!(total as i64 <= GIVE_UP_AFTER_MS);
    }
}
