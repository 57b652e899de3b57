//! Live viewing by WebRTC (WHEP): `POST /v1/streams/{name}/whep`, `DELETE /v1/whep/{id}`.
//!
//! For pages of this origin only: no CORS headers. All candidates are in the answer, so there is no PATCH.

use crate::{
    auth::{Caller, access::Principal, token::Session},
    error::Error,
    extract::Params,
    serve::Ends,
};
use axum::{
    Extension,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use media::StreamName;
use signaling::{Error as Refused, Peers};
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Peers remembered with their sessions, those that have ended by themselves included; more than can be open at once.
const MOST: usize = 4096;

/// Whether what a viewer was opened under still holds is looked at so often.
const HOLDS_EVERY: Duration = Duration::from_secs(5);

/// Peers, viewers and publishers.
#[derive(Default)]
pub(crate) struct Viewers {
    /// Those that were opened under sessions, oldest first: they end with them.
    of_sessions: Mutex<VecDeque<(Session, String)>>,
    /// The stream of each, oldest first.
    streams: Mutex<VecDeque<(String, StreamName)>>,
}

impl Viewers {
    /// Remembers a peer; returns one that has to be closed for it, since it would be forgotten.
    fn add(&self, session: Session, peer: String) -> Option<String> {
        let mut peers = self.of_sessions.lock().unwrap_or_else(PoisonError::into_inner);
        peers.push_back((session, peer));
        if peers.len() > MOST { peers.pop_front().map(|(_, peer)| peer) } else { None }
    }
    /// A peer of a stream was opened.
    fn opened(&self, peer: String, stream: StreamName) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if streams.len() == MOST {
            streams.pop_front();
        }
        streams.push_back((peer, stream));
    }
    /// The stream of a peer, unless that was forgotten.
    fn stream_of(&self, peer: &str) -> Option<StreamName> {
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.iter().find(|(known, _)| known == peer).map(|(_, stream)| stream.clone())
    }
    /// A peer was closed.
    fn forget(&self, peer: &str) {
        self.of_sessions.lock().unwrap_or_else(PoisonError::into_inner).retain(|(_, known)| known != peer);
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).retain(|(known, _)| known != peer);
    }
    /// Takes out the peers whose sessions have ended.
    fn take_ended(&self, ended: impl Fn(&Session) -> bool) -> Vec<String> {
        let mut peers = self.of_sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let (gone, left) = peers.drain(..).partition::<VecDeque<_>, _>(|(session, _)| ended(session));
        *peers = left;
        gone.into_iter().map(|(_, peer)| peer).collect()
    }
}

/// Closes the peers whose sessions have ended.
pub(crate) async fn close_ended(caller: &Caller) -> Result<(), Error> {
    let (app, shared) = (caller.server()?, &caller.shared);
    let now = caller.now();
    for peer in shared.viewers.take_ended(|session| !shared.auth.session_holds(session, now)) {
        shared.viewers.forget(&peer);
        if app.peers.close(&peer).await {
            tracing::info!(peer, "closed a WebRTC peer with its session");
        }
    }
    Ok(())
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        let message = refused.to_string();
        match refused {
            Refused::BadOffer(_) => Error::new(StatusCode::BAD_REQUEST, "bad_offer", message),
            Refused::NotPlayable(_) => Error::new(StatusCode::NOT_ACCEPTABLE, "not_playable", message),
            Refused::Published(_) => Error::new(StatusCode::CONFLICT, "published", message),
            Refused::NotLive(_) => Error::unavailable("not_live", message, 2),
            Refused::TooMany(_) => Error::unavailable("too_many_peers", message, 10),
        }
    }
}

/// Answers an SDP offer for a stream.
pub(crate) async fn play(
    caller: Caller,
    Params(name): Params<String>,
    ends: Option<Extension<Ends>>,
    headers: HeaderMap,
    offer: String,
) -> Result<Response, Error> {
    let granted = caller.stream(&name).await?;
    let (stream, app) = (granted.whole()?, granted.app()?);
    is_sdp(&headers)?;
    let reached_at = ends.map(|Extension(ends)| ends.local.ip().to_canonical());
    let answer = app.peers.play(stream.clone(), &offer, reached_at).await?;
    let peers = app.peers.clone();
    end_with_caller(caller, stream, peers, answer.id.clone()).await?;
    let location = format!("/v1/whep/{}", answer.id);
    let headers = [(header::CONTENT_TYPE, "application/sdp".to_owned()), (header::LOCATION, location)];
    Ok((StatusCode::CREATED, headers, answer.sdp).into_response())
}

/// Refuses a body that does not say it is a session description.
pub(crate) fn is_sdp(headers: &HeaderMap) -> Result<(), Error> {
    match headers.get(header::CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"application/sdp")) {
        true => Ok(()),
        false => {
            let message = "send an SDP offer with Content-Type: application/sdp";
            Err(Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message))
        }
    }
}

/// Sees to it that a peer ends with what it was opened under: its session, its key or role, its rights to the stream.
pub(crate) async fn end_with_caller(
    caller: Caller,
    stream: store::Stream,
    peers: Peers,
    id: String,
) -> Result<(), Error> {
    caller.shared.viewers.opened(id.clone(), stream.info().name.clone());
    match caller.principal {
        Principal::Root(Some(session)) => {
            if let Some(oldest) = caller.shared.viewers.add(session, id.clone()) {
                peers.close(&oldest).await;
            }
            // The session may have ended meanwhile, before the peer was remembered.
            if !caller.shared.auth.session_holds(&session, caller.now()) {
                close_ended(&caller).await?;
                return Err(Error::unauthorized("the session has ended: sign in again"));
            }
        }
        Principal::Identity(_) => {
            let shared = caller.shared.clone();
            shared.tasks.spawn(async move {
                tokio::select! {
                    () = end_with_rights(&caller, &stream, &peers, &id) => {}
                    () = caller.shared.stop.cancelled() => {}
                }
            });
        }
        Principal::Root(None) | Principal::Playback(_) => {}
    }
    Ok(())
}

/// Closes a peer once its key or role is taken back or expires, or may not see the stream any more. Returns when it has ended.
async fn end_with_rights(caller: &Caller, stream: &store::Stream, peers: &Peers, id: &str) {
    while peers.is_open(id).await {
        if !caller.still_reaches(stream, caller.now()).await {
            tracing::info!(peer = id, "closed a WebRTC viewer with the rights it was opened under");
            peers.close(id).await;
            return;
        }
        tokio::time::sleep(HOLDS_EVERY).await;
    }
}

/// Closes a viewer.
pub(crate) async fn close(caller: Caller, Params(id): Params<String>) -> Result<StatusCode, Error> {
    end(&caller, &id).await.map(|()| StatusCode::NO_CONTENT)
}

/// Ends a peer for who has the right to do so on its stream, or on the whole server where the stream is not known: such a peer may have ended.
pub(crate) async fn end(caller: &Caller, id: &str) -> Result<(), Error> {
    let granted = match caller.shared.viewers.stream_of(id) {
        Some(stream) => Some(caller.stream(stream.as_str()).await?),
        None => None,
    };
    let app = match &granted {
        Some(granted) => granted.app()?,
        None => caller.server()?,
    };
    caller.shared.viewers.forget(id);
    match app.peers.close(id).await {
        true => Ok(()),
        false => Err(Error::not_found("there is no such WebRTC session; it may have ended")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use media::UnixMillis;

    #[test]
    fn peers_are_taken_with_their_sessions_and_the_oldest_make_room() {
        let session = |n| Session { id: [n; 16], issued_at: UnixMillis(0), expires_at: UnixMillis(9) };
        let viewers = Viewers::default();
        for (n, peer) in [(1, "a"), (2, "b"), (1, "c"), (1, "d")] {
            assert_eq!(viewers.add(session(n), peer.to_owned()), None);
        }
        viewers.forget("c");
        assert_eq!(viewers.take_ended(|s| s.id == [1; 16]), ["a", "d"]);
        assert!(viewers.take_ended(|s| s.id == [1; 16]).is_empty());
        for n in 0..MOST + 1 {
            viewers.opened(n.to_string(), "gate".parse().unwrap());
        }
        assert_eq!((viewers.stream_of("0"), viewers.stream_of("1").is_some()), (None, true), "the oldest is forgotten");
        viewers.forget("1");
        assert_eq!(viewers.stream_of("1"), None);
        for n in 0..MOST {
            let oldest = viewers.add(session(3), n.to_string());
            assert_eq!(oldest.as_deref(), (n == MOST - 1).then_some("b"));
        }
    }
}
