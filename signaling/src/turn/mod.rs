//! A STUN and TURN server (RFC 8489, RFC 8656).
//!
//! What belongs here: one client's protocol (`session`, with `asked`, `auth`, `table` and `nonce`), who may reach whom (`policy`, `special`), what there may be
//! (`limits`, `unproven`, `meter`), all without I/O and told the time; and their shells: sockets for peers (`relay`, `runs`), clients over UDP
//! (`udp`) and over connections (`stream`). What does not: certificates (`web`), and the form of messages (`stun`).

mod asked;
mod auth;
mod config;
#[cfg(test)]
mod coturn_tests;
mod credentials;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzz;
mod heard;
mod limits;
mod meter;
mod nonce;
mod policy;
mod relay;
mod runs;
mod server;
mod session;
mod special;
mod stream;
mod table;
pub(crate) mod udp;
mod unproven;

pub use config::Config;
pub use credentials::Credentials;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing {
    pub use super::fuzz::{message as stun_message, session as turn_session};
}
pub use policy::Cidr;
pub use stream::Seat;
pub(crate) use stream::message_bytes;

use relay::Reserved;
use ring::hmac;
use server::Server;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

/// This server's addresses are looked at this often, in seconds.
const LOOK_EVERY_S: u64 = 10;

/// The server. Clones are the same.
#[derive(Clone)]
pub struct Turn(Arc<Shared>);

struct Shared {
    server: Arc<Server>,
    /// Addresses that stand for this server's, such as a NAT's.
    advertise: Vec<IpAddr>,
    reserved: Mutex<Reserved>,
    connections: stream::Connections,
    /// The port of WebRTC peers.
    port: u16,
    started: Instant,
    /// Where connections are taken, once they are.
    tcp_port: OnceLock<u16>,
    tls_port: OnceLock<u16>,
    /// When this server's addresses were looked at last, in seconds since the start.
    looked_s: AtomicU64,
}

impl Turn {
    /// With this secret of the store, beside WebRTC peers at this port.
    ///
    /// # Errors
    /// There is no randomness to be had.
    pub(crate) fn new(
        config: Config,
        advertise: &[IpAddr],
        secret: &[u8; 32],
        port: u16,
    ) -> Result<Turn, getrandom::Error> {
        let mut nonce_key = [0; 32];
        getrandom::fill(&mut nonce_key)?;
        // Another key than the store's, so that what is known of one tells nothing of the other.
        let secret = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), b"vidicon TURN credentials");
        let started = Instant::now();
        let server = Arc::new(Server::new(config, secret.as_ref(), nonce_key, started));
        let shared = Shared {
            server,
            advertise: advertise.to_vec(),
            reserved: Mutex::default(),
            connections: Default::default(),
            port,
            started,
            tcp_port: OnceLock::new(),
            tls_port: OnceLock::new(),
            looked_s: AtomicU64::new(0),
        };
        shared.look();
        shared.show();
        metrics::counter!("vidicon_turn_refused_connections_total").increment(0);
        Ok(Turn(Arc::new(shared)))
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.0.server.config
    }

    /// Says where connections over TCP are taken, and where over TLS: what clients are told.
    pub fn set_ports(&self, tcp: Option<u16>, tls: Option<u16>) {
        // Ports do not change while a server runs: what was said first stays.
        for (cell, port) in [(&self.0.tcp_port, tcp), (&self.0.tls_port, tls)] {
            if let Some(port) = port {
                cell.get_or_init(|| port);
            }
        }
    }

    /// The port for clients over TCP.
    pub fn tcp_port(&self) -> Option<u16> {
        self.0.tcp_port.get().copied()
    }

    /// The port for clients over TLS.
    pub fn tls_port(&self) -> Option<u16> {
        self.0.tls_port.get().copied()
    }

    /// Credentials for a channel, by its ARN, that hold from this second (since 1970) for `credentials_s`.
    pub fn credentials(&self, channel: &str, now_s: u64) -> Credentials {
        let ends_s = now_s.saturating_add(self.config().credentials_s.into());
        self.0.server.issuer.issue(channel, ends_s)
    }

    /// Somebody sent this message (REFERENCE §5.3) in a channel, which its ARN names: an offer, an answer or an ICE candidate. Others of the
    /// channel may reach the candidates in it by TURN, if they are of a private network. What is open to everybody anyway needs no such word.
    pub fn heard(&self, channel: &str, message: &str) {
        let Some(payload) = heard::payload(message) else { return };
        let mut found = heard::candidates(&payload).peekable();
        if found.peek().is_some() {
            let mut policy = self.0.server.policy();
            found.for_each(|addr| policy.signalled(channel, addr, Instant::now()));
        }
    }
}

impl Shared {
    /// What comes of time alone.
    fn tick(&self, now: Instant) {
        let passed_s = now.saturating_duration_since(self.started).as_secs();
        if passed_s >= self.looked_s.load(Ordering::Relaxed) + LOOK_EVERY_S {
            self.looked_s.store(passed_s, Ordering::Relaxed);
            self.look();
            self.server.policy().expire(now);
            self.reserved.lock().unwrap_or_else(PoisonError::into_inner).expire(now);
        }
        self.show();
    }

    /// Looks at the addresses of the interfaces: none of them may be a peer but for its relays and peers.
    fn look(&self) {
        let mut own = crate::candidates::interfaces();
        own.extend(&self.advertise);
        own.extend(&self.server.config.relay);
        self.server.policy().set_own(own, self.port);
    }

    fn show(&self) {
        metrics::gauge!("vidicon_turn_allocations").set(self.server.limits().total() as f64);
    }
}
