//! `/healthz` (the process answers), `/readyz` (the store answers), `/metrics`, `/v1/server`.

use crate::{auth::Caller, error::Error, footprint, state::Shared};
use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// The store has so long to answer a look at its catalog.
const READY: Duration = Duration::from_secs(2);

/// The process answers.
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// The store answers, and makes durable what comes in.
pub(crate) async fn ready(State(shared): State<Arc<Shared>>) -> Result<&'static str, Error> {
    let late = || Error::unavailable("not_ready", "the store does not answer in time", 2);
    let answer = timeout(READY, shared.door.ready()).await.unwrap_or_else(|_| Err(late()));
    answer.map(|()| "ready\n").inspect_err(|error| tracing::warn!(reason = error.message, "not ready"))
}

/// Prometheus text.
pub(crate) async fn metrics(caller: Caller) -> Result<Response, Error> {
    let app = caller.server()?;
    let mut text = app.metrics.render();
    footprint::write(&app.store.footprint(footprint::STREAMS), caller.shared.sending.bytes(), &mut text);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

/// The server itself.
pub(crate) async fn server(caller: Caller) -> Result<Json<Value>, Error> {
    caller.server()?;
    Ok(Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "now_ms": caller.now(),
        "started_at_ms": caller.shared.started_at,
    })))
}
