//! Credentials of the bucket: where they come from, and how a change of their file is taken up without a restart.
//!
//! What belongs here: files and environment. What does not: tokens of web identities, containers and machines, which `object_store`
//! fetches and renews by itself.

use crate::Error;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use std::fmt;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// How often a file is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// One profile of a file such as `~/.aws/credentials`. Has no `Debug`: nothing of it is ever shown.
pub(crate) struct AwsProfile {
    pub(crate) key_id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
}

/// Reads a profile. The format is that of the AWS command line: `[profile]`, then `key = value`.
pub(crate) fn aws_profile(file: &Path, profile: &str) -> std::result::Result<AwsProfile, Error> {
    let wrong = |why: String| Error::of_configuration(format!("credentials file {}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|e| wrong(format!("it cannot be read: {e}")))?;
    let (mut inside, mut found) = (false, false);
    let (mut key_id, mut secret, mut token) = (None, None, None);
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            let name = name.trim();
            inside = name.strip_prefix("profile ").unwrap_or(name).trim() == profile;
            found |= inside;
        } else if inside && let Some((key, value)) = line.split_once('=') {
            let value = Some(value.trim().to_owned());
            match key.trim() {
                "aws_access_key_id" => key_id = value,
                "aws_secret_access_key" => secret = value,
                "aws_session_token" => token = value,
                _ => {}
            }
        }
    }
    match (found, key_id, secret) {
        (true, Some(key_id), Some(secret)) => Ok(AwsProfile { key_id, secret, token }),
        (true, ..) => Err(wrong(format!("profile {profile} lacks aws_access_key_id or aws_secret_access_key"))),
        (false, ..) => Err(wrong(format!("it has no profile {profile}"))),
    }
}

/// A variable that is set to something.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The credentials file of the AWS command line, where there is one.
pub(crate) fn shared_aws_file() -> Option<PathBuf> {
    let named = variable("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
    named.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".aws/credentials")).filter(|path| path.exists()))
}

type Make = Box<dyn Fn() -> std::result::Result<Arc<dyn ObjectStore>, Error> + Send + Sync>;

/// A bucket that is opened anew when the file with its credentials changes.
pub(crate) struct Fresh {
    file: PathBuf,
    make: Make,
    state: Mutex<State>,
}

struct State {
    store: Arc<dyn ObjectStore>,
    stamp: Option<Stamp>,
    looked: Instant,
}

type Stamp = (SystemTime, u64, u64);

fn stamp(file: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(file).ok()?;
    Some((meta.modified().ok()?, meta.len(), meta.ino()))
}

impl Fresh {
    /// `make` reads the file.
    pub(crate) fn new(file: PathBuf, make: Make) -> std::result::Result<Fresh, Error> {
        // Before it is read, so that a change in between is seen.
        let stamp = stamp(&file);
        let state = State { store: make()?, stamp, looked: Instant::now() };
        Ok(Fresh { file, make, state: Mutex::new(state) })
    }

    fn store(&self) -> Arc<dyn ObjectStore> {
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        if state.looked.elapsed() >= LOOK {
            state.looked = Instant::now();
            let now = stamp(&self.file);
            if now.is_some() && now != state.stamp {
                match (self.make)() {
                    Ok(store) => {
                        tracing::info!(file = %self.file.display(), "the credentials of the bucket are read again");
                        state.store = store;
                    }
                    // Half written, perhaps: the old ones hold until it changes again.
                    Err(error) => tracing::warn!(%error, "changed credentials cannot be used; the earlier ones stay"),
                }
                state.stamp = now;
            }
        }
        state.store.clone()
    }
}

impl fmt::Debug for Fresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fresh({})", self.file.display())
    }
}

impl fmt::Display for Fresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[async_trait]
impl ObjectStore for Fresh {
    async fn put_opts(&self, at: &ObjectPath, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.store().put_opts(at, payload, opts).await
    }
    async fn put_multipart_opts(&self, at: &ObjectPath, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.store().put_multipart_opts(at, opts).await
    }
    async fn get_opts(&self, at: &ObjectPath, options: GetOptions) -> Result<GetResult> {
        self.store().get_opts(at, options).await
    }
    async fn get_ranges(&self, at: &ObjectPath, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.store().get_ranges(at, ranges).await
    }
    fn delete_stream(&self, at: BoxStream<'static, Result<ObjectPath>>) -> BoxStream<'static, Result<ObjectPath>> {
        self.store().delete_stream(at)
    }
    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store().list(prefix)
    }
    fn list_with_offset(
        &self,
        prefix: Option<&ObjectPath>,
        offset: &ObjectPath,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store().list_with_offset(prefix, offset)
    }
    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> Result<ListResult> {
        self.store().list_with_delimiter(prefix).await
    }
    async fn copy_opts(&self, from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> Result<()> {
        self.store().copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use object_store::memory::InMemory;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn a_profile_is_read_and_what_is_missing_is_named_without_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("credentials");
        let text = "[default]\naws_access_key_id = A\naws_secret_access_key=hunter2\n\n[site]\naws_access_key_id=B\n\
                    aws_secret_access_key = x=y\naws_session_token = t\n[half]\naws_secret_access_key = hunter2\n";
        std::fs::write(&file, text).unwrap();
        let site = aws_profile(&file, "site").unwrap();
        assert_eq!((site.key_id.as_str(), site.secret.as_str(), site.token.as_deref()), ("B", "x=y", Some("t")));
        for (profile, says) in [("half", "aws_access_key_id"), ("none", "no profile none")] {
            let error = aws_profile(&file, profile).err().unwrap();
            let text = error.to_string();
            assert!(error.is_configuration() && text.contains(says) && !text.contains("hunter2"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_changed_file_is_taken_up_and_a_broken_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("credentials");
        std::fs::write(&file, "1").unwrap();
        let made = Arc::new(AtomicU32::new(0));
        let (count, read) = (made.clone(), file.clone());
        let make = move || match std::fs::read_to_string(&read).unwrap().as_str() {
            "broken" => Err(Error::of_configuration("broken")),
            _ => {
                count.fetch_add(1, Ordering::SeqCst);
                Ok(Arc::new(InMemory::new()) as Arc<dyn ObjectStore>)
            }
        };
        let fresh = Fresh::new(file.clone(), Box::new(make)).unwrap();
        let look = || {
            std::thread::sleep(LOOK);
            drop(fresh.store());
            made.load(Ordering::SeqCst)
        };
        assert_eq!(look(), 1, "it did not change");
        std::fs::write(&file, "22").unwrap();
        assert_eq!(look(), 2);
        std::fs::write(&file, "broken").unwrap();
        assert_eq!(look(), 2);
        std::fs::write(&file, "333").unwrap();
        assert_eq!(look(), 3);
    }
}
