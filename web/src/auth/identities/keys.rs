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
use serde_json::Value;
use std::fmt;
use store::{
    Store,
    documents::{Expect, KEY},
};

/// Seals and opens the secrets of keys: they are needed in clear to verify signatures.
pub struct KeySecrets(Sealer);

impl KeySecrets {
    /// Those of a data folder.
    pub fn of(store: &Store) -> Self {
        KeySecrets(Sealer::new(&store.secret(), b"vidicon access key v1", &[]))
    }
    pub(super) fn open(&self, access_key_id: &str, key: &Key) -> Option<String> {
        String::from_utf8(self.0.open(access_key_id, &key.sealed_secret)?).ok()
    }
}

/// What a new key is to be.
#[derive(Clone, Debug, Default)]
pub struct NewKey {
    /// See [`Key::user`].
    pub user: String,
    /// See [`Rights::policies`].
    pub policies: Vec<String>,
    /// See [`Rights::inline_policy`].
    pub inline_policy: Option<Value>,
    /// See [`Rights::tags`].
    pub tags: Tags,
    /// See [`Rights::description`].
    pub description: String,
    /// See [`Key::expires_at`].
    pub expires_at: Option<UnixMillis>,
}

/// A key as it is shown once, when it is made. `Debug` shows the id alone.
pub struct MadeKey {
    /// `AKIA…`
    pub access_key_id: String,
    /// Never shown again.
    pub secret_access_key: String,
    /// The document's version.
    pub version: u64,
}

impl fmt::Debug for MadeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MadeKey").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
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
    let mut bytes = [0; 30];
    getrandom::fill(&mut bytes).expect("the system has a random source");
    let secret_access_key = secret_of(&bytes);
    let access_key_id = format!("AKIA{}", random_text(16));
    let NewKey { user, policies, inline_policy, tags, description, expires_at } = new;
    let created_at = store.now();
    let rights = Rights { policies, inline_policy, tags, created_at, sessions_from: None, description };
    let key = Key {
        user,
        sealed_secret: KeySecrets::of(store).0.seal(&access_key_id, secret_access_key.as_bytes()),
        active: true,
        expires_at,
        rights,
    };
    let body = serde_json::to_value(key).expect("texts and integers are JSON");
    let version = store.put_document(KEY, &access_key_id, Expect::Absent, body).await?;
    Ok(MadeKey { access_key_id, secret_access_key, version })
}

/// A fresh id for a role.
pub fn new_role_id() -> String {
    format!("AROA{}", random_text(16))
}
