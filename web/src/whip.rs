//! Publishing by WebRTC (WHIP, RFC 9725): `POST /v1/streams/{name}/whip`, `DELETE /v1/whip/{id}`.
//!
//! For pages of this origin, and for programs, which know of no origins: no CORS headers. All candidates are in the answer and ICE is lite, so there is
//! no PATCH (405, as RFC 9725 §4.3.1 has it for a session without trickle ICE and restarts) and no ETag.

use crate::{
    auth::Caller,
    error::Error,
    extract::Params,
    serve::Ends,
    whep::{end, end_with_caller, is_sdp},
};
use axum::{
    Extension,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use ingest::Recorder;
use media::{Cause, item, opus};
use signaling::receive::Items;
use store::Stream;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// Clock rates of the pictures and the sound, in Hz.
const RATES_HZ: [u32; 2] = [90_000, opus::RATE_HZ];

/// Answers an SDP offer of who sends into a stream.
pub(crate) async fn publish(
    caller: Caller,
    Params(name): Params<String>,
    ends: Option<Extension<Ends>>,
    headers: HeaderMap,
    offer: String,
) -> Result<Response, Error> {
    let granted = caller.stream(&name).await?;
    let (stream, app) = (granted.whole()?, granted.app()?);
    is_sdp(&headers)?;
    let info = stream.info();
    if app.cameras.state(&info.name).is_some() {
        let message =
            format!("a camera records into {}; publish into a stream of its own, or delete the camera", info.name);
        return Err(Error::new(StatusCode::CONFLICT, "has_camera", message));
    }
    stream.check_quota()?;
    let reached_at = ends.map(|Extension(ends)| ends.local.ip().to_canonical());
    let (answer, items) = app.peers.receive(&stream, &offer, reached_at).await?;
    let shared = &caller.shared;
    let recording = record(stream.clone(), items, shared.stop.clone());
    shared.tasks.spawn(recording.instrument(tracing::info_span!("whip", stream = %info.name)));
    let peers = app.peers.clone();
    end_with_caller(caller, stream, peers, answer.id.clone()).await?;
    let location = format!("/v1/whip/{}", answer.id);
    let headers = [(header::CONTENT_TYPE, "application/sdp".to_owned()), (header::LOCATION, location)];
    Ok((StatusCode::CREATED, headers, answer.sdp).into_response())
}

/// Records what a publisher sends, as a camera's is, until it is gone or everything stops. Dropping the items ends the publisher.
async fn record(stream: Stream, mut items: Items, stop: CancellationToken) {
    const { assert!(item::VIDEO == 0 && item::AUDIO == 1) };
    let mut recorder = Recorder::new(&stream, &RATES_HZ, 0, Cause::Start);
    loop {
        let item = tokio::select! {
            item = items.next() => item,
            () = stop.cancelled() => None,
        };
        let Some(item) = item else { break };
        if let Err(failure) = recorder.take(item) {
            tracing::warn!(code = failure.code, reason = %failure.message, "a publisher is ended");
            break;
        }
    }
    recorder.finish();
}

/// Ends a publisher's session.
pub(crate) async fn close(caller: Caller, Params(id): Params<String>) -> Result<StatusCode, Error> {
    end(&caller, &id).await.map(|()| StatusCode::OK)
}
