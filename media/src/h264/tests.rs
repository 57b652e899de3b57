#![allow(clippy::unwrap_used)]

use super::*;
use bytes::Bytes;
use proptest::prelude::*;

/// x264, High, 1280×720, 25 fps, three B-frames with a pyramid.
const X264_HIGH: &[u8] = &[
    0x67, 0x64, 0x00, 0x1f, 0xac, 0xd9, 0x40, 0x50, 0x05, 0xbb, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00,
    0x03, 0x03, 0x20, 0xf1, 0x83, 0x19, 0x60,
];
const PPS: &[u8] = &[0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0];

fn avcc_bytes() -> Bytes {
    Avcc::from_parameter_sets(&[Bytes::from_static(X264_HIGH)], &[Bytes::from_static(PPS)])
}

#[test]
fn an_sps_says_size_rate_and_reordering() {
    let info = sps_info(X264_HIGH).unwrap();
    assert_eq!((info.width, info.height), (1280, 720));
    assert_eq!((info.profile_idc, info.constraint, info.level_idc), (100, 0, 31));
    assert_eq!(info.fps, Some(25.0));
    assert_eq!(info.max_num_reorder_frames, Some(2));
}

#[test]
fn an_sps_whose_end_is_missing_still_gives_the_size() {
    let info = sps_info(&X264_HIGH[..13]).unwrap();
    assert_eq!((info.width, info.height, info.fps), (1280, 720, None));
    assert!(matches!(sps_info(&X264_HIGH[..6]), Err(Error::Sps { what: "it ends too early", .. })));
    assert!(matches!(sps_info(PPS), Err(Error::Sps { at: 0, .. })));
    assert!(sps_info(&[]).is_err());
}

#[test]
fn a_configuration_record_is_read_as_it_was_written() {
    let avcc = Avcc::parse(&avcc_bytes()).unwrap();
    assert_eq!((avcc.sps(), avcc.pps(), avcc.length_size()), (&[X264_HIGH.into()][..], &[PPS.into()][..], 4));
    assert_eq!(codec_string(&avcc), "avc1.64001f");
    // High profile: the record ends with 4:2:0 and 8 bits.
    assert!(avcc_bytes().ends_with(&[0xFD, 0xF8, 0xF8, 0]));
}

#[test]
fn bare_parameter_sets_are_taken_for_a_record() {
    let annexb = [&[0, 0, 0, 1], X264_HIGH, &[0, 0, 1], PPS].concat();
    let avcc = Avcc::parse(&annexb).unwrap();
    assert_eq!(avcc, Avcc::parse(&avcc_bytes()).unwrap());
    // Found by fuzzing: more of them than a record can count.
    let many = Avcc::parse(&[&[0, 0, 1], X264_HIGH].concat().repeat(40)).unwrap();
    assert_eq!(many.sps().len(), 31);
    assert_eq!(Avcc::parse(&Avcc::from_parameter_sets(many.sps(), many.pps())), Ok(many));
}

#[test]
fn a_record_that_is_none_says_why() {
    assert_eq!(Avcc::parse(&[]).unwrap_err(), Error::Avcc { at: 0, what: "it ends too early" });
    assert_eq!(Avcc::parse(&[2, 0, 0]).unwrap_err(), Error::Avcc { at: 0, what: "its version is not 1" });
    assert!(Avcc::parse(&[1, 100, 0, 31, 255, 224, 0]).is_err());
    for cut in 0..avcc_bytes().len() - 4 {
        assert!(Avcc::parse(&avcc_bytes()[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn frames_are_cut_into_nal_units_without_copying() {
    let frame = Bytes::from_static(&[0, 0, 0, 2, 0x09, 0xF0, 0, 0, 0, 0, 0, 0, 0, 3, 0x65, 1, 2]);
    let units: Vec<_> = nal_units(&frame, 4).map(Result::unwrap).collect();
    assert_eq!(units, [&[0x09, 0xF0][..], &[0x65, 1, 2]]);
    assert_eq!(units[1].as_ptr(), frame[14..].as_ptr());
    assert!(is_idr(&frame, 4));
    let broken = frame.slice(..16);
    let units: Vec<_> = nal_units(&broken, 4).collect();
    assert_eq!(units[1..], [Err(Error::NalLength { at: 10 })]);
    assert!(!is_idr(&broken, 4));
    let short: Vec<_> = nal_units(&Bytes::from_static(&[1, 0x65, 2, 0x41, 9]), 1).map(Result::unwrap).collect();
    assert_eq!(short, [&[0x65][..], &[0x41, 9]]);
}

#[test]
fn start_codes_of_both_lengths_become_lengths() {
    let stream = Bytes::from_static(&[9, 0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 0, 0, 3, 1, 0, 0, 0, 1, 0x65, 2, 0, 0]);
    assert!(!is_annexb(&stream));
    assert!(is_annexb(&stream.slice(1..)));
    let expected = [0, 0, 0, 2, 0x67, 1, 0, 0, 0, 5, 0x68, 0, 0, 3, 1, 0, 0, 0, 2, 0x65, 2];
    assert_eq!(annexb_to_lengths(&stream), &expected[..]);
    assert_eq!(annexb_to_lengths(&Bytes::from_static(&[1, 2, 3])), Bytes::new());
    assert_eq!(annexb_to_lengths(&Bytes::from_static(&[0, 0, 1, 0, 0, 1])), Bytes::new());
}

#[test]
fn slices_of_b_pictures_are_told_apart() {
    // first_mb 0 (`1`), slice_type: 0 `1` P, 1 `010` B, 2 `011` I, 5 `00110` P, 6 `00111` B.
    for (bits, b) in [(0b1100_0000, false), (0b1010_0000, true), (0b1011_0000, false)] {
        assert_eq!(is_b_slice(&[0x41, bits]), b, "{bits:b}");
        assert!(!is_b_slice(&[0x65, bits]));
    }
    assert!(!is_b_slice(&[0x01, 0b1001_1000]));
    assert!(is_b_slice(&[0x01, 0b1001_1100]));
    // first_mb 32767 takes 31 bits, then `010`; the 3 is an emulation prevention byte.
    assert!(is_b_slice(&[0x01, 0, 1, 0, 0, 3, 0b1000_0000]));
    assert!(!is_b_slice(&[]));
    assert!(!is_b_slice(&[0x01]));
}

/// The library that `retina` reads parameter sets with agrees about all that x264 and cameras really send.
#[test]
fn the_h264_reader_library_agrees() {
    use h264_reader::{nal::sps::SeqParameterSet, rbsp};
    for name in ["kvssink-h264-session.mkv", "output_get_media.mkv"] {
        let Some(file) = crate::testing::shared(&format!("kvs/fixtures/{name}")) else { return };
        let header = crate::mkv::parse_header(&file.into()).unwrap();
        let avcc = Avcc::parse(&header.video().unwrap().codec_private).unwrap();
        let ours = sps_info(&avcc.sps()[0]).unwrap();
        let bits = rbsp::decode_nal(&avcc.sps()[0]).unwrap();
        let theirs = SeqParameterSet::from_bits(rbsp::BitReader::new(&*bits)).unwrap();
        assert_eq!(Ok((ours.width, ours.height)), theirs.pixel_dimensions().map_err(|_| ()));
        assert_eq!(ours.fps, theirs.fps());
        let reorder = theirs.vui_parameters.and_then(|v| v.bitstream_restrictions).map(|b| b.max_num_reorder_frames);
        assert_eq!(ours.max_num_reorder_frames.map(u32::from), reorder.or((ours.profile_idc == 66).then_some(0)));
    }
}

proptest! {
    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), length_size in any::<u8>()) {
        let data = Bytes::from(bytes.clone());
        let _ = Avcc::parse(&bytes);
        let _ = sps_info(&bytes);
        let _ = sps_info(&[&X264_HIGH[..4], &bytes].concat());
        let _ = is_b_slice(&bytes);
        let _ = Avcc::from_parameter_sets(std::slice::from_ref(&data), std::slice::from_ref(&data));
        let units: usize = nal_units(&data, length_size).map_while(Result::ok).map(|u| u.len()).sum();
        prop_assert!(units <= bytes.len());
        prop_assert!(annexb_to_lengths(&data).len() <= 2 * bytes.len());
    }

    #[test]
    fn units_survive_the_way_through_start_codes(units in proptest::collection::vec(proptest::collection::vec(2u8.., 1..20), 0..6)) {
        let stream: Vec<u8> = units.iter().flat_map(|u| [&[0, 0, 1], &u[..]].concat()).collect();
        let frame = annexb_to_lengths(&stream.into());
        let read: Vec<Bytes> = nal_units(&frame, 4).map(Result::unwrap).collect();
        prop_assert_eq!(read, units);
    }
}
