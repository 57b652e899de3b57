//! The bytes of a fragment's notification, pure: the message of Kinesis Video Streams in the envelope in which SNS posts to
//! HTTP endpoints (Amazon SNS developer guide, "HTTP/HTTPS notification JSON format"), so that a receiver written for that reads it.
//!
//! SNS's own signature and its unsubscribe link are left out: the certificate and the link would be Amazon's.

use serde_json::json;
use store::notifications::Notification;

/// The media type that SNS sends.
pub const CONTENT_TYPE: &str = "text/plain; charset=UTF-8";
/// The subject that Kinesis Video Streams sets.
const SUBJECT: &str = "Kinesis Video Streams Notification";

/// The body. The same in every attempt, so that a receiver may compare.
pub fn body(of: &Notification) -> Vec<u8> {
    let message = json!({
        "StreamArn": of.notify.stream_arn,
        "FragmentNumber": of.fragment,
        "FragmentStartProducerTimestamp": of.producer_start,
        "FragmentStartServerTimestamp": of.server_start,
        "NotificationType": "PERSISTED",
        "NotificationPayload": of.notify.payload,
    });
    let envelope = json!({
        "Type": "Notification",
        "MessageId": of.id,
        "TopicArn": of.notify.uri,
        "Subject": SUBJECT,
        // A text, not an object: a receiver parses it a second time.
        "Message": message.to_string(),
        "Timestamp": of.raised_at.to_rfc3339(),
    });
    envelope.to_string().into_bytes()
}

/// The headers by which a receiver of SNS tells what it was sent.
pub fn headers(of: &Notification) -> Vec<(&'static str, String)> {
    vec![
        ("x-amz-sns-message-type", "Notification".to_owned()),
        ("x-amz-sns-message-id", of.id.clone()),
        ("x-amz-sns-topic-arn", of.notify.uri.clone()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use media::{FragmentNumber, UnixMillis};
    use store::notifications::{Destination, Notify};

    #[test]
    fn is_what_sns_would_post() {
        let fragment = FragmentNumber::new(7, 1_700_000_000_250, 5);
        let uri = "arn:aws:sns:us-west-2:123456789012:doors";
        let of = Notification {
            id: "018bcfe5-0000-7000-8000-000000000000".into(),
            fragment,
            producer_start: UnixMillis(1_700_000_000_000),
            server_start: UnixMillis(1_700_000_000_250),
            raised_at: UnixMillis(1_700_000_002_000),
            notify: Notify {
                uri: uri.into(),
                to: Destination::of_uri(uri).expect("a topic"),
                stream_arn: "arn:aws:kinesisvideo:us-west-2:123456789012:stream/gate/1".into(),
                payload: [("door".to_owned(), "\"open\" ü".to_owned())].into(),
            },
        };
        let envelope: serde_json::Value = serde_json::from_slice(&body(&of)).expect("JSON");
        let text = |name: &str| envelope[name].as_str().expect("a text").to_owned();
        assert_eq!((text("Type"), text("MessageId")), ("Notification".into(), of.id.clone()));
        assert_eq!((text("TopicArn"), text("Subject")), (uri.into(), "Kinesis Video Streams Notification".into()));
        assert_eq!(text("Timestamp"), "2023-11-14T22:13:22.000Z");
        let message: serde_json::Value = serde_json::from_str(&text("Message")).expect("JSON in the text");
        let expected = json!({
            "StreamArn": "arn:aws:kinesisvideo:us-west-2:123456789012:stream/gate/1",
            "FragmentNumber": fragment.to_string(),
            "FragmentStartProducerTimestamp": 1_700_000_000_000i64,
            "FragmentStartServerTimestamp": 1_700_000_000_250i64,
            "NotificationType": "PERSISTED",
            "NotificationPayload": {"door": "\"open\" ü"},
        });
        assert_eq!(message, expected);
        assert!(headers(&of).contains(&("x-amz-sns-message-type", "Notification".into())));
    }
}
