//! Stream names.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, sync::Arc};

/// The name of a stream: 1–256 characters out of `a-z A-Z 0-9 _ . -` (the Kinesis Video Streams pattern).
///
/// Cheap to clone. Names never become file names or object keys; ids do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StreamName(Arc<str>);

/// Why a text is no stream name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty, or longer than 256 characters.
    #[error("a stream name has 1 to 256 characters, this has {0}")]
    Length(usize),
    /// A character outside the allowed set.
    #[error("a stream name is made of letters, digits, '_', '.' and '-'; {0:?} at position {1} is none of these")]
    Character(char, usize),
}

impl StreamName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StreamName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text.len() > 256 {
            return Err(NameError::Length(text.chars().count()));
        }
        let bad = text.chars().enumerate().find(|(_, c)| !c.is_ascii_alphanumeric() && !"_.-".contains(*c));
        match bad {
            Some((at, c)) => Err(NameError::Character(c, at)),
            None => Ok(StreamName(text.into())),
        }
    }
}

impl TryFrom<String> for StreamName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<StreamName> for String {
    fn from(name: StreamName) -> String {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_the_cloud_accepts_and_names_what_it_does_not() {
        assert!("Gate-1_north.v2".parse::<StreamName>().is_ok());
        assert_eq!("".parse::<StreamName>(), Err(NameError::Length(0)));
        assert_eq!("a b".parse::<StreamName>(), Err(NameError::Character(' ', 1)));
        assert!("x".repeat(257).parse::<StreamName>().is_err());
        assert!("../etc".parse::<StreamName>().is_err());
    }
}
