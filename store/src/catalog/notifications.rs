//! Rows of notifications; their deliveries stand in the outbox with those of alerts.

use super::db;
use crate::notifications::{Notification, Notify};
use crate::{Error, Kind};
use media::{FragmentMeta, UnixMillis};
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

/// Rows deleted in one transaction.
const BATCH: i64 = 500;

/// Puts the notification of a fragment and its delivery into the outbox, within the transaction that makes the fragment durable. A
/// fragment has one: where it is there already, nothing is done.
pub(crate) fn raise(
    c: &Connection,
    stream: u64,
    meta: &FragmentMeta,
    notify: &Notify,
    now: UnixMillis,
) -> Result<(), Error> {
    let notification = Notification {
        id: Uuid::now_v7().to_string(),
        fragment: meta.number,
        producer_start: meta.producer_start,
        server_start: meta.server_start,
        raised_at: now,
        notify: notify.clone(),
    };
    let body = serde_json::to_string(&notification)
        .map_err(|e| Error::new(Kind::Internal, "a notification has no JSON form").with_source(e))?;
    let added = c
        .prepare_cached(
            "INSERT INTO notifications (id, stream, counter, time, body) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (stream, counter) DO NOTHING",
        )
        .map_err(db)?
        .execute(params![notification.id, stream, meta.number.counter(), now.0, body])
        .map_err(db)?;
    if added == 1 {
        c.prepare_cached(
            "INSERT INTO deliveries (kind, alert, target, state, attempts, created_at, next_at)
             VALUES ('notification', ?1, ?2, 'pending', 0, ?3, ?3)",
        )
        .map_err(db)?
        .execute(params![notification.id, notify.to.text(), now.0])
        .map_err(db)?;
    }
    Ok(())
}

/// One notification.
pub(crate) fn get(c: &Connection, id: &str) -> Result<Notification, Error> {
    let body: Option<String> = c
        .prepare_cached("SELECT body FROM notifications WHERE id = ?1")
        .map_err(db)?
        .query_row([id], |r| r.get(0))
        .optional()
        .map_err(db)?;
    let body = body.ok_or_else(|| Error::new(Kind::NotFound, format!("there is no notification {id:?}")))?;
    serde_json::from_str(&body)
        .map_err(|e| Error::new(Kind::Corrupt, "a notification in the catalog is damaged").with_source(e))
}

/// Deletes up to a batch of a stream's that were raised before `cutoff`, with their deliveries. Those with a pending delivery stay.
/// Gives whether more may be due.
pub(crate) fn expire(c: &mut Connection, stream: u64, cutoff: UnixMillis) -> Result<bool, Error> {
    let tx = c.transaction().map_err(db)?;
    let ids = ids(
        &tx,
        &format!(
            "SELECT id FROM notifications WHERE stream = ?1 AND time < ?2
             AND NOT EXISTS (SELECT 1 FROM deliveries WHERE alert = notifications.id AND state = 'pending') LIMIT {BATCH}"
        ),
        params![stream, cutoff.0],
    )?;
    ids.iter().try_for_each(|id| remove(&tx, id))?;
    tx.commit().map_err(db)?;
    Ok(ids.len() as i64 == BATCH)
}

/// Deletes up to a batch of a stream's, pending or not. Gives whether there may be more.
pub(crate) fn delete_of(c: &Connection, stream: u64) -> Result<bool, Error> {
    let ids = ids(c, &format!("SELECT id FROM notifications WHERE stream = ?1 LIMIT {BATCH}"), params![stream])?;
    ids.iter().try_for_each(|id| remove(c, id))?;
    Ok(ids.len() as i64 == BATCH)
}

fn ids(c: &Connection, sql: &str, params: impl rusqlite::Params) -> Result<Vec<String>, Error> {
    let mut statement = c.prepare_cached(sql).map_err(db)?;
    statement.query_map(params, |r| r.get(0)).map_err(db)?.collect::<Result<_, _>>().map_err(db)
}

fn remove(c: &Connection, id: &str) -> Result<(), Error> {
    for sql in ["DELETE FROM deliveries WHERE alert = ?1", "DELETE FROM notifications WHERE id = ?1"] {
        c.prepare_cached(sql).map_err(db)?.execute([id]).map_err(db)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::catalog::fragments::{Group, NewRow, commit_and_notify};
    use crate::catalog::{alerts, expiry, streams, testing};
    use crate::notifications::{Destination, Subject};
    use crate::records::DeliveryState;
    use crate::segments::reader::Place;
    use media::FragmentNumber;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    fn catalog() -> (tempfile::TempDir, Connection, u64) {
        let (dir, c) = testing::catalog();
        let stream = streams::insert(&c, &"gate".parse().unwrap(), None, UnixMillis(0)).unwrap().info.id;
        (dir, c, stream)
    }

    fn row(stream: u64, counter: u64, random: u32) -> NewRow {
        let mut row = testing::row(stream, counter, 50, Place { segment: 1, offset: 64 * counter });
        row.meta.number = FragmentNumber::new(counter, 50, random);
        row.meta.producer_start = UnixMillis(40 + counter as i64);
        row
    }

    fn notify(uri: &str) -> Notify {
        Notify {
            uri: uri.to_owned(),
            to: Destination::of_uri(uri).unwrap(),
            stream_arn: "arn".to_owned(),
            payload: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        }
    }

    fn put(c: &mut Connection, rows: Vec<NewRow>, of: &[(usize, &str)], now: i64) -> Vec<Result<(), Error>> {
        let notify = of.iter().map(|(i, uri)| (*i, Arc::new(notify(uri)))).collect();
        commit_and_notify(c, &Group { segments: BTreeMap::new(), rows, deleted: Vec::new() }, &notify, UnixMillis(now))
            .unwrap()
    }

    #[test]
    fn a_fragment_that_counts_is_told_of_once() {
        let (_dir, mut c, stream) = catalog();
        let rows = vec![row(stream, 1, 1), row(stream, 2, 1), row(99, 3, 1), row(stream, 2, 7)];
        let topic = "arn:aws:sns:r:1:doors";
        let outcomes = put(&mut c, rows, &[(1, "http://a/b"), (2, topic), (3, topic)], 70);
        assert!(outcomes[0].is_ok() && outcomes[1].is_ok() && outcomes[2].is_err() && outcomes[3].is_err());
        let due = alerts::due(&c, UnixMillis(70), 9).unwrap();
        assert_eq!(due.len(), 1, "none for a stream that is gone, none for a number that clashes: {due:?}");
        let (of, to) = (&due[0].of, &due[0].to);
        assert_eq!(*to, Destination::Url("http://a/b".to_owned()));
        let Subject::Notification(id) = of else { panic!("{of:?}") };
        let found = get(&c, id).unwrap();
        assert_eq!((found.fragment, found.raised_at), (row(stream, 2, 1).meta.number, UnixMillis(70)));
        assert_eq!(found.notify, notify("http://a/b"));
        // The same fragment again, as after a commit of which it is not known whether it was done.
        put(&mut c, vec![row(stream, 2, 1)], &[(0, "http://a/b")], 80);
        assert_eq!(alerts::due(&c, UnixMillis(99), 9).unwrap(), due);
        put(&mut c, vec![row(stream, 4, 1)], &[(0, topic)], 80);
        let due = alerts::due(&c, UnixMillis(99), 9).unwrap();
        assert_eq!(due[1].to, Destination::Target("doors".parse().unwrap()));
        alerts::give_up(&c, &"doors".parse().unwrap()).unwrap();
        assert_eq!(alerts::due(&c, UnixMillis(99), 9).unwrap().len(), 1);
        assert_eq!(get(&c, "none").unwrap_err().kind(), Kind::NotFound);
    }

    #[test]
    fn old_ones_go_when_nothing_is_pending_and_all_go_with_their_stream() {
        let (_dir, mut c, stream) = catalog();
        for counter in 1..=3 {
            put(&mut c, vec![row(stream, counter, 1)], &[(0, "http://a/")], counter as i64 * 100);
        }
        let mut due = alerts::due(&c, UnixMillis(999), 9).unwrap();
        due[0].state = DeliveryState::Delivered;
        due[2].state = DeliveryState::Delivered;
        due.iter().for_each(|d| alerts::update(&c, d).unwrap());
        let count = |c: &Connection, table: &str| {
            c.query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get::<_, i64>(0)).unwrap()
        };
        assert!(!expire(&mut c, stream, UnixMillis(300)).unwrap());
        assert_eq!(
            (count(&c, "notifications"), count(&c, "deliveries")),
            (2, 2),
            "the second is pending, the third too new"
        );
        streams::delete(&mut c, stream).unwrap();
        while expiry::sweep_deleted(&mut c, &Default::default(), UnixMillis(0)).unwrap() {}
        assert_eq!((count(&c, "notifications"), count(&c, "deliveries")), (0, 0));
    }
}
