//! Credentials that a REST catalog vends for a table's files: asked for anew before they expire.
//!
//! Iceberg's storage gets strings alone, and a table is loaded once while its files are written for days. So
//! the properties name the connection by a number, and the S3 client asks that one before each request.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use iceberg::TableIdent;
use iceberg::table::Table;
use object_store::CredentialProvider;
use object_store::aws::{AwsCredential, AwsCredentialProvider};
use tokio::time::Instant;

use super::config::CatalogConfig;
use super::update::{Granted, Updater};

/// The property that names a connection.
pub(super) const VENDING: &str = "floe.vending";
/// The header by which a client says that it takes credentials, and the property that sends it.
pub(super) const DELEGATION: &str = "X-Iceberg-Access-Delegation";
pub(super) const VENDED: &str = "vended-credentials";

/// What does not say when it expires is asked for again after this.
const UNSAID_LIFE: Duration = Duration::from_secs(600);
/// Credentials are renewed this long before their end, or when a fifth of their life is left.
const MARGIN_MAX: Duration = Duration::from_secs(300);

static CONNECTIONS: Mutex<Vec<Arc<Vending>>> = Mutex::new(Vec::new());

/// One connection to a catalog that may vend.
pub(super) struct Vending {
    updater: Updater,
    /// The tables that were loaded, by their location.
    tables: Mutex<BTreeMap<String, TableIdent>>,
    known: tokio::sync::Mutex<HashMap<TableIdent, Known>>,
}

/// Secrets.
impl fmt::Debug for Vending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vending")
    }
}

struct Known {
    /// By the prefix of the locations that they are for.
    credentials: Vec<(String, Arc<AwsCredential>)>,
    renew_at: Instant,
    ends_at: Instant,
}

impl Vending {
    /// The connection, and the value of the property that names it. A process makes a few, which stay.
    pub(super) fn register(config: &CatalogConfig) -> (Arc<Vending>, String) {
        let vending = Arc::new(Vending {
            updater: Updater::new(config),
            tables: Mutex::default(),
            known: tokio::sync::Mutex::default(),
        });
        let mut connections = CONNECTIONS.lock().unwrap_or_else(PoisonError::into_inner);
        connections.push(Arc::clone(&vending));
        (vending, (connections.len() - 1).to_string())
    }

    pub(super) fn find(name: &str) -> Option<Arc<Vending>> {
        let connections = CONNECTIONS.lock().unwrap_or_else(PoisonError::into_inner);
        connections.get(name.parse::<usize>().ok()?).cloned()
    }

    /// The table's files are asked for from now on.
    pub(super) fn note(&self, table: &Table) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.insert(table.metadata().location().to_owned(), table.identifier().clone());
    }

    /// The table that a file belongs to; where its location does not tell, the only one that there is.
    pub(super) fn table_of(&self, location: &str) -> Option<TableIdent> {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let inside = tables.iter().filter(|(prefix, _)| location.starts_with(prefix.as_str()));
        let nearest = inside.max_by_key(|(prefix, _)| prefix.len()).map(|it| it.1);
        let only = tables.values().next().filter(|_| tables.len() == 1);
        nearest.or(only).cloned()
    }

    /// What the catalog grants for a location; `None` where it vends nothing.
    async fn credential(
        &self,
        table: &TableIdent,
        location: &str,
    ) -> Result<Option<Arc<AwsCredential>>, String> {
        let mut known = self.known.lock().await;
        let now = Instant::now();
        if known.get(table).is_none_or(|it| now >= it.renew_at) {
            match self.updater.granted(table).await {
                Ok(granted) => {
                    tracing::debug!(table = %table, "the catalog vended credentials for its files");
                    known.insert(table.clone(), Known::of(granted, now));
                }
                Err(error) if known.get(table).is_some_and(|it| now < it.ends_at) => {
                    tracing::warn!(table = %table, "credentials are not renewed yet: {error}");
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        let Some(known) = known.get(table) else { return Ok(None) };
        let fits = known.credentials.iter().filter(|(prefix, _)| location.starts_with(prefix));
        Ok(fits.max_by_key(|(prefix, _)| prefix.len()).map(|it| Arc::clone(&it.1)))
    }

    /// The store does not take them any more, whatever was said of their end.
    pub(super) async fn forget(&self, location: &str) {
        if let Some(table) = self.table_of(location) {
            self.known.lock().await.remove(&table);
        }
    }
}

impl Known {
    fn of(granted: Vec<Granted>, now: Instant) -> Known {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_millis());
        let mut life = None;
        let mut credentials = Vec::new();
        for Granted { prefix, config } in granted {
            let value = |key: &str| config.get(key).cloned();
            let keys = (value("s3.access-key-id"), value("s3.secret-access-key"));
            let (Some(key_id), Some(secret_key)) = keys else { continue };
            let token = value("s3.session-token");
            let ends_ms =
                value("s3.session-token-expires-at-ms").and_then(|it| it.parse::<u128>().ok());
            if let Some(ends_ms) = ends_ms {
                let left = Duration::from_millis(ends_ms.saturating_sub(now_ms) as u64);
                life = Some(life.map_or(left, |it: Duration| it.min(left)));
            }
            credentials.push((prefix, Arc::new(AwsCredential { key_id, secret_key, token })));
        }
        let life = life.unwrap_or(UNSAID_LIFE);
        let renew_at = now + life.saturating_sub(MARGIN_MAX.min(life / 5));
        Known { credentials, renew_at, ends_at: now + life }
    }
}

/// What the client of a bucket signs its requests with.
pub(super) struct VendedCredentials {
    pub(super) vending: Arc<Vending>,
    /// Some file in the bucket, of the table that it is for.
    pub(super) location: String,
    /// For a catalog that vends nothing: the environment, an instance's role, and so on.
    pub(super) otherwise: AwsCredentialProvider,
}

impl fmt::Debug for VendedCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VendedCredentials")
    }
}

#[async_trait]
impl CredentialProvider for VendedCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let Some(table) = self.vending.table_of(&self.location) else {
            return self.otherwise.get_credential().await;
        };
        match self.vending.credential(&table, &self.location).await {
            Ok(Some(credential)) => Ok(credential),
            Ok(None) => self.otherwise.get_credential().await,
            Err(why) => Err(object_store::Error::Generic {
                store: "S3",
                source: format!("the catalog vends no credentials for {table} now: {why}").into(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(prefix: &str, life_ms: Option<u64>) -> Granted {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        let mut config: HashMap<String, String> = HashMap::from([
            ("s3.access-key-id".to_owned(), format!("key of {prefix}")),
            ("s3.secret-access-key".to_owned(), "secret".to_owned()),
        ]);
        if let Some(life_ms) = life_ms {
            let ends = (now_ms + life_ms).to_string();
            config.insert("s3.session-token-expires-at-ms".to_owned(), ends);
        }
        Granted { prefix: prefix.to_owned(), config }
    }

    #[test]
    fn they_are_renewed_before_the_first_of_them_ends() {
        let now = Instant::now();
        let left = |it: &Known| (it.renew_at - now).as_millis();
        let near = |found: u128, wanted: u128| wanted.abs_diff(found) < 500;
        let short = Known::of(vec![granted("a", Some(10_000)), granted("b", Some(90_000))], now);
        assert!(near(left(&short), 8_000), "{}", left(&short));
        let hour = Known::of(vec![granted("a", Some(3_600_000))], now);
        assert!(near(left(&hour), 3_300_000), "{}", left(&hour));
        let unsaid = Known::of(vec![granted("a", None)], now);
        assert!(near(left(&unsaid), 480_000), "{}", left(&unsaid));
        let nothing = Known::of(Vec::new(), now);
        assert!(nothing.credentials.is_empty());
        let over = Known::of(vec![granted("a", Some(0))], now);
        assert!(over.renew_at <= now + Duration::from_millis(10));
    }
}
