//! What `ListStreams` and `ListSignalingChannels` ask for alike: a page of names, if asked only those that begin with some text.

use super::{Error, paging::Pages, target};
use serde::Deserialize;

/// The most names in one answer.
pub(crate) const MOST: usize = 10_000;

/// `StreamNameCondition` and `ChannelNameCondition` of the model.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct NameCondition {
    #[serde(rename = "ComparisonOperator")]
    _operator: Option<Operator>,
    comparison_value: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Operator {
    BeginsWith,
}

/// A page of a listing by name.
pub(crate) struct NamePage<'a> {
    pages: &'a Pages,
    listing: String,
    /// The most names on it.
    pub(crate) most: usize,
    /// What they begin with; may be empty.
    pub(crate) prefix: String,
    /// The name that they come after.
    pub(crate) after: Option<String>,
}

impl<'a> NamePage<'a> {
    /// Reads what an operation was asked for: at most how many names, which, and after which page. `member` names the condition.
    ///
    /// # Errors
    /// `InvalidArgumentException` that names the member at fault.
    pub(crate) fn read(
        pages: &'a Pages,
        (operation, member): (&str, &str),
        most: usize,
        condition: Option<NameCondition>,
        token: Option<String>,
    ) -> Result<Self, Error> {
        if !(1..=MOST).contains(&most) {
            return Err(Error::constraint("MaxResults", "Member must be from 1 to 10000"));
        }
        let prefix = condition.and_then(|c| c.comparison_value).unwrap_or_default();
        if !prefix.is_empty() {
            target::name(&format!("{member}.ComparisonValue"), &prefix)?;
        }
        let listing = format!("{operation} {prefix}");
        let after = token.map(|token| pages.open(&listing, &token)).transpose()?;
        Ok(NamePage { pages, listing, most, prefix, after })
    }

    /// Cuts what was found to the page; the token of the next, if something was cut.
    pub(crate) fn cut<T>(&self, found: &mut Vec<T>, name: impl Fn(&T) -> &str) -> Option<String> {
        let more = found.len() > self.most;
        found.truncate(self.most);
        found.last().filter(|_| more).map(|last| self.pages.seal(&self.listing, &name(last)))
    }
}
