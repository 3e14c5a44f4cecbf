//! Iceberg's storage over object_store: local folders with fsync, S3, Google Cloud Storage and Azure.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use iceberg::io::{
    FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage, StorageConfig,
    StorageFactory,
};
use iceberg::{Error, ErrorKind, Result};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig,
    WriteMultipart,
};
use serde::{Deserialize, Serialize};

use super::vending::{VENDING, VendedCredentials, Vending};

/// Makes storages with the catalog's properties; a table's own, vended ones come on top.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct ObjectStorageFactory {
    pub(super) properties: HashMap<String, String>,
}

/// Properties hold secrets.
impl fmt::Debug for ObjectStorageFactory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ObjectStorageFactory")
    }
}

#[typetag::serde]
impl StorageFactory for ObjectStorageFactory {
    fn build(&self, config: &StorageConfig) -> Result<Arc<dyn Storage>> {
        let mut properties = self.properties.clone();
        properties.extend(config.props().clone());
        Ok(Arc::new(ObjectStorage::with(properties)))
    }
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct ObjectStorage {
    properties: HashMap<String, String>,
    /// Where the catalog may vend credentials.
    #[serde(skip)]
    vending: Option<Arc<Vending>>,
    /// One client a bucket, and a table where credentials are vended, made when it is first used.
    #[serde(skip)]
    buckets: Arc<Mutex<HashMap<String, Arc<dyn ObjectStore>>>>,
}

impl fmt::Debug for ObjectStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ObjectStorage")
    }
}

const TIMEOUT: Duration = Duration::from_secs(30);

/// A file as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListedFile {
    pub(super) location: String,
    pub(super) bytes: u64,
}

impl ObjectStorage {
    pub(super) fn with(properties: HashMap<String, String>) -> ObjectStorage {
        let vending = properties.get(VENDING).and_then(|it| Vending::find(it));
        ObjectStorage { properties, vending, buckets: Arc::default() }
    }

    /// All files below a folder, in any order. For finding garbage alone.
    pub(super) async fn list(&self, folder: &str) -> Result<Vec<ListedFile>> {
        let (store, path) = self.locate(folder)?;
        let mut objects = store.list(Some(&path));
        let mut listed = Vec::new();
        while let Some(object) = objects.next().await {
            let object = object.map_err(|error| failed(folder, error))?;
            let below = object.location.prefix_match(&path).into_iter().flatten();
            let below: Vec<_> = below.map(|it| it.as_ref().to_owned()).collect();
            let location = format!("{folder}/{}", below.join("/"));
            listed.push(ListedFile { location, bytes: object.size });
        }
        Ok(listed)
    }

    fn locate(&self, location: &str) -> Result<(Arc<dyn ObjectStore>, Path)> {
        let Some((scheme, rest)) = location.split_once("://") else {
            return self.local(location);
        };
        if scheme == "file" {
            return self.local(rest);
        }
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let path = Path::parse(key).map_err(|error| failed(location, error.into()))?;
        let table = self.vending.as_ref().and_then(|it| it.table_of(location));
        let name = match table {
            Some(table) => format!("{scheme}://{bucket} of {table}"),
            None => format!("{scheme}://{bucket}"),
        };
        let mut buckets = self.buckets.lock().expect("no holder of this lock panics");
        if let Some(store) = buckets.get(&name) {
            return Ok((Arc::clone(store), path));
        }
        let store = self.open(scheme, bucket, location).map_err(|error| failed(location, error))?;
        buckets.insert(name, Arc::clone(&store));
        Ok((store, path))
    }

    fn local(&self, path: &str) -> Result<(Arc<dyn ObjectStore>, Path)> {
        let path = Path::from_absolute_path(path).map_err(|error| failed(path, error.into()))?;
        let mut buckets = self.buckets.lock().expect("no holder of this lock panics");
        let store = buckets
            .entry("file://".to_owned())
            .or_insert_with(|| Arc::new(LocalFileSystem::new().with_fsync(true)));
        Ok((Arc::clone(store), path))
    }

    fn open(
        &self,
        scheme: &str,
        bucket: &str,
        location: &str,
    ) -> object_store::Result<Arc<dyn ObjectStore>> {
        let options =
            ClientOptions::new().with_timeout(TIMEOUT).with_connect_timeout(Duration::from_secs(5));
        let property = |key: &str| self.properties.get(key).cloned();
        match scheme {
            "s3" | "s3a" | "s3n" => {
                let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
                if let Some(endpoint) = property("s3.endpoint") {
                    builder = builder
                        .with_allow_http(endpoint.starts_with("http://"))
                        .with_endpoint(endpoint);
                }
                if let Some(key) = property("s3.access-key-id") {
                    builder = builder.with_access_key_id(key);
                }
                if let Some(secret) = property("s3.secret-access-key") {
                    builder = builder.with_secret_access_key(secret);
                }
                if let Some(token) = property("s3.session-token") {
                    builder = builder.with_token(token);
                }
                let region = property("s3.region").or_else(|| property("client.region"));
                builder = builder.with_region(region.unwrap_or_else(|| "us-east-1".to_owned()));
                let path_style = property("s3.path-style-access").is_none_or(|it| it != "false");
                let builder = builder
                    .with_virtual_hosted_style_request(!path_style)
                    .with_retry(retries())
                    .with_client_options(options.with_allow_http(
                        property("s3.endpoint").is_some_and(|it| it.starts_with("http://")),
                    ));
                let Some(vending) = &self.vending else { return Ok(Arc::new(builder.build()?)) };
                let credentials = VendedCredentials {
                    vending: Arc::clone(vending),
                    location: location.to_owned(),
                    otherwise: Arc::clone(builder.clone().build()?.credentials()),
                };
                Ok(Arc::new(builder.with_credentials(Arc::new(credentials)).build()?))
            }
            "gs" | "gcs" => {
                let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
                Ok(Arc::new(builder.with_client_options(options).with_retry(retries()).build()?))
            }
            "abfs" | "abfss" | "wasb" | "wasbs" | "az" => {
                // container@account.host/path
                let (container, account) = bucket.split_once('@').unwrap_or((bucket, ""));
                let mut builder = MicrosoftAzureBuilder::from_env().with_container_name(container);
                if let Some((account, _)) = account.split_once('.') {
                    builder = builder.with_account(account);
                }
                Ok(Arc::new(builder.with_client_options(options).with_retry(retries()).build()?))
            }
            other => Err(object_store::Error::NotSupported {
                source: format!("no storage for locations that begin with {other}://").into(),
            }),
        }
    }
}

impl ObjectStorage {
    /// Asks again, once, with new credentials, where the store does not take the old ones any more.
    async fn renewed<T, F: Future<Output = object_store::Result<T>>>(
        &self,
        location: &str,
        request: impl Fn() -> F,
    ) -> Result<T> {
        let done = match (request().await, &self.vending) {
            (Err(error), Some(vending)) if is_expired(&error) => {
                vending.forget(location).await;
                request().await
            }
            (done, _) => done,
        };
        done.map_err(|error| failed(location, error))
    }
}

fn is_expired(error: &object_store::Error) -> bool {
    let text = error.to_string();
    ["ExpiredToken", "InvalidToken", "InvalidAccessKeyId"].iter().any(|it| text.contains(it))
}

/// A store's answer without what it repeats of the request: that may be a token.
fn told(error: &object_store::Error) -> String {
    let text = error.to_string();
    let Some(at) = text.find("<?xml").or_else(|| text.find("<Error>")) else { return text };
    let field = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once('<').map(|it| it.0)
    };
    let (code, message) = (field("Code").unwrap_or_default(), field("Message").unwrap_or_default());
    format!("{}{code}: {message}", &text[..at])
}

/// As long as the owner of the checkpoints waits for their store: an outage of a minute ends no process.
/// The crate's ten attempts are over in two seconds where connections are refused.
fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        },
        max_retries: 1000,
        retry_timeout: Duration::from_secs(120),
    }
}

fn failed(location: &str, error: object_store::Error) -> Error {
    let kind = match &error {
        object_store::Error::NotSupported { .. } => ErrorKind::FeatureUnsupported,
        _ => ErrorKind::Unexpected,
    };
    Error::new(kind, format!("object {location}: {}", told(&error)))
}

struct Reader {
    storage: ObjectStorage,
    location: String,
    store: Arc<dyn ObjectStore>,
    path: Path,
}

#[async_trait]
impl FileRead for Reader {
    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let read = || self.store.get_range(&self.path, range.clone());
        self.storage.renewed(&self.location, read).await
    }
}

struct Writer {
    path: String,
    upload: Option<WriteMultipart>,
    /// Bytes that wait for a part to be full.
    waiting: usize,
}

/// Parts of a multipart upload under way at once.
const PARTS_IN_FLIGHT_MAX: usize = 2;
/// The least that S3 takes.
const PART_BYTES: usize = 5 << 20;

#[async_trait]
impl FileWrite for Writer {
    async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        let Some(upload) = &mut self.upload else { return Err(closed(&self.path)) };
        upload
            .wait_for_capacity(PARTS_IN_FLIGHT_MAX)
            .await
            .map_err(|error| failed(&self.path, error))?;
        let waiting = (self.waiting + bytes.len()) % PART_BYTES;
        let rest = bytes.split_off(bytes.len() - waiting.min(bytes.len()));
        upload.put(bytes);
        // A slice would keep a whole row group, twice as large as its bytes, until the next one comes.
        upload.put(Bytes::copy_from_slice(&rest));
        self.waiting = waiting;
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        let Some(upload) = self.upload.take() else { return Err(closed(&self.path)) };
        upload.finish().await.map_err(|error| failed(&self.path, error))?;
        Ok(())
    }
}

fn closed(path: &str) -> Error {
    Error::new(ErrorKind::Unexpected, format!("object {path} is closed already"))
}

#[async_trait]
#[typetag::serde]
impl Storage for ObjectStorage {
    async fn exists(&self, location: &str) -> Result<bool> {
        let (store, path) = self.locate(location)?;
        let look = || async {
            match store.head(&path).await {
                Ok(_) => Ok(true),
                Err(object_store::Error::NotFound { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        };
        self.renewed(location, look).await
    }

    async fn metadata(&self, location: &str) -> Result<FileMetadata> {
        let (store, path) = self.locate(location)?;
        let found = self.renewed(location, || store.head(&path)).await?;
        Ok(FileMetadata { size: found.size })
    }

    async fn read(&self, location: &str) -> Result<Bytes> {
        let (store, path) = self.locate(location)?;
        self.renewed(location, || async { store.get(&path).await?.bytes().await }).await
    }

    async fn reader(&self, location: &str) -> Result<Box<dyn FileRead>> {
        let (store, path) = self.locate(location)?;
        let (storage, location) = (self.clone(), location.to_owned());
        Ok(Box::new(Reader { storage, location, store, path }))
    }

    /// Names of table files are unique to their attempt, so a put that is repeated puts the same bytes.
    async fn write(&self, location: &str, bytes: Bytes) -> Result<()> {
        let (store, path) = self.locate(location)?;
        let payload = PutPayload::from(bytes);
        self.renewed(location, || store.put(&path, payload.clone())).await?;
        Ok(())
    }

    async fn writer(&self, location: &str) -> Result<Box<dyn FileWrite>> {
        let (store, path) = self.locate(location)?;
        let upload = self.renewed(location, || store.put_multipart(&path)).await?;
        Ok(Box::new(Writer {
            path: location.to_owned(),
            upload: Some(WriteMultipart::new_with_chunk_size(upload, PART_BYTES)),
            waiting: 0,
        }))
    }

    async fn delete(&self, location: &str) -> Result<()> {
        let (store, path) = self.locate(location)?;
        let delete = || async {
            match store.delete(&path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(error),
            }
        };
        self.renewed(location, delete).await
    }

    async fn delete_prefix(&self, location: &str) -> Result<()> {
        let (store, path) = self.locate(location)?;
        let mut objects = store.list(Some(&path));
        while let Some(object) = objects.next().await {
            let object = object.map_err(|error| failed(location, error))?;
            store.delete(&object.location).await.map_err(|error| failed(location, error))?;
        }
        Ok(())
    }

    async fn delete_stream(&self, mut locations: BoxStream<'static, String>) -> Result<()> {
        while let Some(location) = locations.next().await {
            self.delete(&location).await?;
        }
        Ok(())
    }

    fn new_input(&self, location: &str) -> Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), location.to_owned()))
    }

    fn new_output(&self, location: &str) -> Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), location.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_store_repeats_of_a_request_is_not_told() {
        let body = "<?xml version=\"1.0\"?><Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message><Token-0>very-secret</Token-0></Error>";
        let error = object_store::Error::Generic {
            store: "S3",
            source: format!("403 Forbidden: {body}").into(),
        };
        assert!(is_expired(&error));
        let text = failed("s3://lake/x", error).to_string();
        assert!(
            text.contains("403 Forbidden: ExpiredToken: The provided token has expired."),
            "{text}"
        );
        assert!(!text.contains("very-secret"), "{text}");
        let plain =
            object_store::Error::Generic { store: "S3", source: "connection refused".into() };
        assert!(!is_expired(&plain));
        assert!(told(&plain).contains("connection refused"));
    }
}
