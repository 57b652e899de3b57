//! Rows of cameras, rules and targets: a name and the record as JSON.

use super::db;
use crate::{Error, Kind};
use media::StreamName;
use rusqlite::{Connection, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Which of the three tables.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Table {
    Cameras,
    Rules,
    Targets,
}

impl Table {
    fn name(self) -> &'static str {
        match self {
            Table::Cameras => "cameras",
            Table::Rules => "rules",
            Table::Targets => "targets",
        }
    }
    fn one(self) -> &'static str {
        self.name().strip_suffix('s').expect("each name ends in s")
    }
}

/// All records of a table, by name.
pub(crate) fn all<T: DeserializeOwned>(c: &Connection, table: Table) -> Result<Vec<T>, Error> {
    let mut statement =
        c.prepare_cached(&format!("SELECT name, body FROM {} ORDER BY name", table.name())).map_err(db)?;
    let mut rows = statement.query([]).map_err(db)?;
    let mut all = Vec::new();
    while let Some(row) = rows.next().map_err(db)? {
        let (name, body): (String, String) = (row.get(0).map_err(db)?, row.get(1).map_err(db)?);
        // The source is left out of the message: it could quote a secret.
        let record = serde_json::from_str(&body).map_err(|_| {
            Error::new(Kind::Corrupt, format!("the catalog's record of {} {name} is damaged", table.one()))
        })?;
        all.push(record);
    }
    Ok(all)
}

/// Adds or replaces a record.
pub(crate) fn put<T: Serialize>(c: &Connection, table: Table, name: &StreamName, record: &T) -> Result<(), Error> {
    let body = serde_json::to_string(record)
        .map_err(|e| Error::new(Kind::Invalid, "the record has no JSON form").with_source(e))?;
    let sql = format!(
        "INSERT INTO {} (name, body) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET body = excluded.body",
        table.name()
    );
    c.execute(&sql, params![name.as_str(), body]).map_err(db)?;
    Ok(())
}

/// Whether there is a record of this name.
pub(crate) fn exists(c: &Connection, table: Table, name: &StreamName) -> Result<bool, Error> {
    let sql = format!("SELECT EXISTS (SELECT 1 FROM {} WHERE name = ?1)", table.name());
    c.query_row(&sql, [name.as_str()], |r| r.get(0)).map_err(db)
}

/// Removes a record.
pub(crate) fn delete(c: &Connection, table: Table, name: &StreamName) -> Result<(), Error> {
    match c.execute(&format!("DELETE FROM {} WHERE name = ?1", table.name()), [name.as_str()]).map_err(db)? {
        0 => Err(Error::new(Kind::NotFound, format!("there is no {} {name}", table.one()))),
        _ => Ok(()),
    }
}
