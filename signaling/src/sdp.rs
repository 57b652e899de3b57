//! The offer of a WHEP viewer and our answer (RFC 8829, RFC 9725-style one round, RFC 8866).
//!
//! What belongs here: reading what an answer needs out of an offer, choosing the H.264 payload type, writing the
//! answer. Pure. What does not: candidates' choice, keys, sockets.

use crate::candidates::Candidate;
use crate::fanout::Tracks;
use crate::ice::Credentials;
use media::rtp::sound::Sound;
use std::fmt::Write;

/// Offers longer than this are refused unread.
pub(crate) const MOST_BYTES: usize = 64 << 10;
/// Sections an offer may have.
const MOST_SECTIONS: usize = 32;
/// Formats a section may have: there are no more payload types (RFC 3550 §5.1).
const MOST_FORMATS: usize = 128;
/// Attributes with longer values are passed over.
const MOST_VALUE_BYTES: usize = 1024;
/// What is known of `rtcp-fb`; other values are passed over.
const FEEDBACK: [&str; 4] = ["nack", "nack pli", "transport-cc", "goog-remb"];
/// What a viewer may tell us to do about lost packets.
const REPEATING: [&str; 2] = ["nack", "nack pli"];
/// The header extension that numbers all packets of a transport (draft-holmer-rmcat-transport-wide-cc-extensions).
pub(crate) const TRANSPORT_CC: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// One payload type of a section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Payload {
    /// The payload type's number.
    pub(crate) number: u8,
    /// Value of `rtpmap`, such as `H264/90000`.
    pub(crate) rtpmap: String,
    /// Value of `fmtp`.
    pub(crate) fmtp: String,
    /// Values of `rtcp-fb`, each of `FEEDBACK` at most once.
    pub(crate) feedback: Vec<&'static str>,
}

impl Payload {
    /// A parameter of `fmtp`.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.fmtp
            .split(';')
            .filter_map(|p| p.trim().split_once('='))
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v)
    }

    /// Value of `rtpmap`; the first payload types have one without saying so (RFC 3551 §6).
    pub(crate) fn rtpmap(&self) -> &str {
        match (self.number, self.rtpmap.as_str()) {
            (0, "") => "PCMU/8000",
            (8, "") => "PCMA/8000",
            (_, rtpmap) => rtpmap,
        }
    }

    /// What sound it is for, if any that a stream can have.
    fn sound(&self) -> Option<Sound> {
        // Opus is always said to have two channels (RFC 7587 §7); G.711 has one, said or not.
        [Sound::Opus, Sound::Pcmu, Sound::Pcma].into_iter().find(|sound| {
            let head = self.rtpmap().get(..sound.rtpmap().len()).unwrap_or_default();
            let tail = self.rtpmap().get(sound.rtpmap().len()..).unwrap_or_default();
            let channels = if *sound == Sound::Opus { tail == "/2" } else { matches!(tail, "" | "/1") };
            head.eq_ignore_ascii_case(sound.rtpmap()) && channels
        })
    }

    /// profile_idc and constraint flags, if this is H.264 that may be sent in fragments (packetization-mode=1).
    fn h264(&self) -> Option<[u8; 2]> {
        let fits = self.rtpmap.eq_ignore_ascii_case("H264/90000") && self.parameter("packetization-mode") == Some("1");
        // Without the parameter it is baseline (RFC 6184 §8.1).
        let level_id = self.parameter("profile-level-id").unwrap_or("420010");
        let parsed = u32::from_str_radix(level_id, 16).ok().filter(|_| level_id.len() == 6)?;
        fits.then_some([(parsed >> 16) as u8, (parsed >> 8) as u8])
    }
}

/// One `m=` section of an offer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Section {
    pub(crate) kind: String,
    pub(crate) port: u16,
    pub(crate) protocol: String,
    /// The first of its formats.
    pub(crate) format: Option<String>,
    pub(crate) mid: Option<String>,
    pub(crate) direction: Option<String>,
    pub(crate) bundle_only: bool,
    pub(crate) rtcp_mux: bool,
    transport: Transport,
    /// The id of [`TRANSPORT_CC`].
    pub(crate) transport_cc: Option<u8>,
    pub(crate) payloads: Vec<Payload>,
}

/// Attributes that may stand in a section or before all of them.
#[derive(Clone, Debug, Default)]
struct Transport {
    ufrag: Option<String>,
    pwd: Option<String>,
    fingerprint: Option<String>,
    setup: Option<String>,
}

/// What an answer needs to know of an offer.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    sections: Vec<Section>,
    /// Names of the sections that share one transport; empty if the offer has no group.
    bundle: Vec<String>,
    /// Index of the section that is to show the pictures, if it wants some.
    video: Option<usize>,
    /// Index of the section that is to play the sound, which comes by the same transport.
    sound: Option<usize>,
    /// The viewer's ICE fragment.
    pub(crate) ufrag: String,
    /// SHA-256 fingerprint of the viewer's certificate.
    pub(crate) fingerprint: String,
    /// Whether we begin the DTLS handshake.
    pub(crate) active: bool,
}

/// A session description as it was read, before anything is looked for in it.
pub(crate) struct Description {
    /// What stands before all sections.
    session: Transport,
    bundle: Vec<String>,
    pub(crate) sections: Vec<Section>,
}

/// How the one who sent a description is reached and proven.
pub(crate) struct Remote {
    /// ICE fragment.
    pub(crate) ufrag: String,
    /// SHA-256 fingerprint of the certificate.
    pub(crate) fingerprint: String,
    /// Whether we begin the DTLS handshake.
    pub(crate) active: bool,
}

impl Description {
    /// Reads a description. The error is a sentence for whoever sent it.
    pub(crate) fn parse(text: &str) -> Result<Description, String> {
        if text.len() > MOST_BYTES {
            return Err(format!("it has {} bytes and may have {MOST_BYTES}", text.len()));
        }
        if !text.starts_with("v=0") {
            return Err("it does not start with v=0".to_owned());
        }
        let mut session = Transport::default();
        let mut bundle = Vec::new();
        let mut sections: Vec<Section> = Vec::new();
        for line in text.lines() {
            let Some((key, value)) = line.split_once('=') else { continue };
            match key {
                "m" if sections.len() == MOST_SECTIONS => {
                    return Err(format!("it has more than {MOST_SECTIONS} sections"));
                }
                "m" => sections.push(Section::begin(value)?),
                "a" if value.len() > MOST_VALUE_BYTES => {}
                "a" => {
                    let (name, value) = value.split_once(':').unwrap_or((value, ""));
                    match sections.last_mut() {
                        Some(section) => section.attribute(name, value.trim()),
                        None if name == "group" => {
                            let mut words = value.split_ascii_whitespace();
                            if words.next() == Some("BUNDLE") {
                                bundle = words.take(MOST_SECTIONS).map(str::to_owned).collect();
                            }
                        }
                        None => session.attribute(name, value.trim()),
                    }
                }
                _ => {}
            }
        }
        Ok(Description { session, bundle, sections })
    }

    /// The transport of a section, whose attributes may stand elsewhere.
    pub(crate) fn remote(&self, section: &Section) -> Result<Remote, String> {
        let (session, bundle) = (&self.session, &self.bundle);
        // With BUNDLE, transport attributes may stand in the first section of the group only (RFC 8843 §7.1.3).
        let tagged = self.sections.iter().find(|s| s.mid.is_some() && s.mid.as_ref() == bundle.first());
        let places = [Some(&section.transport), tagged.map(|s| &s.transport), Some(session)];
        let find = |of: fn(&Transport) -> &Option<String>| places.iter().flatten().find_map(|t| of(t).clone());
        let ufrag = find(|t| &t.ufrag).ok_or("it has no ice-ufrag")?;
        find(|t| &t.pwd).ok_or("it has no ice-pwd")?;
        let fingerprint = find(|t| &t.fingerprint).ok_or("it has no sha-256 fingerprint")?;
        let active = match find(|t| &t.setup).as_deref() {
            // Where it is ours to say, the other side begins: as the DTLS server we choose AES-GCM, which browsers' own order
            // puts last, and keys are ready after as many round trips.
            Some("active" | "actpass") | None => false,
            Some("passive") => true,
            Some(other) => return Err(format!("its DTLS role is {other:.20}")),
        };
        if ufrag.len() > 256 || fingerprint.len() != 95 {
            return Err("its ICE fragment or fingerprint has the wrong length".to_owned());
        }
        Ok(Remote { ufrag, fingerprint, active })
    }

    /// Whether a section shares the transport of its group.
    pub(crate) fn is_bundled(&self, section: &Section) -> bool {
        section.mid.as_ref().is_some_and(|mid| self.bundle.contains(mid))
    }
}

impl Offer {
    /// Reads an offer. The error is a sentence for whoever sent it.
    pub(crate) fn parse(text: &str) -> Result<Offer, String> {
        let description = Description::parse(text)?;
        let sections = &description.sections;
        let wants = |s: &Section| {
            !matches!(s.direction.as_deref(), Some("sendonly" | "inactive")) && (s.port != 0 || s.bundle_only)
        };
        let videos = || sections.iter().enumerate().filter(|(_, s)| s.kind == "video" && wants(s));
        let takes = |(_, s): &(usize, &Section)| s.payloads.iter().any(|p| p.h264().is_some());
        let video = videos().find(takes).map(|(index, _)| index);
        if video.is_none() && videos().next().is_some() {
            return Err("no video section of it takes H.264 with packetization-mode=1".to_owned());
        }
        let bundled = |s: &Section| s.mid.as_ref().is_some_and(|mid| description.bundle.contains(mid));
        let sounds = || sections.iter().enumerate().filter(|(_, s)| s.kind == "audio" && wants(s));
        let together = |s: &Section| video.is_none_or(|video| bundled(s) && bundled(&sections[video]));
        let sound = sounds().find(|(_, s)| together(s)).map(|(index, _)| index);
        let anchor = video.or(sound).ok_or("no video or audio section of it asks to receive")?;
        let section = &sections[anchor];
        if !section.protocol.ends_with("TLS/RTP/SAVPF") || !section.rtcp_mux {
            return Err(format!("its {} section is not UDP/TLS/RTP/SAVPF with rtcp-mux", section.kind));
        }
        let Remote { ufrag, fingerprint, active } = description.remote(section)?;
        let Description { bundle, sections, .. } = description;
        Ok(Offer { video, sound, ufrag, fingerprint, active, bundle, sections })
    }

    /// Whether it asks for pictures.
    pub(crate) fn wants_video(&self) -> bool {
        self.video.is_some()
    }

    /// What of a stream it gets, by which payload types. `None` where it asks for nothing that the stream has.
    pub(crate) fn chosen(&self, tracks: Tracks) -> Option<Chosen<'_>> {
        let video = tracks.video.and_then(|[idc, constraints]| self.choose(idc, constraints));
        let sound = tracks.sound.and_then(|sound| Some((self.choose_sound(sound)?, sound)));
        (video.is_some() || sound.is_some()).then_some(Chosen { video, sound })
    }

    /// The payload type of a kind of sound.
    fn choose_sound(&self, sound: Sound) -> Option<&Payload> {
        self.sections[self.sound?].payloads.iter().find(|payload| payload.sound() == Some(sound))
    }

    /// The section whose transport all of it has.
    fn anchor(&self) -> Option<usize> {
        self.video.or(self.sound)
    }

    /// The payload type that suits a stream of this profile best: the same profile and constraints, else the same
    /// profile, else the next one above, else whatever is there (browsers that offer constrained baseline only still
    /// decode more).
    pub(crate) fn choose(&self, profile_idc: u8, constraints: u8) -> Option<&Payload> {
        let rank = |idc: u8| match idc {
            66 => 0,  // Baseline
            77 => 1,  // Main
            100 => 2, // High
            _ => 3,
        };
        self.sections[self.video?]
            .payloads
            .iter()
            .filter_map(|payload| Some((payload, payload.h264()?)))
            .min_by_key(|(_, [idc, flags])| {
                let distance: i32 = rank(*idc) - rank(profile_idc);
                // Below the stream's own profile is worse than any above it.
                let distance = if distance < 0 { 10 - distance } else { distance };
                (distance, idc != &profile_idc, (flags ^ constraints).count_ones())
            })
            .map(|(payload, _)| payload)
    }

    /// Writes the answer: at most one section that sends pictures and one that sends sound, others of these silent, everything else
    /// rejected.
    pub(crate) fn answer(&self, chosen: &Chosen<'_>, local: &Local<'_>) -> String {
        let mut out = String::with_capacity(1500);
        let grouped: Vec<&str> = (0..self.sections.len())
            .filter(|index| self.accepts(*index))
            .filter_map(|index| self.sections[index].mid.as_deref())
            .filter(|mid| self.bundle.iter().any(|b| b == mid))
            .collect();
        let mut line = |args: std::fmt::Arguments<'_>| write!(out, "{args}\r\n").expect("a String takes everything");
        line(format_args!("v=0"));
        line(format_args!("o=- {} 1 IN IP4 0.0.0.0", local.session));
        line(format_args!("s=-"));
        line(format_args!("t=0 0"));
        if !grouped.is_empty() {
            line(format_args!("a=group:BUNDLE {}", grouped.join(" ")));
        }
        line(format_args!("a=ice-lite"));
        line(format_args!("a=msid-semantic: WMS *"));
        let mut first = None;
        for (index, section) in self.sections.iter().enumerate() {
            let accepted = self.accepts(index);
            let sends = match () {
                () if Some(index) == self.video => chosen.video.map(|payload| (payload, local.ssrc)),
                () if Some(index) == self.sound => chosen.sound.map(|(payload, _)| (payload, local.sound_ssrc)),
                () => None,
            };
            let format = match sends {
                Some((payload, _)) => payload.number.to_string(),
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
            line(format_args!("a=setup:{}", if self.active { "active" } else { "passive" }));
            match sends {
                Some((payload, ssrc)) => {
                    line(format_args!("a=rtcp-rsize"));
                    line(format_args!("a=sendonly"));
                    line(format_args!("a=rtpmap:{} {}", payload.number, payload.rtpmap()));
                    if !payload.fmtp.is_empty() {
                        line(format_args!("a=fmtp:{} {}", payload.number, payload.fmtp));
                    }
                    for feedback in payload.feedback.iter().filter(|f| REPEATING.contains(f)) {
                        line(format_args!("a=rtcp-fb:{} {feedback}", payload.number));
                    }
                    // One stream of the browser, so that it plays both together.
                    line(format_args!("a=msid:vidicon {}", section.kind));
                    line(format_args!("a=ssrc:{ssrc} cname:{}", local.cname));
                }
                None => {
                    // The stream has nothing for it (AAC does not exist in WebRTC). The section stays, silent: rejecting
                    // the first section of a bundle makes some viewers drop the whole of it.
                    if let Some(silent) = section.payloads.iter().find(|p| p.number.to_string() == format) {
                        line(format_args!("a=rtpmap:{} {}", silent.number, silent.rtpmap()));
                    }
                    line(format_args!("a=inactive"));
                }
            }
            // In the first section, whose transport is that of the bundle: browsers take candidates from no other (RFC 8843
            // §10). And in those that are used: other clients pass over one that is silent.
            if first.replace(index).is_none() || sends.is_some() {
                for candidate in local.candidates {
                    line(format_args!("a=candidate:{}", candidate.to_sdp()));
                }
                line(format_args!("a=end-of-candidates"));
            }
        }
        out
    }

    /// Bytes that reading it took, for tests of how many they can be.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn bytes(&self) -> usize {
        let text = |t: &Option<String>| t.as_ref().map_or(0, String::capacity);
        let names: usize = self.bundle.iter().map(String::capacity).sum::<usize>() + self.bundle.capacity() * 24;
        let sections = self.sections.iter().map(|s| {
            let payload = |p: &Payload| p.rtpmap.capacity() + p.fmtp.capacity() + p.feedback.capacity() * 16;
            let payloads = s.payloads.iter().map(payload).sum::<usize>();
            let t = &s.transport;
            let texts = [&s.format, &s.mid, &s.direction, &t.ufrag, &t.pwd, &t.fingerprint, &t.setup].map(text);
            let own = s.kind.capacity() + s.protocol.capacity() + texts.iter().sum::<usize>();
            own + payloads + s.payloads.capacity() * size_of::<Payload>()
        });
        names + sections.sum::<usize>() + self.sections.capacity() * size_of::<Section>()
    }

    /// Whether the answer keeps a section: the one that all have the transport of, and audio sections that share it.
    fn accepts(&self, index: usize) -> bool {
        let section = &self.sections[index];
        let Some(anchor) = self.anchor() else { return false };
        let bundled = |s: &Section| s.mid.as_ref().is_some_and(|mid| self.bundle.contains(mid));
        let silent =
            section.kind == "audio" && (section.port != 0 || section.bundle_only) && !section.payloads.is_empty();
        index == anchor || (silent && bundled(section) && bundled(&self.sections[anchor]))
    }
}

/// What of a stream an offer gets.
pub(crate) struct Chosen<'a> {
    /// The payload type of the pictures.
    pub(crate) video: Option<&'a Payload>,
    /// That of the sound, and what it is.
    pub(crate) sound: Option<(&'a Payload, Sound)>,
}

/// Our side of an answer.
pub(crate) struct Local<'a> {
    /// A number of the session.
    pub(crate) session: u64,
    /// ICE user name fragment and password.
    pub(crate) ice: &'a Credentials,
    /// SHA-256 of our certificate.
    pub(crate) fingerprint: &'a str,
    /// Synchronisation source of the video.
    pub(crate) ssrc: u32,
    /// And of the sound.
    pub(crate) sound_ssrc: u32,
    /// Canonical name in RTCP.
    pub(crate) cname: &'a str,
    /// Where we can be reached.
    pub(crate) candidates: &'a [Candidate],
}

impl Transport {
    fn attribute(&mut self, name: &str, value: &str) {
        match name {
            "ice-ufrag" => self.ufrag = Some(value.to_owned()),
            "ice-pwd" => self.pwd = Some(value.to_owned()),
            "setup" => self.setup = Some(value.to_owned()),
            "fingerprint" => {
                if let Some((hash, value)) = value.split_once(' ')
                    && hash.eq_ignore_ascii_case("sha-256")
                {
                    self.fingerprint = Some(value.trim().to_owned());
                }
            }
            _ => {}
        }
    }
}

impl Section {
    fn begin(value: &str) -> Result<Section, String> {
        let mut words = value.split_ascii_whitespace();
        let mut word = || words.next().ok_or_else(|| format!("a section of it is cut short: m={value:.60}"));
        let (kind, port, protocol) = (word()?.to_owned(), word()?, word()?.to_owned());
        let port = port.parse().map_err(|_| format!("a section of it has no port number: m={value:.60}"))?;
        let mut section = Section { kind, port, protocol, ..Section::default() };
        for (index, format) in words.enumerate() {
            if index == MOST_FORMATS {
                return Err(format!("a section of it has more than {MOST_FORMATS} formats"));
            }
            section.format.get_or_insert_with(|| format.to_owned());
            // Each number once: what is said of it is kept once.
            if let Some(number) = format.parse().ok().filter(|number| *number < 128)
                && section.payloads.iter().all(|p| p.number != number)
            {
                section.payloads.push(Payload { number, ..Payload::default() });
            }
        }
        Ok(section)
    }

    fn attribute(&mut self, name: &str, value: &str) {
        match name {
            "mid" => self.mid = Some(value.to_owned()),
            "sendrecv" | "sendonly" | "recvonly" | "inactive" => self.direction = Some(name.to_owned()),
            "bundle-only" => self.bundle_only = true,
            "rtcp-mux" => self.rtcp_mux = true,
            "rtpmap" | "fmtp" => {
                let Some((number, value)) = value.split_once(' ') else { return };
                let Some(payload) = self.payloads.iter_mut().find(|p| number.parse() == Ok(p.number)) else { return };
                match name {
                    "rtpmap" => payload.rtpmap = value.to_owned(),
                    _ => payload.fmtp = value.to_owned(),
                }
            }
            "extmap" => {
                let mut words = value.split_ascii_whitespace();
                // The id may say a direction too, and only 1 to 14 fit into one byte (RFC 8285 §4.2, §5).
                let id =
                    words.next().and_then(|id| id.split('/').next()?.parse().ok()).filter(|id| (1..15).contains(id));
                if words.next() == Some(TRANSPORT_CC) {
                    self.transport_cc = id;
                }
            }
            // Only this one may be said of all payload types at once (RFC 4585 §4.2).
            "rtcp-fb" => {
                let Some((number, value)) = value.split_once(' ') else { return };
                let Some(known) = FEEDBACK.into_iter().find(|f| *f == value) else { return };
                let (all, number) = (number == "*", number.parse());
                for payload in self.payloads.iter_mut().filter(|p| all || number == Ok(p.number)) {
                    if !payload.feedback.contains(&known) {
                        payload.feedback.push(known);
                    }
                }
            }
            _ => self.transport.attribute(name, value),
        }
    }
}

#[cfg(test)]
#[path = "sdp_tests.rs"]
mod tests;
