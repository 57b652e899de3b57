//! A viewer by WebRTC that this project did not write: `rtc`'s peer connection on a socket of its own.

use bytes::BytesMut;
use rtc::{
    ice::mdns::MulticastDnsMode,
    interceptor::Registry,
    peer_connection::{
        RTCPeerConnection, RTCPeerConnectionBuilder,
        configuration::{
            interceptor_registry::register_default_interceptors, media_engine::MediaEngine,
            setting_engine::SettingEngineBuilder,
        },
        event::RTCPeerConnectionEvent,
        message::RTCMessage,
        sdp::RTCSessionDescription,
        state::RTCPeerConnectionState,
        transport::{CandidateConfig, CandidateHostConfig, RTCIceCandidate},
    },
    rtp_transceiver::rtp_sender::RtpCodecKind,
    sansio::Protocol,
    shared::{TaggedBytesMut, TransportContext, TransportProtocol},
};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;

pub(crate) struct Viewer {
    peer: RTCPeerConnection,
    socket: UdpSocket,
    pub(crate) offer: String,
    /// The connection has ended, or never came about.
    pub(crate) ended: bool,
    /// Payloads of RTP, each with whether it is of the picture.
    pub(crate) payloads: Vec<Vec<u8>>,
}

impl Viewer {
    /// One that wants pictures.
    pub(crate) async fn new() -> Viewer {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut engine = MediaEngine::default();
        engine.register_default_codecs().unwrap();
        let registry = register_default_interceptors(Registry::new(), &mut engine).unwrap();
        let settings = SettingEngineBuilder::new().with_multicast_dns_mode(MulticastDnsMode::Disabled).build();
        let mut peer = RTCPeerConnectionBuilder::new()
            .with_media_engine(engine)
            .with_setting_engine(settings)
            .with_interceptor_registry(registry)
            .build(Instant::now())
            .unwrap();
        peer.add_transceiver_from_kind(RtpCodecKind::Video, None).unwrap();
        let base_config = CandidateConfig {
            network: "udp".to_owned(),
            address: "127.0.0.1".to_owned(),
            port: socket.local_addr().unwrap().port(),
            component: 1,
            ..Default::default()
        };
        let candidate = CandidateHostConfig { base_config, ..Default::default() }.new_candidate_host().unwrap();
        peer.add_local_candidate(RTCIceCandidate::from(&candidate).to_json().unwrap()).unwrap();
        let offer = peer.create_offer(None).unwrap();
        peer.set_local_description(Instant::now(), offer.clone()).unwrap();
        Viewer { peer, socket, offer: offer.sdp, ended: false, payloads: Vec::new() }
    }

    pub(crate) fn answered(&mut self, sdp: &str) {
        let answer = RTCSessionDescription::answer(sdp.to_owned()).unwrap();
        self.peer.set_remote_description(Instant::now(), answer).unwrap();
    }

    /// Sends and takes what there is, for some milliseconds.
    pub(crate) async fn turn(&mut self) {
        let now = Instant::now();
        if self.peer.poll_timeout().is_some_and(|at| at <= now) {
            let _ = self.peer.handle_timeout(now);
        }
        while let Some(message) = self.peer.poll_read() {
            if let RTCMessage::RtpPacket(_, packet) = message.message {
                self.payloads.push(packet.payload.to_vec());
            }
        }
        while let Some(event) = self.peer.poll_event() {
            if let RTCPeerConnectionEvent::OnConnectionStateChangeEvent(state) = event {
                use RTCPeerConnectionState as State;
                self.ended |= matches!(state, State::Disconnected | State::Failed | State::Closed);
            }
        }
        while let Some(write) = self.peer.poll_write() {
            self.socket.send_to(&write.message, write.transport.peer_addr).await.unwrap();
        }
        let mut buffer = [0; 2048];
        let receiving = self.socket.recv_from(&mut buffer);
        if let Ok(received) = tokio::time::timeout(Duration::from_millis(5), receiving).await {
            let (length, from) = received.unwrap();
            let transport = TransportContext {
                local_addr: self.socket.local_addr().unwrap(),
                peer_addr: from,
                transport_protocol: TransportProtocol::UDP,
                ecn: None,
            };
            let message = BytesMut::from(&buffer[..length]);
            let _ = self.peer.handle_read(TaggedBytesMut { now: Instant::now(), transport, message });
        }
    }
}
