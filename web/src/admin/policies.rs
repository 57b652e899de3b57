//! Policies, and the presets, which can be read like them.

use super::{
    Desk, NewPolicy, Page, PolicyChange,
    desk::{check_description, invalid, page, to_value},
};
use crate::auth::{
    identities::{Key, NamedPolicy, Rights, Role, check_name},
    policy::{Policy, presets},
};
use serde_json::{Value, json};
use store::{
    Error, Kind,
    documents::{Expect, KEY, POLICY, ROLE},
};

impl Desk<'_> {
    pub(super) async fn policies(&self, asked: &Page) -> Result<Value, Error> {
        let without_document = |name: &str, version, policy: NamedPolicy| {
            let mut shown = self.show_policy(name, version, &policy);
            shown.as_object_mut().map(|object| object.remove("document"));
            Some(shown)
        };
        let (mut entries, next) = self.list(POLICY, asked.after.as_deref(), asked.limit, without_document).await?;
        // The presets stand before the first page, beyond its limit.
        if asked.after.is_none() {
            let presets = presets::NAMES.into_iter().filter_map(|name| {
                let mut shown = show_preset(name)?;
                shown.as_object_mut()?.remove("document");
                Some(shown)
            });
            entries.splice(0..0, presets);
        }
        Ok(page("policies", (entries, next)))
    }

    pub(super) async fn policy(&self, name: &str) -> Result<Value, Error> {
        if let Some(preset) = show_preset(name) {
            return Ok(preset);
        }
        let (version, policy) = self.read::<NamedPolicy>(POLICY, name).await?;
        Ok(self.show_policy(name, version, &policy))
    }

    pub(super) async fn create_policy(&self, new: &NewPolicy) -> Result<Value, Error> {
        check_name("name", &new.name)?;
        not_preset(&new.name)?;
        check_document(&new.document)?;
        check_description(&new.description)?;
        let policy = NamedPolicy {
            document: new.document.clone(),
            created_at: self.store.now(),
            description: new.description.clone(),
        };
        let version = self.store.put_document(POLICY, &new.name, Expect::Absent, to_value(&policy)).await?;
        Ok(self.show_policy(&new.name, version, &policy))
    }

    pub(super) async fn change_policy(&self, name: &str, asked: &PolicyChange) -> Result<Value, Error> {
        not_preset(name)?;
        asked.document.as_ref().map_or(Ok(()), check_document)?;
        asked.description.as_deref().map_or(Ok(()), check_description)?;
        let changed = self.change(POLICY, name, asked.version, |policy: &mut NamedPolicy| {
            if let Some(document) = &asked.document {
                policy.document.clone_from(document);
            }
            if let Some(description) = &asked.description {
                policy.description.clone_from(description);
            }
            Ok(())
        });
        changed.await.map(|(version, policy)| self.show_policy(name, version, &policy))
    }

    pub(super) async fn delete_policy(&self, name: &str, version: Option<u64>) -> Result<Value, Error> {
        not_preset(name)?;
        // A name without a policy allows nothing at all: whoever has it would be locked out.
        let has = |rights: &Rights| rights.policies.iter().any(|policy| policy == name);
        let one = Some(1);
        let key = |id: &str, _, key: Key| has(&key.rights).then(|| json!(format!("key {id} ({})", key.user)));
        let role = |name: &str, _, role: Role| has(&role.rights).then(|| json!(format!("role {name}")));
        let mut holders = self.list(KEY, None, one, key).await?.0;
        holders.extend(self.list(ROLE, None, one, role).await?.0);
        if let Some(holder) = holders.first().and_then(Value::as_str) {
            return Err(Error::new(
                Kind::Conflict,
                format!("the policy {name} is in use by {holder}: detach it first"),
            ));
        }
        self.remove(POLICY, name, version).await
    }

    fn show_policy(&self, name: &str, version: u64, policy: &NamedPolicy) -> Value {
        json!({
            "name": name,
            "version": version,
            "arn": self.arn("policy", name),
            "preset": false,
            "document": policy.document,
            "description": policy.description,
            "created_at": policy.created_at,
        })
    }
}

fn show_preset(name: &str) -> Option<Value> {
    let (document, description) = (presets::document(name)?, presets::description(name)?);
    Some(json!({"name": name, "preset": true, "document": document, "description": description}))
}

fn not_preset(name: &str) -> Result<(), Error> {
    match presets::NAMES.contains(&name) {
        true => Err(invalid(format!("name: {name} is a preset, which stays as it is; copy it under another name"))),
        false => Ok(()),
    }
}

fn check_document(document: &Value) -> Result<(), Error> {
    Policy::parse(&document.to_string()).map(drop).map_err(|e| invalid(format!("document: {e}")))
}
