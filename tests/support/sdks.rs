//! The SDKs: for each language its conformance operator, as `cargo xtask guests` builds it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use floe_conformance::Report;
use floe_operator::{Engine, with_script};

/// In the order of the table in sdk/README.md: the language, and its conformance operator in target/guest; of
/// a language whose scripts run in an interpreter, the interpreter.
pub const SDKS: &[Sdk] = &[
    Sdk {
        language: "Rust",
        file: "floe_conformance_rust.wasm",
        script: None,
        numbered: Some("floe_conformance_numbered.wasm"),
    },
    Sdk { language: "C", file: "conformance_c.wasm", script: None, numbered: None },
    Sdk { language: "C++", file: "conformance_cpp.wasm", script: None, numbered: None },
    Sdk { language: "Go", file: "conformance_go.wasm", script: None, numbered: None },
    Sdk { language: "AssemblyScript", file: "conformance_as.wasm", script: None, numbered: None },
    Sdk { language: "Zig", file: "conformance_zig.wasm", script: None, numbered: None },
    Sdk {
        language: "JavaScript",
        file: "javascript.wasm",
        script: Some("sdk/javascript/conformance/conformance.js"),
        numbered: None,
    },
];

pub struct Sdk {
    pub language: &'static str,
    pub file: &'static str,
    /// What is put into the interpreter.
    pub script: Option<&'static str>,
    /// The operator of A27, where the SDK has columns that depend on the configuration.
    pub numbered: Option<&'static str>,
}

/// What the suite says of an SDK. `None`: it is not built.
pub fn report(engine: &Arc<Engine>, sdk: &Sdk) -> Result<Option<Report>> {
    let Some(module) = sdk.module()? else { return Ok(None) };
    let mut report = floe_conformance::run(engine, sdk.file, &module);
    if let Some(file) = sdk.numbered {
        let Ok(module) = std::fs::read(guests().join(file)) else { return Ok(None) };
        report = report.and(floe_conformance::run(engine, file, &module));
    }
    Ok(Some(report))
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// `cargo xtask guests` puts them there.
pub fn guests() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join("guest")
}

impl Sdk {
    /// The module. `None`: it is not built.
    pub fn module(&self) -> Result<Option<Vec<u8>>> {
        let Ok(bytes) = std::fs::read(guests().join(self.file)) else { return Ok(None) };
        let Some(script) = self.script else { return Ok(Some(bytes)) };
        let script = std::fs::read_to_string(root().join(script))
            .with_context(|| format!("read {script}"))?;
        Ok(Some(with_script(&bytes, &script)?))
    }
}
