//! What a test of the ways to STUN and TURN here needs (`vidicon ice-test`, and the page): where they are, and credentials that open nothing
//! but what everybody with credentials may reach.

use crate::{
    auth::Caller,
    aws::{endpoints::Base, ice::uris},
    error::Error,
};
use axum::{Json, http::uri::Authority};
use serde_json::{Value, json};

/// Whom credentials of a test are bound to, in the place of a channel's ARN; so no channel's candidates or relays are open to a test.
const TEST: &str = "ice-test";

/// Addresses and credentials.
pub(crate) async fn servers(caller: Caller, base: Base) -> Result<Json<Value>, Error> {
    let app = caller.server()?;
    let Some(turn) = app.peers.turn() else { return Ok(Json(json!({ "uris": [] }))) };
    let reached = base.authority.parse::<Authority>().ok().map(|authority| authority.host().to_owned());
    let Some(host) = turn.config().host.clone().or(reached) else {
        return Err(Error::invalid("the request names no Host, and turn.host is not set"));
    };
    let now_s = u64::try_from(app.store.now().0 / 1000).unwrap_or_default();
    let made = turn.credentials(TEST, now_s);
    let port = app.peers.local_addr().port();
    let mut all = vec![format!("stun:{host}:{port}")];
    all.extend(uris(turn, &host, port));
    Ok(Json(json!({
        "uris": all,
        "username": made.username,
        "password": made.password,
        "ttl_s": turn.config().credentials_s,
    })))
}
