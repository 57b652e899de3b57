//! What a publisher offers (RFC 9725), and our answer: its H.264 and its Opus, received. Pure.

use super::core::Formats;
use crate::candidates::Candidate;
use crate::ice::Credentials;
use crate::sdp::{Description, Payload, Remote, Section, TRANSPORT_CC};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use media::h264::{nal_type, types};
use std::fmt::Write;

/// Parameter sets that are taken of a description, of each kind.
const MOST_SETS: usize = 16;
/// Level 5.2, as large as 4K: what is received is stored and not decoded.
const LEVEL: &str = "34";

/// An offer that can be answered.
pub(crate) struct Offer {
    description: Description,
    /// Index of the section with the pictures.
    video: usize,
    /// And with the sound, if it can be stored.
    audio: Option<usize>,
    /// How the publisher is reached.
    pub(crate) remote: Remote,
    /// What is received.
    pub(crate) formats: Formats,
}

/// Our side of an answer.
pub(crate) struct Local<'a> {
    /// A number of the session.
    pub(crate) session: u64,
    /// ICE user name fragment and password.
    pub(crate) ice: &'a Credentials,
    /// SHA-256 of our certificate.
    pub(crate) fingerprint: &'a str,
    /// Where we can be reached.
    pub(crate) candidates: &'a [Candidate],
}

impl Offer {
    /// Reads an offer. The error is a sentence for whoever sent it.
    pub(crate) fn parse(text: &str) -> Result<Offer, String> {
        let description = Description::parse(text)?;
        let sends = |s: &Section| {
            !matches!(s.direction.as_deref(), Some("recvonly" | "inactive")) && (s.port != 0 || s.bundle_only)
        };
        let of = |kind: &'static str| {
            description.sections.iter().enumerate().filter(move |(_, s)| s.kind == kind && sends(s))
        };
        if of("video").next().is_none() {
            return Err("no video section of it sends".to_owned());
        }
        let Some((video, section)) = of("video").find(|(_, s)| h264(s).is_some()) else {
            let mut names: Vec<String> = of("video").flat_map(|(_, s)| &s.payloads).map(codec).collect();
            names.retain(|name| !matches!(&*name.to_ascii_lowercase(), "" | "rtx" | "red" | "ulpfec" | "flexfec-03"));
            names.sort();
            names.dedup();
            names.truncate(8);
            let offered = if names.is_empty() { "nothing else".to_owned() } else { names.join(", ") };
            return Err(format!("it sends no H.264, which is what can be recorded; it offers {offered}"));
        };
        if !section.protocol.ends_with("TLS/RTP/SAVPF") || !section.rtcp_mux {
            return Err("its video section is not UDP/TLS/RTP/SAVPF with rtcp-mux".to_owned());
        }
        let remote = description.remote(section)?;
        let audio = of("audio")
            .find(|(_, s)| opus(s).is_some() && description.is_bundled(s) && description.is_bundled(section))
            .map(|(index, _)| index);
        let picture = h264(section).ok_or("it has no H.264")?;
        let sound = audio.and_then(|index| opus(&description.sections[index]));
        // One number may not mean two things on one transport (RFC 8843 §9.1).
        if sound.is_some_and(|sound| sound.number == picture.number) {
            return Err("its sound and its pictures have the same payload type".to_owned());
        }
        let has = |payload: &Payload, what: &str| payload.feedback.contains(&what);
        let formats = Formats {
            video: picture.number,
            sets: parameter_sets(picture),
            audio: sound.map(|sound| sound.number),
            transport_cc: section.transport_cc.filter(|_| has(picture, "transport-cc")),
            remb: has(picture, "goog-remb"),
            nack: [has(picture, "nack"), sound.is_some_and(|sound| has(sound, "nack"))],
            pli: has(picture, "nack pli"),
        };
        Ok(Offer { video, audio, remote, formats, description })
    }

    /// Writes the answer: the pictures and the sound received, other bundled audio silent, everything else rejected.
    pub(crate) fn answer(&self, local: &Local<'_>) -> String {
        let sections = &self.description.sections;
        let mut out = String::with_capacity(1500);
        let mut line = |args: std::fmt::Arguments<'_>| write!(out, "{args}\r\n").expect("a String takes everything");
        line(format_args!("v=0"));
        line(format_args!("o=- {} 1 IN IP4 0.0.0.0", local.session));
        line(format_args!("s=-"));
        line(format_args!("t=0 0"));
        let grouped: Vec<&str> = (sections.iter().enumerate())
            .filter(|(index, s)| self.accepts(*index) && self.description.is_bundled(s))
            .filter_map(|(_, s)| s.mid.as_deref())
            .collect();
        if !grouped.is_empty() {
            line(format_args!("a=group:BUNDLE {}", grouped.join(" ")));
        }
        line(format_args!("a=ice-lite"));
        let mut has_candidates = false;
        for (index, section) in sections.iter().enumerate() {
            let received = match index {
                index if index == self.video => h264(section),
                index if Some(index) == self.audio => opus(section),
                _ => None,
            };
            let accepted = self.accepts(index);
            let format = match received {
                Some(payload) => payload.number.to_string(),
                None => section.format.clone().unwrap_or_else(|| "0".to_owned()),
            };
            let port = if accepted { 9 } else { 0 };
            line(format_args!("m={} {port} {} {format}", section.kind, section.protocol));
            line(format_args!("c=IN IP4 0.0.0.0"));
            if let Some(mid) = &section.mid {
                line(format_args!("a=mid:{mid}"));
            }
            if !accepted {
                line(format_args!("a=inactive"));
                continue;
            }
            line(format_args!("a=rtcp-mux"));
            line(format_args!("a=ice-ufrag:{}", local.ice.ufrag));
            line(format_args!("a=ice-pwd:{}", local.ice.pwd));
            line(format_args!("a=fingerprint:sha-256 {}", local.fingerprint));
            line(format_args!("a=setup:{}", if self.remote.active { "active" } else { "passive" }));
            // Browsers take them from the first section of a bundle, whose transport it is (RFC 8843 §10); other clients pass over a silent one.
            if !std::mem::replace(&mut has_candidates, true) || received.is_some() {
                for candidate in local.candidates {
                    line(format_args!("a=candidate:{}", candidate.to_sdp()));
                }
                line(format_args!("a=end-of-candidates"));
            }
            let Some(payload) = received else {
                // Rejecting the first section of a bundle makes some clients drop the whole of it.
                if let Some(silent) = section.payloads.iter().find(|p| p.number.to_string() == format) {
                    line(format_args!("a=rtpmap:{} {}", silent.number, silent.rtpmap()));
                }
                line(format_args!("a=inactive"));
                continue;
            };
            line(format_args!("a=rtcp-rsize"));
            line(format_args!("a=recvonly"));
            if let Some(id) = section.transport_cc.filter(|id| self.formats.transport_cc == Some(*id)) {
                line(format_args!("a=extmap:{id} {TRANSPORT_CC}"));
            }
            line(format_args!("a=rtpmap:{} {}", payload.number, payload.rtpmap()));
            let fmtp = answered_fmtp(payload);
            if !fmtp.is_empty() {
                line(format_args!("a=fmtp:{} {fmtp}", payload.number));
            }
            // Of the two ways of telling the line's bandwidth, one.
            let other = if self.formats.transport_cc.is_some() { "goog-remb" } else { "transport-cc" };
            for feedback in payload.feedback.iter().filter(|f| **f != other) {
                line(format_args!("a=rtcp-fb:{} {feedback}", payload.number));
            }
        }
        out
    }

    /// Whether the answer keeps a section: what is received, and other audio that shares its transport.
    fn accepts(&self, index: usize) -> bool {
        let sections = &self.description.sections;
        let (section, video) = (&sections[index], &sections[self.video]);
        let silent =
            section.kind == "audio" && (section.port != 0 || section.bundle_only) && !section.payloads.is_empty();
        let bundled = self.description.is_bundled(section) && self.description.is_bundled(video);
        index == self.video || (silent && bundled)
    }
}

/// The codec's name of a payload type.
fn codec(payload: &Payload) -> String {
    payload.rtpmap.split('/').next().unwrap_or_default().chars().filter(|c| c.is_ascii_graphic()).take(20).collect()
}

/// The first H.264 of a section: in fragments, else in single NAL units (the default of RFC 6184 §8.1). Not interleaved.
fn h264(section: &Section) -> Option<&Payload> {
    let in_mode = |mode: &'static str| {
        section.payloads.iter().find(move |p| {
            p.rtpmap.eq_ignore_ascii_case("H264/90000") && p.parameter("packetization-mode").unwrap_or("0") == mode
        })
    };
    in_mode("1").or_else(|| in_mode("0"))
}

/// The Opus of a section.
fn opus(section: &Section) -> Option<&Payload> {
    let fits = section.protocol.ends_with("TLS/RTP/SAVPF") && section.rtcp_mux;
    section.payloads.iter().find(|p| fits && p.rtpmap.eq_ignore_ascii_case("opus/48000/2"))
}

/// `sprop-parameter-sets` (RFC 6184 §8.1): SPS and PPS. What cannot be read is left out, for they may come in the packets too.
fn parameter_sets(payload: &Payload) -> [Vec<Bytes>; 2] {
    let mut sets = [Vec::new(), Vec::new()];
    for text in payload.parameter("sprop-parameter-sets").into_iter().flat_map(|v| v.split(',')).take(2 * MOST_SETS) {
        let Some(set) = STANDARD.decode(text).ok().filter(|set| set.len() >= 2) else { continue };
        match nal_type(set[0]) {
            types::SPS if set.len() >= 4 => sets[0].push(Bytes::from(set)),
            types::PPS => sets[1].push(Bytes::from(set)),
            _ => {}
        }
    }
    sets
}

/// The parameters of an answer: those offered, but for the publisher's own parameter sets. Where levels may differ, ours is as high as there is.
fn answered_fmtp(payload: &Payload) -> String {
    let asymmetric = payload.parameter("level-asymmetry-allowed") == Some("1");
    let answered = payload.fmtp.split(';').map(str::trim).filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        match &*name.to_ascii_lowercase() {
            "sprop-parameter-sets" => None,
            "profile-level-id" if asymmetric && value.len() == 6 => Some(format!("{name}={}{LEVEL}", value.get(..4)?)),
            _ => Some(pair.to_owned()),
        }
    });
    answered.collect::<Vec<_>>().join(";")
}

#[cfg(test)]
#[path = "offer_tests.rs"]
mod tests;
