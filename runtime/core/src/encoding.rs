//! Hand-ordered bytes: little-endian integers, LEB128 varints, length-prefixed strings.
//!
//! Everything that is stored is written with these and read back with bounds checked: a reader of
//! altered bytes returns an error, and never panics or allocates more than the input's length.

/// Why bytes could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("ends at byte {at}, {wanted} more wanted")]
    Truncated { at: usize, wanted: usize },
    #[error("byte {at}: {what}")]
    Invalid { at: usize, what: &'static str },
    #[error("{left} bytes are left over at the end")]
    LeftOver { left: usize },
}

#[derive(Default)]
pub struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    pub fn new() -> Self {
        Encoder::default()
    }

    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub fn u32(&mut self, value: u32) {
        self.raw(&value.to_le_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.raw(&value.to_le_bytes());
    }

    /// Unsigned LEB128.
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// Zigzag, then LEB128.
    pub fn signed(&mut self, value: i64) {
        self.varint(((value << 1) ^ (value >> 63)) as u64);
    }

    pub fn bytes(&mut self, value: &[u8]) {
        self.varint(value.len() as u64);
        self.raw(value);
    }

    pub fn string(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    pub fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            None => self.u8(0),
            Some(value) => {
                self.u8(1);
                write(self, value);
            }
        }
    }

    pub fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.varint(items.len() as u64);
        for item in items {
            write(self, item);
        }
    }
}

pub struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Decoder { bytes, at: 0 }
    }

    pub fn at(&self) -> usize {
        self.at
    }

    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Every decoder ends with this: bytes left over are an alteration too.
    pub fn finish(self) -> Result<(), DecodeError> {
        match self.left() {
            0 => Ok(()),
            left => Err(DecodeError::LeftOver { left }),
        }
    }

    pub fn invalid<T>(&self, what: &'static str) -> Result<T, DecodeError> {
        Err(DecodeError::Invalid { at: self.at, what })
    }

    pub fn raw(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        if len > self.left() {
            return Err(DecodeError::Truncated { at: self.bytes.len(), wanted: len - self.left() });
        }
        let slice = &self.bytes[self.at..self.at + len];
        self.at += len;
        Ok(slice)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        Ok(self.raw(N)?.try_into().expect("raw returns the length asked for"))
    }

    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.raw(1)?[0])
    }

    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for index in 0..10 {
            let byte = self.u8()?;
            let bits = (byte & 0x7f) as u64;
            if index == 9 && bits > 1 {
                return self.invalid("a varint is over 64 bits");
            }
            value |= bits << (7 * index);
            if byte & 0x80 == 0 {
                if index > 0 && byte == 0 {
                    return self.invalid("a varint is longer than it need be");
                }
                return Ok(value);
            }
        }
        self.invalid("a varint has over 10 bytes")
    }

    pub fn varint_u32(&mut self) -> Result<u32, DecodeError> {
        let value = self.varint()?;
        u32::try_from(value).or_else(|_| self.invalid("a number is over 32 bits"))
    }

    pub fn signed(&mut self) -> Result<i64, DecodeError> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.varint()?;
        let len =
            usize::try_from(len).or_else(|_| self.invalid("a length is over the address space"))?;
        self.raw(len)
    }

    pub fn string(&mut self) -> Result<String, DecodeError> {
        let bytes = self.bytes()?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => self.invalid("a string is not UTF-8"),
        }
    }

    pub fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        match self.u8()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => self.invalid("an option is neither 0 nor 1"),
        }
    }

    /// Each item takes a byte at least, so a count over what is left is refused before allocating.
    pub fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.varint()?;
        if count > self.left() as u64 {
            return self.invalid("a list counts more items than there are bytes");
        }
        (0..count).map(|_| read(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        let mut encoder = Encoder::new();
        let numbers = [0, 1, 127, 128, 16383, 16384, u32::MAX as u64, u64::MAX];
        numbers.iter().for_each(|it| encoder.varint(*it));
        let signed = [0, -1, 1, i64::MIN, i64::MAX];
        signed.iter().for_each(|it| encoder.signed(*it));
        let bytes = encoder.finish();
        let mut decoder = Decoder::new(&bytes);
        numbers.iter().for_each(|it| assert_eq!(decoder.varint().unwrap(), *it));
        signed.iter().for_each(|it| assert_eq!(decoder.signed().unwrap(), *it));
        decoder.finish().unwrap();
    }

    #[test]
    fn altered_bytes_are_errors() {
        let cases: [(&[u8], &str); 4] = [
            (&[0x80], "truncated"),
            (&[0x80, 0x00], "longer than it need be"),
            (&[0xff; 11], "over 64 bits"),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], "over 64 bits"),
        ];
        for (bytes, why) in cases {
            assert!(Decoder::new(bytes).varint().is_err(), "{why}");
        }
        assert!(Decoder::new(&[200, 1]).list(|it| it.u8()).is_err(), "a count over the bytes left");
    }
}
