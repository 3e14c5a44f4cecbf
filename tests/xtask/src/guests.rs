//! The WebAssembly operators that demo, tests and examples run.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::build::{root, target};
use crate::children;

/// A package that is a guest, and where it is copied besides target/guest.
const GUESTS: &[(&str, Option<&str>)] = &[
    ("floe-example-payments", Some("examples/01-payments/payments.wasm")),
    ("floe-conformance-rust", None),
];

/// Builds all guests; gives the path of the payments operator.
pub(crate) fn build() -> Result<PathBuf> {
    let toolchain = Toolchain::find()?;
    // A target folder of its own: the guests' compiler may be another one than the host's.
    let out = target().join("guest");
    std::fs::create_dir_all(&out).with_context(|| format!("make {}", out.display()))?;
    for (package, _) in GUESTS {
        let mut cargo = Command::new(&toolchain.cargo);
        cargo.current_dir(root()).args(["build", "--quiet", "--profile", "guest"]);
        cargo.args(["--package", package, "--target", &toolchain.target, "--target-dir"]).arg(&out);
        // Flags for the host's processor are none for wasm.
        cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
        children::run(&mut cargo)?;
    }
    for (package, example) in GUESTS {
        let file = format!("{}.wasm", package.replace('-', "_"));
        let built = out.join(&toolchain.target).join("guest").join(&file);
        for copy in [Some(out.join(&file)), example.map(|it| root().join(it))].into_iter().flatten()
        {
            std::fs::copy(&built, &copy)
                .with_context(|| format!("copy {} to {}", built.display(), copy.display()))?;
        }
        println!("guest   {}", out.join(&file).display());
    }
    Ok(payments())
}

/// Where `build` puts the payments operator.
pub(crate) fn payments() -> PathBuf {
    target().join("guest/floe_example_payments.wasm")
}

/// A cargo that can build for wasm, as tests/components/guest-rust-toolchain.sh finds or makes it.
struct Toolchain {
    cargo: String,
    target: String,
}

impl Toolchain {
    fn find() -> Result<Toolchain> {
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
