//! Who may do what, decided in one function after the object is resolved; and the capability values without which a
//! handler reaches neither the store nor a byte of media: [`Door`] holds the application, and only what [`authorise`]
//! lets through comes out of it.

use super::token::Playback;
use crate::{App, error::Error};
use media::{Fragment, FragmentMeta, FragmentNumber, Header, HeaderId, StreamName, UnixMillis};
use std::sync::Arc;
use store::{Kind, Position, Range, Span, Stream};

/// Media that comes in is durable in less than this, or something is wrong with the disk.
const COMMIT_MS: i64 = 60_000;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Principal {
    /// The owner of the root credentials; the session they came by, if they did.
    Root(Option<super::token::Session>),
    /// The bearer of a playback token.
    Playback(Playback),
}

/// What is asked. Each route of the table names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// Open to all: health, and signing in itself.
    Public,
    /// Reading the page and one's own session.
    Page,
    /// Reading what the server or the catalog says.
    Read,
    /// Changing cameras, streams, rules, targets or deliveries; making it connect somewhere.
    Change,
    /// Reading recorded bytes in their stored form, and what was detected in them.
    ReadMedia,
    /// Playing by HLS.
    Play,
    /// Handing out playback tokens, and WebRTC.
    Watch,
}

/// What it is asked of, resolved.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Object {
    /// The server as a whole: its catalog, its figures, its events.
    Server,
    /// A stream by the catalog's id.
    Stream(u64),
    /// A range of a stream.
    Span(u64, Range),
}

/// Proof that [`authorise`] said yes. Made nowhere else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed(());

/// The one decision. Foreign streams do not exist for a playback token, so that it tells nothing about them.
pub(crate) fn authorise(principal: &Principal, action: Action, object: Object) -> Result<Allowed, Error> {
    let yes = Ok(Allowed(()));
    let playback = match principal {
        Principal::Root(_) => return yes,
        Principal::Playback(playback) => playback,
    };
    admit(principal, action)?;
    match (action, object) {
        (Action::Public, _) => yes,
        (Action::Play, Object::Stream(id)) if id == playback.stream => yes,
        (Action::Play, Object::Span(id, asked)) if id == playback.stream => {
            match asked.from < playback.range.to && playback.range.from < asked.to {
                true => yes,
                false => Err(Error::not_found("the playback token is for another time range")),
            }
        }
        (Action::Play, Object::Stream(_) | Object::Span(..)) => Err(no_stream()),
        _ => Err(only_plays()),
    }
}

/// What can be said before the object is known, and is said before a body is read: whether such a principal ever may.
pub(super) fn admit(principal: &Principal, action: Action) -> Result<(), Error> {
    match (principal, action) {
        (Principal::Root(_), _) | (_, Action::Public | Action::Play) => Ok(()),
        (Principal::Playback(_), _) => Err(only_plays()),
    }
}

fn only_plays() -> Error {
    Error::forbidden("a playback token only plays its own stream")
}

pub(crate) fn no_stream() -> Error {
    Error::not_found("there is no stream of this name")
}

/// The application behind the door.
pub(crate) struct Door {
    app: App,
}

impl Door {
    pub(crate) fn new(app: App) -> Self {
        Door { app }
    }
    /// The time now: no secret.
    pub(crate) fn now(&self) -> UnixMillis {
        self.app.store.now()
    }
    /// The store for the tables of sign-in itself and for the health check, which come before any principal.
    pub(super) fn settings(&self) -> &store::Store {
        &self.app.store
    }
    /// Whether the store answers, and makes durable what comes in.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        self.app.store.setting("root_access_key_id").await?;
        let now = self.now();
        let receiving = self.app.store.streams().into_iter().map(|s| s.stats()).filter(|s| s.bitrate_bps > 0);
        let late: Vec<_> = receiving.map(|s| s.last_commit_at.is_some_and(|at| at.plus(COMMIT_MS) < now)).collect();
        // One stream may have a reason of its own (no key frame); all of them at once have not.
        match !late.is_empty() && late.iter().all(|late| *late) {
            true => {
                Err(Error::unavailable("not_ready", "media comes in, but nothing was made durable for a minute", 5))
            }
            false => Ok(()),
        }
    }
    /// Everything, for a principal who may act on the whole server.
    pub(super) fn server(&self, principal: &Principal, action: Action) -> Result<&App, Error> {
        authorise(principal, action, Object::Server)?;
        Ok(&self.app)
    }
    /// A stream by name.
    pub(super) fn stream(&self, principal: &Principal, action: Action, name: &str) -> Result<Granted, Error> {
        let stream =
            name.parse::<StreamName>().ok().and_then(|name| self.app.store.stream(&name).ok()).ok_or_else(no_stream)?;
        self.grant(principal, action, stream)
    }
    /// The stream that a playback token is for.
    pub(super) fn own_stream(&self, principal: &Principal, action: Action) -> Result<Granted, Error> {
        let Principal::Playback(playback) = principal else { return Err(no_stream()) };
        let stream =
            self.app.store.streams().into_iter().find(|s| s.info().id == playback.stream).ok_or_else(no_stream)?;
        self.grant(principal, action, stream)
    }
    fn grant(&self, principal: &Principal, action: Action, stream: Stream) -> Result<Granted, Error> {
        let id = stream.info().id;
        let allowed = authorise(principal, action, Object::Stream(id))?;
        Ok(Granted { stream, id, principal: *principal, action, _allowed: allowed })
    }
}

/// The right to do one action on one stream, within the principal's range: the only way from a handler to its bytes.
pub(crate) struct Granted {
    stream: Stream,
    id: u64,
    principal: Principal,
    action: Action,
    _allowed: Allowed,
}

impl Granted {
    /// The catalog's id of the stream.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
    pub(crate) fn info(&self) -> store::StreamInfo {
        self.stream.info()
    }
    pub(crate) fn stats(&self) -> store::StreamStats {
        self.stream.stats()
    }
    /// The playback token this came by, if it did.
    pub(crate) fn playback(&self) -> Option<Playback> {
        match self.principal {
            Principal::Playback(playback) => Some(playback),
            Principal::Root(_) => None,
        }
    }
    /// The part of a range that the principal may see.
    fn within(&self, asked: Range) -> Result<Range, Error> {
        authorise(&self.principal, self.action, Object::Span(self.id, asked))?;
        Ok(match self.playback() {
            None => asked,
            Some(Playback { range, .. }) => Range { from: asked.from.max(range.from), to: asked.to.min(range.to) },
        })
    }
    pub(crate) async fn coverage(&self, range: Range, limit: usize) -> Result<Vec<Span>, Error> {
        Ok(self.stream.coverage(self.within(range)?, limit).await?)
    }
    pub(crate) async fn fragments(&self, range: Range, at: Position, limit: usize) -> Result<Vec<FragmentMeta>, Error> {
        Ok(self.stream.fragments(self.within(range)?, at, limit).await?)
    }
    /// The newest durable fragments that the principal may see, oldest first.
    pub(crate) async fn latest(&self, limit: usize) -> Result<Vec<FragmentMeta>, Error> {
        let mut latest = self.stream.latest(limit).await?;
        latest.retain(|meta| self.sees(meta).is_ok());
        Ok(latest)
    }
    fn sees(&self, meta: &FragmentMeta) -> Result<Allowed, Error> {
        let span = Range { from: meta.producer_start, to: meta.producer_end() };
        authorise(&self.principal, self.action, Object::Span(self.id, span))
    }
    pub(crate) async fn fragment_meta(&self, number: FragmentNumber) -> Result<FragmentMeta, Error> {
        let meta = self.stream.fragment_meta(number).await.map_err(no_fragment)?;
        self.sees(&meta)?;
        Ok(meta)
    }
    pub(crate) async fn fragment(&self, number: FragmentNumber) -> Result<Arc<Fragment>, Error> {
        self.fragment_meta(number).await?;
        self.stream.fragment(number).await.map_err(no_fragment)
    }
    /// A header: it holds codec parameters and no picture, so any of the stream's may be read.
    pub(crate) async fn header(&self, id: HeaderId) -> Result<Arc<Header>, Error> {
        Ok(self.stream.header(id).await?)
    }
    /// The stream itself, for those who may watch without a range.
    pub(crate) fn whole(&self) -> Result<Stream, Error> {
        authorise(&self.principal, self.action, Object::Server)?;
        Ok(self.stream.clone())
    }
}

/// The same words whether a fragment expired or never was.
fn no_fragment(error: store::Error) -> Error {
    match error.kind() {
        Kind::NotFound => Error::not_found("there is no such fragment; it may have expired"),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use axum::http::StatusCode;

    const ALL: [Action; 7] =
        [Action::Public, Action::Page, Action::Read, Action::Change, Action::ReadMedia, Action::Play, Action::Watch];

    fn range(from: i64, to: i64) -> Range {
        Range { from: UnixMillis(from), to: UnixMillis(to) }
    }

    #[test]
    fn root_may_do_everything() {
        for action in ALL {
            for object in [Object::Server, Object::Stream(1), Object::Span(1, range(0, 1))] {
                assert!(authorise(&Principal::Root(None), action, object).is_ok());
            }
        }
    }

    #[test]
    fn a_playback_token_plays_its_stream_and_range_and_nothing_else() {
        let playback = Playback { stream: 7, range: range(100, 200), expires_at: UnixMillis(1000) };
        let bearer = Principal::Playback(playback);
        let allowed = |action, object| authorise(&bearer, action, object).map_err(|e| e.status);
        assert!(allowed(Action::Play, Object::Stream(7)).is_ok());
        assert!(allowed(Action::Play, Object::Span(7, range(150, 160))).is_ok());
        assert!(allowed(Action::Play, Object::Span(7, range(0, 101))).is_ok(), "overlaps");
        assert_eq!(allowed(Action::Play, Object::Span(7, range(0, 100))).err(), Some(StatusCode::NOT_FOUND));
        assert_eq!(allowed(Action::Play, Object::Span(7, range(200, 300))).err(), Some(StatusCode::NOT_FOUND));
        assert_eq!(allowed(Action::Play, Object::Stream(8)).err(), Some(StatusCode::NOT_FOUND));
        assert_eq!(allowed(Action::Play, Object::Span(8, range(150, 160))).err(), Some(StatusCode::NOT_FOUND));
        for action in ALL.into_iter().filter(|a| !matches!(a, Action::Public | Action::Play)) {
            for object in [Object::Server, Object::Stream(7), Object::Span(7, range(150, 160))] {
                assert_eq!(allowed(action, object).err(), Some(StatusCode::FORBIDDEN), "{action:?}");
            }
        }
        assert_eq!(allowed(Action::Play, Object::Server).err(), Some(StatusCode::FORBIDDEN));
    }
}
