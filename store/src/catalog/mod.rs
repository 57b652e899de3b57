//! The catalog: one SQLite file with a row for each fragment, and the plain records.
//!
//! What belongs here: the threads that own the connections, and SQL, one file per family of tables. What does not: media
//! bytes (segments hold them) and any decision (the callers' closures only read and write rows).

pub(crate) mod alerts;
pub(crate) mod configs;
pub(crate) mod detections;
pub(crate) mod documents;
pub(crate) mod expiry;
#[cfg(test)]
mod figures;
pub(crate) mod fragments;
#[cfg(test)]
mod growth;
pub(crate) mod holds;
pub(crate) mod leftovers;
pub(crate) mod listing;
pub(crate) mod notifications;
pub(crate) mod quarantine;
pub(crate) mod ranges;
pub(crate) mod rewrites;
pub(crate) mod schema;
pub(crate) mod segments;
pub(crate) mod streams;
#[cfg(test)]
mod testing;

use crate::{Error, Kind};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// Jobs that wait for a connection before callers wait too.
const QUEUE: usize = 256;
/// Threads with a connection for reading: two, so that one long listing does not hold up short look-ups.
const READERS: usize = 2;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

enum Message {
    Job(Job),
    Stop,
}

/// The catalog's threads. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Catalog {
    writer: mpsc::Sender<Message>,
    reader: mpsc::Sender<Message>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Catalog {
    /// Opens or makes the catalog of `store` and starts its threads. `keep` lives as long as they do (the folder's lock).
    pub(crate) fn open<K: Send + Sync + 'static>(path: &Path, store: Uuid, keep: &Arc<K>) -> Result<Catalog, Error> {
        let first = schema::open(path, store)?;
        let (writer, from_writer) = mpsc::channel(QUEUE);
        let (reader, from_reader) = mpsc::channel(QUEUE);
        let spawn = |name: &str, jobs: Arc<Mutex<mpsc::Receiver<Message>>>, connection: Connection| {
            let keep = keep.clone();
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || {
                    run(&jobs, connection);
                    drop(keep);
                })
                .map_err(|e| {
                    Error::new(Kind::Unavailable, "a thread of the catalog could not be started").with_source(e)
                })
        };
        let mut threads = vec![spawn("catalog-write", Arc::new(Mutex::new(from_writer)), first)?];
        let from_reader = Arc::new(Mutex::new(from_reader));
        for _ in 0..READERS {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(path, flags).map_err(db)?;
            schema::tune(&connection).map_err(db)?;
            threads.push(spawn("catalog-read", from_reader.clone(), connection)?);
        }
        Ok(Catalog { writer, reader, threads: Arc::new(Mutex::new(threads)) })
    }

    /// Runs a closure on the writing connection.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (job, answer) = job(work);
        self.writer.send(job).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// The same for a thread that may block.
    pub(crate) fn write_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (job, answer) = job(work);
        self.writer.blocking_send(job).map_err(|_| stopped())?;
        answer.blocking_recv().map_err(|_| stopped())?
    }

    /// Hands a closure over without waiting for it; `false` when the queue is full or the store stopped.
    pub(crate) fn write_detached(&self, work: impl FnOnce(&mut Connection) + Send + 'static) -> bool {
        self.writer.try_send(Message::Job(Box::new(work))).is_ok()
    }

    /// Runs a closure on a reading connection.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (job, answer) = job(work);
        self.reader.send(job).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// Lets the queued jobs end and joins the threads. Blocks.
    pub(crate) fn stop(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(|e| e.into_inner()));
        for _ in 0..READERS {
            let _ = self.reader.blocking_send(Message::Stop);
        }
        // The writer, which stands first, ends last: the last connection to close moves the journal into the file, and one that
        // only reads cannot.
        for (i, thread) in threads.into_iter().enumerate().rev() {
            if i == 0 {
                let _ = self.writer.blocking_send(Message::Stop);
            }
            if thread.join().is_err() {
                tracing::error!("a thread of the catalog had panicked");
            }
        }
    }
}

fn job<T: Send + 'static>(
    work: impl FnOnce(&mut Connection) -> Result<T, Error> + Send + 'static,
) -> (Message, oneshot::Receiver<Result<T, Error>>) {
    let (done, answer) = oneshot::channel();
    let job = Box::new(move |connection: &mut Connection| {
        // Nobody listens when the caller was cancelled; the work still counts.
        let _ = done.send(work(connection));
    });
    (Message::Job(job), answer)
}

fn run(jobs: &Mutex<mpsc::Receiver<Message>>, mut connection: Connection) {
    loop {
        let message = jobs.lock().unwrap_or_else(|e| e.into_inner()).blocking_recv();
        match message {
            Some(Message::Job(job)) => {
                // A defect in one query must not take the catalog down with it: the caller sees its answer dropped.
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job(&mut connection))).is_err() {
                    tracing::error!("a query of the catalog panicked");
                }
            }
            Some(Message::Stop) | None => return,
        }
    }
}

fn stopped() -> Error {
    Error::new(Kind::Unavailable, "the store is stopped")
}

/// SQLite's error as this crate's.
pub(crate) fn db(error: rusqlite::Error) -> Error {
    let (kind, message) = match &error {
        rusqlite::Error::QueryReturnedNoRows => (Kind::NotFound, "the catalog has no such row"),
        rusqlite::Error::SqliteFailure(e, _) => match e.code {
            _ if e.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE => {
                (Kind::LimitExceeded, "the disk is full: the catalog cannot be opened")
            }
            ErrorCode::DiskFull => (Kind::LimitExceeded, "the disk is full: the catalog cannot grow"),
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => (Kind::Corrupt, "the catalog is damaged"),
            ErrorCode::ConstraintViolation => (Kind::AlreadyExists, "the catalog holds such a row already"),
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::CannotOpen
            | ErrorCode::SystemIoFailure
            | ErrorCode::ReadOnly => (Kind::Unavailable, "the catalog cannot be used now"),
            _ => (Kind::Internal, "the catalog failed"),
        },
        _ => (Kind::Internal, "the catalog failed"),
    };
    Error::new(kind, message).with_source(error)
}
