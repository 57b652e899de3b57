//! Which stream a channel's sessions are stored in: `UpdateMediaStorageConfiguration`, `DescribeMediaStorageConfiguration`, and
//! from the stream's side `DescribeMappedResourceConfiguration`.
//!
//! A channel stores in one stream, and one stream takes one channel. Both records say so and change in one transaction: the
//! channel's names the stream's id, the stream's the channel's ARN. A stream that is deleted takes its side along; ids never come
//! back, so that what the channel still says then names nothing, and means DISABLED.

use super::{
    record::{ChannelRecord, ChannelType},
    target::{Found, TRIES, by_arn, crowded},
};
use crate::{
    auth::Caller,
    aws::{Error, Json, Target, arn::Arn, json::done, records::StreamRecord},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{
    Kind, StreamInfo,
    documents::{CHANNEL, Change, Expect, STREAM},
};

/// What `DescribeMappedResourceConfiguration` calls a channel. The service model leaves the word open.
const CHANNEL_TYPE: &str = "SIGNALING_CHANNEL";

/// The stream that a channel stores in.
pub(super) fn stream_of(found: &Found<'_>) -> Option<StreamInfo> {
    let id = found.record.stores_in?;
    found.app.store.streams().into_iter().map(|s| s.info()).find(|info| info.id == id)
}

/// Whether the ARN in a stream's record is this channel's. Region and account are the server's, which may have got others since.
fn is_of(arn: &str, found: &Found<'_>) -> bool {
    arn.parse::<Arn>().is_ok_and(|arn| arn.name == found.name && arn.created_at == Some(found.record.created_at))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Status {
    Enabled,
    Disabled,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Configuration {
    status: Status,
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    stream_arn: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Update {
    #[serde(rename = "ChannelARN")]
    channel_arn: String,
    media_storage_configuration: Configuration,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Described {
    media_storage_configuration: Configuration,
}

pub(crate) async fn describe(
    caller: Caller,
    Json(target): Json<super::target::Target>,
) -> Result<Json<Described>, Error> {
    let found = target.resolve(&caller).await?;
    let stream = stream_of(&found);
    let status = if stream.is_some() { Status::Enabled } else { Status::Disabled };
    let stream_arn = stream.map(|info| caller.shared.aws.account.stream(&info).to_string());
    Ok(Json(Described { media_storage_configuration: Configuration { status, stream_arn } }))
}

pub(crate) async fn update(caller: Caller, Json(input): Json<Update>) -> Result<Json<Value>, Error> {
    let Configuration { status, stream_arn } = input.media_storage_configuration;
    let target = match (status, stream_arn) {
        (Status::Disabled, _) => None,
        (Status::Enabled, Some(arn)) => Some(Target { stream_name: None, stream_arn: Some(arn) }),
        (Status::Enabled, None) => {
            let member = "MediaStorageConfiguration.StreamARN";
            return Err(Error::constraint(member, "Member must not be null where Status is ENABLED"));
        }
    };
    for _ in 0..TRIES {
        let found = by_arn(&caller, "ChannelARN", &input.channel_arn).await?;
        let changes = match &target {
            None => disabled(&found).await?,
            Some(target) => {
                // Whoever stores in a stream must be allowed so there too; else it may not even exist for them.
                let stream = target.resolve(&caller).await?.info();
                enabled(&found, &caller, &stream).await?
            }
        };
        if changes.is_empty() {
            return Ok(done());
        }
        match found.app.store.change_documents(changes).await {
            Ok(_) => {
                tracing::info!(channel = %found.name, ?status, "storing of a signaling channel changed");
                return Ok(done());
            }
            // Looked at again: either side was changed or deleted meanwhile.
            Err(e) if matches!(e.kind(), Kind::Conflict | Kind::AlreadyExists | Kind::NotFound) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Err(crowded())
}

/// What has to change so that the channel stores in the stream. Nothing, if it does.
async fn enabled(found: &Found<'_>, caller: &Caller, stream: &StreamInfo) -> Result<Vec<Change>, Error> {
    let Found { app, name, record, .. } = found;
    if record.kind == ChannelType::FullMesh {
        return Err(Error::invalid(format!(
            "channel {name} is FULL_MESH: it has no master whose media could be stored"
        )));
    }
    if record.shows.is_some() {
        return Err(Error::in_use(format!(
            "channel {name} shows a stream of this server: DELETE /v1/channels/{name}/source ends that"
        )));
    }
    if stream.retention_hours == Some(0) {
        return Err(Error::no_retention(&stream.name));
    }
    match stream_of(found) {
        Some(other) if other.id != stream.id => {
            return Err(Error::in_use(format!(
                "channel {name} stores in another stream: DescribeMediaStorageConfiguration says in which; disable that first"
            )));
        }
        Some(_) => return Ok(Vec::new()),
        None => {}
    }
    let (mut mapped, expect) = StreamRecord::found(&app.store, stream.id).await?;
    if mapped.mapped_channel.as_deref().is_some_and(|arn| !is_of(arn, found)) {
        return Err(Error::in_use(format!(
            "stream {} takes another channel: DescribeMappedResourceConfiguration says which",
            stream.name
        )));
    }
    mapped.mapped_channel = Some(record.arn(&caller.shared.aws.account, name).to_string());
    mapped.revision += 1;
    Ok(vec![put_channel(found, Some(stream.id))?, put_stream(stream.id, &mapped, expect)?])
}

/// What has to change so that the channel stores in none. Nothing, if it does not.
async fn disabled(found: &Found<'_>) -> Result<Vec<Change>, Error> {
    if found.record.stores_in.is_none() {
        return Ok(Vec::new());
    }
    let mut changes = vec![put_channel(found, None)?];
    if let Some(stream) = stream_of(found) {
        let (mut mapped, expect) = StreamRecord::found(&found.app.store, stream.id).await?;
        if mapped.mapped_channel.take_if(|arn| is_of(arn, found)).is_some() {
            mapped.revision += 1;
            changes.push(put_stream(stream.id, &mapped, expect)?);
        }
    }
    Ok(changes)
}

fn put_channel(found: &Found<'_>, stores_in: Option<u64>) -> Result<Change, Error> {
    let record = ChannelRecord { stores_in, revision: found.record.revision + 1, ..found.record.clone() };
    Ok(Change::Put { collection: CHANNEL, name: found.name.to_string(), expect: found.expect, body: record.body()? })
}

fn put_stream(id: u64, record: &StreamRecord, expect: Expect) -> Result<Change, Error> {
    Ok(Change::Put { collection: STREAM, name: id.to_string(), expect, body: record.body()? })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DescribeMapped {
    #[serde(flatten)]
    target: Target,
    max_results: Option<u64>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Mapped {
    mapped_resource_configuration_list: Vec<MappedResource>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct MappedResource {
    #[serde(rename = "Type")]
    kind: &'static str,
    #[serde(rename = "ARN")]
    arn: String,
}

pub(crate) async fn describe_mapped(caller: Caller, Json(input): Json<DescribeMapped>) -> Result<Json<Mapped>, Error> {
    let granted = input.target.resolve(&caller).await?;
    if input.max_results.is_some_and(|most| most != 1) {
        return Err(Error::constraint("MaxResults", "Member must be 1"));
    }
    if input.next_token.is_some() {
        // There is at most one, so no answer ever has a token.
        return Err(Error::invalid("NextToken: this token was not given out for this listing"));
    }
    let account = &caller.shared.aws.account;
    let record = StreamRecord::read(&granted.app()?.store, granted.id()).await?;
    let shown = |arn: Arn| Arn { region: account.region.clone(), account: account.id.clone(), ..arn }.to_string();
    let mapped = record.mapped_channel.and_then(|text| text.parse().ok()).map(shown);
    let list = mapped.map(|arn| MappedResource { kind: CHANNEL_TYPE, arn });
    Ok(Json(Mapped { mapped_resource_configuration_list: list.into_iter().collect() }))
}
