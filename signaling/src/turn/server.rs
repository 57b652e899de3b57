//! What all clients' sessions share. Locks are taken for requests, never for a packet of an open path.

use super::Config;
use super::credentials::Issuer;
use super::limits::{Limits, Most};
use super::nonce::Nonces;
use super::policy::Policy;
use super::unproven::Unproven;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The moment, by both clocks: the steady one, and the one that credentials are dated by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) at: Instant,
    /// Seconds since 1970.
    pub(crate) unix_s: u64,
}

/// What sessions share.
pub(crate) struct Server {
    pub(crate) config: Config,
    pub(crate) issuer: Issuer,
    pub(crate) nonces: Nonces,
    policy: Mutex<Policy>,
    limits: Mutex<Limits>,
    unproven: Mutex<Unproven>,
    started: Instant,
}

impl Server {
    /// Under a secret that outlives the process, and a key for nonces that does not.
    pub(crate) fn new(config: Config, secret: &[u8], nonce_key: [u8; 32], now: Instant) -> Server {
        let most = Most {
            total: config.max_allocations,
            channel: config.max_allocations_per_channel,
            credential: config.max_allocations_per_credential,
            address: config.max_allocations_per_address,
            credential_kbps: config.max_kbps_per_credential,
        };
        Server {
            issuer: Issuer::new(secret, &config.realm),
            nonces: Nonces::new(nonce_key),
            policy: Mutex::new(Policy::new(config.allow_peers.clone())),
            limits: Mutex::new(Limits::new(most)),
            unproven: Mutex::default(),
            started: now,
            config,
        }
    }

    pub(crate) fn policy(&self) -> MutexGuard<'_, Policy> {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn limits(&self) -> MutexGuard<'_, Limits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn unproven(&self) -> MutexGuard<'_, Unproven> {
        self.unproven.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A nonce for this client.
    pub(crate) fn nonce(&self, client: IpAddr, now: Now) -> String {
        self.nonces.make(self.age_s(now), client)
    }

    /// Seconds since the start, as nonces count them.
    pub(crate) fn age_s(&self, now: Now) -> u32 {
        now.at.saturating_duration_since(self.started).as_secs() as u32
    }
}
