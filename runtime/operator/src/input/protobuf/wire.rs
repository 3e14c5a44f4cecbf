//! Bytes of a Protobuf message, read one after the other (protobuf.dev, "Encoding"). Nothing is trusted.

/// Groups inside each other: a value decides how deep.
const DEPTH_MAX: usize = 128;

#[derive(Clone, Copy)]
pub(super) struct Wire<'a> {
    rest: &'a [u8],
}

/// A value as it stands, by its wire type.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Varint(u64),
    Eight([u8; 8]),
    Bytes(&'a [u8]),
    Four([u8; 4]),
    Group,
}

const ENDS: &str = "not Protobuf by this schema: the message ends in the middle of a field";

impl<'a> Wire<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Wire<'a> {
        Wire { rest }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(ENDS)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn four(&mut self) -> Result<[u8; 4], String> {
        self.array()
    }

    pub(super) fn eight(&mut self) -> Result<[u8; 8], String> {
        self.array()
    }

    /// LEB128 of at most ten bytes.
    pub(super) fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0u64;
        for (index, byte) in self.rest.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 10 {
            ENDS
        } else {
            "not Protobuf by this schema: a number of more than ten bytes"
        }
        .to_owned())
    }

    /// Zigzag: as Confluent writes the place of a message.
    pub(super) fn signed(&mut self) -> Result<i64, String> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// The next field's number and value. A group is passed over.
    pub(super) fn field(&mut self) -> Result<(u32, Value<'a>), String> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|it| *it != 0).ok_or_else(|| {
            format!("not Protobuf by this schema: {} is no number of a field", tag >> 3)
        })?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Eight(self.array()?),
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| ENDS)?;
                let (taken, rest) = self.rest.split_at_checked(len).ok_or(ENDS)?;
                self.rest = rest;
                Value::Bytes(taken)
            }
            3 => {
                self.pass_group(number)?;
                Value::Group
            }
            5 => Value::Four(self.array()?),
            other => {
                return Err(format!(
                    "not Protobuf by this schema: field {number} has wire type {other}"
                ));
            }
        };
        Ok((number, value))
    }

    fn pass_group(&mut self, number: u32) -> Result<(), String> {
        let mut open = vec![number];
        while let Some(innermost) = open.last().copied() {
            let tag = self.varint()?;
            let of = u32::try_from(tag >> 3).map_err(|_| ENDS)?;
            match tag & 7 {
                0 => drop(self.varint()?),
                1 => drop(self.eight()?),
                2 => {
                    let len = usize::try_from(self.varint()?).map_err(|_| ENDS)?;
                    self.rest = self.rest.get(len..).ok_or(ENDS)?;
                }
                3 if open.len() < DEPTH_MAX => open.push(of),
                4 if of == innermost => drop(open.pop()),
                5 => drop(self.four()?),
                _ => return Err("not Protobuf by this schema: a group does not end".to_owned()),
            }
        }
        Ok(())
    }
}
