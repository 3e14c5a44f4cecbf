//! The WebAssembly operators that demo, tests and examples run.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::build::{root, target};
use crate::children;

/// A package that is a guest, and where it is copied besides target/guest.
const GUESTS: &[(&str, Option<&str>)] = &[
    ("floe-example-payments", Some("examples/01-payments/payments.wasm")),
    ("floe-conformance-rust", None),
    ("floe-example-nexmark", Some("examples/nexmark/nexmark.wasm")),
    ("floe-example-prices", Some("examples/05-replay-a-crash/prices.wasm")),
    ("floe-example-prices-fixed", Some("examples/05-replay-a-crash/prices-fixed.wasm")),
    ("floe-example-rates", Some("examples/07-exchange-rates/rates.wasm")),
];

/// Builds all guests; gives the path of the payments operator.
pub(crate) fn build() -> Result<PathBuf> {
    let toolchain = Toolchain::find()?;
    // A target folder of its own: the guests' compiler may be another one than the host's.
    let out = target().join("guest");
    std::fs::create_dir_all(&out).with_context(|| format!("make {}", out.display()))?;
    let plugins = plugin_names()?;
    let mut cargo = toolchain.build_guests(&out);
    // One call for all, so that what they share is built once and they are built side by side.
    for (package, _) in GUESTS {
        cargo.args(["--package", package]);
    }
    for plugin in &plugins {
        cargo.args(["--package", &format!("floe-plugin-{plugin}")]);
    }
    // The packages' libraries, and the second operator of the suite.
    cargo.args(["--lib", "--example", "numbered"]);
    children::run(&mut cargo)?;
    let built = out.join(&toolchain.target).join("guest");
    for (package, example) in GUESTS {
        let file = format!("{}.wasm", package.replace('-', "_"));
        copy(&built.join(&file), &out.join(&file))?;
        if let Some(example) = example {
            copy(&built.join(&file), &root().join(example))?;
        }
        println!("guest   {}", out.join(&file).display());
    }
    let numbered = built.join("examples/numbered.wasm");
    copy(&numbered, &out.join("floe_conformance_numbered.wasm"))?;
    // Beside the program, which looks for them there.
    let folder = target().join("release/plugins");
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    for plugin in &plugins {
        let file = format!("floe_plugin_{}.wasm", plugin.replace('-', "_"));
        copy(&built.join(file), &folder.join(format!("{plugin}.wasm")))?;
        let about = root().join("plugins").join(plugin).join("plugin.toml");
        copy(&about, &folder.join(format!("{plugin}.toml")))?;
    }
    println!("plugins {} ({})", folder.display(), plugins.join(", "));
    Ok(payments())
}

/// The folders of `plugins` that are one: those with a plugin.toml.
fn plugin_names() -> Result<Vec<String>> {
    let folder = root().join("plugins");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
        let entry = entry?;
        if entry.path().join("plugin.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Through another name: whoever reads it meanwhile sees the old file or the new one.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    let next = to.with_extension("next");
    std::fs::copy(from, &next)
        .and_then(|_| std::fs::rename(&next, to))
        .with_context(|| format!("copy {} to {}", from.display(), to.display()))
}

/// Where `build` puts the payments operator.
pub(crate) fn payments() -> PathBuf {
    target().join("guest/floe_example_payments.wasm")
}

/// A cargo that can build for wasm, as tests/components/guest-rust-toolchain.sh finds or makes it.
pub(crate) struct Toolchain {
    cargo: String,
    pub(crate) target: String,
}

impl Toolchain {
    /// `cargo build` for guests into a target folder; packages are to be named.
    pub(crate) fn build_guests(&self, out: &Path) -> Command {
        let mut cargo = Command::new(&self.cargo);
        cargo.current_dir(root()).args(["build", "--quiet", "--profile", "guest"]);
        cargo.args(["--target", &self.target, "--target-dir"]).arg(out);
        // Flags for the host's processor are none for wasm.
        cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
        cargo
    }

    pub(crate) fn find() -> Result<Toolchain> {
        let script = root().join("tests/components/guest-rust-toolchain.sh");
        let lines = format!(
            r#"set -e; lines=$("{}"); eval "$lines"; printf '%s\n' "$GUEST_CARGO" "$GUEST_TARGET""#,
            script.display()
        );
        // In the root, so that the toolchain chosen there is the one that is looked at.
        let found = children::output(Command::new("bash").args(["-c", &lines]).current_dir(root()))
            .context("find a Rust toolchain for wasm32-unknown-unknown")?;
        let mut found = found.lines().map(str::to_owned);
        let (cargo, target) =
            found.next().zip(found.next()).context("the script names no cargo")?;
        Ok(Toolchain { cargo, target })
    }
}
