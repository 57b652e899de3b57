//! The server as the master of channels that show a stream: it takes their viewers' offers, and answers them with a peer that plays
//! the stream, as WHEP does.
//!
//! One task knows which channels show what, and gives each a task of its own. That reads the mail of the master's seat as the task of
//! a WebSocket would. An offer is a task in it, from the answer to the end of the peer: so a peer ends with the viewer's rights, with
//! the mapping, and with the viewer's next offer.

use super::board::{Asker, Channel};
use crate::{
    auth::identity::{Resource, Tags},
    aws::{arn, channels::ChannelRecord},
    state::Shared,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use signaling::{
    Error as Unplayed, Peers,
    channel::{ClientId, Frame, Refusal, SocketId},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use store::{Notice, Store, Stream, documents::CHANNEL};
use tokio::{
    sync::{Notify, Semaphore, broadcast::error::RecvError, watch},
    task::{AbortHandle, JoinSet},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// Channels are looked at so often, and soon after one changed.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Changes that come within so long are looked at together.
const GATHER: Duration = Duration::from_millis(50);
/// A seat that could not be taken is tried for again after this.
const SEAT_AGAIN: Duration = Duration::from_secs(5);
/// Offers of one channel that are answered at a time: each may wait for a picture. More wait as messages of the channel.
const ANSWERS: usize = 32;
/// Whether a viewer still may see the channel is looked at so often.
const HOLDS_EVERY: Duration = Duration::from_secs(5);
/// Channels that are read from the catalog at a time.
const BATCH: usize = 200;

/// A channel that shows a stream.
#[derive(Clone, Debug, PartialEq)]
struct Showing {
    /// The stream's id.
    stream: u64,
    ttl: Duration,
    tags: Tags,
}

struct Running {
    showing: watch::Sender<Showing>,
    stop: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Keeps a task for each channel that shows a stream, until the server stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut notices = shared.signaling.store.notices();
    let mut running: BTreeMap<Channel, Running> = BTreeMap::new();
    loop {
        match showing(&shared).await {
            Ok(found) => reconcile(&shared, &mut running, found),
            // Looked at again soon: what is shown is not ended because a disk is slow.
            Err(error) => tracing::warn!(%error, "which channels show streams cannot be read"),
        }
        let changed = async {
            loop {
                match notices.recv().await {
                    Ok(Notice::Documents(CHANNEL)) | Err(RecvError::Lagged(_)) => return sleep(GATHER).await,
                    Ok(_) => {}
                    Err(RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = changed => {}
            () = sleep(LOOK_EVERY) => {}
        }
    }
}

/// All channels that show a stream.
async fn showing(shared: &Shared) -> Result<BTreeMap<Channel, Showing>, store::Error> {
    let (store, mut found, mut after) = (&shared.signaling.store, BTreeMap::new(), None);
    loop {
        let batch = store.documents(CHANNEL, "", after.as_deref(), BATCH).await?;
        for document in &batch {
            let (Ok(name), Ok(record)) = (document.name.parse(), ChannelRecord::of(document)) else { continue };
            if let Some(stream) = record.shows {
                let ttl = Duration::from_secs(record.message_ttl_seconds.into());
                let channel = Channel { name, created_at: record.created_at };
                found.insert(channel, Showing { stream, ttl, tags: record.tags });
            }
        }
        match batch.last() {
            Some(last) if batch.len() == BATCH => after = Some(last.name.clone()),
            _ => return Ok(found),
        }
    }
}

fn reconcile(shared: &Arc<Shared>, running: &mut BTreeMap<Channel, Running>, mut found: BTreeMap<Channel, Showing>) {
    running.retain(|channel, running| {
        let Some(now) = found.remove(channel) else { return false };
        // Another stream is another task: the viewers of the first see their connection end.
        let same = now.stream == running.showing.borrow().stream;
        match same {
            true => drop(running.showing.send_replace(now)),
            false => drop(found.insert(channel.clone(), now)),
        }
        same
    });
    for (channel, showing) in found {
        let (stop, span) = (shared.stop.child_token(), tracing::info_span!("channel master", channel = %channel.name));
        let (showing, shown) = watch::channel(showing);
        let master = Master { shared: shared.clone(), channel: channel.clone(), showing: shown, stop: stop.clone() };
        shared.tasks.spawn(master.run().instrument(span));
        running.insert(channel, Running { showing, stop });
    }
    metrics::gauge!("vidicon_signaling_shown_channels").set(running.len() as f64);
}

/// The master of one channel.
#[derive(Clone)]
struct Master {
    shared: Arc<Shared>,
    channel: Channel,
    showing: watch::Receiver<Showing>,
    stop: CancellationToken,
}

/// What a viewer sent.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mail {
    message_type: String,
    sender_client_id: String,
    message_payload: String,
    correlation_id: Option<String>,
}

/// A viewer's newest offer, and what became of it.
struct Viewing {
    /// Ends it for a newer one.
    end: CancellationToken,
    task: AbortHandle,
}

/// An open peer; closed when dropped.
struct Opened {
    shared: Arc<Shared>,
    peers: Peers,
    id: String,
}

impl Drop for Opened {
    fn drop(&mut self) {
        let (peers, id) = (self.peers.clone(), std::mem::take(&mut self.id));
        self.shared.tasks.spawn(async move { peers.close(&id).await });
    }
}

/// The seat of the master; given up when dropped.
struct Seat<'a> {
    shared: &'a Shared,
    id: SocketId,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.shared.signaling.closed(self.id);
    }
}

impl Master {
    /// Takes the seat, again where there is none to be had, until the channel shows nothing more.
    async fn run(self) {
        let wake = Arc::new(Notify::new());
        let sits = async {
            loop {
                let ttl = self.showing.borrow().ttl;
                match self.shared.signaling.seat(&self.channel, ttl, wake.clone()) {
                    Ok(id) => {
                        let seat = Seat { shared: &self.shared, id };
                        tracing::info!("the server is the master of a channel");
                        self.serve(seat.id, &wake).await;
                    }
                    Err(error) => tracing::warn!(%error, "the server cannot be the master of a channel"),
                }
                sleep(SEAT_AGAIN).await;
            }
        };
        let _: Option<()> = self.stop.run_until_cancelled(sits).await;
        tracing::info!("the server is no longer the master of a channel");
    }

    /// Answers offers until the seat is lost.
    async fn serve(&self, seat: SocketId, wake: &Notify) {
        let board = &self.shared.signaling;
        let most = board.config().max_viewers_per_channel;
        let answers = Arc::new(Semaphore::new(ANSWERS));
        // What is in it ends with it, the peers too.
        let mut tasks = JoinSet::new();
        let mut viewing: HashMap<ClientId, Viewing> = HashMap::new();
        loop {
            let permit = answers.clone().acquire_owned().await.expect("the semaphore is never closed");
            let text = match board.take(seat) {
                Some(Frame::Text(text)) => text,
                Some(Frame::Ping) => continue,
                Some(Frame::Close(_)) => return,
                None => {
                    drop(permit);
                    tokio::select! {
                        () = wake.notified() => {}
                        Some(_) = tasks.join_next() => {}
                    }
                    continue;
                }
            };
            // Candidates need no answer: the server is ICE-lite, and TURN has heard of them.
            let Some((viewer, mail)) = Mail::offer(&text) else { continue };
            while tasks.try_join_next().is_some() {}
            viewing.retain(|_, viewing| !viewing.task.is_finished());
            if let Some(older) = viewing.remove(&viewer) {
                older.end.cancel();
            }
            if viewing.len() >= most {
                let description =
                    format!("{most} viewers watch this channel, as many as signaling.max_viewers_per_channel allows");
                let refusal = Refusal { error_type: "ClientLimitExceededException", description };
                board.reply(seat, &viewer, mail.correlation_id.as_deref(), Err(refusal));
                continue;
            }
            let (master, id, end) = (self.clone(), viewer.clone(), CancellationToken::new());
            let ends = end.clone();
            let offer = async move {
                let opened = master.answer(seat, &id, &mail, &ends).await;
                drop(permit);
                if let Some((peer, asker)) = opened {
                    let _: Option<()> = ends.run_until_cancelled(master.watch(&peer, &asker)).await;
                }
            };
            let task = tasks.spawn(offer.in_current_span());
            viewing.insert(viewer, Viewing { end, task });
        }
    }

    /// Answers an offer, or says why not. What is still open then.
    async fn answer(
        &self,
        seat: SocketId,
        viewer: &ClientId,
        mail: &Mail,
        ends: &CancellationToken,
    ) -> Option<(Opened, Asker)> {
        let board = &self.shared.signaling;
        // Who has gone meanwhile wants no answer.
        let asker = board.asker(&self.channel.id(), viewer)?;
        let played = self.play(&asker, &mail.message_payload).await;
        if ends.is_cancelled() {
            return None;
        }
        let correlation_id = mail.correlation_id.as_deref();
        match played {
            Ok((opened, payload)) => {
                tracing::info!(%viewer, peer = opened.id, "answered a viewer of a channel");
                board.reply(seat, viewer, correlation_id, Ok(payload)).then_some((opened, asker))
            }
            Err(refusal) => {
                tracing::info!(%viewer, why = refusal.description, "refused a viewer of a channel");
                board.reply(seat, viewer, correlation_id, Err(refusal));
                None
            }
        }
    }

    async fn play(&self, asker: &Asker, payload: &str) -> Result<(Opened, String), Refusal> {
        let offer = Description::read(payload)?;
        let resource = self.resource();
        let app = asker.caller.thing(&resource).map_err(|error| refusal("AccessDeniedException", error.message))?;
        let stream = self.stream(&app.store).ok_or_else(|| {
            refusal("ResourceNotFoundException", "the stream that this channel shows was deleted".to_owned())
        })?;
        let answer = app.peers.play(stream, &offer.sdp, asker.reached_at).await.map_err(|unplayed| {
            let error_type = match unplayed {
                Unplayed::BadOffer(_) | Unplayed::NotPlayable(_) => "InvalidArgumentException",
                // Published is what publishers are told, never viewers.
                Unplayed::NotLive(_) | Unplayed::Published(_) => "ServiceUnavailableException",
                Unplayed::TooMany(_) => "ClientLimitExceededException",
            };
            refusal(error_type, unplayed.to_string())
        })?;
        let opened = Opened { shared: self.shared.clone(), peers: app.peers.clone(), id: answer.id };
        Ok((opened, offer.answer(answer.sdp)))
    }

    /// Returns when the peer has ended, or its viewer may not see the channel any more.
    async fn watch(&self, peer: &Opened, asker: &Asker) {
        while peer.peers.is_open(&peer.id).await {
            if !asker.caller.still_may(&self.resource(), self.shared.door.now()).await {
                tracing::info!(peer = peer.id, "closed a viewer of a channel with the rights it was opened under");
                return;
            }
            sleep(HOLDS_EVERY).await;
        }
    }

    /// The channel, as policies see it.
    fn resource(&self) -> Resource {
        let Channel { name, created_at } = &self.channel;
        let arn = self.shared.aws.account.arn(arn::Resource::Channel, name, *created_at).to_string();
        Resource { tags: self.showing.borrow().tags.clone(), ..Resource::new(arn) }
    }

    fn stream(&self, store: &Store) -> Option<Stream> {
        let id = self.showing.borrow().stream;
        store.streams().into_iter().find(|stream| stream.info().id == id)
    }
}

fn refusal(error_type: &'static str, description: String) -> Refusal {
    Refusal { error_type, description }
}

impl Mail {
    /// The offer that a message is, and whose.
    fn offer(text: &str) -> Option<(ClientId, Mail)> {
        let mail: Mail = serde_json::from_str(text).ok()?;
        let viewer = mail.sender_client_id.parse().ok()?;
        (mail.message_type == "SDP_OFFER").then_some((viewer, mail))
    }
}

/// A description as it stands in a payload: Base64 of JSON, as the SDKs write it, or of the bare SDP.
struct Description {
    sdp: String,
    is_bare: bool,
}

impl Description {
    fn read(payload: &str) -> Result<Description, Refusal> {
        #[derive(Deserialize)]
        struct Init {
            #[serde(rename = "type")]
            kind: String,
            sdp: String,
        }
        let wrong = |why: &str| refusal("InvalidArgumentException", format!("messagePayload {why}"));
        let bytes = STANDARD.decode(payload).map_err(|_| wrong("is no Base64"))?;
        let text = String::from_utf8(bytes).map_err(|_| wrong("is no Base64 of a text"))?;
        if text.starts_with("v=0") {
            return Ok(Description { sdp: text, is_bare: true });
        }
        match serde_json::from_str::<Init>(&text) {
            Ok(Init { kind, sdp }) if kind == "offer" => Ok(Description { sdp, is_bare: false }),
            Ok(_) => Err(wrong("is a description of another type than offer")),
            Err(_) => Err(wrong(r#"is no Base64 of {"type":"offer","sdp":…}"#)),
        }
    }

    /// The payload of the answer, in the form of the offer.
    fn answer(&self, sdp: String) -> String {
        STANDARD.encode(match self.is_bare {
            true => sdp,
            false => serde_json::json!({"type": "answer", "sdp": sdp}).to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn descriptions_are_answered_in_the_form_they_came_in() {
        let of = |text: &str| Description::read(&STANDARD.encode(text));
        let json = of(r#"{"type":"offer","sdp":"v=0\r\n"}"#).ok().unwrap();
        assert_eq!(json.sdp, "v=0\r\n");
        let answer = STANDARD.decode(json.answer("v=0".to_owned())).unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer, serde_json::json!({"type": "answer", "sdp": "v=0"}));
        let bare = of("v=0\r\ns=-\r\n").ok().unwrap();
        assert_eq!((bare.sdp.as_str(), bare.answer("v=0".to_owned())), ("v=0\r\ns=-\r\n", STANDARD.encode("v=0")));
        let why = |read: Result<Description, Refusal>| read.err().unwrap().description;
        assert!(why(Description::read("%")).contains("no Base64"));
        assert!(why(of(r#"{"type":"answer","sdp":"v=0"}"#)).contains("another type"));
        for wrong in ["", "{}", "[]", r#"{"type":"offer"}"#] {
            assert!(why(of(wrong)).contains(r#"{"type":"offer""#), "{wrong}");
        }
    }
}
