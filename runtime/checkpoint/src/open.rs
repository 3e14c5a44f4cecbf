//! From a URL and properties to a store. Properties have the spellings of Iceberg's Java implementation.

use std::collections::BTreeMap;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use floe_core::ports::ObjectStore;
use floe_core::{Error, Result};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::{BackoffConfig, ClientConfigKey, RetryConfig};

use crate::store::{Store, sync_folder};

/// Opens a store by its URL: `file://…` or a plain path, `s3://`, `gs://`, `az://` or `abfss://`.
///
/// Nothing is read: whether the store answers shows at the first use.
pub fn open_store(
    url: &str,
    properties: &BTreeMap<String, String>,
) -> Result<Arc<dyn ObjectStore>> {
    let store = match url.split_once("://") {
        None => open_files(url)?,
        Some(("file", path)) => open_files(path)?,
        Some(("s3" | "s3a", rest)) => open_s3(url, rest, properties)?,
        Some(("gs", rest)) => open_gcs(url, rest, properties)?,
        Some(("az" | "azure" | "abfs" | "abfss", rest)) => open_azure(url, rest, properties)?,
        Some((scheme, _)) => {
            return Err(Error::invalid(format!(
                "checkpoint store {url}: {scheme}:// is not known\n  → use file://, s3://, gs://, az:// or a path"
            )));
        }
    };
    Ok(Arc::new(store))
}

/// `file://./lake` and `file:///var/lake` both work, as in the pipeline file.
fn open_files(path: &str) -> Result<Store> {
    if path.is_empty() {
        return Err(Error::invalid("checkpoint store: the path is empty"));
    }
    let refuse = |error: std::io::Error| {
        Error::invalid(format!("checkpoint store {path}: the folder cannot be used: {error}"))
    };
    let folder = std::path::absolute(path).map_err(refuse)?;
    create_folders(&folder).map_err(refuse)?;
    let inner = LocalFileSystem::new_with_prefix(&folder)
        .map_err(|error| Error::invalid(format!("checkpoint store {path}: {error}")))?
        // Each put syncs the file, links it under its name, and syncs the folder before it returns.
        .with_fsync(true);
    Ok(Store {
        inner: Arc::new(inner),
        prefix: String::new(),
        place: format!("file://{}", folder.display()),
        secrets: Vec::new(),
        folder: Some(folder),
    })
}

/// Creates what is missing, and syncs each folder that got a new entry.
fn create_folders(folder: &FsPath) -> std::io::Result<()> {
    let missing: Vec<PathBuf> =
        folder.ancestors().take_while(|it| !it.exists()).map(FsPath::to_owned).collect();
    std::fs::create_dir_all(folder)?;
    for created in missing.iter().rev() {
        if let Some(parent) = created.parent() {
            sync_folder(parent)?;
        }
    }
    Ok(())
}

/// Java's spelling, and what it is here.
const S3_PROPERTIES: &[(&str, AmazonS3ConfigKey)] = &[
    ("s3.endpoint", AmazonS3ConfigKey::Endpoint),
    ("s3.access-key-id", AmazonS3ConfigKey::AccessKeyId),
    ("s3.secret-access-key", AmazonS3ConfigKey::SecretAccessKey),
    ("s3.session-token", AmazonS3ConfigKey::Token),
    ("s3.region", AmazonS3ConfigKey::Region),
    ("client.region", AmazonS3ConfigKey::Region),
];
const S3_PATH_STYLE: &str = "s3.path-style-access";

fn open_s3(url: &str, rest: &str, properties: &BTreeMap<String, String>) -> Result<Store> {
    let (bucket, prefix) = bucket_and_prefix(url, rest)?;
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
    let mut secrets: Vec<String> = ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
        .iter()
        .filter_map(|it| std::env::var(it).ok())
        .collect();
    let mut path_style = true;
    for (name, value) in properties {
        if let Some((_, key)) = S3_PROPERTIES.iter().find(|(java, _)| java == name) {
            builder = builder.with_config(*key, value);
            if name.contains("secret") || name.contains("token") {
                secrets.push(value.clone());
            }
        } else if name == S3_PATH_STYLE {
            path_style = value.parse().map_err(|_| {
                Error::invalid(format!("{S3_PATH_STYLE} = {value:?}: true or false is wanted"))
            })?;
        } else if name.starts_with("s3.") {
            let known: Vec<&str> = S3_PROPERTIES.iter().map(|(java, _)| *java).collect();
            return Err(Error::invalid(format!(
                "checkpoint store {url}: property {name} is not known\n  → known are {} and {S3_PATH_STYLE}",
                known.join(", ")
            )));
        }
    }
    let configured = builder
        .get_config_value(&AmazonS3ConfigKey::S3Endpoint)
        .or_else(|| builder.get_config_value(&AmazonS3ConfigKey::Endpoint));
    let mut place = url.to_owned();
    if let Some(endpoint) = configured {
        place = format!("{url} at {endpoint}");
        if !path_style && let Some((scheme, host)) = endpoint.split_once("://") {
            builder = builder.with_endpoint(format!("{scheme}://{bucket}.{host}"));
        }
        if endpoint.starts_with("http://") {
            builder = builder.with_allow_http(true);
        }
    }
    for (key, value) in TIMEOUTS {
        builder = builder.with_config(AmazonS3ConfigKey::Client(*key), *value);
    }
    let inner = builder
        .with_virtual_hosted_style_request(!path_style)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_retry(retries())
        .build()
        .map_err(|error| Error::invalid(format!("checkpoint store {place}: {error}")))?;
    Ok(Store { inner: Arc::new(inner), prefix, place, secrets, folder: None })
}

fn open_gcs(url: &str, rest: &str, properties: &BTreeMap<String, String>) -> Result<Store> {
    let (bucket, prefix) = bucket_and_prefix(url, rest)?;
    let mut builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
    let mut secrets = Vec::new();
    for (name, value) in properties {
        let key = match name.as_str() {
            "gcs.oauth2.token" => GoogleConfigKey::BearerToken,
            "gcs.service.host" => GoogleConfigKey::BaseUrl,
            "gcs.service-account-key" => GoogleConfigKey::ServiceAccountKey,
            "gcs.service-account-path" => GoogleConfigKey::ServiceAccount,
            "gcs.no-auth" => GoogleConfigKey::SkipSignature,
            name if name.starts_with("gcs.") => {
                return Err(Error::invalid(format!(
                    "checkpoint store {url}: property {name} is not known"
                )));
            }
            _ => continue,
        };
        if !matches!(key, GoogleConfigKey::BaseUrl | GoogleConfigKey::SkipSignature) {
            secrets.push(value.clone());
        }
        if key == GoogleConfigKey::BaseUrl && value.starts_with("http://") {
            builder =
                builder.with_config(GoogleConfigKey::Client(ClientConfigKey::AllowHttp), "true");
        }
        builder = builder.with_config(key, value);
    }
    for (key, value) in TIMEOUTS {
        builder = builder.with_config(GoogleConfigKey::Client(*key), *value);
    }
    let inner = builder
        .with_retry(retries())
        .build()
        .map_err(|error| Error::invalid(format!("checkpoint store {url}: {error}")))?;
    Ok(Store { inner: Arc::new(inner), prefix, place: url.to_owned(), secrets, folder: None })
}

fn open_azure(url: &str, rest: &str, properties: &BTreeMap<String, String>) -> Result<Store> {
    let (authority, prefix) = bucket_and_prefix(url, rest)?;
    let (container, host) = match authority.split_once('@') {
        Some((container, host)) => (container, Some(host)),
        None => (authority, None),
    };
    let mut builder = MicrosoftAzureBuilder::from_env().with_container_name(container);
    if let Some(account) = host.and_then(|it| it.split('.').next()) {
        builder = builder.with_account(account);
    }
    let mut secrets = Vec::new();
    for (name, value) in properties {
        let key = match name.as_str() {
            "adls.auth.shared-key.account.name" => AzureConfigKey::AccountName,
            "adls.auth.shared-key.account.key" => AzureConfigKey::AccessKey,
            "adls.endpoint" => AzureConfigKey::Endpoint,
            name if name.starts_with("adls.sas-token") => AzureConfigKey::SasKey,
            name if name.starts_with("adls.") => {
                return Err(Error::invalid(format!(
                    "checkpoint store {url}: property {name} is not known"
                )));
            }
            _ => continue,
        };
        if !matches!(key, AzureConfigKey::AccountName | AzureConfigKey::Endpoint) {
            secrets.push(value.clone());
        }
        if key == AzureConfigKey::Endpoint && value.starts_with("http://") {
            builder = builder.with_allow_http(true);
        }
        builder = builder.with_config(key, value);
    }
    for (key, value) in TIMEOUTS {
        builder = builder.with_config(AzureConfigKey::Client(*key), *value);
    }
    let inner = builder
        .with_retry(retries())
        .build()
        .map_err(|error| Error::invalid(format!("checkpoint store {url}: {error}")))?;
    Ok(Store { inner: Arc::new(inner), prefix, place: url.to_owned(), secrets, folder: None })
}

fn bucket_and_prefix<'a>(url: &str, rest: &'a str) -> Result<(&'a str, String)> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() {
        return Err(Error::invalid(format!("checkpoint store {url}: it names no bucket")));
    }
    Ok((bucket, prefix.trim_matches('/').to_owned()))
}

/// An unreachable store is reported within a few seconds; the callers decide whether to go on trying.
fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
            base: 2.0,
        },
        max_retries: 4,
        retry_timeout: Duration::from_secs(30),
    }
}

/// Set one by one, so that proxies and certificates from the environment stay. The time-out of a whole
/// put is set by its size, where it is sent.
const TIMEOUTS: &[(ClientConfigKey, &str)] = &[
    (ClientConfigKey::ConnectTimeout, "5s"),
    (ClientConfigKey::ReadTimeout, "30s"),
    (ClientConfigKey::Timeout, "600s"),
];
