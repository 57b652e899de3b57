//! Who is connected to a channel: `GET /v1/channels/{name}/presence`.

use super::board::Channel;
use crate::{auth::Caller, aws::channels, error::Error, extract::Params};
use axum::Json;
use media::UnixMillis;
use serde::Serialize;

#[derive(Serialize)]
pub(super) struct Shown {
    channel: String,
    master: Option<Connected>,
    viewers: Vec<Viewer>,
}

#[derive(Serialize)]
struct Connected {
    since: UnixMillis,
    /// The stream that the server shows, where that is the master.
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<String>,
}

#[derive(Serialize)]
struct Viewer {
    client_id: String,
    since: UnixMillis,
}

pub(super) async fn read(caller: Caller, Params(name): Params<String>) -> Result<Json<Shown>, Error> {
    let channels::Found { app, name, record, .. } = channels::named(&caller, &name).await?;
    let stream = channels::stream_name(&app.store, record.shows);
    let channel = Channel { name, created_at: record.created_at };
    let presence = caller.shared.signaling.presence(&channel.id());
    let viewers = presence.viewers.into_iter().map(|(id, since)| Viewer { client_id: id.to_string(), since });
    Ok(Json(Shown {
        channel: channel.name.to_string(),
        master: presence.master_since.map(|since| Connected { since, stream }),
        viewers: viewers.collect(),
    }))
}
