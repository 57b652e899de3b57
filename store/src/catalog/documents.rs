//! Rows of documents: JSON bodies by collection and name, each with a version.

use super::db;
use crate::documents::{Change, Document, Expect, MAX_BODY_BYTES, MAX_NAME_BYTES, STREAM};
use crate::{Error, Kind};
use rusqlite::{Connection, OptionalExtension, params};

/// One document.
pub(crate) fn get(c: &Connection, collection: &str, name: &str) -> Result<Option<Document>, Error> {
    let mut statement =
        c.prepare_cached("SELECT version, body FROM documents WHERE collection = ?1 AND name = ?2").map_err(db)?;
    let row: Option<(u64, String)> =
        statement.query_row([collection, name], |r| Ok((r.get(0)?, r.get(1)?))).optional().map_err(db)?;
    row.map(|(version, body)| parse(collection, name.to_owned(), version, &body)).transpose()
}

/// Documents of a collection whose names begin with `prefix` and come after `after`, by name in the order of bytes.
pub(crate) fn list(
    c: &Connection,
    collection: &str,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Document>, Error> {
    // A range of the primary key: what is before the prefix is skipped by the seek, what is behind it ends the walk.
    let mut statement = c
        .prepare_cached(
            "SELECT name, version, body FROM documents WHERE collection = ?1 AND name >= ?2 AND (?3 IS NULL OR name > ?3)
             ORDER BY name LIMIT ?4",
        )
        .map_err(db)?;
    // The larger of the two is where to seek to; SQLite takes only one of two lower bounds for that.
    let from = after.filter(|after| *after > prefix).unwrap_or(prefix);
    let mut rows = statement.query(params![collection, from, after, limit as i64]).map_err(db)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(db)? {
        let name: String = row.get(0).map_err(db)?;
        if !name.starts_with(prefix) {
            break;
        }
        let (version, body): (u64, String) = (row.get(1).map_err(db)?, row.get(2).map_err(db)?);
        found.push(parse(collection, name, version, &body)?);
    }
    Ok(found)
}

fn parse(collection: &str, name: String, version: u64, body: &str) -> Result<Document, Error> {
    // The source is left out of the message: it could quote a secret.
    let body = serde_json::from_str(body)
        .map_err(|_| Error::new(Kind::Corrupt, format!("the catalog's document {collection} {name} is damaged")))?;
    Ok(Document { name, version, body })
}

/// Makes changes within the caller's transaction; gives the version of each. Any error must end the transaction.
pub(crate) fn change(c: &Connection, changes: &[Change]) -> Result<Vec<u64>, Error> {
    changes.iter().map(|change| one(c, change)).collect()
}

fn one(c: &Connection, change: &Change) -> Result<u64, Error> {
    let (collection, name, expect) = match change {
        Change::Put { collection, name, expect, .. } | Change::Delete { collection, name, expect } => {
            (*collection, name.as_str(), *expect)
        }
    };
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        let message =
            format!("the name of a document of {collection} has {} bytes, not 1 to {MAX_NAME_BYTES}", name.len());
        return Err(Error::new(Kind::Invalid, message));
    }
    expected(c, collection, name, expect, matches!(change, Change::Delete { .. }))?;
    if collection == STREAM && matches!(change, Change::Put { .. }) {
        // One that was deleted meanwhile must not leave a document behind that nothing ever takes away.
        let id: Option<u64> = name.parse().ok();
        let mut statement = c.prepare_cached("SELECT EXISTS (SELECT 1 FROM streams WHERE id = ?1)").map_err(db)?;
        if !statement.query_row([id], |r| r.get::<_, bool>(0)).map_err(db)? {
            return Err(Error::new(Kind::NotFound, format!("there is no stream with the id {name}")));
        }
    }
    let version = next_version(c)?;
    match change {
        Change::Put { body, .. } => {
            let body = serde_json::to_string(body).map_err(|e| {
                Error::new(Kind::Invalid, format!("{collection} {name} has no JSON form")).with_source(e)
            })?;
            if body.len() > MAX_BODY_BYTES {
                let message = format!("{collection} {name} has {} bytes, more than {MAX_BODY_BYTES}", body.len());
                return Err(Error::new(Kind::LimitExceeded, message));
            }
            let mut statement = c
                .prepare_cached(
                    "INSERT INTO documents (collection, name, version, body) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (collection, name) DO UPDATE SET version = excluded.version, body = excluded.body",
                )
                .map_err(db)?;
            statement.execute(params![collection, name, version, body]).map_err(db)?;
        }
        Change::Delete { .. } => {
            remove(c, collection, name)?;
        }
    }
    Ok(version)
}

/// Holds what the caller expects against what is there.
fn expected(c: &Connection, collection: &str, name: &str, expect: Expect, must_exist: bool) -> Result<(), Error> {
    let mut statement =
        c.prepare_cached("SELECT version FROM documents WHERE collection = ?1 AND name = ?2").map_err(db)?;
    let there: Option<u64> = statement.query_row([collection, name], |r| r.get(0)).optional().map_err(db)?;
    match (expect, there) {
        (Expect::Absent, Some(_)) => {
            Err(Error::new(Kind::AlreadyExists, format!("there is a document {collection} {name} already")))
        }
        (Expect::Version(_), None) => Err(none(collection, name)),
        (Expect::Any, None) if must_exist => Err(none(collection, name)),
        (Expect::Version(expected), Some(version)) if expected != version => {
            let message =
                format!("document {collection} {name} has version {version}, not {expected}: it was changed meanwhile");
            Err(Error::new(Kind::Conflict, message))
        }
        _ => Ok(()),
    }
}

fn none(collection: &str, name: &str) -> Error {
    Error::new(Kind::NotFound, format!("there is no document {collection} {name}"))
}

/// One more than any version that was given before.
fn next_version(c: &Connection) -> Result<u64, Error> {
    let mut statement = c.prepare_cached("UPDATE document_versions SET last = last + 1 RETURNING last").map_err(db)?;
    statement.query_row([], |r| r.get(0)).map_err(db)
}

/// Removes a document if it is there, within the caller's transaction.
pub(crate) fn remove(c: &Connection, collection: &str, name: &str) -> Result<bool, Error> {
    let mut statement = c.prepare_cached("DELETE FROM documents WHERE collection = ?1 AND name = ?2").map_err(db)?;
    Ok(statement.execute([collection, name]).map_err(db)? == 1)
}
