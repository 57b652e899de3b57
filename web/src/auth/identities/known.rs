//! What was found out about an access key id, and the signing keys made of its secret.

use crate::auth::{access::Principal, sigv4::SigningKey};
use std::sync::{Mutex, PoisonError};

/// Signing keys remembered for one access key: days, regions and services that it is used for.
const MOST_SIGNING_KEYS: usize = 8;

/// Whom an access key id stands for, and how its signatures are verified.
pub(in crate::auth) struct Known {
    pub(in crate::auth) principal: Principal,
    secret: String,
    /// The token that it came with, of a session.
    pub(super) token: Option<String>,
    signing: Mutex<Vec<(String, SigningKey)>>,
}

impl Known {
    pub(super) fn new(principal: Principal, secret: String, token: Option<String>) -> Self {
        Known { principal, secret, token, signing: Mutex::default() }
    }
    pub(in crate::auth) fn secret(&self) -> &str {
        &self.secret
    }
    /// The key for one day, region and service; remembered once a signature made with it has held, by [`Known::remember`].
    pub(in crate::auth) fn signing_key(&self, date: &str, region: &str, service: &str) -> SigningKey {
        let scope = format!("{date}/{region}/{service}");
        let known = self.signing.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.iter().find(|(of, _)| *of == scope).map(|(_, key)| key.clone());
        drop(known);
        found.unwrap_or_else(|| SigningKey::derive(&self.secret, date, region, service))
    }
    pub(in crate::auth) fn remember(&self, date: &str, region: &str, service: &str, key: SigningKey) {
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
