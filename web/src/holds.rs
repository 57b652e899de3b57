//! Legal holds over REST: `/v1/streams/{name}/holds`.

use crate::{
    admin::{Desk, NewHold, Request},
    auth::{
        Caller,
        access::{Action, Principal},
    },
    error::Error,
    extract::{Body, Params},
    routes::{Route, route},
};
use axum::{
    Json,
    http::{Method, StatusCode},
    routing::{delete, get, post},
};
use serde_json::Value;

/// The operations.
pub(crate) const ROUTES: &[Route] = &[
    route(Method::GET, "/v1/streams/{name}/holds", Action::named("vidicon:ListHolds"), || get(list)),
    route(Method::POST, "/v1/streams/{name}/holds", Action::named("vidicon:PlaceHold"), || post(place)),
    route(Method::DELETE, "/v1/streams/{name}/holds/{id}", Action::named("vidicon:LiftHold"), || delete(lift)),
];

async fn list(caller: Caller, Params(name): Params<String>) -> Result<Json<Value>, Error> {
    ask(&caller, &name, Request::Holds(name.clone())).await.map(Json)
}

async fn place(
    caller: Caller,
    Params(name): Params<String>,
    Body(new): Body<NewHold>,
) -> Result<(StatusCode, Json<Value>), Error> {
    let by = who(&caller);
    let placed = ask(&caller, &name, Request::PlaceHold(name.clone(), new, by)).await?;
    audit(&caller, "place hold", &name, &placed);
    Ok((StatusCode::CREATED, Json(placed)))
}

async fn lift(caller: Caller, Params((name, hold)): Params<(String, String)>) -> Result<StatusCode, Error> {
    ask(&caller, &name, Request::LiftHold(name.clone(), hold.clone())).await?;
    audit(&caller, "lift hold", &name, &Value::String(hold));
    Ok(StatusCode::NO_CONTENT)
}

async fn ask(caller: &Caller, name: &str, request: Request) -> Result<Value, Error> {
    let granted = caller.stream(name).await?;
    Ok(Desk::new(&granted.app()?.store, &caller.shared.aws.account.id).answer(&request).await?)
}

fn who(caller: &Caller) -> String {
    match &caller.principal {
        Principal::Root(_) => "root".to_owned(),
        Principal::Playback(_) => "a playback token".to_owned(),
        Principal::Identity(identity) => identity.arn.to_string(),
    }
}

/// A line in the log for each change.
fn audit(caller: &Caller, change: &'static str, stream: &str, hold: &Value) {
    let by = who(caller);
    tracing::info!(%by, address = %caller.around.address, change, name = %stream, %hold, outcome = "done", "audit");
}
