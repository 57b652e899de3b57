//! Targets of alerts: `GET/POST /v1/targets`, `DELETE /v1/targets/{name}`. Secrets go in and never come out.

use crate::{
    auth::Caller,
    error::Error,
    extract::{Body, Params},
};
use axum::{Json, http::StatusCode};
use media::StreamName;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::{
    outbound::{self, Reach},
    records::{Secret, Target},
};
use url::{Host, Url};

/// The fewest characters of a signing secret.
const LEAST_SECRET: usize = 8;

/// A target as the API shows it.
#[derive(Serialize)]
pub(crate) struct Shown {
    name: StreamName,
    url: String,
    has_secret: bool,
    allow_local: bool,
    from_config: bool,
}

impl From<Target> for Shown {
    fn from(target: Target) -> Self {
        let Target { name, url, secret, allow_local, from_config } = target;
        Shown { name, url, has_secret: !secret.0.is_empty(), allow_local, from_config }
    }
}

/// A target as the API takes it. Without a secret, one that is replaced keeps its own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct New {
    name: StreamName,
    url: String,
    secret: Option<Secret>,
    #[serde(default)]
    allow_local: bool,
}

/// Reads the URL of a webhook.
pub(crate) fn checked_url(text: &str) -> Result<Url, Error> {
    if text.len() > 2048 {
        return Err(Error::invalid("url: longer than 2048 characters"));
    }
    let url = Url::parse(text.trim()).map_err(|e| Error::invalid(format!("url: not a URL: {e}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Error::invalid(format!("url: the scheme must be https or http, not {}", url.scheme())));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::invalid("url: no credentials in it: deliveries are signed with the secret"));
    }
    if url.fragment().is_some() {
        return Err(Error::invalid("url: no #fragment in it"));
    }
    Ok(url)
}

/// Refuses an address at once that the outbound connector would refuse at each delivery. Names are judged when they are
/// resolved, at each delivery.
pub(crate) async fn reachable(url: &Url, allow_local: bool) -> Result<(), Error> {
    let host = match url.host() {
        Some(Host::Ipv4(ip)) => ip.to_string(),
        Some(Host::Ipv6(ip)) => ip.to_string(),
        _ => return Ok(()),
    };
    let reach = if allow_local { Reach::Local } else { Reach::Public };
    let port = url.port_or_known_default().unwrap_or(443);
    outbound::resolve(&host, port, reach).await.map(drop).map_err(|e| Error::invalid(format!("url: {e}")))
}

fn checked_secret(secret: Secret) -> Result<Secret, Error> {
    match secret.0.len() {
        LEAST_SECRET..=256 => Ok(secret),
        n => Err(Error::invalid(format!("secret: {LEAST_SECRET} to 256 characters are needed, this has {n}"))),
    }
}

/// All targets by name.
pub(crate) async fn list(caller: Caller) -> Result<Json<Value>, Error> {
    let mut targets = caller.server()?.store.targets().await?;
    targets.sort_by(|a, b| a.name.cmp(&b.name));
    let targets: Vec<Shown> = targets.into_iter().map(Into::into).collect();
    Ok(Json(json!({"targets": targets})))
}

/// Adds a target (201), or replaces the one of its name (200).
pub(crate) async fn put(caller: Caller, Body(new): Body<New>) -> Result<(StatusCode, Json<Shown>), Error> {
    let app = caller.server()?;
    let New { name, url, secret, allow_local } = new;
    let url = checked_url(&url)?;
    let secret = secret.map(checked_secret).transpose()?;
    reachable(&url, allow_local).await?;
    let _one_at_a_time = caller.shared.edits.acquire().await.expect("the semaphore is never closed");
    let old = app.store.targets().await?.into_iter().find(|t| t.name == name);
    if let Some(old) = &old {
        changeable(old)?;
    }
    let status = if old.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    let secret =
        secret.or(old.map(|old| old.secret)).ok_or_else(|| Error::invalid("secret: needed to sign deliveries"))?;
    let target = Target { name, url: url.into(), secret, allow_local, from_config: false };
    app.store.put_target(target.clone()).await?;
    tracing::info!(target_name = %target.name, "target put");
    Ok((status, Json(target.into())))
}

fn changeable(target: &Target) -> Result<(), Error> {
    match target.from_config {
        true => Err(Error::conflict(
            "from_config",
            format!("target {} stands in the configuration file: change it there", target.name),
        )),
        false => Ok(()),
    }
}

/// Removes a target; its pending deliveries become dead.
pub(crate) async fn remove(caller: Caller, Params(name): Params<String>) -> Result<StatusCode, Error> {
    let app = caller.server()?;
    let _one_at_a_time = caller.shared.edits.acquire().await.expect("the semaphore is never closed");
    let targets = app.store.targets().await?;
    let target = targets.iter().find(|t| t.name.as_str() == name);
    let target = target.ok_or_else(|| Error::not_found("there is no target of this name"))?;
    changeable(target)?;
    if let Some(rule) = app.store.rules().await?.iter().find(|r| r.targets.contains(&target.name)) {
        return Err(Error::conflict("in_use", format!("rule {} tells this target: change the rule first", rule.name)));
    }
    app.store.delete_target(&target.name).await?;
    tracing::info!(target_name = %target.name, "target removed");
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn urls_are_checked() {
        assert!(checked_url("https://hooks.example/x?y=1").is_ok());
        for bad in ["ftp://x/", "javascript:alert(1)", "https://a:b@x/", "https://x/#f", "hooks.example", "http://"] {
            assert!(checked_url(bad).unwrap_err().message.starts_with("url:"), "{bad}");
        }
    }

    #[test]
    fn what_is_shown_holds_no_secret() {
        let target = Target {
            name: "ops".parse().unwrap(),
            url: "https://hooks.example/".into(),
            secret: Secret("canary-secret".into()),
            allow_local: false,
            from_config: false,
        };
        let text = serde_json::to_string(&Shown::from(target)).unwrap();
        assert!(text.contains("\"has_secret\":true") && !text.contains("canary"));
    }
}
