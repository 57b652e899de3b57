//! The store's own tasks: the sweep, and the watch that refreshes gauges and gives up stalled fragments.

use crate::Clock;
use crate::catalog::alerts;
use crate::retention::Sweeper;
use crate::rewrite::Rewriter;
use crate::state::{Shared, Streams};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// Seconds between two looks at the outbox.
const OUTBOX_EVERY: u32 = 5;

/// Sweeps every so often, and when told.
pub(crate) fn sweep(
    tasks: &TaskTracker,
    stop: &CancellationToken,
    sweeper: Arc<Sweeper>,
    clock: Clock,
    every: Duration,
    now: Arc<Notify>,
    shared: Arc<Shared>,
) {
    let stop = stop.clone();
    let run = async move {
        tracing::debug!("started");
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let whole = tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => true,
                () = now.notified() => true,
                () = shared.usage.reached.notified() => false,
            };
            let work = async {
                match whole {
                    true => sweeper.sweep(clock()).await,
                    false => sweeper.relieve(clock()).await,
                }
            };
            // A sweep is a run of small transactions: stopping between any two is fine.
            let swept = tokio::select! {
                () = stop.cancelled() => break,
                swept = work => swept,
            };
            if let Err(error) = swept {
                metrics::counter!("vidicon_sweep_failures_total").increment(1);
                tracing::warn!(%error, "the sweep failed; it is tried again at the next interval");
            }
        }
        tracing::debug!("ended");
    };
    tasks.spawn(run.instrument(tracing::info_span!("sweep")));
}

/// Writes segments anew as they are due.
pub(crate) fn rewrite(
    tasks: &TaskTracker,
    stop: &CancellationToken,
    rewriter: Arc<Rewriter>,
    clock: Clock,
    every: Duration,
) {
    let stop = stop.clone();
    let run = async move {
        tracing::debug!("started");
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            // Not dropped in the middle: it sees the stop by itself.
            if let Err(error) = rewriter.rewrite_due(clock()).await
                && !stop.is_cancelled()
            {
                metrics::counter!("vidicon_rewrite_failures_total").increment(1);
                tracing::warn!(%error, "writing segments anew failed; it is tried again");
            }
        }
        tracing::debug!("ended");
    };
    tasks.spawn(run.instrument(tracing::info_span!("rewrite")));
}

/// Once a second: gauges, and fragments that stalled.
pub(crate) fn watch(
    tasks: &TaskTracker,
    stop: &CancellationToken,
    shared: Arc<Shared>,
    streams: Arc<Streams>,
    segments: Arc<AtomicU64>,
) {
    let stop = stop.clone();
    let run = async move {
        tracing::debug!("started");
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut second = 0u32;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            refresh(&shared, &streams, &segments);
            if second.is_multiple_of(OUTBOX_EVERY) {
                refresh_outbox(&shared).await;
            }
            second = second.wrapping_add(1);
        }
        tracing::debug!("ended");
    };
    tasks.spawn(run.instrument(tracing::info_span!("watch")));
}

fn refresh(shared: &Shared, streams: &Streams, segments: &AtomicU64) {
    let now = (shared.clock)();
    let streams: Vec<_> = streams.read().unwrap_or_else(|e| e.into_inner()).values().cloned().collect();
    for stream in streams {
        stream.give_up_stalled();
        let name = stream.name().to_string();
        if let Some(at) = stream.newest_at() {
            let age_s = (now.0 - at.0).max(0) as f64 / 1000.0;
            metrics::gauge!("vidicon_fragment_age_seconds", "stream" => name.clone()).set(age_s);
        }
        let usage = stream.account.figures(stream.name(), &shared.usage);
        metrics::gauge!("vidicon_stream_stored_bytes", "stream" => name.clone()).set(usage.bytes as f64);
        metrics::gauge!("vidicon_stream_quota_bytes", "stream" => name.clone())
            .set(usage.quota_bytes.unwrap_or(0) as f64);
        metrics::gauge!("vidicon_queue_bytes", "stream" => name).set(stream.budget.used() as f64);
    }
    if let Some(ahead) = &shared.ahead {
        ahead.tidy(std::time::Instant::now());
        metrics::gauge!("vidicon_read_ahead_bytes").set(ahead.bytes() as f64);
    }
    metrics::gauge!("vidicon_tail_bytes").set(shared.tail.bytes() as f64);
    shared.usage.look();
    let usage = shared.usage.figures();
    metrics::gauge!("vidicon_stored_bytes").set(usage.bytes as f64);
    metrics::gauge!("vidicon_live_bytes").set(usage.live_bytes as f64);
    metrics::gauge!("vidicon_quota_bytes").set(usage.quota_bytes.unwrap_or(0) as f64);
    metrics::gauge!("vidicon_refusing").set(f64::from(u8::from(usage.refusing)));
    metrics::gauge!("vidicon_segments").set(segments.load(Ordering::Relaxed) as f64);
}

async fn refresh_outbox(shared: &Shared) {
    match shared.catalog.read(|c| alerts::oldest_pending(c)).await {
        Ok(oldest) => {
            let age_s = oldest.map_or(0.0, |at| ((shared.clock)().0 - at.0).max(0) as f64 / 1000.0);
            metrics::gauge!("vidicon_outbox_oldest_seconds").set(age_s);
        }
        Err(error) => tracing::debug!(%error, "the age of the outbox is not known"),
    }
}
