//! The update at a REST catalog: one POST to the table, as the specification of the protocol has it.
//!
//! Reached as the crate's client reaches it: `token`, or `credential` exchanged at `oauth2-server-uri`, and
//! `header.*`; the server's configuration may override each.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use floe_core::{Error, Result};
use iceberg::TableIdent;
use iceberg::table::Table;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::super::config::CatalogConfig;
use super::super::connect::unreachable;
use super::super::vending::{DELEGATION, VENDED};
use super::{Answer, Change, Granted};

pub(super) struct RestClient {
    http: Client,
    uri: String,
    properties: BTreeMap<String, String>,
    headers: HeaderMap,
    token: Mutex<Option<String>>,
}

/// Below the committer's own deadline, so that a lost answer is told apart from a dead process.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(50);

#[derive(Deserialize)]
struct ServerConfig {
    #[serde(default)]
    defaults: BTreeMap<String, String>,
    #[serde(default)]
    overrides: BTreeMap<String, String>,
}

/// What of a loaded table's answer is not the table.
#[derive(Deserialize)]
struct Loaded {
    #[serde(default)]
    config: HashMap<String, String>,
    #[serde(default, rename = "storage-credentials")]
    storage_credentials: Vec<Granted>,
}

#[derive(Deserialize)]
struct Token {
    access_token: String,
}

impl RestClient {
    pub(super) async fn connect(config: &CatalogConfig) -> Result<RestClient> {
        let failed = |why: String| unreachable(config, &why);
        let http = Client::builder()
            .timeout(ANSWER_TIMEOUT)
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let mut client = RestClient {
            http,
            uri: config.uri.trim_end_matches('/').to_owned(),
            headers: headers(&config.properties)?,
            token: Mutex::new(config.properties.get("token").cloned()),
            properties: config.properties.clone(),
        };
        let mut request = client.http.get(format!("{}/v1/config", client.uri));
        if let Some(warehouse) = &config.warehouse {
            let warehouse = percent_encoded(warehouse);
            request = client.http.get(format!("{}/v1/config?warehouse={warehouse}", client.uri));
        }
        let answer = client.send(request).await.map_err(failed)?;
        if answer.0 != StatusCode::OK {
            return Err(failed(text(&answer)));
        }
        let server: ServerConfig =
            serde_json::from_slice(&answer.1).map_err(|error| failed(error.to_string()))?;
        let mut properties = server.defaults;
        properties.extend(client.properties);
        properties.extend(server.overrides);
        if let Some(uri) = properties.get("uri") {
            client.uri = uri.trim_end_matches('/').to_owned();
        }
        if let Some(token) = properties.get("token") {
            client.token = Mutex::new(Some(token.clone()));
        }
        client.headers = headers(&properties)?;
        client.properties = properties;
        Ok(client)
    }

    pub(super) async fn update(&self, base: &Table, change: Change) -> Result<Answer> {
        let ident = base.identifier();
        let body = serde_json::json!({
            "identifier": { "namespace": ident.namespace().as_ref(), "name": ident.name() },
            "requirements": change.requirements,
            "updates": change.updates,
        });
        let url = self.url_of(ident);
        let answer = match self.send(self.http.post(url).body(body.to_string())).await {
            Ok(answer) => answer,
            Err(error) => return Ok(Answer::Unknown(error)),
        };
        Ok(match answer.0.as_u16() {
            200..=299 => Answer::Applied,
            409 => Answer::Conflict,
            404 => {
                return Err(Error::refused(format!(
                    "table {ident} is not there\n  → was the table dropped? restore it, or start anew with another [pipeline] id"
                )));
            }
            401 | 403 | 408 | 419 | 429 => return Err(Error::retry(text(&answer))),
            400..=499 => Answer::Refused(text(&answer)),
            _ => Answer::Unknown(text(&answer)),
        })
    }

    /// What the catalog vends for the files of a table; nothing where it vends nothing.
    pub(super) async fn granted(&self, ident: &TableIdent) -> Result<Vec<Granted>> {
        let failed = |why: String| {
            Error::retry(format!("load table {ident} for the credentials of its files: {why}"))
        };
        let url = format!("{}?snapshots=refs", self.url_of(ident));
        let request = self.http.get(url).header(DELEGATION, VENDED);
        let answer = self.send(request).await.map_err(failed)?;
        if answer.0 != StatusCode::OK {
            return Err(failed(text(&answer)));
        }
        // What is wrong with it is not said: it holds secrets.
        let loaded: Loaded = serde_json::from_slice(&answer.1)
            .map_err(|_| failed("the answer is no loaded table".to_owned()))?;
        let mut granted = loaded.storage_credentials;
        if granted.is_empty() && loaded.config.contains_key("s3.access-key-id") {
            granted.push(Granted { prefix: String::new(), config: loaded.config });
        }
        Ok(granted)
    }

    fn url_of(&self, ident: &TableIdent) -> String {
        let prefix = self.properties.get("prefix").map_or(String::new(), |it| format!("/{it}"));
        // Levels of a namespace are parted by the unit separator.
        let namespace = percent_encoded(&ident.namespace().as_ref().join("\u{1f}"));
        let name = percent_encoded(ident.name());
        format!("{}/v1{prefix}/namespaces/{namespace}/tables/{name}", self.uri)
    }

    /// Sends with the token. One that the server does not take any more is asked for anew, once.
    async fn send(
        &self,
        request: RequestBuilder,
    ) -> std::result::Result<(StatusCode, Vec<u8>), String> {
        let again = request.try_clone();
        let answer = self.send_with_token(request).await?;
        let is_expired = matches!(answer.0.as_u16(), 401 | 419);
        match again {
            Some(again) if is_expired && self.properties.contains_key("credential") => {
                *self.token.lock().await = None;
                self.send_with_token(again).await
            }
            _ => Ok(answer),
        }
    }

    async fn send_with_token(
        &self,
        request: RequestBuilder,
    ) -> std::result::Result<(StatusCode, Vec<u8>), String> {
        let mut request = request.headers(self.headers.clone());
        if let Some(token) = self.token().await? {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.map_err(|error| cause(&error))?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|error| cause(&error))?;
        Ok((status, body.to_vec()))
    }

    async fn token(&self) -> std::result::Result<Option<String>, String> {
        let mut token = self.token.lock().await;
        let Some(credential) = self.properties.get("credential") else { return Ok(token.clone()) };
        if token.is_some() {
            return Ok(token.clone());
        }
        let property = |key: &str| self.properties.get(key).cloned();
        let mut form = vec![("grant_type", "client_credentials".to_owned())];
        match credential.split_once(':') {
            Some((id, secret)) => {
                form.push(("client_id", id.to_owned()));
                form.push(("client_secret", secret.to_owned()));
            }
            None => form.push(("client_secret", credential.clone())),
        }
        form.push(("scope", property("scope").unwrap_or_else(|| "catalog".to_owned())));
        for key in ["audience", "resource"] {
            form.extend(property(key).map(|it| (key, it)));
        }
        let pairs: Vec<String> =
            form.iter().map(|(key, value)| format!("{key}={}", percent_encoded(value))).collect();
        let url = property("oauth2-server-uri")
            .unwrap_or_else(|| format!("{}/v1/oauth/tokens", self.uri));
        let answer = self
            .http
            .post(url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(pairs.join("&"))
            .send()
            .await
            .map_err(|error| cause(&error))?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(|error| cause(&error))?.to_vec();
        if status != StatusCode::OK {
            return Err(format!("no token: {}", text(&(status, body))));
        }
        let made: Token = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
        *token = Some(made.access_token);
        Ok(token.clone())
    }
}

fn headers(properties: &BTreeMap<String, String>) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (key, value) in properties {
        let Some(name) = key.strip_prefix("header.") else { continue };
        let wrong = || {
            Error::invalid(format!("catalog property {key}: it cannot be a header of a request"))
        };
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        headers.insert(name, HeaderValue::from_str(value).map_err(|_| wrong())?);
    }
    Ok(headers)
}

fn text((status, body): &(StatusCode, Vec<u8>)) -> String {
    let body = String::from_utf8_lossy(body);
    let line: String = body.chars().filter(|it| !it.is_control()).take(300).collect();
    format!("the catalog answered {status}: {line}")
}

/// The innermost cause: "connection refused" says more than "error sending request".
fn cause(error: &reqwest::Error) -> String {
    let mut source: &dyn std::error::Error = error;
    while let Some(inner) = source.source() {
        source = inner;
    }
    source.to_string()
}

/// What is neither a letter, a digit nor one of `-._~` becomes `%XX`.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(byte as char);
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
