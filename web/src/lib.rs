//! HTTP: native REST, WHEP, playback, events, auth and the page.
//!
//! What belongs here: the one listener, the table of routes, who may do what ([`auth`]), the JSON of the native API, the
//! operations of AWS ([`aws`]), HLS
//! playlists over fragments, the event stream, and the embedded page. This is the only crate that knows HTTP statuses.
//!
//! What does not: storage, media formats, camera protocols, WebRTC, detection. `ml` is reached only through catalog rows
//! and notices of the store.

pub mod admin;
mod alerts;
mod auth;
mod aws;
mod body;
mod cameras;
mod direct_body;
mod error;
mod events;
mod extract;
mod footprint;
mod health;
mod hls;
mod holds;
mod ice_test;
mod linger;
mod listed;
mod pace;
mod page;
mod routes;
mod rules;
mod seat;
mod serve;
mod shares;
mod slots;
mod state;
mod streams;
mod targets;
mod tls;
mod trust;
mod whep;
mod whip;

use ingest::Cameras;
use metrics_exporter_prometheus::PrometheusHandle;
use signaling::Peers;
use store::Store;

pub use auth::identities::{MadeKey, NewKey, create_key};
pub use aws::config::{AwsConfig, HttpConfig};
pub use aws::quotas::Quotas;
pub use listed::Listed;
pub use routes::{actions, described as routes};
pub use serve::{Port, serve};
pub use tls::{Tls, TlsConfig, serve_turn};

/// Bodies of fuzz targets: bytes in, no panic, and what must hold of the result. `./run fuzz` runs them; the tests beside them do too.
pub mod fuzzing {
    pub use crate::auth::oidc::fuzz as id_token;
    pub use crate::auth::{policy::fuzz as policy, session_token::fuzz as session_token, sigv4::fuzz as sigv4};
    pub use crate::aws::sts::fuzz as sts;
    pub use crate::aws::{fuzz_frames as frames, fuzz_media as media};
    pub use crate::direct_body::chunked::fuzz as chunked;
    pub use crate::tls::x509::fuzz as certificate;

    /// Bytes that may be a body: of the AWS surface, and of the native API.
    pub fn bodies(data: &[u8]) {
        crate::aws::json::fuzz(data);
        crate::aws::channels::fuzz(data);
        crate::admin::fuzz(data);
    }
}

/// What `web/benches` measures.
pub mod measured {
    pub use crate::auth::sigv4::measured::Measured as Signature;
}

/// Root credentials.
#[derive(Clone)]
pub struct Root {
    /// Access key id.
    pub access_key_id: String,
    /// Secret access key.
    pub secret_access_key: String,
}

impl std::fmt::Debug for Root {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Root").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
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
    /// Settings of this surface.
    pub http: HttpConfig,
    /// Settings of its AWS part.
    pub aws: AwsConfig,
    /// Settings of PutMedia.
    pub putmedia: ingest::putmedia::Config,
    /// Settings of signaling channels.
    pub signaling: signaling::channel::Config,
}
