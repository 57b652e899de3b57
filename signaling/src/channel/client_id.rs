//! The id by which a viewer is known in its channel.

use std::{fmt, str::FromStr, sync::Arc};

/// Longest id, in characters.
const LONGEST: usize = 256;

/// A viewer's `X-Amz-ClientId`: 1 to 256 of `a-z A-Z 0-9 _ . -`, not beginning with `AWS_` in any case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(Arc<str>);

/// A text that is no [`ClientId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 256 of a-z A-Z 0-9 _ . - and must not begin with AWS_")]
pub struct BadClientId;

impl ClientId {
    /// As it stands on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientId {
    type Err = BadClientId;

    fn from_str(text: &str) -> Result<Self, BadClientId> {
        let known = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
        let reserved = text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("AWS_"));
        match (1..=LONGEST).contains(&text.len()) && text.bytes().all(known) && !reserved {
            true => Ok(ClientId(text.into())),
            false => Err(BadClientId),
        }
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_the_reference() {
        let longest = "x".repeat(256);
        for right in ["a", "Viewer_1.2-3", "AWS", "AWS.x", "ProducerMaster", &longest] {
            assert_eq!(right.parse::<ClientId>().map(|id| id.to_string()), Ok(right.to_owned()));
        }
        let long = "x".repeat(257);
        for wrong in ["", "a b", "ä", "a/b", "AWS_", "aws_viewer", "aWs_x", &long] {
            assert_eq!(wrong.parse::<ClientId>(), Err(BadClientId), "{wrong}");
        }
    }
}
