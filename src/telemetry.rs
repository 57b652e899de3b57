//! Logs and metrics of the process.

use crate::config::LogFormat;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

/// Upper bounds of the buckets of everything measured in seconds.
const SECONDS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];

/// Starts logging to standard error.
pub(crate) fn logs(filter: &str, format: LogFormat) -> Result<(), String> {
    // The RTSP library reports single packets at `info`, and the DTLS library warns of extensions that every browser sends;
    // what matters of them is counted and logged by `ingest` and `signaling`. A filter that names them comes later and wins.
    let with_quiet = format!("retina=error,rtc_dtls=error,{filter}");
    let filter = EnvFilter::try_new(with_quiet).map_err(|e| format!("log: {filter:?} is no log filter: {e}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    }
    .map_err(|e| format!("logging cannot start: {e}"))
}

/// Installs the process's metrics registry.
pub(crate) fn metrics() -> Result<PrometheusHandle, String> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
        .and_then(|b| b.install_recorder())
        .map_err(|e| format!("metrics cannot start: {e}"))
}
