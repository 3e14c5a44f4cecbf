//! Compiled modules on disk. Loading one is running it, so the folder is the user's alone and each entry
//! is authenticated with a key that lies beside it; what does not verify is compiled again.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use floe_core::{Error, Result};

pub(crate) struct Cache {
    folder: PathBuf,
    key: [u8; KEY_BYTES],
}

const KEY: &str = "key";
const KEY_BYTES: usize = 32;
const MAC_BYTES: usize = 32;

/// Files kept beside the key, some 100 to 500 KB each; older ones go when a module is compiled.
const ENTRIES_MAX: usize = 64;

impl Cache {
    /// Refuses a folder or key that another user made: who knows the key can write entries that verify.
    pub(crate) fn open(folder: PathBuf) -> Result<Cache> {
        let failed =
            |error: io::Error| Error::retry(format!("module cache {}: {error}", folder.display()));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed)?;
        let made = fs::symlink_metadata(&folder).map_err(failed)?;
        if made.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        }
        let key = read_or_make_key(&folder, &made).map_err(failed)?;
        Ok(Cache { folder, key })
    }

    /// The entry's bytes, if there is one that we wrote.
    pub(crate) fn get(&self, name: &str) -> Option<Vec<u8>> {
        // Absent, or unreadable: compiled again either way.
        let mut bytes = fs::read(self.folder.join(name)).ok()?;
        let (mac, content) = bytes.split_at_checked(MAC_BYTES)?;
        // blake3's comparison takes the same time wherever the difference is.
        let given = blake3::Hash::from_bytes(mac.try_into().ok()?);
        if self.mac(name, content) != given {
            return None;
        }
        bytes.drain(..MAC_BYTES);
        Some(bytes)
    }

    /// A cache that cannot be written is a slower start, and nothing else.
    pub(crate) fn put(&self, name: &str, content: &[u8]) {
        let written = (|| {
            let (temporary, mut file) = temporary(&self.folder)?;
            file.write_all(self.mac(name, content).as_bytes())?;
            file.write_all(content)?;
            fs::rename(&temporary, self.folder.join(name))?;
            self.forget_old_ones()
        })();
        if let Err(error) = written {
            tracing::debug!("compiled module not cached: {error}");
        }
    }

    /// Names and times decide only what is compiled again.
    fn forget_old_ones(&self) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_name() != KEY {
                entries.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        entries.sort();
        let over = entries.len().saturating_sub(ENTRIES_MAX);
        entries[..over].iter().try_for_each(|(_, path)| fs::remove_file(path))
    }

    fn mac(&self, name: &str, content: &[u8]) -> blake3::Hash {
        blake3::Hasher::new_keyed(&self.key).update(name.as_bytes()).update(content).finalize()
    }
}

/// A new file of ours, under a name that no other thread or process uses now.
fn temporary(folder: &Path) -> io::Result<(PathBuf, File)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!("new-{}-{number}", std::process::id()));
    // One of that name is left from a process that died.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    Ok((path, file))
}

/// The folder's key. Of several processes that make one at the same time the first wins, and all use it.
fn read_or_make_key(folder: &Path, folder_made: &Metadata) -> io::Result<[u8; KEY_BYTES]> {
    let (fresh, mut file) = temporary(folder)?;
    // A file that we made tells who we are.
    let user = file.metadata()?.uid();
    let made = (|| {
        owned(folder_made, user, "the folder")?;
        let mut key = [0u8; KEY_BYTES];
        File::open("/dev/urandom")?.read_exact(&mut key)?;
        file.write_all(&key)?;
        let path = folder.join(KEY);
        // Linking is atomic and fails where a key is, so of those who find none one wins.
        if let Found::Torn = read_key(&path, user)? {
            // Nothing here leaves such a key. Two that mend it at once may end with a key each: then they
            // compile for themselves.
            fs::remove_file(&path)?;
        }
        match fs::hard_link(&fresh, &path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        match read_key(&path, user)? {
            Found::Key(key) => Ok(key),
            Found::Nothing | Found::Torn => {
                Err(io::Error::other("its key was changed while it was read"))
            }
        }
    })();
    fs::remove_file(&fresh)?;
    made
}

enum Found {
    Nothing,
    Torn,
    Key([u8; KEY_BYTES]),
}

fn read_key(path: &Path, user: u32) -> io::Result<Found> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
    };
    let made = file.metadata()?;
    owned(&made, user, "its key")?;
    if made.permissions().mode() & 0o077 != 0 {
        return Err(io::Error::other("its key can be read by others: remove it"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes.try_into().map_or(Found::Torn, Found::Key))
}

fn owned(made: &Metadata, user: u32, what: &str) -> io::Result<()> {
    match made.uid() == user {
        true => Ok(()),
        false => Err(io::Error::other(format!(
            "{what} belongs to user {}, and this process is user {user}",
            made.uid()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let all = fs::read_dir(folder).unwrap();
        all.map(|it| it.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn an_entry_is_read_back_by_its_own_name_and_key_alone() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("a")).unwrap();
        cache.put("one", b"content");
        assert_eq!(cache.get("one").as_deref(), Some(&b"content"[..]));
        assert_eq!(cache.get("two"), None);
        // Moved to another name, or beside another key.
        fs::copy(folder.path().join("a/one"), folder.path().join("a/two")).unwrap();
        assert_eq!(cache.get("two"), None);
        let other = Cache::open(folder.path().join("b")).unwrap();
        fs::copy(folder.path().join("a/one"), folder.path().join("b/one")).unwrap();
        assert_eq!(other.get("one"), None);
        let again = Cache::open(folder.path().join("a")).unwrap();
        assert_eq!(again.get("one").as_deref(), Some(&b"content"[..]));
        fs::write(folder.path().join("a/one"), b"short").unwrap();
        assert_eq!(again.get("one"), None);
    }

    #[test]
    fn nobody_else_reads_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Cache::open(path.clone()).unwrap().put("one", b"content");
        let mode = |name: &str| fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(""), mode(KEY), mode("one")), (0o700, 0o600, 0o600));
        assert_eq!(names(&path).len(), 2, "no file is left over: {:?}", names(&path));
        fs::set_permissions(path.join(KEY), fs::Permissions::from_mode(0o644)).unwrap();
        let error = Cache::open(path).err().expect("others may know the key");
        assert!(error.message.contains("read by others"), "{error}");
    }

    #[test]
    fn a_torn_key_is_made_anew_and_many_openers_agree() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        drop(Cache::open(path.clone()).unwrap());
        fs::write(path.join(KEY), [7; 5]).unwrap();
        Cache::open(path.clone()).unwrap().put("one", b"content");
        assert!(Cache::open(path.clone()).unwrap().get("one").is_some());
        for round in 0..50 {
            let fresh = folder.path().join(format!("fresh-{round}"));
            let open = |path: PathBuf| move || Cache::open(path).unwrap().key;
            let spawn = |_| std::thread::Builder::new().spawn(open(fresh.clone())).unwrap();
            let openers: Vec<_> = (0..8).map(spawn).collect();
            let keys: Vec<_> = openers.into_iter().map(|it| it.join().unwrap()).collect();
            assert!(keys.windows(2).all(|it| it[0] == it[1]));
        }
    }

    #[test]
    fn the_folder_has_a_bound() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("cache")).unwrap();
        for number in 0..ENTRIES_MAX + 5 {
            cache.put(&format!("entry-{number:03}"), b"content");
        }
        assert_eq!(names(&cache.folder).len(), ENTRIES_MAX + 1);
        assert!(cache.get(&format!("entry-{:03}", ENTRIES_MAX + 4)).is_some());
    }
}
