//! Extractors whose refusals are answers of this API: path parameters, query and JSON, each naming the field at fault.

use crate::error::Error;
use axum::{
    extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection::JsonRejection},
    http::{StatusCode, request::Parts},
};
use media::UnixMillis;
use serde::de::DeserializeOwned;
use store::Range;

/// Path parameters, percent-decoded.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Params<T> {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Params(value)),
            Err(rejection) => Err(Error::invalid(format!("the path cannot be read: {}", rejection.body_text()))),
        }
    }
}

/// The query of the URL; unknown fields are refused.
pub(crate) struct Asked<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Asked<T> {
    type Rejection = Error;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Asked(value)),
            Err(rejection) => {
                Err(Error::invalid(format!("the query cannot be read: {}", plain(&rejection.body_text()))))
            }
        }
    }
}

/// A JSON body; unknown fields are refused by the types themselves (`deny_unknown_fields`).
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Error;
    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        match axum::Json::<T>::from_request(request, state).await {
            Ok(axum::Json(value)) => Ok(Body(value)),
            Err(rejection) => Err(json_error(&rejection)),
        }
    }
}

fn json_error(rejection: &JsonRejection) -> Error {
    let text = plain(&rejection.body_text());
    match rejection.status() {
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Error::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "send JSON with Content-Type: application/json",
        ),
        StatusCode::PAYLOAD_TOO_LARGE => {
            Error::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is larger than this path takes")
        }
        _ => Error::invalid(format!("the body cannot be read: {text}")),
    }
}

/// What the deserialiser said, without the words that name the machinery.
fn plain(text: &str) -> String {
    let known = [
        "Failed to deserialize the JSON body into the target type: ",
        "Failed to parse the request body as JSON: ",
        "Failed to deserialize query string: ",
    ];
    known.iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text).to_owned()
}

/// The last instant that a client may name: the year 9999.
const LAST: i64 = 253_402_300_799_999;

/// A range out of two optional query fields; what is left out is `to` = now and `from` = `span_ms` before `to`.
pub(crate) fn range(from: Option<i64>, to: Option<i64>, now: UnixMillis, span_ms: i64) -> Result<Range, Error> {
    for (name, value) in [("from", from), ("to", to)] {
        if value.is_some_and(|v| !(0..=LAST).contains(&v)) {
            return Err(Error::invalid(format!("{name}: milliseconds since 1970 are needed, from 0 to {LAST}")));
        }
    }
    let to = to.map_or(now, UnixMillis);
    let from = from.map_or(to.plus(-span_ms), UnixMillis);
    if from >= to {
        return Err(Error::invalid(format!("from: {} is not before to: {}", from.0, to.0)));
    }
    Ok(Range { from, to })
}

/// A count out of an optional query field.
pub(crate) fn limit(asked: Option<usize>, default: usize, most: usize) -> Result<usize, Error> {
    match asked {
        None => Ok(default),
        Some(n) if (1..=most).contains(&n) => Ok(n),
        Some(n) => Err(Error::invalid(format!("limit: {n} is not in 1 to {most}"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn ranges_are_filled_in_and_checked() {
        let now = UnixMillis(1_000_000);
        assert_eq!(range(None, None, now, 1000).unwrap(), Range { from: UnixMillis(999_000), to: now });
        assert_eq!(range(Some(5), Some(6), now, 1000).unwrap(), Range { from: UnixMillis(5), to: UnixMillis(6) });
        assert!(range(Some(6), Some(6), now, 1000).is_err());
        assert!(range(Some(-1), None, now, 1000).unwrap_err().message.starts_with("from:"));
        assert!(range(None, Some(i64::MAX), now, 1000).unwrap_err().message.starts_with("to:"));
    }
}
