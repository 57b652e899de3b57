//! Access keys.

use super::{
    Desk, KeyChange, Keys, NewKey, Rotation,
    desk::{RightsChange, check_description, invalid, page, show_rights, to_value},
};
use crate::auth::identities::{Key, MadeKey, Sealed, create_key};
use media::UnixMillis;
use serde_json::{Value, json};
use store::{
    Error, Kind,
    documents::{Change, Expect, KEY},
};

/// How long a key that was rotated still holds, unless something else is said; and the longest.
const OVERLAP_S: u32 = 24 * 3600;
const MOST_OVERLAP_S: u32 = 30 * OVERLAP_S;

impl Desk<'_> {
    pub(super) async fn keys(&self, asked: &Keys) -> Result<Value, Error> {
        let of_user = |key: &Key| asked.user.as_ref().is_none_or(|user| *user == key.user);
        let shown = |id: &str, version, key: Key| of_user(&key).then(|| self.show_key(id, version, &key));
        Ok(page("keys", self.list(KEY, asked.after.as_deref(), asked.limit, shown).await?))
    }

    pub(super) async fn key(&self, id: &str) -> Result<Value, Error> {
        let (version, key) = self.read::<Key>(KEY, id).await?;
        Ok(self.show_key(id, version, &key))
    }

    pub(super) async fn create_key(&self, new: &NewKey) -> Result<Value, Error> {
        check_description(&new.description)?;
        check_end(new.expires_at, self.store.now())?;
        let made = create_key(self.store, new.clone()).await?;
        self.show_made(&made).await
    }

    pub(super) async fn change_key(&self, id: &str, asked: &KeyChange) -> Result<Value, Error> {
        let rights = RightsChange {
            policies: asked.policies.as_ref(),
            inline_policy: asked.inline_policy.as_ref(),
            tags: asked.tags.as_ref(),
            description: asked.description.as_ref(),
            end_sessions: asked.end_sessions,
        };
        self.check_rights(&rights).await?;
        check_end(asked.expires_at.flatten(), self.store.now())?;
        let changed = self.change(KEY, id, asked.version, |key: &mut Key| {
            key.active = asked.active.unwrap_or(key.active);
            key.expires_at = asked.expires_at.unwrap_or(key.expires_at);
            self.apply(&rights, &mut key.rights);
            Ok(())
        });
        changed.await.map(|(version, key)| self.show_key(id, version, &key))
    }

    /// The new key has the rights and the end of the old one, which holds until the overlap is over. Both change in one transaction.
    pub(super) async fn rotate_key(&self, id: &str, asked: &Rotation) -> Result<Value, Error> {
        let overlap_s = asked.overlap_s.unwrap_or(OVERLAP_S);
        if overlap_s > MOST_OVERLAP_S {
            return Err(invalid(format!("overlap_s: {overlap_s} is more than {MOST_OVERLAP_S}")));
        }
        let (version, mut old) = self.read::<Key>(KEY, id).await?;
        if asked.version.is_some_and(|expected| expected != version) {
            return Err(Error::new(
                Kind::Conflict,
                format!("version: the key {id} has version {version}: read it again"),
            ));
        }
        let now = self.store.now();
        if !old.active || old.expires_at.is_some_and(|at| at <= now) {
            return Err(Error::new(Kind::Conflict, format!("the key {id} is not active: make a new one")));
        }
        let (made, sealed) = Sealed::new(self.store);
        let mut new = old.clone().with_secret(sealed);
        new.rights.created_at = now;
        new.rights.sessions_from = None;
        let end = now.plus(i64::from(overlap_s) * 1000);
        old.expires_at = Some(old.expires_at.map_or(end, |at| at.min(end)));
        let put = |name: &str, expect, key: &Key| Change::Put {
            collection: KEY,
            name: name.to_owned(),
            expect,
            body: to_value(key),
        };
        let changes = vec![put(&made.access_key_id, Expect::Absent, &new), put(id, Expect::Version(version), &old)];
        self.store.change_documents(changes).await?;
        self.show_made(&made).await
    }

    pub(super) async fn delete_key(&self, id: &str, version: Option<u64>) -> Result<Value, Error> {
        self.remove(KEY, id, version).await
    }

    /// A key as it is shown; never its secret.
    pub(super) fn show_key(&self, id: &str, version: u64, key: &Key) -> Value {
        let mut shown = json!({
            "access_key_id": id,
            "version": version,
            "user": key.user,
            "arn": self.arn("user", &key.user),
            "active": key.active,
        });
        if let Some(at) = key.expires_at {
            shown["expires_at"] = json!(at);
        }
        show_rights(&mut shown, &key.rights);
        shown
    }

    /// A key that was made just now, with its secret.
    async fn show_made(&self, made: &MadeKey) -> Result<Value, Error> {
        let mut shown = self.key(&made.access_key_id).await?;
        shown["secret_access_key"] = json!(made.secret_access_key);
        Ok(shown)
    }
}

fn check_end(at: Option<UnixMillis>, now: UnixMillis) -> Result<(), Error> {
    match at {
        Some(at) if at <= now => Err(invalid("expires_at: this is not in the future; `active` ends a key at once")),
        _ => Ok(()),
    }
}
