//! `#[derive(Row)]`: a column struct and a reader struct of the same fields, and the impls over them.

use proc_macro2::{TokenStream, TokenTree};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Error, Fields, Ident, LitStr, Result, Type};

struct Column<'a> {
    field: &'a Ident,
    name: String,
    /// The field's type with the struct's lifetime replaced by `'static`.
    ty: Type,
}

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let columns = columns(input)?;
    let row = &input.ident;
    let name = name_attribute(&input.attrs)?.unwrap_or_else(|| row.to_string());
    let has_lifetime = input.generics.lifetimes().next().is_some();
    let (generics, of) = match has_lifetime {
        true => (quote!(<'_>), quote!(#row<'b>)),
        false => (quote!(), quote!(#row)),
    };
    let (column_struct, reader_struct) =
        (format_ident!("{row}Columns"), format_ident!("{row}Reader"));

    let field: Vec<_> = columns.iter().map(|it| it.field).collect();
    // At the field's type, so that a type that cannot be a column is reported there.
    let value = columns.iter().map(|Column { ty, .. }| quote_spanned!(ty.span()=> <#ty as Value>));
    let value: Vec<_> = value.collect();
    let column_name: Vec<_> = columns.iter().map(|it| &it.name).collect();
    let index = 0..columns.len();

    Ok(quote! {
        const _: () = {
            use ::floe_sdk::abi::{ArrayView, Exported};
            use ::floe_sdk::row::{Column, Field, Row, Value};

            #[derive(Default)]
            pub struct #column_struct {
                rows: usize,
                #(#field: #value::Column,)*
            }

            pub struct #reader_struct<'b> {
                #(#field: #value::Reader<'b>,)*
                lifetime: ::core::marker::PhantomData<&'b ()>,
            }

            #[automatically_derived]
            impl Row for #row #generics {
                const NAME: &'static str = #name;
            }

            #[automatically_derived]
            impl Value for #row #generics {
                type Of<'b> = #of;
                type Column = #column_struct;
                type Reader<'b> = #reader_struct<'b>;

                fn field(name: &str) -> Field {
                    Field::new(name, "+s", ::std::vec![#(#value::field(#column_name)),*])
                }

                #[inline]
                fn append(self, column: &mut Self::Column) {
                    #(Value::append(self.#field, &mut column.#field);)*
                    column.rows += 1;
                }

                fn reader<'b>(array: ArrayView<'b>) -> Self::Reader<'b> {
                    #reader_struct {
                        #(#field: #value::reader(array.child(#index)),)*
                        lifetime: ::core::marker::PhantomData,
                    }
                }

                #[inline]
                fn read<'b>(reader: &Self::Reader<'b>, row: usize) -> Self::Of<'b> {
                    #row { #(#field: #value::read(&reader.#field, row),)* }
                }
            }

            #[automatically_derived]
            impl Column for #column_struct {
                fn push_empty(&mut self) {
                    #(Column::push_empty(&mut self.#field);)*
                    self.rows += 1;
                }

                #[inline]
                fn rows(&self) -> usize {
                    self.rows
                }

                fn truncate(&mut self, rows: usize) {
                    #(Column::truncate(&mut self.#field, rows);)*
                    self.rows = rows;
                }

                fn bytes(&self) -> usize {
                    0 #(+ Column::bytes(&self.#field))*
                }

                fn clear(&mut self) {
                    #(Column::clear(&mut self.#field);)*
                    self.rows = 0;
                }

                fn export(&self) -> Exported<'_> {
                    Exported::new(self.rows) #(.child(Column::export(&self.#field)))*
                }
            }
        };
    })
}

fn columns(input: &DeriveInput) -> Result<Vec<Column<'_>>> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(&input.ident, "only a struct can be a row"));
    };
    let Fields::Named(fields) = &data.fields else {
        return Err(Error::new_spanned(
            &input.ident,
            "a row has named fields: they are its columns",
        ));
    };
    if fields.named.is_empty() {
        return Err(Error::new_spanned(&input.ident, "a row has one field at least"));
    }
    let generics = &input.generics;
    if generics.type_params().next().is_some() || generics.const_params().next().is_some() {
        return Err(Error::new_spanned(
            generics,
            "a row has no generic parameters but one lifetime",
        ));
    }
    if generics.lifetimes().count() > 1 {
        return Err(Error::new_spanned(generics, "a row has one lifetime at most: its batch's"));
    }
    let lifetime = generics.lifetimes().next().map(|it| &it.lifetime.ident);

    let mut columns: Vec<Column<'_>> = Vec::new();
    for it in &fields.named {
        let Some(field) = &it.ident else {
            return Err(Error::new_spanned(it, "a row has named fields"));
        };
        let plain = field.to_string();
        let plain = plain.strip_prefix("r#").unwrap_or(&plain).to_owned();
        let name = name_attribute(&it.attrs)?.unwrap_or(plain);
        if columns.iter().any(|other| other.name == name) {
            return Err(Error::new_spanned(field, format!("two columns named {name:?}")));
        }
        let ty = &it.ty;
        let ty = match lifetime {
            Some(lifetime) => syn::parse2(with_static(quote!(#ty), lifetime))?,
            None => ty.clone(),
        };
        columns.push(Column { field, name, ty });
    }
    Ok(columns)
}

/// `#[row(name = "…")]`.
fn name_attribute(attributes: &[Attribute]) -> Result<Option<String>> {
    let mut name = None;
    for attribute in attributes.iter().filter(|it| it.path().is_ident("row")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("name") {
                return Err(meta.error("known here: name = \"…\""));
            }
            let text: LitStr = meta.value()?.parse()?;
            if text.value().is_empty() || text.value().contains('\0') {
                return Err(Error::new_spanned(text, "a name has letters, and no zero byte"));
            }
            name = Some(text.value());
            Ok(())
        })?;
    }
    Ok(name)
}

/// Replaces a lifetime by `'static`.
pub(crate) fn with_static(tokens: TokenStream, lifetime: &Ident) -> TokenStream {
    let mut out = Vec::new();
    let mut is_behind_quote = false;
    for token in tokens {
        let token = match token {
            TokenTree::Ident(name) if is_behind_quote && name == *lifetime => {
                TokenTree::Ident(Ident::new("static", name.span()))
            }
            TokenTree::Group(group) => {
                let inner = with_static(group.stream(), lifetime);
                let mut replaced = proc_macro2::Group::new(group.delimiter(), inner);
                replaced.set_span(group.span());
                TokenTree::Group(replaced)
            }
            other => other,
        };
        is_behind_quote = matches!(&token, TokenTree::Punct(it) if it.as_char() == '\'');
        out.push(token);
    }
    out.into_iter().collect()
}
