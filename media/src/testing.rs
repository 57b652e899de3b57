//! Helps for tests: what lies beside the repository, where it does.
#![allow(clippy::print_stdout)]

use crate::{Event, Fragment, FragmentMeta, FragmentNumber, Fragmenter, Frame, Header, Start, fragmenter, mkv};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The path of a file of the shared material; `None`, with a line saying so, where that is not.
pub(crate) fn shared_path(name: &str) -> Option<PathBuf> {
    let beside = || concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared").into();
    let root: PathBuf = std::env::var_os("VIDICON_SHARED").map_or_else(beside, PathBuf::from);
    let path = root.join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: ../shared is not here ({name})");
    None
}

/// The bytes of a file of the shared material.
pub(crate) fn shared(name: &str) -> Option<Vec<u8>> {
    Some(std::fs::read(shared_path(name)?).expect("a file that exists can be read"))
}

/// Runs a program; `None`, with a line saying so, where it is not installed. Its standard output, which it must have
/// ended with success and without a word on standard error.
pub(crate) fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let output = match Command::new(program).args(arguments).stdin(Stdio::null()).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: {program} is not installed");
            return None;
        }
        output => output.expect("an installed program starts"),
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{program} {arguments:?}: {errors}");
    Some(String::from_utf8(output.stdout).expect("programs print text"))
}

/// A clip as the fragments that a camera sending it from `start_ms` on would have left, by way of a Matroska file.
pub(crate) fn fragments_of_clip(clip: &Path, start_ms: i64) -> Option<Vec<Fragment>> {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let file = folder.path().join("clip.mkv");
    let (from, to) = (clip.to_str()?, file.to_str()?);
    output_of("ffmpeg", &["-v", "error", "-i", from, "-map", "0:v?", "-map", "0:a?", "-c", "copy", to])?;
    let mut header = None;
    let mut frames = Vec::new();
    for piece in mkv::pieces(&std::fs::read(file).expect("the file was written").into()) {
        match piece.expect("ffmpeg writes Matroska") {
            mkv::Piece::Header(found) => header = Some(found),
            mkv::Piece::Cluster(cluster) => {
                let header = header.as_ref().expect("a header comes first");
                frames.extend(mkv::parse_cluster(header, &cluster).expect("ffmpeg writes clusters"));
            }
            mkv::Piece::Other(_) => {}
        }
    }
    frames.iter_mut().for_each(|frame| frame.time = frame.time.plus(start_ms * 1000));
    Some(fragments(&mkv::write_header(&header.expect("a header").tracks), frames))
}

/// Frames as fragments, as a store would seal them.
pub(crate) fn fragments(header: &Header, frames: Vec<Frame>) -> Vec<Fragment> {
    let header = header.clone().shared();
    let lead = header.video().map_or(1, |track| track.number);
    let mut fragmenter = Fragmenter::new(fragmenter::Limits::default());
    fragmenter.header(header.clone());
    let mut events = Vec::new();
    frames.into_iter().for_each(|frame| fragmenter.push(frame, &mut events));
    fragmenter.finish(&mut events);

    let mut sealed = Vec::new();
    let mut open: Option<(Start, mkv::ClusterWriter, Vec<i64>)> = None;
    for event in events {
        match event {
            Event::Begin(start) => {
                let writer = mkv::ClusterWriter::new(start.producer_start);
                open = Some((start, writer, Vec::new()));
            }
            Event::Frame(frame) => {
                let (_, writer, times) = open.as_mut().expect("a fragment is open");
                writer.push(&frame).expect("a frame fits its cluster");
                times.extend((frame.track == lead).then_some(frame.time.to_millis().0));
            }
            Event::End => {
                let (start, writer, mut times) = open.take().expect("a fragment is open");
                times.sort_unstable();
                let step = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(40);
                let end = times.last().expect("a fragment has frames") + step;
                let frames = writer.frames();
                let cluster = writer.finish();
                sealed.push(Fragment {
                    meta: FragmentMeta {
                        number: FragmentNumber::new(sealed.len() as u64 + 1, 0, 0),
                        producer_start: start.producer_start,
                        server_start: start.producer_start,
                        duration_ms: (end - start.producer_start.0) as u32,
                        bytes: cluster.len() as u32,
                        lead_bytes: 0,
                        frames,
                        crc32c: 0,
                        header: header.id,
                        cause: start.cause,
                        encrypted: false,
                    },
                    header: header.clone(),
                    lead: bytes::Bytes::new(),
                    cluster,
                });
            }
        }
    }
    sealed
}
