//! The XML of STS: answers, and errors with the one table of their statuses.

use crate::aws::{REQUEST_ID, RequestId};
use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use std::fmt;

const NAMESPACE: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

/// What an operation gives.
pub(super) struct Answer {
    operation: &'static str,
    /// The elements of its result.
    inner: String,
}

impl Answer {
    pub(super) fn new(operation: &'static str, elements: &[String]) -> Self {
        Answer { operation, inner: elements.concat() }
    }

    pub(super) fn render(self, id: RequestId) -> Response {
        let Answer { operation, inner } = self;
        let body = format!(
            "<{operation}Response xmlns=\"{NAMESPACE}\"><{operation}Result>{inner}</{operation}Result>\
             <ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata></{operation}Response>\n",
            id.0
        );
        xml(StatusCode::OK, body, &id.0.to_string())
    }
}

/// An element that holds text.
pub(super) fn element(name: &str, text: &str) -> String {
    format!("<{name}>{}</{name}>", escaped(text))
}

/// An element that holds elements.
pub(super) fn group(name: &str, elements: &[String]) -> String {
    format!("<{name}>{}</{name}>", elements.concat())
}

fn xml(status: StatusCode, body: String, id: &str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/xml"), (REQUEST_ID, id)], body).into_response()
}

/// An error: SDKs pick their class by `code`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Error {
    pub(super) code: &'static str,
    pub(super) message: String,
}

/// The table of statuses; what it does not list is 400.
fn status_of(code: &str) -> StatusCode {
    match code {
        "AccessDenied" | "MissingAuthenticationToken" => StatusCode::FORBIDDEN,
        "RequestEntityTooLarge" => StatusCode::PAYLOAD_TOO_LARGE,
        "InternalFailure" => StatusCode::INTERNAL_SERVER_ERROR,
        "ServiceUnavailable" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    }
}

impl Error {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Error { code, message: message.into() }
    }
    pub(super) fn denied(message: impl Into<String>) -> Self {
        Self::new("AccessDenied", message)
    }
    /// A parameter breaks a rule of the model. `value` is shown, `None` as null.
    pub(super) fn constraint(name: &str, value: Option<&str>, rule: impl fmt::Display) -> Self {
        let value =
            value.map_or_else(|| "null".to_owned(), |v| format!("'{}'", v.chars().take(256).collect::<String>()));
        Self::new(
            "ValidationError",
            format!("1 validation error detected: Value {value} at '{name}' failed to satisfy constraint: {rule}"),
        )
    }

    pub(super) fn render(self, id: RequestId) -> Response {
        refusal(status_of(self.code), self.code, &self.message, &id.0.to_string())
    }
}

/// What the rest of this crate says.
impl From<crate::error::Error> for Error {
    fn from(error: crate::error::Error) -> Self {
        let code = match error.status.as_u16() {
            401 | 403 => "AccessDenied",
            413 => "RequestEntityTooLarge",
            503 => "ServiceUnavailable",
            500.. => "InternalFailure",
            _ => "ValidationError",
        };
        Error::new(code, error.message)
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        crate::error::Error::from(error).into()
    }
}

/// An error answer of this service.
pub(crate) fn refusal(status: StatusCode, code: &str, message: &str, request_id: &str) -> Response {
    let kind = if status.is_server_error() { "Receiver" } else { "Sender" };
    let error = group("Error", &[element("Type", kind), element("Code", code), element("Message", message)]);
    let id = element("RequestId", request_id);
    xml(status, format!("<ErrorResponse xmlns=\"{NAMESPACE}\">{error}{id}</ErrorResponse>\n"), request_id)
}

/// Text within XML. What XML cannot hold at all (control characters) is left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' => out.push(c),
            '\u{fffe}' | '\u{ffff}' => {}
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(element("A", "<b attr=\"1\">&\u{0}\u{ffff}\n"), "<A>&lt;b attr=&quot;1&quot;&gt;&amp;\n</A>");
        assert_eq!(group("A", &[element("B", "1"), element("C", "")]), "<A><B>1</B><C></C></A>");
    }
}
