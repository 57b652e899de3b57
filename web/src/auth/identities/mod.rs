//! Keys, roles and policies in the catalog, and whom an access key id stands for now.
//!
//! What was looked up is kept until a document of these collections changes. Who may change them is the routes' matter.

mod checks;
mod keys;
mod known;
mod records;

pub(crate) use checks::{check_name, check_policies, check_tags};
use keys::KeySecrets;
pub use keys::{MadeKey, NewKey, create_key};
pub(crate) use keys::{Sealed, new_role_id};
pub(crate) use records::{Key, NamedPolicy, Rights, Role};

use super::{
    access::Principal,
    devices,
    identity::{Identity, Tags},
    policy::{Policy, presets},
    session_token::{Claims, Of, PREFIX, Tokens},
};
use crate::Root;
pub(super) use known::Known;
use media::UnixMillis;
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use store::{
    Kind, Notice, Store,
    documents::{KEY, POLICY, ROLE, ROLE_ALIAS, THING_CERTIFICATE},
};
use tokio::sync::broadcast::{Receiver, error::TryRecvError};

/// Access keys remembered at a time.
const MOST_KNOWN: usize = 4096;

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
                Ok(Notice::Documents(KEY | ROLE | POLICY | ROLE_ALIAS | THING_CERTIFICATE))
                | Err(TryRecvError::Lagged(_)) => {
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
            Principal::Identity(identity) if identity.is_over(now) => Err(Nobody::Expired),
            _ => Ok(known),
        }
    }

    /// An identity that was found before, as it is now; `None` if it is none any more.
    pub(super) async fn renewed(&self, identity: &Identity, now: UnixMillis) -> Option<Arc<Identity>> {
        if identity.is_over(now) {
            return None;
        }
        let renewed = match &identity.claims {
            Some(claims) => Arc::new(self.of_claims(&identity.access_key_id, claims).await.ok()?),
            None => match &self.find(&identity.access_key_id, None, now).await.ok()?.principal {
                Principal::Identity(identity) => identity.clone(),
                Principal::Root(_) | Principal::Playback(_) => return None,
            },
        };
        // The key that asked for a session may have got an end since.
        (!renewed.is_over(now)).then_some(renewed)
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

    /// A key, whether it is active or not.
    async fn stored_key(&self, access_key_id: &str) -> Result<Option<Key>, store::Error> {
        // Names of documents are short; what is longer is no key, and no error of the client's either.
        if access_key_id.is_empty() || access_key_id.len() > 128 {
            return Ok(None);
        }
        let Some(document) = self.store.document(KEY, access_key_id).await? else { return Ok(None) };
        let read = serde_json::from_value(document.body);
        Ok(read
            .map_err(|error| tracing::error!(access_key_id, line = error.line(), "this key's document cannot be read"))
            .ok())
    }

    /// An active key.
    async fn key(&self, access_key_id: &str) -> Result<Key, Nobody> {
        self.stored_key(access_key_id).await?.filter(|key| key.active).ok_or(Nobody::Unknown)
    }

    /// The user of a key, whether it is active or not.
    pub(crate) async fn user_of(&self, access_key_id: &str) -> Result<Option<String>, store::Error> {
        Ok(self.stored_key(access_key_id).await?.map(|key| key.user))
    }

    async fn of_key(&self, access_key_id: &str, key: &Key) -> Result<Identity, Nobody> {
        Ok(Identity {
            access_key_id: access_key_id.to_owned(),
            arn: format!("arn:aws:iam::{}:user/{}", self.account, key.user),
            user_id: access_key_id.to_owned(),
            policies: self.policies(&key.rights).await?,
            session_policies: None,
            tags: key.rights.tags.clone(),
            expires_at: key.expires_at,
            variables: Default::default(),
            session: None,
            claims: None,
        })
    }

    /// The owner of the root credentials, as policies see them.
    pub(crate) fn root_identity(&self) -> Identity {
        Identity {
            access_key_id: self.root_id.clone(),
            arn: format!("arn:aws:iam::{}:root", self.account),
            user_id: self.account.clone(),
            policies: presets::policy("admin").into_iter().collect(),
            session_policies: None,
            tags: Tags::new(),
            expires_at: None,
            variables: Default::default(),
            session: None,
            claims: None,
        }
    }

    /// Whether the catalog holds a policy of this name.
    pub(crate) async fn has_policy(&self, name: &str) -> Result<bool, store::Error> {
        Ok(check_name("policy", name).is_ok() && self.store.document(POLICY, name).await?.is_some())
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
    /// The ARN of an OpenID Connect provider, by its address without the scheme.
    pub(crate) fn oidc_arn(&self, name: &str) -> String {
        format!("arn:aws:iam::{}:oidc-provider/{name}", self.account)
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
        if issuer.as_ref().is_some_and(|(_, key)| over(key.rights.sessions_from)) {
            return Err(Nobody::Expired);
        }
        for ancestor in &claims.chain {
            let role = self.role(&ancestor.role).await?.filter(|role| role.role_id == ancestor.id);
            let from = role.ok_or(Nobody::Unknown)?.rights.sessions_from;
            if from.is_some_and(|from| ancestor.issued_at < from) {
                return Err(Nobody::Expired);
            }
            if let Some((device, certificate)) = &ancestor.device
                && !devices::goes_on(&self.store, device, &ancestor.role, certificate).await?
            {
                return Err(Nobody::Expired);
            }
        }
        let mut identity = match &claims.of {
            Of::Root => self.root_identity(),
            Of::Key => {
                let (id, key) = issuer.as_ref().ok_or(Nobody::Unknown)?;
                self.of_key(id, key).await?
            }
            Of::Role { name, id, session } => {
                let role = self.role(name).await?.filter(|role| role.role_id == *id).ok_or(Nobody::Unknown)?;
                if over(role.rights.sessions_from) {
                    return Err(Nobody::Expired);
                }
                // What was given to a device ends when it would not be given to it again.
                if let Some(device) = &claims.device
                    && !devices::goes_on(&self.store, device, name, session).await?
                {
                    return Err(Nobody::Expired);
                }
                Identity {
                    access_key_id: access_key_id.to_owned(),
                    arn: format!("arn:aws:sts::{}:assumed-role/{name}/{session}", self.account),
                    user_id: format!("{id}:{session}"),
                    policies: self.policies(&role.rights).await?,
                    session_policies: None,
                    tags: role.rights.tags,
                    expires_at: None,
                    variables: Default::default(),
                    session: None,
                    claims: None,
                }
            }
        };
        identity.access_key_id = access_key_id.to_owned();
        identity.tags.extend(claims.tags.clone());
        identity.variables.extend(claims.variables.clone());
        if let (Some(device), Of::Role { session, .. }) = (&claims.device, &claims.of) {
            identity.variables.extend(device.variables(session));
        }
        identity.session = Some((claims.issued_at, claims.expires_at));
        // A session ends with the key that asked for it.
        let of_issuer = issuer.as_ref().and_then(|(_, key)| key.expires_at);
        identity.expires_at = Some(of_issuer.map_or(claims.expires_at, |at| at.min(claims.expires_at)));
        if claims.policy.is_some() || !claims.policies.is_empty() {
            let inline = claims.policy.as_deref().map(serde_json::from_str).transpose().map_err(|_| Nobody::Unknown)?;
            identity.session_policies = Some(self.policies_of(&claims.policies, inline.as_ref()).await?);
        }
        identity.claims = Some(claims.clone());
        Ok(identity)
    }

    async fn policies(&self, rights: &Rights) -> Result<Vec<Arc<Policy>>, store::Error> {
        self.policies_of(&rights.policies, rights.inline_policy.as_ref()).await
    }

    /// The policies of these names and one more. If one is missing or cannot be read, none: it could have denied something.
    async fn policies_of(&self, names: &[String], inline: Option<&Value>) -> Result<Vec<Arc<Policy>>, store::Error> {
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
