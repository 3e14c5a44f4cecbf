//! Every object name, in one place. A pipeline's id is encoded so that it cannot leave the store's prefix.

use std::fmt::Write;

use floe_core::epoch::{EntryId, Epoch, Generation, Slot};
use floe_core::schema::SchemaId;
use floe_core::{Error, Result};

/// A file name holds 255 bytes on every file system of note; what follows the id needs none of them.
const ENCODED_ID_BYTES_MAX: usize = 200;

/// The folder of a pipeline: letters, digits, `-`, `_` and inner dots stand for themselves, any other
/// byte is `%XX`. Two ids never share a folder, and none is empty, `.` or `..`.
pub fn pipeline_prefix(pipeline: &str) -> Result<String> {
    if pipeline.is_empty() {
        return Err(Error::invalid("[pipeline] id is empty: it names the checkpoints"));
    }
    let mut encoded = String::with_capacity(pipeline.len());
    for (index, byte) in pipeline.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric()
            || byte == b'-'
            || byte == b'_'
            || (byte == b'.' && index > 0);
        if plain {
            encoded.push(byte as char);
        } else {
            write!(encoded, "%{byte:02X}").expect("a String takes every write");
        }
    }
    if encoded.len() > ENCODED_ID_BYTES_MAX {
        return Err(Error::invalid(format!(
            "[pipeline] id is too long: {} bytes as an object name, {ENCODED_ID_BYTES_MAX} at most",
            encoded.len()
        )));
    }
    Ok(encoded)
}

/// The names of one pipeline's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    prefix: String,
}

impl Paths {
    pub fn of(pipeline: &str) -> Result<Paths> {
        Ok(Paths { prefix: pipeline_prefix(pipeline)? })
    }

    pub fn entry(&self, slot: Slot) -> String {
        format!("{}/log/{:020}", self.prefix, slot.0)
    }

    /// A line of the register of savepoints, numbered like the log.
    pub fn register(&self, number: Slot) -> String {
        format!("{}/savepoints/{:020}", self.prefix, number.0)
    }

    pub fn parts(&self) -> String {
        format!("{}/parts", self.prefix)
    }

    /// The epoch and the relative name of an object that a listing showed, if it is a part of ours.
    pub fn part_in(&self, path: &str) -> Option<(Epoch, String)> {
        let name = path.strip_prefix(&self.parts())?.strip_prefix('/')?;
        let mut fields = name.split('-');
        let epoch = fields.next().filter(|it| it.len() == 12)?.parse().ok()?;
        EntryId::parse(fields.next()?)?;
        let number = fields.next()?;
        let whole = fields.next().is_none() && number.bytes().all(|it| it.is_ascii_digit());
        whole.then(|| (Epoch(epoch), format!("parts/{name}")))
    }

    pub fn recordings(&self) -> String {
        format!("{}/recordings", self.prefix)
    }

    /// The input of an epoch. A generation tries an epoch again only while no manifest of it is visible.
    pub fn recording(&self, epoch: Epoch, generation: Generation) -> String {
        format!("{}/{:012}-{}", self.recordings(), epoch.0, generation.0)
    }

    /// Of an object that a listing showed.
    pub fn recording_in(&self, path: &str) -> Option<(Epoch, Generation)> {
        let name = path.strip_prefix(&self.recordings())?.strip_prefix('/')?;
        let (epoch, generation) = name.split_once('-')?;
        let found = (Epoch(epoch.parse().ok()?), Generation(generation.parse().ok()?));
        (self.recording(found.0, found.1) == path).then_some(found)
    }

    pub fn hint(&self) -> String {
        format!("{}/log/hint", self.prefix)
    }

    /// A module, by the blake3 of its bytes.
    pub fn module(&self, hash: &[u8; 32]) -> String {
        format!("{}/modules/{}.wasm", self.prefix, blake3::Hash::from_bytes(*hash).to_hex())
    }

    pub fn schemas(&self) -> String {
        format!("{}/schemas", self.prefix)
    }

    /// A schema that values were written with.
    pub fn schema(&self, id: SchemaId) -> String {
        format!("{}/{id}", self.schemas())
    }

    /// Of an object that a listing showed.
    pub fn schema_in(&self, path: &str) -> Option<SchemaId> {
        let id =
            path.strip_prefix(&self.schemas())?.strip_prefix('/')?.parse().ok().map(SchemaId)?;
        (self.schema(id) == path).then_some(id)
    }

    /// The whole name of an object that a manifest names relative to the pipeline.
    pub fn object(&self, relative: &str) -> Result<String> {
        let name = relative.strip_prefix("parts/").unwrap_or_default();
        let safe = name.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-');
        if name.is_empty() || !safe {
            return Err(Error::corrupt(format!(
                "a manifest of {} names the object {relative:?}, which is no name of a part",
                self.prefix
            )));
        }
        Ok(format!("{}/{relative}", self.prefix))
    }
}

/// Relative to the pipeline. The id makes the name unique to one attempt at one checkpoint.
pub fn part_object(epoch: Epoch, manifest: EntryId, number: usize) -> String {
    format!("parts/{:012}-{manifest}-{number}", epoch.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_apart_and_inside() {
        let cases = [
            ("payments", "payments"),
            ("a/b", "a%2Fb"),
            ("../x", "%2E.%2Fx"),
            ("..", "%2E."),
            (".", "%2E"),
            ("a%2Fb", "a%252Fb"),
            ("é", "%C3%A9"),
            ("a b#1", "a%20b%231"),
            ("C:\\x", "C%3A%5Cx"),
        ];
        for (id, folder) in cases {
            assert_eq!(pipeline_prefix(id).unwrap(), folder);
        }
        assert!(pipeline_prefix("").is_err());
        assert!(pipeline_prefix(&"é".repeat(40)).is_err());
    }

    /// Whatever an id holds, no name leaves the pipeline's folder, and two ids share none.
    #[test]
    fn hostile_ids_stay_in_their_folder() {
        let hostile = [
            "..",
            "../..",
            "/",
            "//etc",
            "a/../../b",
            "%2e%2e",
            "..%2f",
            "\\..\\",
            "~",
            "a\0b",
            "a\nb",
            "CON",
            "aux.",
            " ",
            "a ",
            "\u{202e}x",
            "\u{2025}/",
            "log",
            "log/hint",
            "parts",
            "?x=1",
            "#f",
            "s3://other",
            "*",
            "a:b",
            "-",
            "--",
            "é",
            "e\u{301}",
        ];
        let mut folders = std::collections::BTreeSet::new();
        for id in hostile {
            let paths = Paths::of(id).unwrap();
            let names = [
                paths.entry(Slot(u64::MAX)),
                paths.hint(),
                paths.register(Slot(1)),
                paths.object(&part_object(Epoch(u64::MAX), EntryId([255; 16]), 9)).unwrap(),
                paths.recording(Epoch(u64::MAX), Generation(u64::MAX)),
                paths.schema(SchemaId(u32::MAX)),
            ];
            for name in names {
                let parsed = object_store::path::Path::parse(&name).unwrap();
                assert_eq!(parsed.as_ref(), name, "{id:?}");
                let fields: Vec<&str> = name.split('/').collect();
                assert_eq!(fields.len(), 3, "{name}");
                assert!(fields.iter().all(|it| !it.is_empty() && *it != "." && *it != ".."));
                assert!(name.bytes().all(|it| it.is_ascii_graphic()), "{name}");
                folders.insert(fields[0].to_owned());
            }
        }
        assert_eq!(folders.len(), hostile.len());
    }

    #[test]
    fn only_our_parts_are_found_in_a_listing() {
        let paths = Paths::of("p").unwrap();
        let part = part_object(Epoch(3), EntryId([7; 16]), 12);
        let found = paths.part_in(&paths.object(&part).unwrap());
        assert_eq!(found, Some((Epoch(3), part.clone())));
        for other in [
            format!("q/{part}"),
            format!("p/{part}.tmp"),
            format!("p/x/{part}"),
            "p/parts/3-a-b".to_owned(),
            "p/parts/notes.txt".to_owned(),
            "p/log/hint".to_owned(),
        ] {
            assert_eq!(paths.part_in(&other), None, "{other}");
        }
    }

    #[test]
    fn only_parts_are_objects() {
        let paths = Paths::of("p").unwrap();
        let part = part_object(Epoch(3), EntryId([7; 16]), 0);
        assert_eq!(paths.object(&part).unwrap(), format!("p/{part}"));
        for bad in ["", "parts/", "parts/../log/1", "log/00000000000000000001", "/etc/passwd"] {
            assert!(paths.object(bad).is_err(), "{bad}");
        }
    }
}
