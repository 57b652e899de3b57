//! Start and stop of the server, top to bottom. `Running::stop` is what a signal runs.

use crate::batching::Batching;
use crate::config::Config;
use crate::credentials::{self, Credentials};
use metrics_exporter_prometheus::PrometheusHandle;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::{Clock, Store};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, info, info_span, warn};

/// Time that one stage of stopping may take. Five stages stay within the five seconds that are promised.
const STAGE: Duration = Duration::from_millis(1000);

/// Why the server did not start: one line, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    text: String,
    code: u8,
}

impl Failure {
    /// The configuration is wrong (exit code 2).
    pub(crate) fn config(text: impl fmt::Display) -> Self {
        Failure { text: text.to_string(), code: 2 }
    }
    /// Anything else (exit code 1).
    pub(crate) fn other(text: impl fmt::Display) -> Self {
        Failure { text: text.to_string(), code: 1 }
    }
    /// Something that a command has a code of its own for.
    pub(crate) fn with_code(code: u8, text: impl fmt::Display) -> Self {
        Failure { text: text.to_string(), code }
    }
    /// The store could not be opened: what the operator configured, or anything else.
    pub(crate) fn of_store(error: store::Error) -> Self {
        if error.is_configuration() { Failure::config(error) } else { Failure::other(error) }
    }
    /// The process's exit code.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Tasks of one stage, which are told to stop together.
#[derive(Default)]
struct Stage {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Stage {
    async fn stop(&self, name: &str) {
        self.stop.cancel();
        self.tasks.close();
        match tokio::time::timeout(STAGE, self.tasks.wait()).await {
            Ok(()) => info!("{name} stopped"),
            Err(_) => warn!("{name} did not stop within {} ms; {} tasks are left", STAGE.as_millis(), self.tasks.len()),
        }
    }
}

/// Where a port of HTTP is. Shown as its URL.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    tls: bool,
    address: SocketAddr,
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        match self.address.ip().is_unspecified() {
            true => write!(f, "{scheme}://localhost:{}/", self.address.port()),
            false => write!(f, "{scheme}://{}/", self.address),
        }
    }
}

/// The ports of HTTP, bound.
struct Ports {
    /// The one for clients first.
    pages: Vec<Page>,
    /// In the same order.
    listeners: Vec<TcpListener>,
    /// For clients of TURN.
    turn: Connections,
}

/// The ports for clients of TURN over connections, bound.
#[derive(Default)]
struct Connections {
    tcp: Option<TcpListener>,
    tls: Option<TcpListener>,
}

impl Connections {
    async fn open(config: &signaling::turn::Config) -> Result<Connections, Failure> {
        let bind = async |key: &str, address: SocketAddr| {
            let failed = |e| Failure::other(format!("{key}: the address {address} cannot be bound: {e}"));
            TcpListener::bind(address).await.map_err(failed)
        };
        let mut open = Connections::default();
        if let (Some(address), true) = (config.tcp, config.enabled) {
            open.tcp = Some(bind("turn.tcp", address).await?);
        }
        if let (Some(address), true) = (config.tls, config.enabled) {
            open.tls = Some(bind("turn.tls", address).await?);
        }
        Ok(open)
    }

    /// Serves them, and says where.
    fn serve(self, tls: Option<&web::Tls>, turn: &signaling::turn::Turn, Stage { stop, tasks }: &Stage) {
        let port = |listener: &TcpListener| listener.local_addr().ok().map(|address| address.port());
        let (tcp_port, tls_port) = (self.tcp.as_ref().and_then(port), self.tls.as_ref().and_then(port));
        turn.set_ports(tcp_port, tls_port);
        if let Some(listener) = self.tcp {
            tasks.spawn(
                turn.clone().serve_tcp(listener, stop.clone(), tasks.clone()).instrument(info_span!("turn tcp")),
            );
        }
        if let (Some(listener), Some(tls)) = (self.tls, tls) {
            let serve = web::serve_turn(listener, tls.clone(), turn.clone(), stop.clone(), tasks.clone());
            tasks.spawn(serve.instrument(info_span!("turn tls")));
        }
        info!(tcp = tcp_port, tls = tls_port, "STUN and TURN ready");
    }
}

impl Ports {
    async fn open(config: &Config) -> Result<Ports, Failure> {
        let turn = Connections::open(&config.turn).await?;
        let mut wanted = vec![(config.listen, config.tls.is_on())];
        if let (Some(address), true) = (config.tls.listen, config.tls.is_on()) {
            wanted = vec![(address, true), (config.listen, false)];
        }
        let mut open = Ports { pages: Vec::new(), listeners: Vec::new(), turn };
        for (address, tls) in wanted {
            let choose = if config.tls.listen == Some(address) { "in tls.listen" } else { "with --listen" };
            let listener = TcpListener::bind(address).await.map_err(|e| {
                Failure::other(format!("the HTTP address {address} cannot be bound: {e} (choose another {choose})"))
            })?;
            let address = listener.local_addr().map_err(Failure::other)?;
            open.pages.push(Page { tls, address });
            open.listeners.push(listener);
        }
        Ok(open)
    }
}

/// A running server.
pub(crate) struct Running {
    /// Where the page is: with TLS first, if there is a port with and one without.
    pub(crate) pages: Vec<Page>,
    /// The certificate that whoever uses the server is to trust, and its fingerprint, where the server has an authority of its own.
    pub(crate) authority: Option<(PathBuf, String)>,
    /// Who may sign in.
    pub(crate) credentials: Credentials,
    store: Store,
    surface: Stage,
    sources: Stage,
    viewers: Stage,
    watches: Stage,
    /// The cameras' own threads.
    reading: Batching,
}

impl Running {
    /// Starts everything; on an error nothing is left running.
    pub(crate) async fn start(config: Config, metrics: PrometheusHandle) -> Result<Running, Failure> {
        let environment = credentials::from_environment().map_err(Failure::config)?;
        // Files that cannot be used end the start before anything is bound or made; the local authority lies in the data folder.
        let tls = config.tls.load().map_err(Failure::config)?;
        let ports = Ports::open(&config).await?;

        let clock: Clock = Arc::new(now);
        let store = Store::open(config.store.clone(), clock).await.map_err(Failure::of_store)?;
        info!(data = %config.data.display(), "store open");
        match Self::start_on(&store, ports, tls, config, metrics, environment).await {
            Ok(running) => Ok(running),
            Err(failure) => {
                let _ = store.stop().await;
                Err(failure)
            }
        }
    }

    async fn start_on(
        store: &Store,
        ports: Ports,
        tls: Option<web::Tls>,
        config: Config,
        metrics: PrometheusHandle,
        environment: Option<web::Root>,
    ) -> Result<Running, Failure> {
        let tls = match tls {
            None => config.tls.open_local(&config.data, &config.own_names()).map_err(Failure::config)?,
            of_files => of_files,
        };
        let credentials = credentials::resolve(store, environment).await.map_err(Failure::other)?;
        apply(store, &config).await.map_err(Failure::other)?;
        let (surface, sources, viewers, watches) = Default::default();
        let reading =
            Batching::start("cameras").map_err(|e| Failure::other(format!("threads cannot be started: {e}")))?;
        let Ports { pages, listeners, turn: connections } = ports;
        let http = pages[0].address;
        let authority = tls.as_ref().and_then(web::Tls::authority_file);
        let with_tls = |page: &Page| tls.clone().filter(|_| page.tls);
        let ports =
            pages.iter().zip(listeners).map(|(page, listener)| web::Port { listener, tls: with_tls(page) }).collect();
        let running = Running {
            pages,
            authority,
            credentials,
            store: store.clone(),
            surface,
            sources,
            viewers,
            watches,
            reading,
        };

        let mut webrtc = config.webrtc.clone();
        webrtc.turn = config.turn.clone();
        let media = *webrtc.listen.get_or_insert(http);
        let Stage { stop, tasks } = &running.viewers;
        let peers = signaling::Peers::start(webrtc, store.clone(), stop.clone(), tasks)
            .await
            .map_err(|e| Failure::other(format!("the WebRTC address {media} (UDP) cannot be bound: {e}")))?;
        info!(address = %peers.local_addr(), "WebRTC ready");
        if let Some(turn) = peers.turn() {
            connections.serve(tls.as_ref(), turn, &running.viewers);
        }

        let Stage { stop, tasks } = &running.sources;
        let reading = running.reading.handle();
        let cameras = ingest::Cameras::start(config.ingest.clone(), store.clone(), stop.clone(), tasks, reading);
        info!("cameras started");

        let Stage { stop, tasks } = &running.watches;
        let chosen = config.detection.onnxruntime.is_some() || config.detection.model.is_some();
        match ml::Watches::start(config.detection.clone(), store.clone(), stop.clone(), tasks).await {
            Ok(_) => info!("detection ready"),
            // What the operator named must work; what nobody asked for must not keep cameras from being recorded.
            Err(e) if chosen => return Err(running.abandon(format!("detection cannot start: {e}")).await),
            Err(e) => warn!("detection is off: {e}"),
        }

        let app = web::App {
            store: store.clone(),
            cameras,
            peers,
            metrics,
            root: running.credentials.root.clone(),
            http: config.http.clone(),
            aws: config.aws.clone(),
            putmedia: config.putmedia.clone(),
            signaling: config.signaling.clone(),
        };
        let Stage { stop, tasks } = &running.surface;
        web::serve(app, ports, stop.clone(), tasks).await.map_err(Failure::other)?;
        running.pages.iter().for_each(|page| info!(address = %page.address, tls = page.tls, "HTTP ready"));
        Ok(running)
    }

    async fn abandon(self, text: String) -> Failure {
        self.stop().await;
        Failure::other(text)
    }

    /// Stops in order: no new requests, sources end their fragments, viewers and watches end, the store commits.
    pub(crate) async fn stop(self) {
        self.surface.stop("HTTP").await;
        self.sources.stop("cameras").await;
        self.viewers.stop("WebRTC").await;
        self.watches.stop("detection").await;
        match within_a_stage(self.store.stop()).await {
            Some(Ok(())) => info!("store closed"),
            Some(Err(e)) => warn!("the store did not close cleanly: {e}"),
            None => warn!("the store did not close within {} ms", STAGE.as_millis()),
        }
    }
}

async fn within_a_stage<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(STAGE, future).await.ok()
}

/// The wall clock, read here and nowhere in the pure parts.
fn now() -> media::UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    media::UnixMillis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Makes the catalog say what the configuration file says: entries that left the file leave the catalog.
async fn apply(store: &Store, config: &Config) -> Result<(), store::Error> {
    for target in store.targets().await?.into_iter().filter(|t| t.from_config) {
        if !config.targets.iter().any(|t| t.name() == &target.name) {
            store.delete_target(&target.name).await?;
        }
    }
    for rule in store.rules().await?.into_iter().filter(|r| r.from_config) {
        if !config.rules.iter().any(|r| r.name() == &rule.name) {
            store.delete_rule(&rule.name).await?;
        }
    }
    for camera in store.cameras().await?.into_iter().filter(|c| c.from_config) {
        if !config.cameras.iter().any(|c| c.name() == &camera.stream) {
            store.delete_camera(&camera.stream).await?;
        }
    }
    for camera in &config.cameras {
        store.put_camera(camera.clone().into()).await?;
    }
    for target in &config.targets {
        store.put_target(target.clone().into()).await?;
    }
    for rule in &config.rules {
        store.put_rule(rule.clone().into()).await?;
    }
    Ok(())
}
