//! `CreateSignalingChannel` and `DeleteSignalingChannel`.

use super::{
    record::{ChannelRecord, ChannelType, DEFAULT_TTL_SECONDS},
    storage,
    target::{Found, TRIES, by_arn, crowded},
};
use crate::{
    auth::{
        Caller,
        identity::{self, Tags},
    },
    aws::{
        Error, Json, alone,
        arn::Resource,
        json::done,
        quotas,
        tags::{self, Tag},
        target::name,
    },
};
use media::{StreamName, UnixMillis};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{
    Kind, Store,
    documents::{CHANNEL, Expect},
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Create {
    channel_name: String,
    channel_type: Option<ChannelType>,
    single_master_configuration: Option<SingleMaster>,
    tags: Option<Vec<Tag>>,
}

/// `SingleMasterConfiguration` of the model.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SingleMaster {
    pub(super) message_ttl_seconds: Option<u32>,
}

#[derive(Serialize)]
pub(crate) struct Created {
    #[serde(rename = "ChannelARN")]
    channel_arn: String,
}

/// A member of `SingleMasterConfiguration`, or what holds where it is not given.
pub(super) fn ttl(given: Option<u32>) -> Result<Option<u32>, Error> {
    match given {
        Some(seconds) if !(5..=120).contains(&seconds) => {
            Err(Error::constraint("SingleMasterConfiguration.MessageTtlSeconds", "Member must be from 5 to 120"))
        }
        _ => Ok(given),
    }
}

/// What is said of a configuration that does not fit the channel's type.
pub(super) fn no_single_master() -> Error {
    Error::invalid("SingleMasterConfiguration: a FULL_MESH channel has no single master")
}

/// A channel that may be made.
pub(super) struct Wanted {
    pub(super) name: StreamName,
    pub(super) kind: ChannelType,
    pub(super) message_ttl_seconds: u32,
    pub(super) tags: Tags,
}

impl Create {
    /// What is wanted, if the members follow the model's rules.
    pub(super) fn checked(self) -> Result<Wanted, Error> {
        let name = name("ChannelName", &self.channel_name)?;
        let kind = self.channel_type.unwrap_or_default();
        let given = ttl(self.single_master_configuration.and_then(|c| c.message_ttl_seconds))?;
        if kind == ChannelType::FullMesh && given.is_some() {
            return Err(no_single_master());
        }
        let tags = tags::of_list("Tags", self.tags.unwrap_or_default())?;
        Ok(Wanted { name, kind, message_ttl_seconds: given.unwrap_or(DEFAULT_TTL_SECONDS), tags })
    }
}

pub(crate) async fn create(caller: Caller, Json(input): Json<Create>) -> Result<Json<Created>, Error> {
    let Wanted { name, kind, message_ttl_seconds, tags } = input.checked()?;
    let aws = &caller.shared.aws;
    let arn = aws.account.arn(Resource::Channel, &name, UnixMillis(0)).to_string();
    let app = caller.thing(&identity::Resource { request_tags: tags.clone(), ..identity::Resource::new(arn) })?;
    let _alone = alone(&caller).await;
    few_enough(&app.store, aws.quotas.channels).await?;
    let record = ChannelRecord {
        created_at: aws.channel_births.next(app.store.now()),
        revision: 0,
        kind,
        message_ttl_seconds,
        tags,
        stores_in: None,
        shows: None,
    };
    match app.store.put_document(CHANNEL, name.as_str(), Expect::Absent, record.body()?).await {
        Ok(_) => {}
        Err(e) if e.kind() == Kind::AlreadyExists => {
            return Err(Error::in_use(format!("there is a signaling channel {name} already")));
        }
        Err(e) => return Err(e.into()),
    }
    tracing::info!(channel = %name, "signaling channel created");
    Ok(Json(Created { channel_arn: record.arn(&aws.account, &name).to_string() }))
}

/// Holds one more channel against the quota.
async fn few_enough(store: &Store, most: u32) -> Result<(), Error> {
    if most == 0 || quotas::counted(store, CHANNEL, most, |_| Ok(true)).await? < most {
        return Ok(());
    }
    let message = format!("there are {most} signaling channels already, the most that aws.quotas.channels allows");
    Err(Error::new("AccountChannelLimitExceededException", message))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Delete {
    #[serde(rename = "ChannelARN")]
    channel_arn: String,
    current_version: Option<String>,
}

pub(crate) async fn delete(caller: Caller, Json(input): Json<Delete>) -> Result<Json<Value>, Error> {
    for _ in 0..TRIES {
        let found = by_arn(&caller, "ChannelARN", &input.channel_arn).await?;
        let stored = storage::stream_of(&found).is_some();
        let Found { app, name, record, expect } = found;
        if let Some(given) = &input.current_version {
            record.is_version(&name, given)?;
        }
        if stored {
            return Err(Error::in_use(format!(
                "channel {name} stores in a stream: UpdateMediaStorageConfiguration with Status DISABLED frees both"
            )));
        }
        match app.store.delete_document(CHANNEL, name.as_str(), expect).await {
            Ok(()) => {
                tracing::info!(channel = %name, "signaling channel deleted");
                return Ok(done());
            }
            // Looked at again: a change of tags alone leaves the version as it is, and without one the latest goes.
            Err(e) if matches!(e.kind(), Kind::Conflict | Kind::NotFound) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Err(crowded())
}
