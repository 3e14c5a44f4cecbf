//! The macros of floe-sdk. Use them through `floe_sdk::prelude`.

use proc_macro::TokenStream;

mod operator;
mod row;

/// Makes a struct a row: its fields are columns.
///
/// `#[row(name = "…")]` on a field names its column differently; on the struct it names the output.
#[proc_macro_derive(Row, attributes(row))]
pub fn derive_row(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    row::expand(&input).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Makes an `impl Operator for …` the operator of this module.
///
/// It leaves the impl as it is but for two things: where `open` is missing it writes
/// `fn open(_: Config) -> Result<Self> { Ok(Self::default()) }`, and `'_` in `type Input` and
/// `type Output`, where Rust wants a name, becomes `'static`. For WebAssembly it adds the exports.
///
/// `#[operator(name = "totals", state_version = 2)]`: the name in messages, by default the struct's, and
/// the version of the state, by default 1.
///
/// `#[operator(state(by_merchant, seen))]` names the fields that are the state for other code: `floe state`
/// shows them as JSON, and `floe upgrade` gives them to another version of the operator. Their types are
/// serde's `Serialize` and `Deserialize`. It writes `export_state` and `import_state` where they are missing.
#[proc_macro_attribute]
pub fn operator(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let item = syn::parse_macro_input!(item as syn::ItemImpl);
    operator::expand(arguments.into(), item).unwrap_or_else(|error| error.to_compile_error()).into()
}
