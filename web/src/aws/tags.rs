//! Tags of streams and channels: the rules of the service model (REFERENCE §1.3), the same wherever a request gives some.

use super::Error;
use crate::auth::identity::Tags;
use serde::Deserialize;

/// The most tags that a resource has.
pub(crate) const MOST: usize = 50;

/// A tag in a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Tag {
    key: String,
    value: String,
}

/// Reads a list of tags out of a member of a request; of a key that comes twice the last value holds.
///
/// # Errors
/// `TagsPerResourceExceededLimitException` if there are more than [`MOST`]; `InvalidArgumentException` for what is no tag.
pub(crate) fn of_list(member: &str, list: Vec<Tag>) -> Result<Tags, Error> {
    for (n, Tag { key, value }) in list.iter().enumerate() {
        check(&format!("{member}[{n}].Key"), key, 1, 128)?;
        check(&format!("{member}[{n}].Value"), value, 0, 256)?;
    }
    let tags: Tags = list.into_iter().map(|tag| (tag.key, tag.value)).collect();
    few_enough(tags.len())?;
    Ok(tags)
}

/// Refuses more tags than a resource may have.
pub(crate) fn few_enough(count: usize) -> Result<(), Error> {
    match count <= MOST {
        true => Ok(()),
        false => Err(Error::new(
            "TagsPerResourceExceededLimitException",
            format!("that would be {count} tags; a resource has at most {MOST}"),
        )),
    }
}

/// Letters, digits and separators of any script, and `_.:/=+-@`; so many characters of them.
fn check(member: &str, text: &str, least: usize, most: usize) -> Result<(), Error> {
    let separator = |c: char| c.is_whitespace() && !c.is_control();
    let fits = |c: char| c.is_alphanumeric() || separator(c) || "_.:/=+-@".contains(c);
    if !(least..=most).contains(&text.chars().count()) {
        return Err(Error::constraint(member, format_args!("Member must have {least} to {most} characters")));
    }
    match text.chars().find(|c| !fits(*c)) {
        None => Ok(()),
        Some(c) => Err(Error::constraint(
            member,
            format_args!("Member must be letters, digits, spaces and _.:/=+-@, and {c:?} is none of them"),
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn of(tags: &[(&str, &str)]) -> Result<Tags, Error> {
        of_list("Tags", tags.iter().map(|(k, v)| Tag { key: (*k).into(), value: (*v).into() }).collect())
    }

    #[test]
    fn tags_have_the_characters_and_lengths_of_the_model() {
        let long = "ü".repeat(128);
        let right = [("site", "north 1/2"), ("a_.:/=+-@", ""), ("стан", "二"), (long.as_str(), long.as_str())];
        assert_eq!(of(&right).unwrap().len(), 4);
        assert_eq!(of(&[("a", "1"), ("a", "2")]).unwrap()["a"], "2");
        let message = |key: &str, value: &str| of(&[("a", "b"), (key, value)]).unwrap_err().message;
        assert!(message("", "").contains("'Tags[1].Key'"));
        assert!(message(&"k".repeat(129), "").contains("'Tags[1].Key'"));
        assert!(message("k", &"v".repeat(257)).contains("'Tags[1].Value'"));
        for wrong in ["a\n", "a*", "a#", "\0", "a\"", "🙂"] {
            assert!(message(wrong, "").contains("'Tags[1].Key'"), "{wrong:?}");
        }
    }

    #[test]
    fn a_resource_has_fifty() {
        let keys: Vec<String> = (0..51).map(|n| n.to_string()).collect();
        let tags: Vec<(&str, &str)> = keys.iter().map(|k| (k.as_str(), "")).collect();
        assert_eq!(of(&tags[..50]).unwrap().len(), 50);
        assert_eq!(of(&tags).unwrap_err().name, "TagsPerResourceExceededLimitException");
    }
}
