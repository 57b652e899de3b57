//! An authority of the server's own: its certificate, its key, and what it issues. No files and no clock; see `local`.

use super::x509::Facts;
use media::UnixMillis;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use sha2::{Digest, Sha256};
use std::{fmt::Write, net::IpAddr, time::Duration};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer};

const DAY: Duration = Duration::from_secs(86_400);
/// Devices that nobody looks at for years must go on trusting it.
const AUTHORITY_HOLDS: Duration = DAY.saturating_mul(20 * 365);
/// Apple's systems refuse more than 825 days, also of authorities that their user chose.
const CERTIFICATE_HOLDS: Duration = DAY.saturating_mul(90);
/// A certificate is issued anew when so much is left of it.
const RENEWED_BEFORE: Duration = DAY.saturating_mul(30);
/// Clocks of devices are wrong by hours; what was issued a moment ago must hold for them.
const BACKDATED: Duration = DAY;

/// The authority. No `Debug`: it holds a private key.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    facts: Facts,
}

impl Authority {
    /// A new one.
    pub(super) fn make(now: UnixMillis) -> Result<Authority, String> {
        let key = KeyPair::generate().map_err(|e| format!("a key cannot be made: {e}"))?;
        let mut params = params_of(&key)?;
        set(&mut params, now, AUTHORITY_HOLDS);
        let certificate = params.self_signed(&key).map_err(|e| format!("its certificate cannot be made: {e}"))?;
        Authority::of(certificate.pem(), key)
    }

    /// The one of [`pem`](Authority::pem).
    ///
    /// # Errors
    /// A line that says what is wrong with the text, without quoting it.
    pub(super) fn read(text: &str) -> Result<Authority, String> {
        let (certificate, _) = text.split_once(END).ok_or("it holds no certificate in PEM")?;
        let key = key_of(text).ok_or("it holds no private key in PEM")?;
        let authority = Authority::of(format!("{certificate}{END}"), key)?;
        match is_of(&authority.der()?, authority.issuer.key()) {
            true => Ok(authority),
            false => Err("its key is not that of its certificate".into()),
        }
    }

    fn of(certificate: String, key: KeyPair) -> Result<Authority, String> {
        let der = CertificateDer::from_pem_slice(certificate.as_bytes());
        let facts = der.ok().and_then(|der| Facts::of(&der)).ok_or("its certificate is none")?;
        Ok(Authority { issuer: Issuer::new(params_of(&key)?, key), certificate, facts })
    }

    fn der(&self) -> Result<CertificateDer<'static>, String> {
        CertificateDer::from_pem_slice(self.certificate.as_bytes()).map_err(|_| "its certificate is none".into())
    }

    /// All of it, its key too.
    pub(super) fn pem(&self) -> String {
        format!("{}{}", self.certificate, self.issuer.key().serialize_pem())
    }

    /// Its certificate, for those who are to trust it.
    pub(super) fn certificate(&self) -> &str {
        &self.certificate
    }

    /// SHA-256 of its certificate, as `openssl x509 -fingerprint -sha256` writes it: pairs of digits with colons between.
    pub(super) fn fingerprint(&self) -> String {
        let mut text = String::with_capacity(95);
        for (n, pair) in self.facts.id.as_bytes().chunks(2).enumerate() {
            let _ = write!(text, "{}{}", if n == 0 { "" } else { ":" }, String::from_utf8_lossy(pair).to_uppercase());
        }
        text
    }

    /// Whether it still holds as long as what it would issue now.
    pub(super) fn outlives(&self, now: UnixMillis) -> bool {
        self.facts.not_before <= now && now.plus(millis(CERTIFICATE_HOLDS)) <= self.facts.not_after
    }

    /// A certificate of a server for these names and addresses, with a key of its own, in one PEM text: the chain, then the key.
    pub(super) fn issue(&self, names: &[String], now: UnixMillis) -> Result<String, String> {
        let failed = |e: rcgen::Error| format!("a certificate cannot be issued: {e}");
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = CertificateParams::new(names).map_err(failed)?;
        params.distinguished_name = named("Vidicon");
        set(&mut params, now, CERTIFICATE_HOLDS);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(format!("{}{}{}", certificate.pem(), self.certificate, key.serialize_pem()))
    }

    /// Whether a text of [`issue`](Authority::issue) is still of use: it is of this authority, holds for a while, and for all of these names.
    pub(super) fn serves(&self, text: &str, names: &[String], now: UnixMillis) -> bool {
        let Some((facts, has)) = self.issued(text) else { return false };
        facts.not_before <= now
            && now.plus(millis(RENEWED_BEFORE)) <= facts.not_after
            && names.iter().all(|name| has.contains(name))
    }

    /// What the certificate of a text of [`issue`](Authority::issue) says, and its names; `None` where it is not of this authority.
    fn issued(&self, text: &str) -> Option<(Facts, Vec<String>)> {
        let der = CertificateDer::from_pem_slice(text.as_bytes()).ok()?;
        let facts = Facts::of(&der)?;
        if !text.contains(&self.certificate) || !is_of(&der, &key_of(text)?) {
            return None;
        }
        let (_, read) = X509Certificate::from_der(&der).ok()?;
        let names = read.subject_alternative_name().ok()??.value.general_names.iter().filter_map(name).collect();
        Some((facts, names))
    }
}

const END: &str = "-----END CERTIFICATE-----\n";

/// The authority's parameters follow from its key, so nothing else has to be kept.
fn params_of(key: &KeyPair) -> Result<CertificateParams, String> {
    let mut params = CertificateParams::new(Vec::new()).map_err(|e| e.to_string())?;
    let mut id = String::new();
    for byte in &Sha256::digest(key.public_key_raw())[..4] {
        let _ = write!(id, "{byte:02x}");
    }
    // Whoever trusts several servers tells them apart by it.
    params.distinguished_name = named(&format!("Vidicon local authority {id}"));
    // It issues for servers, never for other authorities.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// The key in a text that holds certificates too.
fn key_of(text: &str) -> Option<KeyPair> {
    KeyPair::try_from(&PrivateKeyDer::from_pem_slice(text.as_bytes()).ok()?).ok()
}

fn named(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn is_of(der: &[u8], key: &KeyPair) -> bool {
    X509Certificate::from_der(der)
        .is_ok_and(|(_, read)| &*read.public_key().subject_public_key.data == key.public_key_raw())
}

/// As it stands in the configuration.
fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
            _ => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| IpAddr::from(bytes).to_string()),
        },
        _ => None,
    }
}

/// From when, and for how long.
fn set(params: &mut CertificateParams, now: UnixMillis, holds: Duration) {
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_millis(now.0.max(0).unsigned_abs());
    (params.not_before, params.not_after) = (now - BACKDATED, now + holds);
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::sync::Arc;
    use tokio_rustls::rustls::{
        RootCertStore,
        client::{WebPkiServerVerifier, danger::ServerCertVerifier},
        crypto::ring,
        pki_types::{ServerName, UnixTime},
    };

    const NOW: UnixMillis = UnixMillis(1_795_000_000_000);

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// As a client judges it that trusts the authority alone.
    fn trusted(authority: &str, chain: &str, name: &str, now: UnixMillis) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()));
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now.0.unsigned_abs()));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        verifier.build().unwrap().verify_server_cert(&chain[0], &chain[1..], &name, &[], now).is_ok()
    }

    #[test]
    fn what_it_issues_is_trusted_for_its_names_and_its_time() {
        let authority = Authority::make(NOW).unwrap();
        let wanted = names(&["nvr.local", "*.cams.example", "192.168.7.2", "fd00::2"]);
        let text = authority.issue(&wanted, NOW).unwrap();
        let (day, of) = (86_400_000, authority.certificate());
        for name in ["nvr.local", "door.cams.example", "192.168.7.2", "fd00::2"] {
            assert!(trusted(of, &text, name, NOW) && trusted(of, &text, name, NOW.plus(-day + 1000)), "{name}");
            assert!(trusted(of, &text, name, NOW.plus(90 * day - 1000)), "{name}");
        }
        for name in ["other.local", "cams.example", "192.168.7.3"] {
            assert!(!trusted(of, &text, name, NOW), "{name}");
        }
        assert!(!trusted(of, &text, "nvr.local", NOW.plus(90 * day + 1000)), "over");
        assert!(!trusted(Authority::make(NOW).unwrap().certificate(), &text, "nvr.local", NOW), "another authority");
        assert_ne!(text, authority.issue(&wanted, NOW).unwrap(), "each has a key of its own");
    }

    #[test]
    fn a_certificate_is_issued_anew_before_it_ends_and_for_new_names() {
        let authority = Authority::make(NOW).unwrap();
        let wanted = names(&["nvr.local", "fd00::2"]);
        let text = authority.issue(&wanted, NOW).unwrap();
        let day = 86_400_000;
        assert!(
            authority.serves(&text, &wanted, NOW) && authority.serves(&text, &wanted[1..], NOW.plus(60 * day - 1000))
        );
        assert!(!authority.serves(&text, &wanted, NOW.plus(60 * day + 1000)), "a month is left");
        assert!(!authority.serves(&text, &wanted, NOW.plus(-2 * day)), "a clock that was put back");
        assert!(!authority.serves(&text, &names(&["nvr.local", "10.0.0.1"]), NOW));
        let (chain, _) = text.split_once("-----BEGIN PRIVATE").unwrap();
        let swapped = format!("{chain}{}", KeyPair::generate().unwrap().serialize_pem());
        for damaged in ["", "junk", chain, &text[..text.len() / 3], &swapped] {
            assert!(!authority.serves(damaged, &wanted, NOW));
        }
        let other = Authority::make(NOW).unwrap().issue(&wanted, NOW).unwrap();
        assert!(!authority.serves(&other, &wanted, NOW), "of another authority");
        assert!(authority.outlives(NOW.plus(19 * 365 * day)) && !authority.outlives(NOW.plus(20 * 365 * day)));
    }

    #[test]
    fn it_is_the_same_after_it_was_written_and_read() {
        let authority = Authority::make(NOW).unwrap();
        let text = authority.pem();
        let again = Authority::read(&text).unwrap();
        assert_eq!((again.certificate(), again.fingerprint()), (authority.certificate(), authority.fingerprint()));
        assert_eq!(again.fingerprint().len(), 32 * 3 - 1);
        let issued = again.issue(&names(&["a.example"]), NOW).unwrap();
        assert!(trusted(authority.certificate(), &issued, "a.example", NOW));
        let (certificate, key) = text.split_at(text.find("-----BEGIN PRIVATE").unwrap());
        let other = KeyPair::generate().unwrap().serialize_pem();
        for (damaged, why) in [
            (String::new(), "holds no certificate"),
            (key.to_owned(), "holds no certificate"),
            (certificate.to_owned(), "holds no private key"),
            (format!("{certificate}{other}"), "not that of its certificate"),
            (format!("-----BEGIN CERTIFICATE-----\nAAAA\n{END}{key}"), "its certificate is none"),
        ] {
            let said = Authority::read(&damaged).err().unwrap();
            assert!(said.contains(why), "{said}");
        }
    }
}
