//! What the catalog's documents of certificates and role aliases hold.

use crate::auth::sealing::random_text;
use media::UnixMillis;
use serde::{Deserialize, Serialize};
use store::{Error, Kind};

/// A certificate that was registered: the body of a document whose name is its id, the SHA-256 of its DER in hexadecimal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Certificate {
    /// Whose it is. One that is not active needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) thing: Option<String>,
    /// The role aliases that it may use; `*` for all.
    #[serde(default)]
    pub(crate) role_aliases: Vec<String>,
    /// Whether it may be used.
    pub(crate) active: bool,
    /// When it ends, where it was registered whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) not_after: Option<UnixMillis>,
    pub(crate) created_at: UnixMillis,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
}

/// A role alias: the body of a document whose name is the alias's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RoleAlias {
    /// A new alias of the same name has another one.
    pub(crate) alias_id: String,
    /// The name of the role.
    pub(crate) role: String,
    /// How long its credentials hold, in seconds.
    pub(crate) credential_duration_s: u32,
    /// Whether every certificate of the device authorities may use it that is not registered itself.
    #[serde(default)]
    pub(crate) device_ca: bool,
    pub(crate) created_at: UnixMillis,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
}

/// A fresh id for a role alias.
pub(crate) fn new_alias_id() -> String {
    random_text(12)
}

/// Checks the name of a thing: it stands in policies in place of a variable. The cloud's rule, with full stops, which names of streams
/// have too.
///
/// # Errors
/// `Invalid`, naming the member.
pub(crate) fn check_thing(name: &str) -> Result<(), Error> {
    let fits = name.bytes().all(|b| b.is_ascii_alphanumeric() || b":_.-".contains(&b));
    match fits && (1..=128).contains(&name.len()) {
        true => Ok(()),
        false => Err(Error::new(
            Kind::Invalid,
            format!("thing: 1 to 128 of letters, digits and :_.- are needed, not {name:?}"),
        )),
    }
}
