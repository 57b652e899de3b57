//! From arguments to requests.

use super::args::{Changes, HoldCommand, KeyCommand, PolicyCommand, Rights, RoleCommand};
use crate::running::Failure;
use media::{StreamName, UnixMillis};
use serde_json::{Value, json};
use std::{collections::BTreeMap, io::Read, path::Path};
use web::admin::{
    Holder, KeyChange, Keys, NewHold, NewKey, NewPolicy, NewRole, PRESETS, Page, PolicyChange, Request, RoleChange,
    Rotation, instant, narrowed,
};

/// The longest file that is read as a document.
const MOST_BYTES: u64 = 1 << 20;

pub(super) fn of_key(command: KeyCommand, now: UnixMillis) -> Result<Request, Failure> {
    Ok(match command {
        KeyCommand::Create { user, rights, expires_in } => {
            let named = rights.stream.as_ref().or(rights.channel.as_ref()).map(ToString::to_string);
            let user = user.or(named).ok_or_else(|| Failure::config("--user or --stream is needed"))?;
            let expires_at = expires_in.map(|text| Ok::<_, Failure>(now.plus(seconds(&text)? * 1000))).transpose()?;
            let Given { policies, inline_policy, tags, description } = given(rights)?;
            Request::CreateKey(NewKey { user, policies, inline_policy, tags, description, expires_at })
        }
        KeyCommand::List { user } => Request::Keys(Keys { user, after: None, limit: Some(1000) }),
        KeyCommand::Show { id } => Request::Key(id),
        KeyCommand::Enable { id, expected } => Request::ChangeKey(
            id,
            KeyChange { version: expected.if_version, active: Some(true), ..KeyChange::default() },
        ),
        KeyCommand::Disable { id, expected } => {
            let change = KeyChange { version: expected.if_version, active: Some(false), ..KeyChange::default() };
            Request::ChangeKey(id, change)
        }
        KeyCommand::Update { id, changes, expires_in } => {
            let expires_at = match expires_in.as_deref() {
                None => None,
                Some("never") => Some(None),
                Some(text) => Some(Some(now.plus(seconds(text)? * 1000))),
            };
            let version = changes.expected.if_version;
            let (inline_policy, tags, description, end_sessions) = different(changes)?;
            let change = KeyChange {
                version,
                expires_at,
                inline_policy,
                tags,
                description,
                end_sessions,
                ..KeyChange::default()
            };
            Request::ChangeKey(id, change)
        }
        KeyCommand::Rotate { id, overlap, expected } => {
            let overlap_s = overlap.map(|text| small(&text)).transpose()?;
            Request::RotateKey(id, Rotation { version: expected.if_version, overlap_s })
        }
        KeyCommand::Delete { id, expected } => Request::DeleteKey(id, expected.if_version),
        KeyCommand::Attach { id, policy } => Request::Attach(Holder::Key(id), policy),
        KeyCommand::Detach { id, policy } => Request::Detach(Holder::Key(id), policy),
    })
}

pub(super) fn of_role(command: RoleCommand) -> Result<Request, Failure> {
    Ok(match command {
        RoleCommand::Create { name, trust, max_session, rights } => {
            let (trust, max_session_s) = (document(&trust)?, max_session.map(|text| small(&text)).transpose()?);
            let Given { policies, inline_policy, tags, description } = given(rights)?;
            Request::CreateRole(NewRole { name, trust, max_session_s, policies, inline_policy, tags, description })
        }
        RoleCommand::List => Request::Roles(Page { after: None, limit: Some(1000) }),
        RoleCommand::Show { name } => Request::Role(name),
        RoleCommand::Update { name, trust, max_session, changes } => {
            let trust = trust.as_deref().map(document).transpose()?;
            let max_session_s = max_session.map(|text| small(&text)).transpose()?;
            let version = changes.expected.if_version;
            let (inline_policy, tags, description, end_sessions) = different(changes)?;
            let policies = None;
            let change =
                RoleChange { version, trust, max_session_s, policies, inline_policy, tags, description, end_sessions };
            Request::ChangeRole(name, change)
        }
        RoleCommand::Delete { name, expected } => Request::DeleteRole(name, expected.if_version),
        RoleCommand::Attach { name, policy } => Request::Attach(Holder::Role(name), policy),
        RoleCommand::Detach { name, policy } => Request::Detach(Holder::Role(name), policy),
    })
}

pub(super) fn of_policy(command: PolicyCommand) -> Result<Request, Failure> {
    Ok(match command {
        PolicyCommand::Create { name, document: file, description } => {
            let description = description.unwrap_or_default();
            Request::CreatePolicy(NewPolicy { name, document: document(&file)?, description })
        }
        PolicyCommand::List => Request::Policies(Page { after: None, limit: Some(1000) }),
        PolicyCommand::Show { name } => Request::Policy(name),
        PolicyCommand::Update { name, document: file, description, expected } => {
            let document = file.as_deref().map(document).transpose()?;
            Request::ChangePolicy(name, PolicyChange { version: expected.if_version, document, description })
        }
        PolicyCommand::Delete { name, expected } => Request::DeletePolicy(name, expected.if_version),
    })
}

pub(super) fn of_hold(command: HoldCommand) -> Result<Request, Failure> {
    let time = |option: &str, text: &str| {
        let why = || Failure::config(format!("--{option} {text:?}: such as 2026-11-23T06:00:00Z is needed"));
        instant(text).ok_or_else(why)
    };
    Ok(match command {
        HoldCommand::Place { stream, name, from, to, reason } => {
            let new = NewHold { name, from: time("from", &from)?, to: time("to", &to)?, reason };
            Request::PlaceHold(stream.to_string(), new, "the command line".to_owned())
        }
        HoldCommand::List { stream } => Request::Holds(stream.to_string()),
        HoldCommand::Lift { stream, name } => Request::LiftHold(stream.to_string(), name),
    })
}

/// What was said of rights, as the API takes it.
struct Given {
    policies: Vec<String>,
    inline_policy: Option<Value>,
    tags: BTreeMap<String, String>,
    description: String,
}

/// Presets for one stream or channel alone: *camera* and *master* are that already, by the tag `device`; of others a copy that
/// names it becomes the policy of its own.
fn given(rights: Rights) -> Result<Given, Failure> {
    let Rights { presets, mut policies, stream, channel, policy_file, tags, description } = rights;
    let mut tags = read_tags(&tags)?;
    let device = stream.as_ref().or(channel.as_ref());
    if device.is_some() && presets.is_empty() {
        return Err(Failure::config("--stream and --channel say what presets are for: --preset is needed too"));
    }
    if let Some(device) = device {
        tags.entry("device".to_owned()).or_insert_with(|| device.to_string());
    }
    let mut statements = Vec::new();
    for preset in presets {
        if !PRESETS.contains(&preset.as_str()) {
            return Err(Failure::config(format!("there is no preset {preset:?}: there are {}", PRESETS.join(", "))));
        }
        let of_channels = matches!(preset.as_str(), "master" | "viewer");
        let meant: Option<&StreamName> = if of_channels { channel.as_ref().or(device) } else { device };
        let by_tag = matches!(preset.as_str(), "camera" | "master") && meant == device;
        match meant {
            Some(name) if !by_tag => {
                let mut document = narrowed(&preset, name).ok_or_else(|| {
                    Failure::config(format!("the preset {preset} is for everything: it takes no --stream"))
                })?;
                if let Some(of_preset) = document["Statement"].as_array_mut() {
                    statements.append(of_preset);
                }
            }
            _ => policies.insert(0, preset),
        }
    }
    let inline_policy = match (policy_file, statements.is_empty()) {
        (Some(file), _) => Some(document(&file)?),
        (None, true) => None,
        (None, false) => Some(json!({"Version": "2012-10-17", "Statement": statements})),
    };
    Ok(Given { policies, inline_policy, tags, description: description.unwrap_or_default() })
}

type Different = (Option<Option<Value>>, Option<BTreeMap<String, String>>, Option<String>, bool);

fn different(changes: Changes) -> Result<Different, Failure> {
    let inline = match (&changes.policy_file, changes.no_policy_file) {
        (Some(file), _) => Some(Some(document(file)?)),
        (None, true) => Some(None),
        (None, false) => None,
    };
    let tags = (!changes.tags.is_empty()).then(|| read_tags(&changes.tags)).transpose()?;
    Ok((inline, tags, changes.description, changes.end_sessions))
}

fn read_tags(given: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let read = |tag: &String| tag.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    let tag = |tag| read(tag).ok_or_else(|| Failure::config(format!("--tag {tag}: KEY=VALUE is needed")));
    given.iter().map(tag).collect()
}

/// A JSON document out of a file, or standard input.
fn document(file: &Path) -> Result<Value, Failure> {
    let text = text(file)?;
    serde_json::from_str(&text).map_err(|e| Failure::other(format!("{} is no JSON: {e}", file.display())))
}

/// The text of a file, or of standard input.
pub(super) fn text(file: &Path) -> Result<String, Failure> {
    let failed = |e: std::io::Error| Failure::other(format!("{} cannot be read: {e}", file.display()));
    let mut text = String::new();
    let read = match file.as_os_str() == "-" {
        true => std::io::stdin().take(MOST_BYTES).read_to_string(&mut text),
        false => std::fs::File::open(file).map_err(failed)?.take(MOST_BYTES).read_to_string(&mut text),
    };
    read.map_err(failed)?;
    Ok(text)
}

/// A length of time such as `90d`, `12h`, `30m`, `0s`, in seconds.
fn seconds(text: &str) -> Result<i64, Failure> {
    let wrong = || Failure::config(format!("{text:?} is no length of time: such as 90d, 12h, 30m or 45s is needed"));
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let unit: u32 = match unit {
        "d" => 24 * 3600,
        "h" => 3600,
        "m" => 60,
        "s" => 1,
        _ => return Err(wrong()),
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    Ok(i64::from(number) * i64::from(unit))
}

/// The same, where so many seconds would be refused anyway.
pub(super) fn small(text: &str) -> Result<u32, Failure> {
    seconds(text)?.try_into().map_err(|_| Failure::config(format!("{text:?} is too long")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn rights(presets: &[&str], stream: Option<&str>, channel: Option<&str>) -> Rights {
        let name = |text: Option<&str>| text.map(|text| text.parse().unwrap());
        let presets = presets.iter().map(|p| (*p).to_owned()).collect();
        Rights { presets, stream: name(stream), channel: name(channel), ..Rights::default() }
    }

    #[test]
    fn presets_are_narrowed_to_the_stream() {
        let camera = given(rights(&["camera"], Some("door"), None)).unwrap();
        assert_eq!((camera.policies, camera.inline_policy), (vec!["camera".to_owned()], None));
        assert_eq!(camera.tags["device"], "door");
        let plays = given(rights(&["playback", "viewer"], Some("door"), Some("talk"))).unwrap();
        assert!(plays.policies.is_empty());
        let statements = plays.inline_policy.unwrap()["Statement"].clone();
        assert_eq!(statements[0]["Resource"], "arn:aws:kinesisvideo:*:*:stream/door/*");
        assert_eq!(statements[1]["Resource"], "arn:aws:kinesisvideo:*:*:channel/talk/*");
        let both = given(rights(&["camera", "master"], Some("door"), Some("talk"))).unwrap();
        assert_eq!((both.policies, both.tags["device"].as_str()), (vec!["camera".to_owned()], "door"));
        let all = given(rights(&["playback"], None, None)).unwrap();
        assert_eq!((all.policies, all.inline_policy, all.tags.len()), (vec!["playback".to_owned()], None, 0));
        for (wrong, part) in [
            (rights(&["admin"], Some("door"), None), "admin"),
            (rights(&["root"], None, None), "no preset"),
            (rights(&[], Some("door"), None), "--preset"),
        ] {
            let error = given(wrong).err().unwrap().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn lengths_of_time() {
        assert_eq!(seconds("90d").unwrap(), 90 * 86_400);
        assert_eq!((seconds("12h").unwrap(), seconds("0s").unwrap(), seconds("30m").unwrap()), (43_200, 0, 1800));
        for wrong in ["", "d", "5", "5w", "-1d", "1.5h", "é"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
        assert!(small("4294967295d").is_err());
    }
}
