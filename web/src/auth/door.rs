//! The capability values without which a handler reaches neither the store nor a byte of media: [`Door`] holds the
//! application, and only what [`authorise`] lets through comes out of it.

use super::{
    access::{Action, Allowed, Object, Principal, authorise, no_stream, within},
    identity::{Around, Resource, Tags},
    token::Playback,
};
use crate::{App, error::Error};
use axum::http::StatusCode;
use media::{Fragment, FragmentMeta, FragmentNumber, Header, HeaderId, StreamName, UnixMillis};
use std::sync::Arc;
use store::{Kind, Position, Range, Span, Stream, StreamInfo, TimeBy, documents::Document};

/// Media that comes in is durable in less than this, or something is wrong with the disk.
const COMMIT_MS: i64 = 60_000;

/// Who asks for what, and how.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) principal: &'a Principal,
    pub(super) action: Action,
    pub(super) around: &'a Around,
}

/// Where a thing is kept that has an ARN and is no stream.
#[derive(Clone, Copy)]
pub(crate) struct Kept<'a> {
    /// One of `store::documents`.
    pub(crate) collection: &'static str,
    pub(crate) name: &'a str,
    /// What policies see where there is none.
    pub(crate) unmade: &'a Resource,
    /// What to answer where there is none, and to those who must not know that there is one.
    pub(crate) none: fn(&str) -> Error,
}

/// The application behind the door.
pub(crate) struct Door {
    app: Arc<App>,
}

impl Door {
    pub(crate) fn new(app: App) -> Self {
        Door { app: Arc::new(app) }
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
        if let Some(problem) = self.app.store.storage_problem() {
            return Err(Error::unavailable("not_ready", problem, 5));
        }
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

    fn authorise(&self, asking: Asking<'_>, object: Object<'_>) -> Result<Allowed, Error> {
        authorise(asking.principal, asking.action, object, asking.around, self.now())
    }
    /// Everything, for a principal who may act on the whole server.
    pub(super) fn server(&self, asking: Asking<'_>) -> Result<&App, Error> {
        self.authorise(asking, Object::Server)?;
        Ok(&self.app)
    }
    /// Everything, for a principal who may act on this one thing.
    pub(super) fn thing(&self, asking: Asking<'_>, resource: &Resource) -> Result<&App, Error> {
        self.authorise(asking, Object::Other(resource))?;
        Ok(&self.app)
    }
    /// What to answer where there is no such thing: 404, unless the principal must not learn even that.
    pub(super) fn missing(&self, asking: Asking<'_>, resource: &Resource, none: Error) -> Error {
        self.authorise(asking, Object::Missing(resource)).err().unwrap_or(none)
    }
    /// A document that stands for a thing with an ARN of its own, as `read` reads it, together with what policies see of it. Gives
    /// the document's version too.
    pub(super) async fn kept<T, E: From<Error>>(
        &self,
        asking: Asking<'_>,
        kept: Kept<'_>,
        read: impl FnOnce(&Document) -> Result<(T, Resource), E>,
    ) -> Result<(&App, u64, T), E> {
        let document = self.app.store.document(kept.collection, kept.name).await.map_err(Error::from)?;
        let Some(document) = document else {
            return Err(self.missing(asking, kept.unmade, (kept.none)(kept.name)).into());
        };
        let (thing, resource) = read(&document)?;
        match self.thing(asking, &resource) {
            Ok(app) => Ok((app, document.version, thing)),
            // What is hidden is told in the words for what is not there.
            Err(hidden) if hidden.status == StatusCode::NOT_FOUND => Err((kept.none)(kept.name).into()),
            Err(told) => Err(told.into()),
        }
    }
    /// A stream by name; `request` has the tags that the request gives or takes.
    pub(super) async fn stream(&self, asking: Asking<'_>, name: &str, request: &Resource) -> Result<Granted, Error> {
        let Ok(name) = name.parse::<StreamName>() else { return Err(Error::not_found("no stream has such a name")) };
        match self.app.store.stream(&name) {
            Ok(stream) => self.grant(asking, stream, request).await,
            Err(_) => {
                let resource = Resource { arn: stream_arn(&self.app, &name, UnixMillis(0)), ..request.clone() };
                Err(self.missing(asking, &resource, no_stream(&name)))
            }
        }
    }
    /// The stream that a playback token is for.
    pub(super) async fn own_stream(&self, asking: Asking<'_>) -> Result<Granted, Error> {
        let none = || Error::not_found("the stream that it is for is not there any more");
        let Principal::Playback(playback) = asking.principal else { return Err(none()) };
        let stream = self.app.store.streams().into_iter().find(|s| s.info().id == playback.stream).ok_or_else(none)?;
        self.grant(asking, stream, &Resource::default()).await
    }
    /// A stream that was found.
    pub(super) async fn grant(&self, asking: Asking<'_>, stream: Stream, request: &Resource) -> Result<Granted, Error> {
        let info = stream.info();
        let arn = stream_arn(&self.app, &info.name, info.created_at);
        let mut resource = Resource { arn, ..request.clone() };
        if matches!(asking.principal, Principal::Identity(identity) if identity.looks_at_tags()) {
            resource.tags = self.stream_tags(&info).await?;
        }
        let allowed = self.authorise(asking, Object::Stream(info.id, &resource))?;
        let playback = match asking.principal {
            Principal::Playback(playback) => Some(*playback),
            Principal::Root(_) | Principal::Identity(_) => None,
        };
        Ok(Granted { stream, app: self.app.clone(), id: info.id, playback, _allowed: allowed })
    }
    /// The tags in a stream's document, if it has one.
    async fn stream_tags(&self, info: &StreamInfo) -> Result<Tags, Error> {
        let document = self.app.store.document(store::documents::STREAM, &info.id.to_string()).await?;
        let tags = document.and_then(|mut document| document.body.get_mut("tags").map(serde_json::Value::take));
        Ok(tags.and_then(|tags| serde_json::from_value(tags).ok()).unwrap_or_default())
    }
}

/// The ARN of a stream.
fn stream_arn(app: &App, name: &StreamName, created_at: UnixMillis) -> String {
    app.aws.account().arn(crate::aws::arn::Resource::Stream, name, created_at).to_string()
}

/// The right to do one action on one stream, within the principal's range: the only way from a handler to its bytes.
pub(crate) struct Granted {
    stream: Stream,
    app: Arc<App>,
    id: u64,
    playback: Option<Playback>,
    _allowed: Allowed,
}

impl Granted {
    /// The catalog's id of the stream.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
    pub(crate) fn info(&self) -> StreamInfo {
        self.stream.info()
    }
    pub(crate) fn stats(&self) -> store::StreamStats {
        self.stream.stats()
    }
    pub(crate) fn usage(&self) -> store::quota::StreamUsage {
        self.stream.usage()
    }
    /// The playback token this came by, if it did.
    pub(crate) fn playback(&self) -> Option<Playback> {
        self.playback
    }
    /// The part of a range that the principal may see.
    fn within(&self, asked: Range) -> Result<Range, Error> {
        self.playback.map_or(Ok(asked), |playback| within(&playback, asked))
    }
    pub(crate) async fn coverage(&self, range: Range, limit: usize) -> Result<Vec<Span>, Error> {
        Ok(self.stream.coverage(self.within(range)?, limit).await?)
    }
    /// The same by the server's clock, for those who see all of the stream.
    pub(crate) async fn coverage_by_server(&self, range: Range, limit: usize) -> Result<Vec<Span>, Error> {
        Ok(self.whole()?.coverage_by(TimeBy::Server, range, limit).await?)
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
    fn sees(&self, meta: &FragmentMeta) -> Result<(), Error> {
        self.within(Range { from: meta.producer_start, to: meta.producer_end() }).map(drop)
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
    /// The stream itself, for those who see all of it.
    pub(crate) fn whole(&self) -> Result<Stream, Error> {
        self.app().map(|_| self.stream.clone())
    }
    /// The application, to do to this stream what was granted; not for bearers of playback tokens.
    pub(crate) fn app(&self) -> Result<&App, Error> {
        match self.playback {
            None => Ok(&self.app),
            Some(_) => Err(Error::forbidden("a playback token only plays its own stream")),
        }
    }
}

/// The same words whether a fragment expired or never was.
fn no_fragment(error: store::Error) -> Error {
    match error.kind() {
        Kind::NotFound => Error::not_found("there is no such fragment; it may have expired"),
        _ => error.into(),
    }
}
