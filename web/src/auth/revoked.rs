//! Sessions that were ended before their time, kept in the catalog so that a restart does not revive them.

use super::token::Session;
use media::UnixMillis;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};
use store::Store;

const SETTING: &str = "web_revoked_sessions";
/// Ended sessions remembered one by one; at more, every session so far is ended at once.
const MOST: usize = 1000;

#[derive(Clone, Default, Serialize, Deserialize)]
struct List {
    /// Sessions issued up to this instant are ended, all of them.
    issued_up_to: UnixMillis,
    /// Ended sessions by id in hexadecimal, with the time at which they would have expired.
    ids: BTreeMap<String, UnixMillis>,
}

/// The list of ended sessions.
#[derive(Default)]
pub(super) struct Revoked {
    list: Mutex<List>,
    /// Held while the list is written, so that no older one overtakes a newer one.
    writing: tokio::sync::Mutex<()>,
}

impl Revoked {
    pub(super) async fn open(store: &Store) -> Result<Self, store::Error> {
        let list = store.setting(SETTING).await?.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        Ok(Revoked { list: Mutex::new(list), ..Revoked::default() })
    }
    pub(super) fn is_revoked(&self, session: &Session) -> bool {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        session.issued_at <= list.issued_up_to || list.ids.contains_key(&hex(&session.id))
    }
    /// Ends a session and writes that down.
    pub(super) async fn revoke(&self, store: &Store, session: &Session, now: UnixMillis) -> Result<(), store::Error> {
        self.add(session, now);
        let _one_at_a_time = self.writing.lock().await;
        let text = self.text();
        store.set_setting(SETTING, &text).await
    }
    fn add(&self, session: &Session, now: UnixMillis) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        list.ids.retain(|_, expires_at| *expires_at > now);
        list.ids.insert(hex(&session.id), session.expires_at);
        if list.ids.len() > MOST {
            *list = List { issued_up_to: now, ids: BTreeMap::new() };
        }
    }
    fn text(&self) -> String {
        let list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        serde_json::to_string(&*list).expect("texts and integers are JSON")
    }
}

fn hex(id: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*id))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn session(n: u8, issued_at: i64) -> Session {
        Session { id: [n; 16], issued_at: UnixMillis(issued_at), expires_at: UnixMillis(issued_at + 100) }
    }

    #[test]
    fn ended_sessions_stay_ended_and_the_list_stays_short() {
        let revoked = Revoked::default();
        let now = UnixMillis(50);
        revoked.add(&session(1, 10), now);
        assert!(revoked.is_revoked(&session(1, 10)) && !revoked.is_revoked(&session(2, 10)));
        let list = Mutex::new(serde_json::from_str(&revoked.text()).unwrap());
        let again = Revoked { list, ..Revoked::default() };
        assert!(again.is_revoked(&session(1, 10)), "also after a restart");
        revoked.add(&session(2, 105), UnixMillis(150));
        assert_eq!(revoked.list.lock().unwrap().ids.len(), 1, "expired ones are forgotten");
        for n in 0..=MOST as u32 {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&n.to_be_bytes());
            revoked.add(&Session { id, ..session(0, 160) }, UnixMillis(160));
        }
        assert!(revoked.is_revoked(&session(3, 160)), "too many: all are ended");
        assert!(!revoked.is_revoked(&session(3, 161)));
    }

    #[tokio::test]
    async fn lists_are_written_one_after_another_and_the_last_is_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let config = store::Config { data: folder.path().to_owned(), ..store::Config::default() };
        let store = Store::open(config, std::sync::Arc::new(|| UnixMillis(50))).await.unwrap();
        let revoked = Revoked::default();
        let (one, two, now) = (session(1, 10), session(2, 10), UnixMillis(50));
        let before = revoked.writing.lock().await;
        let both = async { tokio::join!(revoked.revoke(&store, &one, now), revoked.revoke(&store, &two, now)) };
        let mut both = std::pin::pin!(both);
        let some_time = std::time::Duration::from_millis(50);
        assert!(tokio::time::timeout(some_time, both.as_mut()).await.is_err(), "they wait");
        assert!(revoked.is_revoked(&one) && revoked.is_revoked(&two), "at once");
        assert_eq!(store.setting(SETTING).await.unwrap(), None, "not before what is being written");
        drop(before);
        let (one_written, two_written) = both.await;
        one_written.and(two_written).unwrap();
        let again = Revoked::open(&store).await.unwrap();
        assert!(again.is_revoked(&one) && again.is_revoked(&two));
        store.stop().await.unwrap();
    }
}
