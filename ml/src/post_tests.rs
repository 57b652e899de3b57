use super::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

/// Serves TLS as `name` with a certificate that signs itself; answers everything with `answer`.
async fn serve(name: &str, answer: &'static str) -> (u16, RootCertStore) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let key = made.signing_key.serialize_der().try_into().expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a server");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut socket) = acceptor.accept(socket).await else { return };
                let mut request = [0; 4096];
                let _ = socket.read(&mut request).await;
                let _ = socket.write_all(answer.as_bytes()).await;
                let _ = socket.shutdown().await;
            });
        }
    });
    (port, roots)
}

async fn post(poster: &Poster, url: &str) -> Result<(), String> {
    let headers = [("webhook-id", "1".into())];
    poster.post(url, Reach::Local, "application/json", &headers, Bytes::from_static(b"{}")).await.map_err(|f| f.reason)
}

#[tokio::test]
async fn https_is_checked_against_the_trusted_certificates_and_the_name() {
    let (port, roots) = serve("localhost", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let url = format!("https://localhost:{port}/hook");
    post(&Poster::trusting(roots.clone()), &url).await.expect("a trusted target takes it");
    let reason = post(&Poster::trusting(RootCertStore::empty()), &url).await.expect_err("nobody vouches for it");
    assert!(reason.starts_with("TLS: "), "{reason}");
    let (port, roots) = serve("elsewhere.example", "HTTP/1.1 200 OK\r\n\r\n").await;
    let reason = post(&Poster::trusting(roots), &format!("https://localhost:{port}/")).await.expect_err("another name");
    assert!(reason.starts_with("TLS: "), "{reason}");
}

#[tokio::test]
async fn foreign_answers_become_one_short_line() {
    let long = format!("HTTP/1.1 500 Oh\r\n\r\n\u{1b}[31mred\r\n\tline {}", "x".repeat(1 << 17));
    let (port, roots) = serve("localhost", long.leak()).await;
    let reason = post(&Poster::trusting(roots), &format!("https://localhost:{port}/")).await.expect_err("500");
    assert!(reason.starts_with("answered 500 Internal Server Error"), "{reason}");
    assert!(reason.len() < 300 && !reason.contains(char::is_control), "{reason}");
    let (port, roots) = serve("localhost", "SSH-2.0-nothing\r\n").await;
    assert!(post(&Poster::trusting(roots), &format!("https://localhost:{port}/")).await.is_err());
}

#[tokio::test]
async fn odd_targets_fail_with_a_reason() {
    let poster = Poster::trusting(RootCertStore::empty());
    for (url, says) in [
        ("not a url", "URL"),
        ("mailto:a@b", "host"),
        ("ftp://localhost/", "ftp is not a scheme"),
        ("http://169.254.169.254/latest", "169.254.169.254"),
    ] {
        let reason = post(&poster, url).await.expect_err(url);
        assert!(reason.contains(says), "{url}: {reason}");
    }
    let reason =
        poster.post("http://127.0.0.1:1/", Reach::Public, "text/plain", &[], Bytes::new()).await.map_err(|f| f.reason);
    assert!(reason.expect_err("loopback").contains("127.0.0.1"));
}
