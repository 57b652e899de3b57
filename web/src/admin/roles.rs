//! Roles.

use super::{
    Desk, NewRole, Page, RoleChange,
    desk::{RightsChange, invalid, page, show_rights, to_value},
};
use crate::auth::{
    identities::{Rights, Role, check_name, new_role_id},
    policy::Policy,
};
use serde_json::{Value, json};
use store::{
    Error,
    documents::{Expect, ROLE},
};

/// The longest session of a role, in seconds, as AWS has it.
const SESSIONS_S: std::ops::RangeInclusive<u32> = 900..=43_200;
/// Where nothing is said.
const SESSION_S: u32 = 3600;

impl Desk<'_> {
    pub(super) async fn roles(&self, asked: &Page) -> Result<Value, Error> {
        let shown = |name: &str, version, role: Role| Some(self.show_role(name, version, &role));
        Ok(page("roles", self.list(ROLE, asked.after.as_deref(), asked.limit, shown).await?))
    }

    pub(super) async fn role(&self, name: &str) -> Result<Value, Error> {
        let (version, role) = self.read::<Role>(ROLE, name).await?;
        Ok(self.show_role(name, version, &role))
    }

    pub(super) async fn create_role(&self, new: &NewRole) -> Result<Value, Error> {
        check_name("name", &new.name)?;
        check_trust(&new.trust)?;
        let max_session_s = new.max_session_s.unwrap_or(SESSION_S);
        check_session(max_session_s)?;
        let inline = Some(new.inline_policy.clone()).filter(Option::is_some);
        let asked = RightsChange {
            policies: Some(&new.policies),
            inline_policy: inline.as_ref(),
            tags: Some(&new.tags),
            description: Some(&new.description),
            end_sessions: false,
        };
        self.check_rights(&asked).await?;
        let mut rights = Rights { created_at: self.store.now(), ..Rights::default() };
        self.apply(&asked, &mut rights);
        let role = Role { role_id: new_role_id(), trust: new.trust.clone(), max_session_s, rights };
        let version = self.store.put_document(ROLE, &new.name, Expect::Absent, to_value(&role)).await?;
        Ok(self.show_role(&new.name, version, &role))
    }

    pub(super) async fn change_role(&self, name: &str, asked: &RoleChange) -> Result<Value, Error> {
        let rights = RightsChange {
            policies: asked.policies.as_ref(),
            inline_policy: asked.inline_policy.as_ref(),
            tags: asked.tags.as_ref(),
            description: asked.description.as_ref(),
            end_sessions: asked.end_sessions,
        };
        self.check_rights(&rights).await?;
        asked.trust.as_ref().map_or(Ok(()), check_trust)?;
        asked.max_session_s.map_or(Ok(()), check_session)?;
        let changed = self.change(ROLE, name, asked.version, |role: &mut Role| {
            if let Some(trust) = &asked.trust {
                role.trust.clone_from(trust);
            }
            role.max_session_s = asked.max_session_s.unwrap_or(role.max_session_s);
            self.apply(&rights, &mut role.rights);
            Ok(())
        });
        changed.await.map(|(version, role)| self.show_role(name, version, &role))
    }

    pub(super) async fn delete_role(&self, name: &str, version: Option<u64>) -> Result<Value, Error> {
        self.remove(ROLE, name, version).await
    }

    pub(super) fn show_role(&self, name: &str, version: u64, role: &Role) -> Value {
        let mut shown = json!({
            "name": name,
            "version": version,
            "role_id": role.role_id,
            "arn": self.arn("role", name),
            "trust": role.trust,
            "max_session_s": role.max_session_s,
        });
        show_rights(&mut shown, &role.rights);
        shown
    }
}

fn check_trust(trust: &Value) -> Result<(), Error> {
    Policy::parse_trust(&trust.to_string()).map(drop).map_err(|e| invalid(format!("trust: {e}")))
}

fn check_session(seconds: u32) -> Result<(), Error> {
    match SESSIONS_S.contains(&seconds) {
        true => Ok(()),
        false => Err(invalid(format!("max_session_s: {seconds} is not in 900 to 43200"))),
    }
}
