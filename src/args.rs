//! The command line. Every option can also come from the environment.

use crate::cmd::identities::{
    args::{HoldCommand, KeyCommand, Options, PolicyCommand, RoleCommand},
    device_args::{CertificateCommand, RoleAliasCommand},
};
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
    /// Verify every invariant of a data folder, mend it, or make its catalog anew.
    Check(CheckOptions),
    /// Write a range of a stream as a Matroska or MP4 file.
    Export(ExportOptions),
    /// Make, show, change and remove access keys.
    Key(Options<KeyCommand>),
    /// Make, show, change and remove roles.
    Role(Options<RoleCommand>),
    /// Make, show, change and remove policies.
    Policy(Options<PolicyCommand>),
    /// Register, show, change and revoke certificates of devices.
    Certificate(Options<CertificateCommand>),
    /// Make, show, change and remove role aliases, by which devices get credentials.
    RoleAlias(Options<RoleAliasCommand>),
    /// Place, list and lift legal holds: ranges of a stream that nothing takes anything from.
    Hold(Options<HoldCommand>),
    /// Look at the keys of encrypted recordings, wrap them by another master key, or destroy one with its stream.
    Encryption(EncryptionOptions),
    /// Test from here which ways to a server's STUN and TURN work, and how long each takes.
    IceTest(IceTestOptions),
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
    /// Read at most so many MB of segments a second.
    #[arg(long, value_name = "MB/S", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) rate: Option<u64>,
    /// Look while a server has the folder open, without stopping it.
    #[arg(long)]
    pub(crate) online: bool,
    /// Mend what can be mended; beside a server (`--online`) that is: leave damaged fragments out.
    #[arg(long, conflicts_with = "rebuild")]
    pub(crate) repair: bool,
    /// With --repair: print what it would do, and change nothing.
    #[arg(long, requires = "repair")]
    pub(crate) dry_run: bool,
    /// Make the catalog anew from the segments; the old one is kept aside, and what segments do not hold is taken from it.
    #[arg(long, conflicts_with = "online")]
    pub(crate) rebuild: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(ClapArgs, Clone)]
pub(crate) struct IceTestOptions {
    /// The server, such as https://nvr.local:8080, asked with the credentials of VIDICON_ACCESS_KEY_ID and VIDICON_SECRET_ACCESS_KEY, else with
    /// root's.
    #[arg(long, env = "VIDICON_URL", value_name = "URL")]
    pub(crate) url: String,
    /// Certificates (PEM) to trust beside the system's.
    #[arg(long, env = "VIDICON_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// How long each way may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) wait: u64,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What kind of file.
#[derive(clap::ValueEnum, Clone, Copy)]
pub(crate) enum ExportFormat {
    /// Matroska: any codec.
    Mkv,
    /// Fragmented MP4: H.264, H.265 and AAC.
    Mp4,
}

#[derive(ClapArgs, Clone)]
pub(crate) struct ExportOptions {
    /// The stream.
    #[arg(long, value_name = "NAME")]
    pub(crate) stream: media::StreamName,
    /// The first instant, by the producer's clock: 2026-11-23T06:01:21Z, or seconds or milliseconds since 1970 [default: the oldest].
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) from: Option<String>,
    /// Just after the last instant [default: the newest].
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) to: Option<String>,
    /// What kind of file [default: what its name ends in].
    #[arg(long)]
    pub(crate) format: Option<ExportFormat>,
    /// The file, or `-` for standard output.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// The data folder, which a server may have open.
    #[arg(long, env = "VIDICON_DATA", value_name = "DIR", default_value = "vidicon-data")]
    pub(crate) data: PathBuf,
    /// A running server instead, such as https://nvr.local:8080, asked with the credentials of VIDICON_ACCESS_KEY_ID and
    /// VIDICON_SECRET_ACCESS_KEY, else with root's.
    #[arg(long, env = "VIDICON_URL", value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Certificates (PEM) to trust beside the system's.
    #[arg(long, env = "VIDICON_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) encryption: MasterKeyOptions,
}

/// The master key of encrypted recordings.
#[derive(ClapArgs, Clone)]
pub(crate) struct MasterKeyOptions {
    /// File with the master key of encrypted recordings; else VIDICON_ENCRYPTION_KEY holds it.
    #[arg(long, env = "VIDICON_ENCRYPTION__KEY_FILE", value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
}

#[derive(ClapArgs, Clone)]
pub(crate) struct EncryptionOptions {
    #[command(subcommand)]
    pub(crate) command: EncryptionCommand,
    /// The data folder.
    #[arg(long, env = "VIDICON_DATA", value_name = "DIR", default_value = "vidicon-data", global = true)]
    pub(crate) data: PathBuf,
}

#[derive(Subcommand, Clone)]
pub(crate) enum EncryptionCommand {
    /// Say which streams have keys, and which master keys wrap them. A server may have the folder open.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Wrap the keys of all streams by another master key, while no server has the folder open. Recordings are not touched.
    Rotate {
        #[command(flatten)]
        current: MasterKeyOptions,
        /// File with the new master key.
        #[arg(long, value_name = "FILE")]
        new_key_file: PathBuf,
    },
    /// Delete a stream and destroy its key, while no server has the folder open: its recordings cannot be read any more, by anybody.
    Destroy {
        /// The stream.
        #[arg(value_name = "STREAM")]
        stream: media::StreamName,
    },
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
