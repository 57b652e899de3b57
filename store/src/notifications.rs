//! Notifications: what a fragment asks to be told to somebody once it is durable. They are put into the outbox in the transaction
//! that makes the fragment durable, and delivered from there like alerts.
//!
//! What belongs here: which tags of a fragment ask for one, what is stored of it, and where it goes. What does not: the message's
//! form and its delivery (`ml`).

use crate::catalog::{db, fragments, notifications};
use crate::{Error, Kind, Notice, Store, Stream};
use media::{FragmentNumber, StreamName, UnixMillis};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The tag of a fragment that asks for a notification.
pub const TAG: &str = "AWS_KINESISVIDEO_NOTIFICATION";
/// Tags whose names begin so are the service's, not the producer's.
const RESERVED: &str = "AWS_KINESISVIDEO_";

/// The producer's own pairs if the tags of a fragment ask for a notification. Of a name that comes twice the last value counts.
pub fn asked(tags: &[(String, String)]) -> Option<BTreeMap<String, String>> {
    tags.iter()
        .any(|(name, _)| name == TAG)
        .then(|| tags.iter().filter(|(name, _)| !name.starts_with(RESERVED)).cloned().collect())
}

/// What is to be told of a fragment, handed in with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    /// Where to, as it stands in the stream's configuration; the receiver sees it as the topic.
    pub uri: String,
    /// Where to, read from the URI.
    pub to: Destination,
    /// The stream's ARN.
    pub stream_arn: String,
    /// The fragment's own pairs of name and value.
    pub payload: BTreeMap<String, String>,
}

/// A notification of a durable fragment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// UUIDv7; the same in every delivery and retry.
    pub id: String,
    /// The fragment's number.
    pub fragment: FragmentNumber,
    /// Its producer time, in ms.
    pub producer_start: UnixMillis,
    /// The server's time at its begin, in ms.
    pub server_start: UnixMillis,
    /// The server's time at which it became durable.
    pub raised_at: UnixMillis,
    /// What is to be told.
    pub notify: Notify,
}

/// What a delivery brings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// The alert of this id.
    Alert(String),
    /// The notification of this id.
    Notification(String),
}

impl Subject {
    /// The id of what is delivered.
    pub fn id(&self) -> &str {
        match self {
            Subject::Alert(id) | Subject::Notification(id) => id,
        }
    }
}

/// Where a delivery goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// The configured target of this name.
    Target(StreamName),
    /// This URL: that of a configured target, whose secret and rights then count, or one that nobody configured.
    Url(String),
}

impl Destination {
    /// Reads the URI of a notification configuration: `http(s)://…` is a URL, `arn:…:sns:{region}:{account}:{topic}` is the
    /// configured target that bears the topic's name. `Invalid`: anything else. Whether the target exists, and whether the URL may
    /// be reached, is not looked at.
    pub fn of_uri(uri: &str) -> Result<Destination, Error> {
        if uri.starts_with("https://") || uri.starts_with("http://") {
            return Ok(Destination::Url(uri.to_owned()));
        }
        let parts: Vec<&str> = uri.split(':').collect();
        match parts[..] {
            ["arn", partition, "sns", _, _, topic] if partition.starts_with("aws") => {
                let name = topic.parse().map_err(|e| {
                    Error::new(Kind::Invalid, format!("the topic of {uri:?} cannot be the name of a target"))
                        .with_source(e)
                })?;
                Ok(Destination::Target(name))
            }
            _ => Err(Error::new(
                Kind::Invalid,
                format!(
                    "{:?} is neither an http(s) URL nor the ARN of an SNS topic",
                    uri.chars().take(100).collect::<String>()
                ),
            )),
        }
    }

    /// As the catalog keeps it. A name has no colon, a URL has one.
    pub(crate) fn text(&self) -> &str {
        match self {
            Destination::Target(name) => name.as_str(),
            Destination::Url(url) => url,
        }
    }

    pub(crate) fn of_text(text: String) -> Result<Destination, <StreamName as std::str::FromStr>::Err> {
        match text.contains(':') {
            true => Ok(Destination::Url(text)),
            false => text.parse().map(Destination::Target),
        }
    }
}

/// For logs: of a URL only scheme and host, because the rest may be a secret of its owner's.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::Target(name) => write!(f, "{name}"),
            Destination::Url(url) => {
                let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
                let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
                write!(f, "{scheme}://{}", authority.rsplit('@').next().unwrap_or_default())
            }
        }
    }
}

impl Stream {
    /// Asks for a notification of a fragment that is being written (its number is known from its begin): it comes into the outbox in the
    /// transaction that makes the fragment durable, and not at all if the fragment is dropped. Asked again, the last one counts.
    /// `NotFound`: no such fragment is open.
    pub fn notify_when_durable(&self, fragment: FragmentNumber, notify: Arc<Notify>) -> Result<(), Error> {
        match self.state.notify(fragment, notify) {
            true => Ok(()),
            false => Err(Error::new(Kind::NotFound, format!("fragment {fragment} is not open"))),
        }
    }
}

impl Store {
    /// Puts the notification of a fragment that is durable already into the outbox: one that its producer sent again, so that it is
    /// not stored anew. A fragment has one notification; where it is there, nothing is done. Durable when it returns. `NotFound`: there is no
    /// such stream or fragment.
    pub async fn raise_notification(
        &self,
        stream: &StreamName,
        fragment: FragmentNumber,
        notify: Arc<Notify>,
    ) -> Result<(), Error> {
        let (id, now, notices) = (self.state(stream)?.id(), self.now(), self.inner.notices.clone());
        self.catalog()
            .write(move |c| {
                let tx = c.transaction().map_err(db)?;
                let (meta, _) = fragments::get(&tx, id, fragment)?;
                notifications::raise(&tx, id, &meta, &notify, now)?;
                tx.commit().map_err(db)?;
                // Nobody needs to listen.
                let _ = notices.send(Notice::Deliveries);
                Ok(())
            })
            .await
    }

    /// One notification. `NotFound` once it is gone: with its stream, by retention, or a week after it was raised if no delivery is
    /// still to be made.
    pub async fn notification(&self, id: &str) -> Result<Notification, Error> {
        let id = id.to_owned();
        self.catalog().read(move |c| notifications::get(c, &id)).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_the_tag_asks_and_only_the_producers_own_pairs_are_told() {
        let tags =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect::<Vec<_>>();
        assert_eq!(asked(&tags(&[("door", "open"), ("aws_kinesisvideo_notification", "x")])), None);
        let given = tags(&[("door", "shut"), (TAG, ""), ("AWS_KINESISVIDEO_IMAGE_PREFIX", "p"), ("door", "open")]);
        assert_eq!(asked(&given), Some(BTreeMap::from([("door".to_owned(), "open".to_owned())])));
        assert_eq!(asked(&tags(&[(TAG, "1")])), Some(BTreeMap::new()));
    }

    #[test]
    fn a_uri_is_a_url_or_names_a_target() {
        let target = |name: &str| Destination::Target(name.parse().unwrap());
        for (uri, expected) in [
            ("https://example.com/x?t=1", Destination::Url("https://example.com/x?t=1".to_owned())),
            ("http://127.0.0.1:9/", Destination::Url("http://127.0.0.1:9/".to_owned())),
            ("arn:aws:sns:us-west-2:123456789012:front-door_1", target("front-door_1")),
            ("arn:aws-cn:sns:cn-north-1:123456789012:a.fifo", target("a.fifo")),
        ] {
            let read = Destination::of_uri(uri).unwrap();
            assert_eq!(read, expected);
            assert_eq!(Destination::of_text(read.text().to_owned()).unwrap(), expected);
        }
        for uri in [
            "",
            "ftp://x",
            "arn:aws:sqs:r:1:q",
            "arn:aws:sns:r:1:",
            "arn:aws:sns:r:1:a b",
            "arn:aws:sns:r:1:a:b",
            "hook",
        ] {
            assert_eq!(Destination::of_uri(uri).unwrap_err().kind(), Kind::Invalid, "{uri}");
        }
    }

    #[test]
    fn logs_show_where_to_and_no_secret() {
        let shown = |url: &str| Destination::Url(url.to_owned()).to_string();
        assert_eq!(shown("https://hooks.example.com/T0/secret"), "https://hooks.example.com");
        assert_eq!(shown("http://u:p@[::1]:9?k=v"), "http://[::1]:9");
    }
}
