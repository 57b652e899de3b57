//! A provider's keys, fetched: discovery, then the key set, through the store's outbound door.
//!
//! No redirects, no pooling, no proxy; documents are small and come soon, or not at all.

use super::{keys::KeySet, provider::Provider};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use store::outbound::{self, Reach};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};
use url::Url;

/// Both documents have so long to come.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// The most bytes of a document.
const MOST_BYTES: usize = 256 << 10;

/// Fetches documents of providers.
pub(super) struct Fetcher {
    /// Made when it is first needed: the system's certificates are read for it.
    tls: Arc<OnceLock<TlsConnector>>,
    limit: Duration,
}

impl Fetcher {
    pub(super) fn new() -> Self {
        Fetcher { tls: Arc::default(), limit: TIME_LIMIT }
    }

    #[cfg(test)]
    pub(super) fn of_test(roots: RootCertStore, limit: Duration) -> Self {
        Fetcher { tls: Arc::new(OnceLock::from(connector(roots))), limit }
    }

    /// The keys of a provider, or why they cannot be had, in one line.
    pub(super) async fn keys(&self, provider: &Provider) -> Result<KeySet, String> {
        match tokio::time::timeout(self.limit, self.discover(provider)).await {
            Ok(keys) => keys,
            Err(_) => Err(format!("it did not answer within {} s", self.limit.as_secs())),
        }
    }

    async fn discover(&self, provider: &Provider) -> Result<KeySet, String> {
        let reach = if provider.allow_local { Reach::Local } else { Reach::Public };
        let base = provider.url.trim_end_matches('/');
        let at = Url::parse(&format!("{base}/.well-known/openid-configuration"))
            .map_err(|e| format!("its address is wrong: {e}"))?;
        let document = self.get(&at, reach).await.map_err(|e| format!("its configuration: {e}"))?;
        let document: Value = serde_json::from_slice(&document).map_err(|_| "its configuration is no JSON")?;
        let text = |name: &str| document.get(name).and_then(Value::as_str);
        // Discovery §4.3: else any site that the provider's name is pointed to could be taken for it.
        if !text("issuer").is_some_and(|issuer| provider.is_issuer(issuer)) {
            return Err("its configuration names another issuer".into());
        }
        let at = text("jwks_uri").and_then(|uri| Url::parse(uri).ok());
        let at = at.ok_or("its configuration names no address of keys")?;
        let schemes: &[&str] = if provider.allow_local { &["https", "http"] } else { &["https"] };
        if !schemes.contains(&at.scheme()) {
            return Err(format!("its keys are at an address of the scheme {}", at.scheme()));
        }
        KeySet::parse(&self.get(&at, reach).await.map_err(|e| format!("its keys: {e}"))?)
    }

    async fn get(&self, url: &Url, reach: Reach) -> Result<Bytes, String> {
        let host = url.host_str().ok_or("the address has no host")?;
        // An IPv6 address stands in brackets in a URL and without them everywhere else.
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = url.port_or_known_default().ok_or("the address has no port")?;
        let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let request = Request::get(path)
            .header(header::HOST, authority)
            .header(header::USER_AGENT, concat!("vidicon/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT, "application/json")
            .header(header::CONNECTION, "close")
            .body(Empty::new())
            .map_err(|e| format!("the request cannot be made: {e}"))?;
        let socket = outbound::connect(&name, port, reach).await.map_err(|e| e.to_string())?;
        if url.scheme() == "http" {
            return exchange(socket, request).await;
        }
        let name = ServerName::try_from(name).map_err(|e| format!("no name for TLS: {e}"))?;
        let socket = self.tls().await?.connect(name, socket).await.map_err(|e| format!("TLS: {e}"))?;
        exchange(socket, request).await
    }

    async fn tls(&self) -> Result<TlsConnector, String> {
        let tls = self.tls.clone();
        let made = tokio::task::spawn_blocking(move || {
            tls.get_or_init(|| {
                let mut roots = RootCertStore::empty();
                let (taken, _) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                if taken == 0 {
                    tracing::warn!("no certificate authority found on this system: no https provider can be reached");
                }
                connector(roots)
            })
            .clone()
        });
        made.await.map_err(|e| format!("TLS: {e}"))
    }
}

fn connector(roots: RootCertStore) -> TlsConnector {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the ring provider has cipher suites for the default versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

async fn exchange(
    socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<Bytes, String> {
    let failed = |e: hyper::Error| format!("no answer: {e}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.map_err(failed)?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        if !response.status().is_success() {
            let why = if response.status().is_redirection() { " (redirects are not followed)" } else { "" };
            return Err(format!("answered {}{why}", response.status()));
        }
        let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
        body.map(|body| body.to_bytes()).map_err(|_| format!("more than {MOST_BYTES} bytes, or it broke off"))
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
