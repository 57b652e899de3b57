//! Plain records of the catalog beside streams and fragments: cameras, rules, targets, detections, alerts, deliveries.
//!
//! These are how `web` and `ml` meet without knowing each other.

use crate::notifications::{Destination, Subject};
use media::{FragmentNumber, StreamName, UnixMillis};
use serde::{Deserialize, Serialize};

/// A secret text: `Debug` and `Display` print `•••`. Serialises as its text (the catalog needs it); the API layer never does.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("•••")
    }
}

/// How RTP travels from a camera.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Interleaved in the RTSP connection.
    #[default]
    Tcp,
    /// UDP unicast.
    Udp,
}

/// A pull source: where a stream's media comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Camera {
    /// The stream it is recorded to; also the camera's name.
    pub stream: StreamName,
    /// `rtsp://host[:port]/path` without credentials, or `gst:PIPELINE` (config file only), whose last elements are
    /// `appsink name=video` and optionally `appsink name=audio`.
    pub url: String,
    /// User name for Basic or Digest.
    #[serde(default)]
    pub username: Option<String>,
    /// Its password.
    #[serde(default)]
    pub password: Option<Secret>,
    /// How RTP travels.
    #[serde(default)]
    pub transport: Transport,
    /// Whether it is to be pulled.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Whether it stands in the config file (then the API cannot change it).
    #[serde(default)]
    pub from_config: bool,
}

fn yes() -> bool {
    true
}

/// When a rule wants pictures looked at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rate {
    /// Key frames only.
    KeyFrames,
    /// So many pictures a second.
    PerSecond(f32),
}

/// A rule: class + score + zone + cooldown → an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name, unique; same characters as a stream's.
    pub name: StreamName,
    /// The stream it watches.
    pub stream: StreamName,
    /// Class names of the model that match; empty matches every class.
    #[serde(default)]
    pub classes: Vec<String>,
    /// Least score, 0–1.
    pub min_score: f32,
    /// A polygon in the picture, corners in 0–1 of width and height; empty is the whole picture. A box counts as inside
    /// when its bottom-centre point is.
    #[serde(default)]
    pub zone: Vec<[f32; 2]>,
    /// Least time between two alerts of this rule, in media time.
    pub cooldown_ms: u64,
    /// How often to look.
    pub rate: Rate,
    /// Names of targets to tell; empty keeps alerts on the page only.
    #[serde(default)]
    pub targets: Vec<StreamName>,
    /// Whether it stands in the config file (then the API cannot change it).
    #[serde(default)]
    pub from_config: bool,
}

/// Where alerts go: a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Its name, unique.
    pub name: StreamName,
    /// `https://…` or `http://…`.
    pub url: String,
    /// The key of the signature (HMAC-SHA-256, Standard Webhooks headers).
    pub secret: Secret,
    /// Whether private and loopback addresses may be reached.
    #[serde(default)]
    pub allow_local: bool,
    /// Whether it stands in the config file.
    #[serde(default)]
    pub from_config: bool,
}

/// A box in a picture, corners in 0–1 of width and height: left, top, right, bottom.
pub type Box01 = [f32; 4];

/// One object seen in one picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// The fragment of the picture.
    pub fragment: FragmentNumber,
    /// From the start of the fragment to the picture, in ms of producer time.
    pub offset_ms: u32,
    /// Producer time of the picture.
    pub time: UnixMillis,
    /// Class name.
    pub class: String,
    /// Score, 0–1.
    pub score: f32,
    /// Where.
    pub bounds: Box01,
}

/// A rule that matched, with the picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// UUIDv7; the same in every delivery and retry.
    pub id: String,
    /// The rule that matched.
    pub rule: StreamName,
    /// The stream.
    pub stream: StreamName,
    /// What matched (the best-scored of the picture).
    pub detection: Detection,
    /// Server time at which it was raised.
    pub raised_at: UnixMillis,
}

/// The state of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Not delivered yet; will be tried at `next_at`.
    Pending,
    /// The target answered 2xx.
    Delivered,
    /// Given up after the last retry; can be driven again.
    Dead,
}

/// A delivery of an alert or a notification. In JSON, `of` is a member `alert` or `notification`, `to` one `target` or `url`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// The catalog's id.
    pub id: u64,
    /// What is delivered.
    #[serde(flatten)]
    pub of: Subject,
    /// Where to.
    #[serde(flatten)]
    pub to: Destination,
    /// Its state.
    pub state: DeliveryState,
    /// Attempts so far.
    pub attempts: u32,
    /// When it was put into the outbox.
    pub created_at: UnixMillis,
    /// When to try next.
    pub next_at: UnixMillis,
    /// What the last attempt failed with.
    pub last_error: Option<String>,
}
