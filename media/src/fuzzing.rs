//! Bodies of fuzz targets: bytes in, no panic, and what must hold of the result. `./run fuzz` runs them; the tests below run each over
//! random bytes too.

use crate::{
    Chunks, Event, Fragment, FragmentMeta, FragmentNumber, Frame, Header, Start, Track, TrackKind, UnixMicros,
    UnixMillis,
    aac::AudioSpecificConfig,
    codecs, describe, fmp4,
    fragmenter::{FRAME_OVERHEAD, Fragmenter, Limits},
    h264, hevc, mkv, rtp,
};
use bytes::Bytes;

/// A header that can be read is read again from its own bytes, and its tracks survive being written.
pub fn mkv_header(data: &[u8]) {
    let data = Bytes::copy_from_slice(data);
    let Ok(header) = mkv::parse_header(&data) else { return };
    assert!(data.starts_with(&header.bytes));
    assert_eq!(mkv::parse_header(&header.bytes).as_ref(), Ok(&header));
    let written = mkv::write_header(&header.tracks);
    assert_eq!(mkv::parse_header(&written.bytes).map(|h| h.tracks), Ok(header.tracks.clone()));
    let start = mkv::document_start(&header).to_bytes();
    assert_eq!(mkv::parse_header(&start).map(|h| h.tracks), Ok(header.tracks.clone()));
    let _ = (describe(&header), codecs(&header), fmp4::init(&header));
}

/// Tags take no more bytes than what they were read from, and survive being written.
pub fn mkv_tags(data: &[u8]) {
    let Ok(tags) = mkv::parse_tags(data) else { return };
    // A byte that is no UTF-8 becomes three.
    assert!(tags.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= 3 * data.len());
    assert_eq!(mkv::parse_tags(&mkv::write_tags(&tags)), Ok(tags));
}

/// Frames take no more bytes than their cluster, and survive being written.
pub fn mkv_cluster(data: &[u8]) {
    let header = header();
    let data = Bytes::copy_from_slice(data);
    let mut total = 0;
    for piece in mkv::pieces(&data).flatten() {
        total += match piece {
            mkv::Piece::Header(header) => header.bytes.len(),
            mkv::Piece::Cluster(bytes) | mkv::Piece::Other(bytes) => bytes.len(),
        };
    }
    assert!(total <= data.len());
    let Ok(frames) = mkv::parse_cluster(&header, &data) else { return };
    assert!(frames.iter().map(|frame| frame.data.len()).sum::<usize>() <= data.len());
    let Some(first) = frames.first() else { return };
    let mut writer = mkv::ClusterWriter::new(first.time.to_millis());
    let written: Vec<Frame> = frames.into_iter().filter(|frame| writer.push(frame).is_ok()).collect();
    let cluster = writer.finish();
    let cut = |frame: &Frame| Frame { time: frame.time.to_millis().to_micros(), ..frame.clone() };
    let expected: Vec<Frame> = written.iter().map(cut).collect();
    assert_eq!(mkv::parse_chunks(&header, &cluster).as_ref(), Ok(&expected));
    assert_eq!(mkv::parse_cluster(&header, &cluster.to_bytes()).as_ref(), Ok(&expected));
}

/// A session gives the same whole and in pieces. Its clusters are read as they were said, also where they are split before each
/// key frame, and take no more bytes than came in.
pub fn mkv_session(data: &[u8]) {
    let Some((&[cut, split], data)) = data.split_first_chunk::<2>() else { return };
    let cut = usize::from(cut).max(1);
    let split = split & 1 == 1;
    assert_eq!(session(data.chunks(cut), split), session([data], split));
    let (_, bytes) = session([data], false);
    assert!(bytes <= data.len());
}

/// What a session says, as text, and how many bytes its clusters have.
fn session<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, split: bool) -> (Vec<String>, usize) {
    use mkv::session::{Event, Limits, Session};
    let limits = Limits { header_bytes: 512, tags_bytes: 64, cluster_bytes: 300 };
    let mut session = Session::new(limits);
    let (mut said, mut bytes, mut frames) = (Vec::new(), 0, Vec::new());
    // Without a header of its own, bytes are tried as what follows one.
    let header = header();
    session.push(header.bytes.clone());
    let mut pieces = pieces.into_iter();
    loop {
        match session.poll() {
            Ok(None) => match pieces.next() {
                Some(piece) => session.push(Bytes::copy_from_slice(piece)),
                None if said.last().is_some_and(|last| last == "end of input") => return (said, bytes),
                None => {
                    said.push("end of input".to_owned());
                    session.end();
                }
            },
            Ok(Some(Event::End(cluster))) => {
                bytes += cluster.len();
                let header = session.header().expect("a header comes first");
                assert_eq!(mkv::parse_chunks(header, &cluster).as_ref(), Ok(&frames));
                said.push(format!("end {:?}", cluster.to_bytes()));
                frames.clear();
            }
            Ok(Some(Event::Frame { frame, first_of_block })) => {
                if split
                    && frame.key
                    && first_of_block
                    && !frames.is_empty()
                    && let Some((cluster, _)) = session.split()
                {
                    let header = session.header().expect("a header comes first");
                    assert_eq!(mkv::parse_chunks(header, &cluster).as_ref(), Ok(&frames));
                    frames.clear();
                }
                said.push(format!("{frame:?}"));
                frames.push(frame);
            }
            Ok(Some(event)) => {
                frames.clear();
                said.push(format!("{event:?}"));
            }
            Err(error) => {
                said.push(error.to_string());
                return (said, bytes);
            }
        }
    }
}

/// A parameter set has a picture; a configuration record survives being written.
pub fn h264_sps(data: &[u8]) {
    if let Ok(info) = h264::sps_info(data) {
        assert!(info.width > 0 && info.height > 0);
        assert!(info.width <= 32_768 && info.height <= 32_768);
    }
    let _ = hevc::codec_string(data);
    let Ok(avcc) = h264::Avcc::parse(data) else { return };
    assert!(h264::codec_string(&avcc).starts_with("avc1."));
    let Ok(again) = h264::Avcc::parse(&h264::Avcc::from_parameter_sets(avcc.sps(), avcc.pps())) else {
        panic!("a record of valid parameter sets can be read")
    };
    assert_eq!((again.sps(), again.pps()), (avcc.sps(), avcc.pps()));
}

/// NAL units take no more bytes than their frame, and neither do the packets made of it.
pub fn h264_nals(data: &[u8]) {
    let Some((&first, data)) = data.split_first() else { return };
    let frame = Bytes::copy_from_slice(data);
    let length_size = (first & 3) + 1;
    let units = h264::nal_units(&frame, length_size).flatten();
    assert!(units.inspect(|unit| _ = h264::is_b_slice(unit)).map(|unit| unit.len()).sum::<usize>() <= frame.len());
    let converted = h264::annexb_to_lengths(&frame);
    assert!(h264::nal_units(&converted, 4).all(|unit| unit.is_ok()));
    let mtu = usize::from(first >> 2) + 16;
    let mut payloads = Vec::new();
    rtp::h264::packetize(&frame, length_size, None, mtu, &mut payloads);
    assert!(payloads.iter().all(|payload| payload.len() <= mtu && !payload.is_empty()));
    assert!(payloads.iter().map(|payload| payload.body.len()).sum::<usize>() <= frame.len());
}

/// A configuration has a rate.
pub fn aac_asc(data: &[u8]) {
    if let Ok(config) = AudioSpecificConfig::parse(data) {
        assert!(config.sample_rate_hz > 0 && config.samples_per_frame > 0 && config.channels <= 8);
    }
}

/// Whatever comes, fragments begin and end in turn, begin with a key frame, and fit their limits and a cluster.
/// Each 4 bytes are a frame or a call: what it is, its length, and how far its time is from the last.
pub fn fragmenter(data: &[u8]) {
    let limits = Limits { max_bytes: 4096, ..Limits::default() };
    let (mut fragmenter, mut events, mut pushed) = (Fragmenter::new(limits), Vec::new(), 0);
    let (both, sound) = (header(), mkv::write_header(&header().tracks[1..]));
    fragmenter.header(both.clone().shared());
    let mut time = UnixMicros(1_795_413_681_042_000);
    for &[what, len, high, low] in data.as_chunks::<4>().0 {
        time = time.plus(i64::from(i16::from_be_bytes([high, low])) * 1000);
        match what >> 5 {
            0 => fragmenter.header(sound.clone().shared()),
            1 => fragmenter.header(both.clone().shared()),
            2 => fragmenter.discontinuity(crate::Cause::PacketLoss),
            _ => {
                let data = vec![0; usize::from(len) * 8].into();
                fragmenter.push(Frame { track: what & 3, time, key: what & 4 != 0, data }, &mut events);
                pushed += 1;
            }
        }
    }
    fragmenter.finish(&mut events);
    let mut open: Option<(Start, mkv::ClusterWriter, usize)> = None;
    let mut kept = 0;
    for event in events {
        match event {
            Event::Begin(start) => {
                assert!(open.is_none());
                let writer = mkv::ClusterWriter::new(start.producer_start);
                open = Some((start, writer, 0));
            }
            Event::Frame(frame) => {
                let (start, writer, bytes) = open.as_mut().expect("a frame comes after a beginning");
                let first = writer.frames() == 0;
                assert!(!first || start.producer_start == frame.time.to_millis());
                assert!(!first || start.header.video().is_none_or(|video| frame.key && frame.track == video.number));
                assert!(start.header.track(frame.track).is_some());
                *bytes += frame.data.len() + FRAME_OVERHEAD;
                assert!(*bytes <= limits.max_bytes);
                writer.push(&frame).expect("a fragment fits a cluster");
                kept += 1;
            }
            Event::End => assert!(open.take().is_some_and(|(_, writer, _)| writer.frames() > 0)),
        }
    }
    assert!(open.is_none());
    assert_eq!(kept + fragmenter.dropped_frames(), pushed);
}

/// Any cluster, whole or in two pieces, gives a media segment or an error.
pub fn fmp4_segment(data: &[u8]) {
    let Some((&first, data)) = data.split_first() else { return };
    let cluster = Bytes::copy_from_slice(data);
    let at = usize::from(first).min(cluster.len());
    let pieces: Chunks = [cluster.slice(..at), cluster.slice(at..)].into_iter().collect();
    let mut segments = [cluster.into(), pieces].map(|cluster: Chunks| {
        let header = header();
        let meta = FragmentMeta {
            number: FragmentNumber::new(1, 0, 0),
            producer_start: UnixMillis(0),
            server_start: UnixMillis(0),
            duration_ms: 1000,
            bytes: cluster.len() as u32,
            lead_bytes: 0,
            frames: 0,
            crc32c: 0,
            header: header.id,
            cause: None,
            encrypted: false,
        };
        fmp4::segment(&Fragment { meta, header: header.shared(), lead: Bytes::new(), cluster }, 1)
            .map(|segment| segment.to_bytes())
    });
    let [whole, in_pieces] = &mut segments;
    assert_eq!(whole, in_pieces);
}

/// A header of pictures and sound that MP4 can show.
fn header() -> Header {
    let track = |number, kind, codec_id: &str, codec_private: &'static [u8]| Track {
        number,
        kind,
        codec_id: codec_id.to_owned(),
        codec_private: Bytes::from_static(codec_private),
        size: None,
        audio: None,
    };
    let avcc = &[1, 66, 0, 30, 0xFF, 0xE1, 0, 4, 0x67, 66, 0, 30, 0];
    mkv::write_header(&[
        track(1, TrackKind::Video, Track::H264, avcc),
        track(2, TrackKind::Audio, Track::AAC, &[0x11, 0x90]),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Random bytes, and bytes that look like what the parsers want for a while.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let header = header().bytes.to_vec();
        let cluster: &[u8] =
            b"\x1F\x43\xB6\x75\xFF\xE7\x82\x01\x02\xA3\x85\x81\0\0\x80x\xA3\x88\x82\0\x01\x06\x02\x81\xBFx";
        let sps: &[u8] = &[0x67, 0x64, 0, 0x1f, 0xac, 0xd9, 0x40, 0x50, 0x05, 0xbb, 0x01, 0x10];
        let avcc: &[u8] = &[1, 100, 0, 31, 0xFF, 0xE1, 0, 4, 0x67, 100, 0, 31, 1, 0, 2, 0x68, 1];
        let seed = prop_oneof![
            Just(Vec::new()),
            Just(header),
            Just(cluster.to_vec()),
            Just(sps.to_vec()),
            Just(avcc.to_vec()),
            Just(vec![0, 0, 0, 1, 0x67, 1, 2, 3, 0, 0, 1]),
            Just(mkv::write_tags(&[("A", "1"), ("B", "")]).to_vec()),
        ];
        let tail = proptest::collection::vec(any::<u8>(), 0..120);
        let change = proptest::option::of((any::<prop::sample::Index>(), any::<u8>()));
        (seed, tail, change).prop_map(|(mut bytes, tail, change)| {
            bytes.extend(tail);
            if let Some((at, byte)) = change.filter(|_| !bytes.is_empty()) {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn every_target_holds_for_any_bytes(bytes in bytes()) {
            mkv_header(&bytes);
            mkv_cluster(&bytes);
            mkv_tags(&bytes);
            mkv_session(&bytes);
            h264_sps(&bytes);
            h264_nals(&bytes);
            aac_asc(&bytes);
            fragmenter(&bytes);
            fmp4_segment(&bytes);
        }
    }
}
