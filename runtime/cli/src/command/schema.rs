//! `floe schema`: the JSON schema of the pipeline file.

pub(crate) fn schema() -> anyhow::Result<()> {
    super::print_json(&floe_pipeline::config::json_schema())
}

#[cfg(test)]
mod tests {
    /// Editors are pointed at the committed copy: it changes with the code or not at all.
    #[test]
    fn the_committed_copy_is_the_schema() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/pipeline.schema.json");
        let committed: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert!(
            committed == floe_pipeline::config::json_schema(),
            "run: floe schema > runtime/cli/pipeline.schema.json"
        );
    }
}
