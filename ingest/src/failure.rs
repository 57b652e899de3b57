//! Why a camera gives no media: the codes, and what libraries say turned into sentences that are safe to show.

use crate::Failure;
use std::io::ErrorKind;

impl Failure {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Failure { code, message: message.into() }
    }
}

/// The first line of a library's message, without what looks like a secret, cut to a length that a page can show.
pub(crate) fn tame(message: &str) -> String {
    let line = message.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let printable: String = line.chars().filter(|c| !c.is_control()).take(300).collect();
    redact(&printable)
}

/// Hides what stands after `password=`, `pwd=` and their like, up to the next separator. Cameras put passwords into
/// queries and even into paths (`/user=admin&password=…&channel=1`).
pub(crate) fn redact(text: &str) -> String {
    const NAMES: [&str; 6] = ["password=", "passwd=", "pwd=", "pass=", "token=", "secret="];
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    loop {
        let lower = rest.to_ascii_lowercase();
        let found = NAMES.iter().filter_map(|name| lower.find(name).map(|at| at + name.len())).min();
        let Some(end_of_name) = found else { break };
        out.push_str(&rest[..end_of_name]);
        out.push_str("•••");
        rest = &rest[end_of_name..];
        let end = rest.find(|c: char| "&;/?# '\",".contains(c)).unwrap_or(rest.len());
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

/// The kind of an I/O error that retina shows only as text, by its `(os error N)`.
pub(crate) fn io_kind(message: &str) -> Option<ErrorKind> {
    let number = message.split("(os error ").nth(1)?.split(')').next()?;
    Some(std::io::Error::from_raw_os_error(number.parse().ok()?).kind())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_queries_and_paths_are_hidden() {
        assert_eq!(redact("/cam?user=a&password=hunter2&channel=1"), "/cam?user=a&password=•••&channel=1");
        assert_eq!(redact("/user=admin&PassWord=x/y pwd=z"), "/user=admin&PassWord=•••/y pwd=•••");
        assert_eq!(redact("/stream1"), "/stream1");
        assert_eq!(tame("\n first\u{7} line\nsecond token=abc"), "first line");
    }

    #[test]
    fn io_errors_are_known_by_their_number() {
        assert_eq!(io_kind("Unable to connect: Connection refused (os error 111)"), Some(ErrorKind::ConnectionRefused));
        assert_eq!(io_kind("something else"), None);
    }
}
