//! How many sessions of PutMedia there are at a time: in all, of one access key, on one stream.

use super::Error;
use crate::{
    auth::access::Principal,
    shares::{Share, Shares},
};
use ingest::putmedia::Config;
use std::sync::Arc;

/// What the sessions share.
pub(crate) struct Sessions {
    pub(super) config: Config,
    open: Arc<Shares<Scope>>,
}

/// Of what sessions are counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Scope {
    All,
    Holder(String),
    /// By the catalog's id.
    Stream(u64),
}

/// One open session; ends with its value.
pub(super) struct Permit {
    _shares: [Share<Scope>; 3],
}

impl Sessions {
    pub(crate) fn new(config: Config) -> Self {
        Sessions { config, open: Arc::default() }
    }

    /// A session of this principal on this stream.
    ///
    /// # Errors
    /// `ConnectionLimitExceededException`, which says which bound was met.
    pub(super) fn permit(&self, principal: &Principal, stream: u64) -> Result<Permit, Error> {
        let Config { max_sessions, max_sessions_per_key, max_sessions_per_stream, .. } = self.config;
        let holder = principal.holder();
        let take = |scope, most, key: &str, of: &str| {
            self.open.take(scope, 1, most).ok_or_else(|| {
                let message = format!("{most} PutMedia sessions{of} are open (putmedia.{key}): no more are taken");
                Error::new("ConnectionLimitExceededException", message)
            })
        };
        let on = take(Scope::Stream(stream), max_sessions_per_stream, "max_sessions_per_stream", " on this stream")?;
        let by = take(
            Scope::Holder(holder.clone()),
            max_sessions_per_key,
            "max_sessions_per_key",
            &format!(" of {holder}"),
        )?;
        let all = take(Scope::All, max_sessions, "max_sessions", "")?;
        Ok(Permit { _shares: [on, by, all] })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn each_bound_is_named_and_a_session_that_ends_makes_room_in_all_of_them() {
        let config =
            Config { max_sessions: 5, max_sessions_per_key: 4, max_sessions_per_stream: 3, ..Config::default() };
        let sessions = Sessions::new(config);
        let take = |stream| sessions.permit(&Principal::Root(None), stream).map_err(|e| (e.name, e.message));
        let mut open: Vec<_> = (0..3).map(|_| take(1).unwrap()).collect();
        let (name, message) = take(1).err().unwrap();
        assert_eq!(name, "ConnectionLimitExceededException");
        assert!(message.contains("3 PutMedia sessions on this stream") && message.contains("per_stream"), "{message}");
        open.push(take(2).unwrap());
        let (_, message) = take(2).err().unwrap();
        assert!(message.contains("4 PutMedia sessions of root are open (putmedia.max_sessions_per_key)"), "{message}");
        open.remove(0);
        // Of what was refused nothing is left.
        open.push(take(1).unwrap());
        drop(open);
        assert_eq!(sessions.open.holders(), 0);

        let few = Config { max_sessions: 1, ..Config::default() };
        let sessions = Sessions::new(few);
        let _one = sessions.permit(&Principal::Root(None), 1).unwrap();
        let message = sessions.permit(&Principal::Root(None), 2).err().unwrap().message;
        assert_eq!(message, "1 PutMedia sessions are open (putmedia.max_sessions): no more are taken");
    }
}
