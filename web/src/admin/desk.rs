//! The desk at which keys, roles and policies are managed: what all of them share.

use super::{Holder, NewHold, Request};
use crate::auth::identities::{Key, Rights, Role, check_policies, check_tags};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use store::{
    Error, Kind, Store, Stream,
    documents::{Expect, KEY, ROLE},
    holds::Hold,
};

/// The most entries of a page, and how many where nothing is said.
const MOST_LISTED: usize = 1000;
const LISTED: usize = 100;
/// Attempts at a change that names no version, where others change the same document meanwhile.
const ATTEMPTS: usize = 8;

/// Manages the identities of one store.
#[derive(Clone, Copy)]
pub struct Desk<'a> {
    pub(super) store: &'a Store,
    /// 12 digits, in ARNs.
    pub(super) account: &'a str,
}

pub(super) fn invalid(message: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, message.into())
}

/// What a change of a key or role says of its rights.
pub(super) struct RightsChange<'a> {
    pub(super) policies: Option<&'a Vec<String>>,
    pub(super) inline_policy: Option<&'a Option<Value>>,
    pub(super) tags: Option<&'a crate::auth::identity::Tags>,
    pub(super) description: Option<&'a String>,
    pub(super) end_sessions: bool,
}

impl<'a> Desk<'a> {
    /// The desk of a store; `account` has 12 digits and stands in ARNs.
    pub fn new(store: &'a Store, account: &'a str) -> Self {
        Desk { store, account }
    }

    /// Does what is asked. What is removed or detached gives `null`.
    ///
    /// # Errors
    /// `Invalid`: the message names the member; `NotFound`; `AlreadyExists`; `Conflict`: another version than expected, or
    /// something is still in use; what the store says.
    pub async fn answer(&self, request: &Request) -> Result<Value, Error> {
        match request {
            Request::Keys(keys) => self.keys(keys).await,
            Request::Key(id) => self.key(id).await,
            Request::CreateKey(new) => self.create_key(new).await,
            Request::ChangeKey(id, change) => self.change_key(id, change).await,
            Request::RotateKey(id, rotation) => self.rotate_key(id, rotation).await,
            Request::DeleteKey(id, version) => self.delete_key(id, *version).await,
            Request::Roles(page) => self.roles(page).await,
            Request::Role(name) => self.role(name).await,
            Request::CreateRole(new) => self.create_role(new).await,
            Request::ChangeRole(name, change) => self.change_role(name, change).await,
            Request::DeleteRole(name, version) => self.delete_role(name, *version).await,
            Request::Policies(page) => self.policies(page).await,
            Request::Policy(name) => self.policy(name).await,
            Request::CreatePolicy(new) => self.create_policy(new).await,
            Request::ChangePolicy(name, change) => self.change_policy(name, change).await,
            Request::DeletePolicy(name, version) => self.delete_policy(name, *version).await,
            Request::Certificates(asked) => self.certificates(asked).await,
            Request::Certificate(id) => self.certificate(id).await,
            Request::CreateCertificate(new) => self.create_certificate(new).await,
            Request::ChangeCertificate(id, change) => self.change_certificate(id, change).await,
            Request::DeleteCertificate(id, version) => self.delete_certificate(id, *version).await,
            Request::RoleAliases(page) => self.role_aliases(page).await,
            Request::RoleAlias(name) => self.role_alias(name).await,
            Request::CreateRoleAlias(new) => self.create_role_alias(new).await,
            Request::ChangeRoleAlias(name, change) => self.change_role_alias(name, change).await,
            Request::DeleteRoleAlias(name, version) => self.delete_role_alias(name, *version).await,
            Request::Attach(holder, policy) => self.attach(holder, policy).await,
            Request::Detach(holder, policy) => self.detach(holder, policy).await,
            Request::Holds(stream) => Ok(json!({"holds": self.stream(stream)?.holds()})),
            Request::PlaceHold(stream, new, by) => {
                let NewHold { name, from, to, reason } = new.clone();
                let hold = Hold { name, from, to, reason, placed_by: by.clone(), placed_at: self.store.now() };
                self.stream(stream)?.place_hold(hold.clone()).await?;
                Ok(json!(hold))
            }
            Request::LiftHold(stream, hold) => self.stream(stream)?.lift_hold(hold).await.map(|()| Value::Null),
        }
    }

    fn stream(&self, name: &str) -> Result<Stream, Error> {
        let none = || Error::new(Kind::NotFound, format!("there is no stream {name:?}"));
        self.store.stream(&name.parse().map_err(|_| none())?)
    }

    /// The ARN of a user, role or policy.
    pub(super) fn arn(&self, kind: &str, name: &str) -> String {
        format!("arn:aws:iam::{}:{kind}/{name}", self.account)
    }

    /// Reads a document.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        collection: &'static str,
        name: &str,
    ) -> Result<(u64, T), Error> {
        let none = || Error::new(Kind::NotFound, format!("there is no {collection} {name:?}"));
        if name.is_empty() || name.len() > store::documents::MAX_NAME_BYTES {
            return Err(none());
        }
        let document = self.store.document(collection, name).await?.ok_or_else(none)?;
        Ok((document.version, body(collection, name, document.body)?))
    }

    /// Changes a document: as the version that is expected, else as whichever is the newest.
    pub(super) async fn change<T: Serialize + DeserializeOwned>(
        &self,
        collection: &'static str,
        name: &str,
        expected: Option<u64>,
        mut change: impl FnMut(&mut T) -> Result<(), Error>,
    ) -> Result<(u64, T), Error> {
        for _ in 0..ATTEMPTS {
            let (version, mut body) = self.read::<T>(collection, name).await?;
            expect(collection, name, expected, version)?;
            change(&mut body)?;
            let value = to_value(&body);
            match self.store.put_document(collection, name, Expect::Version(version), value).await {
                Ok(version) => return Ok((version, body)),
                Err(error) if error.kind() == Kind::Conflict && expected.is_none() => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(Kind::Unavailable, format!("the {collection} {name} is being changed by others: try again")))
    }

    /// Removes a document.
    pub(super) async fn remove(
        &self,
        collection: &'static str,
        name: &str,
        expected: Option<u64>,
    ) -> Result<Value, Error> {
        let (version, _) = self.read::<Value>(collection, name).await?;
        expect(collection, name, expected, version)?;
        let expect = expected.map_or(Expect::Any, Expect::Version);
        self.store.delete_document(collection, name, expect).await?;
        Ok(Value::Null)
    }

    /// A page of a collection, those that `shown` shows.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        collection: &'static str,
        after: Option<&str>,
        limit: Option<usize>,
        shown: impl Fn(&str, u64, T) -> Option<Value>,
    ) -> Result<(Vec<Value>, Option<String>), Error> {
        let limit = limit.unwrap_or(LISTED);
        if !(1..=MOST_LISTED).contains(&limit) {
            return Err(invalid(format!("limit: {limit} is not in 1 to {MOST_LISTED}")));
        }
        let (mut entries, mut after) = (Vec::new(), after.map(str::to_owned));
        loop {
            let page = self.store.documents(collection, "", after.as_deref(), MOST_LISTED).await?;
            let is_last = page.len() < MOST_LISTED;
            for document in page {
                let shown = shown(&document.name, document.version, body(collection, &document.name, document.body)?);
                if let Some(entry) = shown {
                    if entries.len() == limit {
                        return Ok((entries, after));
                    }
                    entries.push(entry);
                }
                after = Some(document.name);
            }
            if is_last {
                return Ok((entries, None));
            }
        }
    }

    /// Checks what a change says of rights.
    pub(super) async fn check_rights(&self, change: &RightsChange<'_>) -> Result<(), Error> {
        let inline = change.inline_policy.and_then(Option::as_ref);
        check_policies(self.store, change.policies.map_or(&[], Vec::as_slice), inline).await?;
        change.tags.map_or(Ok(()), check_tags)?;
        change.description.map_or(Ok(()), |text| check_description(text))
    }

    /// Applies it, once it is checked.
    pub(super) fn apply(&self, change: &RightsChange<'_>, rights: &mut Rights) {
        if let Some(policies) = change.policies {
            rights.policies.clone_from(policies);
        }
        if let Some(inline) = change.inline_policy {
            rights.inline_policy.clone_from(inline);
        }
        if let Some(tags) = change.tags {
            rights.tags.clone_from(tags);
        }
        if let Some(description) = change.description {
            rights.description.clone_from(description);
        }
        if change.end_sessions {
            rights.sessions_from = Some(self.store.now());
        }
    }

    async fn attach(&self, holder: &Holder, policy: &str) -> Result<Value, Error> {
        check_policies(self.store, &[policy.to_owned()], None).await?;
        self.change_rights(holder, |rights| {
            if !rights.policies.iter().any(|name| name == policy) {
                rights.policies.push(policy.to_owned());
            }
            match rights.policies.len() {
                0..=20 => Ok(()),
                _ => Err(invalid("policies: it has 20, which is the most")),
            }
        })
        .await
    }

    async fn detach(&self, holder: &Holder, policy: &str) -> Result<Value, Error> {
        self.change_rights(holder, |rights| {
            let before = rights.policies.len();
            rights.policies.retain(|name| name != policy);
            match rights.policies.len() < before {
                true => Ok(()),
                false => Err(Error::new(Kind::NotFound, format!("it does not have the policy {policy:?}"))),
            }
        })
        .await
    }

    async fn change_rights(
        &self,
        holder: &Holder,
        change: impl Fn(&mut Rights) -> Result<(), Error>,
    ) -> Result<Value, Error> {
        match holder {
            Holder::Key(id) => {
                let changed = self.change(KEY, id, None, |key: &mut Key| change(&mut key.rights)).await;
                changed.map(|(version, key)| self.show_key(id, version, &key))
            }
            Holder::Role(name) => {
                let changed = self.change(ROLE, name, None, |role: &mut Role| change(&mut role.rights)).await;
                changed.map(|(version, role)| self.show_role(name, version, &role))
            }
        }
    }
}

/// Checks a text for people.
pub(super) fn check_description(text: &str) -> Result<(), Error> {
    match text.chars().count() <= 1000 && !text.chars().any(|c| c.is_control() && c != '\n') {
        true => Ok(()),
        false => Err(invalid("description: at most 1000 characters, none of them control characters")),
    }
}

fn expect(collection: &str, name: &str, expected: Option<u64>, version: u64) -> Result<(), Error> {
    match expected {
        Some(expected) if expected != version => {
            let text = format!("version: the {collection} {name} has version {version}, not {expected}: read it again");
            Err(Error::new(Kind::Conflict, text))
        }
        _ => Ok(()),
    }
}

/// Reads the body of a document. What serde says is left out: it may quote a sealed secret.
pub(super) fn body<T: DeserializeOwned>(collection: &str, name: &str, value: Value) -> Result<T, Error> {
    serde_json::from_value(value)
        .map_err(|_| Error::new(Kind::Corrupt, format!("the document of the {collection} {name} cannot be read")))
}

pub(super) fn to_value(body: &impl Serialize) -> Value {
    serde_json::to_value(body).expect("texts, numbers and JSON are JSON")
}

/// A page as it is answered.
pub(super) fn page(member: &str, (entries, next): (Vec<Value>, Option<String>)) -> Value {
    let mut page = json!({ member: entries });
    if let Some(next) = next {
        page["next"] = next.into();
    }
    page
}

/// Adds what is shown of rights.
pub(super) fn show_rights(shown: &mut Value, rights: &Rights) {
    shown["policies"] = json!(rights.policies);
    if let Some(inline) = &rights.inline_policy {
        shown["inline_policy"] = inline.clone();
    }
    shown["tags"] = json!(rights.tags);
    shown["description"] = json!(rights.description);
    shown["created_at"] = json!(rights.created_at);
    if let Some(from) = rights.sessions_from {
        shown["sessions_from"] = json!(from);
    }
}
