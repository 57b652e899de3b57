//! `GetIceServerConfig`: where a channel's clients find TURN here, and credentials for it (REFERENCE §1.6, §5.1).

use super::{Error, Json, channels, endpoints::Base};
use crate::{
    auth::{Caller, access::Action},
    routes::{Route, operation},
};
use axum::{http::uri::Authority, routing::post};
use serde::{Deserialize, Serialize};
use signaling::turn::{Credentials, Turn};

/// The operation.
pub(crate) const ROUTES: &[Route] = &[operation(
    "GetIceServerConfig",
    "/v1/get-ice-server-config",
    Action::named("kinesisvideo:GetIceServerConfig"),
    || post(get),
)];

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Service {
    Turn,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Get {
    #[serde(rename = "ChannelARN")]
    channel_arn: String,
    client_id: Option<String>,
    #[serde(rename = "Service")]
    _service: Option<Service>,
    username: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Servers {
    ice_server_list: Vec<Server>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Server {
    uris: Vec<String>,
    username: String,
    password: String,
    ttl: u32,
}

/// A name as the model has it: credentials here are the channel's, so that it says no more than that.
fn name(member: &str, given: Option<&str>) -> Result<(), Error> {
    let fits = |text: &str| {
        (1..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
    };
    match given.is_none_or(fits) {
        true => Ok(()),
        false => Err(Error::constraint(member, "Member must have 1 to 256 letters, digits, '_', '.' and '-'")),
    }
}

/// Where TURN is served, by RFC 7065: over UDP beside WebRTC, over what else there is a port for.
pub(crate) fn uris(turn: &Turn, host: &str, udp_port: u16) -> Vec<String> {
    let tcp = turn.tcp_port().map(|port| format!("turn:{host}:{port}?transport=tcp"));
    let tls = turn.tls_port().map(|port| format!("turns:{host}:{port}?transport=tcp"));
    [Some(format!("turn:{host}:{udp_port}?transport=udp")), tcp, tls].into_iter().flatten().collect()
}

pub(crate) async fn get(caller: Caller, base: Base, Json(input): Json<Get>) -> Result<Json<Servers>, Error> {
    name("ClientId", input.client_id.as_deref())?;
    name("Username", input.username.as_deref())?;
    let found = channels::by_arn(&caller, "ChannelARN", &input.channel_arn).await?;
    let peers = &found.app.peers;
    let Some(turn) = peers.turn() else { return Ok(Json(Servers { ice_server_list: Vec::new() })) };
    let reached = base.authority.parse::<Authority>().ok().map(|authority| authority.host().to_owned());
    let Some(host) = turn.config().host.clone().or(reached) else {
        return Err(Error::invalid("the request names no Host, and turn.host is not set"));
    };
    let arn = found.record.arn(&caller.shared.aws.account, &found.name).to_string();
    let now_s = u64::try_from(found.app.store.now().0 / 1000).unwrap_or_default();
    let Credentials { username, password } = turn.credentials(&arn, now_s);
    let uris = uris(turn, &host, peers.local_addr().port());
    let server = Server { uris, username, password, ttl: turn.config().credentials_s };
    Ok(Json(Servers { ice_server_list: vec![server] }))
}
