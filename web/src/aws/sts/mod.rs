//! STS, the service that gives out temporary credentials: the query protocol of 2011-06-15, forms in and XML out
//! (<https://docs.aws.amazon.com/STS/latest/APIReference/>). It lives at `/`, beside the page.
//!
//! What belongs here: parameters, who may take on which role, the answers. What does not: what a session's token says and
//! how it is sealed (`auth::session_token`), and whom it stands for later (`auth::identities`).

mod answer;
mod assume;
mod form;
mod session;
mod web_identity;

use super::{RequestId, signaling};
use crate::{
    auth::{
        Caller,
        access::Principal,
        identity::{Around, Identity},
        session_token::{Claims, Credentials, Refused},
    },
    error, page,
    state::Shared,
};
use answer::{Answer, Error, element, group};
use axum::{
    body::to_bytes,
    extract::{Request, State},
    http::{HeaderMap, Method, Uri, header},
    response::{IntoResponse, Response},
};
use form::Params;
use std::sync::Arc;

pub(crate) use answer::refusal;

/// The one version of the protocol.
const VERSION: &str = "2011-06-15";
/// The most bytes of a form.
const FORM_BYTES: usize = 64 << 10;

/// Whether a request at `/` is one for this service: a form that is posted, or a query that names an action.
pub(crate) fn is_asked(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    let kind = || headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let form = || method == Method::POST && kind().trim_start().starts_with("application/x-www-form-urlencoded");
    uri.path() == "/" && (form() || names_action(uri))
}

fn names_action(uri: &Uri) -> bool {
    url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).any(|(name, _)| name == "Action")
}

/// `GET /`: the page, unless the query names an action, or somebody connects to a signaling channel.
pub(crate) async fn get(state: State<Arc<Shared>>, caller: Option<Caller>, request: Request) -> Response {
    if signaling::is_asked(request.method(), request.uri(), request.headers()) {
        return signaling::connect(caller, request).await;
    }
    if names_action(request.uri()) {
        return post(state, caller, request).await;
    }
    match caller {
        Some(caller) => page::asset(caller, request.method().clone(), request.uri().clone()).await.into_response(),
        None => error::Error::unauthorized("credentials are needed").into_response(),
    }
}

/// `POST /`.
pub(crate) async fn post(State(shared): State<Arc<Shared>>, caller: Option<Caller>, request: Request) -> Response {
    let id = request.extensions().get::<RequestId>().copied().unwrap_or_else(RequestId::new);
    match answer(&shared, caller, request).await {
        Ok(answer) => answer.render(id),
        Err(error) => error.render(id),
    }
}

async fn answer(shared: &Shared, caller: Option<Caller>, request: Request) -> Result<Answer, Error> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, FORM_BYTES).await.map_err(|_| {
        Error::new("RequestEntityTooLarge", format!("the form has more than {FORM_BYTES} bytes, or did not come whole"))
    })?;
    // What is posted in another form holds no parameters.
    let form = if is_asked(&parts.method, &parts.uri, &parts.headers) { &body[..] } else { &[] };
    let params = Params::read(parts.uri.query().unwrap_or_default(), form)?;
    let action = params.get("Action").ok_or_else(|| Error::new("MissingAction", "Missing Action"))?;
    let version = params.get("Version").unwrap_or("NO_VERSION_SPECIFIED");
    let known = ["AssumeRole", "AssumeRoleWithWebIdentity", "GetCallerIdentity", "GetSessionToken"].contains(&action);
    if !known || version != VERSION {
        let shown: String = action.chars().take(64).collect();
        let version: String = version.chars().take(32).collect();
        return Err(Error::new("InvalidAction", format!("Could not find operation {shown} for version {version}")));
    }
    // Tokens are as long as they need to be; longer ones would be too long for cameras.
    if params.get("MinimumSessionTokenSize").is_some_and(|size| size != "0") {
        params.without(&["MinimumSessionTokenSize"])?;
    }
    if action == "AssumeRoleWithWebIdentity" {
        let around = parts.extensions.get::<Around>().cloned().unwrap_or_default();
        return web_identity::role(shared, &around, &params).await;
    }
    let caller = caller.ok_or_else(|| Error::new("MissingAuthenticationToken", "Missing Authentication Token"))?;
    match action {
        "AssumeRole" => assume::role(&caller, &params).await,
        "GetSessionToken" => session::token(&caller, &params).await,
        _ => session::caller_identity(&caller),
    }
}

/// Who asks, as policies see them.
fn identity(caller: &Caller) -> Result<Arc<Identity>, Error> {
    match &caller.principal {
        Principal::Identity(identity) => Ok(identity.clone()),
        Principal::Root(_) => Ok(Arc::new(caller.shared.auth.identities.root_identity())),
        Principal::Playback(_) => Err(Error::denied("a playback token only plays its own stream")),
    }
}

/// Refuses to make credentials for the page, whose sessions can be ended one by one while credentials cannot.
fn may_be_given_credentials(caller: &Caller) -> Result<(), Error> {
    match &caller.principal {
        Principal::Root(Some(_)) => {
            Err(Error::denied("a session of the page is given no credentials: sign the request with an access key"))
        }
        _ => Ok(()),
    }
}

/// The access key of the catalog that a new session depends on.
fn issuer(asked_by: &Identity) -> Option<String> {
    match &asked_by.claims {
        Some(claims) => claims.issuer.clone(),
        None => asked_by.arn.contains(":user/").then(|| asked_by.access_key_id.clone()),
    }
}

/// Makes the credentials that claims are for.
fn issue(shared: &Shared, claims: &Claims) -> Result<Credentials, Error> {
    shared.auth.identities.tokens.issue(claims).map_err(|refused| match refused {
        Refused::Policy(why) => Error::new("MalformedPolicyDocument", format!("The policy is not valid: {why}")),
        Refused::TooLarge(percent) => Error::new(
            "PackedPolicyTooLarge",
            format!("Session policy, tags and names take {percent}% of the room that a session token has for them"),
        ),
    })
}

/// The `Credentials` element.
fn credentials(made: &Credentials) -> String {
    group(
        "Credentials",
        &[
            element("AccessKeyId", &made.access_key_id),
            element("SecretAccessKey", &made.secret_access_key),
            element("SessionToken", &made.session_token),
            element("Expiration", &crate::auth::instant::seconds(made.expires_at)),
        ],
    )
}

/// The fuzz target: bytes that may be a form, and before the first line end a query. What is refused says so in one element.
pub fn fuzz(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let (query, form) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Ok(query) = std::str::from_utf8(query) else { return };
    let read = Params::read(query, form).and_then(|params| {
        let wanted = assume::Wanted::read(&params).map(drop);
        let _ = (params.tags(), params.duration(900..=43_200), params.policy_arns().map(drop));
        wanted
    });
    if let Err(error) = read {
        assert_eq!(error.render(RequestId::new()).status(), axum::http::StatusCode::BAD_REQUEST);
    }
}
