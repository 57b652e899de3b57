//! Which master key the operator names, and whether what comes is encrypted.

use super::key::MasterKey;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The variable that holds the master key, in place of a file.
pub const KEY_VARIABLE: &str = "VIDICON_ENCRYPTION_KEY";
/// The variable that holds the one before it.
pub const PREVIOUS_KEY_VARIABLE: &str = "VIDICON_ENCRYPTION_PREVIOUS_KEY";
/// Longest file that is read as a key.
const MOST_BYTES: u64 = 4096;

/// Encryption at rest: `[encryption]`. Off unless a master key is named, here or by [`KEY_VARIABLE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EncryptionConfig {
    /// File with the master key, 32 bytes as 64 hexadecimal digits or as Base64, which nobody but its owner may read.
    pub key_file: Option<PathBuf>,
    /// File with the master key before that: keys of streams that it wraps are wrapped anew at the start.
    pub previous_key_file: Option<PathBuf>,
    /// Whether what is recorded from now on is encrypted; what is encrypted already is read either way.
    pub new_recordings: bool,
}

impl Default for EncryptionConfig {
    fn default() -> Self {
        EncryptionConfig { key_file: None, previous_key_file: None, new_recordings: true }
    }
}

/// The keys that a configuration names, read. The default is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encryption {
    /// The master key.
    pub key: Option<MasterKey>,
    /// The one before it.
    pub previous: Option<MasterKey>,
    /// Whether what is recorded from now on is encrypted, if there is a master key.
    pub new_recordings: bool,
}

impl EncryptionConfig {
    /// Reads the keys, from files or from variables. The error is one line that names the setting.
    pub fn load(&self, variable: impl Fn(&str) -> Option<String>) -> Result<Encryption, String> {
        let read = |setting: &str, file: &Option<PathBuf>, name: &str| {
            let held = variable(name).filter(|text| !text.is_empty()).map(Zeroizing::new);
            match (file, held) {
                (Some(_), Some(_)) => Err(format!("encryption.{setting} and {name} both name a key: leave one out")),
                (Some(file), None) => from_file(file).map(Some).map_err(|e| format!("encryption.{setting}: {e}")),
                (None, Some(text)) => {
                    MasterKey::parse(&text).map(Some).ok_or_else(|| format!("{name}: it is no key: {FORM}"))
                }
                (None, None) => Ok(None),
            }
        };
        let key = read("key_file", &self.key_file, KEY_VARIABLE)?;
        let previous = read("previous_key_file", &self.previous_key_file, PREVIOUS_KEY_VARIABLE)?;
        if key.is_none() && previous.is_some() {
            return Err(format!(
                "encryption.previous_key_file needs encryption.key_file, or {KEY_VARIABLE}, beside it"
            ));
        }
        Ok(Encryption { new_recordings: self.new_recordings && key.is_some(), key, previous })
    }
}

const FORM: &str = "32 bytes as 64 hexadecimal digits or as Base64 are needed, such as `openssl rand -hex 32` prints";

/// Reads a master key from a file. The error is one line that names it.
pub fn from_file(path: &Path) -> Result<MasterKey, String> {
    let shown = path.display();
    let mut file = std::fs::File::open(path).map_err(|e| format!("{shown} cannot be read: {e}"))?;
    let mode = file.metadata().map_err(|e| format!("{shown} cannot be read: {e}"))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(format!("{shown} may be read by others (mode {:o}): `chmod 600` it", mode & 0o777));
    }
    let mut text = Zeroizing::new(String::with_capacity(128));
    let read = Read::by_ref(&mut file).take(MOST_BYTES).read_to_string(&mut text);
    read.map_err(|e| format!("{shown} cannot be read: {e}"))?;
    MasterKey::parse(&text).ok_or_else(|| format!("{shown} holds no key: {FORM}"))
}
