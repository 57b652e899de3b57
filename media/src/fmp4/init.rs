//! The init segment: `ftyp` and `moov`.

use super::{
    Codec, Error, Shown,
    boxes::{put_box, put_full_box, put_matrix, put_u16s, put_u32s},
    shown,
};
use crate::{Header, TrackKind, h264};
use bytes::{BufMut, Bytes, BytesMut};

/// The init segment for media segments of fragments under this header. The same header gives the same bytes.
pub fn init(header: &Header) -> Result<Bytes, Error> {
    let tracks = shown(header);
    if tracks.is_empty() {
        return Err(Error::NothingPlayable);
    }
    let mut out = BytesMut::with_capacity(1024);
    put_box(&mut out, b"ftyp", |out| {
        out.put_slice(b"iso6");
        out.put_u32(0);
        // Composition offsets may be negative (iso4 and later), and fragments stand alone (iso6, cmfc).
        out.put_slice(b"iso6cmfcmp41");
    });
    put_box(&mut out, b"moov", |out| {
        put_full_box(out, b"mvhd", 0, 0, |out| {
            // Created, modified; 1000 ticks a second; a duration that fragments give.
            put_u32s(out, &[0, 0, 1000, 0]);
            out.put_u32(0x0001_0000);
            out.put_u16(0x0100);
            out.put_bytes(0, 10);
            put_matrix(out);
            out.put_bytes(0, 24);
            let next = tracks.iter().map(|shown| shown.track.number).max().unwrap_or(0);
            out.put_u32(u32::from(next) + 1);
        });
        tracks.iter().for_each(|shown| put_track(out, shown));
        put_box(out, b"mvex", |out| {
            for shown in &tracks {
                put_full_box(out, b"trex", 0, 0, |out| {
                    // Track, sample description 1, and no defaults: `tfhd` and `trun` say everything.
                    put_u32s(out, &[u32::from(shown.track.number), 1, 0, 0, 0]);
                });
            }
        });
    });
    Ok(out.freeze())
}

fn put_track(out: &mut BytesMut, shown: &Shown<'_>) {
    let video = shown.track.kind == TrackKind::Video;
    let (width, height) = size(shown);
    put_box(out, b"trak", |out| {
        // Enabled, in the movie.
        put_full_box(out, b"tkhd", 0, 3, |out| {
            put_u32s(out, &[0, 0, u32::from(shown.track.number), 0, 0, 0, 0]);
            // Layer, alternate group, volume, reserved.
            put_u16s(out, &[0, 0, if video { 0 } else { 0x0100 }, 0]);
            put_matrix(out);
            out.put_u32(u32::from(width) << 16);
            out.put_u32(u32::from(height) << 16);
        });
        put_box(out, b"mdia", |out| {
            put_full_box(out, b"mdhd", 0, 0, |out| {
                put_u32s(out, &[0, 0, shown.timescale(), 0]);
                // Language "und".
                out.put_u16(0x55C4);
                out.put_u16(0);
            });
            put_full_box(out, b"hdlr", 0, 0, |out| {
                out.put_u32(0);
                out.put_slice(if video { b"vide" } else { b"soun" });
                out.put_bytes(0, 12);
                out.put_u8(0);
            });
            put_box(out, b"minf", |out| {
                if video {
                    put_full_box(out, b"vmhd", 0, 1, |out| out.put_bytes(0, 8));
                } else {
                    put_full_box(out, b"smhd", 0, 0, |out| out.put_bytes(0, 4));
                }
                put_box(out, b"dinf", |out| {
                    put_full_box(out, b"dref", 0, 0, |out| {
                        out.put_u32(1);
                        // Media is in this file.
                        put_full_box(out, b"url ", 0, 1, |_| {});
                    });
                });
                put_sample_table(out, shown, width, height);
            });
        });
    });
}

fn put_sample_table(out: &mut BytesMut, shown: &Shown<'_>, width: u16, height: u16) {
    put_box(out, b"stbl", |out| {
        put_full_box(out, b"stsd", 0, 0, |out| {
            out.put_u32(1);
            match &shown.codec {
                Codec::H264 { avcc, .. } => put_video_entry(out, b"avc1", width, height, b"avcC", avcc),
                Codec::H265 => put_video_entry(out, b"hvc1", width, height, b"hvcC", &shown.track.codec_private),
                Codec::Aac(config) => put_aac_entry(out, shown, config.channels, config.sample_rate_hz),
            }
        });
        // No samples here: they are in the fragments.
        for kind in [b"stts", b"stsc", b"stco"] {
            put_full_box(out, kind, 0, 0, |out| out.put_u32(0));
        }
        put_full_box(out, b"stsz", 0, 0, |out| out.put_u64(0));
    });
}

/// A VisualSampleEntry (ISO/IEC 14496-12, section 12.1.3) with its configuration record.
fn put_video_entry(out: &mut BytesMut, kind: &[u8; 4], width: u16, height: u16, config: &[u8; 4], record: &[u8]) {
    put_box(out, kind, |out| {
        out.put_bytes(0, 6);
        out.put_u16(1);
        out.put_bytes(0, 16);
        out.put_u16(width);
        out.put_u16(height);
        // 72 dpi both ways, one frame per sample, no compressor name, 24 bits of depth.
        out.put_u32(0x0048_0000);
        out.put_u32(0x0048_0000);
        out.put_u32(0);
        out.put_u16(1);
        out.put_bytes(0, 32);
        out.put_u16(24);
        out.put_u16(0xFFFF);
        put_box(out, config, |out| out.put_slice(record));
    });
}

/// An AudioSampleEntry (section 12.2.3) with an `esds` (ISO/IEC 14496-14, section 5.6).
fn put_aac_entry(out: &mut BytesMut, shown: &Shown<'_>, channels: u8, rate: u32) {
    let stated = shown.track.audio.map_or(2, |(_, channels)| channels);
    put_box(out, b"mp4a", |out| {
        out.put_bytes(0, 6);
        out.put_u16(1);
        out.put_bytes(0, 8);
        out.put_u16(u16::from(if channels > 0 { channels } else { stated }));
        out.put_u16(16);
        out.put_u32(0);
        // 16.16; a rate above 65 535 is said by the configuration alone.
        out.put_u32(u16::try_from(rate).map_or(0, |rate| u32::from(rate) << 16));
        put_full_box(out, b"esds", 0, 0, |out| {
            // A configuration of more than 64 bytes does not exist; descriptor lengths stay in one byte.
            let config = &shown.track.codec_private[..shown.track.codec_private.len().min(64)];
            let len = config.len() as u8;
            // ES descriptor: id, no flags.
            out.put_slice(&[0x03, 23 + len, 0, 0, 0]);
            // Decoder configuration: MPEG-4 audio, an audio stream; buffer size and rates not stated.
            out.put_slice(&[0x04, 15 + len, 0x40, 0x15]);
            out.put_bytes(0, 11);
            out.put_slice(&[0x05, len]);
            out.put_slice(config);
            // Sync layer: as in MP4 files.
            out.put_slice(&[0x06, 1, 0x02]);
        });
    });
}

/// Picture size in pixels: what the SPS says, else the header.
fn size(shown: &Shown<'_>) -> (u16, u16) {
    let sps = match &shown.codec {
        Codec::H264 { avcc, .. } => {
            h264::Avcc::parse(avcc).ok().and_then(|avcc| h264::sps_info(avcc.sps().first()?).ok())
        }
        _ => None,
    };
    let (width, height) = sps.map(|sps| (sps.width, sps.height)).or(shown.track.size).unwrap_or((0, 0));
    let side = |pixels| u16::try_from(pixels).unwrap_or(u16::MAX);
    (side(width), side(height))
}
