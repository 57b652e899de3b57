//! The configuration: file, then environment, then flags. All of it is validated before anything is bound.

mod error;
mod overlay;
#[cfg(test)]
mod tests;

pub(crate) use error::ConfigError;

use crate::args::ServeOptions;
use media::StreamName;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use store::records::{Camera, Rate, Rule, Secret, Target, Transport};

/// All settings. Each crate defines its own table; `vidicon.example.toml` shows every key with its default.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Folder for everything that is kept.
    pub(crate) data: PathBuf,
    /// Address of the HTTP port. With `tls` it speaks TLS, unless that names a port of its own.
    pub(crate) listen: SocketAddr,
    /// What to log.
    pub(crate) log: String,
    /// How to log.
    pub(crate) log_format: LogFormat,
    pub(crate) store: store::Config,
    pub(crate) storage: store::StorageConfig,
    pub(crate) encryption: store::EncryptionConfig,
    pub(crate) ingest: ingest::Config,
    pub(crate) webrtc: signaling::Config,
    pub(crate) signaling: signaling::channel::Config,
    pub(crate) turn: signaling::turn::Config,
    pub(crate) detection: ml::Config,
    pub(crate) http: web::HttpConfig,
    pub(crate) tls: web::TlsConfig,
    pub(crate) aws: web::AwsConfig,
    pub(crate) putmedia: ingest::putmedia::Config,
    pub(crate) cameras: Vec<CameraEntry>,
    pub(crate) rules: Vec<RuleEntry>,
    pub(crate) targets: Vec<TargetEntry>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            data: "vidicon-data".into(),
            listen: SocketAddr::from(([0, 0, 0, 0], 8080)),
            log: "info".into(),
            log_format: LogFormat::Text,
            store: Default::default(),
            storage: Default::default(),
            encryption: Default::default(),
            ingest: Default::default(),
            webrtc: Default::default(),
            signaling: Default::default(),
            turn: Default::default(),
            detection: Default::default(),
            http: Default::default(),
            tls: Default::default(),
            aws: Default::default(),
            putmedia: Default::default(),
            cameras: Vec::new(),
            rules: Vec::new(),
            targets: Vec::new(),
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A camera: `[[cameras]]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CameraEntry {
    name: StreamName,
    url: String,
    username: Option<String>,
    password: Option<Secret>,
    #[serde(default)]
    transport: Transport,
    #[serde(default = "yes")]
    enabled: bool,
}

/// A rule: `[[rules]]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleEntry {
    name: StreamName,
    camera: StreamName,
    #[serde(default)]
    classes: Vec<String>,
    #[serde(default = "half")]
    min_score: f32,
    #[serde(default)]
    zone: Vec<[f32; 2]>,
    #[serde(default = "ten")]
    cooldown_s: u64,
    /// Pictures looked at a second; 0 looks at key frames only.
    #[serde(default = "five")]
    pictures_per_second: f32,
    #[serde(default)]
    targets: Vec<StreamName>,
}

/// A webhook: `[[targets]]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TargetEntry {
    name: StreamName,
    url: String,
    secret: Secret,
    #[serde(default)]
    allow_local: bool,
}

fn yes() -> bool {
    true
}
fn half() -> f32 {
    0.5
}
fn ten() -> u64 {
    10
}
fn five() -> f32 {
    5.0
}

impl CameraEntry {
    pub(crate) fn name(&self) -> &StreamName {
        &self.name
    }
}

impl RuleEntry {
    pub(crate) fn name(&self) -> &StreamName {
        &self.name
    }
}

impl TargetEntry {
    pub(crate) fn name(&self) -> &StreamName {
        &self.name
    }
}

impl From<CameraEntry> for Camera {
    fn from(e: CameraEntry) -> Camera {
        Camera {
            stream: e.name,
            url: e.url,
            username: e.username,
            password: e.password,
            transport: e.transport,
            enabled: e.enabled,
            from_config: true,
        }
    }
}

impl From<RuleEntry> for Rule {
    fn from(e: RuleEntry) -> Rule {
        Rule {
            name: e.name,
            stream: e.camera,
            classes: e.classes,
            min_score: e.min_score,
            zone: e.zone,
            cooldown_ms: e.cooldown_s.saturating_mul(1000),
            rate: if e.pictures_per_second > 0.0 { Rate::PerSecond(e.pictures_per_second) } else { Rate::KeyFrames },
            targets: e.targets,
            from_config: true,
        }
    }
}

impl From<TargetEntry> for Target {
    fn from(e: TargetEntry) -> Target {
        Target { name: e.name, url: e.url, secret: e.secret, allow_local: e.allow_local, from_config: true }
    }
}

/// Reads file, environment and flags, in this order, and validates the whole.
pub(crate) fn load(options: &ServeOptions) -> Result<Config, ConfigError> {
    let text = match &options.config {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|e| ConfigError(format!("the configuration file {} cannot be read: {e}", path.display())))?,
        None => String::new(),
    };
    let file = options.config.as_deref().unwrap_or(Path::new("(no file)"));
    // `--listen`, `--data` and the log settings have variables of their own, which clap reads.
    let mut config = overlay::parse(file, &text, std::env::vars())?;
    if let Some(data) = &options.data {
        config.data = data.clone();
    }
    if let Some(listen) = options.listen {
        config.listen = listen;
    }
    if let Some(log) = &options.log {
        config.log = log.clone();
    }
    if let Some(format) = options.log_format {
        config.log_format = format;
    }
    config.store.data = config.data.clone();
    config.store.storage = config.storage.clone();
    config.validate(file)?;
    config.store.encryption = config
        .encryption
        .load(|name| std::env::var(name).ok())
        .map_err(|e| ConfigError(format!("{}: {e}", file.display())))?;
    Ok(config)
}

impl Config {
    /// The scheme and address of the port that is for clients: the one with TLS, if there is one.
    pub(crate) fn for_clients(&self) -> (&'static str, SocketAddr) {
        match self.tls.is_on() {
            true => ("https", self.tls.listen.unwrap_or(self.listen)),
            false => ("http", self.listen),
        }
    }

    /// Names and addresses that clients are told to reach this server at.
    pub(crate) fn own_names(&self) -> Vec<String> {
        let url = self.http.public_host();
        let advertised = self.webrtc.advertise.iter().map(ToString::to_string);
        url.into_iter().chain(self.turn.host.clone()).chain(advertised).collect()
    }

    fn validate(&self, file: &Path) -> Result<(), ConfigError> {
        let error = |text: String| Err(ConfigError(format!("{}: {text}", file.display())));
        let cameras: Vec<_> = self.cameras.iter().map(|c| &c.name).collect();
        let rules: Vec<_> = self.rules.iter().map(|r| &r.name).collect();
        let targets: Vec<_> = self.targets.iter().map(|t| &t.name).collect();
        for (table, names) in [("cameras", &cameras), ("rules", &rules), ("targets", &targets)] {
            if let Some(twice) = names.iter().enumerate().find(|(i, n)| names[..*i].contains(n)) {
                return error(format!("[[{table}]] has the name {} twice", twice.1));
            }
        }
        for rule in &self.rules {
            if let Some(target) = rule.targets.iter().find(|t| !targets.contains(t)) {
                return error(format!(
                    "rule {} names the target {target}, and there is no such [[targets]]",
                    rule.name
                ));
            }
            if !cameras.contains(&&rule.camera) {
                return error(format!(
                    "rule {} names the camera {}, and there is no such [[cameras]]",
                    rule.name, rule.camera
                ));
            }
            if !(0.0..=1.0).contains(&rule.min_score) {
                return error(format!("rule {}: min_score is {}, it must be from 0 to 1", rule.name, rule.min_score));
            }
            if !(0.0..=30.0).contains(&rule.pictures_per_second) {
                return error(format!(
                    "rule {}: pictures_per_second is {}, it must be from 0 to 30",
                    rule.name, rule.pictures_per_second
                ));
            }
            let corners_fit = rule.zone.iter().flatten().all(|v| (0.0..=1.0).contains(v));
            if !(rule.zone.is_empty() || (3..=64).contains(&rule.zone.len())) || !corners_fit {
                return error(format!(
                    "rule {}: a zone has 3 to 64 corners, each from 0 to 1 of width and height",
                    rule.name
                ));
            }
        }
        for target in &self.targets {
            if !(8..=256).contains(&target.secret.0.len()) {
                return error(format!("target {}: its secret must have 8 to 256 characters", target.name));
            }
            if !target.url.starts_with("https://") && !target.url.starts_with("http://") {
                return error(format!("target {}: its url must begin with https:// or http://", target.name));
            }
        }
        self.http.check().or_else(error)?;
        self.tls.check().or_else(error)?;
        // Port 0 is a free one each time.
        if self.tls.listen == Some(self.listen) && self.listen.port() != 0 {
            let text = "tls.listen is the same as listen: leave it out, and listen itself speaks TLS";
            return error(text.into());
        }
        self.turn.check().or_else(error)?;
        if self.turn.tls.is_some() && !self.tls.is_on() {
            return error(
                "turn.tls is set, and there is no TLS without tls.certificate and tls.key, or tls.local".into(),
            );
        }
        self.aws.check().or_else(error)?;
        self.putmedia.check().or_else(error)?;
        self.signaling.check().or_else(error)?;
        self.storage.check().or_else(error)?;
        let store = &self.store;
        if !(1..=60_000).contains(&store.commit_interval_ms) {
            return error(format!(
                "store.commit_interval_ms is {}, it must be from 1 to 60000",
                store.commit_interval_ms
            ));
        }
        if store.segment_bytes < 1 << 20 {
            return error(format!("store.segment_bytes is {}, the least is 1048576", store.segment_bytes));
        }
        if store.budget_bytes < store.stream_budget_bytes {
            return error("store.stream_budget_bytes is larger than store.budget_bytes".into());
        }
        self.putmedia.check_budget(store.stream_budget_bytes).or_else(error)?;
        Ok(())
    }
}
