//! `vidicon export`: what was recorded comes out as files that ffmpeg reads to the last frame, and nothing half-made is left.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod common;

use common::{KEY, SECRET, Server, serve};
use media::mkv::{Piece, parse_cluster, pieces};
use media::{Chunks, Header, Start, UnixMillis};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use store::{Config, Offer, Store, Verbatim};

const T0: i64 = 1_795_413_600_000;

/// A clip of twelve seconds with B-frames and sound, a key frame each second, out of ffmpeg; `None` where there is none.
fn clip(folder: &Path, size: &str, audio: &str) -> Option<PathBuf> {
    let file = folder.join(format!("{size}-{audio}.mkv"));
    let video = format!("testsrc2=size={size}:rate=25");
    let made = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-y",
            "-f",
            "lavfi",
            "-i",
            &video,
            "-f",
            "lavfi",
            "-i",
            "sine=frequency=500:sample_rate=48000",
            "-t",
            "12",
        ])
        .args([
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-bf",
            "2",
            "-g",
            "25",
            "-keyint_min",
            "25",
            "-sc_threshold",
            "0",
        ])
        .args(["-c:a", audio, "-cluster_time_limit", "5000", "-cluster_size_limit", "5000000", "-f", "matroska"])
        .arg(&file)
        .status();
    match made {
        Ok(status) if status.success() => Some(file),
        _ => {
            println!("skipped: ffmpeg with libx264 and {audio} is not here");
            None
        }
    }
}

/// Records the clusters of a clip as a producer whose times count from its start would send them, but for those at `without`.
async fn record(data: &Path, stream: &str, clip: &Path, at: i64, without: std::ops::Range<usize>) {
    let config = Config { data: data.to_owned(), default_retention_hours: 0, ..Config::default() };
    let store = Store::open(config, Arc::new(|| UnixMillis(T0 + 3_600_000))).await.unwrap();
    let name = stream.parse().unwrap();
    let stream = match store.stream(&name) {
        Ok(stream) => stream,
        Err(_) => store.create_stream(&name, None).await.unwrap(),
    };
    let mut writer = stream.verbatim_writer();
    let mut header: Option<Arc<Header>> = None;
    let mut count = 0;
    for piece in pieces(&std::fs::read(clip).unwrap().into()) {
        match piece.unwrap() {
            Piece::Header(found) => header = Some(found.shared()),
            Piece::Cluster(cluster) => {
                let header = header.clone().unwrap();
                let frames = parse_cluster(&header, &cluster).unwrap();
                // Its own start, as the cluster says it.
                let start = media::mkv::parse_timed(&header, &Chunks::from(cluster.clone())).unwrap().0;
                count += 1;
                if without.contains(&count) {
                    continue;
                }
                let producer_start = UnixMillis(at + start.0);
                writer.begin(Start { header, producer_start, cause: None }).await.unwrap();
                for mut frame in frames {
                    frame.time = frame.time.plus(at * 1000);
                    writer.frame(frame).await.unwrap();
                }
                let verbatim = Verbatim { cluster: cluster.into(), ..Verbatim::default() };
                let Offer::Sealed(_, durable) = writer.end(verbatim).await.unwrap() else { panic!("sealed") };
                durable.wait().await.unwrap();
            }
            Piece::Other(_) => {}
        }
    }
    assert!(count >= 10, "{count} clusters");
    drop(writer);
    store.stop().await.unwrap();
}

fn export(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vidicon")).arg("export").args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Of each packet of a track, its checksum, in order; and its times in seconds.
fn packets(file: &Path, track: &str) -> (Vec<String>, Vec<f64>) {
    let output = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-select_streams",
            track,
            "-show_data_hash",
            "md5",
            "-show_entries",
            "packet=pts_time,data_hash",
            "-of",
            "csv=p=0",
        ])
        .arg(file)
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{file:?}: {}", said(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |line: &str| {
        let (time, hash) = line.split_once(',').unwrap();
        (hash.trim_end_matches(',').to_owned(), time.parse::<f64>().unwrap_or(f64::NAN))
    };
    text.lines().filter(|l| !l.is_empty()).map(line).unzip()
}

/// Decodes all of it; what ffmpeg complains about is an error.
fn decodes(file: &Path) -> usize {
    let output = Command::new("ffmpeg")
        .args([
            "-v",
            "warning",
            "-i",
            file.to_str().unwrap(),
            "-map",
            "0:v",
            "-fps_mode",
            "passthrough",
            "-f",
            "framemd5",
            "-",
        ])
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{file:?}: {}", said(&output));
    String::from_utf8(output.stdout).unwrap().lines().filter(|line| !line.starts_with('#')).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_becomes_a_file_with_every_frame() {
    let folder = tempfile::tempdir().unwrap();
    let Some(clip) = clip(folder.path(), "320x180", "aac") else { return };
    let data = folder.path().join("data");
    record(&data, "gate", &clip, T0, 0..0).await;
    let (data_text, of) = (data.to_str().unwrap(), |name: &str| folder.path().join(name));
    for name in ["all.mkv", "all.mp4"] {
        let file = of(name);
        let output = export(&["--stream", "gate", "--data", data_text, "--out", file.to_str().unwrap()]);
        assert!(output.status.success(), "{}", said(&output));
        assert!(said(&output).contains("0 gaps"), "{}", said(&output));
        for track in ["v", "a"] {
            let ((hashes, times), (expected, was)) = (packets(&file, track), packets(&clip, track));
            assert_eq!(hashes, expected, "{name} {track}");
            let first = was[0];
            for (time, was) in times.iter().zip(&was) {
                // Sound in MP4 is laid on its grid. ffmpeg moves pictures of MP4 that are shown before their time of decoding.
                let (moved, most) = if name == "all.mp4" { (times[0] - first, 0.1) } else { (0.0, 0.002) };
                assert!(
                    (time - moved - was).abs() < 0.03 && moved.abs() < most,
                    "{name} {track}: {time} where {was} was"
                );
            }
        }
        assert_eq!(decodes(&file), 300, "{name}");
    }
    // By time, RFC 3339 and epoch; whole fragments.
    let part = of("part.mp4");
    let output = export(&[
        "--stream",
        "gate",
        "--data",
        data_text,
        "--from",
        "2026-11-23T06:00:03Z",
        "--to",
        "1795413606",
        "-o",
        part.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", said(&output));
    let count = decodes(&part);
    assert!((75..=125).contains(&count), "{count} pictures of three seconds");
    let (_, times) = packets(&part, "v");
    assert!(times.iter().all(|time| *time < 5.2), "it begins at 0: {times:?}");

    // To standard output, beside a server that has the folder open; and the same from that server.
    let server = Server::start(serve(&data));
    let piped = export(&["--stream", "gate", "--data", data_text, "--out", "-", "--format", "mkv"]);
    assert!(piped.status.success(), "{}", said(&piped));
    assert!(piped.stdout == std::fs::read(of("all.mkv")).unwrap());
    let remote = Command::new(env!("CARGO_BIN_EXE_vidicon"))
        .args(["export", "--stream", "gate", "--url", &server.url, "--out", "-", "--format", "mp4"])
        .env("VIDICON_ACCESS_KEY_ID", KEY)
        .env("VIDICON_SECRET_ACCESS_KEY", SECRET)
        .output()
        .unwrap();
    assert!(remote.status.success(), "{}", said(&remote));
    assert!(remote.stdout == std::fs::read(of("all.mp4")).unwrap());

    // And the check, beside it.
    let check = |more: &[&str]| {
        let check = Command::new(env!("CARGO_BIN_EXE_vidicon"))
            .args(["check", "--data", data_text])
            .args(more)
            .output()
            .unwrap();
        (check.status.code().unwrap(), String::from_utf8_lossy(&check.stdout).into_owned(), said(&check))
    };
    let (code, _, error) = check(&[]);
    assert!(code == 3 && error.contains("use --online"), "{code}: {error}");
    let (code, text, error) = check(&["--online", "--deep", "--rate", "500", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(code == 0 && report["clean"] == true, "{code}: {text}{error}");
    drop(server);

    // A payload is damaged: it is named, left out, and the export says so.
    let segment = std::fs::read_dir(data.join("segments")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4].iter_mut().for_each(|b| *b ^= 0xff);
    std::fs::write(&segment, bytes).unwrap();
    let damaged = of("damaged.mkv");
    let output = export(&["--stream", "gate", "--data", data_text, "--out", damaged.to_str().unwrap()]);
    assert!(output.status.success() && said(&output).contains("checksum"), "{}", said(&output));
    let whole = decodes(&damaged);
    assert!((240..300).contains(&whole), "{whole}");
    assert_eq!(check(&["--deep"]).0, 1);
    let (code, text, _) = check(&["--deep", "--repair", "--dry-run"]);
    assert!(code == 1 && text.contains("repair: would take stream 1 fragment"), "{text}");
    let (code, text, _) = check(&["--deep", "--repair"]);
    assert!(code == 0 && text.contains("note: in quarantine"), "{text}");
    let (code, _, error) = check(&["--deep", "--rebuild"]);
    assert!(code == 0 && error.contains("before-rebuild"), "{error}");
    assert_eq!(check(&["--data", "/nonexistent"]).0, 2, "given twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_other_codecs_and_other_tracks_are_told_and_nothing_half_made_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let (Some(aac), Some(opus), Some(wide)) = (
        clip(folder.path(), "320x180", "aac"),
        clip(folder.path(), "320x180", "libopus"),
        clip(folder.path(), "640x360", "aac"),
    ) else {
        return;
    };
    let data = folder.path().join("data");
    record(&data, "gap", &aac, T0, 5..7).await;
    record(&data, "opus", &opus, T0, 0..0).await;
    record(&data, "both", &aac, T0, 0..0).await;
    record(&data, "both", &wide, T0 + 60_000, 0..0).await;
    // The same tracks again, a minute later: one file, with a gap.
    record(&data, "gap", &aac, T0 + 60_000, 0..0).await;
    let run = |stream: &str, file: &str, more: &[&str]| {
        let path = folder.path().join(file);
        let arguments =
            [&["--stream", stream, "--data", data.to_str().unwrap(), "--out", path.to_str().unwrap()], more].concat();
        let output = export(&arguments);
        (output.status.code().unwrap(), said(&output), path)
    };
    for file in ["gap.mkv", "gap.mp4"] {
        let (code, text, path) = run("gap", file, &[]);
        assert!(code == 0 && text.matches("gap: ").count() == 2, "{text}");
        let (_, times) = packets(&path, "v");
        let last = times.iter().fold(0.0f64, |a, b| a.max(*b));
        assert!((71.0..72.1).contains(&last), "the timeline goes on over gaps: {last}");
        decodes(&path);
    }
    let (code, text, path) = run("opus", "opus.mp4", &[]);
    assert!(code == 2 && text.contains("A_OPUS") && text.contains("choose mkv") && !path.exists(), "{code} {text}");
    let (code, _, path) = run("opus", "opus.mkv", &[]);
    assert_eq!((code, decodes(&path)), (0, 300));
    assert_eq!(packets(&path, "a").0, packets(&opus, "a").0);

    let (code, text, _) = run("both", "both.mkv", &[]);
    assert!(code == 1 && text.contains("tracks change"), "{text}");
    let (code, text, path) = run("both", "wide.mkv", &["--from", "2026-11-23T06:01:00Z"]);
    assert_eq!((code, decodes(&path)), (0, 300), "{text}");
    let (code, text, _) = run("none", "none.mkv", &[]);
    assert!(code == 1 && text.contains("no stream none"), "{text}");
    let (code, text, _) = run("gap", "empty.mkv", &["--to", "1000"]);
    assert!(code == 1 && text.contains("nothing is recorded"), "{text}");
    for wrong in [&["--from", "soon"][..], &["--from", "5", "--to", "4"]] {
        assert_eq!(run("gap", "wrong.mkv", wrong).0, 2);
    }
    let (code, text, _) = run("gap", "nameless", &[]);
    assert!(code == 2 && text.contains("--format"), "{text}");
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let half: Vec<_> = left
        .iter()
        .filter(|n| n.ends_with(".part") || ["both.mkv", "none.mkv", "wrong.mkv"].contains(&n.as_str()))
        .collect();
    assert!(half.is_empty(), "{half:?}");
}
