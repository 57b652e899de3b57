//! Certificates that clients bring: asked for, proven by the handshake, and judged when they are used.
//!
//! A browser may bring one that is of no use here, and must be served all the same; so the handshake takes every certificate
//! whose key its client has. What it is worth is asked where it counts (`auth::devices`), by [`Client`].

use super::{Io, Tls, x509::Facts};
use media::UnixMillis;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio_rustls::rustls::{
    DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};

/// Whether clients are asked for a certificate: only where one could be of use, as some browsers then ask their users which.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask(Arc<AtomicBool>);

impl Ask {
    /// From the next handshake on.
    pub(crate) fn set(&self, ask: bool) {
        self.0.store(ask, Ordering::Relaxed);
    }
    pub(super) fn verifier(&self, provider: &Arc<CryptoProvider>) -> Arc<dyn ClientCertVerifier> {
        Arc::new(Proof { ask: self.clone(), provider: provider.clone() })
    }
}

/// Takes every certificate whose key the client has.
#[derive(Debug)]
struct Proof {
    ask: Ask,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Proof {
    fn offer_client_auth(&self) -> bool {
        self.ask.0.load(Ordering::Relaxed)
    }
    fn client_auth_mandatory(&self) -> bool {
        false
    }
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Certificates that sign themselves can be registered too.
        &[]
    }
    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The certificate that the client of a connection brought, whose key it has. In the extensions of its requests.
#[derive(Clone)]
pub(crate) struct Client(Arc<Brought>);

struct Brought {
    /// Its own first.
    chain: Vec<CertificateDer<'static>>,
    tls: Tls,
}

impl Client {
    /// `None` where there was none.
    pub(crate) fn of(io: &Io, tls: &Tls) -> Option<Client> {
        let Io::Tls(stream) = io else { return None };
        let chain = stream.get_ref().1.peer_certificates().filter(|chain| !chain.is_empty())?;
        let chain = chain.iter().map(|der| der.clone().into_owned()).collect();
        Some(Client(Arc::new(Brought { chain, tls: tls.clone() })))
    }

    /// What it says of itself; `None` where that cannot be read.
    pub(crate) fn facts(&self) -> Option<Facts> {
        Facts::of(self.0.chain.first()?)
    }

    /// Whether one of the device authorities of now vouches for it, for clients and at this time.
    pub(crate) fn is_of_authority(&self, now: UnixMillis) -> bool {
        let (Some(verifier), Some((own, others))) = (self.0.tls.devices(), self.0.chain.split_first()) else {
            return false;
        };
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now.0.max(0).unsigned_abs()));
        verifier.verify_client_cert(own, others, now).is_ok()
    }
}
