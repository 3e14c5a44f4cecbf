//! Passwords and tokens: the broker's listener of FLOE_TEST_KAFKA_SASL, as tests/components/kafka.sh makes it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use floe_core::ErrorKind;
use floe_core::ports::Source;
use floe_source::KafkaSource;
use rdkafka::producer::Producer;

use super::{Cluster, FLUSH, address, end, read_until, values};

/// By each mechanism that needs no library of its own; the broker's user is of tests/components/kafka.sh.
#[test]
fn a_password_opens_and_a_wrong_one_is_told() {
    let Some(with_passwords) = address("FLOE_TEST_KAFKA_SASL") else { return };
    let Some(cluster) = Cluster::with_topic(1, &[]) else { return };
    let producer = cluster.producer(&[]);
    cluster.send(&producer, 0, b"kept");
    producer.flush(FLUSH).unwrap();
    let config = |mechanism: &str, password: &str| {
        let mut config = cluster.config();
        config.bootstrap_servers = with_passwords.clone();
        let properties = [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", mechanism),
            ("sasl.username", "alice"),
            ("sasl.password", password),
        ];
        config.properties = properties.map(|(name, it)| (name.to_owned(), it.to_owned())).into();
        config
    };
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let mut source = KafkaSource::connect(config(mechanism, "alice-secret")).unwrap();
        let facts = source.partitions().unwrap_or_else(|error| panic!("{mechanism}: {error}"));
        let from = cluster.position(&[0]);
        source.assign(&from).unwrap();
        let read = read_until(&mut source, &from, &end(&facts));
        assert_eq!(values(&read, 0), [(0, "kept".to_owned())], "{mechanism}");
    }
    let refused = KafkaSource::connect(config("SCRAM-SHA-256", "hunter2"));
    let error = refused.and_then(|mut it| it.partitions()).expect_err("the password is wrong");
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(error.message.contains("uthentication failed"), "{error}");
    assert!(!error.message.contains("hunter2"), "{error}");
}

/// What a token endpoint answers to the client's id and secret, and to others.
///
/// The token says {"sub":"alice","iat":1700000000,"exp":4102444800}, without a signature.
struct TokenEndpoint {
    url: String,
    asked: Arc<AtomicU32>,
}

impl TokenEndpoint {
    const TOKEN: &str =
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSIsImlhdCI6MTcwMDAwMDAwMCwiZXhwIjo0MTAyNDQ0ODAwfQ.";

    /// It ends with the process.
    fn start() -> TokenEndpoint {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                counted.fetch_add(1, Ordering::Relaxed);
                Self::answer(stream.unwrap());
            }
        });
        TokenEndpoint { url, asked }
    }

    fn answer(mut stream: TcpStream) {
        let mut request = Vec::new();
        let mut some = [0; 4096];
        while !String::from_utf8_lossy(&request).contains("grant_type=client_credentials") {
            let read = stream.read(&mut some).unwrap();
            assert!(read > 0, "{:?}", String::from_utf8_lossy(&request));
            request.extend(&some[..read]);
        }
        // alice:alice-secret
        let knows = String::from_utf8_lossy(&request).contains("Basic YWxpY2U6YWxpY2Utc2VjcmV0");
        let (status, body) = if knows {
            let token = Self::TOKEN;
            (
                "200 OK",
                format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":300}}"#),
            )
        } else {
            (
                "401 Unauthorized",
                r#"{"error":"invalid_client","error_description":"no such client"}"#.to_owned(),
            )
        };
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .unwrap();
    }
}

#[test]
fn a_token_of_an_identity_provider_opens_and_its_refusal_is_told() {
    let Some(with_tokens) = address("FLOE_TEST_KAFKA_SASL") else { return };
    let Some(cluster) = Cluster::with_topic(1, &[]) else { return };
    let producer = cluster.producer(&[]);
    cluster.send(&producer, 0, b"kept");
    producer.flush(FLUSH).unwrap();
    let endpoint = TokenEndpoint::start();
    let config = |secret: &str| {
        let mut config = cluster.config();
        config.bootstrap_servers = with_tokens.clone();
        let properties = [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "OAUTHBEARER"),
            ("sasl.oauthbearer.method", "oidc"),
            ("sasl.oauthbearer.client.id", "alice"),
            ("sasl.oauthbearer.client.secret", secret),
            ("sasl.oauthbearer.token.endpoint.url", &endpoint.url),
        ];
        config.properties = properties.map(|(name, it)| (name.to_owned(), it.to_owned())).into();
        config
    };
    let mut source = KafkaSource::connect(config("alice-secret")).unwrap();
    let facts = source.partitions().unwrap();
    let from = cluster.position(&[0]);
    source.assign(&from).unwrap();
    let read = read_until(&mut source, &from, &end(&facts));
    assert_eq!(values(&read, 0), [(0, "kept".to_owned())]);
    assert!(endpoint.asked.load(Ordering::Relaxed) > 0);

    let refused = KafkaSource::connect(config("hunter2"));
    let error = refused.and_then(|mut it| it.partitions()).expect_err("the secret is wrong");
    assert!(error.message.contains("invalid_client"), "{error}");
    assert!(!error.message.contains("hunter2"), "{error}");
}
