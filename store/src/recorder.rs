//! What makes a group known whose bytes are durable: one catalog transaction, and then those who wait for it; and the thread that does
//! so for the segment log.

use crate::catalog::ranges::DeletedRange;
use crate::catalog::{Catalog, fragments};
use crate::commit::{RangeDeletion, Sealed, Work};
use crate::doubt::{Doubt, Unrecorded};
use crate::faults::{self, Faults};
use crate::notifications::Notify;
use crate::segments::reader::Place;
use crate::segments::writer::SegmentState;
use crate::{Clock, Error, Kind, Notice};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::sync::broadcast;

/// Starts a thread without which nothing is recorded: a process that cannot record must not look alive. What was acknowledged is safe.
pub(crate) fn spawn<T: Send + 'static>(
    name: &'static str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Error> {
    let guarded = move || {
        let _span = tracing::info_span!("commit", thread = name).entered();
        tracing::debug!("started");
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or_else(|_| {
            tracing::error!("the {name} thread panicked; the process is aborted");
            std::process::abort()
        });
        tracing::debug!("ended");
        done
    };
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(guarded);
    thread.map_err(|e| Error::new(Kind::Unavailable, format!("the {name} thread could not be started")).with_source(e))
}

/// What makes a group that is on its shelf known: one catalog transaction, then those who wait for it.
#[derive(Clone)]
pub(crate) struct Recorder {
    pub(crate) catalog: Catalog,
    pub(crate) notices: broadcast::Sender<Notice>,
    pub(crate) clock: Clock,
    pub(crate) faults: Arc<Faults>,
    /// Of the queue.
    pub(crate) doubt: Arc<Doubt>,
}

impl Recorder {
    /// Writes the rows of a group and the states of segments, in one transaction. Blocks until the catalog says what became of it.
    pub(crate) fn record(
        &self,
        group: &[Work],
        places: &[Place],
        segments: BTreeMap<u64, SegmentState>,
    ) -> Result<Vec<Result<(), Error>>, Unrecorded> {
        let rows = group.iter().zip(places).filter_map(|(work, place)| match work {
            Work::Fragment(sealed) => Some(fragments::NewRow {
                stream: sealed.stream.id(),
                meta: sealed.fragment.meta.clone(),
                place: *place,
                header: sealed.stream.stored_header(&sealed.fragment.header),
            }),
            Work::Deleted(..) | Work::DeletedRange(_) => None,
        });
        let notify: BTreeMap<usize, Arc<Notify>> = group
            .iter()
            .filter_map(|work| match work {
                Work::Fragment(sealed) => Some(sealed.notify.clone()),
                Work::Deleted(..) | Work::DeletedRange(_) => None,
            })
            .enumerate()
            .filter_map(|(row, notify)| Some((row, notify?)))
            .collect();
        let deleted = group.iter().zip(places).filter_map(|(work, place)| match work {
            Work::DeletedRange(RangeDeletion { stream, id, range, .. }) => {
                Some((Some(*id), DeletedRange { stream: stream.id(), range: *range, place: *place }))
            }
            Work::Deleted(..) | Work::Fragment(_) => None,
        });
        let group = fragments::Group { segments, rows: rows.collect(), deleted: deleted.collect() };
        let (group, now) = (Arc::new((group, notify)), (self.clock)());
        self.doubt.resolve(|| {
            let group = group.clone();
            self.faults.check("catalog.commit").map_err(Error::of_disk)?;
            let done = self.catalog.write_blocking(move |c| fragments::commit_and_notify(c, &group.0, &group.1, now));
            self.faults.check("catalog.committed").map_err(Error::of_disk)?;
            done
        })
    }

    /// Tells those who wait for a group what became of it.
    pub(crate) fn finish(&self, group: Vec<Work>, outcomes: Vec<Result<(), Error>>) {
        let now = (self.clock)();
        let mut notified = false;
        let mut outcomes = outcomes.into_iter();
        for work in group {
            let sealed = match work {
                Work::Fragment(sealed) => sealed,
                Work::Deleted(_, noted) => {
                    let _ = noted.send(());
                    continue;
                }
                Work::DeletedRange(deletion) => {
                    // In the order of the log: what comes after it in the group stays.
                    deletion.stream.forget_range(deletion.range);
                    let _ = deletion.done.send(Ok(()));
                    continue;
                }
            };
            match outcomes.next().expect("one for each fragment") {
                Ok(()) => {
                    let Sealed { stream, fragment, charge, durable, notify, .. } = sealed;
                    notified |= notify.is_some();
                    let meta = fragment.meta.clone();
                    stream.persisted(fragment, now);
                    // From here on the tail's own bound counts for the bytes.
                    drop(charge);
                    let _ = self.notices.send(Notice::Persisted(stream.name().clone(), meta.clone()));
                    let _ = durable.send(Ok(meta));
                    faults::step("commit.told");
                }
                Err(error) => sealed.fail(&error),
            }
        }
        if notified {
            let _ = self.notices.send(Notice::Deliveries);
        }
    }
}

/// A group whose bytes are durable in the segment log.
pub(crate) struct Synced {
    pub(crate) group: Vec<Work>,
    pub(crate) places: Vec<Place>,
    /// States of segments that no catalog transaction holds yet.
    pub(crate) segments: BTreeMap<u64, SegmentState>,
    /// When it was begun to be written.
    pub(crate) began: Instant,
}

/// One that was not recorded. Nobody was told so yet.
pub(crate) struct Unsettled {
    pub(crate) group: Vec<Work>,
    pub(crate) segments: BTreeMap<u64, SegmentState>,
    pub(crate) why: Unrecorded,
}

/// The thread that records groups of the segment log and tells those who wait, one group at a time.
pub(crate) struct Recording {
    groups: SyncSender<Synced>,
    outcomes: Receiver<Result<(), Unsettled>>,
}

impl Recording {
    /// Starts the thread. It ends when this is dropped.
    pub(crate) fn start(recorder: Recorder) -> Result<Recording, Error> {
        let (groups, synced) = sync_channel::<Synced>(1);
        let (said, outcomes) = sync_channel(1);
        spawn("record", move || {
            for group in synced {
                if said.send(recorder.settle(group)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Recording { groups, outcomes })
    }

    /// Lets it record a group, after it said what became of the one before.
    pub(crate) fn begin(&self, group: Synced) {
        assert!(self.groups.send(group).is_ok(), "the process is aborted where its thread panics");
    }

    /// Waits until the group that was given to it is recorded, or certainly is not. Those who wait for it were told in the first case.
    pub(crate) fn wait(&self) -> Result<(), Unsettled> {
        self.outcomes.recv().expect("the process is aborted where its thread panics")
    }
}

impl Recorder {
    fn settle(&self, synced: Synced) -> Result<(), Unsettled> {
        let Synced { group, places, segments, began } = synced;
        match self.record(&group, &places, segments.clone()) {
            Ok(outcomes) => {
                self.finish(group, outcomes);
                metrics::histogram!("vidicon_commit_seconds").record(began.elapsed().as_secs_f64());
                metrics::counter!("vidicon_commits_total").increment(1);
                Ok(())
            }
            Err(why) => Err(Unsettled { group, segments, why }),
        }
    }
}
