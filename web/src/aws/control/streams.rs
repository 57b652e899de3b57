//! `DescribeStream` and `ListStreams`: every stream of the store, however it was made.

use crate::{
    auth::Caller,
    aws::{
        Error, Json, Target,
        arn::Account,
        epoch::Epoch,
        names::{MOST, NameCondition, NamePage},
        records::{FOR_EVER_HOURS, StreamRecord},
    },
};
use serde::{Deserialize, Serialize};
use store::{
    StreamInfo,
    documents::{Document, STREAM},
};

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
    stream_name_condition: Option<NameCondition>,
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
    let of = ("ListStreams", "StreamNameCondition");
    let page = NamePage::read(&caller.shared.aws.pages, of, most, input.stream_name_condition, input.next_token)?;
    let (prefix, after) = (&page.prefix, page.after.as_deref());
    let mut found: Vec<StreamInfo> = app.store.streams().into_iter().map(|s| s.info()).collect();
    found.retain(|i| i.name.as_str().starts_with(prefix) && after.is_none_or(|a| i.name.as_str() > a));
    found.sort_by(|a, b| a.name.cmp(&b.name));
    let next_token = page.cut(&mut found, |info| info.name.as_str());
    let ids = found.iter().map(|info| info.id.to_string()).collect();
    let records = app.store.documents_of(STREAM, ids).await?;
    let account = &caller.shared.aws.account;
    let shown = |(info, document): (&StreamInfo, Option<Document>)| {
        Ok(shown(account, info, document.as_ref().map(StreamRecord::of).transpose()?.unwrap_or_default()))
    };
    let stream_info_list = found.iter().zip(records).map(shown).collect::<Result<_, Error>>()?;
    Ok(Json(Listed { stream_info_list, next_token }))
}
