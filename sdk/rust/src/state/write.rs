//! Values to canonical JSON: a text for each, with the keys of maps sorted.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::ser::{self, Serialize};

use super::Wrong;

/// A value as text, and whether it may be a key as it is.
pub(super) struct Fragment {
    text: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Quoted already.
    Text,
    /// A number or a boolean: a key when it is quoted.
    Plain,
    Other,
}

pub(super) type Entries = BTreeMap<String, String>;

impl Fragment {
    pub(super) fn text(self) -> String {
        self.text
    }
}

pub(super) fn object(entries: &Entries) -> String {
    let fields = entries.iter().map(|(key, value)| [key.as_str(), ":", value].concat());
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}

fn list(items: &[String]) -> String {
    format!("[{}]", items.join(","))
}

pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\0'..='\u{1f}' => {
                // Writing to a string does not fail.
                let _ = write!(quoted, "\\u{:04x}", letter as u32);
            }
            _ => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

fn other(text: String) -> Fragment {
    Fragment { text, kind: Kind::Other }
}

fn named(variant: &str, value: &str) -> Fragment {
    other(format!("{{{}:{value}}}", quoted(variant)))
}

/// Each value becomes a text of its own.
pub(super) struct Writer;

macro_rules! plain {
    ($($function:ident $type:ty,)*) => {
        $(fn $function(self, value: $type) -> Result<Fragment, Wrong> {
            Ok(Fragment { text: value.to_string(), kind: Kind::Plain })
        })*
    };
}

macro_rules! float {
    ($($function:ident $type:ty,)*) => {
        $(fn $function(self, value: $type) -> Result<Fragment, Wrong> {
            // `{:?}` is the shortest text that reads as the same number. JSON has no other numbers.
            match value.is_finite() {
                true => Ok(Fragment { text: format!("{value:?}"), kind: Kind::Plain }),
                false => Ok(Fragment { text: quoted(&value.to_string()), kind: Kind::Text }),
            }
        })*
    };
}

impl ser::Serializer for Writer {
    type Ok = Fragment;
    type Error = Wrong;
    type SerializeSeq = Items;
    type SerializeTuple = Items;
    type SerializeTupleStruct = Items;
    type SerializeTupleVariant = Items;
    type SerializeMap = Pairs;
    type SerializeStruct = Pairs;
    type SerializeStructVariant = Pairs;

    plain! {
        serialize_bool bool,
        serialize_i8 i8, serialize_i16 i16, serialize_i32 i32, serialize_i64 i64, serialize_i128 i128,
        serialize_u8 u8, serialize_u16 u16, serialize_u32 u32, serialize_u64 u64, serialize_u128 u128,
    }
    float! { serialize_f32 f32, serialize_f64 f64, }

    fn serialize_char(self, value: char) -> Result<Fragment, Wrong> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<Fragment, Wrong> {
        Ok(Fragment { text: quoted(value), kind: Kind::Text })
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Fragment, Wrong> {
        Ok(other(list(&value.iter().map(u8::to_string).collect::<Vec<_>>())))
    }

    fn serialize_none(self) -> Result<Fragment, Wrong> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Fragment, Wrong> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Fragment, Wrong> {
        Ok(other("null".to_owned()))
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<Fragment, Wrong> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<Fragment, Wrong> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<Fragment, Wrong> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Fragment, Wrong> {
        Ok(named(variant, &value.serialize(self)?.text))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Items, Wrong> {
        Ok(Items { variant: None, items: Vec::with_capacity(len.unwrap_or(0)) })
    }

    fn serialize_tuple(self, len: usize) -> Result<Items, Wrong> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_struct(self, _name: &'static str, len: usize) -> Result<Items, Wrong> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Items, Wrong> {
        Ok(Items { variant: Some(variant), items: Vec::with_capacity(len) })
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Pairs, Wrong> {
        Ok(Pairs { variant: None, entries: Entries::new(), key: None, keys_are_texts: true })
    }

    fn serialize_struct(self, _name: &'static str, len: usize) -> Result<Pairs, Wrong> {
        self.serialize_map(Some(len))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Pairs, Wrong> {
        Ok(Pairs { variant: Some(variant), ..self.serialize_map(Some(len))? })
    }
}

pub(super) struct Items {
    variant: Option<&'static str>,
    items: Vec<String>,
}

impl Items {
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Wrong> {
        self.items.push(value.serialize(Writer)?.text);
        Ok(())
    }

    fn finish(self) -> Fragment {
        let text = list(&self.items);
        match self.variant {
            None => other(text),
            Some(variant) => named(variant, &text),
        }
    }
}

/// The fields of a struct, or the entries of a map. Where a key is no text, all are pairs.
pub(super) struct Pairs {
    variant: Option<&'static str>,
    /// By the JSON of the key.
    entries: Entries,
    key: Option<String>,
    keys_are_texts: bool,
}

impl Pairs {
    fn put<T: Serialize + ?Sized>(&mut self, key: String, value: &T) -> Result<(), Wrong> {
        self.entries.insert(key, value.serialize(Writer)?.text);
        Ok(())
    }

    fn finish(self) -> Fragment {
        let text = match self.keys_are_texts {
            true => object(&self.entries),
            false => {
                let pair = |(key, value): (&String, &String)| format!("[{key},{value}]");
                list(&self.entries.iter().map(pair).collect::<Vec<_>>())
            }
        };
        match self.variant {
            None => other(text),
            Some(variant) => named(variant, &text),
        }
    }
}

impl ser::SerializeMap for Pairs {
    type Ok = Fragment;
    type Error = Wrong;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Wrong> {
        let key = key.serialize(Writer)?;
        self.keys_are_texts &= key.kind != Kind::Other;
        self.key = Some(match key.kind {
            Kind::Text | Kind::Other => key.text,
            Kind::Plain => quoted(&key.text),
        });
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Wrong> {
        let key = self.key.take().unwrap_or_default();
        self.put(key, value)
    }

    fn end(self) -> Result<Fragment, Wrong> {
        Ok(self.finish())
    }
}

macro_rules! items {
    ($($trait:ident $function:ident,)*) => {
        $(impl ser::$trait for Items {
            type Ok = Fragment;
            type Error = Wrong;

            fn $function<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Wrong> {
                self.push(value)
            }

            fn end(self) -> Result<Fragment, Wrong> {
                Ok(self.finish())
            }
        })*
    };
}

items! {
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field,
}

macro_rules! fields {
    ($($trait:ident,)*) => {
        $(impl ser::$trait for Pairs {
            type Ok = Fragment;
            type Error = Wrong;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Wrong> {
                self.put(quoted(name), value)
            }

            fn end(self) -> Result<Fragment, Wrong> {
                Ok(self.finish())
            }
        })*
    };
}

fields! { SerializeStruct, SerializeStructVariant, }
