//! Bytes of an Avro value, read one after the other (Avro 1.12, "Binary Encoding"). Nothing is trusted.

use super::schema::{Kind, Schema, TypeId};

/// Records inside each other: a schema may name itself, and a value decides how deep.
const DEPTH_MAX: usize = 128;

/// Items without a byte of their own, such as nulls, that a value may have whatever its length.
const EMPTY_ITEMS_MAX: usize = 1024;

pub(super) struct Bytes<'a> {
    all: &'a [u8],
    rest: &'a [u8],
    /// Items that arrays and maps may still have.
    items_left: usize,
}

impl<'a> Bytes<'a> {
    pub(super) fn new(all: &'a [u8]) -> Bytes<'a> {
        Bytes { all, rest: all, items_left: all.len() + EMPTY_ITEMS_MAX }
    }

    pub(super) fn finish(self) -> Result<(), String> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(format!("not Avro by this schema: {left} bytes are left over at the end")),
        }
    }

    fn ends(&self) -> String {
        format!("not Avro by this schema: the value ends at byte {}", self.all.len())
    }

    pub(super) fn at(&self) -> usize {
        self.all.len() - self.rest.len()
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.ends())?;
        self.rest = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(|| self.ends())?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Zigzag, then LEB128 of at most ten bytes.
    pub(super) fn long(&mut self) -> Result<i64, String> {
        let mut value = 0u64;
        for (index, byte) in self.rest.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                if index == 9 && *byte > 1 {
                    break;
                }
                self.rest = &self.rest[index + 1..];
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        match self.rest.len() < 10 {
            true => Err(self.ends()),
            false => Err(format!("not Avro by this schema: no number at byte {}", self.at())),
        }
    }

    pub(super) fn int(&mut self) -> Result<i64, String> {
        let at = self.at();
        let value = self.long()?;
        match i32::try_from(value) {
            Ok(_) => Ok(value),
            Err(_) => Err(format!("not Avro by this schema: {value} at byte {at} is no int")),
        }
    }

    pub(super) fn boolean(&mut self) -> Result<bool, String> {
        let at = self.at();
        match self.array()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(format!("not Avro by this schema: {other} at byte {at} is no boolean")),
        }
    }

    /// Bytes behind their length.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], String> {
        let at = self.at();
        let len = self.long()?;
        let len = usize::try_from(len)
            .map_err(|_| format!("not Avro by this schema: {len} at byte {at} is no length"))?;
        self.take(len)
    }

    pub(super) fn index(&mut self, below: usize, what: &str) -> Result<usize, String> {
        let at = self.at();
        let index = self.long()?;
        usize::try_from(index).ok().filter(|it| *it < below).ok_or_else(|| {
            format!("not Avro by this schema: {index} at byte {at} is no {what}, of {below}")
        })
    }

    /// The items of the next block of an array or a map; 0 at the end.
    pub(super) fn block(&mut self) -> Result<usize, String> {
        let at = self.at();
        let wrong = |count: i64| {
            format!("not Avro by this schema: {count} items at byte {at} are too many")
        };
        let mut count = self.long()?;
        if count < 0 {
            // The block's size in bytes is for those who pass over it.
            self.long()?;
            count = count.checked_neg().ok_or_else(|| wrong(count))?;
        }
        let items = usize::try_from(count).ok().filter(|it| *it <= self.items_left);
        let items = items.ok_or_else(|| wrong(count))?;
        self.items_left -= items;
        Ok(items)
    }

    /// Passes over a value.
    pub(super) fn skip(&mut self, schema: &Schema, id: TypeId, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX} (byte {})", self.at()));
        }
        match &schema.get(id).kind {
            Kind::Null => Ok(()),
            Kind::Boolean => self.boolean().map(drop),
            Kind::Int | Kind::Long | Kind::Enum(_) => self.long().map(drop),
            Kind::Float => self.take(4).map(drop),
            Kind::Double => self.take(8).map(drop),
            Kind::Bytes | Kind::Text => self.bytes().map(drop),
            Kind::Fixed(size) => self.take(*size).map(drop),
            Kind::Array(items) => self.skip_items(schema, *items, false, depth),
            Kind::Map(values) => self.skip_items(schema, *values, true, depth),
            Kind::Union(branches) => {
                let branch = branches[self.index(branches.len(), "branch of a union")?];
                self.skip(schema, branch, depth + 1)
            }
            Kind::Record(fields) => {
                fields.iter().try_for_each(|(_, it)| self.skip(schema, *it, depth + 1))
            }
        }
    }

    fn skip_items(
        &mut self,
        schema: &Schema,
        item: TypeId,
        keyed: bool,
        depth: usize,
    ) -> Result<(), String> {
        loop {
            let count = self.block()?;
            if count == 0 {
                return Ok(());
            }
            for _ in 0..count {
                if keyed {
                    self.bytes()?;
                }
                self.skip(schema, item, depth + 1)?;
            }
        }
    }
}
