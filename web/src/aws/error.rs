//! Errors as the AWS surface says them: an exception's name in a header, its message in JSON, and the one table of statuses.

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use serde_json::json;
use std::fmt;

/// The header that names the exception.
pub(crate) const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// An exception of the AWS surface. SDKs pick their class by `name`; people read `message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Error {
    /// The shape's name in the service models, such as `ResourceNotFoundException`.
    pub(crate) name: &'static str,
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

/// The statuses of the service models; what they do not list there is 400.
fn status_of(name: &str) -> StatusCode {
    match name {
        "ResourceNotFoundException" | "StreamEdgeConfigurationNotFoundException" => StatusCode::NOT_FOUND,
        // Of the control plane and the archive; refusals before an operation is chosen say 403 (`with_status`).
        "NotAuthorizedException" | "AccessDeniedException" => StatusCode::UNAUTHORIZED,
        "RequestEntityTooLargeException" => StatusCode::PAYLOAD_TOO_LARGE,
        "InternalFailure" => StatusCode::INTERNAL_SERVER_ERROR,
        "ServiceUnavailable" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    }
}

impl Error {
    /// An exception by its name, with the status that the service models give it.
    pub(crate) fn new(name: &'static str, message: impl Into<String>) -> Self {
        Error { name, status: status_of(name), message: message.into() }
    }
    /// The same exception under another status.
    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        Error { status, ..self }
    }
    /// 400: the input is wrong; the message names the member.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new("InvalidArgumentException", message)
    }
    /// 400: the name is taken, or the thing is needed by another.
    pub(crate) fn in_use(message: impl Into<String>) -> Self {
        Self::new("ResourceInUseException", message)
    }
    /// 400: somebody changed the thing since the caller looked.
    pub(crate) fn version_mismatch(given: &str, current: &str) -> Self {
        Self::new("VersionMismatchException", format!("CurrentVersion is {given}, but the version is {current} now"))
    }
    /// 400: a member breaks a rule of the model, in the words that AWS uses for it.
    pub(crate) fn constraint(member: &str, rule: impl fmt::Display) -> Self {
        Self::invalid(format!("1 validation error detected: Value at '{member}' failed to satisfy constraint: {rule}"))
    }
    /// 400: the stream keeps nothing.
    pub(crate) fn no_retention(stream: impl fmt::Display) -> Self {
        Self::new(
            "NoDataRetentionException",
            format!("stream {stream} keeps no media: its DataRetentionInHours is 0; raise it with UpdateDataRetention"),
        )
    }
}

/// What the rest of this crate says, as an exception.
impl From<crate::error::Error> for Error {
    fn from(error: crate::error::Error) -> Self {
        let name = match error.status.as_u16() {
            400 => "InvalidArgumentException",
            401 | 403 => "AccessDeniedException",
            404 => "ResourceNotFoundException",
            409 => "ResourceInUseException",
            413 => "RequestEntityTooLargeException",
            429 => "ClientLimitExceededException",
            500 => "InternalFailure",
            503 => "ServiceUnavailable",
            _ => "InvalidArgumentException",
        };
        let made = Self::new(name, error.message);
        match error.status {
            // Not allowed at all, whatever the operation: REFERENCE calls these common errors, always 403.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => made.with_status(StatusCode::FORBIDDEN),
            _ => made,
        }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        crate::error::Error::from(error).into()
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let kind = format!("{}:https://kinesisvideo.amazonaws.com/doc/2017-09-30/", self.name);
        let mut response = (self.status, Json(json!({"Message": self.message}))).into_response();
        if let Ok(kind) = HeaderValue::from_str(&kind) {
            response.headers_mut().insert(ERROR_TYPE, kind);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use http_body_util::BodyExt;
    use store::Kind;

    #[tokio::test]
    async fn an_exception_on_the_wire() {
        let response = Error::new("ResourceNotFoundException", "no stream gate").into_response();
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers()["content-type"], "application/json");
        let kind = response.headers()[ERROR_TYPE].to_str().unwrap().to_owned();
        assert_eq!(kind, "ResourceNotFoundException:https://kinesisvideo.amazonaws.com/doc/2017-09-30/");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, r#"{"Message":"no stream gate"}"#);
    }

    #[test]
    fn statuses_are_those_of_the_models() {
        assert_eq!(Error::new("NotAuthorizedException", "").status, 401);
        assert_eq!(Error::new("StreamEdgeConfigurationNotFoundException", "").status, 404);
        assert_eq!(Error::no_retention("gate").status, 400);
        assert_eq!(Error::version_mismatch("a", "b").status, 400);
        let denied = Error::new("AccessDeniedException", "").with_status(StatusCode::FORBIDDEN);
        assert_eq!((denied.name, denied.status.as_u16()), ("AccessDeniedException", 403));
    }

    #[test]
    fn errors_of_the_store_become_exceptions() {
        let of = |kind| Error::from(store::Error::new(kind, "what happened"));
        assert_eq!(of(Kind::NotFound), Error::new("ResourceNotFoundException", "what happened"));
        assert_eq!(of(Kind::AlreadyExists), Error::new("ResourceInUseException", "what happened"));
        assert_eq!(of(Kind::Conflict), Error::new("ResourceInUseException", "what happened"));
        assert_eq!(of(Kind::Invalid), Error::invalid("what happened"));
        assert_eq!(of(Kind::LimitExceeded), Error::new("ClientLimitExceededException", "what happened"));
        assert_eq!(of(Kind::Unavailable), Error::new("ServiceUnavailable", "what happened"));
        let internal = of(Kind::Internal);
        assert_eq!((internal.name, internal.status.as_u16()), ("InternalFailure", 500));
        assert!(!internal.message.contains("what happened"), "internals stay inside");
    }
}
