//! Rules that texts of the service model follow. Its regular expressions are short enough to be said in words.

use crate::aws::Error;

/// Refuses a text whose length in characters is not in the range.
pub(super) fn length(member: &str, text: &str, least: usize, most: usize) -> Result<(), Error> {
    match (least..=most).contains(&text.chars().count()) {
        true => Ok(()),
        false => Err(Error::constraint(member, format_args!("Member must have {least} to {most} characters"))),
    }
}

/// `[a-zA-Z0-9_]`.
pub(super) fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// `DestinationUri`: `^[a-zA-Z_0-9]+:(//)?([^/]+)/?([^*]*)$`, 1–255 characters.
pub(super) fn destination(member: &str, uri: &str) -> Result<(), Error> {
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

    #[test]
    fn destinations_are_uris() {
        for right in
            ["s3://bucket", "s3://bucket/prefix/a", "arn:aws:sns:us-west-2:123456789012:doors", "https://a/b?c"]
        {
            assert_eq!(destination("Uri", right), Ok(()), "{right}");
        }
        for wrong in
            ["", "s3", "s3:", "s3://", "s3:///a", "s-3://a", ":a", "s3://b/*", &format!("s3://{}", "a".repeat(251))]
        {
            assert!(destination("Uri", wrong).is_err_and(|e| e.message.contains("'Uri'")), "{wrong}");
        }
    }
}
