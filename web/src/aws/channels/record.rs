//! The document of a channel (`store::documents::CHANNEL`, by the channel's name): all that is known of it.

use crate::{
    auth::identity::Tags,
    aws::{
        Error,
        arn::{Account, Arn, Resource},
    },
};
use media::{StreamName, UnixMillis};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicI64, Ordering};
use store::{Kind, documents::Document};

/// How channels connect their clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum ChannelType {
    #[default]
    SingleMaster,
    FullMesh,
}

/// How long a channel keeps messages that nobody took, in seconds, where nobody says so.
pub(crate) const DEFAULT_TTL_SECONDS: u32 = 60;

/// What is kept of a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChannelRecord {
    /// When it was made; in its ARN.
    #[serde(with = "millis")]
    pub(crate) created_at: UnixMillis,
    /// Grows with each change but those of tags: see [`ChannelRecord::version`].
    #[serde(default)]
    pub(crate) revision: u64,
    #[serde(rename = "type")]
    pub(crate) kind: ChannelType,
    /// How long messages that nobody took are kept, in seconds.
    pub(crate) message_ttl_seconds: u32,
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub(crate) tags: Tags,
    /// The id of the stream that its sessions are stored in; `storage` says what holds of the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stores_in: Option<u64>,
    /// The id of the stream that it shows: the server is its master then. `source` says what holds of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shows: Option<u64>,
}

mod millis {
    use super::{Deserialize, UnixMillis};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(at: &UnixMillis, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(at.0)
    }
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UnixMillis, D::Error> {
        i64::deserialize(deserializer).map(UnixMillis)
    }
}

impl ChannelRecord {
    /// Reads a document of a channel.
    ///
    /// # Errors
    /// `InternalFailure` if it was written by a later version that keeps what this one does not know; the log says what.
    pub(crate) fn of(document: &Document) -> Result<Self, Error> {
        serde_path_to_error::deserialize(&document.body).map_err(|e| {
            let message = format!("what is kept of channel {} cannot be read at {}", document.name, e.path());
            store::Error::new(Kind::Internal, message).into()
        })
    }

    /// As it is kept.
    pub(crate) fn body(&self) -> Result<Value, Error> {
        serde_json::to_value(self).map_err(|e| {
            store::Error::new(Kind::Internal, "what is kept of a channel has no JSON form").with_source(e).into()
        })
    }

    pub(crate) fn arn(&self, account: &Account, name: &StreamName) -> Arn {
        account.arn(Resource::Channel, name, self.created_at)
    }

    /// 20 letters and digits that change with the channel and never come back, tags left out: who gives tags names no version.
    pub(crate) fn version(&self, name: &StreamName) -> String {
        let said = format!("channel {name} {} {}", self.created_at.0, self.revision);
        const DIGITS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
        Sha256::digest(said.as_bytes()).iter().take(20).map(|b| char::from(DIGITS[usize::from(b & 31)])).collect()
    }

    /// Refuses a `CurrentVersion` that this channel has not.
    pub(crate) fn is_version(&self, name: &StreamName, given: &str) -> Result<(), Error> {
        if !(1..=64).contains(&given.len()) || !given.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(Error::constraint("CurrentVersion", "Member must be 1 to 64 letters and digits"));
        }
        match self.version(name) {
            current if current == given => Ok(()),
            current => Err(Error::version_mismatch(given, &current)),
        }
    }
}

/// Gives channels their times of creation, no two the same: an ARN must not come back with a channel of the same name, however
/// soon after the first is deleted.
#[derive(Debug, Default)]
pub(crate) struct Births(AtomicI64);

impl Births {
    pub(crate) fn next(&self, now: UnixMillis) -> UnixMillis {
        let later = |last: i64| now.0.max(last.saturating_add(1));
        let last = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(later(last)));
        let (Ok(last) | Err(last)) = last;
        UnixMillis(later(last))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use serde_json::json;

    fn of(body: Value) -> Result<ChannelRecord, Error> {
        ChannelRecord::of(&Document { name: "door".into(), version: 1, body })
    }

    #[test]
    fn a_record_comes_out_as_it_went_in() {
        let body = json!({"created_at": 1_795_404_896_353_i64, "revision": 2, "type": "FULL_MESH",
            "message_ttl_seconds": 5, "tags": {"site": "north"}, "stores_in": 7, "shows": 9});
        assert_eq!(of(body.clone()).unwrap().body().unwrap(), body);
        for wrong in
            [json!({}), json!({"created_at": 1, "type": "SINGLE_MASTER", "message_ttl_seconds": 60, "more": 1})]
        {
            assert_eq!(of(wrong).unwrap_err().name, "InternalFailure", "nothing is lost unseen");
        }
    }

    #[test]
    fn versions_change_with_the_channel_and_not_with_its_tags() {
        let record = of(json!({"created_at": 1, "type": "SINGLE_MASTER", "message_ttl_seconds": 60})).unwrap();
        let (door, gate) = ("door".parse().unwrap(), "gate".parse().unwrap());
        let version = record.version(&door);
        assert_eq!(version.len(), 20);
        assert!(version.bytes().all(|b| b.is_ascii_alphanumeric()), "{version}");
        assert_ne!(record.version(&gate), version);
        assert_ne!(ChannelRecord { revision: 1, ..record.clone() }.version(&door), version);
        assert_ne!(ChannelRecord { created_at: UnixMillis(2), ..record.clone() }.version(&door), version);
        assert_eq!(ChannelRecord { tags: [("a".into(), "b".into())].into(), ..record }.version(&door), version);
    }

    #[test]
    fn no_two_are_born_at_once() {
        let births = Births::default();
        let at = |now| births.next(UnixMillis(now)).0;
        assert_eq!([at(5), at(5), at(3), at(9)], [5, 6, 7, 9]);
    }
}
