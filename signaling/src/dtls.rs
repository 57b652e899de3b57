//! DTLS-SRTP of one peer (RFC 5763, RFC 5764), around `rtc`'s sans-I/O endpoint.
//!
//! What belongs here: the certificate of the process, the handshake, and the SRTP keys that come out of it. What does
//! not: where datagrams go. The endpoint is told one fixed placeholder address, because ICE may move the path under it.

use bytes::BytesMut;
use rtc::crypto::{HashAlgorithm, RTCCryptoProvider};
use rtc::dtls::cipher_suite::CipherSuiteId;
use rtc::dtls::config::{
    ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig, VerifyPeerCertificateFn,
};
use rtc::dtls::crypto::Certificate;
use rtc::dtls::endpoint::{Endpoint, EndpointEvent};
use rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc::shared::error::Error;
use rtc::shared::{TransportContext, TransportProtocol};
use rtc::srtp::config::{Config as SrtpConfig, LABEL_EXTRACTOR_DTLS_SRTP};
use rtc::srtp::context::Context;
use rtc::srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc::srtp::protection_profile::ProtectionProfile;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A lost flight is sent again after this, much sooner than RFC 6347's second: the viewer waits for a picture.
const FLIGHT_INTERVAL: Duration = Duration::from_millis(200);
/// Packets (RFC 3711 §3.3.2 asks for at least 64): so far behind may come what was asked for again.
const REPLAY_WINDOW: usize = 1024;

/// The certificate and the crypto of this process. Made once; cheap to clone.
#[derive(Clone)]
pub(crate) struct Identity {
    /// Where primitives and randomness come from.
    pub(crate) crypto: Arc<dyn RTCCryptoProvider>,
    certificate: Certificate,
    /// SHA-256 of the certificate, as in SDP: upper-case hexadecimal pairs with colons (RFC 8122 §5).
    pub(crate) fingerprint: String,
}

impl Identity {
    /// Makes a key (ECDSA P-256) and a self-signed certificate.
    pub(crate) fn generate() -> Result<Self, Error> {
        let crypto = rtc::crypto::default_provider().map_err(|e| Error::Crypto(e.to_string()))?;
        let certificate = Certificate::generate_self_signed(vec!["vidicon".to_owned()], crypto.crypto())?;
        let der = certificate.certificate.first().ok_or(Error::ErrNonCertificate)?;
        let fingerprint = fingerprint(&*crypto, der)?;
        Ok(Identity { crypto, certificate, fingerprint })
    }
}

/// SHA-256 of a certificate as SDP writes it.
fn fingerprint(crypto: &dyn RTCCryptoProvider, der: &[u8]) -> Result<String, Error> {
    let hash = crypto.crypto().hash(HashAlgorithm::Sha256, der).map_err(|e| Error::Crypto(e.to_string()))?;
    let mut text = String::with_capacity(hash.len() * 3);
    for byte in &*hash {
        let colon = if text.is_empty() { "" } else { ":" };
        write!(text, "{colon}{byte:02X}").expect("a String takes everything");
    }
    Ok(text)
}

/// SRTP in both directions, once the handshake is done.
pub(crate) struct Keys {
    /// Protects what we send.
    pub(crate) local: Context,
    /// Opens what the viewer sends.
    pub(crate) remote: Context,
    /// The agreed profile, for the log.
    pub(crate) profile: &'static str,
}

/// What a datagram led to.
#[derive(Default)]
pub(crate) struct Progress {
    /// Set once: the handshake is done.
    pub(crate) keys: Option<Keys>,
    /// The viewer closed the connection.
    pub(crate) closed: bool,
}

/// What we would rather have: one pass over the bytes, and hardware does it.
const PREFERRED: &[SrtpProtectionProfile] = &[SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm];
/// What else will do.
const FALLBACK: &[SrtpProtectionProfile] =
    &[SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm, SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80];

/// The DTLS side of one peer.
pub(crate) struct Dtls {
    endpoint: Endpoint,
    /// Taken when the handshake starts, if that is up to us.
    client: Option<Arc<HandshakeConfig>>,
    /// Taken when the viewer, as the client, has none of the preferred profiles. `rtc` lets the client's order decide
    /// among several, and browsers' order puts GCM last; so the server first knows the preferred one only.
    fallback: Option<Arc<HandshakeConfig>>,
    crypto: Arc<dyn RTCCryptoProvider>,
}

impl Dtls {
    /// `active` makes us the client: we begin as soon as there is a path. The viewer's certificate must have `remote`
    /// as its SHA-256 fingerprint (any case).
    pub(crate) fn new(identity: &Identity, active: bool, remote: &str) -> Result<Self, Error> {
        let crypto = identity.crypto.clone();
        let config = |profiles| config(identity, active, remote, profiles).map(Arc::new);
        let (client, server, fallback) = match active {
            true => (Some(config([PREFERRED, FALLBACK].concat())?), None, None),
            false => (None, Some(config(PREFERRED.to_vec())?), Some(config(FALLBACK.to_vec())?)),
        };
        Ok(Dtls { endpoint: endpoint(server), client, fallback, crypto })
    }

    /// There is a path to the viewer: begins the handshake if that is up to us. Does nothing the second time.
    pub(crate) fn begin(&mut self, now: Instant) -> Result<(), Error> {
        match self.client.take() {
            Some(config) => self.endpoint.connect(now, TransportContext::default().peer_addr, config, None),
            None => Ok(()),
        }
    }

    /// Takes a record from the viewer. An error ends the connection only if it says so in a fatal alert; anything that
    /// could have been forged is dropped by the endpoint.
    pub(crate) fn handle_input(&mut self, now: Instant, record: &[u8]) -> Result<Progress, Error> {
        let remote = TransportContext::default().peer_addr;
        if self.client.is_some() {
            return Ok(Progress::default()); // Before there is a path of ours, nothing can be an answer.
        }
        let mut progress = Progress::default();
        let mut read = self.endpoint.read(now, remote, None, BytesMut::from(record));
        if let Err(Error::ErrServerNoMatchingSrtpProfile) = read
            && let Some(fallback) = self.fallback.take()
        {
            // It was a ClientHello. An endpoint that knows other profiles takes it, and the alert is never sent.
            self.endpoint = endpoint(Some(fallback));
            read = self.endpoint.read(now, remote, None, BytesMut::from(record));
        }
        for event in read? {
            match event {
                EndpointEvent::HandshakeComplete => progress.keys = Some(self.keys()?),
                EndpointEvent::PeerClosed => progress.closed = true,
                _ => {} // Data channels were not answered, so data is nothing to us.
            }
        }
        Ok(progress)
    }

    /// The next record to send.
    pub(crate) fn poll_output(&mut self) -> Option<BytesMut> {
        self.endpoint.poll_transmit().map(|transmit| transmit.message)
    }

    /// Sends lost flights again.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        let remote = TransportContext::default().peer_addr;
        match self.endpoint.poll_timeout(&remote) {
            Some(at) if at <= now => self.endpoint.handle_timeout(remote, now),
            _ => Ok(()),
        }
    }

    /// Says goodbye (close_notify); the record is in `poll_output`.
    pub(crate) fn close(&mut self, now: Instant) {
        if let Err(error) = self.endpoint.close(now) {
            tracing::debug!(%error, "no goodbye");
        }
    }

    /// SRTP keys out of the finished handshake (RFC 5764 §4.2).
    fn keys(&self) -> Result<Keys, Error> {
        let state = self
            .endpoint
            .get_connection_state(TransportContext::default().peer_addr)
            .ok_or(Error::ErrDtlsTransportNotStarted)?;
        let (profile, name) = match state.srtp_protection_profile() {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => (ProtectionProfile::AeadAes128Gcm, "AEAD_AES_128_GCM"),
            SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm => (ProtectionProfile::AeadAes256Gcm, "AEAD_AES_256_GCM"),
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => {
                (ProtectionProfile::Aes128CmHmacSha1_80, "AES128_CM_HMAC_SHA1_80")
            }
            _ => return Err(Error::ErrNoSuchSrtpProfile),
        };
        let mut config = SrtpConfig { profile, ..SrtpConfig::default() };
        let material = state.export_keying_material(LABEL_EXTRACTOR_DTLS_SRTP, &[], config.keying_material_len())?;
        config.set_session_keys_from_keying_material(material.as_ref(), state.is_client())?;
        let (keys, crypto) = (&config.keys, self.crypto.crypto());
        let local = Context::new(&keys.local_master_key, &keys.local_master_salt, profile, None, None, crypto)?;
        let (rtp, rtcp) = (srtp_replay_protection(REPLAY_WINDOW), srtcp_replay_protection(REPLAY_WINDOW));
        let (key, salt) = (&keys.remote_master_key, &keys.remote_master_salt);
        let remote = Context::new(key, salt, profile, Some(rtp), Some(rtcp), crypto)?;
        Ok(Keys { local, remote, profile: name })
    }
}

/// An endpoint at the placeholder address; with a configuration it is a server.
fn endpoint(server: Option<Arc<HandshakeConfig>>) -> Endpoint {
    Endpoint::new(TransportContext::default().local_addr, TransportProtocol::UDP, server)
}

/// The configuration of one handshake.
fn config(
    identity: &Identity,
    active: bool,
    remote: &str,
    profiles: Vec<SrtpProtectionProfile>,
) -> Result<HandshakeConfig, Error> {
    let (remote, crypto) = (remote.to_ascii_uppercase(), identity.crypto.clone());
    let verify: VerifyPeerCertificateFn = Arc::new(move |chain, _| {
        let der = chain.first().ok_or(Error::ErrNonCertificate)?;
        if fingerprint(&*crypto, der)? == remote { Ok(()) } else { Err(Error::ErrNoMatchingCertificateFingerprint) }
    });
    ConfigBuilder::default()
        .with_crypto_provider(identity.crypto.clone())
        .with_certificates(vec![identity.certificate.clone()])
        .with_srtp_protection_profiles(profiles)
        // Our certificate is ECDSA: an RSA suite could only stall.
        .with_cipher_suites(vec![
            CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256,
            CipherSuiteId::Tls_Ecdhe_Ecdsa_With_ChaCha20_Poly1305_Sha256,
            CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_256_Cbc_Sha,
        ])
        .with_client_auth(ClientAuthType::RequireAnyClientCert)
        // There is no authority to ask: the fingerprint in the offer is the authentication (RFC 8827 §6.5).
        .with_insecure_skip_verify(true)
        .with_verify_peer_certificate(Some(verify))
        .with_extended_master_secret(ExtendedMasterSecretType::Require)
        .with_flight_interval(FLIGHT_INTERVAL)
        .build(active, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands records back and forth until both sides are quiet.
    fn shake(a: &mut Dtls, b: &mut Dtls) -> Result<(Option<Keys>, Option<Keys>), Error> {
        let now = Instant::now();
        let (mut keys_a, mut keys_b) = (None, None);
        a.begin(now)?;
        b.begin(now)?;
        for _ in 0..20 {
            while let Some(record) = a.poll_output() {
                keys_b = b.handle_input(now, &record)?.keys.or(keys_b);
            }
            while let Some(record) = b.poll_output() {
                keys_a = a.handle_input(now, &record)?.keys.or(keys_a);
            }
        }
        Ok((keys_a, keys_b))
    }

    #[test]
    fn two_sides_agree_on_gcm_and_close() {
        let (us, them) = (Identity::generate().expect("made"), Identity::generate().expect("made"));
        let mut a = Dtls::new(&us, true, &them.fingerprint).expect("configured");
        let mut b = Dtls::new(&them, false, &us.fingerprint.to_ascii_lowercase()).expect("configured");
        let (keys_a, keys_b) = shake(&mut a, &mut b).expect("shaken");
        let (mut keys_a, mut keys_b) = (keys_a.expect("keys"), keys_b.expect("keys"));
        assert_eq!((keys_a.profile, keys_b.profile), ("AEAD_AES_128_GCM", "AEAD_AES_128_GCM"));
        let packet = [0x80, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, b'h', b'i'];
        let sealed = keys_a.local.encrypt_rtp(&packet).expect("sealed");
        assert_eq!(&keys_b.remote.decrypt_rtp(&sealed).expect("opened")[..], packet);

        a.close(Instant::now());
        let goodbye = a.poll_output().expect("a close_notify");
        assert!(b.handle_input(Instant::now(), &goodbye).expect("read").closed);
    }

    #[test]
    fn a_viewer_that_prefers_or_knows_something_else_gets_the_best_of_it() {
        for (offered, agreed) in [
            (
                vec![SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80, SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm],
                "AEAD_AES_128_GCM",
            ),
            (vec![SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80], "AES128_CM_HMAC_SHA1_80"),
        ] {
            let (us, them) = (Identity::generate().expect("made"), Identity::generate().expect("made"));
            let mut a = Dtls::new(&us, false, &them.fingerprint).expect("configured");
            let mut b = Dtls::new(&them, true, &us.fingerprint).expect("configured");
            b.client = Some(Arc::new(config(&them, true, &us.fingerprint, offered).expect("configured")));
            let (keys_a, keys_b) = shake(&mut a, &mut b).expect("shaken");
            assert_eq!((keys_a.expect("keys").profile, keys_b.expect("keys").profile), (agreed, agreed));
        }
    }

    #[test]
    fn a_certificate_that_was_not_announced_is_refused() {
        let (us, them) = (Identity::generate().expect("made"), Identity::generate().expect("made"));
        let other = Identity::generate().expect("made");
        let mut a = Dtls::new(&us, true, &other.fingerprint).expect("configured");
        let mut b = Dtls::new(&them, false, &us.fingerprint).expect("configured");
        assert!(shake(&mut a, &mut b).map(|(a, b)| a.is_none() && b.is_none()).unwrap_or(true));
    }

    #[test]
    fn rubbish_does_not_panic() {
        let us = Identity::generate().expect("made");
        let mut passive = Dtls::new(&us, false, &us.fingerprint).expect("configured");
        let mut active = Dtls::new(&us, true, &us.fingerprint).expect("configured");
        active.begin(Instant::now()).expect("begun");
        let hello = active.poll_output().expect("a client hello");
        for end in 0..hello.len() {
            let _ = passive.handle_input(Instant::now(), &hello[..end]);
            let _ = active.handle_input(Instant::now(), &hello[..end]);
        }
        for at in 0..hello.len() {
            let mut bent = hello.to_vec();
            bent[at] ^= 0xff;
            let _ = passive.handle_input(Instant::now(), &bent);
            let _ = active.handle_input(Instant::now(), &bent);
        }
    }
}
