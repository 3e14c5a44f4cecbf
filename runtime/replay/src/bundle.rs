//! A bundle: one file with everything that a replay needs, a tar archive compressed with zstd.
//!
//! `tar --zstd -tf FILE` lists it. Laid out in a folder it is a pipeline file with its modules, its input as
//! a recording, and its checkpoints.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Component, Path};

use floe_core::{Error, Result};

/// How zstd begins (RFC 8878 §3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const ZSTD_LEVEL: i32 = 3;
const BLOCK: usize = 512;
const NAME_BYTES_MAX: usize = 100;
const PREFIX_BYTES_MAX: usize = 155;

pub fn is_bundle(path: &Path) -> Result<bool> {
    let mut file = File::open(path).map_err(|it| failed("opened", path, &it))?;
    let mut begin = [0; 4];
    match file.read_exact(&mut begin) {
        Ok(()) => Ok(begin == ZSTD_MAGIC),
        // Shorter than that it is none.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(failed("read", path, &error)),
    }
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::invalid(format!("{} cannot be {what}: {error}", path.display()))
}

pub struct BundleWriter {
    path: std::path::PathBuf,
    out: zstd::stream::write::Encoder<'static, BufWriter<File>>,
}

impl BundleWriter {
    /// Only its owner may read it: it holds raw records.
    pub fn create(path: &Path) -> Result<BundleWriter> {
        let mut options = File::options();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).map_err(|it| failed("made", path, &it))?;
        let out = zstd::stream::write::Encoder::new(BufWriter::new(file), ZSTD_LEVEL)
            .map_err(|it| failed("written", path, &it))?;
        Ok(BundleWriter { path: path.to_owned(), out })
    }

    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.add_stream(name, bytes.len() as u64, &mut { bytes })
    }

    pub fn add_file(&mut self, name: &str, path: &Path) -> Result<()> {
        let file = File::open(path).map_err(|it| failed("opened", path, &it))?;
        let len = file.metadata().map_err(|it| failed("read", path, &it))?.len();
        self.add_stream(name, len, &mut BufReader::new(file).take(len))
    }

    fn add_stream(&mut self, name: &str, len: u64, content: &mut dyn Read) -> Result<()> {
        let header = header(name, len)?;
        let written = (|| {
            self.out.write_all(&header)?;
            let copied = std::io::copy(content, &mut self.out)?;
            if copied != len {
                return Err(std::io::Error::other(format!("{name} became shorter meanwhile")));
            }
            let padding = (BLOCK - (len % BLOCK as u64) as usize) % BLOCK;
            self.out.write_all(&[0; BLOCK][..padding])
        })();
        written.map_err(|it| failed("written", &self.path, &it))
    }

    pub fn finish(mut self) -> Result<()> {
        let written = self.out.write_all(&[0; 2 * BLOCK]);
        written
            .and_then(|()| {
                self.out.finish()?.into_inner().map_err(|it| it.into_error())?.sync_all()
            })
            .map_err(|it| failed("written", &self.path, &it))
    }
}

/// A ustar header (POSIX.1-1988) of a plain file.
fn header(name: &str, len: u64) -> Result<[u8; BLOCK]> {
    let too_long = || Error::invalid(format!("a bundle has no room for the name {name:?}"));
    let (prefix, name_part) = match name.len() <= NAME_BYTES_MAX {
        true => ("", name),
        false => {
            let cut = name.len() - NAME_BYTES_MAX - 1;
            let at = name.bytes().skip(cut).position(|it| it == b'/').ok_or_else(too_long)? + cut;
            (&name[..at], &name[at + 1..])
        }
    };
    if prefix.len() > PREFIX_BYTES_MAX || len >= 1 << 33 {
        return Err(too_long());
    }
    let mut header = [0; BLOCK];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name_part);
    put(100, "0000600\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{len:011o}\0"));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    put(345, prefix);
    let sum: u32 = header.iter().map(|it| u32::from(*it)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(header)
}

/// Lays a bundle out in a folder. Nothing is written outside of it.
pub fn unpack(path: &Path, folder: &Path) -> Result<()> {
    let broken = |what: &str| {
        Error::corrupt(format!("bundle {} is damaged or none: {what}", path.display()))
    };
    let file = File::open(path).map_err(|it| failed("opened", path, &it))?;
    let mut archive =
        zstd::stream::read::Decoder::new(file).map_err(|it| broken(&it.to_string()))?;
    loop {
        let mut header = [0; BLOCK];
        archive.read_exact(&mut header).map_err(|it| broken(&it.to_string()))?;
        if header == [0; BLOCK] {
            return Ok(());
        }
        let entry = Entry::parse(&header).ok_or_else(|| broken("a header is none of ustar's"))?;
        let plain =
            Path::new(&entry.name).components().all(|it| matches!(it, Component::Normal(_)));
        if !plain || !entry.is_file {
            return Err(broken(&format!(
                "it has an entry {:?}, which is no plain file",
                entry.name
            )));
        }
        let target = folder.join(&entry.name);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).map_err(|it| failed("made", parent, &it))?;
        }
        let mut out = File::create_new(&target).map_err(|it| failed("made", &target, &it))?;
        let copied = std::io::copy(&mut (&mut archive).take(entry.len), &mut out)
            .map_err(|it| broken(&it.to_string()))?;
        if copied != entry.len {
            return Err(broken("it ends early"));
        }
        let padding = (BLOCK - (entry.len % BLOCK as u64) as usize) % BLOCK;
        archive.read_exact(&mut [0; BLOCK][..padding]).map_err(|it| broken(&it.to_string()))?;
    }
}

struct Entry {
    name: String,
    len: u64,
    is_file: bool,
}

impl Entry {
    fn parse(header: &[u8; BLOCK]) -> Option<Entry> {
        let text = |from: usize, len: usize| {
            let field = &header[from..from + len];
            let end = field.iter().position(|it| *it == 0).unwrap_or(len);
            std::str::from_utf8(&field[..end]).ok()
        };
        let number = |from, len| u64::from_str_radix(text(from, len)?.trim(), 8).ok();
        let expected = number(148, 8)?;
        let sum: u64 = (0..BLOCK)
            .map(|it| u64::from(if (148..156).contains(&it) { b' ' } else { header[it] }))
            .sum();
        if sum != expected || &header[257..262] != b"ustar" {
            return None;
        }
        let name = match text(345, 155)? {
            "" => text(0, 100)?.to_owned(),
            prefix => format!("{prefix}/{}", text(0, 100)?),
        };
        Some(Entry { name, len: number(124, 12)?, is_file: matches!(header[156], b'0' | 0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(std::path::PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path =
                std::env::temp_dir().join(format!("floe-bundle-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_goes_in_comes_out() {
        let folder = Folder::new("round");
        let file = folder.0.join("a.bundle");
        let long = format!("checkpoints/{}/parts/{}", "p".repeat(120), "x".repeat(60));
        let entries: [(&str, Vec<u8>); 4] = [
            ("pipeline.toml", b"[pipeline]".to_vec()),
            ("empty", Vec::new()),
            ("block", vec![7; BLOCK]),
            (&long, vec![1; 100_000]),
        ];
        let mut bundle = BundleWriter::create(&file).unwrap();
        entries.iter().for_each(|(name, bytes)| bundle.add(name, bytes).unwrap());
        bundle.finish().unwrap();
        assert!(is_bundle(&file).unwrap());
        let out = folder.0.join("out");
        unpack(&file, &out).unwrap();
        for (name, bytes) in &entries {
            assert_eq!(&std::fs::read(out.join(name)).unwrap(), bytes, "{name}");
        }
        let whole = std::fs::read(&file).unwrap();
        for len in [5, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&file, &whole[..len]).unwrap();
            assert!(unpack(&file, &folder.0.join(format!("cut-{len}"))).is_err(), "{len}");
        }
    }

    #[test]
    fn nothing_lands_outside_of_the_folder() {
        let folder = Folder::new("outside");
        for name in ["../evil", "/tmp/floe-evil", "a/../../evil"] {
            let file = folder.0.join("a.bundle");
            let mut bundle = BundleWriter::create(&file).unwrap();
            bundle.add(name, b"x").unwrap();
            bundle.finish().unwrap();
            let error = unpack(&file, &folder.0.join("out")).unwrap_err();
            assert!(error.message.contains("no plain file"), "{error}");
        }
    }
}
