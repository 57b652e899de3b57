//! `[storage]`: where segments lie, as the operator says it.

use crate::Error;
use object_store::path::Path as ObjectPath;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use url::Url;

/// Where segments lie, and how they get there. The catalog always lies in the data folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageConfig {
    /// `file:///folder`, `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`; where absent, the folder `segments` in
    /// the data folder.
    pub url: Option<String>,
    /// Where the service answers, such as `http://127.0.0.1:3900`; by default that of the cloud.
    pub endpoint: Option<String>,
    /// Region that requests are signed for (S3). By default `AWS_REGION`, `AWS_DEFAULT_REGION`, or `us-east-1`.
    pub region: Option<String>,
    /// Whether the bucket stands in the path, not in the host name (S3).
    pub path_style: bool,
    /// Whether the endpoint may be `http://`.
    pub allow_http: bool,
    /// Certificates (PEM) that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Storage account (Azure). By default `AZURE_STORAGE_ACCOUNT_NAME`.
    pub account: Option<String>,
    /// File with credentials: of S3 one as `~/.aws/credentials`, of GCS a service account's JSON, of Azure the account's key. It is
    /// read again when it changes.
    pub credentials_file: Option<PathBuf>,
    /// Which profile of such a file (S3). By default `AWS_PROFILE`, or `default`.
    pub profile: Option<String>,
    /// How long sealed fragments are gathered before one PUT, in ms; `store.commit_interval_ms` is for folders.
    pub commit_interval_ms: u64,
    /// PUTs under way at a time.
    pub puts: usize,
    /// Longest time without an answer before a request counts as failed, in seconds.
    pub timeout_s: u64,
    /// Bytes of the data folder that may hold groups while the bucket does not take them; 0: none, and producers wait.
    pub spool_bytes: u64,
    /// A group that is not in the bucket after so many ms goes to the spool.
    pub spool_after_ms: u64,
}

impl Default for StorageConfig {
    fn default() -> Self {
        StorageConfig {
            url: None,
            endpoint: None,
            region: None,
            path_style: true,
            allow_http: false,
            ca_file: None,
            account: None,
            credentials_file: None,
            profile: None,
            commit_interval_ms: 1000,
            puts: 4,
            timeout_s: 30,
            spool_bytes: 0,
            spool_after_ms: 2000,
        }
    }
}

/// Most PUTs under way: what a start has to reckon with after a kill.
pub(crate) const MOST_PUTS: usize = 16;

/// Whose service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    S3,
    Gcs,
    Azure,
}

/// A parsed `url`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// The data folder's own.
    Default,
    Folder(PathBuf),
    Bucket {
        service: Service,
        bucket: String,
        prefix: ObjectPath,
    },
}

impl StorageConfig {
    /// An error that says what is wrong, in one line.
    pub fn check(&self) -> Result<(), String> {
        let location = self.location().map_err(|e| e.to_string())?;
        if !(1..=60_000).contains(&self.commit_interval_ms) {
            return Err(format!(
                "storage.commit_interval_ms is {}, it must be from 1 to 60000",
                self.commit_interval_ms
            ));
        }
        if !(1..=MOST_PUTS).contains(&self.puts) {
            return Err(format!("storage.puts is {}, it must be from 1 to {MOST_PUTS}", self.puts));
        }
        if !(1..=600).contains(&self.timeout_s) {
            return Err(format!("storage.timeout_s is {}, it must be from 1 to 600", self.timeout_s));
        }
        if let Some(endpoint) = &self.endpoint {
            let url = Url::parse(endpoint).map_err(|e| format!("storage.endpoint is no URL: {e}"))?;
            match url.scheme() {
                "https" => {}
                "http" if self.allow_http => {}
                "http" => return Err("storage.endpoint is http://, which needs storage.allow_http = true".to_owned()),
                other => {
                    return Err(format!("storage.endpoint begins with {other}://, it must be https:// or http://"));
                }
            }
            if url.host_str().is_none() || !url.username().is_empty() || url.password().is_some() {
                return Err("storage.endpoint must be a host without credentials".to_owned());
            }
        }
        if self.spool_bytes > 0 && !matches!(location, Location::Bucket { .. }) {
            return Err("storage.spool_bytes is for buckets: a folder needs no spool".to_owned());
        }
        Ok(())
    }

    /// What `url` says.
    pub(crate) fn location(&self) -> Result<Location, Error> {
        let wrong = |why: String| Error::of_configuration(format!("storage.url: {why}"));
        let Some(text) = self.url.as_deref() else { return Ok(Location::Default) };
        let url = Url::parse(text).map_err(|e| wrong(format!("it is no URL: {e}")))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("credentials do not belong in it".to_owned()));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("it has more than a bucket and a prefix".to_owned()));
        }
        let service = match url.scheme() {
            "file" => {
                let path = url.to_file_path().ok().filter(|path| path.parent().is_some());
                return path
                    .map(Location::Folder)
                    .ok_or_else(|| wrong("file:// names no folder of this machine".to_owned()));
            }
            "s3" => Service::S3,
            "gs" => Service::Gcs,
            "az" => Service::Azure,
            other => return Err(wrong(format!("{other}:// is none of file://, s3://, gs:// and az://"))),
        };
        let bucket = url.host_str().filter(|host| !host.is_empty() && url.port().is_none());
        let bucket = bucket.ok_or_else(|| wrong("it names no bucket".to_owned()))?.to_owned();
        let prefix = ObjectPath::from_url_path(url.path()).map_err(|e| wrong(format!("its prefix: {e}")))?;
        Ok(Location::Bucket { service, bucket, prefix })
    }

    /// The URL in messages.
    pub(crate) fn shown(&self) -> &str {
        self.url.as_deref().unwrap_or("the data folder").trim_end_matches('/')
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(url: &str) -> StorageConfig {
        StorageConfig { url: Some(url.to_owned()), ..Default::default() }
    }

    #[test]
    fn urls_name_a_folder_or_a_bucket() {
        assert_eq!(StorageConfig::default().location().unwrap(), Location::Default);
        assert_eq!(of("file:///mnt/big").location().unwrap(), Location::Folder("/mnt/big".into()));
        let bucket = |service, bucket: &str, prefix: &str| Location::Bucket {
            service,
            bucket: bucket.to_owned(),
            prefix: ObjectPath::from(prefix),
        };
        assert_eq!(of("s3://media/site/a").location().unwrap(), bucket(Service::S3, "media", "site/a"));
        assert_eq!(of("s3://media").location().unwrap(), bucket(Service::S3, "media", ""));
        assert_eq!(of("gs://media/a/").location().unwrap(), bucket(Service::Gcs, "media", "a"));
        assert_eq!(of("az://box/a").location().unwrap(), bucket(Service::Azure, "box", "a"));
    }

    #[test]
    fn a_bad_url_is_told_in_one_line_without_what_may_be_secret() {
        for (url, says) in [
            ("media", "no URL"),
            ("ftp://x/y", "ftp://"),
            ("s3:///prefix", "no bucket"),
            ("file://host/x", "no folder"),
            ("s3://key:hunter2@bucket/", "credentials"),
            ("s3://bucket/a?x=1", "more than"),
        ] {
            let error = of(url).check().unwrap_err();
            assert!(error.contains(says) && !error.contains('\n') && !error.contains("hunter2"), "{url}: {error}");
        }
    }

    #[test]
    fn an_endpoint_over_http_must_be_allowed() {
        let config = StorageConfig { endpoint: Some("http://10.0.0.5:3900".into()), ..of("s3://media") };
        assert!(config.check().unwrap_err().contains("allow_http"));
        StorageConfig { allow_http: true, ..config }.check().unwrap();
        let ftp = StorageConfig { endpoint: Some("ftp://10.0.0.5".into()), ..of("s3://media") };
        assert!(ftp.check().unwrap_err().contains("ftp://"));
        let puts = StorageConfig { puts: 0, ..of("s3://media") };
        assert!(puts.check().unwrap_err().contains("storage.puts"));
        let spool = StorageConfig { spool_bytes: 1, ..Default::default() };
        assert!(spool.check().unwrap_err().contains("spool"));
    }
}
