//! The outbox worker: takes due deliveries, posts them, writes back what became of each.
//!
//! The catalog is the queue, so a restart goes on where the last one stopped, and a delivery that was posted but not yet
//! written back is posted again: at least once, with the id of the alert or notification to drop repeats by.

use crate::{
    post::{Failure, Poster},
    sns,
    webhook::{self, GIVE_UP_AFTER_MS},
};
use bytes::Bytes;
use futures_util::FutureExt;
use media::UnixMillis;
use std::{
    collections::{HashMap, HashSet},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};
use store::{
    Error, Kind, Notice, Store,
    notifications::{Destination, Subject},
    outbound::Reach,
    records::{Delivery, DeliveryState, Secret, Target},
};
use tokio::{
    sync::broadcast::error::RecvError,
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// Deliveries under way at once, over all targets.
const AT_ONCE: usize = 32;
/// Deliveries under way at once to one target: a slow one holds up only itself.
const PER_TARGET: usize = 2;
/// Due deliveries read at once.
const BATCH: usize = 1_000;
/// How far deliveries that do not fit are put off when a single target fills the whole batch, in ms.
const PUT_OFF_MS: i64 = 30_000;
/// A delivery is not given up before so many attempts, which take about an hour.
const LEAST_ATTEMPTS: u32 = 20;
/// Longest sleep between two looks at the outbox: notices may be lost.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// Runs until `stop`.
pub(crate) struct DeliverTask {
    store: Store,
    poster: Poster,
    stop: CancellationToken,
    running: JoinSet<(u64, Destination)>,
    busy: HashSet<u64>,
    per_target: HashMap<Destination, usize>,
}

impl DeliverTask {
    pub(crate) fn new(store: Store, poster: Poster, stop: CancellationToken) -> DeliverTask {
        DeliverTask { store, poster, stop, running: JoinSet::new(), busy: HashSet::new(), per_target: HashMap::new() }
    }

    pub(crate) async fn run(mut self) {
        tracing::info!("deliveries started");
        let mut notices = self.store.notices();
        let stop = self.stop.clone();
        loop {
            let sleep = self.round().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "the outbox cannot be read; trying again");
                LONGEST_SLEEP
            });
            let wake = tokio::time::sleep(sleep);
            tokio::pin!(wake);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return self.end().await,
                    () = &mut wake => break,
                    Some(ended) = self.running.join_next() => {
                        self.ended(ended);
                        break;
                    }
                    notice = notices.recv() => match notice {
                        Ok(Notice::Alert(_) | Notice::Targets) | Err(RecvError::Lagged(_)) => break,
                        // Written by this task itself, and by a redrive: look, but not at once for each.
                        Ok(Notice::Deliveries) if wake.deadline() > tokio::time::Instant::now() + Duration::from_millis(100) => {
                            wake.as_mut().reset(tokio::time::Instant::now() + Duration::from_millis(100));
                        }
                        Ok(_) => {}
                        Err(RecvError::Closed) => return self.end().await,
                    }
                }
            }
        }
    }

    /// Attempts under way are dropped: their deliveries are still pending in the catalog.
    async fn end(mut self) {
        self.running.shutdown().await;
        tracing::info!("deliveries ended");
    }

    fn ended(&mut self, ended: Result<(u64, Destination), JoinError>) {
        match ended {
            Ok((id, target)) => self.release(id, &target),
            Err(error) if error.is_cancelled() => {}
            // Which one it was is lost: all are free again, at the cost of a repeat.
            Err(error) => {
                tracing::error!(%error, "a delivery panicked; going on");
                self.running.abort_all();
                self.busy.clear();
                self.per_target.clear();
            }
        }
    }

    fn release(&mut self, id: u64, target: &Destination) {
        // After a panic the books were cleared already.
        if self.busy.remove(&id)
            && let Some(count) = self.per_target.get_mut(target)
        {
            *count = count.saturating_sub(1);
        }
        self.per_target.retain(|_, count| *count > 0);
    }

    /// Starts what is due and fits; returns how long to sleep.
    async fn round(&mut self) -> Result<Duration, Error> {
        let now = self.store.now();
        let oldest = self.store.oldest_pending().await?;
        let age_ms = oldest.map_or(0, |at| now.0.saturating_sub(at.0).max(0));
        metrics::gauge!("vidicon_outbox_oldest_seconds").set(age_ms as f64 / 1000.0);
        let due = self.store.due_deliveries(now, BATCH).await?;
        let full = due.len() == BATCH;
        let targets = match due.is_empty() {
            true => Targets::default(),
            false => Targets::of(self.store.targets().await?),
        };
        let mut left_over = false;
        for delivery in due {
            if self.busy.contains(&delivery.id) {
                continue;
            }
            let target = delivery.to.clone();
            let under_way = self.per_target.get(&target).copied().unwrap_or(0);
            if under_way >= PER_TARGET && full {
                // One target's backlog fills all that is read at once: out of the way of the others.
                let next_at = now.plus(PUT_OFF_MS);
                self.store.update_delivery(&Delivery { next_at, ..delivery }).await?;
            } else if under_way >= PER_TARGET || self.running.len() >= AT_ONCE {
                left_over = true;
            } else {
                self.start(delivery, targets.find(&target));
            }
        }
        if left_over || full {
            // The end of an attempt wakes this task earlier.
            return Ok(if full { Duration::from_millis(50) } else { Duration::from_secs(1) });
        }
        let next = self.store.next_delivery_at().await?;
        let until = next
            .map_or(LONGEST_SLEEP, |at| Duration::from_millis(at.0.saturating_sub(self.store.now().0).max(0) as u64));
        // What is under way stays "due" in the catalog until it is written back.
        let least = if self.running.is_empty() { Duration::from_millis(5) } else { Duration::from_millis(500) };
        Ok(until.clamp(least, LONGEST_SLEEP))
    }

    fn start(&mut self, delivery: Delivery, target: Option<Arc<Target>>) {
        self.busy.insert(delivery.id);
        *self.per_target.entry(delivery.to.clone()).or_default() += 1;
        let attempt = Attempt { store: self.store.clone(), poster: self.poster.clone(), target };
        let span = tracing::info_span!("deliver", target = %delivery.to, id = delivery.of.id());
        self.running.spawn(attempt.run(delivery).instrument(span));
    }
}

/// The configured targets, by name and by URL.
#[derive(Default)]
struct Targets {
    by_name: HashMap<String, Arc<Target>>,
    by_url: HashMap<String, Arc<Target>>,
}

impl Targets {
    fn of(targets: Vec<Target>) -> Targets {
        let mut found = Targets::default();
        for target in targets.into_iter().map(Arc::new) {
            found.by_name.insert(target.name.to_string(), target.clone());
            found.by_url.insert(normal(&target.url), target);
        }
        found
    }

    fn find(&self, to: &Destination) -> Option<Arc<Target>> {
        match to {
            Destination::Target(name) => self.by_name.get(name.as_str()).cloned(),
            Destination::Url(url) => self.by_url.get(&normal(url)).cloned(),
        }
    }
}

/// One spelling of a URL, so that `https://Host` is `https://host/`.
fn normal(url: &str) -> String {
    url::Url::parse(url).map_or_else(|_| url.to_owned(), String::from)
}

/// What is posted, the same in every attempt but for the signature.
struct Message {
    id: String,
    content_type: &'static str,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

/// One attempt of one delivery.
struct Attempt {
    store: Store,
    poster: Poster,
    target: Option<Arc<Target>>,
}

impl Attempt {
    async fn run(self, delivery: Delivery) -> (u64, Destination) {
        let (id, to) = (delivery.id, delivery.to.clone());
        let started = Instant::now();
        // A defect is a failure like any other: tried again with growing pauses, not at once and for ever.
        let posted = AssertUnwindSafe(self.post(&delivery)).catch_unwind().await;
        let result = posted.unwrap_or_else(|_| Err(Refused::Later("the attempt panicked; see the log".into())));
        // URLs that nobody configured share one label: there can be any number of them.
        let label = self.target.as_ref().map_or_else(|| "(url)".to_owned(), |target| target.name.to_string());
        metrics::histogram!("vidicon_webhook_seconds", "target" => label.clone())
            .record(started.elapsed().as_secs_f64());
        let after = outcome(delivery, result, self.store.now(), uuid::Uuid::now_v7().as_u128() as u32);
        let state = match after.state {
            DeliveryState::Delivered => "delivered",
            DeliveryState::Pending => "retry",
            DeliveryState::Dead => "dead",
        };
        metrics::counter!("vidicon_webhook_attempts_total", "target" => label, "outcome" => state).increment(1);
        match (&after.state, &after.last_error) {
            (DeliveryState::Delivered, _) => tracing::info!(attempts = after.attempts, "delivered"),
            (DeliveryState::Pending, error) => {
                tracing::warn!(attempts = after.attempts, ?error, "not delivered; will be tried again")
            }
            (DeliveryState::Dead, error) => {
                tracing::error!(attempts = after.attempts, ?error, "given up; can be driven again")
            }
        }
        if let Err(error) = self.store.update_delivery(&after).await {
            tracing::warn!(%error, "the state of a delivery cannot be written; it will be sent again");
            // Not at once: the catalog may be in trouble.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        (id, to)
    }

    async fn post(&self, delivery: &Delivery) -> Result<(), Refused> {
        let (url, reach, secret) = self.place(&delivery.to)?;
        let message = self.message(&delivery.of).await?;
        let mut headers = message.headers;
        let signed = secret.map(|secret| webhook::sign(secret, &message.id, self.store.now(), &message.body));
        headers.push(("webhook-id", message.id));
        if let Some(signed) = signed {
            headers.push(("webhook-timestamp", signed.timestamp));
            headers.push(("webhook-signature", signed.standard));
            headers.push(("x-vidicon-signature", signed.vidicon));
        }
        let posted = self.poster.post(url, reach, message.content_type, &headers, message.body).await;
        posted.map_err(|Failure { status, reason }| {
            if status.is_some_and(|s| s.is_client_error() && s.as_u16() != 408 && s.as_u16() != 429) {
                tracing::warn!(%reason, "the target refuses; its settings are probably wrong");
            }
            Refused::Later(reason)
        })
    }

    /// Where it goes, what may be reached there, and the key of the signature if there is one.
    fn place<'a>(&'a self, to: &'a Destination) -> Result<(&'a str, Reach, Option<&'a Secret>), Refused> {
        match (&self.target, to) {
            (Some(target), _) => {
                let reach = if target.allow_local { Reach::Local } else { Reach::Public };
                Ok((&target.url, reach, Some(&target.secret)))
            }
            (None, Destination::Target(_)) => Err(Refused::Never("the target was removed".into())),
            // Whoever may configure a stream named it, not the operator: public addresses only, and no secret is shared.
            (None, Destination::Url(url)) => Ok((url, Reach::Public, None)),
        }
    }

    async fn message(&self, of: &Subject) -> Result<Message, Refused> {
        let gone = |e: Error| match e.kind() {
            Kind::NotFound => Refused::Never(format!("what was to be delivered is gone: {e}")),
            _ => Refused::Later(e.to_string()),
        };
        Ok(match of {
            Subject::Alert(id) => {
                let alert = self.store.alert(id).await.map_err(gone)?;
                let snapshot = self.store.snapshot(id).await.map_err(gone)?;
                let body = Bytes::from(webhook::body(&alert, &snapshot));
                Message { id: alert.id, content_type: webhook::CONTENT_TYPE, headers: Vec::new(), body }
            }
            Subject::Notification(id) => {
                let notification = self.store.notification(id).await.map_err(gone)?;
                let (headers, body) = (sns::headers(&notification), Bytes::from(sns::body(&notification)));
                Message { id: notification.id, content_type: sns::CONTENT_TYPE, headers, body }
            }
        })
    }
}

/// Why an attempt failed.
enum Refused {
    /// A retry may help.
    Later(String),
    /// No retry will.
    Never(String),
}

/// The delivery after an attempt at `now`, pure.
fn outcome(before: Delivery, result: Result<(), Refused>, now: UnixMillis, jitter: u32) -> Delivery {
    let attempts = before.attempts.saturating_add(1);
    let next_at = now.plus(webhook::pause_ms(attempts, jitter) as i64);
    // After a long stop of the server, or driven again by hand, a delivery is old before it was tried: it gets an hour.
    let too_old = now.0.saturating_sub(before.created_at.0) >= GIVE_UP_AFTER_MS && attempts >= LEAST_ATTEMPTS;
    let (state, last_error) = match result {
        Ok(()) => (DeliveryState::Delivered, None),
        Err(Refused::Later(reason)) if too_old => (DeliveryState::Dead, Some(reason)),
        Err(Refused::Later(reason)) => (DeliveryState::Pending, Some(reason)),
        Err(Refused::Never(reason)) => (DeliveryState::Dead, Some(reason)),
    };
    Delivery { state, attempts, next_at, last_error, ..before }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending() -> Delivery {
        let to = Destination::Target("hook".parse().expect("a name"));
        let start = UnixMillis(1_000_000);
        Delivery {
            id: 1,
            of: Subject::Alert("a".into()),
            to,
            state: DeliveryState::Pending,
            attempts: 0,
            created_at: start,
            next_at: start,
            last_error: None,
        }
    }

    #[test]
    fn a_delivery_is_tried_for_a_day_and_then_dead() {
        let mut delivery = pending();
        let mut now = delivery.created_at;
        while delivery.state == DeliveryState::Pending {
            delivery = outcome(delivery, Err(Refused::Later("down".into())), now, 7_919);
            assert!(delivery.next_at > now);
            now = delivery.next_at;
        }
        assert_eq!(delivery.state, DeliveryState::Dead);
        assert_eq!(delivery.last_error.as_deref(), Some("down"));
        let lasted = now.0 - delivery.created_at.0;
        assert!(lasted >= GIVE_UP_AFTER_MS && delivery.attempts > 200, "{lasted} ms, {} attempts", delivery.attempts);
    }

    #[test]
    fn a_delivery_that_is_old_but_hardly_tried_gets_more_tries() {
        let now = UnixMillis(pending().created_at.0 + 10 * GIVE_UP_AFTER_MS);
        let mut delivery = pending();
        for _ in 1..LEAST_ATTEMPTS {
            delivery = outcome(delivery, Err(Refused::Later("down".into())), now, 0);
            assert_eq!(delivery.state, DeliveryState::Pending);
        }
        assert_eq!(outcome(delivery, Err(Refused::Later("down".into())), now, 0).state, DeliveryState::Dead);
    }

    #[test]
    fn what_no_retry_helps_is_dead_at_once_and_success_clears_the_error() {
        let now = UnixMillis(2_000_000);
        let dead = outcome(pending(), Err(Refused::Never("removed".into())), now, 0);
        assert_eq!((dead.state, dead.attempts), (DeliveryState::Dead, 1));
        let failed = outcome(pending(), Err(Refused::Later("500".into())), now, 0);
        let delivered = outcome(failed, Ok(()), now, 0);
        assert_eq!((delivered.state, delivered.attempts, delivered.last_error), (DeliveryState::Delivered, 2, None));
    }
}
