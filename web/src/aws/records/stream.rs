//! The document of a stream (`store::documents::STREAM`): what is configured of it beyond its name and retention.

use super::{
    edge::Edge, faithful, images::ImageGenerationConfiguration, notification::NotificationConfiguration, words,
};
use crate::{auth::identity::Tags, aws::Error};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use store::{
    Kind, Store, StreamInfo,
    documents::{Document, Expect, STREAM},
};

/// How often a change is made anew because others changed the same record meanwhile.
const TRIES: usize = 16;

/// The most hours that the model lets a stream keep its media, ten years; what a stream that keeps for ever shows.
pub(crate) const FOR_EVER_HOURS: u32 = 87_600;

/// Where the cloud would keep media.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Tier {
    #[default]
    Hot,
    Warm,
}

/// `StreamStorageConfiguration` of the model. Shown, never used: media of both tiers is kept in the same place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct StorageConfiguration {
    pub(crate) default_storage_tier: Tier,
}

/// What is configured of a stream. The default is that of streams that cameras or the native API made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StreamRecord {
    /// Grows with each change but those of tags: see [`StreamRecord::version`].
    pub(crate) revision: u64,
    pub(crate) tags: Tags,
    /// Nothing but a label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device_name: Option<String>,
    /// What the stream's maker says it holds, such as `video/h264,audio/aac`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) media_type: Option<String>,
    /// Shown, never used: recordings are not encrypted by this server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kms_key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) storage: Option<StorageConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) notification: Option<NotificationConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) image_generation: Option<ImageGenerationConfiguration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) edge: Option<Edge>,
    /// The ARN of the signalling channel whose sessions are stored in this stream; at most one (REFERENCE §1.3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mapped_channel: Option<String>,
    /// What later versions keep here.
    #[serde(flatten)]
    pub(crate) others: Map<String, Value>,
}

impl StreamRecord {
    /// The record of a stream, and what a change of it must still find.
    pub(crate) async fn found(store: &Store, id: u64) -> Result<(Self, Expect), Error> {
        match store.document(STREAM, &id.to_string()).await? {
            Some(document) => Ok((Self::of(&document)?, Expect::Version(document.version))),
            None => Ok((Self::default(), Expect::Absent)),
        }
    }

    /// The record of the stream with this id.
    ///
    /// # Errors
    /// `InternalFailure` if it was written by a later version that keeps what this one does not know; the log says what.
    pub(crate) async fn read(store: &Store, id: u64) -> Result<Self, Error> {
        Ok(Self::found(store, id).await?.0)
    }

    /// Reads a document of a stream.
    pub(crate) fn of(document: &Document) -> Result<Self, Error> {
        faithful(&document.body).map_err(|why| {
            let message = format!("the configuration of the stream with the id {}: {why}", document.name);
            store::Error::new(Kind::Internal, message).into()
        })
    }

    /// Changes the record of a stream, all or nothing. `edit` sees it as it is, and again if somebody else was faster.
    ///
    /// # Errors
    /// Those of `edit`; `ResourceNotFoundException` if the stream is deleted meanwhile.
    pub(crate) async fn change<T>(
        store: &Store,
        id: u64,
        mut edit: impl FnMut(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        for _ in 0..TRIES {
            let (mut record, expect) = Self::found(store, id).await?;
            let done = edit(&mut record)?;
            match store.put_document(STREAM, &id.to_string(), expect, record.body()?).await {
                Ok(_) => return Ok(done),
                Err(e) if matches!(e.kind(), Kind::Conflict | Kind::AlreadyExists) => {}
                // Its message names the stream by a number that clients do not know.
                Err(e) if e.kind() == Kind::NotFound => {
                    return Err(crate::error::Error::not_found("the stream was deleted meanwhile").into());
                }
                Err(e) => return Err(e.into()),
            }
        }
        Err(Error::new("ResourceInUseException", "the stream is being changed by many at once: try again"))
    }

    /// As it is kept.
    pub(crate) fn body(&self) -> Result<Value, Error> {
        serde_json::to_value(self).map_err(|e| {
            store::Error::new(Kind::Internal, "the configuration of a stream has no JSON form").with_source(e).into()
        })
    }

    /// 20 letters and digits that change with what the stream is and how it is configured, and never come back. Tags are left
    /// out: those who give them do not name the version, and so cannot spoil that of others.
    pub(crate) fn version(&self, info: &StreamInfo) -> String {
        let said = format!("{} {} {:?} {}", info.id, info.created_at.0, info.retention_hours, self.revision);
        const DIGITS: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
        Sha256::digest(said.as_bytes()).iter().take(20).map(|b| char::from(DIGITS[usize::from(b & 31)])).collect()
    }

    /// Refuses a change that was made from another version than this.
    ///
    /// # Errors
    /// `VersionMismatchException`; `InvalidArgumentException` for what is no version.
    pub(crate) fn check_version(&self, info: &StreamInfo, given: &str) -> Result<(), Error> {
        words::version("CurrentVersion", given)?;
        match self.version(info) {
            current if current == given => Ok(()),
            current => Err(Error::version_mismatch(given, &current)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use serde_json::json;

    fn of(body: Value) -> Result<StreamRecord, Error> {
        StreamRecord::of(&Document { name: "7".into(), version: 1, body })
    }

    #[test]
    fn a_record_comes_out_as_it_went_in() {
        let body = json!({
            "revision": 3, "tags": {"site": "north"}, "device_name": "d", "media_type": "video/h264", "kms_key_id": "k",
            "storage": {"DefaultStorageTier": "WARM"},
            "notification": {"Status": "ENABLED", "DestinationConfig": {"Uri": "https://example.com/x"}},
            "image_generation": {"Status": "DISABLED", "ImageSelectorType": "SERVER_TIMESTAMP", "SamplingInterval": 200, "Format": "PNG",
                "DestinationConfig": {"Uri": "s3://b", "DestinationRegion": "us-west-2"}},
            "edge": {"created_at": 1, "updated_at": 2, "config": {"HubDeviceArn": "h",
                "RecorderConfig": {"MediaSourceConfig": {"MediaUriSecretArn": "s", "MediaUriType": "FILE_URI"}},
                "DeletionConfig": {"LocalSizeConfig": {"MaxLocalMediaSizeInMB": 64}}}},
            "mapped_channel": "arn:aws:kinesisvideo:us-east-1:123456789012:channel/door/1",
            "of_a_later_version": {"a": [1, {"b": null}]},
        });
        let record = of(body.clone()).unwrap();
        assert_eq!(record.body().unwrap(), body);
        assert_eq!(of(json!({})).unwrap(), StreamRecord::default());
        assert_eq!(StreamRecord::default().body().unwrap(), json!({"revision": 0, "tags": {}}));
    }

    #[test]
    fn what_would_be_lost_is_refused() {
        let body = json!({"notification":
            {"Status": "ENABLED", "DestinationConfig": {"Uri": "https://example.com/x", "Retries": 5}}});
        assert_eq!(of(body).unwrap_err().name, "InternalFailure");
        assert_eq!(of(json!({"tags": {"a": 1}})).unwrap_err().name, "InternalFailure");
    }
}
