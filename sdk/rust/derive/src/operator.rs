//! `#[operator]`: the impl as it was written, `open` where it is missing, and the module's exports.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::{Error, ImplItem, ItemImpl, LitInt, LitStr, Result, Type};

use crate::row::with_static;

pub(crate) fn expand(arguments: TokenStream, mut item: ItemImpl) -> Result<TokenStream> {
    let is_operator = item
        .trait_
        .as_ref()
        .and_then(|(_, path, _)| path.segments.last())
        .is_some_and(|it| it.ident == "Operator");
    if !is_operator {
        return Err(Error::new_spanned(
            &item.self_ty,
            "#[operator] stands before `impl Operator for …`",
        ));
    }
    if !item.generics.params.is_empty() {
        return Err(Error::new_spanned(&item.generics, "an operator has no generic parameters"));
    }
    let Arguments { name, state_version, state } = arguments_of(arguments, &item.self_ty)?;

    name_elided_lifetimes(&mut item)?;
    if !has_function(&item, "open") {
        // At the type's place, so that a missing Default is reported there.
        item.items.push(ImplItem::Verbatim(quote_spanned! {item.self_ty.span()=>
            fn without_config() -> ::core::option::Option<Self> {
                ::core::option::Option::Some(<Self as ::core::default::Default>::default())
            }
        }));
        item.items.push(ImplItem::Verbatim(quote_spanned! {item.self_ty.span()=>
            fn open(_: ::floe_sdk::Config) -> ::floe_sdk::Result<Self> {
                ::core::result::Result::Ok(<Self as ::core::default::Default>::default())
            }
        }));
    }
    let told = has_function(&item, "export_state") || has_function(&item, "import_state");
    if let Some(fields) = &state {
        write_state(&mut item, fields);
    }
    let exports_state = match told || state.is_some() {
        true => quote!(with_state),
        false => quote!(without_state),
    };
    let watermark = match has_function(&item, "watermark") {
        true => quote!(with_watermark),
        false => quote!(without_watermark),
    };
    let operator = &item.self_ty;
    Ok(quote! {
        #item

        #[cfg(target_arch = "wasm32")]
        ::floe_sdk::__export!(
            #operator, #name, ::core::env!("CARGO_PKG_VERSION"), #state_version, #watermark, #exports_state
        );
        // Natively nothing but tests may use the operator; this says that it is used.
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = ::floe_sdk::abi::is_operator::<#operator>();
    })
}

struct Arguments {
    name: String,
    state_version: u32,
    state: Option<Told>,
}

/// The fields that are told.
#[derive(Default)]
struct Told {
    fields: Vec<Ident>,
    /// Those of them that are maps by the columns of `key-by`.
    by_key: Vec<Ident>,
}

/// The functions that tell the named fields and take them.
fn write_state(item: &mut ItemImpl, Told { fields, by_key }: &Told) {
    if !has_function(item, "export_state") {
        // Each at its field's name, so that a type that is not `Serialize` is reported there.
        let told = fields.iter().map(|field| {
            let name = field.to_string();
            quote_spanned!(field.span()=> state.put(#name, &self.#field)?;)
        });
        let names: Vec<String> = by_key.iter().map(Ident::to_string).collect();
        let named = (!names.is_empty())
            .then(|| quote!(state.put(::floe_sdk::state::BY_KEY, &[#(#names),*])?;));
        item.items.push(ImplItem::Verbatim(quote! {
            fn export_state(&self) -> ::floe_sdk::Result<::std::string::String> {
                let mut state = ::floe_sdk::state::Fields::default();
                #(#told)*
                #named
                ::core::result::Result::Ok(state.finish())
            }
        }));
    }
    if !has_function(item, "import_state") {
        let taken = fields.iter().map(|field| {
            let name = field.to_string();
            quote_spanned!(field.span()=> self.#field = state.get(#name)?;)
        });
        item.items.push(ImplItem::Verbatim(quote! {
            fn import_state(&mut self, state: &::floe_sdk::state::State) -> ::floe_sdk::Result<()> {
                #(#taken)*
                ::core::result::Result::Ok(())
            }
        }));
    }
}

fn arguments_of(arguments: TokenStream, operator: &Type) -> Result<Arguments> {
    let Type::Path(path) = operator else {
        return Err(Error::new_spanned(operator, "an operator is a struct"));
    };
    let name = path.path.segments.last().map(|it| kebab(&it.ident.to_string()));
    let mut read = Arguments { name: name.unwrap_or_default(), state_version: 1, state: None };
    let parser = syn::meta::parser(|meta| {
        if meta.path.is_ident("name") {
            read.name = meta.value()?.parse::<LitStr>()?.value();
        } else if meta.path.is_ident("state_version") {
            read.state_version = meta.value()?.parse::<LitInt>()?.base10_parse()?;
        } else if meta.path.is_ident("state") {
            let mut told = Told::default();
            meta.parse_nested_meta(|field| {
                if !field.path.is_ident("by_key") || !field.input.peek(syn::token::Paren) {
                    told.fields.push(field.path.require_ident()?.clone());
                    return Ok(());
                }
                field.parse_nested_meta(|field| {
                    let name = field.path.require_ident()?.clone();
                    told.fields.push(name.clone());
                    told.by_key.push(name);
                    Ok(())
                })
            })?;
            read.state = Some(told);
        } else {
            return Err(meta.error(
                "known here: name = \"…\", state_version = 1, state(field, by_key(field, …), …)",
            ));
        }
        Ok(())
    });
    parser.parse2(arguments)?;
    Ok(read)
}

/// `type Input = Payment<'_>` becomes `type Input = Payment<'static>`.
fn name_elided_lifetimes(item: &mut ItemImpl) -> Result<()> {
    let elided = Ident::new("_", Span::call_site());
    for item in &mut item.items {
        if let ImplItem::Type(assigned) = item {
            let ty = &assigned.ty;
            assigned.ty = syn::parse2(with_static(quote!(#ty), &elided))?;
        }
    }
    Ok(())
}

fn has_function(item: &ItemImpl, name: &str) -> bool {
    item.items.iter().any(|it| matches!(it, ImplItem::Fn(function) if function.sig.ident == name))
}

/// `RunningTotals` becomes `running-totals`.
fn kebab(name: &str) -> String {
    let mut kebab = String::new();
    let mut was_lower = false;
    for letter in name.chars() {
        if letter.is_uppercase() && was_lower {
            kebab.push('-');
        }
        was_lower = !letter.is_uppercase();
        kebab.extend(letter.to_lowercase());
    }
    kebab
}
