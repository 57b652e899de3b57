//! TLS of a port: which certificate it shows, and that a renewed one is taken up while the server runs.
//!
//! What belongs here: the `[tls]` table, the files ([`load`]), the handshake ([`accept`]), the certificates that clients bring
//! ([`device`]) and the connection that comes of it ([`io`]). What does not: what is asked on it. ADR 0009 has the reasons.

mod accept;
mod authority;
mod device;
mod io;
mod load;
mod local;
#[cfg(test)]
mod tests;
mod turn;
pub(crate) mod x509;

pub(crate) use accept::accept;
pub(crate) use device::{Ask, Client};
pub(crate) use io::Io;
pub use turn::serve_turn;

use load::{Built, Files};
use local::Local;
use serde::{Deserialize, Serialize};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
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
    /// Whether the server makes an authority of its own in the data folder, and shows a certificate of that.
    pub local: bool,
    /// Names and addresses that a certificate of the local authority is for, beside the machine's own.
    pub names: Vec<String>,
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
        let TlsConfig { certificate, key, local, names, device_ca, listen } = self;
        if *local && (certificate.is_some() || key.is_some()) {
            return Err(
                "tls.local makes a certificate, and tls.certificate or tls.key names one: leave one of them out".into(),
            );
        }
        if !names.is_empty() && !local {
            return Err(
                "tls.names is for certificates of tls.local, which is off: a certificate of a file has its own names"
                    .into(),
            );
        }
        if names.len() > MOST_NAMES {
            return Err(format!("tls.names has {} names, it may have {MOST_NAMES}", names.len()));
        }
        if let Some(name) = names.iter().find(|name| !local::is_name(name)) {
            return Err(format!("tls.names: {name:?} is no DNS name in lower case and no address"));
        }
        let without = "there is no TLS without tls.certificate and tls.key, or tls.local";
        match (certificate, key) {
            (Some(_), None) => Err("tls.certificate is set and tls.key is not: both are needed".into()),
            (None, Some(_)) => Err("tls.key is set and tls.certificate is not: both are needed".into()),
            (None, None) if *local => Ok(()),
            (None, None) if listen.is_some() => Err(format!("tls.listen is set, and {without}")),
            (None, None) if device_ca.is_some() => Err(format!("tls.device_ca is set, and {without}")),
            _ => Ok(()),
        }
    }

    /// Whether a port speaks TLS.
    pub fn is_on(&self) -> bool {
        self.local || self.certificate.is_some()
    }

    /// Reads the files; `None` where none are named.
    ///
    /// # Errors
    /// A line that names the file and what is wrong with it.
    pub fn load(&self) -> Result<Option<Tls>, String> {
        let (Some(certificate), Some(key)) = (&self.certificate, &self.key) else { return Ok(None) };
        let device_ca = self.device_ca.clone();
        Tls::open(Files { certificate: certificate.clone(), key: key.clone(), device_ca }, None).map(Some)
    }

    /// Opens the local authority in the data folder, or makes it, with a certificate for `names` beside those that are configured; `None`
    /// where `local` is off. Names that no certificate can have are passed over.
    ///
    /// # Errors
    /// A line that names the file and what is wrong with it.
    pub fn open_local(&self, data: &Path, names: &[String]) -> Result<Option<Tls>, String> {
        if !self.local {
            return Ok(None);
        }
        let also = names.iter().map(|name| name.to_ascii_lowercase()).filter(|name| local::is_name(name));
        let local = Local::open(data, self.names.iter().cloned().chain(also).collect())?;
        Tls::open(local.files(self.device_ca.clone()), Some(local)).map(Some)
    }
}

/// The most names that may be configured.
const MOST_NAMES: usize = 50;

/// What a port shows to its clients, now. Clones are the same.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    files: Files,
    /// Who issues what is in the files, if that is this server.
    local: Option<Local>,
    current: RwLock<Built>,
    ask: Ask,
    /// What the files held when they were tried last, whether that was of use or not.
    tried: Mutex<load::Digest>,
    /// Why the local authority issued nothing, as the log has it.
    told: Mutex<String>,
}

impl Tls {
    fn open(files: Files, local: Option<Local>) -> Result<Self, String> {
        let held = files.read();
        let ask = Ask::default();
        let current = RwLock::new(built(&files, &held, &ask)?);
        Ok(Tls(Arc::new(Inner {
            tried: Mutex::new(held.digest()),
            files,
            local,
            current,
            ask,
            told: Mutex::default(),
        })))
    }

    /// The certificate of the local authority in PEM, for those who are to trust this server; `None` where certificates come from elsewhere.
    pub(crate) fn authority(&self) -> Option<String> {
        self.0.local.as_ref().map(|local| local.certificate().to_owned())
    }
    /// Where that lies, and its SHA-256 fingerprint.
    pub fn authority_file(&self) -> Option<(PathBuf, String)> {
        self.0.local.as_ref().map(|local| (local.certificate_path(), local.fingerprint()))
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
        if let Some(Err(why)) = self.0.local.as_ref().map(Local::refresh) {
            let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
            if *told != why {
                tracing::error!("the TLS certificate stays the old one: {why}");
                *told = why;
            }
        }
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
