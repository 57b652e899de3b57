//! WebRTC: peers behind one UDP socket, playing live streams (WHEP).

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use store::{Store, Stream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

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
}

impl Default for Config {
    fn default() -> Self {
        Config { listen: None, advertise: Vec::new(), max_peers: 1000 }
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

/// All WebRTC peers. Cheap to clone.
#[derive(Clone)]
pub struct Peers {}

impl Peers {
    /// Binds the socket and starts the task that serves all peers until `stop` is cancelled.
    pub async fn start(
        _config: Config,
        _store: Store,
        _stop: CancellationToken,
        _tasks: &TaskTracker,
    ) -> std::io::Result<Peers> {
        unimplemented!("skeleton")
    }
    /// Answers a WHEP offer for a stream. `reached_at` is the local address that the HTTP request came in on: a
    /// candidate for it is always in the answer.
    pub async fn play(&self, _stream: Stream, _offer: &str, _reached_at: Option<IpAddr>) -> Result<Answer, Error> {
        unimplemented!("skeleton")
    }
    /// Closes a peer. False if there is none of that id.
    pub async fn close(&self, _id: &str) -> bool {
        unimplemented!("skeleton")
    }
    /// Peers now.
    pub fn count(&self) -> usize {
        unimplemented!("skeleton")
    }
    /// The UDP address that is bound.
    pub fn local_addr(&self) -> SocketAddr {
        unimplemented!("skeleton")
    }
}
