//! What the catalog's documents of keys, roles and policies hold.

use crate::auth::identity::Tags;
use media::UnixMillis;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// What keys and roles have in common: what they may do, and what policies and people are told of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rights {
    /// Names of presets and of policies.
    #[serde(default)]
    pub(crate) policies: Vec<String>,
    /// A policy of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) inline_policy: Option<Value>,
    /// `aws:PrincipalTag/…`; the tag `device` names the stream or channel that the presets *camera* and *master* are for.
    #[serde(default)]
    pub(crate) tags: Tags,
    /// When the key or role was made.
    pub(crate) created_at: UnixMillis,
    /// Sessions that began before this are over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sessions_from: Option<UnixMillis>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
}

/// An access key: the body of a document whose name is the access key id.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Key {
    /// Whose it is: the name in its ARN. Several keys may have one.
    pub(crate) user: String,
    /// The secret access key, sealed with the data folder's secret.
    pub(super) sealed_secret: String,
    /// Whether it may be used.
    #[serde(default = "yes")]
    pub(crate) active: bool,
    /// From when on it may not, such as when another took its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<UnixMillis>,
    /// What it may do.
    #[serde(flatten)]
    pub(crate) rights: Rights,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("user", &self.user).field("active", &self.active).finish_non_exhaustive()
    }
}

/// A role: the body of a document whose name is the role's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Role {
    /// `AROA…`: a new role of the same name has another one.
    pub(crate) role_id: String,
    /// Who may take it on: a trust policy.
    pub(crate) trust: Value,
    /// The longest session, in seconds.
    pub(crate) max_session_s: u32,
    /// What its sessions may do.
    #[serde(flatten)]
    pub(crate) rights: Rights,
}

/// A policy: the body of a document whose name is the policy's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NamedPolicy {
    /// The policy document.
    pub(crate) document: Value,
    /// When it was made.
    pub(crate) created_at: UnixMillis,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
}

fn yes() -> bool {
    true
}
