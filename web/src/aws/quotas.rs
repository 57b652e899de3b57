//! Limits that the cloud has, for those who want to be held to them: `[aws.quotas]`. All are off unless set.

use super::Error;
use media::UnixMillis;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};
use store::{Store, documents::Document};

/// Limits of the AWS surface: `[aws.quotas]`. 0 is no limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quotas {
    /// Streams in all; CreateStream is refused more with AccountStreamLimitExceededException.
    pub streams: u32,
    /// Streams with one DeviceName; DeviceStreamLimitExceededException.
    pub streams_per_device: u32,
    /// Signaling channels in all; AccountChannelLimitExceededException.
    pub channels: u32,
    /// Calls of one operation a second, over all streams; ClientLimitExceededException. PutMedia has none.
    pub calls_per_s: u32,
    /// … that name one stream by StreamName or StreamARN in their body.
    pub calls_per_s_per_stream: u32,
}

/// Documents that are looked through at a time.
const BATCH: usize = 500;

/// How many documents of a collection are meant, counted up to `most`.
pub(crate) async fn counted(
    store: &Store,
    collection: &'static str,
    most: u32,
    meant: impl Fn(&Document) -> Result<bool, Error>,
) -> Result<u32, Error> {
    let (mut count, mut after) = (0, None);
    loop {
        let batch = store.documents(collection, "", after.as_deref(), BATCH).await?;
        for document in &batch {
            count += u32::from(meant(document)?);
        }
        match batch.last() {
            Some(last) if batch.len() == BATCH && count < most => after = Some(last.name.clone()),
            _ => return Ok(count),
        }
    }
}

/// Rates that are counted at a time; beyond it, those that are not used up are forgotten.
const MOST: usize = 10_000;
const SECOND_US: i64 = 1_000_000;

/// Counts calls. Each count is a generic cell rate: a call moves its time one interval on; a time a second ahead of the clock
/// refuses.
#[derive(Default)]
pub(crate) struct Calls {
    /// In µs, by operation and stream.
    next: Mutex<HashMap<(&'static str, Whose), i64>>,
}

/// Whose calls of an operation are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Whose {
    /// All.
    All,
    /// Those on one stream, by the catalog's id.
    Stream(u64),
    /// Those of one holder (see `Principal::holder`) that no policy allowed: they take nothing from others.
    Denied(String),
}

impl Calls {
    /// Counts a call of an operation that may be made so often a second.
    ///
    /// # Errors
    /// `ClientLimitExceededException`.
    pub(crate) fn count(
        &self,
        operation: &'static str,
        whose: Whose,
        per_s: u32,
        now: UnixMillis,
    ) -> Result<(), Error> {
        if per_s == 0 {
            return Ok(());
        }
        let (now, interval) = (now.0.saturating_mul(1000), SECOND_US / i64::from(per_s));
        let key = (operation, whose);
        let mut all = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.retain(|_, next| *next > now);
        }
        let next = all.get(&key).copied().unwrap_or(now).max(now) + interval;
        // Where so many are used up at once that nothing can be forgotten, what comes next is not counted.
        match next - now <= SECOND_US {
            true if all.len() < MOST || all.contains_key(&key) => {
                all.insert(key, next);
                Ok(())
            }
            true => Ok(()),
            false => {
                let (of, key) = match key.1 {
                    Whose::All => ("", "calls_per_s"),
                    Whose::Stream(_) => (" of one stream", "calls_per_s_per_stream"),
                    Whose::Denied(_) => (" that are not allowed", "calls_per_s"),
                };
                let message = format!("more than {per_s} calls of {operation}{of} in a second (aws.quotas.{key})");
                Err(Error::new("ClientLimitExceededException", message))
            }
        }
    }

    /// Whether another call would be refused now.
    pub(crate) fn are_used_up(&self, operation: &'static str, whose: Whose, per_s: u32, now: UnixMillis) -> bool {
        let all = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let next = all.get(&(operation, whose)).copied().unwrap_or(i64::MIN);
        per_s > 0 && next.saturating_sub(now.0.saturating_mul(1000)) > SECOND_US - SECOND_US / i64::from(per_s)
    }

    /// Gives a call back that was counted.
    pub(crate) fn give_back(&self, operation: &'static str, whose: Whose, per_s: u32) {
        let mut all = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(next) = all.get_mut(&(operation, whose)).filter(|_| per_s > 0) {
            *next -= SECOND_US / i64::from(per_s);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_second_has_so_many_calls() {
        let calls = Calls::default();
        let count = |stream: Option<u64>, at| {
            calls.count("TagStream", stream.map_or(Whose::All, Whose::Stream), 5, UnixMillis(at))
        };
        for _ in 0..5 {
            count(None, 1000).unwrap();
        }
        let error = count(None, 1000).unwrap_err();
        assert_eq!((error.name, error.status.as_u16()), ("ClientLimitExceededException", 400));
        assert!(
            error.message.contains("5 calls of TagStream in a second (aws.quotas.calls_per_s)"),
            "{}",
            error.message
        );
        count(Some(1), 1000).unwrap();
        calls.count("UntagStream", Whose::All, 5, UnixMillis(1000)).unwrap();
        assert!(count(None, 1199).is_err());
        count(None, 1200).unwrap();
        assert!(count(None, 1200).is_err());
        // A whole second later all of them are there again, and no more.
        assert_eq!((0..9).filter(|_| count(None, 9000).is_ok()).count(), 5);
        assert!((0..1000).all(|_| calls.count("ListStreams", Whose::All, 0, UnixMillis(0)).is_ok()), "0 is no limit");
    }

    #[test]
    fn what_is_given_back_can_be_had_again() {
        let (calls, now) = (Calls::default(), UnixMillis(1000));
        let used_up = || calls.are_used_up("TagStream", Whose::All, 3, now);
        for _ in 0..3 {
            assert!(!used_up());
            calls.count("TagStream", Whose::All, 3, now).unwrap();
        }
        assert!(used_up() && calls.count("TagStream", Whose::All, 3, now).is_err());
        calls.give_back("TagStream", Whose::All, 3);
        assert!(!used_up() && calls.count("TagStream", Whose::All, 3, now).is_ok() && used_up());
        assert!(!calls.are_used_up("TagStream", Whose::All, 0, now) && !calls.are_used_up("Other", Whose::All, 1, now));
    }

    #[test]
    fn memory_is_bounded() {
        let calls = Calls::default();
        for stream in 0..3 * MOST as u64 {
            calls.count("TagStream", Whose::Stream(stream), 1, UnixMillis(stream as i64 / 100)).unwrap();
        }
        assert!(calls.next.lock().unwrap().len() <= MOST);
    }
}
