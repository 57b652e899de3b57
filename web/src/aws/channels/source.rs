//! Which stream of this server a channel shows: `/v1/channels/{name}/source` of the native API. The server is the master of such a
//! channel (`aws::signaling::master`).
//!
//! The channel's record names the stream's id. Ids never come back: where the stream was deleted, viewers are told so, until the
//! channel gets another source or none.

use super::{
    record::ChannelType,
    storage,
    target::{Found, TRIES, named},
};
use crate::{
    auth::Caller,
    error::Error,
    extract::{Body, Params},
};
use axum::{Json, http::StatusCode};
use serde::{Deserialize, Serialize};
use store::{Kind, Store, documents::CHANNEL};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Source {
    /// The stream's name.
    stream: String,
}

#[derive(Serialize)]
pub(crate) struct Shown {
    channel: String,
    stream: Option<String>,
}

/// The name of the stream with this id.
pub(crate) fn stream_name(store: &Store, id: Option<u64>) -> Option<String> {
    let id = id?;
    store.streams().into_iter().map(|stream| stream.info()).find(|info| info.id == id).map(|info| info.name.to_string())
}

pub(crate) async fn read(caller: Caller, Params(name): Params<String>) -> Result<Json<Shown>, Error> {
    let found = named(&caller, &name).await?;
    let stream = stream_name(&found.app.store, found.record.shows);
    Ok(Json(Shown { channel: found.name.to_string(), stream }))
}

pub(crate) async fn set(
    caller: Caller,
    Params(name): Params<String>,
    Body(source): Body<Source>,
) -> Result<Json<Shown>, Error> {
    // Whoever shows a stream to the viewers of a channel must be allowed so on both.
    let wanted = |found: &Found<'_>| {
        let name = &found.name;
        if found.record.kind == ChannelType::FullMesh {
            return Err(Error::invalid(format!(
                "channel {name} is FULL_MESH: it has no master that could show a stream"
            )));
        }
        match storage::stream_of(found) {
            Some(_) => Err(Error::conflict(
                "in_use",
                format!(
                    "channel {name} stores in a stream what its master sends: UpdateMediaStorageConfiguration with Status DISABLED ends that"
                ),
            )),
            None => Ok(()),
        }
    };
    for _ in 0..TRIES {
        let found = named(&caller, &name).await?;
        wanted(&found)?;
        let info = caller.stream(&source.stream).await?.whole()?.info();
        if found.record.shows == Some(info.id) || changed(&found, Some(info.id)).await? {
            tracing::info!(channel = %found.name, stream = %info.name, "a signaling channel shows a stream");
            return Ok(Json(Shown { channel: found.name.to_string(), stream: Some(info.name.to_string()) }));
        }
    }
    Err(crowded())
}

pub(crate) async fn clear(caller: Caller, Params(name): Params<String>) -> Result<StatusCode, Error> {
    for _ in 0..TRIES {
        let found = named(&caller, &name).await?;
        if found.record.shows.is_none() || changed(&found, None).await? {
            tracing::info!(channel = %found.name, "a signaling channel shows no stream");
            return Ok(StatusCode::NO_CONTENT);
        }
    }
    Err(crowded())
}

fn crowded() -> Error {
    Error::conflict("conflict", "the signaling channel is being changed by many at once: try again")
}

/// Writes what the channel shows. False if somebody else was faster.
async fn changed(found: &Found<'_>, shows: Option<u64>) -> Result<bool, Error> {
    let mut record = found.record.clone();
    record.shows = shows;
    record.revision += 1;
    let body = record.body().map_err(|e| Error::from(store::Error::new(Kind::Internal, e.message)))?;
    match found.app.store.put_document(CHANNEL, found.name.as_str(), found.expect, body).await {
        Ok(_) => Ok(true),
        Err(e) if matches!(e.kind(), Kind::Conflict | Kind::NotFound) => Ok(false),
        Err(e) => Err(e.into()),
    }
}
