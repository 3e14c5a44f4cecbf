//! Confluent's HTTP API, as far as a reader needs it: a schema by its id, with all that it refers to.

use std::collections::BTreeSet;
use std::time::Duration;

use floe_core::schema::{SchemaId, SchemaKind, WriterSchema};
use floe_core::{Error, Result};
use reqwest::StatusCode;
use serde::Deserialize;

/// Schemas that one refers to, and those that they refer to.
const REFERENCES_MAX: usize = 1000;

/// A schema is text that people wrote: 4 MiB are a defence, not a limit.
const ANSWER_BYTES_MAX: usize = 4 << 20;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Where the registry is, and who asks.
#[derive(Clone, Default)]
pub struct RegistryConfig {
    /// Tried in this order.
    pub urls: Vec<String>,
    /// user:password
    pub basic_auth: Option<String>,
    pub bearer_token: Option<String>,
    /// PEM: certificates to trust besides the usual ones.
    pub ca: Option<Vec<u8>>,
    /// PEM: a certificate of our own with its key.
    pub identity: Option<Vec<u8>>,
}

pub struct Registry {
    client: reqwest::Client,
    config: RegistryConfig,
}

#[derive(Deserialize)]
struct Answer {
    schema: String,
    /// Absent: Avro.
    #[serde(rename = "schemaType")]
    kind: Option<String>,
    #[serde(default)]
    references: Vec<Reference>,
    id: Option<u32>,
}

#[derive(Deserialize)]
struct Reference {
    name: String,
    subject: String,
    version: i64,
}

#[derive(Deserialize)]
struct Refusal {
    error_code: u32,
}

impl Registry {
    pub fn new(config: RegistryConfig) -> Result<Registry> {
        let wrong = |what: &str, error: &reqwest::Error| {
            Error::invalid(format!("the schema registry's {what}: {}", cause(error)))
        };
        let mut client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .user_agent(concat!("floe/", env!("CARGO_PKG_VERSION")));
        if let Some(pem) = &config.ca {
            let found = reqwest::Certificate::from_pem_bundle(pem);
            for certificate in found.map_err(|it| wrong("CA certificates", &it))? {
                client = client.add_root_certificate(certificate);
            }
        }
        if let Some(pem) = &config.identity {
            let identity = reqwest::Identity::from_pem(pem);
            client = client.identity(identity.map_err(|it| wrong("own certificate", &it))?);
        }
        let client = client.build().map_err(|it| wrong("client", &it))?;
        Ok(Registry { client, config })
    }

    /// Where it is, for messages.
    pub fn place(&self) -> String {
        self.config.urls.join(", ")
    }

    /// `None`: it has no such schema.
    pub async fn schema(&self, id: SchemaId) -> Result<Option<WriterSchema>> {
        match self.get(&format!("schemas/ids/{id}")).await? {
            Some(answer) => self.whole(answer).await.map(Some),
            None => Ok(None),
        }
    }

    /// The newest schema of a subject, such as `payments-value`.
    pub async fn newest(&self, subject: &str) -> Result<Option<(SchemaId, WriterSchema)>> {
        let path = format!("subjects/{}/versions/latest", escaped(subject));
        let Some(answer) = self.get(&path).await? else { return Ok(None) };
        let id = SchemaId(answer.id.unwrap_or(0));
        Ok(Some((id, self.whole(answer).await?)))
    }

    async fn whole(&self, answer: Answer) -> Result<WriterSchema> {
        let kind = match answer.kind.as_deref() {
            None | Some("AVRO") => SchemaKind::Avro,
            Some("PROTOBUF") => SchemaKind::Protobuf,
            Some("JSON") => SchemaKind::Json,
            Some(other) => {
                return Err(Error::invalid(format!(
                    "the schema registry at {} has a schema of type {other:?}, which floe does not know",
                    self.place()
                )));
            }
        };
        let references = self.references(answer.references).await?;
        Ok(WriterSchema { kind, text: answer.schema, references })
    }

    /// What is needed comes before what needs it.
    async fn references(&self, wanted: Vec<Reference>) -> Result<Vec<(String, String)>> {
        let mut found: Vec<(String, String)> = Vec::new();
        let mut seen = BTreeSet::new();
        // A reference to be asked for, or one whose own references are through.
        enum Next {
            Ask(Reference),
            Place(String, String),
        }
        let mut stack: Vec<Next> = wanted.into_iter().rev().map(Next::Ask).collect();
        while let Some(next) = stack.pop() {
            let reference = match next {
                Next::Place(name, text) => {
                    found.push((name, text));
                    continue;
                }
                Next::Ask(reference) => reference,
            };
            if !seen.insert(reference.name.clone()) {
                continue;
            }
            if seen.len() > REFERENCES_MAX {
                return Err(Error::invalid(format!(
                    "a schema at {} refers to more than {REFERENCES_MAX} others",
                    self.place()
                )));
            }
            let Reference { name, subject, version } = reference;
            let path = format!("subjects/{}/versions/{version}", escaped(&subject));
            let answer = self.get(&path).await?.ok_or_else(|| {
                Error::retry(format!(
                    "a schema refers to version {version} of subject {subject:?}, which the registry at {} does not have",
                    self.place()
                ))
            })?;
            stack.push(Next::Place(name, answer.schema));
            stack.extend(answer.references.into_iter().rev().map(Next::Ask));
        }
        Ok(found)
    }

    /// `None`: it says itself that there is no such thing.
    async fn get(&self, path: &str) -> Result<Option<Answer>> {
        let mut last = Error::invalid("no URL of a schema registry is given");
        for url in &self.config.urls {
            match self.get_from(url, path).await {
                Err(error) if error.kind == floe_core::ErrorKind::Retry => last = error,
                done => return done,
            }
        }
        Err(last)
    }

    async fn get_from(&self, url: &str, path: &str) -> Result<Option<Answer>> {
        let url = format!("{}/{path}", url.trim_end_matches('/'));
        let accept = "application/vnd.schemaregistry.v1+json, application/json";
        let mut request = self.client.get(&url).header("Accept", accept);
        if let Some(basic) = &self.config.basic_auth {
            let (user, password) = basic.split_once(':').unwrap_or((basic, ""));
            request = request.basic_auth(user, Some(password));
        }
        if let Some(token) = &self.config.bearer_token {
            request = request.bearer_auth(token);
        }
        let away = |it: reqwest::Error| Error::retry(format!("{url}: {}", cause(&it)));
        let answer = request.send().await.map_err(away)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(away)?;
        if body.len() > ANSWER_BYTES_MAX {
            return Err(Error::invalid(format!("{url} answers with {} bytes", body.len())));
        }
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map(Some).map_err(|error| {
                Error::retry(format!("{url} answers with what is no schema: {error}"))
            }),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Error::invalid(format!(
                "{url} refuses who asks ({status})\n  → basic-auth-user-info or bearer-auth-token in schema-registry of [source]"
            ))),
            // A proxy that knows no such path says 404 too, but not with the registry's codes.
            StatusCode::NOT_FOUND
                if serde_json::from_slice::<Refusal>(&body)
                    .is_ok_and(|it| (40_401..=40_403).contains(&it.error_code)) =>
            {
                Ok(None)
            }
            _ => Err(Error::retry(format!(
                "{url} answers {status}: {}",
                String::from_utf8_lossy(&body[..body.len().min(200)])
            ))),
        }
    }
}

/// The innermost cause: the outer ones repeat the URL.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// A subject as one part of a path.
fn escaped(subject: &str) -> String {
    subject
        .bytes()
        .map(|it| match it {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                (it as char).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_one_part_of_a_path() {
        assert_eq!(escaped(":.ctx:a/b-value"), "%3A.ctx%3Aa%2Fb-value");
    }
}
