//! Environment variables over the file: `VIDICON_STORE__COMMIT_INTERVAL_MS=100` sets `commit_interval_ms` in `[store]`.

use super::error::{in_file, in_variable};
use super::{Config, ConfigError};
use std::path::Path;
use toml::{Table, Value};

/// Variables that mean something else, or are read by clap.
const NOT_KEYS: [&str; 9] = [
    "VIDICON_DATA",
    "VIDICON_LISTEN",
    "VIDICON_CONFIG",
    "VIDICON_LOG",
    "VIDICON_LOG_FORMAT",
    "VIDICON_ROOT_ACCESS_KEY_ID",
    "VIDICON_ROOT_SECRET_ACCESS_KEY",
    "VIDICON_SHARED",
    "VIDICON_ONNXRUNTIME",
];

/// Parses the file, then applies the variables one by one, so that an error names the one that caused it.
pub(super) fn parse(
    file: &Path,
    text: &str,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<Config, ConfigError> {
    let mut config: Config = toml::from_str(text).map_err(|e| in_file(file, text, &e))?;
    let mut table: Table = toml::from_str(text).map_err(|e| in_file(file, text, &e))?;
    for (name, value) in variables {
        let Some(path) = name.strip_prefix("VIDICON_") else { continue };
        if NOT_KEYS.contains(&name.as_str()) || name.starts_with("VIDICON_TEST_") {
            continue;
        }
        let path: Vec<String> = path.split("__").map(str::to_ascii_lowercase).collect();
        set(&mut table, &path, literal(&value));
        config = table.clone().try_into().map_err(|e| in_variable(&name, &e))?;
    }
    Ok(config)
}

fn set(table: &mut Table, path: &[String], value: Value) {
    match path {
        [] => {}
        [key] => {
            table.insert(key.clone(), value);
        }
        [key, rest @ ..] => {
            let inner = table.entry(key.clone()).or_insert_with(|| Value::Table(Table::new()));
            match inner {
                Value::Table(inner) => set(inner, rest, value),
                // A scalar where a table is expected: replace it, and let validation name the key.
                other => {
                    let mut inner = Table::new();
                    set(&mut inner, rest, value);
                    *other = Value::Table(inner);
                }
            }
        }
    }
}

/// `5`, `true`, `["a"]` are what they look like; everything else is text.
fn literal(text: &str) -> Value {
    let parsed = toml::from_str::<Table>(&format!("value = {text}")).ok().and_then(|mut t| t.remove("value"));
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}
