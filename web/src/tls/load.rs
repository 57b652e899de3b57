//! The files, read and made into what rustls serves with.

use super::{Ask, x509::Facts};
use media::UnixMillis;
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio_rustls::rustls::{
    Error, InconsistentKeys, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    version::{TLS12, TLS13},
};

/// The most bytes of a file: some chains are long, none is longer.
const MOST_BYTES: u64 = 1 << 20;

/// Where they lie.
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    pub(super) device_ca: Option<PathBuf>,
}

/// What the files come to.
pub(super) struct Built {
    pub(super) config: Arc<ServerConfig>,
    /// When the server's certificate ends.
    pub(super) not_after: UnixMillis,
    /// Who judges certificates of the device authorities.
    pub(super) devices: Option<Arc<dyn ClientCertVerifier>>,
}

/// What a file held, or why it could not be read.
type Content = Result<Vec<u8>, String>;

/// What the files held at one moment. No `Debug`: one is a private key.
pub(super) struct Held {
    certificate: Content,
    key: Content,
    device_ca: Option<Content>,
}

/// Tells what was tried before without keeping a private key beside the one in use.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Digest([u8; 32]);

impl Held {
    pub(super) fn digest(&self) -> Digest {
        use sha2::Digest as _;
        let mut hash = sha2::Sha256::new();
        for content in [Some(&self.certificate), Some(&self.key), self.device_ca.as_ref()].into_iter().flatten() {
            let (kind, bytes) = match content {
                Ok(bytes) => (0, &bytes[..]),
                Err(why) => (1, why.as_bytes()),
            };
            hash.update([kind]);
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        }
        Digest(hash.finalize().into())
    }
}

impl Files {
    pub(super) fn read(&self) -> Held {
        let device_ca = self.device_ca.as_deref().map(read);
        Held { certificate: read(&self.certificate), key: read(&self.key), device_ca }
    }

    /// What to serve with.
    ///
    /// # Errors
    /// A line that names the file and what is wrong with it.
    pub(super) fn build(&self, held: &Held, ask: &Ask) -> Result<Built, String> {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        let chain = certificates(held.certificate.as_ref().map_err(|why| format!("tls.certificate: {why}"))?)
            .map_err(|why| format!("tls.certificate: {certificate} {why}"))?;
        let first = chain.first().and_then(|der| Facts::of(der));
        let first = first.ok_or_else(|| format!("tls.certificate: the first certificate in {certificate} is none"))?;
        let bytes = held.key.as_ref().map_err(|why| format!("tls.key: {why}"))?;
        let private = PrivateKeyDer::from_pem_slice(bytes).map_err(|error| match error {
            pem::Error::NoItemsFound => {
                format!("tls.key: {key} holds no private key in PEM (one that is encrypted cannot be used)")
            }
            // What it says of the text is left out: it may quote the key.
            _ => format!("tls.key: {key} is no PEM"),
        })?;
        let provider = Arc::new(ring::default_provider());
        let devices = self.devices(held, &provider)?;
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|e| format!("TLS cannot be set up: {e}"))?
            .with_client_cert_verifier(ask.verifier(&provider));
        let mut config = builder.with_single_cert(chain, private).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                format!("tls.key: {key} is not the key of the first certificate in {certificate}")
            }
            Error::InvalidCertificate(why) => {
                format!("tls.certificate: the first certificate in {certificate} cannot be used: {why:?}")
            }
            other => format!("tls.key: {key} cannot be used: {other}"),
        })?;
        // Not h2: producers sign headers that it has not (ADR 0009).
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Each connection proves anew who it is of.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Built { config: Arc::new(config), not_after: first.not_after, devices })
    }

    /// Who judges certificates of the device authorities.
    fn devices(
        &self,
        held: &Held,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
        let (Some(path), Some(content)) = (&self.device_ca, &held.device_ca) else { return Ok(None) };
        let path = path.display();
        let found = certificates(content.as_ref().map_err(|why| format!("tls.device_ca: {why}"))?)
            .map_err(|why| format!("tls.device_ca: {path} {why}"))?;
        let mut roots = RootCertStore::empty();
        for (n, certificate) in found.into_iter().enumerate() {
            let added = roots.add(certificate);
            added.map_err(|e| format!("tls.device_ca: certificate {} in {path} cannot be used: {e}", n + 1))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        Ok(Some(verifier.map_err(|e| format!("tls.device_ca: {path} cannot be used: {e}"))?))
    }
}

fn read(path: &Path) -> Content {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) if bytes.len() as u64 > MOST_BYTES => Err(format!("{} has more than {MOST_BYTES} bytes", path.display())),
        Ok(_) => Ok(bytes),
        Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
    }
}

/// The certificates of a PEM file.
fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err("holds no certificate in PEM".into()),
        Ok(chain) => Ok(chain),
        Err(error) => Err(format!("is no PEM: {error:?}")),
    }
}
