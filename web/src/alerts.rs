//! Alerts and their deliveries: `GET /v1/alerts`, one alert, its snapshot, `GET /v1/deliveries`, redrive.

use crate::{
    App,
    auth::Caller,
    body::immutable,
    error::Error,
    extract::{Asked, Params, limit, range},
};
use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::records::{Alert, Delivery};

/// Deliveries shown with an alert.
const MOST_DELIVERIES: usize = 50;

/// An alert with what became of its deliveries.
#[derive(Serialize)]
pub(crate) struct Shown {
    #[serde(flatten)]
    alert: Alert,
    deliveries: Vec<Delivery>,
}

impl Shown {
    pub(crate) async fn of(alert: Alert, app: &App) -> Result<Self, Error> {
        let deliveries = app.store.deliveries(Some(&alert.id), MOST_DELIVERIES).await?;
        Ok(Shown { alert, deliveries })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    stream: Option<String>,
    before: Option<String>,
    from: Option<i64>,
    to: Option<i64>,
    limit: Option<usize>,
}

/// Alerts, newest first, in pages; or those of a stream in a range, oldest first.
pub(crate) async fn list(caller: Caller, Asked(page): Asked<Page>) -> Result<Json<Value>, Error> {
    let app = caller.server()?;
    let stream = match page.stream.as_deref() {
        Some(name) => Some(caller.stream(name).await?.info().name),
        None => None,
    };
    let most = limit(page.limit, 50, 500)?;
    let ranged = page.from.is_some() || page.to.is_some();
    let alerts = match (&stream, ranged) {
        (Some(stream), true) if page.before.is_none() => {
            app.store.alerts_in(stream, range(page.from, page.to, caller.now(), 24 * 3_600_000)?, most).await?
        }
        (None, true) => return Err(Error::invalid("stream: needed with from and to")),
        (_, true) => return Err(Error::invalid("before: not together with from and to")),
        (stream, false) => app.store.alerts(stream.as_ref(), page.before.as_deref(), most).await?,
    };
    let mut shown = Vec::with_capacity(alerts.len());
    for alert in alerts {
        shown.push(Shown::of(alert, app).await?);
    }
    Ok(Json(json!({"alerts": shown})))
}

/// One alert.
pub(crate) async fn read(caller: Caller, Params(id): Params<String>) -> Result<Json<Shown>, Error> {
    let app = caller.server()?;
    Ok(Json(Shown::of(app.store.alert(&id).await?, app).await?))
}

/// The picture that raised an alert.
pub(crate) async fn snapshot(caller: Caller, Params(id): Params<String>) -> Result<Response, Error> {
    let jpeg = caller.server()?.store.snapshot(&id).await?;
    Ok(immutable(([(header::CONTENT_TYPE, "image/jpeg")], jpeg).into_response()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Of {
    alert: Option<String>,
    limit: Option<usize>,
}

/// Deliveries, newest first, of one alert or all.
pub(crate) async fn deliveries(caller: Caller, Asked(of): Asked<Of>) -> Result<Json<Value>, Error> {
    let app = caller.server()?;
    let found = app.store.deliveries(of.alert.as_deref(), limit(of.limit, 100, 1000)?).await?;
    Ok(Json(json!({"deliveries": found})))
}

/// Makes a dead delivery pending again.
pub(crate) async fn redrive(caller: Caller, Params(id): Params<String>) -> Result<StatusCode, Error> {
    let app = caller.server()?;
    let id = id.parse().map_err(|_| Error::not_found("there is no such delivery"))?;
    app.store.redrive(id).await?;
    tracing::info!(delivery = id, "delivery made pending again");
    Ok(StatusCode::NO_CONTENT)
}
