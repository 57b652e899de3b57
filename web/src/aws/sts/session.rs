//! `GetCallerIdentity` and `GetSessionToken`: they need no permission, only a key.

use super::{
    answer::{Answer, Error, element},
    credentials,
    form::Params,
    identity, issue, issuer, may_be_given_credentials,
};
use crate::auth::{
    Caller,
    session_token::{Claims, Of},
};

/// How long a session lasts that does not say, in seconds.
const DEFAULT_S: u32 = 43_200;

/// Who the caller is.
pub(super) fn caller_identity(caller: &Caller) -> Result<Answer, Error> {
    let identity = identity(caller)?;
    let account = caller.shared.auth.identities.account();
    let elements = [element("Arn", &identity.arn), element("UserId", &identity.user_id), element("Account", account)];
    Ok(Answer::new("GetCallerIdentity", &elements))
}

/// Temporary credentials for the caller itself.
pub(super) async fn token(caller: &Caller, params: &Params) -> Result<Answer, Error> {
    params.without(&["SerialNumber", "TokenCode"])?;
    let seconds = params.duration(900..=129_600)?.unwrap_or(DEFAULT_S);
    may_be_given_credentials(caller)?;
    let identity = identity(caller)?;
    if identity.claims.is_some() {
        return Err(Error::denied("Cannot call GetSessionToken with session credentials"));
    }
    let issuer = issuer(&identity);
    let now = caller.now();
    let made = issue(
        &caller.shared,
        &Claims {
            of: if issuer.is_some() { Of::Key } else { Of::Root },
            issuer,
            chain: Vec::new(),
            issued_at: now,
            expires_at: now.plus(i64::from(seconds) * 1000),
            policy: None,
            policies: Vec::new(),
            tags: Default::default(),
            device: None,
            variables: Default::default(),
        },
    )?;
    tracing::info!(arn = identity.arn, session = made.access_key_id, seconds, "session credentials given out");
    Ok(Answer::new("GetSessionToken", &[credentials(&made)]))
}
