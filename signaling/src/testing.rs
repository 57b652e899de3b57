//! For tests: a camera that makes frames, and a viewer that this crate did not write (`rtc`'s peer connection).
#![allow(clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};
use media::h264::Avcc;
use media::{FragmentNumber, Frame, Header, HeaderId, Track, TrackKind, UnixMillis};
use rtc::ice::mdns::MulticastDnsMode;
use rtc::interceptor::Registry;
use rtc::peer_connection::configuration::interceptor_registry::register_default_interceptors;
use rtc::peer_connection::configuration::media_engine::MediaEngine;
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::event::RTCPeerConnectionEvent;
use rtc::peer_connection::message::RTCMessage;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::peer_connection::state::RTCPeerConnectionState;
use rtc::peer_connection::transport::{CandidateConfig, CandidateHostConfig, RTCIceCandidate};
use rtc::peer_connection::{RTCPeerConnection, RTCPeerConnectionBuilder};
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp_transceiver::RTCRtpReceiverId;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use rtc::sansio::Protocol;
use rtc::shared::{TaggedBytesMut, TransportContext, TransportProtocol};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use store::{LiveFragment, LiveFrame};

/// Parameter sets; only profile and level in them matter here.
pub(crate) const SPS: [u8; 8] = [0x67, 0x42, 0xc0, 0x1f, 0xda, 0x01, 0x40, 0x16];
pub(crate) const PPS: [u8; 4] = [0x68, 0xce, 0x3c, 0x80];

/// A stream's header with H.264, or with another codec.
pub(crate) fn header(codec_id: &str) -> Arc<Header> {
    let private = Avcc::from_parameter_sets(&[Bytes::from_static(&SPS)], &[Bytes::from_static(&PPS)]);
    let video = Track {
        number: 1,
        kind: TrackKind::Video,
        codec_id: codec_id.to_owned(),
        codec_private: private,
        size: Some((640, 360)),
        audio: None,
    };
    media::mkv::write_header(&[video]).shared()
}

/// A NAL unit of this length whose content depends on `seed`. `first` is its header byte; slices are P unless `b`.
pub(crate) fn nal(first: u8, b: bool, length: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = vec![first, if b { 0xa0 } else { 0xc0 }];
    out.extend((2..length).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // Never zero: no emulation prevention to think of.
        state as u8 | 1
    }));
    out.into()
}

/// NAL units as a frame holds them.
pub(crate) fn frame_data(nals: &[Bytes]) -> Bytes {
    let mut out = BytesMut::new();
    for nal in nals {
        out.extend_from_slice(&(nal.len() as u32).to_be_bytes());
        out.extend_from_slice(nal);
    }
    out.freeze()
}

/// A camera: a key frame every `gop` frames, 25 a second, beginning at a round producer time.
pub(crate) struct Camera {
    pub(crate) header: Arc<Header>,
    pub(crate) gop: u64,
    pub(crate) made: u64,
    pub(crate) start_ms: i64,
    fragment: Option<Arc<LiveFragment>>,
}

impl Camera {
    pub(crate) fn new(gop: u64) -> Self {
        Camera { header: header(Track::H264), gop, made: 0, start_ms: 1_795_413_681_000, fragment: None }
    }

    /// NAL units of the frame with this index, as a viewer should get them (parameter sets before a key frame).
    pub(crate) fn expected(&self, index: u64) -> Vec<Bytes> {
        let mut nals = Vec::new();
        if index.is_multiple_of(self.gop) {
            nals.extend([Bytes::from_static(&SPS), Bytes::from_static(&PPS), nal(0x65, false, 20_000, index)]);
            nals.push(nal(0x65, false, 700, index + 1_000_000)); // A second slice of the same picture.
        } else {
            nals.push(nal(0x41, false, 900 + (index as usize * 517) % 4000, index));
        }
        nals
    }

    /// The next frame, as ingest makes it.
    pub(crate) fn frame(&mut self) -> Frame {
        let (index, key) = (self.made, self.made.is_multiple_of(self.gop));
        self.made += 1;
        let nals = self.expected(index);
        let data = frame_data(if key { &nals[2..] } else { &nals });
        Frame { track: 1, time: UnixMillis(self.start_ms + index as i64 * 40).to_micros(), key, data }
    }

    /// The next frame, as a follower gets it.
    pub(crate) fn live(&mut self) -> LiveFrame {
        let frame = self.frame();
        if frame.key {
            let at = frame.time.to_millis();
            let number = FragmentNumber::new(self.made, at.0 as u64, 0);
            let fragment = LiveFragment { number, header: self.header.clone(), producer_start: at, server_start: at };
            self.fragment = Some(Arc::new(fragment));
        }
        let fragment = self.fragment.clone().unwrap();
        LiveFrame { fragment, index: 0, frame }
    }
}

/// A header that is only a name.
pub(crate) fn other_header(id: u64, tracks: Vec<Track>) -> Arc<Header> {
    Arc::new(Header { bytes: Bytes::new(), id: HeaderId(id), timestamp_scale_ns: 1_000_000, tracks })
}

/// A packet as the viewer got it.
pub(crate) struct Got {
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) payload: Bytes,
}

/// A viewer.
pub(crate) struct Viewer {
    pc: RTCPeerConnection,
    pub(crate) addr: SocketAddr,
    pub(crate) connected: bool,
    /// Sound: sequence number, timestamp, payload.
    pub(crate) sounds: Vec<(u16, u32, Bytes)>,
    /// By sequence number, extended over rollovers.
    pub(crate) packets: BTreeMap<u64, Got>,
    newest: Option<u64>,
    ssrc: u32,
    receiver: RTCRtpReceiverId,
}

impl Viewer {
    /// A viewer at this address, and its offer.
    pub(crate) fn new(addr: SocketAddr, now: Instant) -> (Viewer, String) {
        Viewer::wanting(&[RtpCodecKind::Video], addr, now)
    }

    /// The same, which wants these kinds of media.
    pub(crate) fn wanting(kinds: &[RtpCodecKind], addr: SocketAddr, now: Instant) -> (Viewer, String) {
        let mut engine = MediaEngine::default();
        engine.register_default_codecs().unwrap();
        let registry = register_default_interceptors(Registry::new(), &mut engine).unwrap();
        let settings = SettingEngineBuilder::new().with_multicast_dns_mode(MulticastDnsMode::Disabled).build();
        let mut pc = RTCPeerConnectionBuilder::new()
            .with_media_engine(engine)
            .with_setting_engine(settings)
            .with_interceptor_registry(registry)
            .build(now)
            .unwrap();
        let mut receivers = kinds.iter().map(|kind| {
            let transceiver = pc.add_transceiver_from_kind(*kind, None).unwrap();
            pc.rtp_transceiver(transceiver).unwrap().receiver().unwrap()
        });
        let receiver = receivers.next().unwrap();
        receivers.for_each(drop);
        let base_config = CandidateConfig {
            network: "udp".to_owned(),
            address: addr.ip().to_string(),
            port: addr.port(),
            component: 1,
            ..Default::default()
        };
        let candidate = CandidateHostConfig { base_config, ..Default::default() }.new_candidate_host().unwrap();
        pc.add_local_candidate(RTCIceCandidate::from(&candidate).to_json().unwrap()).unwrap();
        let offer = pc.create_offer(None).unwrap();
        pc.set_local_description(now, offer.clone()).unwrap();
        let packets = BTreeMap::new();
        (Viewer { pc, addr, connected: false, sounds: Vec::new(), packets, newest: None, ssrc: 0, receiver }, offer.sdp)
    }

    pub(crate) fn answer(&mut self, now: Instant, sdp: String) {
        let answer = RTCSessionDescription::answer(sdp).unwrap();
        self.pc.set_remote_description(now, answer).unwrap();
    }

    pub(crate) fn input(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        let transport = TransportContext {
            local_addr: self.addr,
            peer_addr: from,
            transport_protocol: TransportProtocol::UDP,
            ecn: None,
        };
        let _ = self.pc.handle_read(TaggedBytesMut { now, transport, message: BytesMut::from(datagram) });
        // The end of the handshake is an event, and what follows in the same millisecond needs its keys.
        self.take_events();
    }

    fn take_events(&mut self) {
        while let Some(event) = self.pc.poll_event() {
            if let RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) = event {
                self.connected |= state == RTCPeerConnectionState::Connected;
            }
        }
    }

    /// Sends a Picture Loss Indication.
    pub(crate) fn ask_for_key(&mut self, now: Instant) {
        let request = PictureLossIndication { sender_ssrc: 1, media_ssrc: self.ssrc };
        let mut receiver = self.pc.rtp_receiver(self.receiver).unwrap();
        receiver.write_rtcp(now, vec![Box::new(request)]).unwrap();
    }

    /// What it sends, and where to. Also runs its timers and takes what arrived.
    pub(crate) fn poll(&mut self, now: Instant) -> Vec<(SocketAddr, Vec<u8>)> {
        if self.pc.poll_timeout().is_some_and(|at| at <= now) {
            let _ = self.pc.handle_timeout(now);
        }
        self.take_events();
        while let Some(message) = self.pc.poll_read() {
            // RTCP it keeps to itself.
            if let RTCMessage::RtpPacket(_, packet) = message.message {
                self.keep(packet);
            }
        }
        std::iter::from_fn(|| self.pc.poll_write()).map(|w| (w.transport.peer_addr, w.message.to_vec())).collect()
    }

    fn keep(&mut self, packet: rtc::rtp::Packet) {
        let sequence = packet.header.sequence_number;
        // Opus, as `rtc` numbers it.
        if packet.header.payload_type == 111 {
            self.sounds.push((sequence, packet.header.timestamp, packet.payload));
            return;
        }
        self.ssrc = packet.header.ssrc;
        let newest = self.newest.unwrap_or(u64::from(sequence) + (1 << 32));
        let extended = newest.wrapping_add_signed(i64::from(sequence.wrapping_sub(newest as u16) as i16));
        self.newest = Some(newest.max(extended));
        let (timestamp, marker) = (packet.header.timestamp, packet.header.marker);
        self.packets.insert(extended, Got { timestamp, marker, payload: packet.payload });
    }

    pub(crate) fn close(&mut self) {
        self.pc.close().unwrap();
    }

    /// Complete pictures up to the first gap: timestamp and NAL units (RFC 6184 §5).
    pub(crate) fn pictures(&self) -> Vec<(u32, Vec<Bytes>)> {
        let mut pictures = Vec::new();
        let mut nals: Vec<Bytes> = Vec::new();
        let mut fragmented: Option<BytesMut> = None;
        let mut last = None;
        for (sequence, got) in &self.packets {
            if last.is_some_and(|l| l + 1 != *sequence) {
                break;
            }
            last = Some(*sequence);
            let payload = &got.payload;
            match payload[0] & 0x1f {
                24 => {
                    let mut rest = payload.slice(1..);
                    while rest.len() > 2 {
                        let length = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
                        nals.push(rest.slice(2..2 + length));
                        rest = rest.slice(2 + length..);
                    }
                }
                28 => {
                    let header = (payload[0] & 0xe0) | (payload[1] & 0x1f);
                    if payload[1] & 0x80 != 0 {
                        fragmented = Some(BytesMut::from(&[header][..]));
                    }
                    // Without its first piece (lost before the stream began for us) a unit is nothing.
                    if let Some(unit) = fragmented.as_mut() {
                        unit.extend_from_slice(&payload[2..]);
                    }
                    if payload[1] & 0x40 != 0 {
                        nals.extend(fragmented.take().map(BytesMut::freeze));
                    }
                }
                _ => nals.push(payload.clone()),
            }
            if got.marker {
                pictures.push((got.timestamp, std::mem::take(&mut nals)));
            }
        }
        pictures
    }
}
