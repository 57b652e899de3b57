//! What is wrong with a configuration: the key, the line, and the nearest key that would have been valid.

use std::fmt;
use std::path::Path;

/// A sentence that names the file or variable, the line, the key and what is wrong. The binary exits with 2 on it.
#[derive(Debug)]
pub(crate) struct ConfigError(pub(crate) String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Renders an error of the TOML parser or of serde with its line and, for an unknown key, the nearest valid one.
pub(super) fn in_file(file: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let mut place = file.display().to_string();
    let mut at = String::new();
    if let Some(span) = error.span() {
        let before = &text[..span.start.min(text.len())];
        let line = before.matches('\n').count() + 1;
        place = format!("{place}:{line}");
        let quoted = text.lines().nth(line - 1).unwrap_or("").trim();
        // A line may hold a password; only its key is shown.
        let key = quoted.split('=').next().unwrap_or("").trim();
        if !key.is_empty() {
            at = format!(" (at `{key}`)");
        }
    }
    ConfigError(format!("{place}: {}{at}", with_nearest(error.message())))
}

/// The same for a value that came from the environment.
pub(super) fn in_variable(variable: &str, error: &toml::de::Error) -> ConfigError {
    ConfigError(format!("environment variable {variable}: {}", with_nearest(error.message())))
}

/// serde says "unknown field `x`, expected one of `a`, `b`"; people want "did you mean `a`?".
fn with_nearest(message: &str) -> String {
    let mut names = message.split('`').skip(1).step_by(2);
    let unknown = names.next().unwrap_or("");
    let Some(known) = message.strip_prefix("unknown field").map(|_| names) else {
        return message.trim_end().to_owned();
    };
    match known.max_by(|a, b| strsim::jaro_winkler(unknown, a).total_cmp(&strsim::jaro_winkler(unknown, b))) {
        Some(nearest) => format!("unknown key `{unknown}`; the nearest valid key is `{nearest}`"),
        None => format!("unknown key `{unknown}`"),
    }
}
