//! Playback by HLS: the live edge and any range of the past, out of the same fragments.
//!
//! `…/hls/{file}` under a stream and `/p/{token}/{file}` under a playback token serve the same files, which name each
//! other by relative URIs: `index.m3u8` → `media.m3u8` → `init-{header}.mp4` and `{number}.m4s`.

mod cache;
mod playlist;
mod window;

use crate::{
    auth::{Caller, access::Granted, token::Playback},
    body::immutable,
    error::Error,
    extract::{Asked, Body, Params, range},
};
use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use cache::Cache;
use media::{Chunks, FragmentNumber, HeaderId, UnixMillis};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};
use store::Range;
use window::Window;

/// How long a playback token lasts unless its maker says otherwise, and at most.
const TTL_S: i64 = 3600;
const MOST_TTL_S: i64 = 24 * 3600;
/// How far back from its making a token for the live edge reaches: a live window of the longest fragments.
const LIVE_REACH_MS: i64 = 5 * 60_000;
/// A stream whose newest fragment ended so long ago has no live edge.
const QUIET_MS: i64 = 60_000;
/// Windows of streams nobody has asked for in so long are forgotten.
const IDLE_MS: i64 = 10 * 60_000;

/// What playback keeps in memory.
#[derive(Default)]
pub(crate) struct Shared {
    segments: Cache,
    /// By stream id: the live window, and when it was last asked for.
    windows: Mutex<HashMap<u64, (Window, UnixMillis)>>,
}

/// The files of a presentation.
enum File {
    Index,
    Media,
    Init(HeaderId),
    Segment(FragmentNumber),
}

impl File {
    fn parse(name: &str) -> Option<File> {
        match name {
            "index.m3u8" => return Some(File::Index),
            "media.m3u8" => return Some(File::Media),
            _ => {}
        }
        if let Some(id) = name.strip_prefix("init-").and_then(|n| n.strip_suffix(".mp4")) {
            let sound = id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit());
            return u64::from_str_radix(id, 16).ok().filter(|_| sound).map(|id| File::Init(HeaderId(id)));
        }
        name.strip_suffix(".m4s")?.parse().ok().map(File::Segment)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InRange {
    from: Option<i64>,
    to: Option<i64>,
}

/// A file of a stream's presentation.
pub(crate) async fn of_stream(
    caller: Caller,
    Params((name, file)): Params<(String, String)>,
    Asked(asked): Asked<InRange>,
) -> Result<Response, Error> {
    let granted = caller.stream(&name).await?;
    answer(&caller, granted, &file, &asked).await
}

/// The same under a playback token.
pub(crate) async fn of_token(
    caller: Caller,
    Params((_token, file)): Params<(String, String)>,
    Asked(asked): Asked<InRange>,
) -> Result<Response, Error> {
    let granted = caller.own_stream().await?;
    answer(&caller, granted, &file, &asked).await
}

async fn answer(caller: &Caller, granted: Granted, file: &str, asked: &InRange) -> Result<Response, Error> {
    let file = File::parse(file).ok_or_else(|| Error::not_found("a presentation has no such file"))?;
    let (hls, sending) = (&caller.shared.hls, &caller.shared.sending);
    match file {
        File::Index => {
            Ok(text(playlist::index(&granted, hls, &wanted(&granted, asked, caller.now())?, caller.now()).await?))
        }
        File::Media => {
            Ok(text(playlist::media(&granted, hls, &wanted(&granted, asked, caller.now())?, caller.now()).await?))
        }
        File::Init(id) => {
            let header = granted.header(id).await?;
            let init = media::fmp4::init(&header).map_err(unplayable)?;
            let room = sending.room(init.len() as u64, &caller.principal)?;
            Ok(immutable(sending.answer("video/mp4", Chunks::from(init), room)))
        }
        File::Segment(number) => {
            let room = sending.room(granted.fragment_meta(number).await?.bytes.into(), &caller.principal)?;
            Ok(immutable(sending.answer("video/mp4", segment(&granted, hls, number).await?, room)))
        }
    }
}

fn text(playlist: String) -> Response {
    ([(header::CONTENT_TYPE, "application/vnd.apple.mpegurl")], playlist).into_response()
}

fn unplayable(error: impl std::fmt::Display) -> Error {
    Error::new(StatusCode::NOT_ACCEPTABLE, "not_playable", format!("this cannot be shown by HLS: {error}"))
}

/// What a playlist is to show.
enum Wanted {
    /// The live edge, as it moves.
    Live,
    /// A range; whether it was asked for in the query, so that the next file's URI must repeat it.
    Range(Range, bool),
}

fn wanted(granted: &Granted, asked: &InRange, now: UnixMillis) -> Result<Wanted, Error> {
    if asked.from.is_none() && asked.to.is_none() {
        return Ok(match granted.playback().filter(|playback| !playback.is_live()) {
            Some(playback) => Wanted::Range(playback.range, false),
            None => Wanted::Live,
        });
    }
    if asked.from.is_none() {
        return Err(Error::invalid("from: needed with to"));
    }
    Ok(Wanted::Range(range(asked.from, asked.to, now, 0)?, true))
}

/// A fragment as a media segment. Whether the caller may see it is asked before the cache is.
async fn segment(granted: &Granted, hls: &Shared, number: FragmentNumber) -> Result<Chunks, Error> {
    granted.fragment_meta(number).await?;
    let key = (granted.id(), number);
    if let Some(segment) = hls.segments.get(key) {
        return Ok(segment);
    }
    let fragment = granted.fragment(number).await?;
    // The sequence number of an `mfhd` has 32 bits and only has to grow within a presentation.
    let segment = media::fmp4::segment(&fragment, number.counter() as u32).map_err(unplayable)?;
    hls.segments.put(key, &segment);
    Ok(segment)
}

impl Shared {
    /// The live window of a stream as it is now.
    async fn window(&self, granted: &Granted, now: UnixMillis) -> Result<Window, Error> {
        let latest = granted.latest(window::MOST_FRAGMENTS).await?;
        let window = {
            let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
            windows.retain(|_, (_, asked_at)| asked_at.plus(IDLE_MS) > now);
            let (window, asked_at) = windows.entry(granted.id()).or_default();
            window.merge(&latest);
            *asked_at = now;
            window.clone()
        };
        let not_live = |message: String| Error::unavailable("not_live", message, 2);
        let Some(newest) = window.newest() else { return Err(not_live("nothing is recorded yet".to_owned())) };
        // By the server's clock: a camera's may be wrong.
        let ended = newest.server_start.plus(i64::from(newest.duration_ms));
        match ended.plus(QUIET_MS) < now {
            true => {
                Err(not_live(format!("the stream is not live: its newest fragment ended at {}", ended.to_rfc3339())))
            }
            false => Ok(window),
        }
    }
}

/// What a playback address is to be for.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct For {
    from: Option<i64>,
    to: Option<i64>,
    ttl_s: Option<i64>,
}

/// Makes an address that plays one stream, live or in a range, without other credentials until it expires.
pub(crate) async fn playback(
    caller: Caller,
    Params(name): Params<String>,
    Body(asked): Body<For>,
) -> Result<Json<Value>, Error> {
    let stream = caller.stream(&name).await?.id();
    let now = caller.now();
    let ttl_s = asked.ttl_s.unwrap_or(TTL_S);
    if !(1..=MOST_TTL_S).contains(&ttl_s) {
        return Err(Error::invalid(format!("ttl_s: {ttl_s} is not in 1 to {MOST_TTL_S}")));
    }
    let range = match (asked.from, asked.to) {
        (None, None) => Range { from: now.plus(-LIVE_REACH_MS), to: Playback::OPEN },
        (None, Some(_)) => return Err(Error::invalid("from: needed with to")),
        (from, to) => range(from, to, now, 0)?,
    };
    let expires_at = now.plus(ttl_s * 1000);
    let token = caller.shared.auth.signer.playback(&Playback { stream, range, expires_at });
    Ok(Json(json!({"url": format!("/p/{token}/index.m3u8"), "expires_at": expires_at})))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn file_names_are_read_strictly() {
        let number = FragmentNumber::new(5, 1, 2);
        assert!(matches!(File::parse("index.m3u8"), Some(File::Index)));
        assert!(matches!(File::parse("media.m3u8"), Some(File::Media)));
        assert!(matches!(File::parse(&format!("{number}.m4s")), Some(File::Segment(n)) if n == number));
        let id = HeaderId(0x0123_4567_89ab_cdef);
        assert!(matches!(File::parse(&format!("init-{id}.mp4")), Some(File::Init(i)) if i == id));
        for odd in
            ["", "..", "init-.mp4", "init-+123456789abcdef.mp4", "init-0.mp4", "1.m4s", ".m4s", "index.m3u8/", "é.m4s"]
        {
            assert!(File::parse(odd).is_none(), "{odd}");
        }
    }
}
