//! Rows of alerts, their snapshots and the outbox of deliveries.

use super::db;
use crate::notifications::{Destination, Subject};
use crate::records::{Alert, Delivery, DeliveryState};
use crate::{Error, Kind, Range};
use media::{StreamName, UnixMillis};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Rows deleted in one transaction.
const BATCH: i64 = 200;

/// Stores an alert, its snapshot and one pending delivery per target, in one transaction.
pub(crate) fn raise(
    c: &mut Connection,
    stream: u64,
    alert: &Alert,
    jpeg: &[u8],
    targets: &[StreamName],
) -> Result<(), Error> {
    let body = serde_json::to_string(alert)
        .map_err(|e| Error::new(Kind::Invalid, "the alert has no JSON form").with_source(e))?;
    let tx = c.transaction().map_err(db)?;
    let added = tx
        .execute(
            "INSERT INTO alerts (id, stream, time, body) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO NOTHING",
            params![alert.id, stream, alert.detection.time.0, body],
        )
        .map_err(db)?;
    if added == 0 {
        return Err(Error::new(Kind::AlreadyExists, format!("alert {} was raised already", alert.id)));
    }
    tx.execute("INSERT INTO snapshots (alert, jpeg) VALUES (?1, ?2)", params![alert.id, jpeg]).map_err(db)?;
    for target in targets {
        tx.execute(
            "INSERT INTO deliveries (alert, target, state, attempts, created_at, next_at) VALUES (?1, ?2, 'pending', 0, ?3, ?3)",
            params![alert.id, target.as_str(), alert.raised_at.0],
        )
        .map_err(db)?;
    }
    tx.commit().map_err(db)
}

fn parse(bodies: Vec<String>) -> Result<Vec<Alert>, Error> {
    let parse = |b: String| {
        serde_json::from_str(&b)
            .map_err(|e| Error::new(Kind::Corrupt, "an alert in the catalog is damaged").with_source(e))
    };
    bodies.into_iter().map(parse).collect()
}

fn bodies(c: &Connection, sql: &str, params: impl rusqlite::Params) -> Result<Vec<Alert>, Error> {
    let mut statement = c.prepare_cached(sql).map_err(db)?;
    let rows = statement.query_map(params, |r| r.get(0)).map_err(db)?;
    parse(rows.collect::<Result<_, _>>().map_err(db)?)
}

/// Alerts, newest first, older than the alert `before`.
pub(crate) fn list(
    c: &Connection,
    stream: Option<u64>,
    before: Option<&str>,
    limit: usize,
) -> Result<Vec<Alert>, Error> {
    // Ids are UUIDv7 in lower case: their order is the order of raising. '~' sorts after all of them.
    let before = before.unwrap_or("~");
    match stream {
        Some(stream) => bodies(
            c,
            "SELECT body FROM alerts WHERE stream = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3",
            params![stream, before, limit as i64],
        ),
        None => {
            bodies(c, "SELECT body FROM alerts WHERE id < ?1 ORDER BY id DESC LIMIT ?2", params![before, limit as i64])
        }
    }
}

/// Alerts of a stream in a range of producer time, oldest first.
pub(crate) fn list_in(c: &Connection, stream: u64, range: Range, limit: usize) -> Result<Vec<Alert>, Error> {
    bodies(
        c,
        "SELECT body FROM alerts WHERE stream = ?1 AND time >= ?2 AND time < ?3 ORDER BY time, id LIMIT ?4",
        params![stream, range.from.0, range.to.0, limit as i64],
    )
}

/// One alert.
pub(crate) fn get(c: &Connection, id: &str) -> Result<Alert, Error> {
    bodies(c, "SELECT body FROM alerts WHERE id = ?1", [id])?
        .pop()
        .ok_or_else(|| Error::new(Kind::NotFound, format!("there is no alert {id:?}")))
}

/// An alert's snapshot as it is stored, and the stream that it is of.
pub(crate) fn snapshot(c: &Connection, id: &str) -> Result<(u64, Vec<u8>), Error> {
    let sql = "SELECT stream, jpeg FROM snapshots JOIN alerts ON alerts.id = alert WHERE alert = ?1";
    c.query_row(sql, [id], |r| Ok((r.get(0)?, r.get(1)?)))
        .optional()
        .map_err(db)?
        .ok_or_else(|| Error::new(Kind::NotFound, format!("there is no alert {id:?}")))
}

fn state_text(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Pending => "pending",
        DeliveryState::Delivered => "delivered",
        DeliveryState::Dead => "dead",
    }
}

const DELIVERY: &str =
    "SELECT id, alert, target, state, attempts, created_at, next_at, last_error, kind FROM deliveries";

fn read(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    let (of, to): (String, String) = (row.get("alert")?, row.get("target")?);
    let (state, kind): (String, String) = (row.get("state")?, row.get("kind")?);
    let to =
        Destination::of_text(to).map_err(|e| rusqlite::Error::FromSqlConversionFailure(2, Type::Text, Box::new(e)))?;
    let of = match kind.as_str() {
        "alert" => Subject::Alert(of),
        "notification" => Subject::Notification(of),
        _ => return Err(rusqlite::Error::InvalidColumnType(8, "kind".to_owned(), Type::Text)),
    };
    let state = match state.as_str() {
        "pending" => DeliveryState::Pending,
        "delivered" => DeliveryState::Delivered,
        "dead" => DeliveryState::Dead,
        _ => return Err(rusqlite::Error::InvalidColumnType(3, "state".to_owned(), Type::Text)),
    };
    Ok(Delivery {
        id: row.get("id")?,
        of,
        to,
        state,
        attempts: row.get("attempts")?,
        created_at: UnixMillis(row.get("created_at")?),
        next_at: UnixMillis(row.get("next_at")?),
        last_error: row.get("last_error")?,
    })
}

fn some(c: &Connection, condition: &str, params: impl rusqlite::Params) -> Result<Vec<Delivery>, Error> {
    let mut statement = c.prepare_cached(&format!("{DELIVERY} {condition}")).map_err(db)?;
    statement.query_map(params, read).map_err(db)?.collect::<Result<_, _>>().map_err(db)
}

/// Pending deliveries that are due, oldest first.
pub(crate) fn due(c: &Connection, now: UnixMillis, limit: usize) -> Result<Vec<Delivery>, Error> {
    some(c, "WHERE state = 'pending' AND next_at <= ?1 ORDER BY next_at, id LIMIT ?2", params![now.0, limit as i64])
}

/// Deliveries, newest first, of one alert or all.
pub(crate) fn deliveries(c: &Connection, alert: Option<&str>, limit: usize) -> Result<Vec<Delivery>, Error> {
    match alert {
        Some(alert) => some(c, "WHERE alert = ?1 ORDER BY id DESC LIMIT ?2", params![alert, limit as i64]),
        None => some(c, "ORDER BY id DESC LIMIT ?1", [limit as i64]),
    }
}

/// When the next pending delivery is due.
pub(crate) fn next_at(c: &Connection) -> Result<Option<UnixMillis>, Error> {
    let at: Option<i64> =
        c.query_row("SELECT min(next_at) FROM deliveries WHERE state = 'pending'", [], |r| r.get(0)).map_err(db)?;
    Ok(at.map(UnixMillis))
}

/// When the oldest pending delivery was put into the outbox.
pub(crate) fn oldest_pending(c: &Connection) -> Result<Option<UnixMillis>, Error> {
    let at: Option<i64> =
        c.query_row("SELECT min(created_at) FROM deliveries WHERE state = 'pending'", [], |r| r.get(0)).map_err(db)?;
    Ok(at.map(UnixMillis))
}

/// Writes back what an attempt changed.
pub(crate) fn update(c: &Connection, d: &Delivery) -> Result<(), Error> {
    let changed = c
        .execute(
            "UPDATE deliveries SET state = ?2, attempts = ?3, next_at = ?4, last_error = ?5 WHERE id = ?1",
            params![d.id, state_text(d.state), d.attempts, d.next_at.0, d.last_error],
        )
        .map_err(db)?;
    match changed {
        0 => Err(Error::new(Kind::NotFound, format!("there is no delivery {}", d.id))),
        _ => Ok(()),
    }
}

/// Makes a dead delivery pending again.
pub(crate) fn redrive(c: &Connection, id: u64, now: UnixMillis) -> Result<(), Error> {
    let sql = "UPDATE deliveries SET state = 'pending', attempts = 0, next_at = ?2 WHERE id = ?1 AND state = 'dead'";
    if c.execute(sql, params![id, now.0]).map_err(db)? == 1 {
        return Ok(());
    }
    let there: bool =
        c.query_row("SELECT EXISTS (SELECT 1 FROM deliveries WHERE id = ?1)", [id], |r| r.get(0)).map_err(db)?;
    Err(match there {
        true => Error::new(Kind::Conflict, format!("delivery {id} was not given up, so it cannot be driven again")),
        false => Error::new(Kind::NotFound, format!("there is no delivery {id}")),
    })
}

/// Gives up the pending deliveries to a target.
pub(crate) fn give_up(c: &Connection, target: &StreamName) -> Result<(), Error> {
    c.execute(
        "UPDATE deliveries SET state = 'dead', last_error = 'the target was removed' WHERE target = ?1 AND state = 'pending'",
        [target.as_str()],
    )
    .map_err(db)?;
    Ok(())
}

/// Deletes up to a batch of alerts of a stream before `cutoff`, with their snapshots and deliveries. Those with a pending
/// delivery stay. Gives whether more may be due.
pub(crate) fn delete_in(c: &mut Connection, stream: u64, range: Range) -> Result<bool, Error> {
    let tx = c.transaction().map_err(db)?;
    let ids: Vec<String> = {
        let mut statement = tx
            .prepare_cached(
                "SELECT id FROM alerts WHERE stream = ?1 AND time >= ?2 AND time < ?3
                 AND NOT EXISTS (SELECT 1 FROM deliveries WHERE alert = alerts.id AND state = 'pending') ORDER BY time LIMIT ?4",
            )
            .map_err(db)?;
        let rows = statement.query_map(params![stream, range.from.0, range.to.0, BATCH], |r| r.get(0)).map_err(db)?;
        rows.collect::<Result<_, _>>().map_err(db)?
    };
    for id in &ids {
        remove(&tx, id)?;
    }
    tx.commit().map_err(db)?;
    Ok(ids.len() as i64 == BATCH)
}

/// Deletes all alerts of a stream.
pub(crate) fn delete_of(c: &Connection, stream: u64) -> Result<(), Error> {
    let mut statement = c.prepare_cached("SELECT id FROM alerts WHERE stream = ?1").map_err(db)?;
    let ids: Vec<String> =
        statement.query_map([stream], |r| r.get(0)).map_err(db)?.collect::<Result<_, _>>().map_err(db)?;
    ids.iter().try_for_each(|id| remove(c, id))
}

fn remove(c: &Connection, id: &str) -> Result<(), Error> {
    for sql in [
        "DELETE FROM deliveries WHERE alert = ?1",
        "DELETE FROM snapshots WHERE alert = ?1",
        "DELETE FROM alerts WHERE id = ?1",
    ] {
        c.prepare_cached(sql).map_err(db)?.execute([id]).map_err(db)?;
    }
    Ok(())
}
