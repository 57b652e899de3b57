//! The command line. Every option can also come from the environment.

use crate::cmd::identities::args::{KeyOptions, PolicyOptions, RoleOptions};
use clap::{Args as ClapArgs, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Self-hosted video streams: cameras and producers in, durable fragments, live and recorded playback, detection, alerts.
#[derive(Parser)]
#[command(name = "vidicon", version, max_term_width = 120)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the server.
    Serve(ServeOptions),
    /// Verify every invariant of a data folder that no server has open.
    Check(CheckOptions),
    /// Make, show, change and remove access keys.
    Key(KeyOptions),
    /// Make, show, change and remove roles.
    Role(RoleOptions),
    /// Make, show, change and remove policies.
    Policy(PolicyOptions),
    /// Run the server with a camera that plays a synthetic street, a rule, and a receiver that prints its alerts.
    Demo(DemoOptions),
    /// Serve the synthetic street over RTSP, until standard input closes.
    #[command(hide = true)]
    DemoCamera(DemoCameraOptions),
    /// Render the synthetic street with labels, to train a detector on.
    #[command(hide = true)]
    DemoScene(DemoSceneOptions),
}

#[derive(ClapArgs, Clone, Default)]
pub(crate) struct ServeOptions {
    /// Folder for everything that is kept [default: vidicon-data].
    #[arg(long, env = "VIDICON_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Address of the HTTP port; the WebRTC media port is the same number over UDP [default: 0.0.0.0:8080].
    #[arg(long, env = "VIDICON_LISTEN", value_name = "HOST:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Configuration file (TOML); `vidicon.example.toml` shows every key.
    #[arg(long, env = "VIDICON_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// What to log, such as `info`, `warn,ingest=debug`.
    #[arg(long, env = "VIDICON_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// `text` or `json`.
    #[arg(long, env = "VIDICON_LOG_FORMAT", value_name = "FORMAT")]
    pub(crate) log_format: Option<crate::config::LogFormat>,
}

#[derive(ClapArgs, Clone)]
pub(crate) struct CheckOptions {
    /// The data folder.
    #[arg(long, env = "VIDICON_DATA", value_name = "DIR", default_value = "vidicon-data")]
    pub(crate) data: PathBuf,
    /// Also read every fragment and compare its checksum.
    #[arg(long)]
    pub(crate) deep: bool,
}

#[derive(ClapArgs, Clone)]
pub(crate) struct DemoOptions {
    #[command(flatten)]
    pub(crate) serve: ServeOptions,
    /// Keep what the demo records; by default its folder is temporary and removed at the end.
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(ClapArgs, Clone)]
pub(crate) struct DemoCameraOptions {
    /// RTSP port on the loopback address; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    /// Which street.
    #[arg(long, default_value_t = 7)]
    pub(crate) seed: u64,
}

#[derive(ClapArgs, Clone)]
pub(crate) struct DemoSceneOptions {
    /// The folder to write to.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// How many frames.
    #[arg(long)]
    pub(crate) count: u32,
    /// The first street's seed.
    #[arg(long, default_value_t = 7)]
    pub(crate) seed: u64,
    /// So many streets, of consecutive seeds, take turns.
    #[arg(long, default_value_t = 1)]
    pub(crate) streets: u32,
    /// Pixels across.
    #[arg(long, default_value_t = 1280)]
    pub(crate) width: u32,
    /// Pixels down.
    #[arg(long, default_value_t = 720)]
    pub(crate) height: u32,
}
