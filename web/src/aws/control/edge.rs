//! `StartEdgeConfigurationUpdate`, `DescribeEdgeConfiguration`, `DeleteEdgeConfiguration`, `ListEdgeAgentConfigurations`: what
//! edge agents are asked to do. No agent reports back to this server, so that a configuration stays SYNCING, and one that is deleted
//! is gone at once.

use crate::{
    auth::Caller,
    aws::{
        Error, Json, Target,
        arn::Account,
        epoch::Epoch,
        json::done,
        records::{
            StreamRecord,
            edge::{Edge, EdgeConfig, check_hub},
        },
    },
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use store::{StreamInfo, documents::STREAM};

/// The most configurations in one answer, also where none is asked for.
const MOST: usize = 10;
/// Documents that are looked through at a time.
const BATCH: usize = 500;

/// A stream's configuration, as three operations show it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Shown {
    stream_name: String,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
    creation_time: Epoch,
    last_updated_time: Epoch,
    sync_status: &'static str,
    edge_config: EdgeConfig,
}

fn shown(account: &Account, info: &StreamInfo, edge: Edge) -> Shown {
    Shown {
        stream_name: info.name.to_string(),
        stream_arn: account.stream(info).to_string(),
        creation_time: Epoch(edge.created_at),
        last_updated_time: Epoch(edge.updated_at),
        sync_status: "SYNCING",
        edge_config: edge.config,
    }
}

fn none(info: &StreamInfo) -> Error {
    Error::new("StreamEdgeConfigurationNotFoundException", format!("stream {} has no edge configuration", info.name))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Start {
    #[serde(flatten)]
    target: Target,
    edge_config: EdgeConfig,
}

pub(crate) async fn start(caller: Caller, Json(input): Json<Start>) -> Result<Json<Shown>, Error> {
    let granted = input.target.resolve(&caller).await?;
    let (info, now) = (granted.info(), caller.now());
    input.edge_config.check()?;
    if info.retention_hours == Some(0) {
        return Err(Error::no_retention(&info.name));
    }
    let edge = StreamRecord::change(&granted.app()?.store, info.id, |record| {
        let created_at = record.edge.as_ref().map_or(now, |edge| edge.created_at);
        let edge = Edge { created_at, updated_at: now, config: input.edge_config.clone() };
        record.edge = Some(edge.clone());
        record.revision += 1;
        Ok(edge)
    })
    .await?;
    Ok(Json(shown(&caller.shared.aws.account, &info, edge)))
}

pub(crate) async fn describe(caller: Caller, Json(target): Json<Target>) -> Result<Json<Shown>, Error> {
    let granted = target.resolve(&caller).await?;
    let info = granted.info();
    let record = StreamRecord::read(&granted.app()?.store, info.id).await?;
    let edge = record.edge.ok_or_else(|| none(&info))?;
    Ok(Json(shown(&caller.shared.aws.account, &info, edge)))
}

pub(crate) async fn delete(caller: Caller, Json(target): Json<Target>) -> Result<Json<Value>, Error> {
    let granted = target.resolve(&caller).await?;
    let info = granted.info();
    StreamRecord::change(&granted.app()?.store, info.id, |record| {
        record.revision += 1;
        record.edge.take().map(drop).ok_or_else(|| none(&info))
    })
    .await?;
    Ok(done())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct List {
    hub_device_arn: String,
    max_results: Option<usize>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Listed {
    edge_configs: Vec<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

/// The configurations of all streams that name this agent's device, in the order of the streams' ids as text.
pub(crate) async fn list(caller: Caller, Json(input): Json<List>) -> Result<Json<Listed>, Error> {
    let (store, aws) = (&caller.server()?.store, &caller.shared.aws);
    check_hub("HubDeviceArn", &input.hub_device_arn)?;
    let most = input.max_results.unwrap_or(MOST);
    if !(1..=MOST).contains(&most) {
        return Err(Error::constraint("MaxResults", "Member must be from 1 to 10"));
    }
    let listing = format!("ListEdgeAgentConfigurations {}", input.hub_device_arn);
    let token = input.next_token.filter(|token| !token.is_empty());
    let mut after: Option<String> = token.map(|token| aws.pages.open(&listing, &token)).transpose()?;
    let streams: HashMap<u64, StreamInfo> = store.streams().into_iter().map(|s| (s.info().id, s.info())).collect();
    // One more than asked for tells whether there is a next page.
    let mut found: Vec<(String, Shown)> = Vec::new();
    loop {
        let batch = store.documents(STREAM, "", after.as_deref(), BATCH).await?;
        for document in &batch {
            let edge =
                StreamRecord::of(document)?.edge.filter(|edge| edge.config.hub_device_arn == input.hub_device_arn);
            let info = document.name.parse().ok().and_then(|id: u64| streams.get(&id));
            if let (Some(edge), Some(info)) = (edge, info) {
                found.push((document.name.clone(), shown(&aws.account, info, edge)));
            }
        }
        after = batch.last().map(|document| document.name.clone());
        if found.len() > most || batch.len() < BATCH {
            break;
        }
    }
    let more = found.len() > most;
    found.truncate(most);
    let next_token = found.last().filter(|_| more).map(|(name, _)| aws.pages.seal(&listing, name));
    Ok(Json(Listed { edge_configs: found.into_iter().map(|(_, shown)| shown).collect(), next_token }))
}
