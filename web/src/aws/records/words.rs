//! Rules that texts of the service model follow. Its regular expressions are short enough to be said in words.

use crate::aws::Error;

/// Checks a member that need not be there.
pub(crate) fn if_given(
    member: &str,
    text: Option<&String>,
    rule: fn(&str, &str) -> Result<(), Error>,
) -> Result<(), Error> {
    text.map_or(Ok(()), |text| rule(member, text))
}

/// Refuses a text whose length in characters is not in the range.
pub(crate) fn length(member: &str, text: &str, least: usize, most: usize) -> Result<(), Error> {
    match (least..=most).contains(&text.chars().count()) {
        true => Ok(()),
        false => Err(Error::constraint(member, format_args!("Member must have {least} to {most} characters"))),
    }
}

/// `\w` of the model's expressions.
fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// `DeviceName`: `[a-zA-Z0-9_.-]+`, 1–128 characters.
pub(crate) fn device_name(member: &str, text: &str) -> Result<(), Error> {
    length(member, text, 1, 128)?;
    match text.chars().all(|c| is_word(c) || matches!(c, '.' | '-')) {
        true => Ok(()),
        false => Err(Error::constraint(member, "Member must match [a-zA-Z0-9_.-]+")),
    }
}

/// `MediaType`: `type/subtype`, several with commas between them, 1–128 characters.
pub(crate) fn media_type(member: &str, text: &str) -> Result<(), Error> {
    length(member, text, 1, 128)?;
    let part = |s: &str| !s.is_empty() && s.chars().all(|c| is_word(c) || matches!(c, '.' | '-' | '+'));
    let one = |s: &str| s.split_once('/').is_some_and(|(kind, subtype)| part(kind) && part(subtype));
    match text.split(',').all(one) {
        true => Ok(()),
        false => {
            Err(Error::constraint(member, "Member must be media types such as video/h264, with commas between them"))
        }
    }
}

/// `KmsKeyId`: one line of 1–2048 characters.
pub(crate) fn kms_key_id(member: &str, text: &str) -> Result<(), Error> {
    length(member, text, 1, 2048)?;
    match text.contains(['\n', '\r']) {
        false => Ok(()),
        true => Err(Error::constraint(member, "Member must be one line")),
    }
}

/// `Version`: 1–64 letters and digits.
pub(crate) fn version(member: &str, text: &str) -> Result<(), Error> {
    length(member, text, 1, 64)?;
    match text.chars().all(|c| c.is_ascii_alphanumeric()) {
        true => Ok(()),
        false => Err(Error::constraint(member, "Member must match [a-zA-Z0-9]+")),
    }
}

/// `DestinationUri`: `^[a-zA-Z_0-9]+:(//)?([^/]+)/?([^*]*)$`, 1–255 characters.
pub(crate) fn destination(member: &str, uri: &str) -> Result<(), Error> {
    length(member, uri, 1, 255)?;
    let fits = uri.split_once(':').is_some_and(|(scheme, rest)| {
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let host_ends = rest.find('/').unwrap_or(rest.len());
        !scheme.is_empty() && scheme.chars().all(is_word) && host_ends > 0 && !rest[host_ends..].contains('*')
    });
    match fits {
        true => Ok(()),
        false => Err(Error::constraint(member, "Member must be a URI: scheme:[//]host[/path], without '*'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(rule: fn(&str, &str) -> Result<(), Error>, right: &[&str], wrong: &[&str]) {
        for text in right {
            assert_eq!(rule("Some.Member", text), Ok(()), "{text:?}");
        }
        for text in wrong {
            assert!(rule("Some.Member", text).is_err_and(|e| e.message.contains("'Some.Member'")), "{text:?}");
        }
    }

    #[test]
    fn words_follow_the_model() {
        let long = "a".repeat(129);
        tried(device_name, &["a", "A-b_c.9"], &["", "a b", "ä", "a/b", &long]);
        let types = ["video/h264", "video/h264,audio/aac", "application/x.y+z"];
        tried(media_type, &types, &["", "video", "video/", "/h264", "a/b,", "a/b, c/d", "a/b/c", &format!("a/{long}")]);
        tried(kms_key_id, &["arn:aws:kms:a:b:key/c", "ä b"], &["", "a\nb", &"k".repeat(2049)]);
        tried(version, &["A9z"], &["", "a-b", "ä", &"v".repeat(65)]);
        let uris = ["s3://bucket", "s3://bucket/prefix/a", "arn:aws:sns:us-west-2:123456789012:doors", "https://a/b?c"];
        let long = format!("s3://{}", "a".repeat(251));
        tried(destination, &uris, &["", "s3", "s3:", "s3://", "s3:///a", "s-3://a", ":a", "s3://b/*", &long]);
    }
}
