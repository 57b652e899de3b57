//! What is asked for, as it stands in bodies and queries of the native API.

pub use crate::auth::identities::NewKey;
use crate::auth::identity::Tags;
use media::UnixMillis;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// A page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Page {
    /// The last name of the page before.
    pub after: Option<String>,
    /// At most so many; 100 by default, 1000 at most.
    pub limit: Option<usize>,
}

/// A page of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keys {
    /// Those of this user alone.
    pub user: Option<String>,
    /// See [`Page::after`].
    pub after: Option<String>,
    /// See [`Page::limit`].
    pub limit: Option<usize>,
}

impl Page {
    pub(super) fn query(&self) -> Vec<(&'static str, String)> {
        let after = self.after.clone().map(|after| ("after", after));
        after.into_iter().chain(self.limit.map(|limit| ("limit", limit.to_string()))).collect()
    }
}

impl Keys {
    pub(super) fn query(&self) -> Vec<(&'static str, String)> {
        let page = Page { after: self.after.clone(), limit: self.limit }.query();
        self.user.clone().map(|user| ("user", user)).into_iter().chain(page).collect()
    }
}

/// A legal hold that is to be placed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewHold {
    /// What it is called.
    pub name: String,
    /// First instant of producer time that it keeps.
    pub from: UnixMillis,
    /// Just after the last one.
    pub to: UnixMillis,
    /// Why.
    pub reason: String,
}

/// The version that a removal expects.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expected {
    pub(super) version: Option<u64>,
}

/// Tells a member that is `null` from one that is left out.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// What is to be different of a key; what is left out stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeyChange {
    /// The version that is expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Whether it may be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// From when on it may not; `null` for never.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub expires_at: Option<Option<UnixMillis>>,
    /// All names of presets and policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<String>>,
    /// A policy of its own; `null` for none.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub inline_policy: Option<Option<Value>>,
    /// All tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Tags>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether all sessions that it asked for so far are over.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub end_sessions: bool,
}

/// How a key takes another's place.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rotation {
    /// The version that is expected of the old key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// For how many seconds the old key still holds: a day by default, at most 30 days; 0 ends it at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap_s: Option<u32>,
}

/// A role to be made.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRole {
    /// Its name.
    pub name: String,
    /// Who may take it on: a trust policy.
    pub trust: Value,
    /// The longest session in seconds: 900 to 43200, by default 3600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_session_s: Option<u32>,
    /// Names of presets and policies.
    #[serde(default)]
    pub policies: Vec<String>,
    /// A policy of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline_policy: Option<Value>,
    /// Tags of its sessions.
    #[serde(default)]
    pub tags: Tags,
    /// For people.
    #[serde(default)]
    pub description: String,
}

/// What is to be different of a role; what is left out stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoleChange {
    /// The version that is expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Who may take it on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust: Option<Value>,
    /// The longest session in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_session_s: Option<u32>,
    /// All names of presets and policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<String>>,
    /// A policy of its own; `null` for none.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub inline_policy: Option<Option<Value>>,
    /// All tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Tags>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether all its sessions so far are over.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub end_sessions: bool,
}

/// A policy to be made.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPolicy {
    /// Its name.
    pub name: String,
    /// The policy document.
    pub document: Value,
    /// For people.
    #[serde(default)]
    pub description: String,
}

/// What is to be different of a policy; what is left out stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyChange {
    /// The version that is expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The policy document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document: Option<Value>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A page of certificates of devices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Certificates {
    /// Those of this thing alone.
    pub thing: Option<String>,
    /// See [`Page::after`].
    pub after: Option<String>,
    /// See [`Page::limit`].
    pub limit: Option<usize>,
}

impl Certificates {
    pub(super) fn query(&self) -> Vec<(&'static str, String)> {
        let page = Page { after: self.after.clone(), limit: self.limit }.query();
        self.thing.clone().map(|thing| ("thing", thing)).into_iter().chain(page).collect()
    }
}

/// A certificate to be registered: whole, or by its id.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NewCertificate {
    /// PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// SHA-256 of its DER in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The device that it is of; by default its common name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thing: Option<String>,
    /// The role aliases that it may use; `*` for all.
    pub role_aliases: Vec<String>,
    /// Whether it may be used: by default it may. One that may not is refused also where a device authority vouches for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// For people.
    pub description: String,
}

/// What is to be different of a certificate; what is left out stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CertificateChange {
    /// The version that is expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Whether it may be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// The device that it is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thing: Option<String>,
    /// All role aliases that it may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role_aliases: Option<Vec<String>>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A role alias to be made.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRoleAlias {
    /// Its name.
    pub name: String,
    /// The role, by name or ARN.
    pub role: String,
    /// How long its credentials hold, in seconds: 900 to 43200, by default 3600. The role's longest session is a bound too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_duration_s: Option<u32>,
    /// Whether every certificate of the device authorities may use it.
    #[serde(default)]
    pub device_ca: bool,
    /// For people.
    #[serde(default)]
    pub description: String,
}

/// What is to be different of a role alias; what is left out stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoleAliasChange {
    /// The version that is expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The role, by name or ARN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// How long its credentials hold, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_duration_s: Option<u32>,
    /// Whether every certificate of the device authorities may use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_ca: Option<bool>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}
