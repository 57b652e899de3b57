//! `vidicon serve`.

use crate::args::ServeOptions;
use crate::config::{self, Config};
use crate::running::{Failure, Running};
use crate::telemetry;
use std::future::Future;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

/// Runs until a signal, then stops in order.
pub(crate) fn run(options: ServeOptions) -> Result<(), Failure> {
    let config = config::load(&options).map_err(Failure::config)?;
    telemetry::logs(&config.log, config.log_format).map_err(Failure::config)?;
    run_with(config, |running| {
        print_banner(running);
        async { Ok(()) }
    })
}

/// Starts the server, runs `started` once it is up, waits for a signal, stops. A second signal exits at once.
pub(crate) fn run_with<F>(config: Config, started: impl FnOnce(&Running) -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    let metrics = telemetry::metrics().map_err(Failure::other)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("vidicon")
        .build()
        .map_err(|e| Failure::other(format!("threads cannot be started: {e}")))?;
    let result = runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::other)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(Failure::other)?;
        let running = Running::start(config, metrics).await?;
        let outcome = started(&running).await;
        if outcome.is_ok() {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        info!("stopping; a second signal exits at once");
        tokio::select! {
            () = running.stop() => {}
            _ = interrupt.recv() => std::process::exit(130),
            _ = terminate.recv() => std::process::exit(143),
        }
        outcome
    });
    // Blocking threads (a decoder, a resolver) must not hold the exit back.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    result
}

/// The start banner: where the page is, and how to sign in.
#[allow(clippy::print_stdout)]
fn print_banner(running: &Running) {
    let mut pages = running.pages.iter();
    if let Some(page) = pages.next() {
        println!("Vidicon {} is ready: {page}", env!("CARGO_PKG_VERSION"));
    }
    pages.for_each(|page| println!("  without TLS        {page}"));
    if let Some((file, fingerprint)) = &running.authority {
        println!("  to be trusted      {} (also at /ca.pem)", file.display());
        println!("  its SHA-256        {fingerprint}");
    }
    let root = &running.credentials.root;
    if running.credentials.made_now {
        println!("  access key id      {}", root.access_key_id);
        println!("  secret access key  {}", root.secret_access_key);
        println!("  These were made just now and are shown only this once.");
    }
}
