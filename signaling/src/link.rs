//! The transport of one peer: ICE-lite, DTLS and the SRTP keys that come of it, without I/O.
//!
//! What belongs here: checks, the path that they choose, the handshake, and the ends that they bring. What does not: media.

use crate::batch::{Batch, Path};
use crate::dtls::{Dtls, Keys};
use crate::ice::Lite;
use crate::peer::{End, Reaction};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// From the answer to the end of the handshake.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);
/// Without a check for so long, the client is gone (RFC 7675 §5.1 allows at most 30 s; browsers check every 2.5 to 6 s).
const CONSENT_FOR: Duration = Duration::from_secs(20);
/// Addresses a client may check from at a time.
const MOST_PATHS: usize = 8;

/// The way to a client, and what protects it.
pub(crate) struct Link {
    id: String,
    ice: Lite,
    dtls: Dtls,
    keys: Option<Keys>,
    path: Option<Path>,
    /// Addresses that checks came from, oldest first.
    seen: Vec<SocketAddr>,
    created: Instant,
    checked: Instant,
}

impl Link {
    /// The link of a peer with this public id, whose description is about to be sent.
    pub(crate) fn new(id: String, ice: Lite, dtls: Dtls, now: Instant) -> Self {
        Link { id, ice, dtls, keys: None, path: None, seen: Vec::new(), created: now, checked: now }
    }

    /// The peer's public id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Our ICE fragment.
    pub(crate) fn ufrag(&self) -> &str {
        self.ice.ufrag()
    }

    /// Addresses learned so far.
    pub(crate) fn addrs(&self) -> &[SocketAddr] {
        &self.seen
    }

    /// Whether the handshake is done.
    pub(crate) fn is_connected(&self) -> bool {
        self.keys.is_some()
    }

    /// Where to send, and under which keys, once there are both.
    pub(crate) fn ready(&mut self) -> Option<(Path, &mut Keys)> {
        self.path.zip(self.keys.as_mut())
    }

    /// The keys, once there are some.
    pub(crate) fn keys(&mut self) -> Option<&mut Keys> {
        self.keys.as_mut()
    }

    /// Takes a connectivity check.
    pub(crate) fn check(
        &mut self,
        now: Instant,
        path: Path,
        datagram: &[u8],
        out: &mut Batch,
    ) -> Result<Reaction, End> {
        let Some(checked) = self.ice.check(datagram, path.remote) else { return Ok(Reaction::dropped()) };
        self.checked = now;
        out.push(path, &checked.response);
        let mut reaction = Reaction::default();
        if !self.seen.contains(&path.remote) {
            if self.seen.len() == MOST_PATHS {
                let oldest = self.seen.iter().position(|a| self.path.is_none_or(|p| p.remote != *a)).unwrap_or(0);
                reaction.forgotten = Some(self.seen.remove(oldest));
            }
            self.seen.push(path.remote);
            reaction.learned = Some(path.remote);
        }
        // The client's handshake may come before its choice of a path; until then the first that worked will do.
        if self.path.is_none() || (checked.nominated && self.path != Some(path)) {
            tracing::debug!(peer = self.id, remote = %path.remote, nominated = checked.nominated, "a path");
            self.path = Some(path);
        }
        if checked.nominated {
            self.dtls.begin(now).map_err(|_| End::Failed("the handshake cannot begin"))?;
            self.send_dtls(out);
        }
        Ok(reaction)
    }

    /// Takes a DTLS record; `start` is set once, when the keys are there.
    pub(crate) fn record(&mut self, now: Instant, datagram: &[u8], out: &mut Batch) -> Result<Reaction, End> {
        let progress = self.dtls.handle_input(now, datagram);
        self.send_dtls(out);
        let progress = match progress {
            Ok(progress) => progress,
            // Anyone can forge a record from the client's address, so it ends nothing. What was no forgery and failed
            // (a wrong certificate, say) never connects, and the time for that is short.
            Err(error) => {
                tracing::debug!(peer = self.id, %error, "a DTLS record was of no use");
                return Ok(Reaction::dropped());
            }
        };
        if progress.closed {
            return Err(End::ByViewer);
        }
        let ready = self.keys.is_none() && progress.keys.is_some();
        if let Some(keys) = progress.keys.filter(|_| ready) {
            let after_ms = now.saturating_duration_since(self.created).as_millis() as u64;
            tracing::info!(peer = self.id, srtp = keys.profile, after_ms, "a WebRTC client is connected");
            self.keys = Some(keys);
        }
        Ok(Reaction { start: ready, ..Reaction::default() })
    }

    /// To be called a few times a second: lost handshake flights, and the ends that only time brings.
    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &mut Batch) -> Result<(), End> {
        if self.keys.is_none() && now.saturating_duration_since(self.created) > CONNECT_WITHIN {
            return Err(End::Unanswered);
        }
        if now.saturating_duration_since(self.checked) > CONSENT_FOR {
            return Err(End::Silent);
        }
        if let Err(error) = self.dtls.handle_timeout(now) {
            tracing::debug!(peer = self.id, %error, "the DTLS handshake gave up");
            return Err(End::Unanswered);
        }
        self.send_dtls(out);
        Ok(())
    }

    /// Says goodbye, if the client does not know yet.
    pub(crate) fn close(&mut self, now: Instant, out: &mut Batch) {
        self.dtls.close(now);
        self.send_dtls(out);
    }

    fn send_dtls(&mut self, out: &mut Batch) {
        while let Some(record) = self.dtls.poll_output() {
            if let Some(path) = self.path {
                out.push(path, &record);
            }
        }
    }
}
