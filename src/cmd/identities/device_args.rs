//! The arguments of `vidicon certificate` and `vidicon role-alias`.

use super::args::Expected;
use clap::{Args, Subcommand};

/// One certificate.
#[derive(Args, Clone, Debug)]
pub(crate) struct Which {
    /// Its file (PEM, `-` for standard input), or its SHA-256 fingerprint in hexadecimal, which is its id.
    #[arg(value_name = "FILE|ID")]
    pub(crate) certificate: String,
}

#[derive(Subcommand, Clone, Debug)]
pub(crate) enum CertificateCommand {
    /// Register a device's certificate.
    Register {
        #[command(flatten)]
        which: Which,
        /// The device that it is of [default: its common name].
        #[arg(long, value_name = "NAME")]
        thing: Option<String>,
        /// A role alias that it may use; `*` for all. May be given more than once.
        #[arg(long = "role-alias", value_name = "NAME")]
        role_aliases: Vec<String>,
        /// Refuse it, also where a device authority vouches for it.
        #[arg(long)]
        revoked: bool,
        /// What it is for.
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
    },
    /// List the certificates.
    List {
        /// Those of this device alone.
        #[arg(long, value_name = "NAME")]
        thing: Option<String>,
    },
    /// Show a certificate.
    Show {
        #[command(flatten)]
        which: Which,
    },
    /// Refuse a registered certificate; what it was given ends. It can be enabled again.
    Revoke {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        expected: Expected,
    },
    /// Let a certificate be used again.
    Enable {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        expected: Expected,
    },
    /// Change what is kept of a certificate.
    Update {
        #[command(flatten)]
        which: Which,
        /// The device that it is of.
        #[arg(long, value_name = "NAME")]
        thing: Option<String>,
        /// All role aliases that it may use; `*` for all.
        #[arg(long = "role-alias", value_name = "NAME")]
        role_aliases: Vec<String>,
        /// Let it use none.
        #[arg(long, conflicts_with = "role_aliases")]
        no_role_alias: bool,
        /// What it is for.
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        #[command(flatten)]
        expected: Expected,
    },
    /// Forget a certificate. One that a device authority vouches for may be used then as any other of that authority.
    Delete {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        expected: Expected,
    },
}

#[derive(Subcommand, Clone, Debug)]
pub(crate) enum RoleAliasCommand {
    /// Make a role alias.
    Create {
        /// Its name.
        name: String,
        /// The role, by name or ARN.
        #[arg(long, value_name = "ROLE")]
        role: String,
        /// How long its credentials hold: 15m to 12h [default: 1h].
        #[arg(long, value_name = "TIME")]
        duration: Option<String>,
        /// Let every certificate of the device authorities (`tls.device_ca`) use it.
        #[arg(long)]
        device_ca: bool,
        /// What it is for.
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
    },
    /// List the role aliases.
    List,
    /// Show a role alias.
    Show {
        /// Its name.
        name: String,
    },
    /// Change a role alias.
    Update {
        /// Its name.
        name: String,
        /// The role, by name or ARN.
        #[arg(long, value_name = "ROLE")]
        role: Option<String>,
        /// How long its credentials hold: 15m to 12h.
        #[arg(long, value_name = "TIME")]
        duration: Option<String>,
        /// Let every certificate of the device authorities use it.
        #[arg(long)]
        device_ca: bool,
        /// Let only registered certificates use it.
        #[arg(long, conflicts_with = "device_ca")]
        no_device_ca: bool,
        /// What it is for.
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        #[command(flatten)]
        expected: Expected,
    },
    /// Remove a role alias; what was given out by it ends.
    Delete {
        /// Its name.
        name: String,
        #[command(flatten)]
        expected: Expected,
    },
}
