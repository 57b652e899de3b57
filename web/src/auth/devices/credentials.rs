//! `GET /role-aliases/{alias}/credentials`: the cloud's credential provider for devices (REFERENCE §6.3). Whoever brings a certificate that
//! may use the alias gets short-lived credentials of its role.
//!
//! Refusals are the cloud's, and all alike: which aliases, things and certificates there are is nobody's business.

use super::Admitted;
use crate::{
    auth::{
        identity::Around,
        instant,
        policy::{Asked, Context, IOT, Policy, Verdict, Who},
        session_token::{self, Claims, Of},
    },
    error::Error,
    extract::Params,
    serve,
    state::Shared,
    tls::Client,
};
use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;

/// The device's name for itself.
const THING: &str = "x-amzn-iot-thingname";

/// Whether a request is for this route: it needs no credentials but a certificate.
pub(crate) fn is_asked(method: &Method, path: &str) -> bool {
    let alias = path.strip_prefix("/role-aliases/").and_then(|rest| rest.strip_suffix("/credentials"));
    method == Method::GET && alias.is_some_and(|alias| !alias.is_empty() && !alias.contains('/'))
}

/// What is given, with its members in the cloud's order. No `Debug`: it holds a secret.
#[derive(Serialize)]
struct Given {
    credentials: Credentials,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Credentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    expiration: String,
}

/// Why there are none.
enum Refused {
    /// For the log alone.
    Denied(&'static str),
    /// What the client may know, as it is about itself.
    Told(&'static str),
    Failed(store::Error),
}

impl From<store::Error> for Refused {
    fn from(error: store::Error) -> Self {
        Refused::Failed(error)
    }
}

/// The handler.
pub(crate) async fn get(
    State(shared): State<Arc<Shared>>,
    Params(alias): Params<String>,
    request: Request,
) -> Response {
    let client = request.extensions().get::<Client>();
    let around = request.extensions().get::<Around>().cloned().unwrap_or_default();
    let tls = serve::ends(request.extensions()).tls;
    let given = match (client, tls) {
        (Some(client), _) => given(&shared, client, &alias, request.headers(), &around).await,
        (None, true) => Err(Refused::Told("Access Denied: no client certificate was presented")),
        (None, false) => Err(Refused::Told("Access Denied: credentials are given by TLS with a client certificate")),
    };
    let outcome = if given.is_ok() { "given" } else { "refused" };
    metrics::counter!("vidicon_device_credentials_total", "outcome" => outcome).increment(1);
    let denied = |message: &str| (StatusCode::FORBIDDEN, Json(json!({"message": message}))).into_response();
    match given {
        Ok(credentials) => Json(credentials).into_response(),
        Err(Refused::Told(message)) => denied(message),
        Err(Refused::Denied(why)) => {
            let certificate = client.and_then(Client::facts).map(|facts| facts.id);
            // It may be anything that someone wrote.
            let alias: String = alias.chars().filter(|c| !c.is_control()).take(64).collect();
            tracing::info!(address = %around.address, certificate, alias, "a device is given no credentials: {why}");
            denied("Access Denied")
        }
        Err(Refused::Failed(error)) => Error::from(error).into_response(),
    }
}

/// The one value of a header; `Err` where there are several, or it is no text.
fn thing(headers: &HeaderMap) -> Result<Option<&str>, Refused> {
    let mut values = headers.get_all(THING).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Refused::Denied("its name is no text")),
        (Some(_), Some(_)) => Err(Refused::Denied("it has two names")),
    }
}

async fn given(
    shared: &Shared,
    client: &Client,
    alias: &str,
    headers: &HeaderMap,
    around: &Around,
) -> Result<Given, Refused> {
    let now = shared.door.now();
    let identities = &shared.auth.identities;
    let admitted = shared.devices.admit(client, alias, thing(headers)?, now).await?;
    let role_name = admitted.as_ref().map_or(super::NOBODY, |admitted| &admitted.alias.role).to_owned();
    let role = identities.role(&role_name).await?;
    let Admitted { facts, device, alias } = admitted.map_err(Refused::Denied)?;
    let role = role.ok_or(Refused::Denied("the role of the alias is not there"))?;

    let arn = identities.role_arn(&role_name);
    let mut context = Context::default();
    around.tell(&mut context, now);
    context.set("sts:RoleSessionName", facts.id.as_str());
    for (key, value) in device.variables(&facts.id) {
        context.set(&key, value);
    }
    for (key, value) in &role.rights.tags {
        context.set(&format!("aws:ResourceTag/{key}"), value.as_str());
    }
    let asked = Asked { action: "sts:AssumeRole", resource: &arn, context: &context };
    let trusts = Policy::parse_trust(&role.trust.to_string())
        .is_ok_and(|trust| trust.evaluate_trust(Who::Service(IOT), asked) == Verdict::Allow);
    if !trusts {
        return Err(Refused::Denied("the role of the alias does not trust credentials.iot.amazonaws.com for it"));
    }

    let seconds = alias.credential_duration_s.min(role.max_session_s);
    let thing = device.thing.clone();
    let claims = Claims {
        of: Of::Role { name: role_name.clone(), id: role.role_id, session: facts.id.clone() },
        issuer: None,
        device: Some(device),
        chain: Vec::new(),
        issued_at: now,
        // No longer than the certificate.
        expires_at: now.plus(i64::from(seconds) * 1000).min(facts.not_after),
        policy: None,
        policies: Vec::new(),
        tags: Default::default(),
        variables: Default::default(),
    };
    let made = identities.tokens.issue(&claims).map_err(|_| Refused::Denied("its session token would be too long"))?;
    tracing::info!(
        thing,
        certificate = facts.id,
        role = role_name,
        key = made.access_key_id,
        address = %around.address,
        "credentials given to a device"
    );
    let expiration = instant::seconds(made.expires_at);
    let session_token::Credentials { access_key_id, secret_access_key, session_token, .. } = made;
    Ok(Given { credentials: Credentials { access_key_id, secret_access_key, session_token, expiration } })
}
