//! How answers are printed: for people, or as JSON.

use crate::config::Config;
use media::UnixMillis;
use serde_json::Value;
use std::fmt::Write;

/// Where producers reach the server.
pub(super) enum Endpoint {
    /// Here.
    Known(String),
    /// By this scheme at this port of whatever this machine is called.
    Port(&'static str, u16),
}

impl Endpoint {
    pub(super) fn of(config: &Config) -> Endpoint {
        let (scheme, address) = config.for_clients();
        match &config.http.public_url {
            Some(url) => Endpoint::Known(url.trim_end_matches('/').to_owned()),
            None if address.ip().is_unspecified() => Endpoint::Port(scheme, address.port()),
            None => Endpoint::Known(format!("{scheme}://{address}")),
        }
    }
}

/// Prints an answer.
#[allow(clippy::print_stdout)]
pub(super) fn answer(value: &Value, json: bool) {
    match json {
        true => println!("{value:#}"),
        false => print!("{}", text(value)),
    }
}

/// Prints a key that was made just now: what its owner's programs read from their environment. Everything else is a comment, so that a
/// shell can take the whole.
#[allow(clippy::print_stdout)]
pub(super) fn made(key: &Value, endpoint: &Endpoint) {
    print!("{}", environment(key, endpoint));
}

fn environment(key: &Value, endpoint: &Endpoint) -> String {
    let text = |name: &str| key[name].as_str().unwrap_or_default();
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "# Access key of {}: {}. The secret is shown only this once.", text("user"), rights(key));
    let _ = writeln!(out, "export AWS_ACCESS_KEY_ID={}", text("access_key_id"));
    let _ = writeln!(out, "export AWS_SECRET_ACCESS_KEY='{}'", text("secret_access_key"));
    let _ = writeln!(out, "export AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1");
    let _ = match endpoint {
        // AWS SDKs and the command line read the first, the producer SDK and kvssink the second.
        Endpoint::Known(url) => writeln!(out, "export AWS_ENDPOINT_URL={url} CONTROL_PLANE_URI={url}"),
        Endpoint::Port(scheme, port) => {
            let url = format!("{scheme}://HOST:{port}");
            writeln!(out, "# and with this server's name: export AWS_ENDPOINT_URL={url} CONTROL_PLANE_URI={url}")
        }
    };
    if let Some(device) = key["tags"]["device"].as_str() {
        let _ = writeln!(out, "# It is for {device}.");
    }
    if let Some(at) = time(&key["expires_at"]) {
        let _ = writeln!(out, "# It ends at {at}.");
    }
    out
}

/// The names of policies, and whether there is one of its own.
fn rights(value: &Value) -> String {
    let names = value["policies"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let own = value["inline_policy"].is_object().then_some("(its own)");
    let all: Vec<&str> = names.chain(own).collect();
    if all.is_empty() { "no rights".to_owned() } else { all.join(", ") }
}

fn time(value: &Value) -> Option<String> {
    let text = UnixMillis(value.as_i64()?).to_rfc3339();
    Some(text.split('.').next().unwrap_or_default().replace('T', " ") + " UTC")
}

/// What is shown to people: nothing of what was removed, a table of a list, else a line for each member.
fn text(value: &Value) -> String {
    let list = |name: &str| value[name].as_array();
    if let Some(table) = devices(value) {
        return table;
    }
    if let Some(holds) = list("holds") {
        return table(&["NAME", "FROM", "TO", "REASON", "PLACED BY", "PLACED"], holds, |hold| {
            let of = |name: &str| hold[name].as_str().unwrap_or_default().to_owned();
            let at = |name: &str| time(&hold[name]).unwrap_or_default();
            vec![of("name"), at("from"), at("to"), of("reason"), of("placed_by"), at("placed_at")]
        });
    }
    match (list("keys"), list("roles"), value["policies"].as_array().filter(|_| value.get("created_at").is_none())) {
        (Some(keys), ..) => {
            table(&["ACCESS KEY ID", "USER", "STATE", "POLICIES", "MADE", "DESCRIPTION"], keys, |key| {
                let of = |name: &str| key[name].as_str().unwrap_or_default().to_owned();
                let made = time(&key["created_at"]).unwrap_or_default();
                vec![of("access_key_id"), of("user"), state(key), rights(key), made, of("description")]
            })
        }
        (_, Some(roles), _) => table(&["NAME", "LONGEST SESSION", "POLICIES", "MADE", "DESCRIPTION"], roles, |role| {
            let of = |name: &str| role[name].as_str().unwrap_or_default().to_owned();
            let longest = format!("{} s", role["max_session_s"]);
            let made = time(&role["created_at"]).unwrap_or_default();
            vec![of("name"), longest, rights(role), made, of("description")]
        }),
        (_, _, Some(policies)) => table(&["NAME", "KIND", "MADE", "DESCRIPTION"], policies, |policy| {
            let of = |name: &str| policy[name].as_str().unwrap_or_default().to_owned();
            let kind = if policy["preset"] == true { "preset" } else { "policy" };
            vec![of("name"), kind.to_owned(), time(&policy["created_at"]).unwrap_or_default(), of("description")]
        }),
        (None, None, None) => lines(value),
    }
}

/// Lists of certificates and of role aliases. A certificate itself has aliases too, but no list of objects.
fn devices(value: &Value) -> Option<String> {
    let of = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    if let Some(certificates) = value["certificates"].as_array() {
        return Some(table(&["ID", "THING", "STATE", "ROLE ALIASES", "ENDS", "DESCRIPTION"], certificates, |entry| {
            let aliases = entry["role_aliases"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let state = if entry["active"] == true { "active" } else { "revoked" };
            let ends = time(&entry["not_after"]).unwrap_or_default();
            let aliases = aliases.collect::<Vec<_>>().join(", ");
            vec![of(entry, "id"), of(entry, "thing"), state.into(), aliases, ends, of(entry, "description")]
        }));
    }
    let aliases = value["role_aliases"].as_array().filter(|_| value.get("id").is_none())?;
    Some(table(&["NAME", "ROLE", "CREDENTIALS HOLD", "FOR", "MADE", "DESCRIPTION"], aliases, |entry| {
        let hold = format!("{} s", entry["credential_duration_s"]);
        let whom = if entry["device_ca"] == true { "device authorities, registered" } else { "registered" };
        let made = time(&entry["created_at"]).unwrap_or_default();
        vec![of(entry, "name"), of(entry, "role"), hold, whom.into(), made, of(entry, "description")]
    }))
}

fn state(key: &Value) -> String {
    match (key["active"] == true, time(&key["expires_at"])) {
        (false, _) => "disabled".into(),
        (true, None) => "active".into(),
        (true, Some(at)) => format!("until {at}"),
    }
}

/// A line for each member; documents stand below their names.
fn lines(value: &Value) -> String {
    let mut out = String::new();
    for (name, value) in value.as_object().into_iter().flatten() {
        let _ = match value {
            Value::String(text) => writeln!(out, "{name}: {text}"),
            Value::Number(_) if name.ends_with("_at") || name == "sessions_from" || name == "not_after" => {
                writeln!(out, "{name}: {}", time(value).unwrap_or_default())
            }
            Value::Array(values) if values.iter().all(Value::is_string) => {
                let values: Vec<_> = values.iter().filter_map(Value::as_str).collect();
                writeln!(out, "{name}: {}", values.join(", "))
            }
            Value::Object(members) if members.values().all(Value::is_string) && name == "tags" => {
                let tags: Vec<_> = members
                    .iter()
                    .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
                    .collect();
                writeln!(out, "{name}: {}", tags.join(", "))
            }
            Value::Object(_) => writeln!(out, "{name}:\n{value:#}"),
            other => writeln!(out, "{name}: {other}"),
        };
    }
    out
}

fn table(heads: &[&str], entries: &[Value], row: impl Fn(&Value) -> Vec<String>) -> String {
    let mut rows = vec![heads.iter().map(|head| (*head).to_owned()).collect::<Vec<_>>()];
    rows.extend(entries.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width));
        let line = cells.collect::<Vec<_>>().join("  ");
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use serde_json::json;

    #[test]
    fn a_shell_can_take_what_is_printed_of_a_new_key() {
        let key = json!({"access_key_id": "AKIA1", "secret_access_key": "a+b/c", "user": "door", "policies": ["camera"],
            "tags": {"device": "door"}, "expires_at": 0});
        let text = environment(&key, &Endpoint::Known("http://nvr.local:8080".into()));
        let script = format!(
            "{text}\nprintf '%s|' \"$AWS_ACCESS_KEY_ID\" \"$AWS_SECRET_ACCESS_KEY\" \"$AWS_ENDPOINT_URL\" \"$CONTROL_PLANE_URI\" \"$AWS_DEFAULT_REGION\""
        );
        let done = std::process::Command::new("sh").args(["-euc", &script]).output().unwrap();
        let printed = String::from_utf8(done.stdout).unwrap();
        assert_eq!(printed, "AKIA1|a+b/c|http://nvr.local:8080|http://nvr.local:8080|us-east-1|");
        assert!(text.contains("of door: camera") && text.contains("1970-01-01 00:00:00 UTC"), "{text}");
        let text = environment(&key, &Endpoint::Port("http", 8080));
        assert!(!text.contains("\nexport AWS_ENDPOINT_URL") && text.contains("http://HOST:8080"), "{text}");
    }

    #[test]
    fn lists_are_tables() {
        let keys = json!({"keys": [
            {"access_key_id": "AKIA1", "user": "door", "active": true, "policies": ["camera"], "created_at": 0},
            {"access_key_id": "AKIA22", "user": "x", "active": false, "policies": [], "inline_policy": {}, "description": "old"},
        ]});
        let text = text(&keys);
        let rows: Vec<_> = text.lines().collect();
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[1], "AKIA1          door  active    camera     1970-01-01 00:00:00 UTC");
        assert_eq!(rows[2], "AKIA22         x     disabled  (its own)                           old");
        assert_eq!(super::text(&json!({"roles": []})).lines().count(), 1);
        assert_eq!(super::text(&Value::Null), "");
        let certificates = json!({"certificates": [{"id": "ab", "thing": "gate", "active": false, "role_aliases": ["a", "b"], "not_after": 0}]});
        assert!(super::text(&certificates).contains("ab  gate   revoked  a, b          1970-01-01 00:00:00 UTC"));
        let aliases = json!({"role_aliases": [{"name": "cams", "role": "camera", "credential_duration_s": 900, "device_ca": true}]});
        assert!(super::text(&aliases).contains("cams  camera  900 s             device authorities, registered"));
        let policies = json!({"policies": [{"name": "camera", "preset": true, "description": "d"}]});
        assert!(super::text(&policies).contains("camera  preset"));
    }

    #[test]
    fn one_thing_is_a_line_a_member() {
        let key = json!({"access_key_id": "AKIA1", "policies": ["a", "b"], "tags": {"k": "v"}, "created_at": 0, "inline_policy": {"Statement": []}});
        let text = text(&key);
        for line in [
            "access_key_id: AKIA1",
            "policies: a, b",
            "tags: k=v",
            "created_at: 1970-01-01 00:00:00 UTC",
            "inline_policy:",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}: {text}");
        }
    }
}
