//! Keys, roles and policies in the catalog, and whom an access key id stands for now.
//!
//! Bodies of the documents stand here; who may change them is the routes' matter. What was looked up is kept until a document of
//! these collections changes.

use super::{
    access::Principal,
    identity::{Identity, Tags},
    policy::{Policy, presets},
    sealing::{Sealer, random_text, secret_of},
    session_token::{Claims, Of, PREFIX, Tokens},
    sigv4::SigningKey,
};
use crate::Root;
use media::UnixMillis;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};
use store::{
    Kind, Notice, Store,
    documents::{Expect, KEY, POLICY, ROLE},
};
use tokio::sync::broadcast::{Receiver, error::TryRecvError};

/// Access keys remembered at a time.
const MOST_KNOWN: usize = 4096;
/// Signing keys remembered for one access key: days, regions and services that it is used for.
const MOST_SIGNING_KEYS: usize = 8;

/// An access key: the body of a document whose name is the access key id.
#[derive(Clone, Serialize, Deserialize)]
pub struct Key {
    /// Whose it is: the name in its ARN. Several keys may have one.
    pub user: String,
    /// The secret access key, sealed with the data folder's secret.
    sealed_secret: String,
    /// Whether it may be used.
    #[serde(default = "yes")]
    pub active: bool,
    /// Names of presets and of policies.
    #[serde(default)]
    pub policies: Vec<String>,
    /// A policy of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline_policy: Option<Value>,
    /// `aws:PrincipalTag/…`; the tag `device` names the stream or channel that the presets *camera* and *master* are for.
    #[serde(default)]
    pub tags: Tags,
    /// When it was made.
    pub created_at: UnixMillis,
    /// Sessions that it asked for before this are over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions_from: Option<UnixMillis>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("user", &self.user).field("active", &self.active).finish_non_exhaustive()
    }
}

/// A role: the body of a document whose name is the role's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Role {
    /// `AROA…`: a new role of the same name has another one.
    pub role_id: String,
    /// Who may take it on: a trust policy.
    pub trust: Value,
    /// Names of presets and of policies.
    #[serde(default)]
    pub policies: Vec<String>,
    /// A policy of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inline_policy: Option<Value>,
    /// The longest session, in seconds.
    pub max_session_s: u32,
    /// `aws:PrincipalTag/…` of its sessions.
    #[serde(default)]
    pub tags: Tags,
    /// When it was made.
    pub created_at: UnixMillis,
    /// Sessions that began before this are over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions_from: Option<UnixMillis>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// A policy: the body of a document whose name is the policy's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NamedPolicy {
    /// The policy document.
    pub document: Value,
    /// When it was made.
    pub created_at: UnixMillis,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

fn yes() -> bool {
    true
}

/// Seals and opens the secrets of keys: they are needed in clear to verify signatures.
pub struct KeySecrets(Sealer);

impl KeySecrets {
    /// Those of a data folder.
    pub fn of(store: &Store) -> Self {
        KeySecrets(Sealer::new(&store.secret(), b"vidicon access key v1", &[]))
    }
    fn open(&self, access_key_id: &str, key: &Key) -> Option<String> {
        String::from_utf8(self.0.open(access_key_id, &key.sealed_secret)?).ok()
    }
}

/// What a new key is to be.
#[derive(Clone, Debug, Default)]
pub struct NewKey {
    /// See [`Key::user`].
    pub user: String,
    /// See [`Key::policies`].
    pub policies: Vec<String>,
    /// See [`Key::inline_policy`].
    pub inline_policy: Option<Value>,
    /// See [`Key::tags`].
    pub tags: Tags,
    /// See [`Key::description`].
    pub description: String,
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

fn invalid(message: String) -> store::Error {
    store::Error::new(Kind::Invalid, message)
}

/// Checks the name of a user, role or policy: it stands in ARNs.
///
/// # Errors
/// `Invalid`, naming `what`.
pub fn check_name(what: &str, name: &str) -> Result<(), store::Error> {
    let fits = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b));
    match fits && (1..=64).contains(&name.len()) {
        true => Ok(()),
        false => Err(invalid(format!("{what}: 1 to 64 of letters, digits and +=,.@_- are needed, not {name:?}"))),
    }
}

/// Checks what a key or role is to be allowed: its own policy can be read, and the named ones exist.
///
/// # Errors
/// `Invalid`, naming the policy; what the store says.
pub async fn check_policies(store: &Store, names: &[String], inline: Option<&Value>) -> Result<(), store::Error> {
    if names.len() > 20 {
        return Err(invalid(format!("policies: at most 20, not {}", names.len())));
    }
    if let Some(document) = inline {
        Policy::parse(&document.to_string()).map_err(|e| invalid(format!("inline_policy: {e}")))?;
    }
    for name in names {
        if presets::policy(name).is_none() && store.document(POLICY, name).await?.is_none() {
            return Err(invalid(format!("policies: there is no policy {name:?}")));
        }
    }
    Ok(())
}

/// Checks tags of a key, role or session: at most 50, keys of 1 to 128 and values of at most 256 characters.
///
/// # Errors
/// `Invalid`, naming the tag.
pub fn check_tags(tags: &Tags) -> Result<(), store::Error> {
    if tags.len() > 50 {
        return Err(invalid(format!("tags: at most 50, not {}", tags.len())));
    }
    let wrong =
        |(key, value): &(&String, &String)| !(1..=128).contains(&key.chars().count()) || value.chars().count() > 256;
    match tags.iter().find(wrong) {
        Some((key, _)) => Err(invalid(format!("tags: {key:?} is too long, or its value is"))),
        None => Ok(()),
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
    let NewKey { user, policies, inline_policy, tags, description } = new;
    let key = Key {
        user,
        sealed_secret: KeySecrets::of(store).0.seal(&access_key_id, secret_access_key.as_bytes()),
        active: true,
        policies,
        inline_policy,
        tags,
        created_at: store.now(),
        sessions_from: None,
        description,
    };
    let body = serde_json::to_value(key).expect("texts and integers are JSON");
    let version = store.put_document(KEY, &access_key_id, Expect::Absent, body).await?;
    Ok(MadeKey { access_key_id, secret_access_key, version })
}

/// A fresh id for a role.
pub fn new_role_id() -> String {
    format!("AROA{}", random_text(16))
}

/// Whom an access key id stands for, and how its signatures are verified.
pub(super) struct Known {
    pub(super) principal: Principal,
    secret: String,
    /// The token that it came with, of a session.
    token: Option<String>,
    signing: Mutex<Vec<(String, SigningKey)>>,
}

impl Known {
    fn new(principal: Principal, secret: String, token: Option<String>) -> Self {
        Known { principal, secret, token, signing: Mutex::default() }
    }
    pub(super) fn secret(&self) -> &str {
        &self.secret
    }
    /// The key for one day, region and service; remembered once a signature made with it has held, by [`Known::remember`].
    pub(super) fn signing_key(&self, date: &str, region: &str, service: &str) -> SigningKey {
        let scope = format!("{date}/{region}/{service}");
        let known = self.signing.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.iter().find(|(of, _)| *of == scope).map(|(_, key)| key.clone());
        drop(known);
        found.unwrap_or_else(|| SigningKey::derive(&self.secret, date, region, service))
    }
    pub(super) fn remember(&self, date: &str, region: &str, service: &str, key: SigningKey) {
        let scope = format!("{date}/{region}/{service}");
        let mut known = self.signing.lock().unwrap_or_else(PoisonError::into_inner);
        if known.iter().all(|(of, _)| *of != scope) {
            if known.len() == MOST_SIGNING_KEYS {
                known.remove(0);
            }
            known.push((scope, key));
        }
    }
}

/// Why an access key id stands for nobody.
#[derive(Debug)]
pub(crate) enum Nobody {
    /// There is no such key, it is not active, or its token was not made for it.
    Unknown,
    /// Its session is over.
    Expired,
    /// The store did not say.
    Failed(store::Error),
}

impl From<store::Error> for Nobody {
    fn from(error: store::Error) -> Self {
        Nobody::Failed(error)
    }
}

struct Cache {
    notices: Receiver<Notice>,
    /// Grows with every change of what was looked up.
    generation: u64,
    known: HashMap<String, Arc<Known>>,
}

/// Keys, roles and sessions, looked up.
pub(crate) struct Identities {
    store: Store,
    root: Arc<Known>,
    root_id: String,
    /// 12 digits.
    account: String,
    secrets: KeySecrets,
    pub(crate) tokens: Tokens,
    cache: Mutex<Cache>,
}

impl Identities {
    pub(super) fn new(store: &Store, root: &Root, account: &str) -> Self {
        let cache = Cache { notices: store.notices(), generation: 0, known: HashMap::new() };
        Identities {
            root: Arc::new(Known::new(Principal::Root(None), root.secret_access_key.clone(), None)),
            root_id: root.access_key_id.clone(),
            account: account.to_owned(),
            secrets: KeySecrets::of(store),
            tokens: Tokens::new(&store.secret(), root),
            cache: Mutex::new(cache),
            store: store.clone(),
        }
    }

    /// What holds of the cache now: forgotten, if a document it came from changed. Notices are sent before a change is answered, so
    /// whoever was told of a change never meets what was before it.
    fn fresh<T>(&self, then: impl FnOnce(&mut Cache) -> T) -> T {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match cache.notices.try_recv() {
                Ok(Notice::Documents(KEY | ROLE | POLICY)) | Err(TryRecvError::Lagged(_)) => {
                    cache.known.clear();
                    cache.generation += 1;
                }
                Ok(_) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return then(&mut cache),
            }
        }
    }

    /// Whom an access key id stands for, with the session token that came with it.
    pub(super) async fn find(
        &self,
        access_key_id: &str,
        token: Option<&str>,
        now: UnixMillis,
    ) -> Result<Arc<Known>, Nobody> {
        if access_key_id == self.root_id && token.is_none() {
            return Ok(self.root.clone());
        }
        let (generation, known) = self.fresh(|cache| (cache.generation, cache.known.get(access_key_id).cloned()));
        let known = match known.filter(|known| known.token.as_deref() == token) {
            Some(known) => known,
            None => {
                let known = Arc::new(self.look_up(access_key_id, token).await?);
                self.fresh(|cache| {
                    if cache.generation == generation {
                        if cache.known.len() >= MOST_KNOWN {
                            cache.known.clear();
                        }
                        cache.known.insert(access_key_id.to_owned(), known.clone());
                    }
                });
                known
            }
        };
        match &known.principal {
            Principal::Identity(identity) if identity.session.is_some_and(|(_, ends_at)| ends_at <= now) => {
                Err(Nobody::Expired)
            }
            _ => Ok(known),
        }
    }

    /// Whether an identity that was found before still is one.
    pub(crate) async fn holds(&self, identity: &Identity, now: UnixMillis) -> bool {
        if identity.session.is_some_and(|(_, ends_at)| ends_at <= now) {
            return false;
        }
        match &identity.claims {
            Some(claims) => self.of_claims(&identity.access_key_id, claims).await.is_ok(),
            None => self.find(&identity.access_key_id, None, now).await.is_ok(),
        }
    }

    async fn look_up(&self, access_key_id: &str, token: Option<&str>) -> Result<Known, Nobody> {
        match token {
            None if access_key_id.starts_with(PREFIX) => Err(Nobody::Unknown),
            None => {
                let key = self.key(access_key_id).await?;
                let secret = self.secrets.open(access_key_id, &key).ok_or_else(|| {
                    tracing::error!(access_key_id, "the secret of this key cannot be opened with the data folder's");
                    Nobody::Unknown
                })?;
                let identity = self.of_key(access_key_id, &key).await?;
                Ok(Known::new(Principal::Identity(Arc::new(identity)), secret, None))
            }
            Some(token) => {
                let claims = self.tokens.read(access_key_id, token).ok_or(Nobody::Unknown)?;
                let identity = self.of_claims(access_key_id, &Arc::new(claims)).await?;
                let secret = self.tokens.secret(access_key_id);
                Ok(Known::new(Principal::Identity(Arc::new(identity)), secret, Some(token.to_owned())))
            }
        }
    }

    /// An active key.
    async fn key(&self, access_key_id: &str) -> Result<Key, Nobody> {
        // Names of documents are short; what is longer is no key, and no error of the client's either.
        if access_key_id.is_empty() || access_key_id.len() > 128 {
            return Err(Nobody::Unknown);
        }
        let document = self.store.document(KEY, access_key_id).await?.ok_or(Nobody::Unknown)?;
        let key: Key = serde_json::from_value(document.body).map_err(|error| {
            tracing::error!(access_key_id, line = error.line(), "this key's document cannot be read");
            Nobody::Unknown
        })?;
        if key.active { Ok(key) } else { Err(Nobody::Unknown) }
    }

    async fn of_key(&self, access_key_id: &str, key: &Key) -> Result<Identity, Nobody> {
        Ok(Identity {
            access_key_id: access_key_id.to_owned(),
            arn: format!("arn:aws:iam::{}:user/{}", self.account, key.user),
            user_id: access_key_id.to_owned(),
            policies: self.policies(&key.policies, key.inline_policy.as_ref()).await?,
            session_policies: None,
            tags: key.tags.clone(),
            variables: Default::default(),
            session: None,
            claims: None,
        })
    }

    /// A role by its name.
    pub(crate) async fn role(&self, name: &str) -> Result<Option<Role>, store::Error> {
        if check_name("role", name).is_err() {
            return Ok(None);
        }
        let Some(document) = self.store.document(ROLE, name).await? else { return Ok(None) };
        let role = serde_json::from_value(document.body);
        Ok(Some(
            role.map_err(|_| store::Error::new(Kind::Corrupt, format!("the document of role {name} cannot be read")))?,
        ))
    }

    /// The ARN of a role.
    pub(crate) fn role_arn(&self, name: &str) -> String {
        format!("arn:aws:iam::{}:role/{name}", self.account)
    }
    /// 12 digits.
    pub(crate) fn account(&self) -> &str {
        &self.account
    }

    async fn of_claims(&self, access_key_id: &str, claims: &Arc<Claims>) -> Result<Identity, Nobody> {
        let issuer = match &claims.issuer {
            Some(id) => Some((id, self.key(id).await?)),
            None => None,
        };
        let over = |from: Option<UnixMillis>| from.is_some_and(|from| claims.issued_at < from);
        if issuer.as_ref().is_some_and(|(_, key)| over(key.sessions_from)) {
            return Err(Nobody::Expired);
        }
        let mut identity = match &claims.of {
            Of::Root => Identity {
                access_key_id: access_key_id.to_owned(),
                arn: format!("arn:aws:iam::{}:root", self.account),
                user_id: self.account.clone(),
                policies: presets::policy("admin").into_iter().collect(),
                session_policies: None,
                tags: Tags::new(),
                variables: Default::default(),
                session: None,
                claims: None,
            },
            Of::Key => {
                let (id, key) = issuer.as_ref().ok_or(Nobody::Unknown)?;
                self.of_key(id, key).await?
            }
            Of::Role { name, id, session } => {
                let role = self.role(name).await?.filter(|role| role.role_id == *id).ok_or(Nobody::Unknown)?;
                if over(role.sessions_from) {
                    return Err(Nobody::Expired);
                }
                Identity {
                    access_key_id: access_key_id.to_owned(),
                    arn: format!("arn:aws:sts::{}:assumed-role/{name}/{session}", self.account),
                    user_id: format!("{id}:{session}"),
                    policies: self.policies(&role.policies, role.inline_policy.as_ref()).await?,
                    session_policies: None,
                    tags: role.tags,
                    variables: Default::default(),
                    session: None,
                    claims: None,
                }
            }
        };
        identity.access_key_id = access_key_id.to_owned();
        identity.tags.extend(claims.tags.clone());
        identity.variables.extend(claims.variables.clone());
        identity.session = Some((claims.issued_at, claims.expires_at));
        if claims.policy.is_some() || !claims.policies.is_empty() {
            let inline = claims.policy.as_deref().map(serde_json::from_str).transpose().map_err(|_| Nobody::Unknown)?;
            identity.session_policies = Some(self.policies(&claims.policies, inline.as_ref()).await?);
        }
        identity.claims = Some(claims.clone());
        Ok(identity)
    }

    /// The policies of these names and one more. If one is missing or cannot be read, none: it could have denied something.
    async fn policies(&self, names: &[String], inline: Option<&Value>) -> Result<Vec<Arc<Policy>>, store::Error> {
        let mut policies = Vec::with_capacity(names.len() + 1);
        let mut texts: Vec<(&str, String)> =
            inline.map(|document| ("(inline)", document.to_string())).into_iter().collect();
        for name in names {
            if let Some(preset) = presets::policy(name) {
                policies.push(preset);
                continue;
            }
            let Some(document) = self.store.document(POLICY, name).await? else {
                tracing::error!(policy = %name, "a policy that is named is missing: nothing is allowed to who names it");
                return Ok(Vec::new());
            };
            texts.push((name, document.body.get("document").unwrap_or(&Value::Null).to_string()));
        }
        for (name, text) in texts {
            match Policy::parse(&text) {
                Ok(policy) => policies.push(Arc::new(policy)),
                Err(error) => {
                    tracing::error!(policy = name, error, "a policy cannot be read: nothing is allowed to who has it");
                    return Ok(Vec::new());
                }
            }
        }
        Ok(policies)
    }
}
