//! What must hold of names, tags and policies before they go into the catalog.

use crate::auth::{
    identity::Tags,
    policy::{Policy, presets},
};
use serde_json::Value;
use store::{Kind, Store, documents::POLICY};

fn invalid(message: String) -> store::Error {
    store::Error::new(Kind::Invalid, message)
}

/// Checks the name of a user, role or policy: it stands in ARNs.
///
/// # Errors
/// `Invalid`, naming `what`.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), store::Error> {
    let fits = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b));
    // Clients take these two out of paths.
    let fits = fits && !matches!(name, "." | "..");
    match fits && (1..=64).contains(&name.len()) {
        true => Ok(()),
        false => Err(invalid(format!("{what}: 1 to 64 of letters, digits and +=,.@_- are needed, not {name:?}"))),
    }
}

/// Checks what a key or role is to be allowed: its own policy can be read, and the named ones exist.
///
/// # Errors
/// `Invalid`, naming the policy; what the store says.
pub(crate) async fn check_policies(
    store: &Store,
    names: &[String],
    inline: Option<&Value>,
) -> Result<(), store::Error> {
    if names.len() > 20 {
        return Err(invalid(format!("policies: at most 20, not {}", names.len())));
    }
    if let Some(document) = inline {
        Policy::parse(&document.to_string()).map_err(|e| invalid(format!("inline_policy: {e}")))?;
    }
    for name in names {
        if presets::policy(name).is_none() && store.document(POLICY, name).await?.is_none() {
            return Err(invalid(format!("policies: there is no policy {name:?}")));
        }
    }
    Ok(())
}

/// Checks tags of a key, role or session: at most 50, keys of 1 to 128 and values of at most 256 characters.
///
/// # Errors
/// `Invalid`, naming the tag.
pub(crate) fn check_tags(tags: &Tags) -> Result<(), store::Error> {
    if tags.len() > 50 {
        return Err(invalid(format!("tags: at most 50, not {}", tags.len())));
    }
    let wrong =
        |(key, value): &(&String, &String)| !(1..=128).contains(&key.chars().count()) || value.chars().count() > 256;
    match tags.iter().find(wrong) {
        Some((key, _)) => Err(invalid(format!("tags: {key:?} is too long, or its value is"))),
        None => Ok(()),
    }
}
