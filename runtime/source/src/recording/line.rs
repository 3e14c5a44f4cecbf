//! One line of a recording: read whole, read for its place alone, or written.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use floe_core::{Record, TopicPartition};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A whole line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line<'a> {
    #[serde(borrow, default)]
    pub(super) topic: Option<Cow<'a, str>>,
    pub(super) partition: i32,
    pub(super) offset: i64,
    #[serde(default)]
    pub(super) timestamp: Option<i64>,
    #[serde(borrow, default)]
    pub(super) key: Content<'a>,
    #[serde(borrow, default)]
    pub(super) value: Content<'a>,
    #[serde(borrow, default)]
    pub(super) headers: Vec<(Cow<'a, str>, Content<'a>)>,
}

/// What an index needs of a line. The rest is skipped, not checked.
#[derive(Deserialize)]
pub(super) struct Place<'a> {
    #[serde(borrow, default)]
    pub(super) topic: Option<Cow<'a, str>>,
    pub(super) partition: i32,
    pub(super) offset: i64,
    #[serde(default)]
    pub(super) timestamp: Option<i64>,
}

/// A key, a value, or a header's value.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Content<'a> {
    #[default]
    Absent,
    Text(Cow<'a, str>),
    Binary(Vec<u8>),
}

/// The timestamp of a line without one, as Kafka has it for a record without one.
pub(super) const NO_TIMESTAMP: i64 = -1;

pub(super) fn parse<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, String> {
    sonic_rs::from_slice(line).map_err(|it| {
        // The parser draws the place over several lines; the first says it.
        let text = it.to_string();
        text.lines().next().unwrap_or_default().trim().to_owned()
    })
}

impl Content<'_> {
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Content::Absent => None,
            Content::Text(text) => Some(text.as_bytes()),
            Content::Binary(bytes) => Some(bytes),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, null, or {\"base64\":\"…\"}")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Content::Absent)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Content::Absent)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Content::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Content::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Content::Text(Cow::Owned(text)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let wrong = || A::Error::custom("an object here has one key, \"base64\"");
        let Some((name, text)) = map.next_entry::<Cow<'de, str>, Cow<'de, str>>()? else {
            return Err(wrong());
        };
        if name != "base64" || map.next_key::<Cow<'de, str>>()?.is_some() {
            return Err(wrong());
        }
        let bytes = STANDARD.decode(text.as_bytes());
        Ok(Content::Binary(bytes.map_err(|it| A::Error::custom(format!("no base64: {it}")))?))
    }
}

/// Appends a record as a line of a recording, newline included.
pub fn write_line(out: &mut Vec<u8>, partition: &TopicPartition, record: &Record<'_>) {
    let line = Written {
        topic: &partition.topic,
        partition: partition.partition,
        offset: record.offset().0,
        timestamp: record.timestamp().0,
        key: record.key().map(WrittenContent),
        value: record.value().map(WrittenContent),
        headers: record
            .headers()
            .map(|(name, value)| (String::from_utf8_lossy(name), value.map(WrittenContent)))
            .collect(),
    };
    sonic_rs::to_writer(&mut *out, &line).expect("writing to memory does not fail");
    out.push(b'\n');
}

#[derive(Serialize)]
struct Written<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<WrittenContent<'a>>,
    value: Option<WrittenContent<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(Cow<'a, str>, Option<WrittenContent<'a>>)>,
}

struct WrittenContent<'a>(&'a [u8]);

impl Serialize for WrittenContent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        match std::str::from_utf8(self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("base64", &STANDARD.encode(self.0))?;
                map.end()
            }
        }
    }
}
