//! Who asks (authentication) and what they may do (authorisation), in one place.
//!
//! [`authenticate`] runs around every route, the page's files and unknown paths included, and makes a [`Principal`] out
//! of a request or ends it with 401. Handlers take a [`Caller`]: the principal with the action that the table of routes
//! names, and through it, and only through it, the store (see [`access`]). No secret is ever logged here.

pub(crate) mod access;
pub(crate) mod devices;
mod door;
pub(crate) mod identities;
pub(crate) mod identity;
pub(crate) mod instant;
pub(crate) mod oidc;
mod origin;
pub(crate) mod policy;
mod refusal;
mod revoked;
mod sealing;
pub(crate) mod session;
pub(crate) mod session_token;
mod signed;
pub(crate) mod sigv4;
mod throttle;
pub(crate) mod token;

use crate::{App, Root, aws::cors, error::Error, page, routes, serve::Ends, state::Shared};
use access::{Action, Granted, Kept, Principal};
use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts, Request, State},
    http::{HeaderMap, HeaderValue, Method, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use door::Asking;
use identities::{Identities, Nobody};
use identity::{Around, Resource};
use media::UnixMillis;
use refusal::{Refusal, Style};
use revoked::Revoked;
use sha2::{Digest, Sha256};
use std::{net::IpAddr, sync::Arc};
use store::{Stream, documents::Document};
use subtle::ConstantTimeEq;
pub(crate) use throttle::network;
use throttle::{Throttle, Verdict};
use token::{Session, Signer};
use tokio::sync::Semaphore;

/// The name of the session cookie.
const COOKIE: &str = "vidicon_session";
/// The most bytes of a body that is read whole to be hashed for its signature.
pub(crate) const MOST_SIGNED_BYTES: usize = crate::aws::BODY_BYTES;
/// How long a session lasts.
const SESSION_MS: i64 = 7 * 24 * 3_600_000;

/// What authentication keeps.
pub(crate) struct Auth {
    pub(crate) signer: Signer,
    throttle: Throttle,
    revoked: Revoked,
    access_key_id: String,
    pub(crate) identities: Identities,
    pub(crate) providers: oidc::Providers,
    /// Memory for bodies of requests that are not let in yet.
    room: Semaphore,
}

impl Auth {
    pub(crate) async fn open(store: &store::Store, root: &Root, account: &str) -> Result<Self, store::Error> {
        Ok(Auth {
            signer: Signer::new(&store.secret(), root),
            throttle: Throttle::default(),
            revoked: Revoked::open(store).await?,
            access_key_id: root.access_key_id.clone(),
            identities: Identities::new(store, root, account),
            providers: oidc::Providers::new(store),
            room: signed::room(),
        })
    }

    /// Whose access key id and secret these are; failed attempts are throttled.
    async fn check(&self, now: UnixMillis, address: IpAddr, key_id: &str, secret: &str) -> Result<Principal, Error> {
        let known = match self.identities.find(key_id, None, now).await {
            Ok(known) => Some(known),
            Err(Nobody::Unknown | Nobody::Expired) => None,
            Err(Nobody::Failed(error)) => return Err(error.into()),
        };
        let verdict = self.throttle.attempt(now, address, key_id, || {
            // Digests, so that the comparison takes as long whatever the lengths, and also where there is no such key.
            let wanted = digest(known.as_ref().map_or("", |known| known.secret()));
            bool::from(digest(secret).ct_eq(&wanted)) && known.is_some()
        });
        match (verdict, known) {
            (Verdict::Right, Some(known)) => Ok(known.principal.clone()),
            (Verdict::Right | Verdict::Wrong, _) => {
                metrics::counter!("vidicon_http_sign_in_failures_total").increment(1);
                tracing::info!(%address, "sign-in refused: wrong access key id or secret");
                Err(Error::unauthorized("the access key id or the secret access key is wrong"))
            }
            (Verdict::Wait(seconds), _) => {
                tracing::warn!(%address, seconds, "sign-in refused: too many failed attempts");
                Err(Error::throttled(format!("too many failed sign-ins: try again in {seconds} s"), seconds))
            }
        }
    }

    fn session(&self, token: &str, now: UnixMillis) -> Option<Principal> {
        let session = self.signer.read_session(token, now)?;
        (!self.revoked.is_revoked(&session)).then_some(Principal::Root(Some(session)))
    }

    /// Whether a principal is still one: for answers that last long.
    pub(crate) async fn holds(&self, principal: &Principal, now: UnixMillis) -> bool {
        self.renewed(principal, now).await.is_some()
    }
    /// A principal with the policies that it has now; `None` if it is none any more.
    async fn renewed(&self, principal: &Principal, now: UnixMillis) -> Option<Principal> {
        let holds = match principal {
            Principal::Root(None) => true,
            Principal::Root(Some(session)) => self.session_holds(session, now),
            Principal::Playback(playback) => now < playback.expires_at,
            Principal::Identity(identity) => {
                return self.identities.renewed(identity, now).await.map(Principal::Identity);
            }
        };
        holds.then(|| principal.clone())
    }
    /// Whether a session of the page has neither expired nor been ended.
    pub(crate) fn session_holds(&self, session: &Session, now: UnixMillis) -> bool {
        now < session.expires_at && !self.revoked.is_revoked(session)
    }

    /// The principal of a request that is not signed; `None` without credentials.
    async fn identify(&self, parts: &Parts, address: IpAddr, now: UnixMillis) -> Result<Option<Principal>, Error> {
        if let Some(token) = routes::path_token(parts.uri.path()) {
            let playback = self.signer.read_playback(token, now);
            return match playback {
                Some(playback) => Ok(Some(Principal::Playback(playback))),
                None => Err(Error::unauthorized("this playback address is not valid, or not any more")),
            };
        }
        let principal = match (parts.headers.get(header::AUTHORIZATION), cookie(&parts.headers)) {
            (Some(value), _) => self.by_header(value, address, now).await?,
            (None, Some(token)) => {
                self.session(token, now).ok_or_else(|| Error::unauthorized("the session has ended: sign in again"))?
            }
            (None, None) => return Ok(None),
        };
        // Browsers add cookies, and Basic credentials that they once were given, to what other sites ask for too.
        if !matches!(parts.method, Method::GET | Method::HEAD) {
            origin::check(parts)?;
        }
        Ok(Some(principal))
    }

    async fn by_header(&self, value: &HeaderValue, address: IpAddr, now: UnixMillis) -> Result<Principal, Error> {
        let wrong =
            || Error::unauthorized("the Authorization header is neither a signature nor Basic nor Bearer credentials");
        let (scheme, given) = value.to_str().ok().and_then(|v| v.split_once(' ')).ok_or_else(wrong)?;
        let given = given.trim();
        if scheme.eq_ignore_ascii_case("basic") {
            let text = STANDARD.decode(given).ok().and_then(|b| String::from_utf8(b).ok()).ok_or_else(wrong)?;
            let (key_id, secret) = text.split_once(':').ok_or_else(wrong)?;
            self.check(now, address, key_id, secret).await
        } else if scheme.eq_ignore_ascii_case("bearer") {
            let playback = || self.signer.read_playback(given, now).map(Principal::Playback);
            self.session(given, now)
                .or_else(playback)
                .ok_or_else(|| Error::unauthorized("the token is not valid, or not any more"))
        } else {
            Err(wrong())
        }
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// The session token out of the `Cookie` headers.
fn cookie(headers: &HeaderMap) -> Option<&str> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(';'));
    pairs.filter_map(|pair| pair.trim().split_once('=')).find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// Runs around everything: gives the request its principal, or ends it.
pub(crate) async fn authenticate(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    if routes::is_public(&parts.method, parts.uri.path()) {
        return next.run(Request::from_parts(parts, body)).await;
    }
    if cors::is_preflight(&parts) && routes::is_operation(&Method::POST, parts.uri.path()) {
        return cors::preflight(&parts);
    }
    let ends = crate::serve::ends(&parts.extensions);
    let address = ends.peer.ip();
    let now = shared.door.now();
    let request = signed::request(&parts, Some(ends.local.port()));
    // A token in the path stands for itself, whatever else is sent.
    let is_signed = sigv4::is_signed(&request) && routes::path_token(parts.uri.path()).is_none();
    let found = match is_signed {
        true => shared
            .auth
            .verify(&parts, &request, body, now)
            .await
            .map(|verified| (Some(verified.principal), Some(verified.region), verified.body)),
        false => {
            shared.auth.identify(&parts, address, now).await.map_err(Refusal::from).map(|found| (found, None, body))
        }
    };
    match found {
        Ok((None, ..)) if !routes::is_optional(&parts) => refuse(&shared, &parts, Refusal::Missing, is_signed),
        Ok((principal, region, body)) => {
            let around = around(&parts.headers, ends, region);
            parts.extensions.insert(around);
            if let Some(principal) = principal {
                parts.extensions.insert(principal);
            }
            next.run(Request::from_parts(parts, body)).await
        }
        Err(refusal) => refuse(&shared, &parts, refusal, is_signed),
    }
}

/// What a request tells policies about itself.
fn around(headers: &HeaderMap, ends: Ends, region: Option<String>) -> Around {
    let user_agent = headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).map(str::to_owned);
    Around { address: ends.peer.ip(), secure: ends.tls, user_agent, region }
}

fn refuse(shared: &Shared, parts: &Parts, refusal: Refusal, is_signed: bool) -> Response {
    metrics::counter!("vidicon_http_refused_total").increment(1);
    let style = Style::of(parts, is_signed);
    if style != Style::Native {
        let mut response = refusal.answer(style);
        if routes::is_operation(&parts.method, parts.uri.path()) {
            cors::open(response.headers_mut());
        }
        return response;
    }
    let error = refusal.native();
    if parts.uri.path() == "/" && matches!(parts.method, Method::GET | Method::HEAD) {
        return page::sign_in(&shared.page, error.status, error.retry_after_s(), None);
    }
    let challenge = error.status == axum::http::StatusCode::UNAUTHORIZED
        && routes::path_token(parts.uri.path()).is_none()
        && !is_browser(&parts.headers);
    let mut response = error.into_response();
    if challenge {
        let basic = HeaderValue::from_static("Basic realm=\"vidicon\", charset=\"UTF-8\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, basic);
    }
    response
}

/// Browsers would answer a challenge with a sign-in window of their own, also for requests of the page's scripts.
fn is_browser(headers: &HeaderMap) -> bool {
    let has = |name: header::HeaderName, word: &str| {
        headers.get(name).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains(word))
    };
    has(header::ACCEPT, "text/html") || has(header::USER_AGENT, "Mozilla/") || headers.contains_key("sec-fetch-mode")
}

/// Who calls a route, for what, and how. The way from a handler to everything that is worth guarding.
pub(crate) struct Caller {
    pub(crate) shared: Arc<Shared>,
    pub(crate) principal: Principal,
    /// What the request tells policies about itself.
    pub(crate) around: Around,
    action: Action,
}

impl FromRequestParts<Arc<Shared>> for Caller {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Error> {
        let principal = parts.extensions.get::<Principal>().cloned();
        let principal = principal.ok_or_else(|| Error::unauthorized("credentials are needed"))?;
        let around = parts.extensions.get::<Around>().cloned().unwrap_or_default();
        // What is in no table of actions (an unknown path, a file of the page) counts as reading the page.
        let action = parts.extensions.get::<Action>().copied().unwrap_or(Action::PAGE);
        access::admit(&principal, action)?;
        Ok(Caller { shared: shared.clone(), principal, around, action })
    }
}

/// Of a route that is open without credentials: `None` where there were none.
impl OptionalFromRequestParts<Arc<Shared>> for Caller {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Option<Self>, Error> {
        match parts.extensions.get::<Principal>() {
            Some(_) => <Self as FromRequestParts<Arc<Shared>>>::from_request_parts(parts, shared).await.map(Some),
            None => Ok(None),
        }
    }
}

impl Caller {
    /// The same caller with another action: for what a route does beside its own.
    pub(crate) fn with(&self, action: Action) -> Caller {
        Caller { shared: self.shared.clone(), principal: self.principal.clone(), around: self.around.clone(), action }
    }
    /// What is asked.
    pub(crate) fn action(&self) -> Action {
        self.action
    }
    fn asking(&self) -> Asking<'_> {
        Asking { principal: &self.principal, action: self.action, around: &self.around }
    }
    /// The application, for an action on the whole server: `*` in policies.
    pub(crate) fn server(&self) -> Result<&App, Error> {
        self.shared.door.server(self.asking())
    }
    /// The application, for an action on one thing that has an ARN and is no stream that exists: a channel, or what is yet to be
    /// made.
    pub(crate) fn thing(&self, resource: &Resource) -> Result<&App, Error> {
        self.shared.door.thing(self.asking(), resource)
    }
    /// Something of the catalog that has an ARN and is no stream, such as a channel: see [`Door::kept`](access::Door).
    pub(crate) async fn kept<T, E: From<Error>>(
        &self,
        kept: Kept<'_>,
        read: impl FnOnce(&Document) -> Result<(T, Resource), E>,
    ) -> Result<(&App, u64, T), E> {
        self.shared.door.kept(self.asking(), kept, read).await
    }
    /// A stream by name.
    pub(crate) async fn stream(&self, name: &str) -> Result<Granted, Error> {
        self.shared.door.stream(self.asking(), name, &Resource::default()).await
    }
    /// A stream by name, to give it tags or take some from it: policies see those of `request`.
    pub(crate) async fn stream_to_tag(&self, name: &str, request: &Resource) -> Result<Granted, Error> {
        self.shared.door.stream(self.asking(), name, request).await
    }
    /// Whether the caller, with the credentials and policies of now, would still be let to this stream: for answers that last
    /// long. `at` is the time that expiries are held against.
    pub(crate) async fn still_reaches(&self, stream: &Stream, at: UnixMillis) -> bool {
        let Some(principal) = self.shared.auth.renewed(&self.principal, at).await else { return false };
        let asking = Asking { principal: &principal, ..self.asking() };
        self.shared.door.grant(asking, stream.clone(), &Resource::default()).await.is_ok()
    }
    /// Whether the caller, with the credentials and policies of now, may still do this to a thing with an ARN: for connections
    /// that last long.
    pub(crate) async fn still_may(&self, resource: &Resource, at: UnixMillis) -> bool {
        let Some(principal) = self.shared.auth.renewed(&self.principal, at).await else { return false };
        let asking = Asking { principal: &principal, ..self.asking() };
        self.shared.door.thing(asking, resource).is_ok()
    }
    /// The stream that the playback token in the path is for.
    pub(crate) async fn own_stream(&self) -> Result<Granted, Error> {
        self.shared.door.own_stream(self.asking()).await
    }
    /// The time now.
    pub(crate) fn now(&self) -> UnixMillis {
        self.shared.door.now()
    }
}

/// A fresh session.
fn new_session(now: UnixMillis) -> Session {
    let mut id = [0; 16];
    getrandom::fill(&mut id).expect("the system has a random source");
    Session { id, issued_at: now, expires_at: now.plus(SESSION_MS) }
}
