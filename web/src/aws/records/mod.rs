//! What is kept of streams beyond what the store itself knows: the typed bodies of documents (`store::documents`).
//!
//! What belongs here: the types, their rules, how they are read, changed under optimistic locking and put back. What does not:
//! which operation asks (`control`).
//!
//! Configurations are kept in the shape of the service model. Members that this version does not know are never lost: at the top
//! of a record they are kept as they are; deeper down the record is refused, and the refusal names them.

pub(crate) mod edge;
pub(crate) mod images;
pub(crate) mod notification;
mod stream;
pub(crate) mod words;

pub(crate) use stream::{FOR_EVER_HOURS, StorageConfiguration, StreamRecord};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Reads a body that must come out again as it went in: a member that the type does not know would be lost with the next change.
///
/// # Errors
/// What is wrong with it, by path; never a value: it may be a secret.
fn faithful<T: Serialize + DeserializeOwned>(body: &Value) -> Result<T, String> {
    let read: T = serde_path_to_error::deserialize(body).map_err(|e| {
        let path = e.path().to_string();
        format!("{path} does not have the form that it should")
    })?;
    let again = serde_json::to_value(&read).map_err(|_| "it has no JSON form".to_owned())?;
    match lost(body, &again) {
        Some(path) => Err(format!("{path} is not known to this version")),
        None => Ok(read),
    }
}

/// The path of the first member that `again` lacks.
fn lost(body: &Value, again: &Value) -> Option<String> {
    let within = |name: String, a: &Value, b: Option<&Value>| match b {
        None => Some(name),
        Some(b) => lost(a, b).map(|rest| match rest.starts_with('[') {
            true => format!("{name}{rest}"),
            false => format!("{name}.{rest}"),
        }),
    };
    match (body, again) {
        (Value::Object(body), Value::Object(again)) => {
            body.iter().filter(|(_, v)| !v.is_null()).find_map(|(k, v)| within(k.clone(), v, again.get(k)))
        }
        (Value::Array(body), Value::Array(again)) => {
            body.iter().enumerate().find_map(|(n, v)| within(format!("[{n}]"), v, again.get(n)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Serialize, Deserialize)]
    struct Outer {
        list: Vec<Inner>,
        #[serde(skip_serializing_if = "Option::is_none")]
        one: Option<Inner>,
    }
    #[derive(Debug, Serialize, Deserialize)]
    struct Inner {
        a: u8,
    }

    #[test]
    fn what_would_be_lost_is_refused_by_name() {
        let of = |body: Value| faithful::<Outer>(&body).map(drop);
        assert_eq!(of(json!({"list": [{"a": 1}], "one": null})), Ok(()));
        assert_eq!(of(json!({"list": [], "two": null})), Ok(()), "says nothing");
        let lost = |path: &str| Err(format!("{path} is not known to this version"));
        assert_eq!(of(json!({"list": [], "two": 1})), lost("two"));
        assert_eq!(of(json!({"list": [{"a": 1}, {"a": 1, "b": 0}]})), lost("list[1].b"));
        assert_eq!(of(json!({"list": [], "one": {"a": 1, "b": {}}})), lost("one.b"));
        let wrong = of(json!({"list": [{"a": "secret"}]})).unwrap_err();
        assert_eq!(wrong, "list[0].a does not have the form that it should");
    }
}
