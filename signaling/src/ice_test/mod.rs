//! A test of a STUN and TURN server from where a client is: which ways work, and how long each takes.
//!
//! What belongs here: the client's protocol (`client`), what carries it (`wire`), and the steps of a test. What does not: TLS, and where
//! servers and credentials come from, which the caller knows.
//!
//! A relay is tested by the whole way of a packet: an allocation, a permission for the allocation's own address, and a packet that
//! goes there and comes back.

pub mod client;
#[cfg(test)]
mod tests;
mod wire;

use client::{Answer, Ask, Client};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};
use wire::{Datagrams, Stream, Wire};

/// A datagram that is not answered is sent again after so long, then after twice as long (RFC 8489 §6.2.1).
const FIRST_RESEND: Duration = Duration::from_millis(500);
/// A server may ask so often for another signature.
const CHALLENGES: usize = 3;

/// A way that works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Works {
    /// From the first packet to the answer, or to the packet that came back.
    pub took: Duration,
    /// The client's address, as the server sees it.
    pub mapped: Option<SocketAddr>,
    /// The address of the relay.
    pub relayed: Option<SocketAddr>,
}

/// Why a way does not work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing came back.
    #[error("no answer to {0} within {seconds} s", seconds = .1.as_secs_f32())]
    NoAnswer(&'static str, Duration),
    /// An error of the socket.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The server said no.
    #[error("the server refused {asked}: {reason} ({code})")]
    Refused {
        /// The request.
        asked: &'static str,
        /// The error's code.
        code: u16,
        /// The server's words.
        reason: String,
    },
    /// There is an allocation, and what is sent to its address does not come back.
    #[error("the relay {relayed} was allocated, but a packet that was sent to it did not come back within {seconds} s", seconds = .limit.as_secs_f32())]
    NoEcho {
        /// Its address.
        relayed: SocketAddr,
        /// How long was waited.
        limit: Duration,
    },
    /// The server's answer lacks what it has to have.
    #[error("the answer to {0} has no address")]
    NoAddress(&'static str),
}

/// Credentials of TURN.
#[derive(Clone)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Asks a server over UDP for this client's address.
///
/// # Errors
/// No answer within the limit, or a wrong one.
pub async fn binding(server: SocketAddr, limit: Duration) -> Result<Works, Error> {
    let none = Credentials { username: String::new(), password: String::new() };
    let mut test = Test::new(datagrams(server).await?, &none, limit)?;
    match test.ask(Ask::Binding).await? {
        (Some(mapped), _) => Ok(Works { took: test.begun.elapsed(), mapped: Some(mapped), relayed: None }),
        _ => Err(Error::NoAddress(Ask::Binding.name())),
    }
}

/// Sends a packet through a relay, whose client speaks UDP.
///
/// # Errors
/// The step that did not work.
pub async fn relay_by_udp(server: SocketAddr, credentials: &Credentials, limit: Duration) -> Result<Works, Error> {
    Test::new(datagrams(server).await?, credentials, limit)?.relay().await
}

/// Sends a packet through a relay over a connection, which may be one of TLS.
///
/// # Errors
/// The step that did not work.
pub async fn relay_by_stream(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    credentials: &Credentials,
    limit: Duration,
) -> Result<Works, Error> {
    Test::new(Stream::new(stream), credentials, limit)?.relay().await
}

async fn datagrams(server: SocketAddr) -> io::Result<Datagrams> {
    let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    Ok(Datagrams(socket))
}

struct Test<W> {
    wire: W,
    client: Client,
    begun: Instant,
    limit: Duration,
}

impl<W: Wire> Test<W> {
    fn new(wire: W, credentials: &Credentials, limit: Duration) -> Result<Self, Error> {
        let client = Client::new(&credentials.username, &credentials.password).map_err(io::Error::from)?;
        Ok(Test { wire, client, begun: Instant::now(), limit })
    }

    async fn relay(mut self) -> Result<Works, Error> {
        let (mapped, relayed) = self.ask(Ask::Allocate).await?;
        let relayed = relayed.ok_or(Error::NoAddress(Ask::Allocate.name()))?;
        let passed = match self.ask(Ask::Permit(relayed)).await {
            Ok(_) => self.echo(relayed).await,
            Err(why) => Err(why),
        };
        let took = self.begun.elapsed();
        // Its port is to be free again at once; where that is lost, it is by its time.
        let end = self.client.request(Ask::End);
        let ended = self.wire.send(&end).await;
        passed?;
        ended?;
        Ok(Works { took, mapped, relayed: Some(relayed) })
    }

    /// Asks until there is an answer: the client's and the relay's address.
    async fn ask(&mut self, ask: Ask) -> Result<(Option<SocketAddr>, Option<SocketAddr>), Error> {
        for _ in 0..CHALLENGES {
            let (request, until) = (self.client.request(ask), self.begun + self.limit);
            let client = &mut self.client;
            match exchange(&mut self.wire, &request, W::LOSES, until, |message| client.answer(message)).await? {
                None => return Err(Error::NoAnswer(ask.name(), self.limit)),
                Some(Answer::Done { mapped, relayed }) => return Ok((mapped, relayed)),
                Some(Answer::Challenged) => {}
                Some(Answer::Refused { code, reason }) => {
                    return Err(Error::Refused { asked: ask.name(), code, reason });
                }
            }
        }
        Err(Error::Refused { asked: ask.name(), code: 438, reason: "Stale Nonce, again and again".into() })
    }

    /// Sends a packet to the relay's own address, and waits until it is back.
    async fn echo(&mut self, relayed: SocketAddr) -> Result<(), Error> {
        let mut sent = [0; 16];
        getrandom::fill(&mut sent).map_err(io::Error::from)?;
        let packet = self.client.send(relayed, &sent);
        let is_ours =
            |message: &[u8]| Client::data(message).filter(|(peer, data)| *peer == relayed && *data == sent).map(|_| ());
        // Between relays packets may be lost, whatever carries them there.
        let back = exchange(&mut self.wire, &packet, true, self.begun + self.limit, is_ours).await?;
        back.ok_or(Error::NoEcho { relayed, limit: self.limit })
    }
}

/// Sends a message, again if it may have been lost, until `take` finds its answer in what comes; `None` if it does not in time.
async fn exchange<T>(
    wire: &mut impl Wire,
    message: &[u8],
    again: bool,
    until: Instant,
    mut take: impl FnMut(&[u8]) -> Option<T>,
) -> Result<Option<T>, Error> {
    let mut wait = FIRST_RESEND;
    loop {
        let whole = async {
            wire.send(message).await?;
            loop {
                let message = wire.receive().await?;
                if let Some(answer) = take(&message) {
                    return Ok::<T, io::Error>(answer);
                }
            }
        };
        let next = if again { until.min(Instant::now() + wait) } else { until };
        match timeout_at(next, whole).await {
            Ok(answer) => return Ok(Some(answer?)),
            Err(_) if Instant::now() >= until => return Ok(None),
            Err(_) => wait *= 2,
        }
    }
}
