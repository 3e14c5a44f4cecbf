//! `floe replay --core FILE`: WebAssembly core dumps, for tools that read them.

use std::path::{Path, PathBuf};

use floe_core::{Error, Result};

/// One for the file; with several operators, each has its name behind the file's.
pub(super) fn write(file: &Path, dumps: Vec<(String, Vec<u8>)>) -> Vec<std::io::Result<PathBuf>> {
    let single = dumps.len() == 1;
    let one = |(operator, dump): (String, Vec<u8>)| {
        let mut name = file.as_os_str().to_owned();
        if !single {
            name.push(format!(".{operator}"));
        }
        std::fs::write(&name, dump).map(|()| PathBuf::from(name))
    };
    dumps.into_iter().map(one).collect()
}

pub(super) fn print<'a>(
    file: &Path,
    written: impl Iterator<Item = &'a std::io::Result<PathBuf>>,
    json: bool,
) -> Result<()> {
    let mut count = 0;
    for written in written {
        count += 1;
        match written {
            Ok(_) if json => {}
            Ok(path) => println!("core dump in {}", path.display()),
            Err(error) => {
                return Err(Error::invalid(format!(
                    "--core {} cannot be written: {error}",
                    file.display()
                )));
            }
        }
    }
    match count {
        0 => Err(Error::invalid(
            "--core: the record at --until was not reached\n→ --checkpoint and --to say which epochs are run, and --task whose records",
        )),
        _ => Ok(()),
    }
}
