//! The names and memory layouts of the ABI, version 1 (`sdk/abi/ABI.md`).

pub(crate) const MEMORY: &str = "memory";
pub(crate) const DESCRIBE: &str = "floe_v1_describe";
pub(crate) const INPUT: &str = "floe_v1_input";
pub(crate) const CONFIGURE: &str = "floe_v1_configure";
pub(crate) const OPEN: &str = "floe_v1_open";
pub(crate) const PROCESS: &str = "floe_v1_process";
pub(crate) const WATERMARK: &str = "floe_v1_watermark";
pub(crate) const EXPORT_STATE: &str = "floe_v1_export_state";
pub(crate) const IMPORT_STATE: &str = "floe_v1_import_state";
pub(crate) const INITIALIZE: &str = "_initialize";

pub(crate) const IMPORTS: &str = "floe_v1";
pub(crate) const WASI: &str = "wasi_snapshot_preview1";

/// Exports that the rewriting adds: mutable globals by index, and the start function. A module has none
/// of its own with this prefix.
pub(crate) const OWN_PREFIX: &str = "floe:";
pub(crate) const GLOBAL_PREFIX: &str = "floe:global:";
pub(crate) const START: &str = "floe:start";
/// The memory that polls read (`poll`).
pub(crate) const POLLS: &str = "floe:polls";

/// `struct ArrowArray` on wasm32 (A11).
pub(crate) mod array {
    pub(crate) const BYTES: u64 = 64;
    pub(crate) const LENGTH: u64 = 0;
    pub(crate) const NULL_COUNT: u64 = 8;
    pub(crate) const OFFSET: u64 = 16;
    pub(crate) const N_BUFFERS: u64 = 24;
    pub(crate) const N_CHILDREN: u64 = 32;
    pub(crate) const BUFFERS: u64 = 40;
    pub(crate) const CHILDREN: u64 = 44;
    pub(crate) const DICTIONARY: u64 = 48;
    pub(crate) const RELEASE: u64 = 52;
}

/// `struct ArrowSchema` on wasm32 (A6).
pub(crate) mod schema {
    pub(crate) const BYTES: u64 = 48;
    pub(crate) const FORMAT: u64 = 0;
    pub(crate) const NAME: u64 = 4;
    pub(crate) const FLAGS: u64 = 16;
    pub(crate) const N_CHILDREN: u64 = 24;
    pub(crate) const CHILDREN: u64 = 32;
    pub(crate) const DICTIONARY: u64 = 36;
    pub(crate) const NULLABLE: u64 = 2;
}

/// Nesting of a column's type (A7).
pub(crate) const DEPTH_MAX: usize = 8;
pub(crate) const OUTPUTS_MAX: u32 = 16;
/// Columns of one schema, with the fields of nested types counted.
pub(crate) const COLUMNS_MAX: u64 = 4096;
/// Rows of one batch (A14).
pub const BATCH_ROWS_MAX: usize = 65_536;
/// Rows of one `emit`; they are handed on in batches of `BATCH_ROWS_MAX`.
pub(crate) const EMIT_ROWS_MAX: u64 = 16 << 20;
pub(crate) const TEXT_BYTES_MAX: u64 = 64 << 10;

/// `floe_state` (A24).
pub(crate) mod state {
    pub(crate) const BYTES: usize = 12;
    pub(crate) const VERSION: u64 = 0;
    pub(crate) const TEXT: u64 = 4;
    pub(crate) const TEXT_LEN: u64 = 8;
}
/// An exported state: as text it is larger than in memory, and the region that takes it is as large.
pub(crate) const STATE_BYTES_MAX: u64 = 512 << 20;
