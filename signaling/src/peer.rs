//! One viewer: its link and its RTP streams, of pictures and of sound, put together without I/O.
//!
//! What belongs here: what a datagram or a moment means for one viewer. Output goes into a `Batch`; `now` is passed in.

use crate::batch::{Batch, Path};
use crate::demux::Kind;
use crate::fanout::Picture;
use crate::link::Link;
use crate::rtp::{Packet, Sender};
use media::rtp::sound::Sound;
use rtc::rtcp;
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A viewer that has just connected may ask for a key frame after this,
const FIRST_RESTART_AFTER: Duration = Duration::from_millis(250);
/// and then every so often.
const RESTART_AFTER: Duration = Duration::from_secs(3);

/// Seats of all peers: bounds them.
pub(crate) struct Seats {
    most: usize,
    taken: AtomicUsize,
}

/// A taken seat; given back when dropped.
pub(crate) struct Seat(Arc<Seats>);

impl Seats {
    /// So many seats.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Seats { most, taken: AtomicUsize::new(0) })
    }

    /// Seats taken now.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes a seat, unless all are taken.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Seat> {
        let more = |taken: usize| (taken < self.most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        metrics::gauge!("vidicon_webrtc_peers").set(self.taken() as f64);
        Some(Seat(self.clone()))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!("vidicon_webrtc_peers").set(self.0.taken() as f64);
    }
}

/// Why a peer ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// No connection came about in time.
    Unanswered,
    /// Its checks stopped.
    Silent,
    /// The viewer closed the connection.
    ByViewer,
    /// It was asked for (DELETE).
    Asked,
    /// The stream ended or cannot be shown any more.
    Stream,
    /// The server stops.
    Stopped,
    /// Something failed inside.
    Failed(&'static str),
    /// This call made it panic.
    Panicked(Call),
}

/// What a peer is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// `handle_input`
    Input,
    /// `start`
    Start,
    /// `picture`
    Picture,
    /// `poll_output`
    Output,
    /// `handle_timeout`
    Timeout,
    /// `close`
    Close,
}

/// What a datagram led to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reaction {
    /// This address belongs to this viewer from now on.
    pub(crate) learned: Option<SocketAddr>,
    /// And this one no longer.
    pub(crate) forgotten: Option<SocketAddr>,
    /// The viewer is to be given the pictures since the last key frame: it has just connected, or has lost them.
    pub(crate) start: bool,
    /// The datagram was of no use.
    pub(crate) dropped: bool,
}

impl Reaction {
    /// Of no use.
    pub(crate) fn dropped() -> Self {
        Reaction { dropped: true, ..Reaction::default() }
    }
}

/// What makes a peer.
pub(crate) struct Parts {
    /// How it is reached.
    pub(crate) link: Link,
    /// The stream of pictures, if the viewer gets some.
    pub(crate) video: Option<Line>,
    /// The stream of sound, and what that is.
    pub(crate) sound: Option<(Line, Sound)>,
    /// Canonical name.
    pub(crate) cname: String,
    /// Where sequence numbers and timestamps start.
    pub(crate) random: u64,
    /// Its seat, given back when the peer is dropped.
    pub(crate) _seat: Seat,
}

/// How the packets of an RTP stream are marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Payload type.
    pub(crate) payload_type: u8,
    /// Synchronisation source.
    pub(crate) ssrc: u32,
}

/// An RTP stream to the viewer.
struct Out {
    line: Line,
    sender: Sender,
}

/// One viewer.
pub(crate) struct Peer {
    parts: Parts,
    video: Option<Out>,
    sound: Option<Out>,
    /// How often it was given the cached pictures, and when last.
    started: Option<(u32, Instant)>,
    scratch: Vec<u8>,
    /// The call that is to panic.
    #[cfg(test)]
    pub(crate) poisoned: Option<Call>,
}

impl Peer {
    /// A peer whose answer is about to be sent.
    pub(crate) fn new(parts: Parts, now: Instant) -> Self {
        let out = |line: Line, random| Out { line, sender: Sender::new(random, now) };
        let video = parts.video.map(|line| out(line, parts.random));
        // Other numbers than those of the pictures.
        let sound = parts.sound.map(|(line, _)| out(line, parts.random.rotate_left(21)));
        Peer {
            parts,
            video,
            sound,
            started: None,
            scratch: Vec::new(),
            #[cfg(test)]
            poisoned: None,
        }
    }

    /// Its public id.
    pub(crate) fn id(&self) -> &str {
        self.parts.link.id()
    }

    /// Our ICE fragment.
    pub(crate) fn ufrag(&self) -> &str {
        self.parts.link.ufrag()
    }

    /// Addresses learned so far.
    pub(crate) fn addrs(&self) -> &[SocketAddr] {
        self.parts.link.addrs()
    }

    /// Takes a datagram.
    pub(crate) fn handle_input(
        &mut self,
        now: Instant,
        kind: Kind,
        path: Path,
        datagram: &[u8],
        out: &mut Batch,
    ) -> Result<Reaction, End> {
        match kind {
            Kind::Stun => self.parts.link.check(now, path, datagram, out),
            Kind::Dtls => self.parts.link.record(now, datagram, out),
            Kind::Rtp => Ok(self.handle_rtcp(now, datagram, out)),
        }
    }

    /// Viewers send no media, so SRTP is not even opened; of RTCP, NACKs and requests for a key frame are answered.
    ///
    /// A camera is not asked for a key frame (PLI, FIR): the viewer gets the cached one and what followed again, which
    /// helps one that missed its first packets (nobody can miss those by their numbers). Not often: where a line is
    /// too thin, sending everything twice does not help.
    fn handle_rtcp(&mut self, now: Instant, datagram: &[u8], out: &mut Batch) -> Reaction {
        let is_rtcp = datagram.get(1).is_some_and(|pt| (192..=223).contains(pt));
        let opened = match self.parts.link.keys() {
            Some(keys) if is_rtcp => keys.remote.decrypt_rtcp(datagram).ok(),
            _ => None,
        };
        let Some(packets) = opened.and_then(|mut plain| rtcp::packet::unmarshal(&mut plain).ok()) else {
            return Reaction::dropped();
        };
        let mut reaction = Reaction::default();
        for packet in &packets {
            let any = packet.as_any();
            if any.is::<PictureLossIndication>() || any.is::<FullIntraRequest>() {
                reaction.start = self.started.is_some_and(|(times, at)| {
                    let pause = if times == 1 { FIRST_RESTART_AFTER } else { RESTART_AFTER };
                    now.saturating_duration_since(at) > pause
                });
                continue;
            }
            let Some(nack) = any.downcast_ref::<TransportLayerNack>() else { continue };
            let outs = [&mut self.video, &mut self.sound].into_iter().flatten();
            let Some(missed) = outs.into_iter().find(|o| o.line.ssrc == nack.media_ssrc) else { continue };
            metrics::counter!("vidicon_webrtc_nacks_total").increment(1);
            for sequence in nack.nacks.iter().flat_map(|pair| pair.packet_list()) {
                if let Some(packet) = missed.sender.repeat(sequence, now) {
                    send_packet(&mut self.parts.link, missed.line, &packet, &mut self.scratch, out);
                }
            }
        }
        reaction
    }

    /// The viewer gets the pictures since the last key frame, then what `picture` brings.
    pub(crate) fn start(&mut self, now: Instant, pictures: &[Arc<Picture>]) {
        self.started = Some((self.started.map_or(1, |(times, _)| times + 1), now));
        if let Some(video) = &mut self.video {
            video.sender.start(pictures);
        }
        if let Some(sound) = &mut self.sound {
            sound.sender.start(&[]);
        }
    }

    /// Takes a picture of the live edge. Returns how many pictures this viewer misses because it is behind.
    pub(crate) fn picture(&mut self, picture: &Arc<Picture>) -> u64 {
        match &mut self.video {
            Some(video) if self.parts.link.is_connected() => video.sender.picture(picture),
            _ => 0,
        }
    }

    /// Takes a packet of sound of the live edge. One of another kind than the viewer was promised is not for it.
    pub(crate) fn sound(&mut self, packet: &Arc<Picture>) {
        let promised = self.parts.sound.map(|(_, sound)| sound);
        if let Some(sound) = &mut self.sound
            && self.parts.link.is_connected()
            && packet.tracks.sound == promised
        {
            // One that is behind by so much that it skips hears a gap; pictures that are missed are counted.
            sound.sender.picture(packet);
        }
    }

    /// Bytes of the pictures that wait for this viewer.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.outs().map(|out| out.sender.queued_bytes()).sum()
    }

    fn outs(&self) -> impl Iterator<Item = &Out> {
        [&self.video, &self.sound].into_iter().flatten()
    }

    /// Lets go of what waits for this viewer up to the next key frame. Returns how many pictures it misses because of it.
    pub(crate) fn skip(&mut self) -> u64 {
        if let Some(sound) = &mut self.sound {
            sound.sender.skip();
        }
        self.video.as_mut().map_or(0, |video| video.sender.skip())
    }

    /// Lets go of what was sent but for the newest packets.
    pub(crate) fn forget_sent(&mut self, kept: usize) {
        for out in [&mut self.video, &mut self.sound].into_iter().flatten() {
            out.sender.forget_sent(kept);
        }
    }

    /// Sends what pacing allows. True if more waits.
    pub(crate) fn poll_output(&mut self, now: Instant, out: &mut Batch) -> bool {
        let mut waits = false;
        for from in [&mut self.sound, &mut self.video].into_iter().flatten() {
            let mut sent = 0;
            while let Some(packet) = from.sender.poll(now) {
                send_packet(&mut self.parts.link, from.line, &packet, &mut self.scratch, out);
                sent += 1;
            }
            if sent > 0 {
                metrics::counter!("vidicon_webrtc_packets_sent_total").increment(sent);
                send_report(&mut self.parts, from, now, out);
            }
            waits |= from.sender.is_behind();
        }
        waits
    }

    /// To be called a few times a second: lost handshake flights, and the ends that only time brings.
    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &mut Batch) -> Result<(), End> {
        self.parts.link.handle_timeout(now, out)
    }

    /// Says goodbye, if the viewer does not know yet.
    pub(crate) fn close(&mut self, now: Instant, out: &mut Batch) {
        self.parts.link.close(now, out);
    }
}

fn send_packet(link: &mut Link, line: Line, packet: &Packet, scratch: &mut Vec<u8>, out: &mut Batch) {
    let Some((path, keys)) = link.ready() else { return };
    packet.write(line.payload_type, line.ssrc, scratch);
    match keys.local.encrypt_rtp(scratch) {
        Ok(sealed) => out.push(path, &sealed),
        Err(error) => tracing::warn!(peer = link.id(), %error, "a packet cannot be sealed"),
    }
}

/// Says when what was sent last was taken by the producer's clock: one for pictures and sound, which a browser plays together by it.
fn send_report(parts: &mut Parts, from: &mut Out, now: Instant, out: &mut Batch) {
    let Some((path, keys)) = parts.link.ready() else { return };
    let Some(report) = from.sender.poll_report(now) else { return };
    use rtcp::source_description::{SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem};
    let ssrc = from.line.ssrc;
    let cname = SourceDescriptionItem { sdes_type: SdesType::SdesCname, text: parts.cname.clone().into() };
    let compound: [Box<dyn rtcp::Packet>; 2] = [
        Box::new(rtcp::sender_report::SenderReport {
            ssrc,
            ntp_time: report.ntp,
            rtp_time: report.rtp,
            packet_count: report.packets,
            octet_count: report.octets,
            ..Default::default()
        }),
        Box::new(SourceDescription { chunks: vec![SourceDescriptionChunk { source: ssrc, items: vec![cname] }] }),
    ];
    match rtcp::packet::marshal(&compound).and_then(|plain| keys.local.encrypt_rtcp(&plain)) {
        Ok(sealed) => out.push(path, &sealed),
        Err(error) => tracing::warn!(peer = parts.link.id(), %error, "a sender report cannot be sealed"),
    }
}
