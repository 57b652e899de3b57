//! One POST: resolve, check and connect through the store's outbound door, TLS, one request, one short answer.
//!
//! No redirects, no pooling, no proxy: a webhook goes where its operator said, or fails with a reason.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Response, StatusCode, body::Incoming, header};
use hyper_util::rt::TokioIo;
use std::{sync::Arc, time::Duration};
use store::outbound::{self, Reach};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};
use url::Url;

/// Longest a whole attempt may take.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(10);
/// Most of an answer that is read, in bytes.
const ANSWER_LIMIT: usize = 64 << 10;
/// Most of an answer that is kept as the reason of a failure, in characters.
const REASON_LIMIT: usize = 200;

/// Makes POST requests. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Poster {
    tls: TlsConnector,
}

/// What a target answered, or why it did not.
pub(crate) struct Failure {
    /// The status, if there was an answer.
    pub(crate) status: Option<StatusCode>,
    /// One line.
    pub(crate) reason: String,
}

impl Failure {
    fn of(reason: impl std::fmt::Display) -> Failure {
        Failure { status: None, reason: reason.to_string() }
    }
}

impl Poster {
    /// Reads the system's certificates. Without any, `https` targets fail with a reason and `http` ones work.
    pub(crate) fn new() -> Poster {
        let mut roots = RootCertStore::empty();
        let native = rustls_native_certs::load_native_certs();
        let (taken, _) = roots.add_parsable_certificates(native.certs);
        if taken == 0 {
            tracing::warn!("no certificate authority found on this system: https targets cannot be reached");
        }
        Poster::trusting(roots)
    }

    fn trusting(roots: RootCertStore) -> Poster {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the ring provider has cipher suites for the default versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Poster { tls: TlsConnector::from(Arc::new(config)) }
    }

    /// Posts and waits for an answer of 2xx.
    pub(crate) async fn post(
        &self,
        url: &str,
        reach: Reach,
        content_type: &'static str,
        headers: &[(&'static str, String)],
        body: Bytes,
    ) -> Result<(), Failure> {
        match tokio::time::timeout(TIME_LIMIT, self.attempt(url, reach, content_type, headers, body)).await {
            Ok(result) => result,
            Err(_) => Err(Failure::of(format!("no answer within {} s", TIME_LIMIT.as_secs()))),
        }
    }

    async fn attempt(
        &self,
        url: &str,
        reach: Reach,
        content_type: &'static str,
        headers: &[(&'static str, String)],
        body: Bytes,
    ) -> Result<(), Failure> {
        let url = Url::parse(url).map_err(|e| Failure::of(format!("the target's URL is wrong: {e}")))?;
        let host = url.host_str().ok_or_else(|| Failure::of("the target's URL has no host"))?;
        // An IPv6 address stands in brackets in a URL and without them everywhere else.
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = url.port_or_known_default().ok_or_else(|| Failure::of("the target's URL has no port"))?;
        let request = request(&url, host, content_type, headers, body)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Failure::of(format!("{} is not a scheme of webhooks", url.scheme())));
        }
        let socket = outbound::connect(&name, port, reach).await.map_err(Failure::of)?;
        if url.scheme() == "http" {
            return exchange(socket, request).await;
        }
        let name = ServerName::try_from(name).map_err(|e| Failure::of(format!("no name for TLS: {e}")))?;
        let socket = self.tls.connect(name, socket).await.map_err(|e| Failure::of(format!("TLS: {e}")))?;
        exchange(socket, request).await
    }
}

fn request(
    url: &Url,
    host: &str,
    content_type: &'static str,
    headers: &[(&'static str, String)],
    body: Bytes,
) -> Result<Request<Full<Bytes>>, Failure> {
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let mut request = Request::post(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, concat!("vidicon/", env!("CARGO_PKG_VERSION")))
        .header(header::CONTENT_TYPE, content_type)
        .header(header::CONNECTION, "close");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    request.body(Full::new(body)).map_err(|e| Failure::of(format!("the request cannot be made: {e}")))
}

async fn exchange(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(), Failure> {
    let failed = |e: hyper::Error| Failure::of(format!("no answer: {e}"));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.map_err(failed)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        judge(response).await
    };
    tokio::pin!(answer);
    // The connection is driven here, so that nothing of an attempt outlives it.
    tokio::select! {
        result = &mut answer => result,
        ended = connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(failed(error)),
        },
    }
}

async fn judge(response: Response<Incoming>) -> Result<(), Failure> {
    let status = response.status();
    // 2xx is an answer whatever the body does.
    if status.is_success() {
        return Ok(());
    }
    let text = match Limited::new(response.into_body(), ANSWER_LIMIT).collect().await {
        Ok(body) => clean(&body.to_bytes()),
        Err(_) => String::new(),
    };
    let why = if status.is_redirection() { " (redirects are not followed)" } else { "" };
    let colon = if text.is_empty() { "" } else { ": " };
    Err(Failure { status: Some(status), reason: format!("answered {status}{why}{colon}{text}") })
}

/// Foreign text for a log line and the page: one line, no control characters, short.
fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().filter(|c| !c.is_control()).take(REASON_LIMIT).collect()
}

#[cfg(test)]
#[path = "post_tests.rs"]
mod tests;
