//! What a header's tracks are, in words for people and in RFC 6381 names for players of its media segments.

use crate::{Header, Track, TrackKind, aac::AudioSpecificConfig, fmp4, h264};

/// The tracks in words, such as `H.264 High 1280×720 · AAC 48 kHz stereo`. An unknown codec goes by its Matroska ID.
pub fn describe(header: &Header) -> String {
    let tracks: Vec<String> = header.tracks.iter().map(describe_track).collect();
    tracks.join(" · ")
}

/// The codecs of the tracks that media segments show ([`crate::fmp4`]), as a list after RFC 6381:
/// `avc1.64001f,mp4a.40.2`. A player refuses a list with a codec it does not know, so others are not in it.
pub fn codecs(header: &Header) -> String {
    fmp4::codec_strings(header).join(",")
}

fn describe_track(track: &Track) -> String {
    let mut words = vec![codec_words(track)];
    match track.kind {
        TrackKind::Video => {
            let sps = || sps_of(track).map(|sps| (sps.width, sps.height));
            words.extend(sps().or(track.size).map(|(width, height)| format!("{width}×{height}")));
        }
        TrackKind::Audio => {
            let config = || AudioSpecificConfig::parse(&track.codec_private).ok().filter(|_| track.is_aac());
            let (rate, channels) = match (config(), track.audio) {
                (Some(config), _) if config.channels > 0 => (config.sample_rate_hz, config.channels),
                (_, Some(audio)) => audio,
                _ => return words.join(" "),
            };
            words.push(format!("{} kHz", f64::from(rate) / 1000.0));
            words.push(match channels {
                1 => "mono".to_owned(),
                2 => "stereo".to_owned(),
                n => format!("{n} channels"),
            });
        }
        TrackKind::Data => {}
    }
    words.join(" ")
}

fn codec_words(track: &Track) -> String {
    if track.is_h264() {
        return match sps_of(track).and_then(|sps| profile_word(sps.profile_idc, sps.constraint)) {
            Some(profile) => format!("H.264 {profile}"),
            None => "H.264".to_owned(),
        };
    }
    let name = match track.codec_id.as_str() {
        "V_MPEGH/ISO/HEVC" => "H.265",
        "V_MPEGI/ISO/VVC" => "H.266",
        "V_VP8" => "VP8",
        "V_VP9" => "VP9",
        "V_AV1" => "AV1",
        "V_MJPEG" => "Motion JPEG",
        "V_MPEG4/ISO/SP" | "V_MPEG4/ISO/ASP" | "V_MPEG4/ISO/AP" => "MPEG-4 Visual",
        "V_MS/VFW/FOURCC" => return fourcc(track),
        Track::AAC => "AAC",
        Track::OPUS => "Opus",
        "A_VORBIS" => "Vorbis",
        "A_FLAC" => "FLAC",
        "A_AC3" => "AC-3",
        "A_MPEG/L3" => "MP3",
        "A_MPEG/L2" => "MPEG audio layer 2",
        "A_PCM/INT/LIT" | "A_PCM/INT/BIG" | "A_PCM/FLOAT/IEEE" => "PCM",
        // WAVEFORMATEX: the format tag comes first, little endian.
        "A_MS/ACM" => match track.codec_private.get(..2) {
            Some([6, 0]) => "G.711 A-law",
            Some([7, 0]) => "G.711 µ-law",
            _ => "A_MS/ACM",
        },
        id if id.starts_with("A_AAC/") => "AAC",
        "D_KLV" => "KLV metadata",
        id => id,
    };
    name.to_owned()
}

/// BITMAPINFOHEADER has the FourCC at byte 16.
fn fourcc(track: &Track) -> String {
    match track.codec_private.get(16..20) {
        Some(code) if code.iter().all(u8::is_ascii_graphic) => String::from_utf8_lossy(code).into_owned(),
        _ => track.codec_id.clone(),
    }
}

fn sps_of(track: &Track) -> Option<h264::SpsInfo> {
    if !track.is_h264() {
        return None;
    }
    h264::sps_info(h264::Avcc::parse(&track.codec_private).ok()?.sps().first()?).ok()
}

/// Profile names of H.264, annex A.
fn profile_word(profile_idc: u8, constraint: u8) -> Option<&'static str> {
    Some(match profile_idc {
        66 if constraint & 0x40 != 0 => "Constrained Baseline",
        66 => "Baseline",
        77 => "Main",
        88 => "Extended",
        100 => "High",
        110 => "High 10",
        122 => "High 4:2:2",
        244 => "High 4:4:4 Predictive",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mkv;
    use bytes::Bytes;

    fn track(kind: TrackKind, codec_id: &str, codec_private: &'static [u8]) -> Track {
        let codec_private = Bytes::from_static(codec_private);
        Track { number: 1, kind, codec_id: codec_id.to_owned(), codec_private, size: None, audio: None }
    }

    #[test]
    fn pictures_and_sound_in_words_and_names() {
        // A High profile SPS cut after the size, as the codec private data of x264 begins.
        let avcc: &[u8] = &[
            1, 0x64, 0, 0x1f, 0xff, 0xe1, 0, 13, 0x67, 0x64, 0x00, 0x1f, 0xac, 0xd9, 0x40, 0x50, 0x05, 0xbb, 0x01,
            0x10, 0, 0,
        ];
        let video = track(TrackKind::Video, Track::H264, avcc);
        let sound = track(TrackKind::Audio, Track::AAC, &[0x11, 0x90]);
        let header = mkv::write_header(&[video, sound]);
        assert_eq!(describe(&header), "H.264 High 1280×720 · AAC 48 kHz stereo");
        assert_eq!(codecs(&header), "avc1.64001f,mp4a.40.2");
    }

    #[test]
    fn other_codecs_have_names_too() {
        let mut hevc = track(TrackKind::Video, "V_MPEGH/ISO/HEVC", &[]);
        hevc.size = Some((1920, 1080));
        let mut pcmu = track(TrackKind::Audio, "A_MS/ACM", &[7, 0, 1, 0]);
        pcmu.audio = Some((8000, 1));
        let mut opus = track(TrackKind::Audio, "A_OPUS", &[]);
        opus.audio = Some((48_000, 6));
        let odd = track(TrackKind::Data, "D_X", &[]);
        let broken = track(TrackKind::Video, Track::H264, &[1, 2, 3]);
        let header = mkv::write_header(&[hevc, pcmu, opus, odd, broken]);
        let words = "H.265 1920×1080 · G.711 µ-law 8 kHz mono · Opus 48 kHz 6 channels · D_X · H.264";
        assert_eq!(describe(&header), words);
        assert_eq!(codecs(&header), "", "none of them is shown");
    }
}
