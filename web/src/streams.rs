//! Streams: what is recorded, where, and its stored form. `GET /v1/streams`, timeline, fragments, detections.

use crate::{
    auth::Caller,
    body::immutable,
    error::Error,
    extract::{Asked, Body, Params, limit, range},
    listed::Listed,
};
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use media::{Cause, FragmentNumber, UnixMillis};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use store::quota::{AtQuota, StoreUsage, StreamUsage};
use store::{Position, Range, Span, StreamStats, TimeBy};

const DAY_MS: i64 = 24 * 3_600_000;
/// Spans of a timeline in one answer.
const MOST_SPANS: usize = 5000;

#[derive(Serialize)]
struct Shown {
    name: media::StreamName,
    retention_hours: Option<u32>,
    created_at: UnixMillis,
    #[serde(flatten)]
    usage: StreamUsage,
    #[serde(flatten)]
    stats: StreamStats,
}

/// All streams by name.
pub(crate) async fn list(caller: Caller) -> Result<Json<Value>, Error> {
    let streams = caller.server()?.store.streams();
    let mut streams: Vec<_> = streams
        .into_iter()
        .map(|stream| {
            let info = stream.info();
            Shown {
                name: info.name,
                retention_hours: info.retention_hours,
                created_at: info.created_at,
                usage: stream.usage(),
                stats: stream.stats(),
            }
        })
        .collect();
    streams.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Json(json!({"streams": streams})))
}

/// What the store keeps, and may keep.
pub(crate) async fn storage(caller: Caller) -> Result<Json<StoreUsage>, Error> {
    Ok(Json(caller.server()?.store.usage()))
}

/// What may be changed of a stream. What is absent stays; `null` takes what is configured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    #[serde(default, deserialize_with = "given")]
    retention_hours: Option<Option<u32>>,
    #[serde(default, deserialize_with = "given")]
    quota_bytes: Option<Option<u64>>,
    #[serde(default, deserialize_with = "given")]
    at_quota: Option<Option<AtQuota>>,
    guaranteed_bytes: Option<u64>,
}

fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// The most that the catalog can count.
const MOST_BYTES: u64 = i64::MAX as u64;

/// Changes how long and how much of a stream is kept.
pub(crate) async fn change(
    caller: Caller,
    Params(name): Params<String>,
    Body(change): Body<Change>,
) -> Result<Json<StreamUsage>, Error> {
    let granted = caller.stream(&name).await?;
    let (store, info) = (&granted.app()?.store, granted.info());
    let _one_at_a_time = caller.shared.edits.acquire().await.expect("the semaphore is never closed");
    let mut quota = granted.whole()?.quota();
    quota.quota_bytes = change.quota_bytes.unwrap_or(quota.quota_bytes);
    quota.at_quota = change.at_quota.unwrap_or(quota.at_quota);
    quota.guaranteed_bytes = change.guaranteed_bytes.unwrap_or(quota.guaranteed_bytes);
    for (field, bytes) in [("quota_bytes", quota.quota_bytes), ("guaranteed_bytes", Some(quota.guaranteed_bytes))] {
        if bytes.is_some_and(|bytes| bytes > MOST_BYTES) {
            return Err(Error::invalid(format!("{field}: at most {MOST_BYTES}")));
        }
    }
    if change.quota_bytes.is_some() || change.at_quota.is_some() || change.guaranteed_bytes.is_some() {
        store.set_quota(&info.name, quota).await?;
    }
    if let Some(hours) = change.retention_hours {
        store.set_retention(&info.name, hours).await?;
    }
    tracing::info!(stream = %info.name, retention_hours = ?change.retention_hours, ?quota, "what a stream keeps was changed");
    Ok(Json(granted.usage()))
}

/// Deletes a stream with everything recorded in it.
pub(crate) async fn remove(caller: Caller, Params(name): Params<String>) -> Result<StatusCode, Error> {
    let granted = caller.stream(&name).await?;
    let (app, info) = (granted.app()?, granted.info());
    let _one_at_a_time = caller.shared.edits.acquire().await.expect("the semaphore is never closed");
    if app.store.cameras().await?.iter().any(|c| c.stream == info.name) {
        return Err(Error::conflict(
            "has_camera",
            format!("camera {} records to this stream: remove it first", info.name),
        ));
    }
    // This one: another may have come under its name while this waited.
    app.store.delete(&granted.whole()?).await?;
    tracing::info!(stream = %info.name, "stream deleted");
    Ok(StatusCode::NO_CONTENT)
}

/// A time range, and where to go on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InRange {
    from: Option<i64>,
    to: Option<i64>,
}

/// A time range by one of the clocks.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TimelineOf {
    from: Option<i64>,
    to: Option<i64>,
    by: Option<TimeBy>,
}

/// Nothing is recorded here, and why.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Gap {
    start: UnixMillis,
    end: UnixMillis,
    /// Why; `None` where recording has not begun again.
    cause: Option<Cause>,
}

/// What lies between spans. What follows the last one is a gap only if `ended`: else the next fragment is still open.
fn gaps(spans: &[Span], range: Range, ended: bool) -> Vec<Gap> {
    let mut end = range.from;
    let mut gaps = Vec::new();
    for span in spans {
        if span.start > end {
            gaps.push(Gap { start: end, end: span.start, cause: span.cause });
        }
        end = end.max(span.end);
    }
    if ended && range.to > end {
        gaps.push(Gap { start: end, end: range.to, cause: None });
    }
    gaps
}

/// A stream whose newest fragment is older than this is not recording.
const QUIET_MS: i64 = 60_000;

/// What is recorded in a range, as spans and the gaps between them; the last 24 hours if none is asked for.
pub(crate) async fn timeline(
    caller: Caller,
    Params(name): Params<String>,
    Asked(asked): Asked<TimelineOf>,
) -> Result<Json<Value>, Error> {
    let granted = caller.stream(&name).await?;
    let now = caller.now();
    let range = range(asked.from, asked.to, now, DAY_MS)?;
    let mut spans = match asked.by.unwrap_or(TimeBy::Producer) {
        TimeBy::Producer => granted.coverage(range, MOST_SPANS + 1).await?,
        TimeBy::Server => granted.coverage_by_server(range, MOST_SPANS + 1).await?,
    };
    let more = spans.len() > MOST_SPANS;
    spans.truncate(MOST_SPANS);
    // Up to where the answer speaks: to the end of the range or of time so far, or to its last span.
    let last = spans.last().map(|s| s.end);
    let to = if more { last.unwrap_or(range.to) } else { range.to.min(now) };
    let quiet = granted.stats().last_commit_at.is_none_or(|at| at.plus(QUIET_MS) < now);
    let ended = !more && (quiet || last.is_some_and(|end| end.plus(QUIET_MS) < to));
    let gaps = gaps(&spans, Range { from: range.from, to }, ended);
    let next = more.then_some(to);
    Ok(Json(json!({"now": now, "from": range.from, "to": to, "spans": spans, "gaps": gaps, "next": next})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    from: Option<i64>,
    to: Option<i64>,
    after: Option<FragmentNumber>,
    limit: Option<usize>,
}

/// Fragments in a range, oldest first, in pages.
pub(crate) async fn fragments(
    caller: Caller,
    Params(name): Params<String>,
    Asked(page): Asked<Page>,
) -> Result<Json<Value>, Error> {
    let granted = caller.stream(&name).await?;
    let range = range(page.from, page.to, caller.now(), DAY_MS)?;
    let most = limit(page.limit, 100, 1000)?;
    let at = page.after.map_or(Position::Start, Position::After);
    let found = granted.fragments(range, at, most).await?;
    let next = found.last().filter(|_| found.len() == most).map(|meta| meta.number);
    let fragments: Vec<Listed> = found.into_iter().map(Into::into).collect();
    Ok(Json(match next {
        Some(next) => json!({"fragments": fragments, "next": next}),
        None => json!({"fragments": fragments}),
    }))
}

/// Deletes the fragments that reach into a range, of which both ends must be given.
pub(crate) async fn remove_range(
    caller: Caller,
    Params(name): Params<String>,
    Asked(asked): Asked<InRange>,
) -> Result<Json<Value>, Error> {
    let stream = caller.stream(&name).await?.whole()?;
    if asked.from.is_none() || asked.to.is_none() {
        return Err(Error::invalid("from and to must be given: what reaches into the range is deleted"));
    }
    let range = range(asked.from, asked.to, caller.now(), DAY_MS)?;
    let deleted = stream.delete_range(range).await?;
    let (from, to) = (range.from.0, range.to.0);
    tracing::info!(stream = %name, from, to, fragments = deleted.fragments, bytes = deleted.bytes, "a range was deleted");
    Ok(Json(json!(deleted)))
}

/// One fragment in its stored form: header and cluster, a playable Matroska file.
pub(crate) async fn fragment(
    caller: Caller,
    Params((name, number)): Params<(String, String)>,
) -> Result<Response, Error> {
    let granted = caller.stream(&name).await?;
    let number: FragmentNumber = number.parse().map_err(|_| Error::not_found("there is no such fragment"))?;
    let sending = &caller.shared.sending;
    let room = sending.room(granted.fragment_meta(number).await?.bytes.into(), &caller.principal)?;
    let fragment = granted.fragment(number).await?;
    let mut response = immutable(sending.answer("video/x-matroska", fragment.to_mkv(), room));
    let file = format!("attachment; filename=\"{}-{}.mkv\"", granted.info().name, fragment.meta.producer_start.0);
    if let Ok(value) = HeaderValue::from_str(&file) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Seen {
    from: Option<i64>,
    to: Option<i64>,
    limit: Option<usize>,
}

/// What was detected in a range, oldest first.
pub(crate) async fn detections(
    caller: Caller,
    Params(name): Params<String>,
    Asked(asked): Asked<Seen>,
) -> Result<Json<Value>, Error> {
    let granted = caller.stream(&name).await?;
    let (app, stream) = (granted.app()?, granted.info().name);
    let range = range(asked.from, asked.to, caller.now(), 3_600_000)?;
    let found = app.store.detections(&stream, range, limit(asked.limit, 1000, 10_000)?).await?;
    Ok(Json(json!({"detections": found})))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn span(start: i64, end: i64, cause: Option<Cause>) -> Span {
        Span { start: UnixMillis(start), end: UnixMillis(end), fragments: 1, bytes: 1, cause }
    }
    fn gap(start: i64, end: i64, cause: Option<Cause>) -> Gap {
        Gap { start: UnixMillis(start), end: UnixMillis(end), cause }
    }

    #[test]
    fn gaps_lie_between_spans_and_carry_the_cause_of_what_follows() {
        let range = Range { from: UnixMillis(100), to: UnixMillis(1000) };
        let spans = [
            span(200, 300, Some(Cause::Start)),
            span(400, 500, Some(Cause::SourceLost)),
            span(490, 600, Some(Cause::TimeJump)),
        ];
        let mut expected = vec![gap(100, 200, Some(Cause::Start)), gap(300, 400, Some(Cause::SourceLost))];
        assert_eq!(gaps(&spans, range, false), expected);
        expected.push(gap(600, 1000, None));
        assert_eq!(gaps(&spans, range, true), expected);
        assert_eq!(gaps(&[], range, true), [gap(100, 1000, None)]);
        assert_eq!(gaps(&[span(0, 2000, None)], range, true), []);
    }
}
