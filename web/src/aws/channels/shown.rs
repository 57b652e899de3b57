//! `DescribeSignalingChannel` and `ListSignalingChannels`.

use super::{
    record::{ChannelRecord, ChannelType},
    target::Target,
};
use crate::{
    auth::Caller,
    aws::{
        Error, Json,
        arn::Account,
        epoch::Epoch,
        names::{NameCondition, NamePage},
    },
};
use media::StreamName;
use serde::{Deserialize, Serialize};
use store::documents::CHANNEL;

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
    channel_name_condition: Option<NameCondition>,
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
    let (aws, account) = (&caller.shared.aws, &caller.shared.aws.account);
    let most = input.max_results.unwrap_or(USUAL);
    let of = ("ListSignalingChannels", "ChannelNameCondition");
    let page = NamePage::read(&aws.pages, of, most, input.channel_name_condition, input.next_token)?;
    let mut found = app.store.documents(CHANNEL, &page.prefix, page.after.as_deref(), page.most + 1).await?;
    let next_token = page.cut(&mut found, |document| &document.name);
    let mut channel_info_list = Vec::with_capacity(found.len());
    for document in &found {
        let name = document.name.parse().map_err(|_| {
            store::Error::new(store::Kind::Internal, format!("the catalog has a channel named {:?}", document.name))
        })?;
        channel_info_list.push(shown(account, &name, &ChannelRecord::of(document)?));
    }
    Ok(Json(Listed { channel_info_list, next_token }))
}
