//! A JSON object becomes the cells of one row. Nothing of a row reaches a column before all of it is sound.

use std::borrow::Cow;
use std::fmt;

use arrow_schema::{DataType, Field};
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use sonic_rs::LazyValue;

use super::cell::{
    Cell, complete, expected, from_bool, from_f64, from_i64, from_null, from_raw, from_text,
    from_u64, not_json,
};

pub(super) struct RowParser {
    fields: Vec<Field>,
    /// Nested types and decimals take the slow path.
    slow: Vec<bool>,
}

impl RowParser {
    pub(super) fn new(fields: Vec<Field>) -> RowParser {
        let nested = |it: &Field| {
            matches!(
                it.data_type(),
                DataType::List(_) | DataType::Struct(_) | DataType::Decimal128(..)
            )
        };
        let slow = fields.iter().map(nested).collect();
        RowParser { fields, slow }
    }

    /// Leaves the cells in the order of the fields, or says why the record is rejected.
    pub(super) fn parse<'a>(
        &self,
        value: Option<&'a [u8]>,
        cells: &mut Vec<Cell<'a>>,
    ) -> Result<(), String> {
        let Some(value) = value else {
            return Err("it is a tombstone: it has no value".to_owned());
        };
        self.parse_object(value, cells)
    }

    /// The row of a record without a value: what its key says, and no more.
    pub(super) fn parse_tombstone<'a>(
        &self,
        key: Option<&'a [u8]>,
        cells: &mut Vec<Cell<'a>>,
    ) -> Result<(), String> {
        let is_object = |it: &&[u8]| it.trim_ascii_start().starts_with(b"{");
        let key = key.filter(is_object).unwrap_or(b"{}");
        self.parse_object(key, cells)
            .map_err(|what| format!("it is a tombstone, and of its key: {what}"))
    }

    fn parse_object<'a>(&self, value: &'a [u8], cells: &mut Vec<Cell<'a>>) -> Result<(), String> {
        let text = std::str::from_utf8(value)
            .map_err(|error| format!("the value is not UTF-8 (byte {})", error.valid_up_to()))?;
        if let Some(byte) = too_deep(text.as_bytes()) {
            return Err(format!("not JSON: nested deeper than {DEPTH_MAX} (byte {byte})"));
        }
        cells.clear();
        cells.resize_with(self.fields.len(), Cell::default);
        let mut wrong = None;
        let mut deserializer = sonic_rs::Deserializer::from_str(text);
        let row = Row { parser: self, cells, wrong: &mut wrong };
        let parsed = row.deserialize(&mut deserializer).and_then(|()| deserializer.end());
        if let Err(error) = parsed {
            return Err(wrong.unwrap_or_else(|| not_json(&error)));
        }
        for (field, cell) in self.fields.iter().zip(cells) {
            complete(field, cell)?;
        }
        Ok(())
    }
}

/// Lists and objects inside each other. The parser goes down its own stack for what it skips, without a
/// bound: a record of a million brackets would end the process, and the next one that reads it. 128 is what
/// serde_json allows.
pub(crate) const DEPTH_MAX: usize = 128;

/// Where a text opens its bracket number `DEPTH_MAX + 1` at once.
pub(crate) fn too_deep(text: &[u8]) -> Option<usize> {
    let opening = |it: &u8| matches!(it, b'[' | b'{');
    // Nearly every record ends here: it is too short, or has too few brackets at all.
    if text.len() <= DEPTH_MAX || text.iter().filter(|it| opening(it)).count() <= DEPTH_MAX {
        return None;
    }
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for (at, byte) in text.iter().enumerate() {
        if in_string {
            (in_string, escaped) = (escaped || *byte != b'"', !escaped && *byte == b'\\');
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Some(at);
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

struct Row<'s, 'a> {
    parser: &'s RowParser,
    cells: &'s mut Vec<Cell<'a>>,
    wrong: &'s mut Option<String>,
}

impl<'a> DeserializeSeed<'a> for Row<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Row<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        // Members mostly come in the order of the last record: the search begins behind the last hit.
        let mut next = 0;
        while let Some(index) = map.next_key_seed(Key { fields: &self.parser.fields, next })? {
            let Some(index) = index else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            next = index + 1;
            let field = &self.parser.fields[index];
            let cell = if self.parser.slow[index] {
                from_raw(field, &map.next_value::<LazyValue<'a>>()?)
            } else {
                map.next_value_seed(Value { field })?
            };
            match cell {
                // Of members with the same name the last counts.
                Ok(cell) => self.cells[index] = cell,
                Err(what) => {
                    *self.wrong = Some(format!("field {}: {what}", field.name()));
                    return Err(A::Error::custom("a field does not fit"));
                }
            }
        }
        Ok(())
    }
}

/// A member's name, looked up among the fields.
struct Key<'s> {
    fields: &'s [Field],
    next: usize,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Option<usize>, E> {
        if self.fields.get(self.next).is_some_and(|it| it.name() == name) {
            return Ok(Some(self.next));
        }
        Ok(self.fields.iter().position(|it| it.name() == name))
    }
}

/// A member's value, turned into a cell by the field's type. What does not fit is a value too, so that the
/// reason is ours and not the parser's.
struct Value<'s> {
    field: &'s Field,
}

type Fitted<'a> = Result<Cell<'a>, String>;

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Fitted<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Fitted<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Fitted<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Fitted<'de>, E> {
        Ok(from_bool(self.field, value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Fitted<'de>, E> {
        Ok(from_i64(self.field, value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Fitted<'de>, E> {
        Ok(from_u64(self.field, value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Fitted<'de>, E> {
        Ok(from_f64(self.field, value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Fitted<'de>, E> {
        Ok(from_text(self.field, Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Fitted<'de>, E> {
        Ok(from_text(self.field, Cow::Owned(value.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Fitted<'de>, E> {
        Ok(from_null(self.field))
    }

    fn visit_none<E>(self) -> Result<Fitted<'de>, E> {
        Ok(from_null(self.field))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fitted<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Err(expected(self.field, "an object")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Fitted<'de>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Err(expected(self.field, "a list")))
    }
}
