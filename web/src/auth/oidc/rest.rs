//! Providers over REST: `GET` and `POST /v1/oidc-providers`, `GET` and `DELETE /v1/oidc-providers/{name}`. The name is the provider's
//! address without its scheme, encoded as one part of the path.

use super::provider::{Provider, name_of};
use crate::{
    admin::audit::{Change, Outcome, audit},
    auth::{Caller, access::Action, identity::Resource},
    error::Error,
    extract::{Body, Params},
    routes::{Route, route},
};
use axum::{
    Json,
    http::{Method, StatusCode},
    routing::{delete, get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use store::documents::{Expect, OIDC_PROVIDER};

/// The most providers, as IAM has it.
const MOST: usize = 100;

/// The operations, by IAM's names.
pub(crate) const ROUTES: &[Route] = &[
    route(Method::GET, "/v1/oidc-providers", Action::named("iam:ListOpenIDConnectProviders"), || get(list)),
    route(Method::POST, "/v1/oidc-providers", Action::named("iam:CreateOpenIDConnectProvider"), || post(create)),
    route(Method::GET, "/v1/oidc-providers/{name}", Action::named("iam:GetOpenIDConnectProvider"), || get(read)),
    route(Method::DELETE, "/v1/oidc-providers/{name}", Action::named("iam:DeleteOpenIDConnectProvider"), || {
        delete(remove)
    }),
];

/// A provider as the API takes it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    url: String,
    client_ids: Vec<String>,
    #[serde(default)]
    allow_local: bool,
    #[serde(default)]
    description: String,
}

fn resource(caller: &Caller, name: &str) -> Resource {
    Resource::new(caller.shared.auth.identities.oidc_arn(name))
}

fn shown(caller: &Caller, name: &str, version: u64, provider: &Provider) -> Value {
    json!({
        "name": name,
        "version": version,
        "arn": caller.shared.auth.identities.oidc_arn(name),
        "url": provider.url,
        "client_ids": provider.client_ids,
        "allow_local": provider.allow_local,
        "description": provider.description,
        "created_at": provider.created_at,
    })
}

fn corrupt(name: &str) -> Error {
    let text = format!("the document of the OpenID Connect provider {name} cannot be read");
    store::Error::new(store::Kind::Corrupt, text).into()
}

/// The line in the log of a change, made or not.
fn told<T>(caller: &Caller, change: &'static str, name: &str, outcome: Result<T, Error>) -> Result<T, Error> {
    let became = match &outcome {
        Ok(_) => Outcome::Done(None),
        Err(error) if error.status == StatusCode::FORBIDDEN => Outcome::Refused(&error.message),
        Err(error) => Outcome::Failed(&error.message),
    };
    audit(caller, &Change { change, name, policy: None }, &became);
    outcome
}

async fn list(caller: Caller) -> Result<Json<Value>, Error> {
    let app = caller.server()?;
    let documents = app.store.documents(OIDC_PROVIDER, "", None, MOST).await?;
    let providers: Result<Vec<Value>, Error> = documents
        .into_iter()
        .map(|d| {
            let provider = serde_json::from_value(d.body).map_err(|_| corrupt(&d.name))?;
            Ok(shown(&caller, &d.name, d.version, &provider))
        })
        .collect();
    Ok(Json(json!({"oidc_providers": providers?})))
}

async fn read(caller: Caller, Params(name): Params<String>) -> Result<Json<Value>, Error> {
    let app = caller.thing(&resource(&caller, &name))?;
    let found = app.store.document(OIDC_PROVIDER, &name).await?;
    let found = found.ok_or_else(|| Error::not_found("there is no OpenID Connect provider of this name"))?;
    let provider = serde_json::from_value(found.body).map_err(|_| corrupt(&name))?;
    Ok(Json(shown(&caller, &name, found.version, &provider)))
}

async fn create(caller: Caller, Body(new): Body<New>) -> Result<(StatusCode, Json<Value>), Error> {
    let name =
        name_of(&new.url).ok_or_else(|| Error::invalid("url: an address that begins with https:// is needed"))?;
    let made = make(&caller, &name, new).await;
    Ok((StatusCode::CREATED, told(&caller, "create OpenID Connect provider", &name, made)?))
}

async fn make(caller: &Caller, name: &str, new: New) -> Result<Json<Value>, Error> {
    let app = caller.thing(&resource(caller, name))?;
    let New { url, client_ids, allow_local, description } = new;
    let provider = Provider { url, client_ids, allow_local, created_at: caller.now(), description };
    provider.check().map_err(Error::invalid)?;
    let _one_at_a_time = caller.shared.edits.acquire().await.expect("the semaphore is never closed");
    if app.store.documents(OIDC_PROVIDER, "", None, MOST).await?.len() == MOST {
        return Err(Error::conflict("in_use", format!("there are {MOST} OpenID Connect providers, which is the most")));
    }
    let body = serde_json::to_value(&provider).expect("texts and numbers are JSON");
    let version = app.store.put_document(OIDC_PROVIDER, name, Expect::Absent, body).await?;
    Ok(Json(shown(caller, name, version, &provider)))
}

async fn remove(caller: Caller, Params(name): Params<String>) -> Result<StatusCode, Error> {
    let removed = async {
        let app = caller.thing(&resource(&caller, &name))?;
        Ok(app.store.delete_document(OIDC_PROVIDER, &name, Expect::Any).await?)
    };
    let removed = removed.await;
    told(&caller, "delete OpenID Connect provider", &name, removed)?;
    Ok(StatusCode::NO_CONTENT)
}
