//! Appending groups of records to the newest segment, and one sync a group. How the bytes get into the file: [`super::append`].
//!
//! A sync that failed is never tried again on the same file: the kernel may have dropped the pages that it could not write and
//! would answer the second call with success. The file is given up at its last good end and the group, which is still in
//! memory, is written once more to a new segment.

use super::append::{self, Stage, Tail};
use super::reader::Place;
use super::record::{FILE_HEADER_LEN, FileHeader, Head, StreamBody, padding};
use crate::crypt::envelope;
use crate::crypt::key::StreamKey;
use crate::faults::{self, Faults};
use crate::{Error, Kind, Range};
use bytes::{Bytes, BytesMut};
use media::{Fragment, HeaderId, UnixMillis};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// One thing to append.
pub(crate) enum Item<'a> {
    /// A fragment, with what a segment must say of its stream before it.
    Fragment {
        stream: u64,
        body: &'a StreamBody,
        counter_limit: u64,
        fragment: &'a Fragment,
        /// How it is encrypted, if its meta says that it is.
        cipher: Option<&'a Cipher>,
    },
    /// The stream was deleted.
    Deleted { stream: u64 },
    /// Of the stream, what stands before it in the log and overlaps this range was deleted.
    DeletedRange { stream: u64, range: Range },
}

/// What a fragment is encrypted with: drawn once for it, so that its bytes are the same where its group is written again.
pub(crate) struct Cipher {
    pub(crate) key: Arc<StreamKey>,
    pub(crate) salt: [u8; envelope::SALT_LEN],
}

/// Memory that encrypted fragments of a group lie in. Used again for the next group, unless that one was large.
#[derive(Default)]
pub(crate) struct Encrypted(BytesMut);

/// Most bytes of such memory that are kept.
const KEPT: usize = 16 << 20;

impl Encrypted {
    /// Makes room for all of a group at once: only one piece of memory can be used again.
    fn reserve(&mut self, group: &[Item<'_>]) {
        if self.0.capacity() > KEPT {
            self.0 = BytesMut::new();
        }
        let encrypted = group.iter().filter_map(|item| match item {
            Item::Fragment { fragment, cipher: Some(_), .. } => Some(envelope::len(fragment.meta.bytes.into())),
            _ => None,
        });
        self.0.reserve(encrypted.sum::<u64>() as usize);
    }

    fn fragment(&mut self, cipher: &Cipher, head: &Head, fragment: &Fragment) -> Bytes {
        let parts = fragment.payload().map(|part| &part[..]);
        envelope::encrypt(&cipher.key, &head.place(), &cipher.salt, head.payload_crc, parts, &mut self.0);
        self.0.split().freeze()
    }
}

/// What the catalog has to know of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentState {
    pub(crate) created_at: UnixMillis,
    /// Just after the last record that counts.
    pub(crate) end: u64,
    /// No record will follow.
    pub(crate) closed: bool,
    /// It says that streams or ranges were deleted, which counts as long as older segments are there.
    pub(crate) deletions: bool,
}

struct Active {
    id: u64,
    tail: Tail,
    end: u64,
    created_at: UnixMillis,
    deletions: bool,
    described: Described,
}

/// Streams and headers that a segment already describes; of a stream, the retention that it says.
#[derive(Default)]
pub(crate) struct Described {
    streams: HashMap<u64, Option<u32>>,
    headers: HashSet<(u64, HeaderId)>,
}

/// The one appender of a store.
pub(crate) struct LogWriter {
    folder: PathBuf,
    store: Uuid,
    segment_bytes: u64,
    next_id: u64,
    active: Option<Active>,
    /// Segment states that no catalog transaction holds yet.
    unrecorded: BTreeMap<u64, SegmentState>,
    stage: Stage,
    encrypted: Encrypted,
    /// The disk did not take what was written ahead: the active segment is to be given up before anything else goes there.
    spoiled: bool,
    faults: Arc<Faults>,
}

/// A group that lies behind the end of the active segment, complete, and does not count yet.
pub(crate) struct Ahead(Plan);

impl LogWriter {
    /// Appends to new segments from `next_id` on, or to `resume`.
    pub(crate) fn new(
        folder: &Path,
        store: Uuid,
        segment_bytes: u64,
        next_id: u64,
        resume: Option<(u64, SegmentState)>,
        faults: Arc<Faults>,
    ) -> Result<LogWriter, Error> {
        let active = match resume {
            Some((id, SegmentState { created_at, end, deletions, .. })) => {
                let path = super::path(folder, id);
                let file = OpenOptions::new().write(true).open(&path).map_err(|e| {
                    Error::new(Kind::Unavailable, format!("segment {} cannot be opened", path.display())).with_source(e)
                })?;
                let tail = Tail::new(file, &path);
                Some(Active { id, tail, end, created_at, deletions, described: Described::default() })
            }
            None => None,
        };
        let folder = folder.to_owned();
        let (unrecorded, stage, encrypted) = (BTreeMap::new(), Stage::default(), Encrypted::default());
        Ok(LogWriter {
            folder,
            store,
            segment_bytes,
            next_id,
            active,
            unrecorded,
            stage,
            encrypted,
            spoiled: false,
            faults,
        })
    }

    /// Appends a group and syncs it. Gives the place of each item (of `Deleted` too). After an error nothing of the group counts.
    pub(crate) fn append(&mut self, group: &[Item<'_>], now: UnixMillis) -> Result<Vec<Place>, Error> {
        if self.spoiled || self.active.as_ref().is_some_and(|a| a.end >= self.segment_bytes) {
            self.retire();
        }
        let done = self.try_append(group, now);
        self.or_elsewhere(done, group, now)
    }

    /// Writes a group behind what a group before it still has to be recorded of, without a sync: nothing of it counts before
    /// [`Self::complete`]. `None` where it cannot be: it is to be appended.
    pub(crate) fn write_ahead(&mut self, group: &[Item<'_>]) -> Option<Ahead> {
        self.active.as_ref().filter(|active| active.end < self.segment_bytes)?;
        match self.write(group) {
            Ok(plan) => Some(Ahead(plan)),
            Err(failure) => {
                // What was not taken by the disk is not tried again on that file.
                self.spoiled |= matches!(failure, Failure::Sync(_));
                None
            }
        }
    }

    /// Syncs a group that was written ahead, as [`Self::append`] does.
    pub(crate) fn complete(
        &mut self,
        Ahead(plan): Ahead,
        group: &[Item<'_>],
        now: UnixMillis,
    ) -> Result<Vec<Place>, Error> {
        let done = self.sync(plan, group);
        self.or_elsewhere(done, group, now)
    }

    /// What was done, or where that was not synced, the same in a new segment.
    fn or_elsewhere(
        &mut self,
        done: Result<Vec<Place>, Failure>,
        group: &[Item<'_>],
        now: UnixMillis,
    ) -> Result<Vec<Place>, Error> {
        match done {
            Err(Failure::Sync(first)) => {
                tracing::error!(error = %first, "a segment could not be synced; it is given up and the group goes to a new one");
                self.retire();
                self.try_append(group, now).map_err(|failure| {
                    if let Failure::Sync(_) = failure {
                        self.retire();
                    }
                    failure.into_error()
                })
            }
            other => other.map_err(Failure::into_error),
        }
    }

    /// The states of segments that changed since [`Self::take_unrecorded`].
    pub(crate) fn unrecorded(&self) -> &BTreeMap<u64, SegmentState> {
        &self.unrecorded
    }

    /// The same, for a transaction that is to hold them.
    pub(crate) fn take_unrecorded(&mut self) -> BTreeMap<u64, SegmentState> {
        std::mem::take(&mut self.unrecorded)
    }

    /// A transaction did not take these.
    pub(crate) fn put_back(&mut self, states: BTreeMap<u64, SegmentState>) {
        for (id, state) in states {
            self.unrecorded.entry(id).or_insert(state);
        }
    }

    /// Takes the last group back, and what was written ahead behind it: the catalog refused it for certain. `to` is the end before
    /// it, of the active segment.
    pub(crate) fn take_back(&mut self, to: u64) {
        let Some(active) = &mut self.active else { return };
        if active.end <= to || to < FILE_HEADER_LEN as u64 {
            return;
        }
        active.end = to;
        // What the cut group described is described again.
        active.described = Described::default();
        self.unrecorded.insert(active.id, active.state(false));
        self.cut();
    }

    /// The id and end of the segment being written.
    pub(crate) fn position(&self) -> Option<(u64, u64)> {
        self.active.as_ref().map(|a| (a.id, a.end))
    }

    /// Gives the active segment up: no record will follow its last good one.
    pub(crate) fn retire(&mut self) {
        self.spoiled = false;
        if let Some(active) = self.active.take() {
            self.unrecorded.insert(active.id, active.state(true));
            faults::step("segment.retire");
            // Best effort: bytes behind the end are ignored by readers and by recovery of a closed segment.
            if let Err(error) = active.tail.file().set_len(active.end) {
                tracing::warn!(segment = active.id, %error, "the end of a segment that is given up could not be cut");
            }
        }
    }

    /// Gives the active segment up with its last group: whether the catalog took that, behind `end`, is not known. The catalog is told
    /// `end` and that the segment is still open, so that the next start looks at what lies behind and adopts it. What was written
    /// ahead goes.
    pub(crate) fn retire_unknown(&mut self, end: u64) {
        self.spoiled = false;
        if let Some(active) = self.active.take() {
            if let Err(error) = active.tail.file().set_len(active.end) {
                tracing::warn!(segment = active.id, %error, "what was written ahead in a segment that is given up could not be cut");
            }
            self.unrecorded.insert(active.id, SegmentState { end, ..active.state(false) });
            tracing::warn!(segment = active.id, "the end of the segment is left to the next start to be mended");
        }
    }

    fn try_append(&mut self, group: &[Item<'_>], now: UnixMillis) -> Result<Vec<Place>, Failure> {
        if self.active.is_none() {
            self.create(now).map_err(Failure::Write)?;
        }
        let plan = self.write(group)?;
        self.sync(plan, group)
    }

    /// Writes a group behind the end of the active segment, which there must be.
    fn write(&mut self, group: &[Item<'_>]) -> Result<Plan, Failure> {
        let active = self.active.as_mut().expect("the caller made it");
        let plan = Plan::new(active.id, active.end, &active.described, group, &mut self.encrypted);
        let wrote = match self.faults.check("segment.write") {
            Ok(()) => active.tail.append(&plan.parts, active.end, &mut self.stage, &self.faults),
            Err(error) => Err(append::Failure::Write(error)),
        };
        match wrote {
            Ok(()) => Ok(plan),
            Err(append::Failure::Write(error)) => {
                // A torn tail: back to the last good end, so that the next group starts on a record boundary.
                self.cut();
                Err(Failure::Write(error))
            }
            // It would have shown with the sync.
            Err(append::Failure::Disk(error)) => Err(Failure::Sync(error)),
        }
    }

    /// Syncs a group that was just written. It counts from then on.
    fn sync(&mut self, plan: Plan, group: &[Item<'_>]) -> Result<Vec<Place>, Failure> {
        let active = self.active.as_mut().expect("it was just written to");
        self.faults.check("segment.sync").and_then(|()| active.tail.file().sync_data()).map_err(Failure::Sync)?;
        // What nobody can open again is not kept, however well it was synced.
        let named = active.tail.file().metadata().map_err(Failure::Sync)?.nlink() > 0;
        if !named {
            return Err(Failure::Sync(io::Error::new(io::ErrorKind::NotFound, "its file was removed")));
        }
        active.end = plan.end;
        active.deletions |= group.iter().any(|item| !matches!(item, Item::Fragment { .. }));
        active.described.streams.extend(plan.described.streams);
        active.described.headers.extend(plan.described.headers);
        self.unrecorded.insert(active.id, active.state(false));
        Ok(plan.places)
    }

    /// Cuts the file back to the last good end; a file that cannot be cut is given up.
    fn cut(&mut self) {
        let Some(active) = &mut self.active else { return };
        if let Err(error) = active.tail.file().set_len(active.end) {
            tracing::error!(segment = active.id, %error, "a torn end could not be cut off; the segment is given up");
            self.retire();
        }
    }

    fn create(&mut self, now: UnixMillis) -> io::Result<()> {
        loop {
            let id = self.next_id;
            let path = super::path(&self.folder, id);
            self.faults.check("segment.create")?;
            let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            let mut file = match made {
                Ok(file) => file,
                // A file that the catalog does not know is never touched.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    self.next_id += 1;
                    continue;
                }
                Err(e) => return Err(e),
            };
            faults::step("segment.created");
            let header = FileHeader::new(self.store, id, now);
            let made = file
                .write_all(&header.encode())
                .inspect(|()| faults::step("segment.header"))
                .and_then(|()| file.sync_all())
                .inspect(|()| faults::step("segment.named"))
                .and_then(|()| File::open(&self.folder)?.sync_all());
            if let Err(error) = made {
                // Nothing refers to it yet, and its name must be free for the next try.
                let _ = std::fs::remove_file(&path);
                return Err(error);
            }
            self.next_id += 1;
            let end = FILE_HEADER_LEN as u64;
            let active = Active {
                id,
                tail: Tail::new(file, &path),
                end,
                created_at: now,
                deletions: false,
                described: Described::default(),
            };
            self.unrecorded.insert(id, active.state(false));
            self.active = Some(active);
            tracing::debug!(segment = id, "segment begun");
            return Ok(());
        }
    }
}

impl Active {
    fn state(&self, closed: bool) -> SegmentState {
        SegmentState { created_at: self.created_at, end: self.end, closed, deletions: self.deletions }
    }
}

/// The bytes of a group as slices, and where each item comes to lie.
pub(crate) struct Plan {
    pub(crate) parts: Vec<Bytes>,
    pub(crate) places: Vec<Place>,
    pub(crate) end: u64,
    described: Described,
}

impl Plan {
    /// Of a group that goes to this segment behind `end`, where `described` is described before.
    pub(crate) fn new(
        segment: u64,
        end: u64,
        described: &Described,
        group: &[Item<'_>],
        encrypted: &mut Encrypted,
    ) -> Plan {
        encrypted.reserve(group);
        let mut plan =
            Plan { parts: Vec::new(), places: Vec::with_capacity(group.len()), end, described: Described::default() };
        for item in group {
            if let Item::Fragment { stream, body, counter_limit, fragment, cipher } = item {
                // Again where the retention changed: of several descriptions the last counts.
                let said = plan.described.streams.get(stream).or_else(|| described.streams.get(stream));
                if said != Some(&body.retention_hours) {
                    plan.described.streams.insert(*stream, body.retention_hours);
                    let payload = Bytes::from(body.encode());
                    plan.push(Head::stream(*stream, *counter_limit, &payload), [payload]);
                }
                let key = (*stream, fragment.meta.header);
                if !described.headers.contains(&key) && plan.described.headers.insert(key) {
                    let (id, bytes) = (fragment.meta.header, &fragment.header.bytes);
                    let payload = match cipher {
                        Some(cipher) => cipher.key.encrypt_header(*stream, id, bytes),
                        None => bytes.clone(),
                    };
                    plan.push(Head::header(*stream, fragment.meta.header, &payload), [payload]);
                }
            }
            plan.places.push(Place { segment, offset: plan.end });
            match item {
                Item::Fragment { stream, fragment, cipher, .. } => {
                    let head = Head::fragment(*stream, &fragment.meta);
                    match cipher {
                        Some(cipher) => plan.push(head, [encrypted.fragment(cipher, &head, fragment)]),
                        None => plan.push(head, fragment.payload().cloned()),
                    }
                }
                Item::Deleted { stream } => plan.push(Head::deleted(*stream), []),
                Item::DeletedRange { stream, range } => plan.push(Head::deleted_range(*stream, *range), []),
            }
        }
        plan
    }

    fn push(&mut self, head: Head, payload: impl IntoIterator<Item = Bytes>) {
        self.parts.push(Bytes::copy_from_slice(&head.encode()));
        let before = self.parts.len();
        self.parts.extend(payload);
        debug_assert_eq!(self.parts[before..].iter().map(Bytes::len).sum::<usize>() as u64, head.stored_len());
        self.parts.push(padding(head.stored_len()));
        self.end += head.record_len();
    }
}

enum Failure {
    Write(io::Error),
    Sync(io::Error),
}

impl Failure {
    fn into_error(self) -> Error {
        let (Failure::Write(error) | Failure::Sync(error)) = self;
        Error::of_disk(error)
    }
}
