//! Identity tokens of OpenID Connect providers that the operator trusts: who someone is, by word of the provider
//! (<https://openid.net/specs/openid-connect-core-1_0.html>, <https://openid.net/specs/openid-connect-discovery-1_0.html>).
//!
//! What belongs here: providers in the catalog, their keys fetched and kept, tokens verified. What does not: which role such a
//! one may take on (`aws::sts`).

mod fetch;
mod jwt;
mod keys;
mod provider;
pub(crate) mod rest;
#[cfg(test)]
mod tests;

use fetch::Fetcher;
use jwt::Token;
pub(crate) use jwt::{Claims, Fault};
use keys::KeySet;
use media::UnixMillis;
use provider::{Provider, name_of};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use store::{Store, documents::OIDC_PROVIDER};
use tokio::sync::Semaphore;

/// A provider's keys are fetched again after so long.
const FRESH_MS: i64 = 3_600_000;
/// Keys that cannot be fetched again serve on for so long.
const STALE_MS: i64 = 6 * 3_600_000;
/// Between two attempts to fetch a provider's keys there is so much time, however many tokens name keys that it does not have.
const PAUSE_MS: i64 = 10_000;
/// Providers whose keys are kept: more than may be configured.
const MOST_KEPT: usize = 256;

/// Why someone is not who the token says.
#[derive(Debug)]
pub(crate) enum Refused {
    /// No provider of the catalog is the issuer.
    Unknown(String),
    /// The token does not hold.
    Token(Fault),
    /// The provider did not give its keys.
    Unreachable,
    /// The store did not answer.
    Failed(store::Error),
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Refused::Token(fault)
    }
}

/// Someone whom a provider vouches for.
#[derive(Debug)]
pub(crate) struct Vouched {
    /// The provider's address without its scheme: what its ARN ends with, and context keys of policies begin with.
    pub(crate) provider: String,
    /// What the token says.
    pub(crate) claims: Claims,
}

/// What is known of one provider's keys.
#[derive(Default)]
struct Kept {
    keys: Option<(Arc<KeySet>, UnixMillis)>,
    tried_at: Option<UnixMillis>,
}

struct Entry {
    kept: Mutex<Kept>,
    /// One permit: one attempt to fetch at a time.
    fetching: Semaphore,
}

/// Verifies tokens. Holds the keys of providers.
pub(crate) struct Providers {
    store: Store,
    fetcher: Fetcher,
    /// By name and version of the provider's document.
    entries: Mutex<HashMap<(String, u64), Arc<Entry>>>,
}

impl Providers {
    pub(crate) fn new(store: &Store) -> Self {
        Providers { store: store.clone(), fetcher: Fetcher::new(), entries: Mutex::default() }
    }

    /// Who the bearer of a token is.
    pub(crate) async fn verify(&self, text: &str, now: UnixMillis) -> Result<Vouched, Refused> {
        let token = Token::parse(text)?;
        let name = name_of(&token.claims.issuer).ok_or_else(|| Refused::Unknown(token.claims.issuer.clone()))?;
        let document = self.store.document(OIDC_PROVIDER, &name).await.map_err(Refused::Failed)?;
        let document = document.ok_or_else(|| Refused::Unknown(token.claims.issuer.clone()))?;
        let provider: Provider = serde_json::from_value(document.body).map_err(|_| {
            let text = format!("the document of the OpenID Connect provider {name} cannot be read");
            Refused::Failed(store::Error::new(store::Kind::Corrupt, text))
        })?;
        if !provider.is_issuer(&token.claims.issuer) {
            return Err(Refused::Unknown(token.claims.issuer.clone()));
        }
        // What needs no key is looked at first: it costs the provider nothing.
        token.claims.check(&provider.client_ids, now)?;
        let entry = self.entry(&name, document.version);
        let keys = self.keys(&entry, &provider, now, |keys| keys.has(&token)).await?;
        keys.verify(&token)?;
        let claims = token.claims;
        Ok(Vouched { provider: name, claims })
    }

    fn entry(&self, name: &str, version: u64) -> Arc<Entry> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.to_owned(), version);
        if let Some(entry) = entries.get(&key) {
            return entry.clone();
        }
        // Of a provider that was removed and made anew, the former.
        entries.retain(|(known, _), _| known != name);
        if entries.len() >= MOST_KEPT {
            entries.clear();
        }
        let entry = Arc::new(Entry { kept: Mutex::default(), fetching: Semaphore::new(1) });
        entries.insert(key, entry.clone());
        entry
    }

    /// Keys that are fresh enough and have what is wanted, as far as that can be had.
    async fn keys(
        &self,
        entry: &Entry,
        provider: &Provider,
        now: UnixMillis,
        has: impl Fn(&KeySet) -> bool,
    ) -> Result<Arc<KeySet>, Refused> {
        if let Some(keys) = entry.fresh(now).filter(|keys| has(keys)) {
            return Ok(keys);
        }
        let _one_at_a_time = entry.fetching.acquire().await.expect("the semaphore is never closed");
        // Another request may have fetched them meanwhile.
        let fresh = entry.fresh(now);
        if let Some(keys) = fresh.as_ref().filter(|keys| has(keys)) {
            return Ok(keys.clone());
        }
        if entry.may_try(now) {
            let fetched = self.fetcher.keys(provider).await;
            if let Err(reason) = &fetched {
                tracing::warn!(
                    provider = provider.url,
                    reason,
                    "the keys of an OpenID Connect provider cannot be fetched"
                );
            }
            entry.tried(fetched, now);
        }
        entry.usable(now).ok_or(Refused::Unreachable)
    }
}

impl Entry {
    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn fresh(&self, now: UnixMillis) -> Option<Arc<KeySet>> {
        let kept = self.kept();
        kept.keys.as_ref().filter(|(_, at)| now < at.plus(FRESH_MS)).map(|(keys, _)| keys.clone())
    }
    fn may_try(&self, now: UnixMillis) -> bool {
        self.kept().tried_at.is_none_or(|at| now >= at.plus(PAUSE_MS))
    }
    fn tried(&self, fetched: Result<KeySet, String>, now: UnixMillis) {
        let mut kept = self.kept();
        kept.tried_at = Some(now);
        if let Ok(keys) = fetched {
            kept.keys = Some((Arc::new(keys), now));
        }
    }
    /// The keys there are, if they are not too old.
    fn usable(&self, now: UnixMillis) -> Option<Arc<KeySet>> {
        let kept = self.kept();
        kept.keys.as_ref().filter(|(_, at)| now < at.plus(STALE_MS)).map(|(keys, _)| keys.clone())
    }
}

/// The fuzz target: bytes that may be a token, and behind the first line end those that may be a set of keys. None of those keys
/// signed it, whatever it says of itself: a fuzzer makes no signature.
pub fn fuzz(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let (token, keys) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let keys = KeySet::parse(keys);
    let Ok(text) = std::str::from_utf8(token) else { return };
    match Token::parse(text) {
        Ok(token) => {
            let now = UnixMillis(1_800_000_000_000);
            let _ = (
                token.claims.check(token.claims.clients(), now),
                name_of(&token.claims.issuer),
                token.claims.context().count(),
            );
            assert!(token.claims.check(&[], now).is_err(), "it is for nobody");
            if let Ok(keys) = keys {
                assert!(keys.verify(&token).is_err());
            }
        }
        Err(fault) => assert!(fault.to_string().len() < 256, "{fault}"),
    }
}
