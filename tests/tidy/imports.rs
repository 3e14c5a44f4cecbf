//! The import table: for each crate, the workspace crates that it may depend on, and the heavy outside
//! crates that it alone may name.

use std::collections::BTreeMap;

use crate::{assert_none, metadata};

/// A crate, and the workspace crates that it may name. A change takes a decision record.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("floe-core", &[]),
    ("floe-source", &["floe-core"]),
    ("floe-operator", &["floe-core"]),
    ("floe-sink", &["floe-core"]),
    ("floe-checkpoint", &["floe-core"]),
    ("floe-pipeline", &["floe-core"]),
    ("floe-effects", &["floe-core"]),
    ("floe-replay", &["floe-core", "floe-operator", "floe-checkpoint"]),
    ("floe-conformance", &["floe-core", "floe-operator"]),
    (
        "floe-cli",
        &[
            "floe-core",
            "floe-source",
            "floe-operator",
            "floe-sink",
            "floe-checkpoint",
            "floe-pipeline",
            "floe-replay",
            "floe-conformance",
            "floe-effects",
        ],
    ),
    ("floe-sdk", &["floe-sdk-derive"]),
    ("floe-sdk-derive", &["floe-sdk"]),
    ("floe-template-rust", &["floe-sdk"]),
    ("floe-conformance-rust", &["floe-sdk"]),
    // Plugins share crates of their own and the SDK, and know nothing of the runtime.
    ("floe-plugin-expression", &["floe-sdk"]),
    ("floe-plugin-filter", &["floe-sdk", "floe-plugin-expression"]),
    ("floe-plugin-project", &["floe-sdk", "floe-plugin-expression"]),
    ("floe-plugin-dedup", &["floe-sdk"]),
    ("floe-plugin-mask", &["floe-sdk"]),
    ("floe-plugin-route", &["floe-sdk", "floe-plugin-expression"]),
    ("floe-plugin-flatten", &["floe-sdk"]),
    ("floe-plugin-parse-json", &["floe-sdk", "floe-plugin-expression"]),
    ("floe-plugin-window", &["floe-sdk"]),
    ("floe-plugin-tumble", &["floe-sdk", "floe-plugin-window"]),
    ("floe-plugin-hop", &["floe-sdk", "floe-plugin-window"]),
    ("floe-plugin-session", &["floe-sdk", "floe-plugin-window"]),
    ("floe-plugin-sides", &["floe-sdk", "floe-plugin-window"]),
    ("floe-plugin-join", &["floe-sdk", "floe-plugin-sides"]),
    ("floe-plugin-enrich", &["floe-sdk", "floe-plugin-sides"]),
    ("floe-template-rust", &["floe-sdk"]),
    ("floe-example-payments", &["floe-sdk"]),
    ("floe-example-nexmark", &["floe-sdk"]),
    ("floe-example-prices", &["floe-sdk"]),
    ("floe-example-prices-fixed", &["floe-sdk"]),
    ("floe-example-rates", &["floe-sdk"]),
    (
        "floe-tests",
        &[
            "floe-core",
            "floe-source",
            "floe-operator",
            "floe-sink",
            "floe-checkpoint",
            "floe-pipeline",
            "floe-replay",
            "floe-conformance",
            // The native side of the benchmark has the operator's own collections.
            "floe-sdk",
            "floe-bench-totals",
        ],
    ),
    ("floe-bench-totals", &["floe-sdk"]),
    ("floe-xtask", &[]),
];

/// A heavy crate, and who may name it besides the cli, which joins them, and the tests.
const HEAVY: &[(&str, &[&str])] = &[
    ("rdkafka", &["floe-source", "floe-sink", "floe-effects"]),
    ("reqwest", &["floe-effects", "floe-sink", "floe-source"]),
    ("rdkafka-sys", &["floe-source"]),
    ("wasmtime", &["floe-operator"]),
    ("iceberg", &["floe-sink"]),
    ("iceberg-catalog-rest", &["floe-sink"]),
    ("iceberg-catalog-sql", &["floe-sink"]),
    ("parquet", &["floe-sink"]),
    ("sqlx", &["floe-sink"]),
    ("object_store", &["floe-checkpoint", "floe-sink"]),
    ("clap", &[]),
    ("anyhow", &["floe-xtask"]),
    ("axum", &[]),
];

const NAMES_ANYTHING: &[&str] = &["floe-cli", "floe-tests"];

/// Core is words and decisions: what it may name at all, in `[dependencies]`.
const CORE_MAY_NAME: &[&str] =
    &["arrow-array", "arrow-schema", "async-trait", "bytes", "serde", "thiserror"];

#[test]
fn crates_import_only_what_the_table_allows() {
    let metadata = metadata(&["--no-deps"]);
    let packages = metadata["packages"].as_array().expect("packages");
    let ours: Vec<&str> = packages.iter().filter_map(|it| it["name"].as_str()).collect();
    let table: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut errors = Vec::new();
    for package in packages {
        let name = package["name"].as_str().expect("a package has a name");
        let Some(allowed) = table.get(name) else {
            errors.push(format!("{name} is not in the import table"));
            continue;
        };
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let imported = dependency["name"].as_str().expect("a dependency has a name");
            // Dev-dependencies never reach what is shipped; but ours are held to the table all the same.
            let is_shipped = dependency["kind"].is_null();
            if ours.contains(&imported) && !allowed.contains(&imported) {
                errors.push(format!("{name} may not import {imported}"));
            }
            if is_shipped && !may_name(name, imported) {
                errors.push(format!("{name} may not name {imported}"));
            }
        }
    }
    for name in table.keys().filter(|it| !ours.contains(it)) {
        errors.push(format!("{name} is in the import table and not in the workspace"));
    }
    assert_none(&errors);
}

fn may_name(package: &str, imported: &str) -> bool {
    if package == "floe-core" {
        return CORE_MAY_NAME.contains(&imported);
    }
    let heavy = HEAVY.iter().find(|(name, _)| *name == imported);
    heavy.is_none_or(|(_, allowed)| allowed.contains(&package) || NAMES_ANYTHING.contains(&package))
}
