//! The two playlists of a presentation: which fragments they list. Their text is `media::hls`'s.

use super::{
    Shared, Wanted, unplayable,
    window::{Entry, breaks},
};
use crate::{auth::access::Granted, error::Error};
use media::{
    FragmentMeta, UnixMillis,
    hls::{MediaPlaylist, MediaSegment, media_playlist, multivariant},
};
use store::{Position, Range};

/// A range may list so many fragments
const MOST_FRAGMENTS: usize = 20_000;
/// and so much recorded time.
const MOST_MS: i64 = 6 * 3_600_000;
/// Fragments of one page of the catalog.
const PAGE: usize = 1000;

/// The multivariant playlist: codecs, size and peak bandwidth of what `media.m3u8` lists first.
pub(super) async fn index(granted: &Granted, hls: &Shared, wanted: &Wanted, now: UnixMillis) -> Result<String, Error> {
    let (fragments, uri) = match wanted {
        Wanted::Live => {
            let window = hls.window(granted, now).await?;
            (window.entries().map(|e| e.meta.clone()).collect(), "media.m3u8".to_owned())
        }
        Wanted::Range(range, asked) => {
            let fragments = granted.fragments(*range, Position::Start, 100).await?;
            let query = format!("media.m3u8?from={}&to={}", range.from.0, range.to.0);
            (fragments, if *asked { query } else { "media.m3u8".to_owned() })
        }
    };
    let newest: &FragmentMeta = match wanted {
        Wanted::Live => fragments.last(),
        Wanted::Range(..) => fragments.first(),
    }
    .ok_or_else(nothing)?;
    let header = granted.header(newest.header).await?;
    // A header that fMP4 cannot hold is said so here, not at the player's third request.
    media::fmp4::init(&header).map_err(unplayable)?;
    let size = header.video().and_then(|track| track.size);
    let frame_rate = Some(granted.stats().fps).filter(|_| matches!(wanted, Wanted::Live));
    Ok(multivariant(&media::codecs(&header), size, peak_bps(&fragments), frame_rate, &uri))
}

fn nothing() -> Error {
    Error::not_found("nothing is recorded in this range")
}

/// The highest bit rate of any fragment.
fn peak_bps(fragments: &[FragmentMeta]) -> u64 {
    let bps = |meta: &FragmentMeta| u64::from(meta.bytes) * 8000 / u64::from(meta.duration_ms.max(1));
    fragments.iter().map(bps).max().unwrap_or(0)
}

/// The media playlist.
pub(super) async fn media(granted: &Granted, hls: &Shared, wanted: &Wanted, now: UnixMillis) -> Result<String, Error> {
    match wanted {
        Wanted::Live => {
            let window = hls.window(granted, now).await?;
            let playlist = MediaPlaylist {
                media_sequence: window.media_sequence(),
                discontinuity_sequence: window.discontinuity_sequence(),
                target_duration_ms: window.longest_ms(),
                closed: false,
            };
            Ok(media_playlist(&playlist, &window.entries().map(listed).collect::<Vec<_>>()))
        }
        Wanted::Range(range, _) => {
            let entries = entries(granted, *range).await?;
            let playlist = MediaPlaylist { closed: true, ..MediaPlaylist::default() };
            Ok(media_playlist(&playlist, &entries.iter().map(listed).collect::<Vec<_>>()))
        }
    }
}

fn listed(Entry { meta, discontinuity }: &Entry) -> MediaSegment {
    MediaSegment {
        uri: format!("{}.m4s", meta.number),
        duration_ms: meta.duration_ms,
        producer_start: meta.producer_start,
        discontinuity: *discontinuity,
        map_uri: format!("init-{}.mp4", meta.header),
    }
}

async fn entries(granted: &Granted, range: Range) -> Result<Vec<Entry>, Error> {
    let mut entries: Vec<Entry> = Vec::new();
    let (mut at, mut total_ms) = (Position::Start, 0);
    loop {
        let page = granted.fragments(range, at, PAGE).await?;
        let more = page.len() == PAGE;
        for meta in page {
            at = Position::After(meta.number);
            total_ms += i64::from(meta.duration_ms);
            let discontinuity = entries.last().is_some_and(|last| breaks(&last.meta, &meta));
            entries.push(Entry { meta, discontinuity });
        }
        if entries.len() > MOST_FRAGMENTS || total_ms > MOST_MS {
            return Err(too_long());
        }
        if !more {
            break;
        }
    }
    if entries.is_empty() { Err(nothing()) } else { Ok(entries) }
}

fn too_long() -> Error {
    let hours = MOST_MS / 3_600_000;
    let message = format!("from, to: a playlist holds at most {hours} h and {MOST_FRAGMENTS} fragments; ask for less");
    Error::new(axum::http::StatusCode::BAD_REQUEST, "range_too_long", message)
}
