//! Whom TLS to a server trusts: the authorities of the system, and the certificates of a file.
//!
//! A certificate of the file counts as an authority, and as the server's own. The second is what `openssl req -x509` makes for
//! a server: it says of itself that it is an authority, and RFC 5280 (§4.2.1.9, as webpki reads it) takes none for a server.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::rustls;

/// TLS that trusts the system's authorities and the PEM certificates of `file`, without a certificate of its own. Reads files.
///
/// # Errors
/// What is wrong with the file, without its name.
pub fn client(file: Option<&Path>) -> Result<ClientConfig, String> {
    let own = match file {
        Some(file) => CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|e| e.to_string())?,
        None => Vec::new(),
    };
    if file.is_some() && own.is_empty() {
        return Err("it holds no certificate (PEM)".to_owned());
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    for certificate in &own {
        roots.add(certificate.clone()).map_err(|e| e.to_string())?;
    }
    of(roots, own)
}

fn of(roots: RootCertStore, own: Vec<CertificateDer<'static>>) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    if own.is_empty() {
        return Ok(config.with_root_certificates(roots).with_no_client_auth());
    }
    let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let authorities = authorities.map_err(|e| e.to_string())?;
    Ok(config.dangerous().with_custom_certificate_verifier(Arc::new(Trust { authorities, own })).with_no_client_auth())
}

/// The usual verification, and beside it a server whose very certificate is trusted.
#[derive(Debug)]
struct Trust {
    authorities: Arc<WebPkiServerVerifier>,
    own: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.authorities.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            // That it is an authority is an error without a name of its own; that it has expired has one, and comes before.
            Err(Error::InvalidCertificate(CertificateError::Other(_))) if self.own.contains(end_entity) => {
                rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            judged => judged,
        }
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls12_signature(message, certificate, signature)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.authorities.verify_tls13_signature(message, certificate, signature)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    /// A server's certificate that signs itself: an authority too, or none; of the years from and to.
    fn certificate(is_authority: bool, years: (i32, i32)) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["nvr.local".to_owned()]).unwrap();
        if is_authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        (params.not_before, params.not_after) =
            (rcgen::date_time_ymd(years.0, 1, 1), rcgen::date_time_ymd(years.1, 1, 1));
        (params.self_signed(&key).unwrap(), key)
    }

    /// Whether a client that trusts these takes a server of that name with this certificate; else why not.
    async fn taken(trusted: &[&rcgen::Certificate], served: &(rcgen::Certificate, KeyPair), name: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, trusted.iter().map(|c| c.pem()).collect::<String>()).unwrap();
        let server = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![served.0.der().clone()], served.1.serialize_der().try_into().unwrap())
            .unwrap();
        let (near, far) = tokio::io::duplex(1 << 16);
        let accepting = tokio::spawn(TlsAcceptor::from(Arc::new(server)).accept(far));
        let connector = TlsConnector::from(Arc::new(client(Some(&file)).unwrap()));
        let connected = connector.connect(ServerName::try_from(name.to_owned()).unwrap(), near).await;
        let _ = accepting.await;
        connected.map_or_else(|e| e.to_string(), |_| "taken".to_owned())
    }

    #[tokio::test]
    async fn a_server_whose_very_certificate_is_in_the_file_is_trusted_and_no_other() {
        let (plain, authority) = (certificate(false, (2020, 2090)), certificate(true, (2020, 2090)));
        let expired = certificate(true, (2020, 2021));
        assert_eq!(taken(&[&plain.0], &plain, "nvr.local").await, "taken");
        assert_eq!(taken(&[&authority.0], &authority, "nvr.local").await, "taken");
        assert_eq!(taken(&[&plain.0, &authority.0], &authority, "nvr.local").await, "taken");
        let refused = |why: String, part: &str| assert!(why.contains(part), "{why}");
        refused(taken(&[&authority.0], &authority, "other.local").await, "not valid for name");
        refused(taken(&[&expired.0], &expired, "nvr.local").await, "expired");
        // The same names, another key.
        refused(taken(&[&plain.0], &authority, "nvr.local").await, "CaUsedAsEndEntity");
        refused(taken(&[&authority.0], &certificate(false, (2020, 2090)), "nvr.local").await, "BadSignature");
    }

    #[test]
    fn a_file_without_a_certificate_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        assert!(client(Some(&file)).is_err(), "there is none");
        std::fs::write(&file, "no PEM\n").unwrap();
        assert_eq!(client(Some(&file)).unwrap_err(), "it holds no certificate (PEM)");
        assert!(client(None).is_ok());
    }
}
