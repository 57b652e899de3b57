//! Live viewing by WebRTC (WHEP): `POST /v1/streams/{name}/whep`, `DELETE /v1/whep/{id}`.
//!
//! For pages of this origin only: no CORS headers. All candidates are in the answer, so there is no PATCH.

use crate::{auth::Caller, error::Error, extract::Params, serve::Ends};
use axum::{
    Extension,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use signaling::Error as Refused;

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        let message = refused.to_string();
        match refused {
            Refused::BadOffer(_) => Error::new(StatusCode::BAD_REQUEST, "bad_offer", message),
            Refused::NotPlayable(_) => Error::new(StatusCode::NOT_ACCEPTABLE, "not_playable", message),
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
    let stream = caller.stream(&name)?.whole()?;
    let app = caller.server()?;
    let is_sdp = headers.get(header::CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(b"application/sdp"));
    if !is_sdp {
        let message = "send an SDP offer with Content-Type: application/sdp";
        return Err(Error::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message));
    }
    let reached_at = ends.map(|Extension(ends)| ends.local.ip().to_canonical());
    let answer = app.peers.play(stream, &offer, reached_at).await?;
    let location = format!("/v1/whep/{}", answer.id);
    let headers = [(header::CONTENT_TYPE, "application/sdp".to_owned()), (header::LOCATION, location)];
    Ok((StatusCode::CREATED, headers, answer.sdp).into_response())
}

/// Closes a peer.
pub(crate) async fn close(caller: Caller, Params(id): Params<String>) -> Result<StatusCode, Error> {
    match caller.server()?.peers.close(&id).await {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Error::not_found("there is no such WebRTC session; it may have ended")),
    }
}
