//! The handshake of a new connection, bounded in time; and what those get who do not speak TLS.

use super::{Io, Tls};
use std::{io, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

/// The content type that a client's first record has (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;
/// What a client without TLS has sent is read on for so long, and so many bytes of it: a reset would overtake the answer.
const PATIENCE: Duration = Duration::from_secs(1);
const MOST_UNREAD: u64 = 64 << 10;

/// What a client without TLS is told.
const PLAIN: &str = r#"{"error":{"code":"invalid","message":"this port speaks TLS: the address begins with https"}}"#;

/// Shakes hands on a connection; `None` where its client had nothing to do with TLS, and has been told so.
///
/// # Errors
/// `TimedOut` after `within`; what else went wrong on the way.
pub(crate) async fn accept(stream: TcpStream, tls: &Tls, within: Duration) -> io::Result<Option<Io>> {
    let shaking = async {
        let mut first = [0];
        match stream.peek(&mut first).await? {
            0 => Ok(None),
            _ if first[0] == HANDSHAKE => {
                let stream = TlsAcceptor::from(tls.current()).accept(stream).await?;
                Ok(Some(Io::Tls(Box::new(stream))))
            }
            _ => refuse(stream, first[0]).await.map(|()| None),
        }
    };
    let result = match timeout(within, shaking).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long")),
    };
    if result.is_err() {
        metrics::counter!("vidicon_tls_handshake_failures_total").increment(1);
    }
    result
}

async fn refuse(mut stream: TcpStream, first: u8) -> io::Result<()> {
    if !first.is_ascii_uppercase() {
        return Ok(());
    }
    let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close";
    let answer = format!("{head}\r\nContent-Length: {}\r\n\r\n{PLAIN}", PLAIN.len());
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    let unread = async { tokio::io::copy(&mut stream.take(MOST_UNREAD), &mut tokio::io::sink()).await };
    let _ = timeout(PATIENCE, unread).await;
    Ok(())
}
