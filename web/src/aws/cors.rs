//! Operations called by pages of other origins, as the SDKs for browsers do. Any origin may: what lets a request in is its signature, and browsers
//! are told to add no cookies or credentials of their own (<https://fetch.spec.whatwg.org/#http-cors-protocol>).

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};

const ANY: HeaderValue = HeaderValue::from_static("*");
/// Beside those that pages always see: errors are told apart, clocks corrected and requests named by these.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("x-amzn-RequestId,x-amzn-ErrorType,x-amzn-ErrorMessage,Date,Content-Length,Retry-After");
/// Headers that SDKs sign or send, where the browser does not say which it means.
const TAKEN: HeaderValue = HeaderValue::from_static(
    "authorization,content-type,x-amz-date,x-amz-security-token,x-amz-content-sha256,x-amz-user-agent,x-amz-target,amz-sdk-invocation-id,amz-sdk-request",
);
/// How long a browser may remember the answer, in seconds; none remembers longer than this.
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");

/// Whether a browser asks whether it may ask.
pub(crate) fn is_preflight(parts: &Parts) -> bool {
    parts.method == Method::OPTIONS
        && parts.headers.contains_key(header::ORIGIN)
        && parts.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// It may. Says nothing of what there is: paths of operations are no secret.
pub(crate) fn preflight(parts: &Parts) -> Response {
    let asked = parts.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).filter(|names| are_names(names));
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY),
        (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST")),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, asked.cloned().unwrap_or(TAKEN)),
        (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
        (header::VARY, HeaderValue::from_static("access-control-request-headers")),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Names of headers, commas and spaces alone.
fn are_names(value: &HeaderValue) -> bool {
    let fits = |b: &u8| b.is_ascii_alphanumeric() || b"-_, ".contains(b);
    value.len() <= 1024 && value.as_bytes().iter().all(fits)
}

/// Lets the page see an answer.
pub(crate) fn open(headers: &mut HeaderMap) {
    let pairs: [(HeaderName, HeaderValue); 2] =
        [(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY), (header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED)];
    headers.extend(pairs);
}
