//! Environment variables over the file: `VIDICON_STORE__COMMIT_INTERVAL_MS=100` sets `commit_interval_ms` in `[store]`.

use super::error::{in_file, in_variable};
use super::{Config, ConfigError};
use std::path::Path;
use toml::{Table, Value};

/// Keys without a table that a variable may set. Others of one level are none of ours: Kubernetes, for one, gives the
/// pods beside a service called `vidicon` variables such as `VIDICON_PORT`. (`VIDICON_DATA` and the like are read by clap.)
const TOP_LEVEL: [&str; 3] = ["cameras", "rules", "targets"];

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
        let path: Vec<String> = path.split("__").map(str::to_ascii_lowercase).collect();
        if path.len() == 1 && !TOP_LEVEL.contains(&path[0].as_str()) {
            continue;
        }
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
