//! Tags of streams and channels: the rules of the service model (REFERENCE §1.3), the same wherever a request gives some.

use super::Error;
use crate::auth::identity::Tags;
use serde::Deserialize;

/// The most tags that a resource has.
const MOST: usize = 50;
/// Keys that begin so are the cloud's own.
const RESERVED: &str = "aws:";

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
        check_key(&format!("{member}[{n}].Key"), key)?;
        check(&format!("{member}[{n}].Value"), value, 0, 256)?;
    }
    let tags: Tags = list.into_iter().map(|tag| (tag.key, tag.value)).collect();
    few_enough(tags.len())?;
    Ok(tags)
}

/// Checks tags that a member of a request maps by key.
///
/// # Errors
/// Those of [`of_list`].
pub(crate) fn check_map(member: &str, tags: &Tags) -> Result<(), Error> {
    for (key, value) in tags {
        let shown: String = key.chars().take(128).collect();
        check_key(&format!("{member}.{shown}.key"), key)?;
        check(&format!("{member}.{shown}.value"), value, 0, 256)?;
    }
    few_enough(tags.len())
}

/// Refuses a request that adds no tag.
pub(crate) fn some(member: &str, tags: &Tags) -> Result<(), Error> {
    match tags.is_empty() {
        false => Ok(()),
        true => Err(Error::constraint(member, "Member must have 1 to 50 members")),
    }
}

/// Checks keys of tags that a request takes away.
pub(crate) fn check_removed(member: &str, keys: &[String]) -> Result<(), Error> {
    if !(1..=MOST).contains(&keys.len()) {
        return Err(Error::constraint(member, "Member must have 1 to 50 members"));
    }
    keys.iter().enumerate().try_for_each(|(n, key)| check(&format!("{member}[{n}]"), key, 1, 128))
}

/// Adds tags to those that a resource has; one of a key that is there takes its place.
///
/// # Errors
/// `TagsPerResourceExceededLimitException`.
pub(crate) fn add(tags: &mut Tags, added: &Tags) -> Result<(), Error> {
    tags.extend(added.iter().map(|(key, value)| (key.clone(), value.clone())));
    few_enough(tags.len())
}

/// Refuses more tags than a resource may have.
fn few_enough(count: usize) -> Result<(), Error> {
    match count <= MOST {
        true => Ok(()),
        false => Err(Error::new(
            "TagsPerResourceExceededLimitException",
            format!("that would be {count} tags; a resource has at most {MOST}"),
        )),
    }
}

fn check_key(member: &str, key: &str) -> Result<(), Error> {
    check(member, key, 1, 128)?;
    match key.get(..RESERVED.len()).is_some_and(|start| start.eq_ignore_ascii_case(RESERVED)) {
        false => Ok(()),
        true => Err(Error::constraint(member, "Member must not begin with aws:, which is the cloud's own")),
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
        assert!(message("AWS:x", "").contains("aws:"));
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

    #[test]
    fn tags_are_added_up_to_fifty_all_or_none() {
        let many = |from: usize, to: usize| (from..to).map(|n| (format!("k{n}"), String::new())).collect::<Tags>();
        let mut tags = many(0, 49);
        add(&mut tags, &many(48, 50)).unwrap();
        assert_eq!(tags.len(), 50);
        let error = add(&mut tags, &many(49, 51)).unwrap_err();
        assert_eq!((error.name, error.status.as_u16()), ("TagsPerResourceExceededLimitException", 400));
        assert_eq!(check_map("Tags", &many(0, 51)).unwrap_err(), error);
        assert_eq!(check_map("Tags", &many(0, 50)), Ok(()));
        assert!(some("Tags", &Tags::new()).is_err() && some("Tags", &many(0, 1)).is_ok());
        assert!(check_removed("L", &[]).is_err() && check_removed("L", &vec!["a".into(); 51]).is_err());
        assert!(check_removed("L", &["a".into(), String::new()]).unwrap_err().message.contains("'L[1]'"));
    }
}
