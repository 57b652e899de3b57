//! The arguments of `vidicon key`, `vidicon role`, `vidicon policy` and `vidicon hold`.

use clap::{Args, Subcommand};
use media::StreamName;
use std::path::PathBuf;

/// Whom to ask, and how to print.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Where {
    /// A running server, such as https://nvr.local:8080, asked with the credentials of VIDICON_ACCESS_KEY_ID and
    /// VIDICON_SECRET_ACCESS_KEY, else with root's. Without it the data folder is opened, which no server may have open.
    #[arg(long, env = "VIDICON_URL", value_name = "URL", global = true)]
    pub(crate) url: Option<String>,
    /// Certificates (PEM) to trust beside the system's.
    #[arg(long, env = "VIDICON_CA", value_name = "FILE", global = true)]
    pub(crate) ca: Option<PathBuf>,
    /// The data folder [default: vidicon-data].
    #[arg(long, env = "VIDICON_DATA", value_name = "DIR", global = true)]
    pub(crate) data: Option<PathBuf>,
    /// Configuration file (TOML).
    #[arg(long, env = "VIDICON_CONFIG", value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Print JSON, as the native API answers it.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// One of a command's subcommands, and whom to ask.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options<C: Subcommand> {
    #[command(subcommand)]
    pub(crate) command: C,
    #[command(flatten)]
    pub(crate) place: Where,
}

#[derive(Subcommand, Clone, Debug)]
pub(crate) enum HoldCommand {
    /// Keep a range of a stream until the hold is lifted, whatever else would take it.
    Place {
        /// The stream.
        stream: StreamName,
        /// What the hold is called.
        name: String,
        /// The first instant, such as 2026-11-23T06:00:00Z.
        #[arg(long, value_name = "TIME")]
        from: String,
        /// The instant just after the last one.
        #[arg(long, value_name = "TIME")]
        to: String,
        /// Why.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// List the holds of a stream.
    List {
        /// The stream.
        stream: StreamName,
    },
    /// End a hold.
    Lift {
        /// The stream.
        stream: StreamName,
        /// What the hold is called.
        name: String,
    },
}

/// What a key or role may do.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Rights {
    /// A preset: camera, master, viewer, playback, analytics or admin. May be given more than once.
    #[arg(long = "preset", value_name = "NAME")]
    pub(crate) presets: Vec<String>,
    /// A policy of the catalog. May be given more than once.
    #[arg(long = "policy", value_name = "NAME")]
    pub(crate) policies: Vec<String>,
    /// The stream that presets are to be for, and no other.
    #[arg(long, value_name = "NAME")]
    pub(crate) stream: Option<StreamName>,
    /// The signalling channel that presets are to be for, where its name is not the stream's.
    #[arg(long, value_name = "NAME")]
    pub(crate) channel: Option<StreamName>,
    /// A policy of its own, a JSON file (`-` for standard input).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["stream", "channel"])]
    pub(crate) policy_file: Option<PathBuf>,
    /// A tag. May be given more than once.
    #[arg(long = "tag", value_name = "KEY=VALUE")]
    pub(crate) tags: Vec<String>,
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
}

/// What is to be different; what is left out stays.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Changes {
    /// A policy of its own, a JSON file (`-` for standard input).
    #[arg(long, value_name = "FILE")]
    pub(crate) policy_file: Option<PathBuf>,
    /// Take its own policy away.
    #[arg(long, conflicts_with = "policy_file")]
    pub(crate) no_policy_file: bool,
    /// All tags that it is to have.
    #[arg(long = "tag", value_name = "KEY=VALUE")]
    pub(crate) tags: Vec<String>,
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// End its sessions so far.
    #[arg(long)]
    pub(crate) end_sessions: bool,
    #[command(flatten)]
    pub(crate) expected: Expected,
}

/// Optimistic locking.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Expected {
    /// Only if it has this version.
    #[arg(long, value_name = "VERSION")]
    pub(crate) if_version: Option<u64>,
}

#[derive(Subcommand, Clone, Debug)]
pub(crate) enum KeyCommand {
    /// Make an access key and print what its owner needs. The secret is shown only this once.
    Create {
        /// Whose it is [default: the stream, else the channel].
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
        #[command(flatten)]
        rights: Rights,
        /// From when on it may not be used: 90d, 12h, 30m.
        #[arg(long, value_name = "TIME")]
        expires_in: Option<String>,
    },
    /// List the keys.
    List {
        /// Those of this user alone.
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// Show a key.
    Show {
        /// Its access key id.
        id: String,
    },
    /// Let a key be used.
    Enable {
        /// Its access key id.
        id: String,
        #[command(flatten)]
        expected: Expected,
    },
    /// Let a key not be used; it can be enabled again.
    Disable {
        /// Its access key id.
        id: String,
        #[command(flatten)]
        expected: Expected,
    },
    /// Change a key.
    Update {
        /// Its access key id.
        id: String,
        #[command(flatten)]
        changes: Changes,
        /// From when on it may not be used: 90d, 12h, 30m, or `never`.
        #[arg(long, value_name = "TIME")]
        expires_in: Option<String>,
    },
    /// Make a key that takes another's place, with the same rights. The secret is shown only this once.
    Rotate {
        /// The access key id of the old one.
        id: String,
        /// For how long the old one still holds: 24h, 30m, 0s [default: 24h].
        #[arg(long, value_name = "TIME")]
        overlap: Option<String>,
        #[command(flatten)]
        expected: Expected,
    },
    /// Remove a key.
    Delete {
        /// Its access key id.
        id: String,
        #[command(flatten)]
        expected: Expected,
    },
    /// Give a key a preset or policy.
    Attach {
        /// Its access key id.
        id: String,
        /// The preset or policy.
        policy: String,
    },
    /// Take a preset or policy from a key.
    Detach {
        /// Its access key id.
        id: String,
        /// The preset or policy.
        policy: String,
    },
}

#[derive(Subcommand, Clone, Debug)]
pub(crate) enum RoleCommand {
    /// Make a role.
    Create {
        /// Its name.
        name: String,
        /// Who may take it on: a trust policy, a JSON file (`-` for standard input).
        #[arg(long, value_name = "FILE")]
        trust: PathBuf,
        /// The longest session: 15m to 12h [default: 1h].
        #[arg(long, value_name = "TIME")]
        max_session: Option<String>,
        #[command(flatten)]
        rights: Rights,
    },
    /// List the roles.
    List,
    /// Show a role.
    Show {
        /// Its name.
        name: String,
    },
    /// Change a role.
    Update {
        /// Its name.
        name: String,
        /// Who may take it on: a trust policy, a JSON file (`-` for standard input).
        #[arg(long, value_name = "FILE")]
        trust: Option<PathBuf>,
        /// The longest session: 15m to 12h.
        #[arg(long, value_name = "TIME")]
        max_session: Option<String>,
        #[command(flatten)]
        changes: Changes,
    },
    /// Remove a role; its sessions end.
    Delete {
        /// Its name.
        name: String,
        #[command(flatten)]
        expected: Expected,
    },
    /// Give a role a preset or policy.
    Attach {
        /// Its name.
        name: String,
        /// The preset or policy.
        policy: String,
    },
    /// Take a preset or policy from a role.
    Detach {
        /// Its name.
        name: String,
        /// The preset or policy.
        policy: String,
    },
}

#[derive(Subcommand, Clone, Debug)]
pub(crate) enum PolicyCommand {
    /// Make a policy.
    Create {
        /// Its name.
        name: String,
        /// The policy document, a JSON file (`-` for standard input).
        #[arg(long, value_name = "FILE")]
        document: PathBuf,
        /// What it is for.
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
    },
    /// List the presets and policies.
    List,
    /// Show a preset or policy with its document.
    Show {
        /// Its name.
        name: String,
    },
    /// Change a policy; it counts from the next request on.
    Update {
        /// Its name.
        name: String,
        /// The policy document, a JSON file (`-` for standard input).
        #[arg(long, value_name = "FILE")]
        document: Option<PathBuf>,
        /// What it is for.
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        #[command(flatten)]
        expected: Expected,
    },
    /// Remove a policy that no key or role has.
    Delete {
        /// Its name.
        name: String,
        #[command(flatten)]
        expected: Expected,
    },
}
