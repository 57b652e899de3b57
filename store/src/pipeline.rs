//! Group commit to a bucket: each group is one object, several are put at a time, and what they hold is recorded and acknowledged
//! strictly in their order (invariants 1 and 2).
//!
//! Two threads. `commit` gathers groups and begins their PUTs; `settle` takes them in order, waits until each lies in the bucket, or in
//! the spool, and then records it. The channel between the two bounds the PUTs under way.

use crate::commit::{Work, gather, kept, with_items};
use crate::doubt::Unrecorded;
use crate::faults;
use crate::recorder::{Recorder, spawn};
use crate::segments::objects::bucket::{Objects, PutError};
use crate::segments::reader::Place;
use crate::segments::record::{FILE_HEADER_LEN, FileHeader};
use crate::segments::writer::{Described, Encrypted, Plan, SegmentState};
use crate::{Error, Kind};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle as Put;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often a wait for the bucket looks whether there is room in the spool, or the store stops.
const LOOK: Duration = Duration::from_millis(250);
/// A store that stops waits so long for the bucket.
const LAST: Duration = Duration::from_secs(4);

/// The commit thread's own things.
pub(crate) struct Pipeline {
    pub(crate) work: Receiver<Work>,
    pub(crate) objects: Arc<Objects>,
    pub(crate) store: Uuid,
    /// Of the next segment. Never given to another one, whatever becomes of it.
    pub(crate) next_id: u64,
    pub(crate) interval: Duration,
    pub(crate) group_bytes: u64,
    pub(crate) puts: usize,
    pub(crate) settler: Settler,
}

/// The settling thread's own things.
pub(crate) struct Settler {
    pub(crate) recorder: Recorder,
    pub(crate) objects: Arc<Objects>,
    pub(crate) spool_after: Duration,
    /// States of segments that no catalog transaction holds yet.
    pub(crate) unrecorded: BTreeMap<u64, SegmentState>,
}

/// A group on its way.
struct Group {
    id: u64,
    work: Vec<Work>,
    places: Vec<Place>,
    state: SegmentState,
    parts: Vec<Bytes>,
    bytes: u64,
    put: Option<Put<Result<(), PutError>>>,
    begun: Instant,
}

impl Pipeline {
    /// Starts the threads. `keep` lives as long as they do.
    pub(crate) fn start<K: Send + Sync + 'static>(self, keep: Arc<K>) -> Result<JoinHandle<()>, Error> {
        let (groups, settling) = sync_channel(self.puts.saturating_sub(1));
        let Pipeline { settler, .. } = self;
        let feed = Feed {
            work: self.work,
            objects: self.objects,
            store: self.store,
            next_id: self.next_id,
            interval: self.interval,
            group_bytes: self.group_bytes,
            clock: settler.recorder.clock.clone(),
        };
        let settling = spawn("settle", move || settler.run(&settling))?;
        spawn("commit", move || {
            feed.run(groups, settling);
            drop(keep);
        })
    }
}

struct Feed {
    work: Receiver<Work>,
    objects: Arc<Objects>,
    store: Uuid,
    next_id: u64,
    interval: Duration,
    group_bytes: u64,
    clock: crate::Clock,
}

impl Feed {
    fn run(mut self, groups: SyncSender<Group>, settling: JoinHandle<Settler>) {
        while let Ok(first) = self.work.recv() {
            let work = gather(&self.work, first, self.interval, self.group_bytes);
            if let Some(mut group) = self.group(work) {
                // What comes behind a spooled group is spooled too, unless there is no room.
                if self.objects.spool.is_empty() {
                    faults::step("object.put");
                    group.put = Some(group.put(&self.objects));
                }
                if groups.send(group).is_err() {
                    // Its thread aborts the process before it lets go of the other end.
                    return;
                }
            }
        }
        drop(groups);
        // What it still has is recorded before the store has stopped.
        let _ = settling.join();
    }

    fn group(&mut self, work: Vec<Work>) -> Option<Group> {
        let mut work = kept(work);
        if work.is_empty() {
            return None;
        }
        // So that the fragments of one stream come with one request; their order in it stays, and so does what deletions stand behind.
        for some in work.split_mut(|work| !matches!(work, Work::Fragment(_))) {
            some.sort_by_key(|work| match work {
                Work::Fragment(sealed) => sealed.stream.id(),
                Work::Deleted(..) | Work::DeletedRange(_) => 0,
            });
        }
        let (id, now) = (self.next_id, (self.clock)());
        self.next_id += 1;
        let (described, mut encrypted) = (Described::default(), Encrypted::default());
        let plan = with_items(&work, |items| Plan::new(id, FILE_HEADER_LEN as u64, &described, items, &mut encrypted));
        let mut parts = Vec::with_capacity(plan.parts.len() + 1);
        parts.push(Bytes::copy_from_slice(&FileHeader::new(self.store, id, now).encode()));
        parts.extend(plan.parts.into_iter().filter(|part| !part.is_empty()));
        let deletions = work.iter().any(|work| !matches!(work, Work::Fragment(_)));
        let state = SegmentState { created_at: now, end: plan.end, closed: true, deletions };
        self.objects.begun(id, plan.end);
        Some(Group { id, work, places: plan.places, state, parts, bytes: plan.end, put: None, begun: Instant::now() })
    }
}

impl Group {
    fn put(&self, objects: &Arc<Objects>) -> Put<Result<(), PutError>> {
        let (objects, id, payload) = (objects.clone(), self.id, self.parts.iter().cloned().collect());
        objects.handle().spawn(async move { objects.put(id, payload).await })
    }
}

impl Settler {
    fn run(mut self, groups: &Receiver<Group>) -> Settler {
        while let Ok(group) = groups.recv() {
            self.settle(group);
        }
        self
    }

    fn settle(&mut self, mut group: Group) {
        let kept = self.kept(&mut group);
        let settled = kept.and_then(|()| {
            faults::step("object.kept");
            let mut segments = self.unrecorded.clone();
            segments.insert(group.id, group.state.clone());
            self.recorder.record(&group.work, &group.places, segments).map_err(|unrecorded| {
                let (error, state) = match unrecorded {
                    // Nothing in the object counts, and the next sweep removes it.
                    Unrecorded::Refused(error) => {
                        (error, SegmentState { end: 0, deletions: false, ..group.state.clone() })
                    }
                    // The next start looks.
                    Unrecorded::Unknown(error) => {
                        (error, SegmentState { end: FILE_HEADER_LEN as u64, closed: false, ..group.state.clone() })
                    }
                };
                self.unrecorded.insert(group.id, state);
                error
            })
        });
        self.objects.ended(group.id);
        match settled {
            Ok(outcomes) => {
                self.unrecorded.clear();
                self.recorder.finish(group.work, outcomes);
                metrics::histogram!("vidicon_commit_seconds").record(group.begun.elapsed().as_secs_f64());
                metrics::counter!("vidicon_commits_total").increment(1);
            }
            Err(error) => self.fail_all(group.work, &error),
        }
    }

    /// Waits until the bucket has the group, or the spool.
    fn kept(&self, group: &mut Group) -> Result<(), Error> {
        if let Some(why) = self.objects.broken() {
            return Err(Error::new(Kind::Conflict, why));
        }
        loop {
            let stopping = self.objects.is_stopping();
            let mut ended = stopping && group.begun.elapsed() > LAST;
            if let Some(put) = &mut group.put {
                let waited = self.objects.handle().block_on(async { tokio::time::timeout(LOOK, put).await });
                match waited {
                    Ok(Ok(Ok(()))) => return Ok(()),
                    Ok(Ok(Err(PutError::Foreign(name)))) => {
                        let why = format!(
                            "{name} is there already and is not this server's: another one writes under this prefix. Nothing is recorded any more"
                        );
                        tracing::error!("{why}");
                        self.objects.set_broken(why.clone());
                        return Err(Error::new(Kind::Conflict, why));
                    }
                    Ok(Ok(Err(PutError::Stopping))) => {
                        group.put = None;
                        ended = true;
                    }
                    // Its task is gone: another one tries.
                    Ok(Err(_)) => group.put = None,
                    Err(_) => {}
                }
            }
            let late = group.begun.elapsed() >= self.spool_after || group.put.is_none() || stopping;
            if late && self.objects.spool.has_room(group.bytes) {
                match self.objects.spool.write(group.id, &group.parts) {
                    Ok(()) => {
                        // Whether it got there or not: what uploads the spool finds out.
                        if let Some(put) = group.put.take() {
                            put.abort();
                        }
                        return Ok(());
                    }
                    Err(error) => tracing::warn!(segment = group.id, %error, "a group could not be spooled"),
                }
            }
            if ended {
                return Err(Error::new(Kind::Unavailable, "the store stops, and the bucket does not take the group"));
            }
            if group.put.is_none() {
                group.put = Some(group.put(&self.objects));
            }
        }
    }

    fn fail_all(&self, group: Vec<Work>, error: &Error) {
        for work in group {
            match work {
                Work::Fragment(sealed) => sealed.fail(error),
                // Whoever waits sees that it is dropped.
                Work::Deleted(..) => {}
                Work::DeletedRange(deletion) => {
                    let _ = deletion.done.send(Err(error.echo()));
                }
            }
        }
    }
}

/// Uploads what the spool holds, oldest first, as often as the bucket takes it, and keeps the gauges. Ends when told to.
pub(crate) async fn upload(objects: Arc<Objects>, puts: usize, stop: CancellationToken) {
    let mut running = tokio::task::JoinSet::new();
    let mut taken = BTreeSet::new();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        for id in objects.spool.ids() {
            if running.len() < puts && taken.insert(id) {
                let objects = objects.clone();
                running.spawn(async move {
                    objects.unspool(id).await;
                    id
                });
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = objects.spool.added.notified() => {}
            Some(done) = running.join_next(), if !running.is_empty() => match done {
                Ok(id) => drop(taken.remove(&id)),
                Err(error) => {
                    tracing::error!(%error, "an upload panicked");
                    taken.clear();
                }
            },
            _ = tick.tick() => objects.gauges(),
        }
    }
}
