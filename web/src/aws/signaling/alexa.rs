//! `SendAlexaOfferToMaster`: an offer over HTTP, answered with the master's answer. Of use to whoever has no WebSocket.

use super::{
    board::{Asker, Board, Channel},
    connect::refused,
};
use crate::{
    auth::Caller,
    aws::{
        Error, Json,
        channels::{Found, by_arn},
    },
    serve::Ends,
};
use axum::Extension;
use serde::{Deserialize, Serialize};
use signaling::channel::{ClientId, OfferId};
use std::time::Duration;

/// The master has so long to answer.
const WAIT: Duration = Duration::from_secs(10);
/// Longest payload of the service model.
const LONGEST_PAYLOAD: usize = 10_000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Offer {
    #[serde(rename = "ChannelARN")]
    channel_arn: String,
    sender_client_id: String,
    message_payload: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Answer {
    answer: String,
}

/// Tells the board that nobody waits, also where the client of HTTP has gone.
struct Waiting<'a> {
    board: &'a Board,
    id: OfferId,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.board.offer_dropped(self.id);
    }
}

pub(super) async fn send(
    caller: Caller,
    ends: Option<Extension<Ends>>,
    Json(input): Json<Offer>,
) -> Result<Json<Answer>, Error> {
    let Offer { channel_arn, sender_client_id, message_payload } = input;
    let sender: ClientId =
        sender_client_id.parse().map_err(|rule| Error::constraint("SenderClientId", format!("Member {rule}")))?;
    let base64 = |b: u8| b.is_ascii_alphanumeric() || b"+/=".contains(&b);
    if !(1..=LONGEST_PAYLOAD).contains(&message_payload.len()) || !message_payload.bytes().all(base64) {
        let rule = format!("Member must be 1 to {LONGEST_PAYLOAD} characters of Base64");
        return Err(Error::constraint("MessagePayload", rule));
    }
    let Found { name, record, .. } = by_arn(&caller, "ChannelARN", &channel_arn).await?;
    let board = &caller.shared.signaling;
    let channel = Channel { name, created_at: record.created_at };
    let reached_at = ends.map(|Extension(ends)| ends.local.ip().to_canonical());
    let asker = Asker { caller: caller.with(caller.action()), reached_at };
    let (id, answered) = board.offer(&channel.id(), sender, message_payload, WAIT, asker).map_err(refused)?;
    let _waiting = Waiting { board, id };
    match answered.await {
        Ok(Ok(answer)) => Ok(Json(Answer { answer })),
        // The service model has no better word for it.
        Ok(Err(why)) => Err(Error::new("ResourceNotFoundException", format!("channel {}: {why}", channel.name))),
        Err(_) => Err(Error::new("ServiceUnavailable", "the server stops")),
    }
}
