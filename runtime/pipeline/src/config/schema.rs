//! How values are decoded: `format`, and where the schema is that they were written by.

use super::diagnose::Problem;
use super::document::{FormatName, RegistryTable};
use super::paths::Base;
use super::{Format, RegistrySpec, SchemaOrigin, Secret};

pub(super) fn format(
    format: Option<FormatName>,
    file: Option<String>,
    registry: Option<RegistryTable>,
    message: Option<String>,
    base: &Base<'_>,
) -> Result<Format, Problem> {
    let name = match format {
        None | Some(FormatName::Json) => {
            return without(Format::Json, "json", file, registry, message);
        }
        Some(FormatName::Raw) => return without(Format::Raw, "raw", file, registry, message),
        Some(FormatName::Avro) => "avro",
        Some(FormatName::Protobuf) => "protobuf",
    };
    if message.is_some() && (name == "avro" || registry.is_some()) {
        return Err(Problem::new(
            "source.message",
            "message is for Protobuf with a schema file: other values say themselves what they are",
        )
        .help("take it out"));
    }
    let origin = match (file, registry) {
        (Some(_), Some(_)) => {
            return Err(Problem::new(
                "source.schema",
                "[source] has both schema and schema-registry",
            )
            .help("keep one of them: with a registry each value begins with its schema's id"));
        }
        (None, None) => {
            return Err(Problem::new(
                "source.format",
                format!("format = \"{name}\" says no schema that values were written by"),
            )
            .help(
                "schema-registry = { url = \"http://host:8081\" }, or schema = \"payment.avsc\"",
            ));
        }
        (Some(file), None) => SchemaOrigin::File(base.path(&file)),
        (None, Some(table)) => SchemaOrigin::Registry(registry_of(table, base)?),
    };
    Ok(match name {
        "avro" => Format::Avro(origin),
        _ => Format::Protobuf { origin, message },
    })
}

fn without(
    format: Format,
    name: &str,
    file: Option<String>,
    registry: Option<RegistryTable>,
    message: Option<String>,
) -> Result<Format, Problem> {
    for (given, key) in [
        (file.is_some(), "schema"),
        (registry.is_some(), "schema-registry"),
        (message.is_some(), "message"),
    ] {
        if given {
            return Err(Problem::new(
                &format!("source.{key}"),
                format!("{key} is for Avro and Protobuf, and format is \"{name}\""),
            )
            .help("format = \"avro\", or take it out"));
        }
    }
    Ok(format)
}

fn registry_of(table: RegistryTable, base: &Base<'_>) -> Result<RegistrySpec, Problem> {
    let at = |key: &str| format!("source.schema-registry.{key}");
    // Confluent's clients take several with commas, too.
    let urls: Vec<String> = table.url.0.iter().flat_map(|it| it.split(',')).map(trimmed).collect();
    let is_url = |it: &String| it.starts_with("http://") || it.starts_with("https://");
    if urls.is_empty() || !urls.iter().all(is_url) {
        return Err(Problem::new(&at("url"), "it is no URL of a schema registry")
            .help("url = \"https://host:8081\""));
    }
    if table.basic_auth_user_info.is_some() && table.bearer_auth_token.is_some() {
        return Err(Problem::new(
            &at("bearer-auth-token"),
            "there are both a user with a password and a token",
        )
        .help("keep one of them"));
    }
    if table.basic_auth_user_info.as_ref().is_some_and(|it| !it.contains(':')) {
        return Err(Problem::new(&at("basic-auth-user-info"), "it has no colon in it")
            .help("basic-auth-user-info = \"${REGISTRY_USER}:${REGISTRY_PASSWORD}\""));
    }
    if table.ssl_certificate_location.is_some() != table.ssl_key_location.is_some() {
        let given = match table.ssl_certificate_location.is_some() {
            true => "ssl-certificate-location",
            false => "ssl-key-location",
        };
        return Err(Problem::new(
            &at(given),
            "a certificate of our own needs its key, and a key its certificate",
        )
        .help("ssl-certificate-location = \"floe.pem\", ssl-key-location = \"floe.key\""));
    }
    let path = |it: Option<String>| it.map(|it| base.path(&it));
    Ok(RegistrySpec {
        urls,
        basic_auth: table.basic_auth_user_info.map(Secret::new),
        bearer_token: table.bearer_auth_token.map(Secret::new),
        ca: path(table.ssl_ca_location),
        certificate: path(table.ssl_certificate_location),
        key: path(table.ssl_key_location),
    })
}

fn trimmed(url: &str) -> String {
    url.trim().trim_end_matches('/').to_owned()
}
