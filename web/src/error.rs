//! The error answer of the native API: `{"error":{"code","message"}}`, and the one table from error kinds to statuses.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use store::Kind;

/// An answer that says what went wrong. `code` is for programs, `message` for people.
#[derive(Clone, Debug)]
pub(crate) struct Error {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    retry_after_s: Option<u64>,
}

impl Error {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Error { status, code, message: message.into(), retry_after_s: None }
    }
    /// 400: the input is wrong; the message names the field.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message)
    }
    /// 401: no credentials, or ones that do not hold.
    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }
    /// 403: known, but not allowed this.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }
    /// 404.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }
    /// 409: the state of the thing forbids it.
    pub(crate) fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }
    /// 503: a later retry may find it.
    pub(crate) fn unavailable(code: &'static str, message: impl Into<String>, retry_after_s: u64) -> Self {
        Error { retry_after_s: Some(retry_after_s), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message) }
    }
    /// 429: too many attempts.
    pub(crate) fn throttled(message: impl Into<String>, retry_after_s: u64) -> Self {
        Error { retry_after_s: Some(retry_after_s), ..Self::new(StatusCode::TOO_MANY_REQUESTS, "throttled", message) }
    }
    /// Seconds after which a retry makes sense, if the error says so.
    pub(crate) fn retry_after_s(&self) -> Option<u64> {
        self.retry_after_s
    }
}

/// The table: what a kind of the store's error means over HTTP.
fn status_of(kind: Kind) -> (StatusCode, &'static str) {
    match kind {
        Kind::NotFound => (StatusCode::NOT_FOUND, "not_found"),
        Kind::AlreadyExists => (StatusCode::CONFLICT, "already_exists"),
        Kind::Conflict => (StatusCode::CONFLICT, "conflict"),
        Kind::Invalid => (StatusCode::BAD_REQUEST, "invalid"),
        Kind::LimitExceeded => (StatusCode::TOO_MANY_REQUESTS, "limit_exceeded"),
        Kind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        Kind::QuotaReached => (StatusCode::TOO_MANY_REQUESTS, "quota_reached"),
        Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        Kind::Corrupt => (StatusCode::INTERNAL_SERVER_ERROR, "corrupt"),
        Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        let (status, code) = status_of(error.kind());
        let message = match error.kind() {
            // The cause may name files of the server: it belongs in the log, not in an answer.
            Kind::Internal => {
                tracing::error!(%error, "internal error");
                "an internal error; the server's log says more".to_owned()
            }
            Kind::Corrupt => {
                tracing::error!(%error, "stored bytes are damaged");
                "stored bytes are damaged; `vidicon check` tells which".to_owned()
            }
            _ => error.to_string(),
        };
        let retry_after_s = matches!(error.kind(), Kind::Unavailable | Kind::LimitExceeded).then_some(2);
        Error { status, code, message, retry_after_s }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let body = Json(json!({"error": {"code": self.code, "message": self.message}}));
        let mut response = (self.status, body).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // For surfaces that say errors in another form.
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_store_s_kinds_become_statuses_and_internals_stay_inside() {
        let error = Error::from(store::Error::new(Kind::NotFound, "stream gate does not exist"));
        assert_eq!(
            (error.status, error.code, error.message.as_str()),
            (StatusCode::NOT_FOUND, "not_found", "stream gate does not exist")
        );
        let error = Error::from(store::Error::new(Kind::Internal, "open /srv/data/catalog.db"));
        assert_eq!(error.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!error.message.contains("/srv"));
        let answer = Error::from(store::Error::new(Kind::Unavailable, "the disk is full")).into_response();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()[header::RETRY_AFTER], "2");
    }
}
