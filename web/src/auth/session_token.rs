//! Session tokens of temporary credentials: what they say is sealed in them, so that the server keeps nothing about them.
//!
//! A token is bound to its access key id; the secret belonging to that id is derived, not stored. What a token names (a role, the
//! key that asked for it) is looked up each time it is used, so that taking that away ends the session.

use super::{
    identity::Tags,
    policy::Policy,
    sealing::{Sealer, derive, random_text, secret_of},
};
use media::UnixMillis;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// The longest token: what the C SDK of the cameras takes.
pub(crate) const MOST_BYTES: usize = 2048;
/// How access key ids of sessions begin.
pub(crate) const PREFIX: &str = "ASIA";
/// How tokens begin, so that a later form can be told apart.
const VERSION: &str = "V1.";

/// Whose session it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Of {
    /// The owner of the root credentials.
    #[serde(rename = "o")]
    Root,
    /// A key of the catalog, which the session's issuer is.
    #[serde(rename = "k")]
    Key,
    /// A role that someone took on.
    #[serde(rename = "r")]
    Role {
        /// Its name.
        #[serde(rename = "n")]
        name: String,
        /// Its id, so that a new role of the name is another one.
        #[serde(rename = "i")]
        id: String,
        /// The name that whoever took it on gave to the session.
        #[serde(rename = "s")]
        session: String,
    },
}

/// A device with a certificate, and by which role alias it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Device {
    #[serde(rename = "a")]
    pub(crate) alias: String,
    /// A new alias of the name is another one.
    #[serde(rename = "i")]
    pub(crate) alias_id: String,
    #[serde(rename = "t")]
    pub(crate) thing: String,
    /// Whether a device authority vouched for it, and not its registration.
    #[serde(rename = "c", default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) by_authority: bool,
}

impl Device {
    /// What policies are told of it, with the id of its certificate.
    pub(crate) fn variables(&self, certificate: &str) -> [(String, String); 2] {
        [
            ("credentials-iot:ThingName".to_owned(), self.thing.clone()),
            ("credentials-iot:AwsCertificateId".to_owned(), certificate.to_owned()),
        ]
    }
}

/// A session that another was taken on from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ancestor {
    /// Its role, by name and id.
    #[serde(rename = "n")]
    pub(crate) role: String,
    #[serde(rename = "i")]
    pub(crate) id: String,
    #[serde(rename = "b")]
    pub(crate) issued_at: UnixMillis,
    /// The device that it was given to, if it was, and the id of its certificate.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<(Device, String)>,
}

/// What a token says. Short names: tokens are short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    #[serde(rename = "o")]
    pub(crate) of: Of,
    /// The access key of the catalog that asked for it, if one did: the session ends with it.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub(crate) issuer: Option<String>,
    /// The sessions of roles that this one was taken on from, one of each role: it ends with each of them.
    #[serde(rename = "c", default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) chain: Vec<Ancestor>,
    #[serde(rename = "b")]
    pub(crate) issued_at: UnixMillis,
    #[serde(rename = "e")]
    pub(crate) expires_at: UnixMillis,
    /// An inline session policy: the document's text.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub(crate) policy: Option<String>,
    /// Names of policies that narrow too; of those and `policy`, one must allow.
    #[serde(rename = "q", default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) policies: Vec<String>,
    /// Tags of the session.
    #[serde(rename = "t", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tags: Tags,
    /// The device that it was given to by its certificate, whose id then is the session's name.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub(crate) device: Option<Device>,
    /// Further context keys of policies, such as those of an identity provider.
    #[serde(rename = "v", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) variables: BTreeMap<String, String>,
}

impl Claims {
    /// The chain of a session that is taken on from this one.
    pub(crate) fn chain_from(&self) -> Vec<Ancestor> {
        let mut chain = self.chain.clone();
        if let Of::Role { name, id, session } = &self.of
            // Whatever ends an earlier session of the role ends what came of it; so two roles in turn make no endless token.
            && chain.iter().all(|ancestor| ancestor.id != *id)
        {
            let device = self.device.clone().map(|device| (device, session.clone()));
            chain.push(Ancestor { role: name.clone(), id: id.clone(), issued_at: self.issued_at, device });
        }
        chain
    }
}

/// Temporary credentials. `Debug` shows the id alone.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) session_token: String,
    pub(crate) expires_at: UnixMillis,
    /// How much of the room for policies and tags is used, in percent.
    pub(crate) packed_size: usize,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// Why no token was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The inline policy cannot be read.
    Policy(String),
    /// Policy, tags and names make it longer than [`MOST_BYTES`]; so many percent of the room.
    TooLarge(usize),
}

/// Makes and reads tokens.
pub(crate) struct Tokens {
    sealer: Sealer,
    /// Out of which secrets are derived.
    secrets: [u8; 32],
}

impl Tokens {
    /// Tokens of a data folder and its root credentials: another root secret ends every session.
    pub(super) fn new(secret: &[u8; 32], root: &crate::Root) -> Self {
        let root = [root.access_key_id.as_str(), root.secret_access_key.as_str()];
        Tokens {
            sealer: Sealer::new(secret, b"vidicon sts session token v1", &root),
            secrets: derive(secret, b"vidicon sts secret access key v1", &root),
        }
    }

    /// Credentials of a new session.
    ///
    /// # Errors
    /// See [`Refused`].
    pub(crate) fn issue(&self, claims: &Claims) -> Result<Credentials, Refused> {
        if let Some(policy) = &claims.policy {
            Policy::parse(policy).map_err(Refused::Policy)?;
        }
        let access_key_id = format!("{PREFIX}{}", random_text(16));
        let text = serde_json::to_vec(claims).expect("texts and integers are JSON");
        let session_token = format!("{VERSION}{}", self.sealer.seal(&access_key_id, &text));
        let packed_size = session_token.len() * 100 / MOST_BYTES;
        if session_token.len() > MOST_BYTES {
            return Err(Refused::TooLarge(packed_size));
        }
        let secret_access_key = self.secret(&access_key_id);
        let expires_at = claims.expires_at;
        Ok(Credentials { access_key_id, secret_access_key, session_token, expires_at, packed_size })
    }

    /// What a token says, if it was made here for this access key id. Whether it has expired is the caller's to ask.
    pub(crate) fn read(&self, access_key_id: &str, token: &str) -> Option<Claims> {
        if token.len() > MOST_BYTES {
            return None;
        }
        let opened = self.sealer.open(access_key_id, token.strip_prefix(VERSION)?)?;
        serde_json::from_slice(&opened).ok()
    }

    /// The secret that belongs to the access key id of a session.
    pub(super) fn secret(&self, access_key_id: &str) -> String {
        let bytes = derive(&self.secrets, b"secret access key", &[access_key_id]);
        secret_of(bytes.first_chunk().expect("30 of 32 bytes"))
    }
}

/// The fuzz target: bytes that may be a token. None is one that was not made here; what is made here comes back.
pub fn fuzz(data: &[u8]) {
    let root = crate::Root { access_key_id: "root".into(), secret_access_key: "of the fuzzer".into() };
    let tokens = Tokens::new(&[7; 32], &root);
    let text = String::from_utf8_lossy(data);
    assert_eq!(tokens.read("ASIAFUZZ", &text), None);
    assert_eq!(tokens.read("ASIAFUZZ", &format!("{VERSION}{text}")), None);
    // The plain text is whatever a seal of an earlier version held.
    let sealed = format!("{VERSION}{}", tokens.sealer.seal("ASIAFUZZ", data));
    if let Some(claims) = tokens.read("ASIAFUZZ", &sealed)
        && let Ok(credentials) = tokens.issue(&claims)
    {
        assert_eq!(tokens.read(&credentials.access_key_id, &credentials.session_token), Some(claims));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    fn tokens(root: &str) -> Tokens {
        Tokens::new(&[1; 32], &crate::Root { access_key_id: "root".into(), secret_access_key: root.into() })
    }

    fn claims() -> Claims {
        Claims {
            of: Of::Role { name: "cameras".into(), id: "AROA1".into(), session: "gate".into() },
            issuer: Some("AKIA1".into()),
            chain: vec![],
            issued_at: UnixMillis(1),
            expires_at: UnixMillis(2),
            policy: None,
            policies: vec![],
            tags: [("device".to_owned(), "gate".to_owned())].into(),
            device: None,
            variables: [("credentials-iot:ThingName".to_owned(), "gate".to_owned())].into(),
        }
    }

    #[test]
    fn tokens_come_back_for_their_access_key_alone() {
        let tokens = tokens("secret");
        let made = tokens.issue(&claims()).unwrap();
        assert!(made.access_key_id.starts_with("ASIA") && made.access_key_id.len() == 20);
        assert_eq!(made.secret_access_key.len(), 40);
        assert_eq!(tokens.read(&made.access_key_id, &made.session_token), Some(claims()));
        assert_eq!(tokens.secret(&made.access_key_id), made.secret_access_key);
        assert_eq!(tokens.read("ASIAOTHER", &made.session_token), None);
        assert_eq!(super::tests::tokens("changed").read(&made.access_key_id, &made.session_token), None);
        let shown = format!("{made:?}");
        assert!(!shown.contains(&made.secret_access_key) && !shown.contains(&made.session_token));
    }

    #[test]
    fn a_chain_names_each_role_once_and_a_long_one_fits() {
        let of = |n: usize| Of::Role { name: format!("{n:064}"), id: format!("AROA{n:017}"), session: "s".repeat(64) };
        let mut claims = Claims { of: of(0), tags: [].into(), variables: [].into(), ..claims() };
        for n in 1..=9 {
            // Back and forth between the two newest, too.
            for n in [n, n - 1, n] {
                claims = Claims { chain: claims.chain_from(), of: of(n), issued_at: UnixMillis(n as i64), ..claims };
            }
        }
        let ids: Vec<_> = claims.chain.iter().map(|a| a.id.as_str()).collect();
        assert_eq!(ids, (0..=9).map(|n| format!("AROA{n:017}")).collect::<Vec<_>>());
        assert_eq!(claims.chain[3].issued_at, UnixMillis(3), "the earliest of the role");
        let made = tokens("secret").issue(&claims).unwrap();
        assert!(made.session_token.len() <= MOST_BYTES, "{}", made.session_token.len());
        assert_eq!(tokens("secret").read(&made.access_key_id, &made.session_token), Some(claims));
    }

    #[test]
    fn a_policy_that_is_too_long_or_wrong_is_refused() {
        let tokens = tokens("secret");
        let statement = |n: usize| {
            let resource = format!("arn:{}", "x".repeat(n));
            format!(r#"{{"Statement":{{"Effect":"Allow","Action":"*","Resource":"{resource}"}}}}"#)
        };
        let with = |policy: String| tokens.issue(&Claims { policy: Some(policy), ..claims() });
        let fits = with(statement(1000)).unwrap();
        assert!(fits.session_token.len() <= MOST_BYTES && fits.packed_size < 100);
        assert!(matches!(with(statement(2000)), Err(Refused::TooLarge(percent)) if percent > 100));
        assert!(matches!(with("{}".into()), Err(Refused::Policy(_))));
    }

    #[test]
    fn the_longest_of_a_device_is_short_enough_for_cameras() {
        let longest = |n: usize| "x".repeat(n);
        let device = Device { alias: longest(64), alias_id: longest(12), thing: longest(128), by_authority: true };
        let of = Of::Role { name: longest(64), id: longest(20), session: longest(64) };
        let (issued_at, expires_at) = (UnixMillis(i64::MAX), UnixMillis(i64::MAX));
        let claims = Claims { of, issued_at, expires_at, device: Some(device), ..claims() };
        let made = tokens("secret").issue(&claims).unwrap();
        assert!(made.session_token.len() < 1024, "{}", made.session_token.len());
        assert_eq!(tokens("secret").read(&made.access_key_id, &made.session_token), Some(claims));
    }

    proptest! {
        #[test]
        fn whatever_comes(data in prop::collection::vec(any::<u8>(), 0..300)) {
            fuzz(&data);
        }

        #[test]
        fn sessions_round_trip(session in "[a-z]{2,64}", issued in any::<i64>(), expires in any::<i64>(), tags in prop::collection::btree_map("[a-z]{1,8}", ".{0,8}", 0..4)) {
            let of = Of::Role { name: "r".into(), id: "i".into(), session };
            let (issued_at, expires_at) = (UnixMillis(issued), UnixMillis(expires));
            let claims = Claims { of, issued_at, expires_at, tags, ..claims() };
            fuzz(&serde_json::to_vec(&claims).unwrap());
        }
    }
}
