//! WebRTC: peers behind one UDP socket, playing live streams (WHEP) and publishing into them (WHIP, [`receive`]), STUN and TURN beside them ([`turn`]), and the signaling [`channel`]s by
//! which clients find each other.
//!
//! What belongs here: offers and answers, ICE-lite, DTLS-SRTP, and one packetisation of each stream for all its viewers.
//! `sdp`, `ice`, `dtls`, `demux`, `rtp`, `fanout::Packetizer`, `batch`, `link` and `peer` do no I/O and are told the time;
//! `task` owns the socket and drives them. What does not: HTTP (see `web`), storage.

mod batch;
mod candidates;
pub mod channel;
mod demux;
mod dtls;
mod fanout;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod ice;
pub mod ice_test;
mod link;
#[cfg(test)]
mod live_tests;
mod peer;
mod peers;
pub mod receive;
mod room;
mod rtp;
mod sdp;
mod socket;
mod stun;
mod task;
#[cfg(test)]
mod testing;
pub mod turn;

pub use peers::Peers;

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// Settings of WebRTC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The UDP address of all peers; by default the HTTP address and port number, which the binary fills in.
    pub listen: Option<SocketAddr>,
    /// Addresses to offer beside those of the interfaces (a public address in front of a NAT).
    pub advertise: Vec<IpAddr>,
    /// Most peers at a time.
    pub max_peers: usize,
    /// Most bytes of pictures that are held for all viewers together; where that is little, the slowest go on at their next key frame.
    pub queue_bytes: u64,
    /// A publisher whose last key frame is so long ago, in ms, is asked for another: fragments begin at them.
    pub publisher_key_frame_ms: u64,
    /// STUN and TURN on the same port: a table of its own, which the binary puts here.
    #[serde(skip)]
    pub turn: turn::Config,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: None,
            advertise: Vec::new(),
            max_peers: 1000,
            queue_bytes: 128 << 20,
            publisher_key_frame_ms: 2000,
            turn: turn::Config::default(),
        }
    }
}

/// Why an offer was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The offer is no SDP that can be answered.
    #[error("the offer cannot be answered: {0}")]
    BadOffer(String),
    /// The stream cannot be shown by WebRTC; the text says why, and HLS can.
    #[error("{0}")]
    NotPlayable(String),
    /// The stream has no picture yet.
    #[error("{0}")]
    NotLive(String),
    /// Somebody else sends into the stream.
    #[error(
        "{0} is being published to by another WebRTC client; end that session first (DELETE), or wait 20 s if its client is gone"
    )]
    Published(media::StreamName),
    /// Too many peers.
    #[error("the limit of {0} WebRTC peers is reached")]
    TooMany(usize),
}

/// An answered offer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Unguessable id of the peer, for closing it.
    pub id: String,
    /// The SDP answer, with all candidates in it.
    pub sdp: String,
}
