//! HLS playlists as text (RFC 8216 and its second edition).
//!
//! What belongs here: the tags and their order. What does not: which fragments a playlist lists, and its URIs.

use crate::UnixMillis;
use std::fmt::Write;

/// One media segment of a playlist: a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaSegment {
    /// Where it is, relative to the playlist.
    pub uri: String,
    /// Its duration in ms.
    pub duration_ms: u32,
    /// Wall-clock time of its first frame.
    pub producer_start: UnixMillis,
    /// Whether it does not continue the segment before it: a gap, a jump of the clock, or another header.
    pub discontinuity: bool,
    /// Where the init segment is that it needs.
    pub map_uri: String,
}

/// What a media playlist says beside its segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediaPlaylist {
    /// Number of the first segment listed; grows by one for each that is no longer listed.
    pub media_sequence: u64,
    /// How many segments with [`MediaSegment::discontinuity`] are no longer listed.
    pub discontinuity_sequence: u64,
    /// The longest segment to be expected, in ms. Must not change while a live playlist is reloaded; a listed segment
    /// that is longer raises it all the same, for players trust it.
    pub target_duration_ms: u32,
    /// Whether nothing will be added: a range of the past.
    pub closed: bool,
}

/// A media playlist: each segment with its wall-clock time, and its init segment where that changes.
pub fn media_playlist(playlist: &MediaPlaylist, segments: &[MediaSegment]) -> String {
    let longest = segments.iter().map(|segment| segment.duration_ms).chain([playlist.target_duration_ms, 1]).max();
    let mut text = String::with_capacity(256 + 160 * segments.len());
    let mut line = |args: std::fmt::Arguments<'_>| {
        text.write_fmt(args).expect("a string takes any text");
        text.push('\n');
    };
    line(format_args!("#EXTM3U"));
    line(format_args!("#EXT-X-VERSION:7"));
    line(format_args!("#EXT-X-TARGETDURATION:{}", longest.unwrap_or(1).div_ceil(1000)));
    line(format_args!("#EXT-X-MEDIA-SEQUENCE:{}", playlist.media_sequence));
    line(format_args!("#EXT-X-DISCONTINUITY-SEQUENCE:{}", playlist.discontinuity_sequence));
    line(format_args!("#EXT-X-INDEPENDENT-SEGMENTS"));
    if playlist.closed {
        line(format_args!("#EXT-X-PLAYLIST-TYPE:VOD"));
    }
    let mut map = None;
    for segment in segments {
        if segment.discontinuity {
            line(format_args!("#EXT-X-DISCONTINUITY"));
        }
        if map != Some(&segment.map_uri) {
            map = Some(&segment.map_uri);
            line(format_args!("#EXT-X-MAP:URI=\"{}\"", segment.map_uri));
        }
        line(format_args!("#EXT-X-PROGRAM-DATE-TIME:{}", segment.producer_start.to_rfc3339()));
        line(format_args!("#EXTINF:{}.{:03},", segment.duration_ms / 1000, segment.duration_ms % 1000));
        line(format_args!("{}", segment.uri));
    }
    if playlist.closed {
        line(format_args!("#EXT-X-ENDLIST"));
    }
    text
}

/// A multivariant playlist with one variant, at `uri`. `codecs` is a list after RFC 6381 ([`crate::codecs`]), left out
/// if empty; `resolution` is width and height in pixels.
pub fn multivariant(
    codecs: &str,
    resolution: Option<(u32, u32)>,
    bandwidth_bps: u64,
    fps: Option<f64>,
    uri: &str,
) -> String {
    let mut attributes = format!("BANDWIDTH={}", bandwidth_bps.max(1));
    if !codecs.is_empty() {
        attributes.push_str(&format!(",CODECS=\"{codecs}\""));
    }
    if let Some((width, height)) = resolution {
        attributes.push_str(&format!(",RESOLUTION={width}x{height}"));
    }
    if let Some(fps) = fps.filter(|fps| fps.is_finite() && *fps > 0.0) {
        attributes.push_str(&format!(",FRAME-RATE={fps:.3}"));
    }
    format!("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-STREAM-INF:{attributes}\n{uri}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(number: u32, discontinuity: bool, map: &str) -> MediaSegment {
        MediaSegment {
            uri: format!("{number}.m4s"),
            duration_ms: 1000 + number,
            producer_start: UnixMillis(i64::from(number) * 1000),
            discontinuity,
            map_uri: format!("init-{map}.mp4"),
        }
    }

    #[test]
    fn a_live_playlist() {
        let playlist =
            MediaPlaylist { media_sequence: 7, discontinuity_sequence: 2, target_duration_ms: 2000, closed: false };
        let segments = [segment(1, false, "a"), segment(2, false, "a"), segment(3, true, "b")];
        let expected = "#EXTM3U
#EXT-X-VERSION:7
#EXT-X-TARGETDURATION:2
#EXT-X-MEDIA-SEQUENCE:7
#EXT-X-DISCONTINUITY-SEQUENCE:2
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MAP:URI=\"init-a.mp4\"
#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:01.000Z
#EXTINF:1.001,
1.m4s
#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:02.000Z
#EXTINF:1.002,
2.m4s
#EXT-X-DISCONTINUITY
#EXT-X-MAP:URI=\"init-b.mp4\"
#EXT-X-PROGRAM-DATE-TIME:1970-01-01T00:00:03.000Z
#EXTINF:1.003,
3.m4s
";
        assert_eq!(media_playlist(&playlist, &segments), expected);
    }

    #[test]
    fn a_closed_playlist_says_so_and_covers_its_longest_segment() {
        let playlist = MediaPlaylist { closed: true, ..MediaPlaylist::default() };
        let text = media_playlist(&playlist, &[segment(1, true, "a")]);
        assert!(text.contains("#EXT-X-TARGETDURATION:2\n"), "1.001 s rounds up: {text}");
        assert!(text.contains("#EXT-X-PLAYLIST-TYPE:VOD\n"));
        assert!(text.ends_with("1.m4s\n#EXT-X-ENDLIST\n"));
        assert!(media_playlist(&playlist, &[]).contains("#EXT-X-TARGETDURATION:1\n"));
    }

    #[test]
    fn a_multivariant_playlist() {
        let text = multivariant("avc1.64001f,mp4a.40.2", Some((1280, 720)), 2_500_000, Some(29.97), "media.m3u8");
        let line = "#EXT-X-STREAM-INF:BANDWIDTH=2500000,CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=1280x720,FRAME-RATE=29.970";
        assert_eq!(text.lines().nth(3), Some(line));
        assert_eq!(text.lines().last(), Some("media.m3u8"));
        assert_eq!(
            multivariant("", None, 0, Some(f64::NAN), "m").lines().nth(3),
            Some("#EXT-X-STREAM-INF:BANDWIDTH=1")
        );
    }
}
