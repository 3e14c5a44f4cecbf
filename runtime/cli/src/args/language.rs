//! The languages in which `floe new` begins an operator.

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Language {
    Rust,
    Go,
    C,
    Cpp,
    Zig,
    /// AssemblyScript
    As,
    /// JavaScript
    Js,
    /// TypeScript
    Ts,
}
