//! Making access keys, and keeping their secrets.

use super::{
    checks::{check_name, check_policies, check_tags},
    records::{Key, Rights},
};
use crate::auth::{
    identity::Tags,
    sealing::{Sealer, random_text, secret_of},
};
use media::UnixMillis;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use store::{
    Store,
    documents::{Expect, KEY},
};

/// Seals and opens the secrets of keys: they are needed in clear to verify signatures.
pub(crate) struct KeySecrets(Sealer);

impl KeySecrets {
    /// Those of a data folder.
    pub(super) fn of(store: &Store) -> Self {
        KeySecrets(Sealer::new(&store.secret(), b"vidicon access key v1", &[]))
    }
    pub(super) fn open(&self, access_key_id: &str, key: &Key) -> Option<String> {
        String::from_utf8(self.0.open(access_key_id, &key.sealed_secret)?).ok()
    }
}

/// What a new key is to be.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// Whose it is: the name in its ARN. Several keys may have one.
    pub user: String,
    /// Names of presets and of policies.
    #[serde(default)]
    pub policies: Vec<String>,
    /// A policy of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline_policy: Option<Value>,
    /// `aws:PrincipalTag/…`; `device` names the stream or channel that the presets *camera* and *master* are for.
    #[serde(default)]
    pub tags: Tags,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// From when on it may not be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<UnixMillis>,
}

/// A key as it is shown once, when it is made. `Debug` shows the id alone.
pub struct MadeKey {
    /// `AKIA…`
    pub access_key_id: String,
    /// Never shown again.
    pub secret_access_key: String,
}

impl fmt::Debug for MadeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MadeKey").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// The secret of a key, sealed for its access key id.
pub(crate) struct Sealed(String);

impl Sealed {
    /// A fresh id and secret, and what is kept of them.
    pub(crate) fn new(store: &Store) -> (MadeKey, Sealed) {
        let mut bytes = [0; 30];
        getrandom::fill(&mut bytes).expect("the system has a random source");
        let secret_access_key = secret_of(&bytes);
        let access_key_id = format!("AKIA{}", random_text(16));
        let sealed = KeySecrets::of(store).0.seal(&access_key_id, secret_access_key.as_bytes());
        (MadeKey { access_key_id, secret_access_key }, Sealed(sealed))
    }
}

impl Key {
    /// The same with another secret, for another access key id.
    pub(crate) fn with_secret(self, sealed: Sealed) -> Key {
        Key { sealed_secret: sealed.0, ..self }
    }
}

/// Makes an access key. The secret is in the answer, and sealed in the catalog.
///
/// # Errors
/// `Invalid` for names, tags or policies that do not fit; what the store says.
pub async fn create_key(store: &Store, new: NewKey) -> Result<MadeKey, store::Error> {
    check_name("user", &new.user)?;
    check_tags(&new.tags)?;
    check_policies(store, &new.policies, new.inline_policy.as_ref()).await?;
    let (made, Sealed(sealed_secret)) = Sealed::new(store);
    let NewKey { user, policies, inline_policy, tags, description, expires_at } = new;
    let created_at = store.now();
    let rights = Rights { policies, inline_policy, tags, created_at, sessions_from: None, description };
    let key = Key { user, sealed_secret, active: true, expires_at, rights };
    let body = serde_json::to_value(key).expect("texts and integers are JSON");
    store.put_document(KEY, &made.access_key_id, Expect::Absent, body).await?;
    Ok(made)
}

/// A fresh id for a role.
pub(crate) fn new_role_id() -> String {
    format!("AROA{}", random_text(16))
}
