//! Certificates of devices, and role aliases.

use super::{
    CertificateChange, Certificates, Desk, NewCertificate, NewRoleAlias, Page, RoleAliasChange,
    desk::{check_description, invalid, page, to_value},
};
use crate::{
    auth::{
        devices::{Certificate, RoleAlias, check_thing, new_alias_id},
        identities::check_name,
    },
    tls::x509::Facts,
};
use serde_json::{Value, json};
use store::{
    Error, Kind,
    documents::{Expect, ROLE, ROLE_ALIAS, THING_CERTIFICATE},
};
use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};

/// How long credentials of an alias hold, in seconds, as AWS has it.
const CREDENTIALS_S: std::ops::RangeInclusive<u32> = 900..=43_200;
/// Where nothing is said.
const CREDENTIAL_S: u32 = 3600;
/// The most role aliases of a certificate.
const MOST_ALIASES: usize = 20;

/// The id of a certificate, out of its PEM or of its fingerprint as `openssl x509 -fingerprint -sha256` shows it: 64 hexadecimal digits
/// in lower case.
///
/// # Errors
/// What is wrong with it.
pub fn certificate_id(text: &str) -> Result<String, String> {
    if text.contains("-----BEGIN") {
        return facts(text).map(|facts| facts.id);
    }
    let digits = text.trim().rsplit('=').next().unwrap_or_default().replace(':', "").to_ascii_lowercase();
    match digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        true => Ok(digits),
        false => Err("the SHA-256 fingerprint of a certificate is needed, 64 hexadecimal digits".into()),
    }
}

fn facts(pem: &str) -> Result<Facts, String> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| "holds no certificate in PEM")?;
    Facts::of(&der).ok_or_else(|| "the certificate cannot be read".into())
}

impl Desk<'_> {
    pub(super) async fn certificates(&self, asked: &Certificates) -> Result<Value, Error> {
        let shown = |id: &str, version, certificate: Certificate| {
            let fits = asked.thing.as_ref().is_none_or(|thing| certificate.thing.as_ref() == Some(thing));
            fits.then(|| self.show_certificate(id, version, &certificate))
        };
        let found = self.list(THING_CERTIFICATE, asked.after.as_deref(), asked.limit, shown).await?;
        Ok(page("certificates", found))
    }

    pub(super) async fn certificate(&self, id: &str) -> Result<Value, Error> {
        let (version, certificate) = self.read::<Certificate>(THING_CERTIFICATE, id).await?;
        Ok(self.show_certificate(id, version, &certificate))
    }

    pub(super) async fn create_certificate(&self, new: &NewCertificate) -> Result<Value, Error> {
        let (id, facts) = match (&new.certificate, &new.id) {
            (Some(pem), None) => {
                let facts = facts(pem).map_err(|why| invalid(format!("certificate: {why}")))?;
                (facts.id.clone(), Some(facts))
            }
            (None, Some(id)) => (certificate_id(id).map_err(|why| invalid(format!("id: {why}")))?, None),
            _ => return Err(invalid("one of certificate (PEM) and id (its SHA-256 fingerprint) is needed")),
        };
        let by_name = || facts.as_ref().and_then(|facts| facts.common_name.clone());
        let certificate = Certificate {
            thing: new.thing.clone().or_else(by_name),
            role_aliases: new.role_aliases.clone(),
            active: new.active.unwrap_or(true),
            not_after: facts.as_ref().map(|facts| facts.not_after),
            created_at: self.store.now(),
            description: new.description.clone(),
        };
        self.check_certificate(&certificate).await?;
        let version = self.store.put_document(THING_CERTIFICATE, &id, Expect::Absent, to_value(&certificate)).await?;
        Ok(self.show_certificate(&id, version, &certificate))
    }

    pub(super) async fn change_certificate(&self, id: &str, asked: &CertificateChange) -> Result<Value, Error> {
        let apply = |certificate: &mut Certificate| {
            if let Some(thing) = &asked.thing {
                certificate.thing = Some(thing.clone());
            }
            if let Some(aliases) = &asked.role_aliases {
                certificate.role_aliases.clone_from(aliases);
            }
            if let Some(description) = &asked.description {
                certificate.description.clone_from(description);
            }
            certificate.active = asked.active.unwrap_or(certificate.active);
        };
        let (_, mut planned) = self.read::<Certificate>(THING_CERTIFICATE, id).await?;
        apply(&mut planned);
        self.check_certificate(&planned).await?;
        let changed = self.change(THING_CERTIFICATE, id, asked.version, |certificate: &mut Certificate| {
            apply(certificate);
            check_named(certificate)
        });
        changed.await.map(|(version, certificate)| self.show_certificate(id, version, &certificate))
    }

    pub(super) async fn delete_certificate(&self, id: &str, version: Option<u64>) -> Result<Value, Error> {
        self.remove(THING_CERTIFICATE, id, version).await
    }

    async fn check_certificate(&self, certificate: &Certificate) -> Result<(), Error> {
        check_description(&certificate.description)?;
        check_named(certificate)?;
        if certificate.role_aliases.len() > MOST_ALIASES {
            let found = certificate.role_aliases.len();
            return Err(invalid(format!("role_aliases: at most {MOST_ALIASES}, or \"*\" for all, not {found}")));
        }
        for alias in certificate.role_aliases.iter().filter(|alias| *alias != "*") {
            check_name("role_aliases", alias)?;
            if self.store.document(ROLE_ALIAS, alias).await?.is_none() {
                return Err(invalid(format!("role_aliases: there is no role alias {alias:?}")));
            }
        }
        Ok(())
    }

    fn show_certificate(&self, id: &str, version: u64, certificate: &Certificate) -> Value {
        let mut shown = to_value(certificate);
        shown["id"] = json!(id);
        shown["version"] = json!(version);
        shown["description"] = json!(certificate.description);
        shown
    }

    pub(super) async fn role_aliases(&self, asked: &Page) -> Result<Value, Error> {
        let shown = |name: &str, version, alias: RoleAlias| Some(self.show_role_alias(name, version, &alias));
        Ok(page("role_aliases", self.list(ROLE_ALIAS, asked.after.as_deref(), asked.limit, shown).await?))
    }

    pub(super) async fn role_alias(&self, name: &str) -> Result<Value, Error> {
        let (version, alias) = self.read::<RoleAlias>(ROLE_ALIAS, name).await?;
        Ok(self.show_role_alias(name, version, &alias))
    }

    pub(super) async fn create_role_alias(&self, new: &NewRoleAlias) -> Result<Value, Error> {
        check_name("name", &new.name)?;
        check_description(&new.description)?;
        let alias = RoleAlias {
            alias_id: new_alias_id(),
            role: self.role_named(&new.role).await?,
            credential_duration_s: check_seconds(new.credential_duration_s.unwrap_or(CREDENTIAL_S))?,
            device_ca: new.device_ca,
            created_at: self.store.now(),
            description: new.description.clone(),
        };
        let version = self.store.put_document(ROLE_ALIAS, &new.name, Expect::Absent, to_value(&alias)).await?;
        Ok(self.show_role_alias(&new.name, version, &alias))
    }

    pub(super) async fn change_role_alias(&self, name: &str, asked: &RoleAliasChange) -> Result<Value, Error> {
        let role = match &asked.role {
            Some(role) => Some(self.role_named(role).await?),
            None => None,
        };
        asked.credential_duration_s.map_or(Ok(0), check_seconds)?;
        asked.description.as_deref().map_or(Ok(()), check_description)?;
        let changed = self.change(ROLE_ALIAS, name, asked.version, |alias: &mut RoleAlias| {
            if let Some(role) = &role {
                alias.role.clone_from(role);
            }
            if let Some(description) = &asked.description {
                alias.description.clone_from(description);
            }
            alias.credential_duration_s = asked.credential_duration_s.unwrap_or(alias.credential_duration_s);
            alias.device_ca = asked.device_ca.unwrap_or(alias.device_ca);
            Ok(())
        });
        changed.await.map(|(version, alias)| self.show_role_alias(name, version, &alias))
    }

    pub(super) async fn delete_role_alias(&self, name: &str, version: Option<u64>) -> Result<Value, Error> {
        self.remove(ROLE_ALIAS, name, version).await
    }

    /// The name of a role, given as that or as its ARN; it must be there.
    async fn role_named(&self, given: &str) -> Result<String, Error> {
        let name = given.strip_prefix(&self.arn("role", "")).unwrap_or(given);
        check_name("role", name)?;
        match self.store.document(ROLE, name).await? {
            Some(_) => Ok(name.to_owned()),
            None => Err(invalid(format!("role: there is no role {name:?}"))),
        }
    }

    fn show_role_alias(&self, name: &str, version: u64, alias: &RoleAlias) -> Value {
        json!({
            "name": name,
            "version": version,
            "role": alias.role,
            "role_arn": self.arn("role", &alias.role),
            "credential_duration_s": alias.credential_duration_s,
            "device_ca": alias.device_ca,
            "description": alias.description,
            "created_at": alias.created_at,
        })
    }
}

/// A certificate that may be used has a thing.
fn check_named(certificate: &Certificate) -> Result<(), Error> {
    match &certificate.thing {
        Some(thing) => check_thing(thing),
        None if !certificate.active => Ok(()),
        None => Err(Error::new(Kind::Invalid, "thing: needed for a certificate that is active")),
    }
}

fn check_seconds(seconds: u32) -> Result<u32, Error> {
    match CREDENTIALS_S.contains(&seconds) {
        true => Ok(seconds),
        false => Err(invalid(format!("credential_duration_s: {seconds} is not in 900 to 43200"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn ids_are_fingerprints_in_any_form() {
        let id = "0123456789abcdef".repeat(4);
        let colons = "01:23:45:67:89:AB:CD:EF:".repeat(4);
        assert_eq!(certificate_id(&id).unwrap(), id);
        assert_eq!(certificate_id(&format!("sha256 Fingerprint={}\n", colons.trim_end_matches(':'))).unwrap(), id);
        let made = rcgen::generate_simple_self_signed(vec!["gate".to_owned()]).unwrap();
        assert_eq!(certificate_id(&made.cert.pem()).unwrap(), Facts::of(made.cert.der()).unwrap().id);
        for wrong in ["", &id[1..], &format!("{id}0"), &id.replace('0', "g"), "-----BEGIN CERTIFICATE-----\n"] {
            assert!(certificate_id(wrong).is_err(), "{wrong}");
        }
    }
}
