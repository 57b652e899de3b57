//! How a request is told that its credentials do not hold: in the form of the surface that it was meant for.

use super::{identities::Nobody, sigv4::Fault};
use crate::{
    aws::{signaling, sts},
    error::Error,
    routes,
};
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde_json::json;
use uuid::Uuid;

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// `{"error":{"code","message"}}`
    Native,
    /// `{"Message"}` with `x-amzn-ErrorType`: Kinesis Video Streams and Rekognition.
    Json,
    /// `<ErrorResponse>`: STS.
    Xml,
}

impl Style {
    /// By how the request came: its path, its form, its signature.
    pub(super) fn of(parts: &Parts, signed: bool) -> Style {
        match () {
            () if sts::is_asked(&parts.method, &parts.uri, &parts.headers) => Style::Xml,
            () if signed || routes::is_operation(&parts.method, parts.uri.path()) => Style::Json,
            () if signaling::is_asked(&parts.method, &parts.uri, &parts.headers) => Style::Json,
            () => Style::Native,
        }
    }
}

/// Why a request is not let in.
#[derive(Debug)]
pub(super) enum Refusal {
    /// There are no credentials.
    Missing,
    /// The signature does not hold.
    Signature(Fault),
    /// The access key id or the session token stands for nobody.
    Token,
    /// The session is over.
    Expired,
    /// Anything else.
    Other(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal::Other(error)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Missing => Refusal::Missing,
            fault => Refusal::Signature(fault),
        }
    }
}

impl From<Nobody> for Refusal {
    fn from(nobody: Nobody) -> Self {
        match nobody {
            Nobody::Unknown => Refusal::Token,
            Nobody::Expired => Refusal::Expired,
            Nobody::Failed(error) => Refusal::Other(error.into()),
        }
    }
}

impl Refusal {
    /// The exception's name (as the JSON services have it, and as STS has it) and the message.
    fn told(self) -> (&'static str, &'static str, String) {
        let invalid = "InvalidSignatureException";
        match self {
            Refusal::Missing => (
                "MissingAuthenticationTokenException",
                "MissingAuthenticationToken",
                "Missing Authentication Token".into(),
            ),
            Refusal::Signature(Fault::Missing) => Refusal::Missing.told(),
            Refusal::Signature(Fault::Incomplete(text)) => {
                ("IncompleteSignatureException", "IncompleteSignature", text)
            }
            Refusal::Signature(Fault::Clock(text) | Fault::Scope(text)) => (invalid, "SignatureDoesNotMatch", text),
            Refusal::Signature(Fault::Mismatch { canonical, string_to_sign }) => {
                let text = format!(
                    "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
                     Access Key and signing method. Consult the service documentation for details.\n\nThe Canonical String \
                     for this request should have been\n'{canonical}'\n\nThe String-to-Sign should have been\n'{string_to_sign}'\n"
                );
                (invalid, "SignatureDoesNotMatch", text)
            }
            Refusal::Token => (
                "UnrecognizedClientException",
                "InvalidClientTokenId",
                "The security token included in the request is invalid.".into(),
            ),
            Refusal::Expired => (
                "ExpiredTokenException",
                "ExpiredToken",
                "The security token included in the request is expired".into(),
            ),
            Refusal::Other(error) => match error.status.as_u16() {
                401 | 403 => ("AccessDeniedException", "AccessDenied", error.message),
                413 => ("RequestEntityTooLargeException", "RequestEntityTooLarge", error.message),
                429 => ("ThrottlingException", "Throttling", error.message),
                503 => ("ServiceUnavailable", "ServiceUnavailable", error.message),
                500.. => ("InternalFailure", "InternalFailure", error.message),
                _ => ("InvalidArgumentException", "ValidationError", error.message),
            },
        }
    }

    /// As an error of the native API.
    pub(super) fn native(self) -> Error {
        match self {
            Refusal::Other(error) => error,
            Refusal::Missing => Error::unauthorized("credentials are needed"),
            refusal => Error::forbidden(refusal.told().2),
        }
    }

    /// As an answer in a form of AWS.
    pub(super) fn answer(self, style: Style) -> Response {
        let status = match &self {
            Refusal::Other(error) if !matches!(error.status, StatusCode::UNAUTHORIZED) => error.status,
            _ => StatusCode::FORBIDDEN,
        };
        let retry_after = match &self {
            Refusal::Other(error) => error.retry_after_s(),
            _ => None,
        };
        let (json_name, xml_name, message) = self.told();
        let id = Uuid::now_v7().to_string();
        let mut response = match style {
            Style::Native | Style::Json => {
                let kind = HeaderValue::from_static(json_name);
                (status, [("x-amzn-errortype", kind)], Json(json!({"Message": message}))).into_response()
            }
            Style::Xml => sts::refusal(status, xml_name, &message, &id),
        };
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert("x-amzn-requestid", id);
        }
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
