//! Compiled modules on disk. Loading one is running it, so the folder is the user's alone and each entry
//! is authenticated with a key that lies beside it; what does not verify is compiled again.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use floe_core::{Error, Result};

pub(crate) struct Cache {
    folder: PathBuf,
    key: [u8; 32],
}

const MAC_BYTES: usize = 32;

impl Cache {
    pub(crate) fn open(folder: PathBuf) -> Result<Cache> {
        let failed = |error: std::io::Error| {
            Error::retry(format!("module cache {}: {error}", folder.display()))
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed)?;
        let mode = fs::metadata(&folder).map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        }
        let key = read_or_make_key(&folder.join("key")).map_err(failed)?;
        Ok(Cache { folder, key })
    }

    /// The entry's bytes, if there is one that we wrote.
    pub(crate) fn get(&self, name: &str) -> Option<Vec<u8>> {
        let bytes = fs::read(self.path(name)).ok()?;
        let (mac, content) = bytes.split_at_checked(MAC_BYTES)?;
        // blake3's comparison takes the same time wherever the difference is.
        let expected = self.mac(name, content);
        let given = blake3::Hash::from_bytes(mac.try_into().ok()?);
        (expected == given).then(|| content.to_vec())
    }

    /// A cache that cannot be written is a slower start, and nothing else.
    pub(crate) fn put(&self, name: &str, content: &[u8]) {
        let written = (|| {
            let temporary = self.folder.join(format!("{name}.{}", std::process::id()));
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temporary)?;
            file.write_all(self.mac(name, content).as_bytes())?;
            file.write_all(content)?;
            fs::rename(&temporary, self.path(name))
        })();
        if let Err(error) = written {
            tracing::debug!("compiled module not cached: {error}");
        }
    }

    fn mac(&self, name: &str, content: &[u8]) -> blake3::Hash {
        blake3::Hasher::new_keyed(&self.key).update(name.as_bytes()).update(content).finalize()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

fn read_or_make_key(path: &Path) -> std::io::Result<[u8; 32]> {
    if let Ok(bytes) = fs::read(path)
        && let Ok(key) = bytes.try_into()
    {
        return Ok(key);
    }
    let mut key = [0u8; 32];
    let mut random = fs::File::open("/dev/urandom")?;
    std::io::Read::read_exact(&mut random, &mut key)?;
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(&key)?;
    Ok(key)
}
