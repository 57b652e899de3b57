//! Keys, roles, policies, certificates of devices, role aliases and legal holds managed: by REST ([`rest`]), and by the command line, which either asks a running server by the same
//! REST or opens the data folder itself. Both make a [`Request`] and get the same JSON.
//!
//! What belongs here: what may be changed, how, and how it is shown. What does not: whom a key stands for and what policies mean
//! (`auth`).

pub(crate) mod audit;
mod desk;
pub(crate) mod device_rest;
mod devices;
mod input;
mod keys;
mod policies;
pub(crate) mod rest;
mod roles;

pub use crate::auth::policy::presets::{NAMES as PRESETS, narrowed};
pub use desk::Desk;
pub use devices::certificate_id;
pub use input::{
    CertificateChange, Certificates, KeyChange, Keys, NewCertificate, NewHold, NewKey, NewPolicy, NewRole,
    NewRoleAlias, Page, PolicyChange, RoleAliasChange, RoleChange, Rotation,
};

use serde_json::Value;

/// Whom a policy is attached to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A key, by its access key id.
    Key(String),
    /// A role, by its name.
    Role(String),
}

/// Something to be done with keys, roles and policies. Removals may name the version that they expect.
#[derive(Clone, Debug)]
pub enum Request {
    /// Keys, in pages.
    Keys(Keys),
    /// One key.
    Key(String),
    /// Makes a key; its secret is in this answer alone.
    CreateKey(NewKey),
    /// Changes a key.
    ChangeKey(String, KeyChange),
    /// Makes a key that takes another's place; its secret is in this answer alone.
    RotateKey(String, Rotation),
    /// Removes a key, and ends its sessions.
    DeleteKey(String, Option<u64>),
    /// Roles, in pages.
    Roles(Page),
    /// One role.
    Role(String),
    /// Makes a role.
    CreateRole(NewRole),
    /// Changes a role.
    ChangeRole(String, RoleChange),
    /// Removes a role, and ends its sessions.
    DeleteRole(String, Option<u64>),
    /// Presets and policies, in pages, without their documents.
    Policies(Page),
    /// One preset or policy.
    Policy(String),
    /// Makes a policy.
    CreatePolicy(NewPolicy),
    /// Changes a policy.
    ChangePolicy(String, PolicyChange),
    /// Removes a policy that nobody has.
    DeletePolicy(String, Option<u64>),
    /// Certificates of devices, in pages.
    Certificates(Certificates),
    /// One certificate, by its id.
    Certificate(String),
    /// Registers a certificate.
    CreateCertificate(NewCertificate),
    /// Changes what is kept of a certificate; what was given for it ends where it would not be given any more.
    ChangeCertificate(String, CertificateChange),
    /// Forgets a certificate.
    DeleteCertificate(String, Option<u64>),
    /// Role aliases, in pages.
    RoleAliases(Page),
    /// One role alias.
    RoleAlias(String),
    /// Makes a role alias.
    CreateRoleAlias(NewRoleAlias),
    /// Changes a role alias.
    ChangeRoleAlias(String, RoleAliasChange),
    /// Removes a role alias, and ends what was given out by it.
    DeleteRoleAlias(String, Option<u64>),
    /// Gives a key or role a preset or policy.
    Attach(Holder, String),
    /// Takes it away.
    Detach(Holder, String),
    /// The legal holds of a stream.
    Holds(String),
    /// Places one on a stream, by whom.
    PlaceHold(String, NewHold, String),
    /// Lifts one of a stream.
    LiftHold(String, String),
}

impl Request {
    /// The same as a request of the native API: method, path with query, and body.
    pub fn http(&self) -> (&'static str, String, Option<Value>) {
        let body = |value: serde_json::Result<Value>| Some(value.expect("texts, numbers and JSON are JSON"));
        match self {
            Request::Keys(keys) => ("GET", listing("/v1/keys", &keys.query()), None),
            Request::Key(id) => ("GET", path(&["keys", id]), None),
            Request::CreateKey(new) => ("POST", path(&["keys"]), body(serde_json::to_value(new))),
            Request::ChangeKey(id, change) => ("PATCH", path(&["keys", id]), body(serde_json::to_value(change))),
            Request::RotateKey(id, rotation) => {
                ("POST", path(&["keys", id, "rotate"]), body(serde_json::to_value(rotation)))
            }
            Request::DeleteKey(id, version) => ("DELETE", removal(&["keys", id], *version), None),
            Request::Roles(page) => ("GET", listing("/v1/roles", &page.query()), None),
            Request::Role(name) => ("GET", path(&["roles", name]), None),
            Request::CreateRole(new) => ("POST", path(&["roles"]), body(serde_json::to_value(new))),
            Request::ChangeRole(name, change) => ("PATCH", path(&["roles", name]), body(serde_json::to_value(change))),
            Request::DeleteRole(name, version) => ("DELETE", removal(&["roles", name], *version), None),
            Request::Policies(page) => ("GET", listing("/v1/policies", &page.query()), None),
            Request::Policy(name) => ("GET", path(&["policies", name]), None),
            Request::CreatePolicy(new) => ("POST", path(&["policies"]), body(serde_json::to_value(new))),
            Request::ChangePolicy(name, change) => {
                ("PATCH", path(&["policies", name]), body(serde_json::to_value(change)))
            }
            Request::DeletePolicy(name, version) => ("DELETE", removal(&["policies", name], *version), None),
            Request::Certificates(asked) => ("GET", listing("/v1/certificates", &asked.query()), None),
            Request::Certificate(id) => ("GET", path(&["certificates", id]), None),
            Request::CreateCertificate(new) => ("POST", path(&["certificates"]), body(serde_json::to_value(new))),
            Request::ChangeCertificate(id, change) => {
                ("PATCH", path(&["certificates", id]), body(serde_json::to_value(change)))
            }
            Request::DeleteCertificate(id, version) => ("DELETE", removal(&["certificates", id], *version), None),
            Request::RoleAliases(page) => ("GET", listing("/v1/role-aliases", &page.query()), None),
            Request::RoleAlias(name) => ("GET", path(&["role-aliases", name]), None),
            Request::CreateRoleAlias(new) => ("POST", path(&["role-aliases"]), body(serde_json::to_value(new))),
            Request::ChangeRoleAlias(name, change) => {
                ("PATCH", path(&["role-aliases", name]), body(serde_json::to_value(change)))
            }
            Request::DeleteRoleAlias(name, version) => ("DELETE", removal(&["role-aliases", name], *version), None),
            Request::Attach(holder, policy) => ("PUT", attachment(holder, policy), None),
            Request::Detach(holder, policy) => ("DELETE", attachment(holder, policy), None),
            Request::Holds(stream) => ("GET", path(&["streams", stream, "holds"]), None),
            Request::PlaceHold(stream, new, _) => {
                ("POST", path(&["streams", stream, "holds"]), body(serde_json::to_value(new)))
            }
            Request::LiftHold(stream, hold) => ("DELETE", path(&["streams", stream, "holds", hold]), None),
        }
    }
}

impl Request {
    /// What it changes, if it changes something, and whose name that has.
    fn changes(&self) -> Option<(&'static str, String)> {
        let (change, name) = match self {
            Request::CreateKey(new) => ("create key", &new.user),
            Request::ChangeKey(id, _) => ("change key", id),
            Request::RotateKey(id, _) => ("rotate key", id),
            Request::DeleteKey(id, _) => ("delete key", id),
            Request::CreateRole(new) => ("create role", &new.name),
            Request::ChangeRole(name, _) => ("change role", name),
            Request::DeleteRole(name, _) => ("delete role", name),
            Request::CreatePolicy(new) => ("create policy", &new.name),
            Request::ChangePolicy(name, _) => ("change policy", name),
            Request::DeletePolicy(name, _) => ("delete policy", name),
            Request::CreateCertificate(new) => {
                let whose = new.thing.as_ref().or(new.id.as_ref());
                ("register certificate", whose.unwrap_or(const { &String::new() }))
            }
            Request::ChangeCertificate(id, _) => ("change certificate", id),
            Request::DeleteCertificate(id, _) => ("delete certificate", id),
            Request::CreateRoleAlias(new) => ("create role alias", &new.name),
            Request::ChangeRoleAlias(name, _) => ("change role alias", name),
            Request::DeleteRoleAlias(name, _) => ("delete role alias", name),
            Request::Attach(Holder::Key(name) | Holder::Role(name), _) => ("attach policy", name),
            Request::Detach(Holder::Key(name) | Holder::Role(name), _) => ("detach policy", name),
            Request::Keys(_) | Request::Key(_) | Request::Roles(_) | Request::Role(_) => return None,
            Request::Policies(_) | Request::Policy(_) | Request::Holds(_) => return None,
            Request::Certificates(_) | Request::Certificate(_) => return None,
            Request::RoleAliases(_) | Request::RoleAlias(_) => return None,
            Request::PlaceHold(stream, ..) => ("place hold", stream),
            Request::LiftHold(stream, _) => ("lift hold", stream),
        };
        // It may be anything that someone wrote.
        Some((change, name.chars().filter(|c| !c.is_control()).take(64).collect()))
    }
    /// The policy that it attaches or detaches.
    fn attached(&self) -> Option<String> {
        match self {
            Request::Attach(_, policy) | Request::Detach(_, policy) => {
                Some(policy.chars().filter(|c| !c.is_control()).take(64).collect())
            }
            _ => None,
        }
    }
}

/// An instant such as `2026-11-23T06:00:00Z`, or the beginning of a day.
pub fn instant(text: &str) -> Option<media::UnixMillis> {
    crate::auth::instant::parse_rfc3339(text)
}

/// A path below `/v1`, each part encoded.
fn path(parts: &[&str]) -> String {
    let mut url = url::Url::parse("http://localhost/v1").expect("it is a URL");
    url.path_segments_mut().expect("it has a host").extend(parts);
    url.path().to_owned()
}

fn attachment(holder: &Holder, policy: &str) -> String {
    match holder {
        Holder::Key(id) => path(&["keys", id, "policies", policy]),
        Holder::Role(name) => path(&["roles", name, "policies", policy]),
    }
}

fn removal(parts: &[&str], version: Option<u64>) -> String {
    match version {
        Some(version) => format!("{}?version={version}", path(parts)),
        None => path(parts),
    }
}

fn listing(path: &str, query: &[(&str, String)]) -> String {
    if query.is_empty() {
        return path.to_owned();
    }
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    format!("{path}?{query}")
}

/// The fuzz target: bytes that may be a body. What is read of it says the same when it is written and read again.
pub(crate) fn fuzz(data: &[u8]) {
    fn one<T: serde::Serialize + serde::de::DeserializeOwned>(data: &[u8]) {
        let Ok(read) = serde_json::from_slice::<T>(data) else { return };
        let written = serde_json::to_value(&read).expect("texts, numbers and JSON are JSON");
        let again: T = serde_json::from_value(written.clone()).expect("what was written can be read");
        assert_eq!(serde_json::to_value(&again).expect("as above"), written);
    }
    one::<NewKey>(data);
    one::<KeyChange>(data);
    one::<Rotation>(data);
    one::<NewRole>(data);
    one::<RoleChange>(data);
    one::<NewPolicy>(data);
    one::<PolicyChange>(data);
    one::<NewCertificate>(data);
    one::<CertificateChange>(data);
    one::<NewRoleAlias>(data);
    one::<RoleAliasChange>(data);
    let _ = certificate_id(&String::from_utf8_lossy(data));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn requests_have_encoded_paths() {
        let (method, path, body) = Request::Attach(Holder::Key("a/../b?".into()), "x y".into()).http();
        assert_eq!((method, path.as_str(), body), ("PUT", "/v1/keys/a%2F..%2Fb%3F/policies/x%20y", None));
        let keys = Keys { user: Some("a&b".into()), after: None, limit: Some(5) };
        assert_eq!(Request::Keys(keys).http().1, "/v1/keys?user=a%26b&limit=5");
        assert_eq!(Request::DeleteRole("ops".into(), Some(7)).http().1, "/v1/roles/ops?version=7");
        let change = KeyChange { inline_policy: Some(None), ..KeyChange::default() };
        assert_eq!(Request::ChangeKey("A".into(), change).http().2, Some(json!({"inline_policy": null})));
    }

    proptest! {
        #[test]
        fn whatever_comes(data in prop::collection::vec(any::<u8>(), 0..200)) {
            crate::fuzzing::bodies(&data);
        }

        /// Bodies that are nearly right.
        #[test]
        fn whatever_comes_in_shape(name in "(name|user|trust|document|version|certificate|id|thing|role_aliases|role|device_ca|policies|inline_policy|tags|expires_at|StreamName|StreamARN|Tags|List|MaxResults|StartTimestamp|x)", value in "(null|1|-1|1e999|1.5|\\[\\]|\\[\"a\"\\]|\\{\\}|\\{\"Key\":1\\}|\"[a-z]{0,3}\"|tru|\\[\\[\\[)", more in "(,\"user\":\"a\"|,\"name\":\"a\",\"trust\":1|,\"name\":\"b\",\"document\":\\{\\}|)", end in "(\\}|\\} |\\}x|)") {
            crate::fuzzing::bodies(format!("{{\"{name}\":{value}{more}{end}").as_bytes());
        }
    }
}
