//! `vidicon encryption`: the keys of encrypted recordings.

use crate::args::{EncryptionCommand, EncryptionOptions, MasterKeyOptions};
use crate::running::Failure;
use serde_json::json;
use store::encryption::{self, Status};
use store::{Encryption, EncryptionConfig, Kind};

impl MasterKeyOptions {
    /// Reads the key that they name, if any.
    pub(crate) fn load(&self) -> Result<Encryption, Failure> {
        let config = EncryptionConfig { key_file: self.key_file.clone(), ..EncryptionConfig::default() };
        config.load(|name| std::env::var(name).ok()).map_err(Failure::config)
    }
}

pub(crate) fn run(options: EncryptionOptions) -> Result<(), Failure> {
    let data = &options.data;
    match options.command {
        EncryptionCommand::Status { json } => show(&encryption::status(data).map_err(failed)?, json),
        EncryptionCommand::Rotate { current, new_key_file } => {
            let new = store::master_key_from_file(&new_key_file).map_err(Failure::config)?;
            let wrapped = encryption::rotate(data, current.load()?.key.as_ref(), &new).map_err(failed)?;
            eprintln!("{wrapped} keys are wrapped by the master key {}", new.id());
        }
        EncryptionCommand::Destroy { stream } => {
            encryption::destroy(data, &stream).map_err(failed)?;
            eprintln!("stream {stream} is deleted and its key destroyed; copies of the keys folder are not reached");
        }
    }
    Ok(())
}

/// What the operator asked for cannot be done as things are (2), or failed.
fn failed(error: store::Error) -> Failure {
    match error.kind() {
        Kind::NotFound | Kind::Conflict => Failure::config(error),
        _ => Failure::of_store(error),
    }
}

#[allow(clippy::print_stdout)]
fn show(status: &Status, as_json: bool) {
    if as_json {
        let value = json!({"wrapped_by": status.wrapped_by, "streams_with_key": status.with_key,
            "streams_without_key": status.without_key, "keys_without_stream": status.orphans});
        println!("{value:#}");
        return;
    }
    for (master, keys) in &status.wrapped_by {
        println!("master key {master} wraps {keys} keys");
    }
    status.with_key.iter().for_each(|name| println!("{name}: encrypted"));
    status.without_key.iter().for_each(|name| println!("{name}: has no key, nothing of it is encrypted"));
    status.orphans.iter().for_each(|id| println!("key of stream {id}, which the catalog does not have"));
}
