//! Reads of guest memory: every address is checked in 64-bit arithmetic.

/// A read that the guest's pointers do not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) String);

pub(crate) type Checked<T> = Result<T, Violation>;

pub(crate) fn violation<T>(what: impl Into<String>) -> Checked<T> {
    Err(Violation(what.into()))
}

/// The guest's memory as it is during one import.
#[derive(Clone, Copy)]
pub(crate) struct GuestMemory<'a>(pub(crate) &'a [u8]);

impl<'a> GuestMemory<'a> {
    pub(crate) fn bytes(self, at: u64, len: u64) -> Checked<&'a [u8]> {
        let end = at.checked_add(len).filter(|end| *end <= self.0.len() as u64);
        match end {
            Some(end) => Ok(&self.0[at as usize..end as usize]),
            None => violation(format!(
                "{len} bytes at {at:#x} are outside of the guest's memory of {} bytes",
                self.0.len()
            )),
        }
    }

    pub(crate) fn u32(self, at: u64) -> Checked<u32> {
        let bytes = self.bytes(at, 4)?;
        Ok(u32::from_le_bytes(bytes.try_into().expect("four bytes were asked for")))
    }

    pub(crate) fn i64(self, at: u64) -> Checked<i64> {
        let bytes = self.bytes(at, 8)?;
        Ok(i64::from_le_bytes(bytes.try_into().expect("eight bytes were asked for")))
    }

    /// A count or length that must not be negative.
    pub(crate) fn count(self, at: u64, what: &str, max: u64) -> Checked<u64> {
        let value = self.i64(at)?;
        match u64::try_from(value) {
            Ok(count) if count <= max => Ok(count),
            _ => violation(format!("{what} is {value}, and must be 0 to {max}")),
        }
    }

    pub(crate) fn text(self, at: u64, len: u64, max: u64) -> Checked<&'a str> {
        if len > max {
            return violation(format!("a text of {len} bytes is over {max}"));
        }
        match std::str::from_utf8(self.bytes(at, len)?) {
            Ok(text) => Ok(text),
            Err(_) => violation(format!("the text at {at:#x} is not UTF-8")),
        }
    }

    /// A text that ends with a zero byte.
    pub(crate) fn c_text(self, at: u64, max: u64) -> Checked<&'a str> {
        let left = (self.0.len() as u64).saturating_sub(at).min(max + 1);
        let bytes = self.bytes(at, left)?;
        match bytes.iter().position(|it| *it == 0) {
            Some(len) => self.text(at, len as u64, max),
            None => violation(format!("the text at {at:#x} has no end within {max} bytes")),
        }
    }
}
