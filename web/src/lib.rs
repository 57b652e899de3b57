//! HTTP: native REST, WHEP, playback, events, auth and the page.

use ingest::Cameras;
use metrics_exporter_prometheus::PrometheusHandle;
use signaling::Peers;
use std::net::SocketAddr;
use store::Store;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Root credentials.
#[derive(Clone)]
pub struct Root {
    /// Access key id.
    pub access_key_id: String,
    /// Secret access key.
    pub secret_access_key: String,
}

/// What the surface serves.
#[derive(Clone)]
pub struct App {
    /// Streams and catalog.
    pub store: Store,
    /// Camera states and probes.
    pub cameras: Cameras,
    /// WebRTC peers.
    pub peers: Peers,
    /// Prometheus text.
    pub metrics: PrometheusHandle,
    /// Who may sign in.
    pub root: Root,
}

/// Serves until `stop` is cancelled, then lets open requests end for at most two seconds. The listener is already bound.
pub async fn serve(
    _app: App,
    _listener: tokio::net::TcpListener,
    _stop: CancellationToken,
    _tasks: &TaskTracker,
) -> std::io::Result<SocketAddr> {
    unimplemented!("skeleton")
}
