//! `DescribeSignalingChannel` and `ListSignalingChannels`.

use super::{
    record::{ChannelRecord, ChannelType},
    target::Target,
};
use crate::{
    auth::Caller,
    aws::{Error, Json, arn::Account, epoch::Epoch, target},
};
use media::StreamName;
use serde::{Deserialize, Serialize};
use store::documents::CHANNEL;

/// The most channels in one answer.
const MOST: usize = 10_000;
/// The channels in one answer where no number is asked for.
const USUAL: usize = 500;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Described {
    channel_info: Shown,
}

/// `ChannelInfo` of the model.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    channel_name: String,
    #[serde(rename = "ChannelARN")]
    channel_arn: String,
    channel_type: ChannelType,
    channel_status: &'static str,
    creation_time: Epoch,
    #[serde(skip_serializing_if = "Option::is_none")]
    single_master_configuration: Option<SingleMaster>,
    version: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SingleMaster {
    message_ttl_seconds: u32,
}

fn shown(account: &Account, name: &StreamName, record: &ChannelRecord) -> Shown {
    let single = record.kind == ChannelType::SingleMaster;
    Shown {
        channel_name: name.to_string(),
        channel_arn: record.arn(account, name).to_string(),
        channel_type: record.kind,
        channel_status: "ACTIVE",
        creation_time: Epoch(record.created_at),
        single_master_configuration: single.then_some(SingleMaster { message_ttl_seconds: record.message_ttl_seconds }),
        version: record.version(name),
    }
}

pub(crate) async fn describe(caller: Caller, Json(target): Json<Target>) -> Result<Json<Described>, Error> {
    let found = target.resolve(&caller).await?;
    Ok(Json(Described { channel_info: shown(&caller.shared.aws.account, &found.name, &found.record) }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct List {
    max_results: Option<usize>,
    next_token: Option<String>,
    channel_name_condition: Option<Condition>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Condition {
    #[serde(rename = "ComparisonOperator")]
    _operator: Option<Operator>,
    comparison_value: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Operator {
    BeginsWith,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Listed {
    channel_info_list: Vec<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

pub(crate) async fn list(caller: Caller, Json(input): Json<List>) -> Result<Json<Listed>, Error> {
    let app = caller.server()?;
    let most = input.max_results.unwrap_or(USUAL);
    if !(1..=MOST).contains(&most) {
        return Err(Error::constraint("MaxResults", "Member must be from 1 to 10000"));
    }
    let prefix = input.channel_name_condition.and_then(|c| c.comparison_value).unwrap_or_default();
    if !prefix.is_empty() {
        target::name("ChannelNameCondition.ComparisonValue", &prefix)?;
    }
    let (pages, account) = (&caller.shared.aws.pages, &caller.shared.aws.account);
    let listing = format!("ListSignalingChannels {prefix}");
    let after: Option<String> = input.next_token.map(|token| pages.open(&listing, &token)).transpose()?;
    let mut found = app.store.documents(CHANNEL, &prefix, after.as_deref(), most + 1).await?;
    let more = found.len() > most;
    found.truncate(most);
    let next_token = found.last().filter(|_| more).map(|last| pages.seal(&listing, &last.name.as_str()));
    let mut channel_info_list = Vec::with_capacity(found.len());
    for document in &found {
        let name = document.name.parse().map_err(|_| {
            store::Error::new(store::Kind::Internal, format!("the catalog has a channel named {:?}", document.name))
        })?;
        channel_info_list.push(shown(account, &name, &ChannelRecord::of(document)?));
    }
    Ok(Json(Listed { channel_info_list, next_token }))
}
