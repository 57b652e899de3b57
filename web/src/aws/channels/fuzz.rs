//! The fuzz target of the bodies that the operations on channels take.

use super::{endpoint, lifecycle, record::ChannelRecord, shown, storage, target, update};
use crate::aws::json::read;
use media::UnixMillis;
use store::documents::Document;

/// Bytes that may be a body of any of these operations: what is taken follows the rules, and can be kept and read again.
pub(crate) fn fuzz(data: &[u8]) {
    if let Ok(wanted) = read::<lifecycle::Create>(data).and_then(lifecycle::Create::checked) {
        let name = wanted.name.to_string();
        assert!(
            (1..=256).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        );
        assert!((5..=120).contains(&wanted.message_ttl_seconds) && wanted.tags.len() <= 50);
        let record = ChannelRecord {
            created_at: UnixMillis(0),
            revision: 0,
            kind: wanted.kind,
            message_ttl_seconds: wanted.message_ttl_seconds,
            tags: wanted.tags,
            stores_in: None,
            shows: None,
        };
        let body = record.body().expect("records are plain values");
        let again = ChannelRecord::of(&Document { name, version: 1, body }).expect("it was just written");
        assert_eq!(again, record);
    }
    if let Ok((name, Some(arn))) = read::<target::Target>(data).and_then(|target| target.read()) {
        assert_eq!((&arn.name, arn.to_string().parse()), (&name, Ok(arn.clone())));
    }
    let _ = read::<lifecycle::Delete>(data);
    let _ = read::<update::Update>(data);
    let _ = read::<shown::List>(data);
    let _ = read::<endpoint::GetEndpoint>(data);
    let _ = read::<storage::Update>(data);
    let _ = read::<storage::DescribeMapped>(data);
}

#[cfg(test)]
mod tests {
    use super::fuzz;

    #[test]
    fn bodies_that_are_taken() {
        fuzz(br#"{"ChannelName":"door","Tags":[{"Key":"a","Value":"b"}],"SingleMasterConfiguration":{"MessageTtlSeconds":5}}"#);
        fuzz(br#"{"ChannelARN":"arn:aws-cn:kinesisvideo:cn-north-1:123456789012:channel/door/0012"}"#);
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_body_holds_is_read_or_refused(
            data: Vec<u8>,
            name in "[a-z_. -]{0,4}",
            ttl: u8,
            kind in proptest::sample::select(vec!["SINGLE_MASTER", "FULL_MESH", "MESH"]),
            key in "[a-zäé:*]{0,4}",
            arn in r"(arn:aws:kinesisvideo:[a-z1-]{0,3}:[0-9]{0,12}:(stream|channel)/)?[a-z_ /]{0,3}(/[0-9]{0,20})?",
        ) {
            fuzz(&data);
            let body = serde_json::json!({
                "ChannelName": name, "ChannelType": kind, "Tags": [{"Key": key, "Value": key}],
                "SingleMasterConfiguration": {"MessageTtlSeconds": ttl},
            });
            fuzz(body.to_string().as_bytes());
            fuzz(serde_json::json!({"ChannelARN": arn, "CurrentVersion": key}).to_string().as_bytes());
        }
    }
}
