//! A running server, asked over its native API.

use crate::running::Failure;
use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request as HttpRequest, StatusCode, body::Bytes, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::{path::Path, sync::Arc, time::Duration};
use store::outbound::{self, Reach};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};
use url::{Host, Url};
use web::admin::Request;

/// A whole answer may take so long, and have so many bytes.
const TIME_LIMIT: Duration = Duration::from_secs(30);
const MOST_BYTES: usize = 300 << 20;
/// Pairs of variables with credentials, the first that is set counts.
const CREDENTIALS: [(&str, &str); 2] = [
    ("VIDICON_ACCESS_KEY_ID", "VIDICON_SECRET_ACCESS_KEY"),
    ("VIDICON_ROOT_ACCESS_KEY_ID", "VIDICON_ROOT_SECRET_ACCESS_KEY"),
];

/// What a server answered.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    of: String,
}

impl Answer {
    fn error(&self, member: &str) -> Option<String> {
        let value: Value = serde_json::from_slice(&self.body).ok()?;
        value["error"][member].as_str().map(str::to_owned)
    }
    /// The code of an error, or nothing.
    pub(crate) fn code(&self) -> String {
        self.error("code").unwrap_or_default()
    }
    /// What an error says.
    pub(crate) fn message(&self) -> String {
        match self.error("message") {
            Some(message) => format!("{message} ({})", self.status.as_u16()),
            None => format!("{} is no Vidicon: it answered {}", self.of, self.status),
        }
    }
}

/// A server and how to sign in there.
pub(crate) struct Server {
    url: Url,
    authorization: String,
    tls: TlsConnector,
}

impl Server {
    /// The server of a URL, with the credentials of the environment.
    pub(crate) fn of(url: &str, ca: Option<&Path>) -> Result<Server, Failure> {
        let wrong = |why: &str| Failure::config(format!("--url {url}: {why}"));
        let url = Url::parse(url).map_err(|e| wrong(&e.to_string()))?;
        match (url.scheme(), url.host()) {
            (_, None) => return Err(wrong("it names no host")),
            ("http" | "https", _) if !url.username().is_empty() || url.password().is_some() => {
                return Err(wrong("credentials belong into VIDICON_ACCESS_KEY_ID and VIDICON_SECRET_ACCESS_KEY"));
            }
            ("http" | "https", _) if url.path() == "/" && url.query().is_none() => {}
            _ => return Err(wrong("such as https://nvr.local:8080 is needed")),
        }
        let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let pair = CREDENTIALS.iter().find_map(|(id, secret)| Some((read(id)?, read(secret)?)));
        let (id, secret) = pair.ok_or_else(|| {
            let pairs = CREDENTIALS.map(|(id, secret)| format!("{id} and {secret}"));
            Failure::config(format!("no credentials for {url}: set {}", pairs.join(", or ")))
        })?;
        let authorization = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
        Ok(Server { tls: tls(ca)?, url, authorization })
    }

    /// Asks; an error of the server is the message that it gave.
    pub(super) async fn ask(&self, request: &Request) -> Result<Value, Failure> {
        let (method, path, body) = request.http();
        let answer = self.answer(method, &path, body).await?;
        let value: Option<Value> = serde_json::from_slice(&answer.body).ok();
        match value {
            _ if answer.status.is_success() && answer.body.is_empty() => Ok(Value::Null),
            Some(value) if answer.status.is_success() => Ok(value),
            _ => Err(Failure::other(answer.message())),
        }
    }

    /// Asks for a path, whatever is answered.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.answer("GET", path, None).await
    }

    /// Asks for something to be made, whatever is answered.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Result<Answer, Failure> {
        self.answer("POST", path, Some(body)).await
    }

    /// What it takes to speak TLS to the same host.
    pub(crate) fn tls(&self) -> &TlsConnector {
        &self.tls
    }

    async fn answer(&self, method: &str, path: &str, body: Option<Value>) -> Result<Answer, Failure> {
        let host = match self.url.port() {
            Some(port) => format!("{}:{port}", self.url.host_str().unwrap_or_default()),
            None => self.url.host_str().unwrap_or_default().to_owned(),
        };
        let mut http = HttpRequest::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, host)
            .header(header::USER_AGENT, concat!("vidicon/", env!("CARGO_PKG_VERSION")))
            .header(header::AUTHORIZATION, &self.authorization);
        if body.is_some() {
            http = http.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let http = http.body(Full::new(body)).map_err(|e| Failure::other(format!("no request can be made: {e}")))?;
        match tokio::time::timeout(TIME_LIMIT, self.send(http)).await {
            Ok(answered) => answered,
            Err(_) => Err(Failure::other(format!("{} did not answer within {} s", self.url, TIME_LIMIT.as_secs()))),
        }
    }

    async fn send(&self, request: HttpRequest<Full<Bytes>>) -> Result<Answer, Failure> {
        let (name, server_name) = match self.url.host() {
            Some(Host::Ipv4(ip)) => (ip.to_string(), Ok(ServerName::from(std::net::IpAddr::from(ip)))),
            Some(Host::Ipv6(ip)) => (ip.to_string(), Ok(ServerName::from(std::net::IpAddr::from(ip)))),
            Some(Host::Domain(name)) => (name.to_owned(), ServerName::try_from(name.to_owned())),
            None => return Err(Failure::config("the URL names no host")),
        };
        let port = self.url.port_or_known_default().unwrap_or(80);
        let socket = outbound::connect(&name, port, Reach::Local).await.map_err(Failure::other)?;
        if self.url.scheme() == "http" {
            return self.exchange(socket, request).await;
        }
        let server_name = server_name.map_err(|e| Failure::other(format!("{name}: {e}")))?;
        let socket = self.tls.connect(server_name, socket).await;
        let hint = "a certificate of its own is trusted with --ca FILE";
        self.exchange(socket.map_err(|e| Failure::other(format!("{}: TLS: {e}; {hint}", self.url)))?, request).await
    }

    async fn exchange(
        &self,
        socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: HttpRequest<Full<Bytes>>,
    ) -> Result<Answer, Failure> {
        let failed = |e: &dyn std::fmt::Display| Failure::other(format!("{} gave no answer: {e}", self.url));
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.map_err(|e| failed(&e))?;
        let answered = async {
            let response = sender.send_request(request).await.map_err(|e| failed(&e))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, MOST_BYTES).collect().await.map_err(|e| failed(&e))?.to_bytes();
            Ok(Answer { status: parts.status, body, of: self.url.to_string() })
        };
        tokio::pin!(answered, connection);
        tokio::select! {
            answered = &mut answered => answered,
            ended = &mut connection => match ended {
                Ok(()) => answered.await,
                Err(e) => Err(failed(&e)),
            },
        }
    }
}

/// TLS that trusts the system's authorities, and the certificates of a file.
fn tls(ca: Option<&Path>) -> Result<TlsConnector, Failure> {
    let config = outbound::trust::client(ca).map_err(|why| match ca {
        Some(file) => Failure::config(format!("--ca {}: {why}", file.display())),
        None => Failure::other(format!("TLS cannot be used: {why}")),
    });
    Ok(TlsConnector::from(Arc::new(config?)))
}
