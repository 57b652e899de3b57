//! TURN over TLS: the handshake with the server's certificate, then `signaling`'s part.

use super::Tls;
use signaling::turn::Turn;
use std::{sync::Arc, time::Duration};
use tokio::{net::TcpListener, time::timeout};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

/// A handshake may take so long.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// After an error of the listener, such as no more files.
const PAUSE: Duration = Duration::from_millis(100);

impl Tls {
    /// What new connections of TURN get: clients may say `stun.turn` (RFC 7443) or nothing of the protocol.
    fn for_turn(&self) -> Arc<ServerConfig> {
        let mut config = ServerConfig::clone(&self.current());
        config.alpn_protocols = Vec::new();
        Arc::new(config)
    }
}

/// Serves TURN over TLS until it is stopped. A renewed certificate holds from the next connection on.
pub async fn serve_turn(listener: TcpListener, tls: Tls, turn: Turn, stop: CancellationToken, tasks: TaskTracker) {
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        let (stream, client) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a TURN connection was not accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (Some(seat), Ok(local)) = (turn.seat(client), stream.local_addr()) else { continue };
        let _ = stream.set_nodelay(true);
        let (turn, config, stop) = (turn.clone(), tls.for_turn(), stop.clone());
        let serve = async move {
            let handshake = timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(stream));
            match stop.run_until_cancelled(handshake).await {
                Some(Ok(Ok(stream))) => turn.serve_connection(stream, true, client, local, seat, stop).await,
                Some(_) => metrics::counter!("vidicon_tls_handshake_failures_total").increment(1),
                None => {}
            }
        };
        tasks.spawn(serve.instrument(tracing::info_span!("turn connection", %client)));
    }
}
