//! The AWS surface: what unmodified clients of Kinesis Video Streams call, on the same port as everything else.
//!
//! What belongs here: the shapes, names, statuses and texts of the services' REST-JSON, over the same store that the native
//! API shows. What does not: who may call (`auth`), and what media looks like (`media`).
//!
//! Every operation is a POST to a path of its own. A handler takes [`Target`] or its own input by [`Json`], a `Caller`, and
//! gives [`Json`] or [`Error`]; [`dress`] then adds what every answer has. Errors of the rest of the crate may pass
//! through: they become exceptions on the way out.

mod ack_body;
mod archive;
pub(crate) mod arn;
pub(crate) mod channels;
pub(crate) mod config;
mod control;
pub(crate) mod cors;
pub(crate) mod endpoints;
pub(crate) mod epoch;
mod error;
mod fragments;
mod fragments_body;
mod get_media;
pub(crate) mod ice;
pub(crate) mod json;
mod names;
pub(crate) mod paging;
mod put_media;
pub(crate) mod put_sessions;
pub(crate) mod quotas;
pub(crate) mod records;
pub(crate) mod signaling;
pub(crate) mod sts;
pub(crate) mod tags;
pub(crate) mod target;

use crate::{App, auth::Caller, routes::Route};
use arn::Account;
use axum::{
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use endpoints::Base;
pub(crate) use error::Error;
pub(crate) use json::Json;
use media::UnixMillis;
use paging::Pages;
use quotas::{Calls, Quotas, Whose};
pub(crate) use target::Target;
use tokio::sync::SemaphorePermit;
use uuid::Uuid;

/// The fuzz target of the bodies and tokens that reading media takes.
pub fn fuzz_media(data: &[u8]) {
    archive::fuzz(data);
    get_media::fuzz(data);
}

/// The fuzz target of WebSocket frames.
pub fn fuzz_frames(data: &[u8]) {
    signaling::fuzz_frames(data);
}

/// The most bytes of an operation's body.
pub(crate) const BODY_BYTES: usize = 1 << 20;

/// The header by which a client and the log speak of the same request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// The operations, by service.
pub(crate) const ROUTES: &[&[Route]] = &[
    control::ROUTES,
    channels::ROUTES,
    signaling::ROUTES,
    ice::ROUTES,
    put_media::ROUTES,
    get_media::ROUTES,
    archive::ROUTES,
];

/// What the handlers of this surface share.
pub(crate) struct Surface {
    pub(crate) account: Account,
    pub(crate) pages: Pages,
    /// The configured public address.
    pub(crate) public: Option<Base>,
    /// Whether a range that ends before what is kept begins is refused, as the cloud does.
    pub(crate) refuse_expired: bool,
    pub(crate) channel_births: channels::Births,
    pub(crate) quotas: Quotas,
    calls: Calls,
}

impl Surface {
    pub(crate) fn open(app: &App) -> Result<Self, store::Error> {
        let invalid = |text: String| store::Error::new(store::Kind::Invalid, text);
        app.aws.check().map_err(invalid)?;
        let public = app
            .http
            .base()
            .map_err(invalid)?
            .map(|url| Base { tls: url.scheme() == "https", authority: url.authority().to_owned() });
        Ok(Surface {
            account: app.aws.account(),
            pages: Pages::new(&app.store.secret()),
            public,
            refuse_expired: app.aws.refuse_expired_ranges,
            channel_births: Default::default(),
            quotas: app.aws.quotas.clone(),
            calls: Calls::default(),
        })
    }

    /// Counts a call of an operation before it is made, whatever it is about; see [`Surface::denied`].
    ///
    /// # Errors
    /// `ClientLimitExceededException` if there is a limit and it is reached, or was by calls of this holder that were denied.
    pub(crate) fn called(&self, operation: &'static str, holder: &str, now: UnixMillis) -> Result<(), Error> {
        let (per_s, denied) = (self.quotas.calls_per_s, Whose::Denied(holder.to_owned()));
        match self.calls.are_used_up(operation, denied.clone(), per_s, now) {
            true => self.calls.count(operation, denied, per_s, now),
            false => self.calls.count(operation, Whose::All, per_s, now),
        }
    }

    /// No policy allowed a call that was counted: it takes nothing from those that may, but there are as many of one holder a
    /// second at most.
    pub(crate) fn denied(&self, operation: &'static str, holder: &str, now: UnixMillis) {
        let per_s = self.quotas.calls_per_s;
        self.calls.give_back(operation, Whose::All, per_s);
        // Others of it may have used them up meanwhile: they are told.
        let _ = self.calls.count(operation, Whose::Denied(holder.to_owned()), per_s, now);
    }

    /// Counts an action on a stream. See [`Surface::called`].
    fn called_on(&self, action: &'static str, stream: u64, now: UnixMillis) -> Result<(), Error> {
        self.calls.count(action, Whose::Stream(stream), self.quotas.calls_per_s_per_stream, now)
    }
}

/// Until it is dropped, no other change looks at what it is about to write.
pub(crate) async fn alone(caller: &Caller) -> SemaphorePermit<'_> {
    caller.shared.edits.acquire().await.expect("the semaphore is never closed")
}

/// The id of a request, in its extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestId(pub(crate) Uuid);

impl RequestId {
    pub(crate) fn new() -> Self {
        RequestId(Uuid::now_v7())
    }
}

/// The answer to a client that calls an operation which this server has not.
pub(crate) fn unknown_operation(path: &str) -> Response {
    let error = Error::new("UnknownOperationException", format!("this server has no operation at POST {path}"));
    dress(error.with_status(StatusCode::NOT_FOUND).into_response(), RequestId::new())
}

/// Gives an answer what every answer of this surface has: the request's id, and errors in the form of AWS, also those that
/// come from outside the handlers.
pub(crate) fn dress(mut response: Response, id: RequestId) -> Response {
    if let Some(native) = response.extensions_mut().remove::<crate::error::Error>() {
        let retry_after = response.headers_mut().remove(axum::http::header::RETRY_AFTER);
        response = Error::from(native).into_response();
        if let Some(value) = retry_after {
            response.headers_mut().insert(axum::http::header::RETRY_AFTER, value);
        }
    }
    if let Ok(id) = HeaderValue::from_str(&id.0.to_string()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    cors::open(response.headers_mut());
    response
}
