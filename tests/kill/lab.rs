//! What the tests need of the machine, and what happens where it is missing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

/// The program, the operator and the readers.
pub(crate) struct Lab {
    pub(crate) floe: PathBuf,
    pub(crate) payments: PathBuf,
    pub(crate) python: PathBuf,
}

/// A test, by the name that runs it again. Prints that command when it fails.
pub(crate) fn check(name: &str, needs: &[&str], body: impl FnOnce(&Lab) -> Result<()>) {
    let mut missing: Vec<&str> =
        needs.iter().copied().filter(|it| std::env::var_os(it).is_none()).collect();
    let lab = Lab::find();
    if let Err(what) = &lab {
        missing.push(what);
    }
    match lab {
        Ok(lab) if missing.is_empty() => {
            if let Err(error) = body(&lab) {
                panic!("{error:#}\n\nagain with:  {}\n", again(name));
            }
        }
        Ok(_) | Err(_) => {
            let text = format!("{} not set; cargo xtask test sets what it can", missing.join(", "));
            assert!(!is_ci(), "{name}: {text}, and in CI nothing may be missing");
            println!("skipped {name}: {text}");
        }
    }
}

fn again(name: &str) -> String {
    let mut command = String::new();
    for variable in ["FLOE_KILL_RECORDS", "FLOE_KILL_KILLS", "FLOE_KILL_POINT"] {
        if let Ok(value) = std::env::var(variable) {
            command += &format!("{variable}={value} ");
        }
    }
    command + &format!("cargo xtask test {name}")
}

impl Lab {
    fn find() -> Result<Lab, &'static str> {
        let here = std::env::current_exe().expect("a test knows where it stands");
        let release = here.ancestors().nth(2).expect("it stands in target/release/deps");
        let target = release.parent().expect("it stands in target/release/deps");
        let floe = path_of("FLOE_TEST_BIN", release.join("floe"));
        let guest = target.join("guest/floe_example_payments.wasm");
        let payments = path_of("FLOE_TEST_GUEST_PAYMENTS", guest);
        let python = std::env::var_os("FLOE_TEST_PYTHON").ok_or("FLOE_TEST_PYTHON")?;
        if !floe.exists() {
            return Err("FLOE_TEST_BIN");
        }
        if !payments.exists() {
            return Err("FLOE_TEST_GUEST_PAYMENTS");
        }
        Ok(Lab { floe, payments, python: python.into() })
    }
}

fn path_of(variable: &str, otherwise: PathBuf) -> PathBuf {
    std::env::var_os(variable).map_or(otherwise, PathBuf::from)
}

fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|it| !it.is_empty() && it != "false" && it != "0")
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(crate) fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("read {name}"))
}

/// A number that a person may set, else the default.
pub(crate) fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")),
        Err(_) => default,
    }
}

/// Waits for something, by looking every millisecond. `false` when it did not come in time.
pub(crate) fn wait_for(limit: Duration, mut come: impl FnMut() -> Result<bool>) -> Result<bool> {
    let begin = std::time::Instant::now();
    while begin.elapsed() < limit {
        if come()? {
            return Ok(true);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(false)
}

/// splitmix64: a printed seed makes the same moments again.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn from_environment() -> Random {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Random(number("FLOE_KILL_SEED", now.map_or(0, |it| it.as_nanos() as u64)))
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
