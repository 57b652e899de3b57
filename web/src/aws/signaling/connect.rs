//! `ConnectAsMaster` and `ConnectAsViewer`: the handshake of a WebSocket at `GET /` (RFC 6455 §4.2), with a presigned signature
//! (REFERENCE §5.2). What is wrong is said by a status before the upgrade, in the form of AWS.

use super::{
    board::{Channel, Client},
    socket,
};
use crate::{
    auth::{Caller, access::Action},
    aws::{
        Error, RequestId,
        channels::{ChannelType, Found, by_arn},
        dress,
    },
    serve::Ends,
};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::digest;
use signaling::channel::{ClientId, Refused, Role};
use std::time::Duration;
use tracing::Instrument;

const MASTER: Action = Action::named("kinesisvideo:ConnectAsMaster");
const VIEWER: Action = Action::named("kinesisvideo:ConnectAsViewer");

const CHANNEL_ARN: &str = "X-Amz-ChannelARN";
const CLIENT_ID: &str = "X-Amz-ClientId";
/// What the accept key is made of beside the client's (RFC 6455 §1.3).
const ACCEPT: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Whether a request at `/` is to connect to a channel: a WebSocket, or what names a channel.
pub(crate) fn is_asked(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    let names_channel =
        || url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).any(|(name, _)| name == CHANNEL_ARN);
    uri.path() == "/" && method == Method::GET && (says(headers, header::UPGRADE, "websocket") || names_channel())
}

/// Whether a header that is a list has this word, in any case.
fn says(headers: &HeaderMap, name: header::HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(word))
}

/// Answers the handshake: 101, or what keeps the client from its channel.
pub(crate) async fn connect(caller: Option<Caller>, request: Request) -> Response {
    let id = request.extensions().get::<RequestId>().copied().unwrap_or_else(RequestId::new);
    dress(answer(caller, request).await.unwrap_or_else(IntoResponse::into_response), id)
}

async fn answer(caller: Option<Caller>, mut request: Request) -> Result<Response, Error> {
    // Only signatures name a region. The page's cookie is not enough: browsers send it along for other sites' scripts too.
    let caller = caller.filter(|caller| caller.around.region.is_some()).ok_or_else(|| {
        Error::new("MissingAuthenticationTokenException", "Missing Authentication Token")
            .with_status(StatusCode::FORBIDDEN)
    })?;
    let (arn, role) = asked(request.uri().query().unwrap_or_default())?;
    let accept = accept(&request)?;
    let caller = caller.with(if role == Role::Master { MASTER } else { VIEWER });
    let Found { name, record, .. } = by_arn(&caller, CHANNEL_ARN, &arn).await?;
    let reached_at = request.extensions().get::<Ends>().map(|ends| ends.local.ip().to_canonical());
    if role == Role::Master && record.shows.is_some() {
        return Err(Error::in_use(format!(
            "channel {name} shows a stream of this server, which is its master: DELETE /v1/channels/{name}/source ends that"
        )));
    }
    if record.kind == ChannelType::FullMesh {
        return Err(Error::invalid(format!(
            "channel {name} is FULL_MESH: only SINGLE_MASTER channels connect clients"
        )));
    }
    let shared = caller.shared.clone();
    let holder = caller.principal.holder();
    let share = shared.signaling.share(holder).ok_or_else(|| {
        let most = shared.signaling.config().max_sockets_per_key;
        let message = format!(
            "this access key has {most} masters and viewers connected, as many as signaling.max_sockets_per_key allows"
        );
        Error::new("ClientLimitExceededException", message)
    })?;
    let channel = Channel { name, created_at: record.created_at };
    let ttl = Duration::from_secs(record.message_ttl_seconds.into());
    let span = tracing::info_span!("signaling", channel = %channel.name);
    let client = Client { wake: Default::default(), caller, reached_at, channel, _share: share };
    let (id, client) = shared.signaling.connect(client, role, ttl).map_err(refused)?;
    let upgrade = hyper::upgrade::on(&mut request);
    shared.tasks.spawn(socket::run(shared.clone(), id, client, upgrade).instrument(span));
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("Upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response())
}

/// What a refusal is in the form of AWS.
pub(super) fn refused(refused: Refused) -> Error {
    let message = refused.to_string();
    match refused {
        Refused::TooManySockets(_) | Refused::TooManyViewers(_) | Refused::TooMuch(_) => {
            Error::new("ClientLimitExceededException", message)
        }
        Refused::Stopping => Error::new("ServiceUnavailable", message),
        Refused::NoMaster => Error::new("ResourceNotFoundException", message),
        Refused::SenderConnected => Error::invalid(message),
        Refused::Seated => Error::in_use(message),
    }
}

/// The channel's ARN and the role that a query asks for: whoever has a client id is a viewer.
fn asked(query: &str) -> Result<(String, Role), Error> {
    let one = |wanted: &str| {
        let mut values = url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == wanted);
        let first = values.next().map(|(_, value)| value.into_owned());
        match values.next() {
            Some(_) => Err(Error::invalid(format!("{wanted} is given twice"))),
            None => Ok(first),
        }
    };
    let arn = one(CHANNEL_ARN)?.ok_or_else(|| Error::constraint(CHANNEL_ARN, "Member must not be null"))?;
    let role = match one(CLIENT_ID)? {
        None => Role::Master,
        Some(id) => {
            Role::Viewer(id.parse::<ClientId>().map_err(|rule| Error::constraint(CLIENT_ID, format!("Member {rule}")))?)
        }
    };
    Ok((arn, role))
}

/// The accept key of a request that is a handshake.
fn accept(request: &Request) -> Result<HeaderValue, Error> {
    let headers = request.headers();
    let wrong = |what: &str| Error::invalid(format!("this address takes handshakes of WebSockets alone: {what}"));
    if request.version() != Version::HTTP_11 {
        return Err(wrong("they need HTTP/1.1"));
    }
    if !says(headers, header::UPGRADE, "websocket") || !says(headers, header::CONNECTION, "upgrade") {
        return Err(wrong("the request does not ask for an upgrade to websocket"));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(wrong("Sec-WebSocket-Version must be 13"));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok()).unwrap_or_default();
    if STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16) {
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{ACCEPT}").as_bytes());
        return Ok(HeaderValue::from_str(&STANDARD.encode(hash)).expect("Base64 is a header's text"));
    }
    Err(wrong("Sec-WebSocket-Key must be 16 bytes in Base64"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn request(headers: &[(&'static str, &'static str)]) -> Request {
        let mut request = Request::new(Body::empty());
        for (name, value) in headers {
            request.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        request
    }

    #[test]
    fn the_accept_key_is_that_of_the_rfc() {
        const RIGHT: [(&str, &str); 4] = [
            ("upgrade", "WebSocket"),
            ("connection", "keep-alive, Upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        assert_eq!(accept(&request(&RIGHT)).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for (missing, part) in ["upgrade to", "upgrade to", "Version must be 13", "Key must be"].iter().enumerate() {
            let mut headers = RIGHT.to_vec();
            headers.remove(missing);
            let error = accept(&request(&headers)).unwrap_err();
            assert!(error.status == 400 && error.message.contains(part), "{}", error.message);
        }
    }

    #[test]
    fn whoever_has_a_client_id_is_a_viewer() {
        let arn = "arn%3Aaws%3Akinesisvideo%3Aus-west-2%3A1%3Achannel%2Fdoor%2F1";
        let plain = "arn:aws:kinesisvideo:us-west-2:1:channel/door/1";
        assert_eq!(asked(&format!("a=b&X-Amz-ChannelARN={arn}")).unwrap(), (plain.into(), Role::Master));
        let viewer = Role::Viewer("v1".parse().unwrap());
        assert_eq!(asked(&format!("X-Amz-ClientId=v1&X-Amz-ChannelARN={arn}")).unwrap(), (plain.into(), viewer));
        for (query, part) in [
            ("X-Amz-ClientId=v1".to_owned(), "'X-Amz-ChannelARN'"),
            (format!("X-Amz-ChannelARN={arn}&X-Amz-ClientId="), "'X-Amz-ClientId'"),
            (format!("X-Amz-ChannelARN={arn}&X-Amz-ClientId=AWS_x"), "'X-Amz-ClientId'"),
            (format!("X-Amz-ChannelARN={arn}&X-Amz-ChannelARN={arn}"), "X-Amz-ChannelARN is given twice"),
        ] {
            let error = asked(&query).unwrap_err();
            assert!(error.name == "InvalidArgumentException" && error.message.contains(part), "{}", error.message);
        }
    }

    #[test]
    fn what_is_a_handshake() {
        let of = |uri: &str, headers: &[_]| is_asked(&Method::GET, &uri.parse().unwrap(), request(headers).headers());
        assert!(of("/?X-Amz-ChannelARN=x", &[]) && of("/", &[("upgrade", "websocket")]));
        assert!(!of("/", &[]) && !of("/other", &[("upgrade", "websocket")]) && !of("/?Action=GetCallerIdentity", &[]));
    }
}
