//! TLS of a port: which certificate it shows, and that a renewed one is taken up while the server runs.
//!
//! What belongs here: the `[tls]` table, the files ([`load`]), the handshake ([`accept`]), the certificates that clients bring
//! ([`device`]) and the connection that comes of it ([`io`]). What does not: what is asked on it. ADR 0009 has the reasons.

mod accept;
mod device;
mod io;
mod load;
#[cfg(test)]
mod tests;
mod turn;
pub(crate) mod x509;

pub(crate) use accept::accept;
pub(crate) use device::{Ask, Client};
pub(crate) use io::Io;
pub use turn::serve_turn;

use load::{Built, Files};
use serde::{Deserialize, Serialize};
use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};
use tokio_rustls::rustls::{ServerConfig, server::danger::ClientCertVerifier};
use tokio_util::sync::CancellationToken;

/// The files are looked at this often. They are small, and certificates are renewed days before they end.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// TLS: `[tls]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// PEM file of the server's certificate, its own first, then what leads to a root. With it and `key` the port speaks TLS.
    pub certificate: Option<PathBuf>,
    /// PEM file of the certificate's key: PKCS #8, PKCS #1 or SEC1, not encrypted.
    pub key: Option<PathBuf>,
    /// PEM file of the authorities whose certificates devices may have: see `docs/operations.md`, "Devices with certificates".
    pub device_ca: Option<PathBuf>,
    /// The port that speaks TLS, beside `listen`, which then goes on without. Else `listen` itself speaks TLS.
    pub listen: Option<SocketAddr>,
}

impl TlsConfig {
    /// Whether the values make sense together. No file is read.
    ///
    /// # Errors
    /// A line that names the key.
    pub fn check(&self) -> Result<(), String> {
        let TlsConfig { certificate, key, device_ca, listen } = self;
        match (certificate, key) {
            (Some(_), None) => Err("tls.certificate is set and tls.key is not: both are needed".into()),
            (None, Some(_)) => Err("tls.key is set and tls.certificate is not: both are needed".into()),
            (None, None) if listen.is_some() => {
                Err("tls.listen is set, and there is no TLS without tls.certificate and tls.key".into())
            }
            (None, None) if device_ca.is_some() => {
                Err("tls.device_ca is set, and there is no TLS without tls.certificate and tls.key".into())
            }
            _ => Ok(()),
        }
    }

    /// Reads the files; `None` where none are named.
    ///
    /// # Errors
    /// A line that names the file and what is wrong with it.
    pub fn load(&self) -> Result<Option<Tls>, String> {
        let (Some(certificate), Some(key)) = (&self.certificate, &self.key) else { return Ok(None) };
        let device_ca = self.device_ca.clone();
        Tls::open(Files { certificate: certificate.clone(), key: key.clone(), device_ca }).map(Some)
    }
}

/// What a port shows to its clients, now. Clones are the same.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    files: Files,
    current: RwLock<Built>,
    ask: Ask,
    /// What the files held when they were tried last, whether that was of use or not.
    tried: Mutex<load::Digest>,
}

impl Tls {
    fn open(files: Files) -> Result<Self, String> {
        let held = files.read();
        let ask = Ask::default();
        let current = RwLock::new(built(&files, &held, &ask)?);
        Ok(Tls(Arc::new(Inner { tried: Mutex::new(held.digest()), files, current, ask })))
    }

    /// What new connections get.
    fn current(&self) -> Arc<ServerConfig> {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).config.clone()
    }
    /// Who judges certificates of the device authorities, where there are some.
    fn devices(&self) -> Option<Arc<dyn ClientCertVerifier>> {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).devices.clone()
    }
    /// Whether clients are asked for a certificate.
    pub(crate) fn ask(&self) -> Ask {
        self.0.ask.clone()
    }

    /// Takes up what the files hold now, if that is something else and of use; else all stays as it is, and the log says once why.
    /// Blocks on files.
    fn reload(&self) {
        let held = self.0.files.read();
        let digest = held.digest();
        let mut tried = self.0.tried.lock().unwrap_or_else(PoisonError::into_inner);
        if *tried == digest {
            return;
        }
        *tried = digest;
        match built(&self.0.files, &held, &self.0.ask) {
            Ok(built) => {
                *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = built;
                tracing::info!(certificate = %self.0.files.certificate.display(), "the TLS certificate and the device authorities were taken up anew");
            }
            Err(why) => tracing::error!("the TLS certificate stays the old one: {why}"),
        }
    }

    /// Looks at the files until the server stops.
    pub(crate) async fn watch(self, stop: CancellationToken) {
        let mut every = tokio::time::interval(LOOK_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(every.tick()).await.is_some() {
            let tls = self.clone();
            let looked = tokio::task::spawn_blocking(move || tls.reload());
            // A file system that hangs must not hold up the stop.
            if stop.run_until_cancelled(looked).await.is_none() {
                break;
            }
        }
    }
}

/// What the files say to serve with; from then on the metrics say when its certificate ends.
fn built(files: &Files, held: &load::Held, ask: &Ask) -> Result<Built, String> {
    let built = files.build(held, ask)?;
    metrics::gauge!("vidicon_tls_certificate_not_after_seconds").set(built.not_after.0 as f64 / 1000.0);
    Ok(built)
}
