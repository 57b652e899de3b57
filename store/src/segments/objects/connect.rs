//! From `[storage]` to an [`ObjectStore`]: the service's client, its credentials, its limits.

use super::config::{Service, StorageConfig};
use super::credentials::{Fresh, aws_profile, shared_aws_file, variable};
use super::http::Door;
use crate::Error;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// Few tries and a short wait: who uses the bucket has its own patience.
fn retry() -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(1), base: 2.0 };
    RetryConfig { backoff, max_retries: 2, retry_timeout: Duration::from_secs(30) }
}

/// A client of the bucket; nothing is asked of it yet. Connections are driven on `runtime`. Blocks.
pub(crate) fn bucket(
    config: &StorageConfig,
    service: Service,
    bucket: &str,
    runtime: Handle,
) -> Result<Arc<dyn ObjectStore>, Error> {
    let door = Door::new(config, runtime)?;
    let file = credentials_file(config, service);
    let (config, name, of) = (config.clone(), bucket.to_owned(), file.clone());
    let make = move || -> Result<Arc<dyn ObjectStore>, Error> {
        match service {
            Service::S3 => s3(&config, &name, of.as_ref(), &door),
            Service::Gcs => gcs(&config, &name, of.as_ref(), &door),
            Service::Azure => azure(&config, &name, of.as_ref(), &door),
        }
    };
    match file {
        Some(file) => Ok(Arc::new(Fresh::new(file, Box::new(make))?)),
        None => make(),
    }
}

/// The file that credentials come from, if they come from one that this program reads.
fn credentials_file(config: &StorageConfig, service: Service) -> Option<PathBuf> {
    let elsewhere = match service {
        Service::S3 if ["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE"].iter().any(|v| variable(v).is_some()) => {
            None
        }
        Service::S3 => shared_aws_file(),
        Service::Gcs => variable("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from),
        Service::Azure => None,
    };
    config.credentials_file.clone().or(elsewhere)
}

fn of_builder(error: object_store::Error) -> Error {
    Error::of_configuration("[storage] cannot be used").with_source(error)
}

fn s3(
    config: &StorageConfig,
    bucket: &str,
    file: Option<&PathBuf>,
    door: &Door,
) -> Result<Arc<dyn ObjectStore>, Error> {
    let region = config.region.clone().or_else(|| variable("AWS_REGION")).or_else(|| variable("AWS_DEFAULT_REGION"));
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(bucket)
        .with_region(region.unwrap_or_else(|| "us-east-1".to_owned()))
        .with_virtual_hosted_style_request(!config.path_style)
        .with_client_options(ClientOptions::new().with_allow_http(config.allow_http))
        .with_retry(retry())
        .with_http_connector(door.clone());
    // The endpoint comes from the configuration alone: `AWS_ENDPOINT_URL` may well be this server's own.
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
    }
    if let Some(file) = file {
        let profile =
            config.profile.clone().or_else(|| variable("AWS_PROFILE")).unwrap_or_else(|| "default".to_owned());
        let profile = aws_profile(file, &profile)?;
        builder = builder.with_access_key_id(profile.key_id).with_secret_access_key(profile.secret);
        if let Some(token) = profile.token {
            builder = builder.with_token(token);
        }
        return Ok(Arc::new(builder.build().map_err(of_builder)?));
    }
    for (name, key) in [
        ("AWS_ACCESS_KEY_ID", AmazonS3ConfigKey::AccessKeyId),
        ("AWS_SECRET_ACCESS_KEY", AmazonS3ConfigKey::SecretAccessKey),
        ("AWS_SESSION_TOKEN", AmazonS3ConfigKey::Token),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", AmazonS3ConfigKey::WebIdentityTokenFile),
        ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
        ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", AmazonS3ConfigKey::ContainerCredentialsRelativeUri),
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", AmazonS3ConfigKey::ContainerCredentialsFullUri),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", AmazonS3ConfigKey::ContainerAuthorizationTokenFile),
    ] {
        if let Some(value) = variable(name) {
            builder = builder.with_config(key, value);
        }
    }
    Ok(Arc::new(builder.build().map_err(of_builder)?))
}

fn gcs(
    config: &StorageConfig,
    bucket: &str,
    file: Option<&PathBuf>,
    door: &Door,
) -> Result<Arc<dyn ObjectStore>, Error> {
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(bucket)
        .with_client_options(ClientOptions::new().with_allow_http(config.allow_http))
        .with_retry(retry())
        .with_http_connector(door.clone());
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_base_url(endpoint.trim_end_matches('/'));
    }
    if let Some(file) = file {
        builder = builder.with_application_credentials(file.display().to_string());
    }
    Ok(Arc::new(builder.build().map_err(of_builder)?))
}

fn azure(
    config: &StorageConfig,
    bucket: &str,
    file: Option<&PathBuf>,
    door: &Door,
) -> Result<Arc<dyn ObjectStore>, Error> {
    let account = config.account.clone().or_else(|| variable("AZURE_STORAGE_ACCOUNT_NAME"));
    let account = account.ok_or_else(|| Error::of_configuration("storage.account: az:// needs the storage account"))?;
    let mut builder = MicrosoftAzureBuilder::new()
        .with_account(account)
        .with_container_name(bucket)
        .with_client_options(ClientOptions::new().with_allow_http(config.allow_http))
        .with_retry(retry())
        .with_http_connector(door.clone());
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint.trim_end_matches('/').to_owned());
    }
    let key = match file {
        Some(file) => Some(std::fs::read_to_string(file).map_err(|e| {
            Error::of_configuration(format!("credentials file {} cannot be read: {e}", file.display()))
        })?),
        None => variable("AZURE_STORAGE_ACCOUNT_KEY"),
    };
    if let Some(key) = key {
        builder = builder.with_access_key(key.trim());
    }
    Ok(Arc::new(builder.build().map_err(of_builder)?))
}
