//! Bodies of the AWS surface: JSON whatever the content type says (SDKs send none for some operations), an empty body as
//! `{}`, unknown members ignored, and refusals that name the member and the rule it breaks.

use super::Error;
use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};

/// A JSON object in, a JSON object out.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Error;
    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let body = Bytes::from_request(request, state).await.map_err(|e| match e.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                Error::new("RequestEntityTooLargeException", "the body is larger than an operation takes")
            }
            _ => Error::invalid("the body could not be read"),
        })?;
        read(&body).map(Json)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// The answer of an operation that has nothing to say.
pub(crate) fn done() -> Json<serde_json::Value> {
    Json(serde_json::json!({}))
}

/// Reads a body.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    let body = match body.trim_ascii() {
        b"" => b"{}",
        body => body,
    };
    // Derived readers would take an array for the members in their order.
    if body[0] != b'{' {
        return Err(Error::invalid("the body is no JSON object"));
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|e| {
        let path = e.path().to_string();
        // What stands where an enum's word is expected counts as broken JSON to its reader.
        match e.inner().is_syntax() && serde_json::from_slice::<IgnoredAny>(body).is_ok() {
            true => Error::constraint(&path, "Member must be a string"),
            false => refusal(&path, e.inner()),
        }
    })?;
    reader.end().map_err(|e| Error::invalid(format!("the body is no JSON object: {e}")))?;
    Ok(value)
}

/// What a reader said, in the words of AWS.
fn refusal(path: &str, error: &serde_json::Error) -> Error {
    let said = error.to_string();
    if !error.is_data() {
        return Error::invalid(format!("the body is no JSON object: {said}"));
    }
    let position = format!(" at line {} column {}", error.line(), error.column());
    let said = said.strip_suffix(&position).unwrap_or(&said);
    if let Some(member) = said.strip_prefix("missing field ") {
        let member = member.trim_matches('`');
        let member = if path == "." { member.to_owned() } else { format!("{path}.{member}") };
        return Error::constraint(&member, "Member must not be null");
    }
    let allowed = said.strip_prefix("unknown variant ").and_then(|rest| rest.split_once(", expected ")).map(|(_, l)| l);
    match allowed {
        Some(list) => {
            let list = list.trim_start_matches("one of ").replace(" or ", ", ").replace('`', "");
            Error::constraint(path, format_args!("Member must satisfy enum value set: [{list}]"))
        }
        None => Error::constraint(path, said),
    }
}

/// The fuzz target: bytes that may be a body. An object is read as any reader of JSON reads it, and whatever else comes is refused with
/// a message.
pub(crate) fn fuzz(data: &[u8]) {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    #[derive(Default)]
    struct Input {
        #[serde(flatten)]
        _target: super::Target,
        _max_results: Option<u32>,
        _tags: std::collections::BTreeMap<String, String>,
        _start_timestamp: Option<super::epoch::Epoch>,
        _list: Vec<Nested>,
    }
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Nested {
        _key: String,
    }
    type Object = serde_json::Map<String, serde_json::Value>;
    let plain = match data.trim_ascii() {
        b"" => Some(Object::new()),
        text => serde_json::from_slice::<Object>(text).ok(),
    };
    assert_eq!(read::<Object>(data).ok(), plain);
    if let Err(error) = read::<Input>(data) {
        assert!(error.status == StatusCode::BAD_REQUEST && !error.message.is_empty());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Input {
        stream_name: String,
        status: Option<Status>,
        list: Option<Vec<Inner>>,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Inner {
        key: String,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "UPPERCASE")]
    enum Status {
        Enabled,
        Disabled,
    }

    fn refused(body: &str) -> String {
        let error = read::<Input>(body.as_bytes()).unwrap_err();
        assert_eq!((error.name, error.status.as_u16()), ("InvalidArgumentException", 400));
        error.message.trim_start_matches("1 validation error detected: ").to_owned()
    }

    #[test]
    fn members_are_read_and_unknown_ones_ignored() {
        let read = read::<Input>(br#" {"StreamName":"a","Other":[{}],"Status":null} "#).unwrap();
        assert_eq!(read, Input { stream_name: "a".into(), status: None, list: None });
        #[derive(Debug, Deserialize)]
        struct Nothing {}
        for empty in ["", " \r\n", "{}"] {
            super::read::<Nothing>(empty.as_bytes()).unwrap();
        }
    }

    #[test]
    fn refusals_name_the_member_and_the_rule() {
        let must = "failed to satisfy constraint:";
        assert_eq!(refused("{}"), format!("Value at 'StreamName' {must} Member must not be null"));
        assert_eq!(refused(""), format!("Value at 'StreamName' {must} Member must not be null"));
        assert_eq!(
            refused(r#"{"StreamName":5}"#),
            format!("Value at 'StreamName' {must} invalid type: integer `5`, expected a string")
        );
        assert_eq!(
            refused(r#"{"StreamName":"a","Status":"On"}"#),
            format!("Value at 'Status' {must} Member must satisfy enum value set: [ENABLED, DISABLED]")
        );
        for wrong in ["1", "true", "[1]"] {
            assert_eq!(
                refused(&format!(r#"{{"StreamName":"a","Status":{wrong}}}"#)),
                format!("Value at 'Status' {must} Member must be a string")
            );
        }
        assert_eq!(
            refused(r#"{"StreamName":"a","List":[{"Key":"a"},{}]}"#),
            format!("Value at 'List[1].Key' {must} Member must not be null")
        );
        for broken in ["[\"a\"]", "\"a\"", "{", "{\"StreamName\":\"a\"} x", "{\"StreamName\":\"\u{fffd}"] {
            assert!(refused(broken).starts_with("the body is no JSON object"), "{broken}");
        }
        read::<Input>(&[b'{', 0xff, b'}']).unwrap_err();
        let deep = "{\"Other\":".to_owned() + &"[".repeat(100_000);
        assert!(refused(&deep).starts_with("the body is no JSON object"), "no stack is used up");
    }
}
