//! Credentials that say themselves until when they hold and for what, so that nothing is kept of them (REFERENCE §5.1).
//!
//! `Username` is `<end, seconds since 1970>:<Base64 of "v1:" and the channel's ARN>`, `Password` the Base64 of its HMAC-SHA-256
//! under the server's secret.

use crate::stun::{Algorithm, Key};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::hmac;
use std::fmt;

/// What precedes the channel within a user name.
const VERSION: &str = "v1:";

/// A user name and its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// For `Username`.
    pub username: String,
    /// For `Password`.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Makes credentials and reads them.
pub(crate) struct Issuer {
    secret: hmac::Key,
    realm: String,
}

/// What a user name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// The ARN of the channel.
    pub(crate) channel: String,
    /// When it ends, in seconds since 1970.
    pub(crate) ends_s: u64,
}

impl Issuer {
    /// Under this secret, for this realm.
    pub(crate) fn new(secret: &[u8], realm: &str) -> Issuer {
        Issuer { secret: hmac::Key::new(hmac::HMAC_SHA256, secret), realm: realm.to_owned() }
    }

    /// The realm.
    pub(crate) fn realm(&self) -> &str {
        &self.realm
    }

    /// For a channel, until then.
    pub(crate) fn issue(&self, channel: &str, ends_s: u64) -> Credentials {
        let username = format!("{ends_s}:{}", STANDARD.encode(format!("{VERSION}{channel}")));
        Credentials { password: self.password(&username), username }
    }

    /// What a user name says; `None` for one that is none of ours. It is proven by the key alone.
    pub(crate) fn read(username: &str) -> Option<Grant> {
        let (ends_s, channel) = username.split_once(':')?;
        let channel = String::from_utf8(STANDARD.decode(channel).ok()?).ok()?;
        let channel = channel.strip_prefix(VERSION).filter(|channel| !channel.is_empty())?;
        Some(Grant { channel: channel.to_owned(), ends_s: ends_s.parse().ok()? })
    }

    /// The key that a client with this user name signs with.
    pub(crate) fn key(&self, algorithm: Algorithm, username: &str) -> Key {
        Key::long_term(algorithm, username, &self.realm, &self.password(username))
    }

    fn password(&self, username: &str) -> String {
        STANDARD.encode(hmac::sign(&self.secret, username.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_issued_is_read_and_bound_to_its_words() {
        let issuer = Issuer::new(b"secret", "realm");
        let made = issuer.issue("arn:aws:kinesisvideo:us-east-1:1:channel/door/1", 1_700_000_000);
        assert!(made.username.starts_with("1700000000:"));
        let grant = Issuer::read(&made.username).expect("ours");
        assert_eq!(
            grant,
            Grant { channel: "arn:aws:kinesisvideo:us-east-1:1:channel/door/1".into(), ends_s: 1_700_000_000 }
        );
        assert_eq!(STANDARD.decode(&made.password).expect("Base64").len(), 32);
        let later = made.username.replace("1700000000", "1800000000");
        assert_ne!(issuer.password(&later), made.password);
        assert_ne!(Issuer::new(b"another", "realm").password(&made.username), made.password);
        assert!(!format!("{made:?}").contains(&made.password));
    }

    #[test]
    fn names_of_others_are_none() {
        for name in
            ["", ":", "1:", "x:djE6YQ==", "1:djE6", "1:YQ==", "1:/w==", "-1:djE6YQ==", "99999999999999999999:djE6YQ=="]
        {
            assert_eq!(Issuer::read(name), None, "{name}");
        }
        assert!(Issuer::read("1:djE6YQ==").is_some());
    }
}
