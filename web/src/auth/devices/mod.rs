//! Devices with a certificate: which of them may use which role alias, and what they are given for it.
//!
//! What belongs here: what is kept of certificates and role aliases ([`records`]), the decision ([`Devices::admit`]) and the
//! route of the cloud's credential provider ([`credentials`]). What does not: the handshake and reading certificates
//! (`tls`), and how they are managed (`admin`). ADR 0009 has the reasons.

pub(crate) mod credentials;
mod records;

pub(crate) use records::{Certificate, RoleAlias, check_thing, new_alias_id};

use super::{identities::check_name, session_token::Device};
use crate::tls::{Ask, Client, x509::Facts};
use media::UnixMillis;
use serde::de::DeserializeOwned;
use store::{
    Store,
    documents::{ROLE_ALIAS, THING_CERTIFICATE},
};

/// A name that no document has: looked up in place of one that cannot be a name, so that all questions cost the same.
const NOBODY: &str = "-";

/// Certificates and role aliases, looked up.
pub(crate) struct Devices {
    store: Store,
    asks: Vec<Ask>,
}

/// A device that may use a role alias now.
pub(crate) struct Admitted {
    pub(crate) facts: Facts,
    /// What its sessions say of it.
    pub(crate) device: Device,
    pub(crate) alias: RoleAlias,
}

impl Devices {
    pub(crate) async fn open(store: &Store, asks: Vec<Ask>) -> Result<Self, store::Error> {
        let devices = Devices { store: store.clone(), asks };
        devices.ask().await?;
        Ok(devices)
    }

    /// Has clients asked for a certificate if there is a role alias, which is all that one is good for.
    pub(crate) async fn ask(&self) -> Result<(), store::Error> {
        let ask = !self.store.documents(ROLE_ALIAS, "", None, 1).await?.is_empty();
        self.asks.iter().for_each(|one| one.set(ask));
        Ok(())
    }

    /// Whether the bearer of a certificate may use a role alias. The words are for the log: whoever asks learns nothing of what there is.
    ///
    /// # Errors
    /// Why not; or what the store says.
    async fn admit(
        &self,
        client: &Client,
        alias: &str,
        thing: Option<&str>,
        now: UnixMillis,
    ) -> Result<Result<Admitted, &'static str>, store::Error> {
        let Some(facts) = client.facts() else { return Ok(Err("its certificate cannot be read")) };
        let found = read::<RoleAlias>(&self.store, ROLE_ALIAS, alias).await?;
        let registered = read::<Certificate>(&self.store, THING_CERTIFICATE, &facts.id).await?;
        let by_authority = registered.is_none() && client.is_of_authority(now);
        if !facts.holds(now) {
            return Ok(Err("its certificate has expired or does not hold yet"));
        }
        let name = match (&registered, by_authority) {
            (Some(certificate), _) => certificate.thing.clone(),
            (None, true) => facts.common_name.clone().filter(|name| check_thing(name).is_ok()),
            (None, false) => return Ok(Err("its certificate is neither registered nor of a device authority")),
        };
        let Some(name) = name else { return Ok(Err("its certificate names no thing")) };
        if thing.is_some_and(|thing| thing != name) {
            return Ok(Err("it calls itself another thing than its certificate says"));
        }
        let Some(found) = found else { return Ok(Err("there is no such role alias")) };
        let device = Device { alias: alias.to_owned(), alias_id: found.alias_id.clone(), thing: name, by_authority };
        Ok(match stands(&device, &found, registered.as_ref()) {
            true => Ok(Admitted { facts, device, alias: found }),
            false => Err("its certificate is not active, or not for this role alias"),
        })
    }
}

/// Whether what was given to a device would be given to it again, as far as the catalog says: its certificate and the alias are
/// what they were, and the one still is for the other.
fn stands(device: &Device, alias: &RoleAlias, registered: Option<&Certificate>) -> bool {
    alias.alias_id == device.alias_id
        && match registered {
            Some(certificate) => {
                !device.by_authority
                    && certificate.active
                    && certificate.thing.as_deref() == Some(&device.thing)
                    && certificate.role_aliases.iter().any(|name| *name == device.alias || name == "*")
            }
            None => device.by_authority && alias.device_ca,
        }
}

/// Whether a session of a device goes on: for the role of this name, by the certificate of this id.
pub(super) async fn goes_on(
    store: &Store,
    device: &Device,
    role: &str,
    certificate: &str,
) -> Result<bool, store::Error> {
    let registered = read::<Certificate>(store, THING_CERTIFICATE, certificate).await?;
    let alias = read::<RoleAlias>(store, ROLE_ALIAS, &device.alias).await?;
    Ok(alias.is_some_and(|alias| alias.role == role && stands(device, &alias, registered.as_ref())))
}

/// A document of these collections.
async fn read<T: DeserializeOwned>(
    store: &Store,
    collection: &'static str,
    name: &str,
) -> Result<Option<T>, store::Error> {
    let name = if check_name("name", name).is_ok() { name } else { NOBODY };
    let Some(document) = store.document(collection, name).await? else { return Ok(None) };
    match serde_json::from_value(document.body) {
        Ok(body) => Ok(Some(body)),
        Err(_) => {
            let text = format!("the document of the {collection} {name} cannot be read");
            Err(store::Error::new(store::Kind::Corrupt, text))
        }
    }
}
