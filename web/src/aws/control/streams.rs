//! `DescribeStream` and `ListStreams`: every stream of the store, however it was made.

use crate::{
    auth::Caller,
    aws::{
        Error, Json, Target,
        arn::Account,
        epoch::Epoch,
        records::{FOR_EVER_HOURS, StreamRecord},
        target,
    },
};
use serde::{Deserialize, Serialize};
use store::{
    StreamInfo,
    documents::{Document, STREAM},
};

/// The most streams in one answer, also where none is asked for.
const MOST: usize = 10_000;

#[derive(Serialize)]
pub(crate) struct Described {
    #[serde(rename = "StreamInfo")]
    info: Shown,
}

/// `StreamInfo` of the model.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown {
    #[serde(skip_serializing_if = "Option::is_none")]
    device_name: Option<String>,
    stream_name: String,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    /// Always there, null where nobody said: producers look for it (REFERENCE §1.3).
    media_type: Option<String>,
    kms_key_id: String,
    version: String,
    status: &'static str,
    creation_time: Epoch,
    data_retention_in_hours: u32,
}

fn shown(account: &Account, info: &StreamInfo, record: StreamRecord) -> Shown {
    let version = record.version(info);
    let StreamRecord { device_name, media_type, kms_key_id, .. } = record;
    Shown {
        device_name,
        stream_name: info.name.to_string(),
        stream_arn: account.stream(info).to_string(),
        media_type,
        kms_key_id: kms_key_id
            .unwrap_or_else(|| format!("arn:aws:kms:{}:{}:alias/aws/kinesisvideo", account.region, account.id)),
        version,
        status: "ACTIVE",
        creation_time: Epoch(info.created_at),
        data_retention_in_hours: info.retention_hours.unwrap_or(FOR_EVER_HOURS),
    }
}

pub(crate) async fn describe(caller: Caller, Json(target): Json<Target>) -> Result<Json<Described>, Error> {
    let granted = target.resolve(&caller).await?;
    let record = StreamRecord::read(&granted.app()?.store, granted.id()).await?;
    Ok(Json(Described { info: shown(&caller.shared.aws.account, &granted.info(), record) }))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct List {
    max_results: Option<usize>,
    next_token: Option<String>,
    stream_name_condition: Option<Condition>,
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
    stream_info_list: Vec<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

pub(crate) async fn list(caller: Caller, Json(input): Json<List>) -> Result<Json<Listed>, Error> {
    let app = caller.server()?;
    let most = input.max_results.unwrap_or(MOST);
    if !(1..=MOST).contains(&most) {
        return Err(Error::constraint("MaxResults", "Member must be from 1 to 10000"));
    }
    let prefix = input.stream_name_condition.and_then(|c| c.comparison_value).unwrap_or_default();
    if !prefix.is_empty() {
        target::name("StreamNameCondition.ComparisonValue", &prefix)?;
    }
    let pages = &caller.shared.aws.pages;
    let listing = format!("ListStreams {prefix}");
    let after: Option<String> = input.next_token.map(|token| pages.open(&listing, &token)).transpose()?;
    let mut found: Vec<StreamInfo> = app.store.streams().into_iter().map(|s| s.info()).collect();
    found.retain(|i| i.name.as_str().starts_with(&prefix) && after.as_deref().is_none_or(|a| i.name.as_str() > a));
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let more = found.len() > most;
    found.truncate(most);
    let next_token = found.last().filter(|_| more).map(|last| pages.seal(&listing, &last.name.as_str()));
    let ids = found.iter().map(|info| info.id.to_string()).collect();
    let records = app.store.documents_of(STREAM, ids).await?;
    let account = &caller.shared.aws.account;
    let shown = |(info, document): (&StreamInfo, Option<Document>)| {
        Ok(shown(account, info, document.as_ref().map(StreamRecord::of).transpose()?.unwrap_or_default()))
    };
    let stream_info_list = found.iter().zip(records).map(shown).collect::<Result<_, Error>>()?;
    Ok(Json(Listed { stream_info_list, next_token }))
}
