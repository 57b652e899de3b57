//! Who sent a request: the long-term mechanism with credentials that are not kept (RFC 8489 §9.2, RFC 8656 §5).

use super::credentials::{Grant, Issuer};
use super::server::{Now, Server};
use crate::stun::{Algorithm, Integrity, Key, Message, attribute, userhash};
use std::net::IpAddr;

/// A request whose sender has the password.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) username: String,
    pub(crate) grant: Grant,
    pub(crate) key: Key,
    /// What the answer is signed with.
    pub(crate) integrity: Integrity,
}

/// Why a request is not acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unsigned {
    /// It has what it should not, or lacks what it should have: 400.
    Bad(&'static str),
    /// 401, with a challenge.
    Unauthorized(&'static str),
    /// 438, with a challenge.
    Stale,
}

/// Looks at a request. `held` is the user name of the client's allocation: under it, credentials that have ended go on.
pub(crate) fn check(
    server: &Server,
    message: &Message<'_>,
    client: IpAddr,
    held: Option<&str>,
    now: Now,
) -> Result<Signed, Unsigned> {
    let Some(integrity) = message.integrity() else { return Err(Unsigned::Unauthorized("no credentials")) };
    let username = (message.text(attribute::USERNAME), message.get(attribute::USERHASH));
    let (Some(realm), Some(nonce)) = (message.text(attribute::REALM), message.get(attribute::NONCE)) else {
        return Err(Unsigned::Bad("REALM and NONCE are missing"));
    };
    let username = match username {
        (Some(username), _) => username,
        (None, Some(hash)) if held.is_some_and(|held| userhash(held, realm)[..] == *hash) => held.unwrap_or_default(),
        // A user name that is not kept cannot be found by its hash; the nonce says that hashes are not taken.
        (None, Some(_)) => return Err(Unsigned::Unauthorized("user hash")),
        (None, None) => return Err(Unsigned::Bad("USERNAME is missing")),
    };
    if !server.nonces.is_fresh(nonce, server.age_s(now), client) {
        return Err(Unsigned::Stale);
    }
    server.unproven().proven(client, now.at);
    let algorithm = match (message.get(attribute::PASSWORD_ALGORITHMS), message.get(attribute::PASSWORD_ALGORITHM)) {
        (None, None) => Algorithm::Md5,
        // As it was sent: someone on the way may have taken the better one out.
        (Some(list), Some(one)) if list == Algorithm::LIST => {
            Algorithm::of(one).ok_or(Unsigned::Bad("PASSWORD-ALGORITHM is none of those"))?
        }
        _ => return Err(Unsigned::Bad("PASSWORD-ALGORITHMS does not fit")),
    };
    let unknown = Unsigned::Unauthorized("credentials");
    let grant = Issuer::read(username).filter(|_| realm == server.issuer.realm()).ok_or(unknown)?;
    let key = server.issuer.key(algorithm, username);
    if !message.is_signed_by(&key) {
        return Err(unknown);
    }
    if grant.ends_s <= now.unix_s && held != Some(username) {
        return Err(Unsigned::Unauthorized("credentials have ended"));
    }
    Ok(Signed { username: username.to_owned(), grant, key, integrity })
}
