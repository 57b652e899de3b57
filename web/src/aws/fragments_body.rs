//! The body of an answer that sends fragment after fragment, at the pace of its client.
//!
//! It holds the fragment that is being sent and the next one, in the room that all such bodies share; while there is none it
//! waits. A client that reads slowly is given older fragments, from the disk, and misses none. One that takes what it is given too
//! slowly ([`Pace`](crate::pace)) loses its connection, and goes on with the continuation token of what it has.

use super::fragments::{self, Fault, Form, Pieces};
use crate::{
    auth::{Caller, access::Principal},
    body::Room,
    pace::Hold,
    serve::Cut,
    state::Shared,
};
use axum::{
    body::Body,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{
    StreamExt,
    future::poll_immediate,
    stream::{BoxStream, unfold},
};
use media::{Fragment, FragmentMeta, Header, HeaderId, mkv};
use std::{future::Future, io, sync::Arc, time::Duration};
use store::{Kind, Stream};
use tokio::time::timeout;
use tracing::{debug, warn};

/// While nothing comes, the credentials are looked at again this often.
const LOOK: Duration = Duration::from_secs(10);

/// What comes next.
pub(crate) enum Next {
    /// A fragment has begun under this header: its document may begin before the fragment is complete.
    Begun(Arc<Header>),
    /// A complete fragment.
    Fragment(FragmentMeta),
    /// No more, and why.
    Failed(Fault),
    /// No more.
    End,
}

/// Says which fragments, in which order.
pub(crate) trait Source: Send + 'static {
    /// The next; waits for it.
    fn next(&mut self) -> impl Future<Output = Next> + Send;
    /// A fragment is not there any more. Whether the source goes on without it.
    fn goes_on_without(&self) -> bool;
}

/// What there is to send next. The stream of these ends where the answer does.
enum Step {
    Begin(Arc<Header>),
    Send(Arc<Fragment>, Room),
    Fail(Fault),
}

/// Reads what a source names.
struct Loader<S> {
    shared: Arc<Shared>,
    /// Whose room it takes.
    principal: Principal,
    stream: Stream,
    source: S,
    ended: bool,
}

impl<S: Source> Loader<S> {
    fn steps(self) -> BoxStream<'static, Step> {
        unfold(self, |mut loader| async move { loader.step().await.map(|step| (step, loader)) }).boxed()
    }

    async fn step(&mut self) -> Option<Step> {
        while !self.ended {
            let step = match self.source.next().await {
                Next::Begun(header) => Some(Step::Begin(header)),
                Next::Fragment(meta) => self.load(&meta).await,
                Next::Failed(fault) => Some(Step::Fail(fault)),
                Next::End => break,
            };
            self.ended = matches!(step, Some(Step::Fail(_)));
            if step.is_some() {
                return step;
            }
        }
        None
    }

    /// Reads a fragment; `None` where the source goes on without it.
    async fn load(&mut self, meta: &FragmentMeta) -> Option<Step> {
        let room = self.shared.sending.wait_for_room(u64::from(meta.bytes), &self.principal).await;
        let (number, stream) = (meta.number, self.stream.info().name);
        let goes_on = self.source.goes_on_without();
        match self.stream.fragment(number).await {
            Ok(fragment) => Some(Step::Send(fragment, room)),
            Err(error) if error.kind() == Kind::NotFound && goes_on => {
                debug!(%stream, %number, "a fragment went before it could be sent");
                None
            }
            Err(error) if error.kind() == Kind::NotFound => Some(Step::Fail(Fault::not_found(Some(number)))),
            // It will not get better: what is behind it can still be had.
            Err(error) if error.kind() == Kind::Corrupt && goes_on => {
                metrics::counter!("vidicon_get_media_damaged_total").increment(1);
                warn!(%stream, %number, %error, "a damaged fragment is left out");
                None
            }
            Err(error) => {
                warn!(%stream, %number, %error, "a fragment could not be sent");
                Some(Step::Fail(Fault::internal(Some(number))))
            }
        }
    }
}

/// One answer under way.
struct Sender {
    caller: Caller,
    stream: Stream,
    form: Form,
    steps: BoxStream<'static, Step>,
    /// The step after the one that is being sent, once it is known: the inner `None` is the end.
    ahead: Option<Option<Step>>,
    /// Pieces of the fragment that is being sent, which keep it in its room.
    pieces: Pieces,
    held: Option<(FragmentMeta, Arc<Hold>)>,
    /// The document that has begun for a fragment to come.
    begun: Option<HeaderId>,
    /// Whether a document is open for tags to stand in.
    any: bool,
    cut: Cut,
    /// Sent so far.
    fragments: u64,
    bytes: u64,
}

/// An answer whose body is what `source` names of a stream.
pub(crate) fn answer<S: Source>(caller: &Caller, stream: Stream, form: Form, source: S, cut: Cut) -> Response {
    metrics::gauge!("vidicon_get_media_connections", "operation" => form.operation()).increment(1.0);
    let (shared, principal) = (caller.shared.clone(), caller.principal.clone());
    let loader = Loader { shared, principal, stream: stream.clone(), source, ended: false };
    let sender = Sender {
        caller: caller.with(caller.action()),
        stream,
        form,
        steps: loader.steps(),
        ahead: None,
        pieces: Pieces::default(),
        held: None,
        begun: None,
        any: false,
        cut,
        fragments: 0,
        bytes: 0,
    };
    let body = unfold(sender, |mut sender| async move {
        let piece = sender.next().await?;
        Some((io::Result::Ok(piece), sender))
    });
    // What the cloud sends, although it is any Matroska.
    ([(header::CONTENT_TYPE, "video/webm")], Body::from_stream(body)).into_response()
}

impl Sender {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(piece) = self.pieces.pop() {
                self.bytes += piece.len() as u64;
                // While this goes out, the next fragment is read.
                if self.ahead.is_none() {
                    self.ahead = poll_immediate(self.steps.next()).await;
                }
                return Some(match &self.held {
                    Some((_, hold)) => hold.piece(piece),
                    None => piece,
                });
            }
            if let Some((meta, _)) = self.held.take() {
                self.sent(&meta);
                continue;
            }
            match self.step().await? {
                Step::Begin(header) => {
                    self.pieces.extend(&mkv::document_start(&header));
                    (self.begun, self.any) = (Some(header.id), true);
                }
                Step::Send(fragment, room) => {
                    let begun = self.begun.take() == Some(fragment.meta.header);
                    self.pieces = fragments::pieces(self.form, &fragment, begun);
                    let hold = self.caller.shared.sending.hold(room, u64::from(fragment.meta.bytes), self.cut.clone());
                    (self.held, self.any) = (Some((fragment.meta.clone(), hold)), true);
                }
                Step::Fail(fault) => {
                    if !self.any {
                        self.pieces.extend(&mkv::document_start(&mkv::write_header(&[])));
                    }
                    self.pieces.push(&fragments::failed(self.form, fault));
                }
            }
        }
    }

    /// The next step, as long as the credentials hold and allow this.
    async fn step(&mut self) -> Option<Step> {
        loop {
            if !self.caller.still_reaches(&self.stream, self.caller.now()).await {
                return None;
            }
            if let Some(step) = self.ahead.take() {
                return step;
            }
            if let Ok(step) = timeout(LOOK, self.steps.next()).await {
                return step;
            }
        }
    }

    /// A fragment went out: the tags after it follow.
    fn sent(&mut self, meta: &FragmentMeta) {
        let now = self.caller.now();
        self.fragments += 1;
        let operation = self.form.operation();
        metrics::counter!("vidicon_get_media_fragments_total", "operation" => operation).increment(1);
        metrics::counter!("vidicon_get_media_bytes_total", "operation" => operation).increment(u64::from(meta.bytes));
        let behind = fragments::behind_ms(meta, now) as f64 / 1000.0;
        metrics::histogram!("vidicon_get_media_behind_seconds", "operation" => operation).record(behind);
        self.pieces.push(&fragments::after(meta, now));
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        metrics::gauge!("vidicon_get_media_connections", "operation" => self.form.operation()).decrement(1.0);
        debug!(stream = %self.stream.info().name, fragments = self.fragments, bytes = self.bytes, "media sent");
    }
}
