//! Bits, least significant first, as Arrow has them: booleans and validity.

#[derive(Default)]
pub(crate) struct Bits {
    bytes: Vec<u8>,
    rows: usize,
}

impl Bits {
    #[inline]
    pub(crate) fn push(&mut self, bit: bool) {
        let place = self.rows % 8;
        if place == 0 {
            self.bytes.push(u8::from(bit));
        } else if let Some(last) = self.bytes.last_mut() {
            *last |= u8::from(bit) << place;
        }
        self.rows += 1;
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn truncate(&mut self, rows: usize) {
        self.bytes.truncate(rows.div_ceil(8));
        self.rows = rows;
        // `push` relies on zeros behind the last bit.
        if !rows.is_multiple_of(8)
            && let Some(last) = self.bytes.last_mut()
        {
            *last &= (1 << (rows % 8)) - 1;
        }
    }

    pub(crate) fn zero_count(&self) -> usize {
        self.rows - self.bytes.iter().map(|it| it.count_ones() as usize).sum::<usize>()
    }

    pub(crate) fn clear(&mut self) {
        clear_to_zero(&mut self.bytes);
        self.rows = 0;
    }
}

/// Empties a buffer and leaves zeros in what it allocated.
pub(crate) fn clear_to_zero<T: Copy + Default>(buffer: &mut Vec<T>) {
    buffer.fill(T::default());
    buffer.clear();
}

/// A borrowed bitmap.
#[derive(Clone, Copy)]
pub struct BitsReader<'b>(pub(crate) &'b [u8]);

impl BitsReader<'_> {
    #[inline]
    pub(crate) fn get(self, row: usize) -> bool {
        self.0[row / 8] >> (row % 8) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_what_was_pushed_whatever_was_taken_back() {
        for kept in 0..20 {
            let mut bits = Bits::default();
            (0..kept).for_each(|row| bits.push(row % 3 == 0));
            (kept..kept + 9).for_each(|_| bits.push(true));
            bits.truncate(kept);
            (kept..24).for_each(|row| bits.push(row % 3 == 0));
            let reader = BitsReader(bits.as_bytes());
            assert!((0..24).all(|row| reader.get(row) == (row % 3 == 0)), "{kept} kept");
            assert_eq!(bits.zero_count(), 16);
        }
    }
}
