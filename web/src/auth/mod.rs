//! Who asks (authentication) and what they may do (authorisation), in one place.
//!
//! [`authenticate`] runs around every route, the page's files and unknown paths included, and makes a [`Principal`] out
//! of a request or ends it with 401. Handlers take a [`Caller`]: the principal with the action that the table of routes
//! names, and through it, and only through it, the store (see [`access`]). No secret is ever logged here.

pub(crate) mod access;
mod origin;
mod revoked;
pub(crate) mod session;
mod throttle;
pub(crate) mod token;

use crate::{App, Root, error::Error, page, routes, state::Shared};
use access::{Action, Granted, Principal};
use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderValue, Method, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use media::UnixMillis;
use revoked::Revoked;
use sha2::{Digest, Sha256};
use std::{net::IpAddr, sync::Arc};
use subtle::ConstantTimeEq;
pub(crate) use throttle::network;
use throttle::{Throttle, Verdict};
use token::{Session, Signer};

/// The name of the session cookie.
const COOKIE: &str = "vidicon_session";
/// How long a session lasts.
const SESSION_MS: i64 = 7 * 24 * 3_600_000;

/// What authentication keeps.
pub(crate) struct Auth {
    pub(crate) signer: Signer,
    throttle: Throttle,
    revoked: Revoked,
    access_key_id: String,
    /// SHA-256 of id and secret: compared in constant time whatever the lengths.
    root: [[u8; 32]; 2],
}

impl Auth {
    pub(crate) async fn open(store: &store::Store, root: &Root) -> Result<Self, store::Error> {
        Ok(Auth {
            signer: Signer::new(&store.secret(), root),
            throttle: Throttle::default(),
            revoked: Revoked::open(store).await?,
            access_key_id: root.access_key_id.clone(),
            root: [digest(&root.access_key_id), digest(&root.secret_access_key)],
        })
    }

    /// Whether these are the root credentials; failed attempts are throttled.
    fn check(&self, now: UnixMillis, address: IpAddr, key_id: &str, secret: &str) -> Result<(), Error> {
        let verdict = self.throttle.attempt(now, address, key_id, || {
            let given = [digest(key_id), digest(secret)];
            (given[0].ct_eq(&self.root[0]) & given[1].ct_eq(&self.root[1])).into()
        });
        match verdict {
            Verdict::Right => Ok(()),
            Verdict::Wrong => {
                metrics::counter!("vidicon_http_sign_in_failures_total").increment(1);
                tracing::info!(%address, "sign-in refused: wrong access key id or secret");
                Err(Error::unauthorized("the access key id or the secret access key is wrong"))
            }
            Verdict::Wait(seconds) => {
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
    pub(crate) fn holds(&self, principal: &Principal, now: UnixMillis) -> bool {
        match principal {
            Principal::Root(None) => true,
            Principal::Root(Some(session)) => now < session.expires_at && !self.revoked.is_revoked(session),
            Principal::Playback(playback) => now < playback.expires_at,
        }
    }

    /// The principal of a request; `None` without credentials.
    fn identify(&self, parts: &Parts, address: IpAddr, now: UnixMillis) -> Result<Option<Principal>, Error> {
        if let Some(token) = routes::path_token(parts.uri.path()) {
            let playback = self.signer.read_playback(token, now);
            return match playback {
                Some(playback) => Ok(Some(Principal::Playback(playback))),
                None => Err(Error::unauthorized("this playback address is not valid, or not any more")),
            };
        }
        let principal = match (parts.headers.get(header::AUTHORIZATION), cookie(&parts.headers)) {
            (Some(value), _) => self.by_header(value, address, now)?,
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

    fn by_header(&self, value: &HeaderValue, address: IpAddr, now: UnixMillis) -> Result<Principal, Error> {
        let wrong = || Error::unauthorized("the Authorization header is neither Basic nor Bearer credentials");
        let (scheme, given) = value.to_str().ok().and_then(|v| v.split_once(' ')).ok_or_else(wrong)?;
        let given = given.trim();
        if scheme.eq_ignore_ascii_case("basic") {
            let text = STANDARD.decode(given).ok().and_then(|b| String::from_utf8(b).ok()).ok_or_else(wrong)?;
            let (key_id, secret) = text.split_once(':').ok_or_else(wrong)?;
            self.check(now, address, key_id, secret)?;
            Ok(Principal::Root(None))
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
    let address = crate::serve::peer(&parts.extensions).ip();
    match shared.auth.identify(&parts, address, shared.door.now()) {
        Ok(Some(principal)) => {
            parts.extensions.insert(principal);
            next.run(Request::from_parts(parts, body)).await
        }
        Ok(None) => refuse(&shared, &parts, Error::unauthorized("credentials are needed")),
        Err(error) => refuse(&shared, &parts, error),
    }
}

fn refuse(shared: &Shared, parts: &Parts, error: Error) -> Response {
    metrics::counter!("vidicon_http_refused_total").increment(1);
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

/// Who calls a route, and for what. The way from a handler to everything that is worth guarding.
pub(crate) struct Caller {
    pub(crate) shared: Arc<Shared>,
    pub(crate) principal: Principal,
    action: Action,
}

impl FromRequestParts<Arc<Shared>> for Caller {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Error> {
        let principal = parts.extensions.get::<Principal>().copied();
        let principal = principal.ok_or_else(|| Error::unauthorized("credentials are needed"))?;
        // What is in no table of actions (an unknown path, a file of the page) counts as reading the page.
        let action = parts.extensions.get::<Action>().copied().unwrap_or(Action::Page);
        access::admit(&principal, action)?;
        Ok(Caller { shared: shared.clone(), principal, action })
    }
}

impl Caller {
    /// The application, for an action on the whole server.
    pub(crate) fn server(&self) -> Result<&App, Error> {
        self.shared.door.server(&self.principal, self.action)
    }
    /// A stream by name.
    pub(crate) fn stream(&self, name: &str) -> Result<Granted, Error> {
        self.shared.door.stream(&self.principal, self.action, name)
    }
    /// The stream that the playback token in the path is for.
    pub(crate) fn own_stream(&self) -> Result<Granted, Error> {
        self.shared.door.own_stream(&self.principal, self.action)
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
