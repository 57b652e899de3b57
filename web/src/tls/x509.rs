//! What a certificate says of itself. The reading is that of `x509-parser`; whether to believe it is not asked here.

use media::UnixMillis;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use x509_parser::{certificate::X509Certificate, prelude::FromDer, time::ASN1Time};

/// A certificate's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// SHA-256 of the DER, 64 hexadecimal digits in lower case: what AWS IoT calls the certificate's id.
    pub(crate) id: String,
    pub(crate) not_before: UnixMillis,
    /// It holds until the end of this second.
    pub(crate) not_after: UnixMillis,
    /// The one common name of the subject, if there is just one.
    pub(crate) common_name: Option<String>,
}

impl Facts {
    /// `None` of what is no certificate, or is followed by something else.
    pub(crate) fn of(der: &[u8]) -> Option<Facts> {
        let (rest, read) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let mut names = read.subject().iter_common_name();
        let name = names.next().and_then(|name| name.as_str().ok()).map(str::to_owned);
        Some(Facts {
            id: id(der),
            not_before: at(read.validity().not_before),
            not_after: at(read.validity().not_after).plus(999),
            common_name: name.filter(|_| names.next().is_none()),
        })
    }

    /// Whether it is neither too early nor too late for it.
    pub(crate) fn holds(&self, now: UnixMillis) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }
}

fn at(time: ASN1Time) -> UnixMillis {
    UnixMillis(time.timestamp().saturating_mul(1000))
}

fn id(der: &[u8]) -> String {
    Sha256::digest(der).iter().fold(String::with_capacity(64), |mut id, byte| {
        let _ = write!(id, "{byte:02x}");
        id
    })
}

/// The fuzz target: bytes that may be a certificate. What is read of it makes sense.
pub fn fuzz(data: &[u8]) {
    if let Some(facts) = Facts::of(data) {
        assert_eq!(facts.id.len(), 64);
        assert!(!facts.holds(facts.not_after.plus(1)) && !facts.holds(facts.not_before.plus(-1)));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn made(names: &[&str]) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["gate.example".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "of cameras");
        names.iter().for_each(|name| params.distinguished_name.push(DnType::CommonName, *name));
        params.not_before = rcgen::date_time_ymd(2026, 1, 2);
        params.not_after = rcgen::date_time_ymd(2027, 1, 2);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_says_when_it_holds_and_whose_it_is() {
        let der = made(&["gate"]);
        let facts = Facts::of(&der).unwrap();
        assert_eq!(facts.common_name.as_deref(), Some("gate"));
        let (from, to) = (UnixMillis(1_767_312_000_000), UnixMillis(1_798_848_000_999));
        assert_eq!((facts.not_before, facts.not_after), (from, to));
        assert!(facts.holds(from) && facts.holds(to) && !facts.holds(from.plus(-1)) && !facts.holds(to.plus(1)));
        let digest: String = Sha256::digest(&der).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(facts.id, digest);
        assert_eq!(Facts::of(&made(&[])).unwrap().common_name, None);
        assert_eq!(Facts::of(&[&der[..], b"x"].concat()), None, "something behind it");
        for end in 0..der.len() {
            assert_eq!(Facts::of(&der[..end]), None);
        }
    }

    proptest! {
        #[test]
        fn whatever_comes(data in prop::collection::vec(any::<u8>(), 0..300)) {
            fuzz(&data);
        }

        #[test]
        fn whatever_comes_nearly(at in 0usize..500, byte in any::<u8>()) {
            let mut der = made(&["gate"]);
            let at = at % der.len();
            der[at] = byte;
            fuzz(&der);
        }
    }
}
