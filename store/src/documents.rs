//! Documents: JSON bodies by collection and name, with a version for optimistic locking.
//!
//! What belongs here: the table's public face and the names of its collections. What does not: what a body means; each
//! collection's type stands where it is used (`web`), so that a new kind of configuration needs no change of the schema.

use crate::catalog::{db, documents};
use crate::{Error, Kind, Notice, Store, Stream};
use media::StreamName;
use serde_json::Value;
use std::fmt;

/// What is configured of a stream beyond its name and retention; the name is the stream's id as decimal. Goes with its
/// stream; where there is no such stream, putting one is `NotFound`.
pub const STREAM: &str = "stream";
/// Signalling channels.
pub const CHANNEL: &str = "channel";
/// Access keys; the name is the access key id.
pub const KEY: &str = "key";
/// Roles.
pub const ROLE: &str = "role";
/// Policies.
pub const POLICY: &str = "policy";
/// Issuers of identity tokens.
pub const OIDC_PROVIDER: &str = "oidc-provider";
/// Role aliases: names under which devices with a certificate get credentials of a role.
pub const ROLE_ALIAS: &str = "role-alias";
/// Certificates of devices.
pub const THING_CERTIFICATE: &str = "thing-certificate";

/// Longest name, in bytes.
pub const MAX_NAME_BYTES: usize = 1024;
/// Longest body, in bytes of JSON.
pub const MAX_BODY_BYTES: usize = 256 << 10;

/// A document. `Debug` leaves its body out: it may hold secrets.
#[derive(Clone, PartialEq)]
pub struct Document {
    /// Its name, unique in its collection.
    pub name: String,
    /// Grows with every change and is never used again, not even after the document was removed and made anew.
    pub version: u64,
    /// What it says.
    pub body: Value,
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("name", &self.name).field("version", &self.version).finish_non_exhaustive()
    }
}

/// What a change expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No document of that name: else `AlreadyExists`.
    Absent,
    /// This version: else `Conflict`, or `NotFound` where there is none.
    Version(u64),
    /// Anything. A removal still needs a document: else `NotFound`.
    Any,
}

/// One change of a document. `Debug` leaves bodies out.
#[derive(Clone)]
pub enum Change {
    /// Add or replace.
    Put {
        /// One of this module's constants.
        collection: &'static str,
        /// The document's name.
        name: String,
        /// What must be there before.
        expect: Expect,
        /// The whole new body.
        body: Value,
    },
    /// Remove.
    Delete {
        /// One of this module's constants.
        collection: &'static str,
        /// The document's name.
        name: String,
        /// What must be there before.
        expect: Expect,
    },
}

impl Change {
    fn collection(&self) -> &'static str {
        match self {
            Change::Put { collection, .. } | Change::Delete { collection, .. } => collection,
        }
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, collection, name, expect) = match self {
            Change::Put { collection, name, expect, .. } => ("Put", collection, name, expect),
            Change::Delete { collection, name, expect } => ("Delete", collection, name, expect),
        };
        f.debug_tuple(what).field(collection).field(name).field(expect).finish()
    }
}

impl Store {
    /// One document, if it is there.
    pub async fn document(&self, collection: &'static str, name: &str) -> Result<Option<Document>, Error> {
        let name = name.to_owned();
        self.catalog().read(move |c| documents::get(c, collection, &name)).await
    }

    /// The documents of these names in one read, in the names' order; `None` where there is none.
    pub async fn documents_of(
        &self,
        collection: &'static str,
        names: Vec<String>,
    ) -> Result<Vec<Option<Document>>, Error> {
        self.catalog().read(move |c| names.iter().map(|n| documents::get(c, collection, n)).collect()).await
    }

    /// Documents of a collection whose names begin with `prefix` and come after the name `after`, in the order of the names'
    /// bytes, at most `limit`. A full page may have a next one: ask again with its last name as `after`.
    pub async fn documents(
        &self,
        collection: &'static str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Document>, Error> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.catalog().read(move |c| documents::list(c, collection, &prefix, after.as_deref(), limit)).await
    }

    /// Adds or replaces a document if what is there is what `expect` says; gives its new version. Durable when it returns.
    ///
    /// `AlreadyExists`, `Conflict`, `NotFound`: see [`Expect`]. `Invalid`: no name, or one over [`MAX_NAME_BYTES`].
    /// `LimitExceeded`: a body over [`MAX_BODY_BYTES`].
    pub async fn put_document(
        &self,
        collection: &'static str,
        name: &str,
        expect: Expect,
        body: Value,
    ) -> Result<u64, Error> {
        let versions =
            self.change_documents(vec![Change::Put { collection, name: name.to_owned(), expect, body }]).await?;
        versions.first().copied().ok_or_else(|| Error::new(Kind::Internal, "a change has no version"))
    }

    /// Removes a document. `NotFound` if it is not there, `Conflict` if it has another version than expected.
    pub async fn delete_document(&self, collection: &'static str, name: &str, expect: Expect) -> Result<(), Error> {
        self.change_documents(vec![Change::Delete { collection, name: name.to_owned(), expect }]).await.map(drop)
    }

    /// Makes several changes, all or none, in one transaction; each sees those before it. Gives the version that each got.
    /// The errors are those of [`Store::put_document`]; after one, nothing has changed. Listeners get one
    /// [`Notice::Documents`] for each collection that changed, after the commit.
    pub async fn change_documents(&self, changes: Vec<Change>) -> Result<Vec<u64>, Error> {
        let mut collections: Vec<&'static str> = changes.iter().map(Change::collection).collect();
        collections.sort_unstable();
        collections.dedup();
        let notices = self.inner.notices.clone();
        self.catalog()
            .write(move |c| {
                let tx = c.transaction().map_err(db)?;
                let versions = documents::change(&tx, &changes)?;
                tx.commit().map_err(db)?;
                // Here and not behind the `await`: a caller that was cancelled must not leave a cache with what was before.
                for collection in collections {
                    let _ = notices.send(Notice::Documents(collection));
                }
                Ok(versions)
            })
            .await
    }

    /// [`Store::create_stream`] with the stream's document in the same transaction: there is never one without the other.
    /// `LimitExceeded`: a body over [`MAX_BODY_BYTES`].
    pub async fn create_stream_with(
        &self,
        name: &StreamName,
        retention_hours: Option<u32>,
        body: Value,
    ) -> Result<Stream, Error> {
        self.create(name, retention_hours, Some(body)).await
    }
}
