//! One viewer: its link and its RTP stream, put together without I/O.
//!
//! What belongs here: what a datagram or a moment means for one viewer. Output goes into a `Batch`; `now` is passed in.

use crate::batch::{Batch, Path};
use crate::demux::Kind;
use crate::fanout::Picture;
use crate::link::Link;
use crate::rtp::{Packet, Sender};
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
    /// Payload type of the video.
    pub(crate) payload_type: u8,
    /// Synchronisation source of the video.
    pub(crate) ssrc: u32,
    /// Canonical name.
    pub(crate) cname: String,
    /// Where sequence numbers and timestamps start.
    pub(crate) random: u64,
    /// Its seat, given back when the peer is dropped.
    pub(crate) _seat: Seat,
}

/// One viewer.
pub(crate) struct Peer {
    parts: Parts,
    sender: Sender,
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
        let sender = Sender::new(parts.random, now);
        Peer {
            parts,
            sender,
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
            if nack.media_ssrc != self.parts.ssrc {
                continue;
            }
            metrics::counter!("vidicon_webrtc_nacks_total").increment(1);
            for sequence in nack.nacks.iter().flat_map(|pair| pair.packet_list()) {
                if let Some(packet) = self.sender.repeat(sequence, now) {
                    self.send_packet(&packet, out);
                }
            }
        }
        reaction
    }

    /// The viewer gets the pictures since the last key frame, then what `picture` brings.
    pub(crate) fn start(&mut self, now: Instant, pictures: &[Arc<Picture>]) {
        self.started = Some((self.started.map_or(1, |(times, _)| times + 1), now));
        self.sender.start(pictures);
    }

    /// Takes a picture of the live edge. Returns how many pictures this viewer misses because it is behind.
    pub(crate) fn picture(&mut self, picture: &Arc<Picture>) -> u64 {
        if self.parts.link.is_connected() { self.sender.picture(picture) } else { 0 }
    }

    /// Bytes of the pictures that wait for this viewer.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.sender.queued_bytes()
    }

    /// Lets go of what waits for this viewer up to the next key frame. Returns how many pictures it misses because of it.
    pub(crate) fn skip(&mut self) -> u64 {
        self.sender.skip()
    }

    /// Lets go of what was sent but for the newest packets.
    pub(crate) fn forget_sent(&mut self, kept: usize) {
        self.sender.forget_sent(kept);
    }

    /// Sends what pacing allows. True if more waits.
    pub(crate) fn poll_output(&mut self, now: Instant, out: &mut Batch) -> bool {
        let mut sent = 0;
        while let Some(packet) = self.sender.poll(now) {
            self.send_packet(&packet, out);
            sent += 1;
        }
        if sent > 0 {
            metrics::counter!("vidicon_webrtc_packets_sent_total").increment(sent);
            self.send_report(now, out);
        }
        self.sender.is_behind()
    }

    /// To be called a few times a second: lost handshake flights, and the ends that only time brings.
    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &mut Batch) -> Result<(), End> {
        self.parts.link.handle_timeout(now, out)
    }

    /// Says goodbye, if the viewer does not know yet.
    pub(crate) fn close(&mut self, now: Instant, out: &mut Batch) {
        self.parts.link.close(now, out);
    }

    fn send_packet(&mut self, packet: &Packet, out: &mut Batch) {
        let Some((path, keys)) = self.parts.link.ready() else { return };
        packet.write(self.parts.payload_type, self.parts.ssrc, &mut self.scratch);
        match keys.local.encrypt_rtp(&self.scratch) {
            Ok(sealed) => out.push(path, &sealed),
            Err(error) => tracing::warn!(peer = self.parts.link.id(), %error, "a packet cannot be sealed"),
        }
    }

    fn send_report(&mut self, now: Instant, out: &mut Batch) {
        let Some((path, keys)) = self.parts.link.ready() else { return };
        let Some(report) = self.sender.poll_report(now) else { return };
        use rtcp::source_description::{SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem};
        let ssrc = self.parts.ssrc;
        let cname = SourceDescriptionItem { sdes_type: SdesType::SdesCname, text: self.parts.cname.clone().into() };
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
            Err(error) => tracing::warn!(peer = self.parts.link.id(), %error, "a sender report cannot be sealed"),
        }
    }
}
