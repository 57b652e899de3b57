//! `UpdateSignalingChannel`.

use super::{
    lifecycle::{SingleMaster, no_single_master, ttl},
    record::ChannelType,
    target::change,
};
use crate::{
    auth::{Caller, identity::Resource},
    aws::{
        Error, Json,
        arn::{self, Arn},
        json::done,
    },
};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Update {
    #[serde(rename = "ChannelARN")]
    channel_arn: String,
    current_version: String,
    single_master_configuration: Option<SingleMaster>,
}

pub(crate) async fn update(caller: Caller, Json(input): Json<Update>) -> Result<Json<Value>, Error> {
    let given = ttl(input.single_master_configuration.and_then(|c| c.message_ttl_seconds))?;
    let arn = Arn::of(arn::Resource::Channel, "ChannelARN", &input.channel_arn)?;
    change(&caller, &arn, &Resource::default(), |name, record| {
        record.is_version(name, &input.current_version)?;
        match (record.kind, given) {
            (ChannelType::SingleMaster, Some(seconds)) => record.message_ttl_seconds = seconds,
            (ChannelType::SingleMaster, None) => {
                let member = "SingleMasterConfiguration.MessageTtlSeconds";
                return Err(Error::constraint(member, "Member must not be null for a SINGLE_MASTER channel"));
            }
            (ChannelType::FullMesh, Some(_)) => return Err(no_single_master()),
            (ChannelType::FullMesh, None) => {}
        }
        record.revision += 1;
        Ok(())
    })
    .await?;
    Ok(done())
}
