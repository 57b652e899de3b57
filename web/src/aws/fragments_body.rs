//! The body of an answer that sends fragment after fragment, at the pace of its client.
//!
//! It holds one fragment at a time, in the room that all media on its way to clients shares; while there is none it waits.
//! A client that reads slowly is given older fragments, from the disk, and misses none. One that reads nothing at all while
//! it holds a fragment loses its connection after a minute, and goes on with the continuation token of what it has.

use super::fragments::{self, Fault, Form, Pieces};
use crate::{
    auth::{Caller, access::Principal},
    body::{Reading, Room},
    state::Shared,
};
use axum::{
    body::Body,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use media::{FragmentMeta, Header, HeaderId, mkv};
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
    /// The next; waits for it. Cancel safe.
    fn next(&mut self) -> impl Future<Output = Next> + Send;
    /// A fragment is not there any more. Whether the source goes on without it.
    fn goes_on_without(&self) -> bool;
}

/// One answer under way.
struct Sender<S> {
    shared: Arc<Shared>,
    principal: Principal,
    stream: Stream,
    source: S,
    form: Form,
    /// Pieces of the fragment that is being sent, and its room.
    pieces: Pieces,
    held: Option<(FragmentMeta, Room)>,
    /// The document that has begun for a fragment to come.
    begun: Option<HeaderId>,
    /// Whether a document is open for tags to stand in.
    any: bool,
    ended: bool,
    reading: Arc<Reading>,
    /// Sent so far.
    fragments: u64,
    bytes: u64,
}

/// An answer whose body is what `source` names of a stream.
pub(crate) fn answer<S: Source>(
    caller: &Caller,
    stream: Stream,
    form: Form,
    source: S,
    reading: Arc<Reading>,
) -> Response {
    metrics::gauge!("vidicon_get_media_connections", "operation" => form.operation()).increment(1.0);
    let sender = Sender {
        shared: caller.shared.clone(),
        principal: caller.principal.clone(),
        stream,
        source,
        form,
        pieces: Pieces::default(),
        held: None,
        begun: None,
        any: false,
        ended: false,
        reading,
        fragments: 0,
        bytes: 0,
    };
    let body = futures_util::stream::unfold(sender, |mut sender| async move {
        let piece = sender.next().await?;
        Some((piece, sender))
    });
    // What the cloud sends, although it is any Matroska.
    ([(header::CONTENT_TYPE, "video/webm")], Body::from_stream(body)).into_response()
}

impl<S: Source> Sender<S> {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            if let Some(piece) = self.pieces.pop() {
                self.reading.gave();
                self.bytes += piece.len() as u64;
                return Some(Ok(piece));
            }
            if let Some((meta, _room)) = self.held.take() {
                self.sent(&meta);
                continue;
            }
            self.reading.waits();
            if self.ended {
                return None;
            }
            let next = loop {
                if !self.shared.auth.holds(&self.principal, self.shared.door.now()).await {
                    return None;
                }
                if let Ok(next) = timeout(LOOK, self.source.next()).await {
                    break next;
                }
            };
            match next {
                Next::Begun(header) => {
                    self.pieces.extend(&mkv::document_start(&header));
                    (self.begun, self.any) = (Some(header.id), true);
                }
                Next::Fragment(meta) => self.load(meta).await,
                Next::Failed(fault) => self.fail(fault),
                Next::End => return None,
            }
        }
    }

    /// A fragment went out: the tags after it follow.
    fn sent(&mut self, meta: &FragmentMeta) {
        let now = self.shared.door.now();
        self.fragments += 1;
        let operation = self.form.operation();
        metrics::counter!("vidicon_get_media_fragments_total", "operation" => operation).increment(1);
        metrics::counter!("vidicon_get_media_bytes_total", "operation" => operation).increment(u64::from(meta.bytes));
        let behind = fragments::behind_ms(meta, now) as f64 / 1000.0;
        metrics::histogram!("vidicon_get_media_behind_seconds", "operation" => operation).record(behind);
        self.pieces.push(&fragments::after(meta, now));
    }

    /// Reads a fragment and puts what goes out of it up.
    async fn load(&mut self, meta: FragmentMeta) {
        let room = self.shared.sending.wait_for_room(u64::from(meta.bytes)).await;
        let number = meta.number;
        let stream = self.stream.info().name;
        match self.stream.fragment(number).await {
            Ok(fragment) => {
                let begun = self.begun.take() == Some(meta.header);
                self.pieces = fragments::pieces(self.form, &fragment, begun);
                (self.held, self.any) = (Some((meta, room)), true);
            }
            Err(error) if error.kind() == Kind::NotFound => match self.source.goes_on_without() {
                true => debug!(%stream, %number, "a fragment went before it could be sent"),
                false => self.fail(Fault::not_found(Some(number))),
            },
            // It will not get better: what is behind it can still be had.
            Err(error) if error.kind() == Kind::Corrupt && self.source.goes_on_without() => {
                metrics::counter!("vidicon_get_media_damaged_total").increment(1);
                warn!(%stream, %number, %error, "a damaged fragment is left out");
            }
            Err(error) => {
                warn!(%stream, %number, %error, "a fragment could not be sent");
                self.fail(Fault::internal(Some(number)));
            }
        }
    }

    fn fail(&mut self, fault: Fault) {
        if !self.any {
            self.pieces.extend(&mkv::document_start(&mkv::write_header(&[])));
        }
        self.pieces.push(&fragments::failed(self.form, fault));
        self.ended = true;
    }
}

impl<S> Drop for Sender<S> {
    fn drop(&mut self) {
        metrics::gauge!("vidicon_get_media_connections", "operation" => self.form.operation()).decrement(1.0);
        debug!(stream = %self.stream.info().name, fragments = self.fragments, bytes = self.bytes, "media sent");
    }
}
