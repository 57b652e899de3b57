//! How many bytes of Matroska a second the core of PutMedia takes, on one connection and one thread.
//!
//! The session is that of a camera of 1920×1080 at 30 pictures a second with sound, in clusters of unknown size. `core` takes it in
//! pieces of 64 KiB, as a fast connection gives them; `core_short_pieces` in pieces of 8 KiB, which it copies. Beside it, over the same
//! pieces: `crc32c`, which the store does to every byte once, and `copy`.

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ingest::putmedia::core::{Core, Limits, Options, Output, Policy, Timecode};
use media::{Track, TrackKind, mkv};
use std::hint::black_box;

/// Fragments of two seconds in one session.
const FRAGMENTS: u64 = 40;

fn element(out: &mut Vec<u8>, id: &[u8], body: &[&[u8]]) {
    let len: usize = body.iter().map(|part| part.len()).sum();
    out.extend_from_slice(id);
    out.extend_from_slice(&(len as u64 | 1 << 56).to_be_bytes());
    body.iter().for_each(|part| out.extend_from_slice(part));
}

fn session() -> Vec<u8> {
    let track = |number, kind, codec_id: &str| Track {
        number,
        kind,
        codec_id: codec_id.to_owned(),
        codec_private: Bytes::new(),
        size: None,
        audio: None,
    };
    let tracks = [track(1, TrackKind::Video, Track::H264), track(2, TrackKind::Audio, Track::AAC)];
    let mut out = mkv::write_header(&tracks).bytes.to_vec();
    // Bytes that no compiler and no page can make simple.
    let noise: Vec<u8> = (0..200_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for fragment in 0..FRAGMENTS {
        out.extend_from_slice(&[0x1F, 0x43, 0xB6, 0x75, 0xFF]);
        element(&mut out, &[0xE7], &[&(1_795_404_896_353 + fragment * 2000).to_be_bytes()]);
        for picture in 0..60u16 {
            let key = picture == 0;
            let [high, low] = (picture * 100 / 3).to_be_bytes();
            let len = if key { 150_000 } else { 8000 + usize::from(picture) * 211 % 9000 };
            element(&mut out, &[0xA3], &[&[0x81, high, low, if key { 0x80 } else { 0 }], &noise[..len]]);
            element(&mut out, &[0xA3], &[&[0x82, high, low, 0], &noise[..300]]);
            element(&mut out, &[0xA3], &[&[0x82, high, low, 0], &noise[..280]]);
        }
    }
    out
}

fn run(pieces: &[Bytes]) -> usize {
    let options = Options { timecode: Timecode::Absolute, limits: Limits::default(), policy: Policy::Lenient };
    let mut core = Core::new(options);
    let mut bytes = 0;
    let mut take = |core: &mut Core| {
        while let Some(output) = core.poll() {
            match output {
                Output::End { cluster, .. } => bytes += cluster.len(),
                Output::Failed(fault) => panic!("{fault}"),
                output => drop(black_box(output)),
            }
        }
    };
    for piece in pieces {
        core.handle_input(piece.clone());
        take(&mut core);
    }
    core.handle_end(true);
    take(&mut core);
    bytes
}

fn parse_rate(criterion: &mut Criterion) {
    let bytes = Bytes::from(session());
    let cut = |size: usize| -> Vec<Bytes> { bytes.chunks(size).map(Bytes::copy_from_slice).collect() };
    let (pieces, short) = (cut(64 << 10), cut(8 << 10));
    let header = mkv::parse_header(&bytes).expect("a header was written").bytes.len();
    assert_eq!(run(&pieces), bytes.len() - header, "every byte of every cluster comes out");
    let mut group = criterion.benchmark_group("mkv_parse_rate");
    group.throughput(Throughput::Bytes(bytes.len() as u64)).sample_size(20);
    group.bench_function("core", |b| b.iter(|| run(&pieces)));
    group.bench_function("core_short_pieces", |b| b.iter(|| run(&short)));
    group.bench_function("crc32c", |b| {
        b.iter(|| pieces.iter().fold(0, |crc, piece| crc32c::crc32c_append(crc, black_box(piece))));
    });
    group.bench_function("copy", |b| {
        b.iter_batched_ref(
            || vec![0u8; 64 << 10],
            |to| pieces.iter().for_each(|piece| black_box(&mut to[..piece.len()]).copy_from_slice(black_box(piece))),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, parse_rate);
criterion_main!(benches);
