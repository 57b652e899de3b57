//! What is recorded comes out again: timeline, fragments, HLS live and of the past, playback addresses, and `ffprobe` as a player.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use common::{Server, Take, h264_header, now, record, take};
use media::{Cause, UnixMillis};
use serde_json::json;
use std::{process::Command, time::Duration};

/// The values of a tag in a playlist.
fn tags<'a>(playlist: &'a str, tag: &str) -> Vec<&'a str> {
    playlist.lines().filter_map(|line| line.strip_prefix(tag)?.strip_prefix(':')).collect()
}
fn segments(playlist: &str) -> Vec<&str> {
    playlist.lines().filter(|line| line.ends_with(".m4s")).collect()
}
fn map(playlist: &str) -> &str {
    tags(playlist, "#EXT-X-MAP")[0].strip_prefix("URI=\"").unwrap().strip_suffix('"').unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeline_shows_spans_and_gaps_with_their_causes() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let stream = server.stream("gate").await;
    let (arrives, start) = (now(), now().plus(-600_000));
    let first = record(&stream, &Take { start, ..take(5, 1000) }).await;
    let again = start.plus(60_000);
    let last = record(&stream, &Take { start: again, cause: Some(Cause::SourceLost), ..take(5, 1000) }).await;

    let path = format!("/v1/streams/gate/timeline?from={}&to={}", start.0 - 1000, last.0 + 1000);
    let answer = server.root("GET", &path, None).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let timeline = answer.json();
    let spans = timeline["spans"].as_array().unwrap();
    assert_eq!(spans.len(), 2, "{timeline}");
    assert_eq!((spans[0]["start"].as_i64(), spans[0]["end"].as_i64()), (Some(start.0), Some(first.0)));
    assert_eq!((spans[0]["fragments"].as_u64(), spans[0]["cause"].as_str()), (Some(5), Some("start")));
    let gaps = timeline["gaps"].as_array().unwrap();
    let gap = json!({"start": first, "end": again, "cause": "source_lost"});
    assert!(gaps.contains(&gap), "{timeline}");
    assert_eq!(timeline["gaps"][0]["cause"], "start", "before the stream began");

    // By the server's clock all of them came just now.
    let (from, to) = (arrives.0 - 1000, now().0 + 60_000);
    let by_server =
        server.root("GET", &format!("/v1/streams/gate/timeline?from={from}&to={to}&by=server"), None).await.json();
    let came: Vec<_> = by_server["spans"].as_array().unwrap().iter().collect();
    assert!(came.iter().all(|span| span["start"].as_i64().unwrap() >= arrives.0), "{by_server}");
    assert_eq!(came.iter().map(|span| span["fragments"].as_u64().unwrap()).sum::<u64>(), 10, "{by_server}");
    let by_producer =
        server.root("GET", &format!("/v1/streams/gate/timeline?from={from}&to={to}&by=producer"), None).await;
    assert_eq!(by_producer.json()["spans"], json!([]));
    let long_ago = server.root("GET", &format!("{path}&by=server"), None).await.json();
    assert_eq!(long_ago["spans"], json!([]));

    // Fragments of the range, in pages, and one of them as a file.
    let path = format!("/v1/streams/gate/fragments?from={}&to={}&limit=4", start.0, last.0);
    let page = server.root("GET", &path, None).await.json();
    assert_eq!(page["fragments"].as_array().unwrap().len(), 4);
    let rest = server.root("GET", &format!("{path}&after={}", page["next"].as_str().unwrap()), None).await.json();
    assert_eq!(rest["fragments"][0]["producer_start"].as_i64(), Some(start.0 + 4000));
    let number = page["fragments"][2]["number"].as_str().unwrap().to_owned();
    let file = server.root("GET", &format!("/v1/streams/gate/fragments/{number}"), None).await;
    assert_eq!((file.status.as_u16(), file.header("content-type")), (200, "video/x-matroska"));
    assert!(file.header("cache-control").contains("private") && file.header("vary").contains("cookie"));
    let header = h264_header(0);
    assert_eq!(&file.body[..header.bytes.len()], &header.bytes[..]);
    let cluster = file.body.slice(header.bytes.len()..);
    assert_eq!(cluster.len() as u64, page["fragments"][2]["bytes"].as_u64().unwrap());
    assert_eq!(media::mkv::parse_cluster(&header, &cluster).unwrap().len(), 10);

    for bad in ["from=2&to=1", "from=x", "since=1", "from=-1", "to=99999999999999999", "by=clock"] {
        let answer = server.root("GET", &format!("/v1/streams/gate/timeline?{bad}"), None).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "invalid"), "{bad}");
    }
    assert_eq!(server.root("GET", "/v1/streams/none/timeline", None).await.status, 404);
    assert_eq!(server.root("GET", "/v1/streams/gate/fragments/17", None).await.status, 404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_live_playlist_moves_on_and_never_back() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let stream = server.stream("gate").await;
    let media = "/v1/streams/gate/hls/media.m3u8";
    let none = server.root("GET", media, None).await;
    assert_eq!((none.status.as_u16(), none.code().as_str()), (503, "not_live"));
    assert!(!none.header("retry-after").is_empty());

    let mut next = take(8, 2000);
    let (mut at, mut seen) = (0, std::collections::HashMap::new());
    for round in 0..6 {
        next.start = record(&stream, &next).await;
        next.fragments = 2;
        let answer = server.root("GET", media, None).await;
        assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (200, "no-store"), "{}", answer.text());
        let text = answer.text();
        assert!(!text.contains("ENDLIST") && segments(&text).len() == 6, "{text}");
        let first: u64 = tags(&text, "#EXT-X-MEDIA-SEQUENCE")[0].parse().unwrap();
        assert!(first >= at, "round {round}");
        at = first;
        for (sequence, uri) in (first..).zip(segments(&text)) {
            assert_eq!(*seen.entry(uri.to_owned()).or_insert(sequence), sequence, "{uri} keeps its number");
        }
        let again = server.root("GET", media, None).await.text();
        assert_eq!(text, again, "no change, no change");
    }
    // A server that was restarted goes on counting upwards, and says that something came in between.
    server.stop().await;
    let server = Server::start(folder.path()).await;
    let stream = server.store.stream(&"gate".parse().unwrap()).unwrap();
    record(&stream, &Take { cause: Some(Cause::ServerStopped), ..next }).await;
    let text = server.root("GET", media, None).await.text();
    let (first, uris) = (tags(&text, "#EXT-X-MEDIA-SEQUENCE")[0].parse::<u64>().unwrap(), segments(&text));
    assert!(first >= at, "{first} after {at}");
    assert!(text.contains("#EXT-X-DISCONTINUITY\n"), "{text}");
    for (sequence, uri) in (first..).zip(uris) {
        assert!(seen.get(uri).is_none_or(|before| *before <= sequence), "{uri}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_went_quiet_has_no_live_edge_but_a_past() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let stream = server.stream("gate").await;
    let start = now().plus(-86_400_000);
    let end = record(&stream, &Take { start, ..take(4, 1000) }).await;
    let end = record(&stream, &Take { start: end, header: h264_header(1), ..take(2, 1000) }).await;
    record(
        &stream,
        &Take { start: end.plus(30_000), header: h264_header(1), cause: Some(Cause::SourceLost), ..take(2, 1000) },
    )
    .await;

    let index = format!("/v1/streams/gate/hls/index.m3u8?from={}&to={}", start.0, end.0 + 60_000);
    let text = server.root("GET", &index, None).await.text();
    assert!(text.contains("CODECS=\"avc1.42c00b\"") && text.contains("RESOLUTION=320x180"), "{text}");
    let media = text.lines().last().unwrap();
    let text = server.root("GET", &format!("/v1/streams/gate/hls/{media}"), None).await.text();
    assert_eq!(segments(&text).len(), 8, "{text}");
    assert!(text.ends_with("#EXT-X-ENDLIST\n") && text.contains("#EXT-X-PLAYLIST-TYPE:VOD"));
    assert_eq!(text.matches("#EXT-X-DISCONTINUITY\n").count(), 2, "another header, and a gap: {text}");
    assert_eq!(tags(&text, "#EXT-X-MAP").len(), 2);
    assert_eq!(tags(&text, "#EXT-X-PROGRAM-DATE-TIME")[0], start.to_rfc3339());
    let (init, segment) = (map(&text), segments(&text)[0]);
    for (file, boxes) in [(init, b"ftyp"), (segment, b"moof")] {
        let answer = server.root("GET", &format!("/v1/streams/gate/hls/{file}"), None).await;
        assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "video/mp4"), "{file}");
        assert!(answer.body.windows(4).any(|w| w == boxes), "{file}");
        assert!(answer.header("cache-control").contains("immutable"));
        assert_eq!(answer.header("content-length"), answer.body.len().to_string());
        let head = server.root("HEAD", &format!("/v1/streams/gate/hls/{file}"), None).await;
        assert_eq!((head.header("content-length"), head.body.len()), (answer.header("content-length"), 0));
        let again = server.root("GET", &format!("/v1/streams/gate/hls/{file}"), None).await;
        assert_eq!(again.body, answer.body, "the same from the cache");
    }
    let empty = server.root("GET", "/v1/streams/gate/hls/media.m3u8?from=1000&to=2000", None).await;
    assert_eq!(empty.status, 404);
    let open = server.root("GET", "/v1/streams/gate/hls/media.m3u8?to=2000", None).await;
    assert_eq!((open.status.as_u16(), open.code().as_str()), (400, "invalid"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_that_are_too_long_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let stream = server.stream("gate").await;
    let start = now().plus(-86_400_000);
    let end = record(&stream, &Take { start, ..take(800, 29_000) }).await;
    let media = |to: i64| format!("/v1/streams/gate/hls/media.m3u8?from={}&to={to}", start.0);
    let answer = server.root("GET", &media(end.0), None).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, "range_too_long"));
    let answer = server.root("GET", &media(start.0 + 5 * 3_600_000), None).await;
    assert_eq!(answer.status, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_playback_address_ends_at_its_range_and_time() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let stream = server.stream("gate").await;
    let start = now().plus(-20_000);
    record(&stream, &Take { start, ..take(10, 2000) }).await;
    let all = server
        .root("GET", &format!("/v1/streams/gate/hls/media.m3u8?from={}&to={}", start.0, start.0 + 20_000), None)
        .await
        .text();
    let all = segments(&all);

    let path = server.playback("gate", json!({"from": start.0 + 4000, "to": start.0 + 8000})).await;
    let text = server.send("GET", &format!("{path}/media.m3u8"), &[], None).await.text();
    assert_eq!(segments(&text), all[2..4], "its range, though none was asked for");
    let wider = server
        .send("GET", &format!("{path}/media.m3u8?from={}&to={}", start.0, start.0 + 20_000), &[], None)
        .await
        .text();
    assert_eq!(segments(&wider), all[2..4], "and no more when more is asked for");
    let status = async |uri: &str| server.send("GET", &format!("{path}/{uri}"), &[], None).await.status.as_u16();
    assert_eq!((status(all[2]).await, status(all[3]).await), (200, 200));
    assert_eq!((status(all[1]).await, status(all[4]).await, status(all[9]).await), (404, 404, 404));
    assert_eq!(status(map(&text)).await, 200);

    // The live edge for its token is the live edge; old fragments are not.
    let old = record(&stream, &Take { start: start.plus(-3_600_000), ..take(1, 2000) }).await;
    let listed = server
        .root("GET", &format!("/v1/streams/gate/fragments?from={}&to={}", old.0 - 2000, old.0), None)
        .await
        .json();
    let live = server.playback("gate", json!({})).await;
    let number = listed["fragments"][0]["number"].as_str().unwrap();
    assert_eq!(server.send("GET", &format!("{live}/{number}.m4s"), &[], None).await.status, 404);
    assert_eq!(server.send("GET", &format!("{live}/{}", all[9]), &[], None).await.status, 200);

    let short = server.playback("gate", json!({"ttl_s": 1})).await;
    assert_eq!(server.send("GET", &format!("{short}/media.m3u8"), &[], None).await.status, 200);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(server.send("GET", &format!("{short}/media.m3u8"), &[], None).await.status, 401);
    for bad in [
        json!({"ttl_s": 0}),
        json!({"ttl_s": 86401}),
        json!({"to": 5}),
        json!({"from": 5, "to": 5}),
        json!({"until": 1}),
    ] {
        assert_eq!(server.root("POST", "/v1/streams/gate/playback", Some(bad.clone())).await.status, 400, "{bad}");
    }

    // A new stream of the same name is not the one that the address was for.
    assert_eq!(server.root("DELETE", "/v1/streams/gate", None).await.status, 204);
    let stream = server.stream("gate").await;
    record(&stream, &take(2, 1000)).await;
    assert_eq!(server.send("GET", &format!("{live}/media.m3u8"), &[], None).await.status, 404);
    server.stop().await;
}

/// A clip that ffmpeg draws, as fragments of one second; `None`, with a line saying so, without ffmpeg.
fn drawn_clip(folder: &std::path::Path, seconds: u32) -> Option<(media::Header, Vec<media::Frame>)> {
    let file = folder.join("clip.mkv");
    let (pictures, sound, length) =
        ("testsrc2=size=320x180:rate=25", "sine=frequency=440:sample_rate=48000", seconds.to_string());
    let arguments = ["-v", "error", "-f", "lavfi", "-i", pictures, "-f", "lavfi", "-i", sound, "-t", &length];
    let encoders = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25", "-c:a", "aac"];
    let made = Command::new("ffmpeg").args(arguments).args(encoders).arg(&file).status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: ffmpeg with libx264 is not installed");
        return None;
    }
    let bytes = std::fs::read(file).unwrap().into();
    let (mut header, mut frames) = (None, Vec::new());
    for piece in media::mkv::pieces(&bytes) {
        match piece.unwrap() {
            media::mkv::Piece::Header(found) => header = Some(found),
            media::mkv::Piece::Cluster(cluster) => {
                frames.extend(media::mkv::parse_cluster(header.as_ref().unwrap(), &cluster).unwrap());
            }
            media::mkv::Piece::Other(_) => {}
        }
    }
    let tracks = header?.tracks.iter().map(|t| media::Track { ..t.clone() }).collect::<Vec<_>>();
    Some((media::mkv::write_header(&tracks), frames))
}

#[tokio::test(flavor = "multi_thread")]
async fn ffprobe_plays_what_was_recorded_with_its_wall_clock() {
    let folder = tempfile::tempdir().unwrap();
    let Some((header, frames)) = drawn_clip(folder.path(), 6) else { return };
    let server = Server::start(&folder.path().join("data")).await;
    let stream = server.stream("gate").await;
    let start = UnixMillis(now().0 / 1000 * 1000 - 6000);
    let mut writer = stream.writer();
    let mut fragmenter = media::Fragmenter::new(media::fragmenter::Limits::default());
    fragmenter.header(header.shared());
    let (mut events, mut waits) = (Vec::new(), Vec::new());
    for mut frame in frames {
        frame.time = frame.time.plus(start.to_micros().0);
        fragmenter.push(frame, &mut events);
    }
    fragmenter.finish(&mut events);
    for event in events {
        if let store::Offer::Sealed(_, durable) = writer.write(event).await.unwrap() {
            waits.push(durable);
        }
    }
    for durable in waits {
        durable.wait().await.unwrap();
    }
    let range = json!({"from": start, "to": start.plus(60_000)});
    let url = format!("http://{}{}/index.m3u8", server.address, server.playback("gate", range).await);
    let arguments = [
        "-v",
        "error",
        "-show_entries",
        "stream=codec_name,width,height:packet=codec_type,pts_time,flags",
        "-of",
        "json",
        &url,
    ];
    let arguments = arguments.map(str::to_owned);
    let output = tokio::task::spawn_blocking(move || Command::new("ffprobe").args(arguments).output()).await.unwrap();
    let Ok(output) = output else {
        println!("skipped: ffprobe is not installed");
        return;
    };
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && errors.is_empty(), "{errors}");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let codecs: Vec<_> =
        found["streams"].as_array().unwrap().iter().map(|s| s["codec_name"].as_str().unwrap()).collect();
    assert!(codecs.contains(&"h264") && codecs.contains(&"aac"), "{codecs:?}");
    let of = |kind: &str| -> Vec<f64> {
        let packets = found["packets"].as_array().unwrap().iter().filter(|p| p["codec_type"] == kind);
        packets.map(|p| p["pts_time"].as_str().unwrap().parse().unwrap()).collect()
    };
    let (mut video, audio) = (of("video"), of("audio"));
    video.sort_by(f64::total_cmp);
    assert_eq!(video.len(), 150);
    assert!(video.windows(2).all(|w| (w[1] - w[0] - 0.04).abs() < 0.0015), "evenly spaced across fragments");
    assert!(audio.windows(2).all(|w| (w[1] - w[0] - 1024.0 / 48_000.0).abs() < 0.003), "no hole in the sound");
    let began = start.0 as f64 / 1000.0;
    assert!((video[0] - began).abs() < 0.2, "media time is the wall clock: {} for {began}", video[0]);

    // The live edge plays, too.
    let text = server.root("GET", "/v1/streams/gate/hls/index.m3u8", None).await.text();
    assert!(text.contains("mp4a.40.2"), "{text}");
    server.stop().await;
}
