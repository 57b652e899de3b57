//! Requests signed with SigV4: from the request to its principal. Here the body is read, where its hash is part of the signature.

use super::{
    Auth, MOST_SIGNED_BYTES,
    access::Principal,
    refusal::Refusal,
    sigv4::{self, Fault, Signed},
};
use crate::{aws, error::Error, routes};
use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header, request::Parts},
};
use bytes::BytesMut;
use futures_util::StreamExt;
use media::UnixMillis;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Services whose requests this server takes, as they stand in credential scopes.
const SERVICES: [&str; 3] = ["kinesisvideo", "sts", "rekognition"];
/// Memory for bodies that are read before their signature is verified, in KiB.
const ROOM_KIB: usize = 64 << 10;
/// Such a body has so long to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// Room for bodies of requests that are not let in yet.
pub(super) fn room() -> Semaphore {
    Semaphore::new(ROOM_KIB)
}

/// What a signature says beside whose it is.
pub(super) struct Verified {
    pub(super) principal: Principal,
    pub(super) region: String,
    pub(super) body: Body,
}

/// The request as the verifier wants it.
pub(super) fn request<'a>(parts: &'a Parts, local_port: Option<u16>) -> sigv4::Request<'a> {
    let of_header = || parts.headers.get(header::HOST).and_then(|v: &HeaderValue| v.to_str().ok());
    sigv4::Request {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
        // In HTTP/2 the authority stands in the URI.
        host: of_header().or_else(|| parts.uri.authority().map(|a| a.as_str())).unwrap_or_default(),
        port: local_port,
    }
}

impl Auth {
    /// Verifies a signed request.
    pub(super) async fn verify(
        &self,
        parts: &Parts,
        request: &sigv4::Request<'_>,
        body: Body,
        now: UnixMillis,
    ) -> Result<Verified, Refusal> {
        let signed = Signed::parse(request)?;
        if !SERVICES.contains(&signed.service.as_str()) {
            let text =
                format!("Credential should be scoped to correct service: 'kinesisvideo', not '{}'.", signed.service);
            return Err(Fault::Scope(text).into());
        }
        if aws::sts::is_asked(&parts.method, &parts.uri, &parts.headers) && signed.service != "sts" {
            let text = format!("Credential should be scoped to correct service: 'sts', not '{}'.", signed.service);
            return Err(Fault::Scope(text).into());
        }
        sigv4::check_time(&signed, now)?;
        let known = self.identities.find(&signed.access_key_id, signed.session_token.as_deref(), now).await?;
        let key = known.signing_key(&signed.date, &signed.region, &signed.service);
        let body = if routes::streams_body(&parts.method, parts.uri.path()) || request.leaves_body_unsigned() {
            sigv4::verify(request, &signed, &key, sigv4::Body::Unread)?;
            body
        } else {
            // Where the request says its body's hash, the signature is verified before anything is read.
            let claimed = request.claimed_hash();
            if claimed.is_some() {
                sigv4::verify(request, &signed, &key, sigv4::Body::Unread)?;
            }
            let bytes = self.read_body(parts, body).await?;
            let hash = sigv4::hash(&bytes);
            match claimed {
                Some(claimed) if claimed.eq_ignore_ascii_case(&hash) => {}
                Some(_) => {
                    let text = "The 'x-amz-content-sha256' header does not match what was computed of the body.";
                    return Err(Fault::Scope(text.into()).into());
                }
                None => sigv4::verify(request, &signed, &key, sigv4::Body::Hashed(&hash))?,
            }
            Body::from(bytes)
        };
        known.remember(&signed.date, &signed.region, &signed.service, key);
        Ok(Verified { principal: known.principal.clone(), region: signed.region, body })
    }

    fn more_room(&self, kib: usize) -> Result<SemaphorePermit<'_>, Error> {
        let busy = |_| Error::unavailable("busy", "too many bodies are being read: try again", 1);
        self.room.try_acquire_many(kib as u32).map_err(busy)
    }

    /// A whole body, of a request that is not let in yet: small, soon, and within the room for all of them.
    async fn read_body(&self, parts: &Parts, body: Body) -> Result<bytes::Bytes, Error> {
        use axum::body::HttpBody;
        if body.is_end_stream() {
            return Ok(bytes::Bytes::new());
        }
        let too_large = || {
            let message = format!("the body has more than {MOST_SIGNED_BYTES} bytes");
            Error::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
        };
        let declared = parts.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
        if declared.is_some_and(|bytes| bytes > MOST_SIGNED_BYTES) {
            return Err(too_large());
        }
        let read = async {
            let (mut pieces, mut read) = (body.into_data_stream(), BytesMut::new());
            // For what came, not for what is said to come: whoever says much and sends nothing takes no room.
            let mut room = self.more_room(0)?;
            while let Some(piece) = pieces.next().await {
                let piece = piece.map_err(|_| Error::invalid("the body ended before it was whole"))?;
                if piece.len() > MOST_SIGNED_BYTES - read.len() {
                    return Err(too_large());
                }
                let needed = (read.len() + piece.len()).div_ceil(1024);
                room.merge(self.more_room(needed.saturating_sub(room.num_permits()))?);
                read.extend_from_slice(&piece);
            }
            Ok(read.freeze())
        };
        let late = |_| Error::invalid(format!("the body did not come within {} s", BODY_TIMEOUT.as_secs()));
        tokio::time::timeout(BODY_TIMEOUT, read).await.map_err(late)?
    }
}
