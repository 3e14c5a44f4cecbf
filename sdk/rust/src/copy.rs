//! Copying of short texts without a call.

/// Texts up to here are copied without a call: in WebAssembly a copy whose length is unknown calls the
/// host's `memory.copy`, which costs more than the copying of an id does.
const COPY_INLINE_BYTES_MAX: usize = 64;

/// Copies bytes to a place of the same length.
#[inline]
pub(crate) fn copy(place: &mut [u8], bytes: &[u8]) {
    let len = bytes.len();
    assert!(place.len() == len);
    match len {
        0 => {}
        1..4 => {
            // First, middle and last: the same byte for one, and two of them for two.
            place[0] = bytes[0];
            place[len / 2] = bytes[len / 2];
            place[len - 1] = bytes[len - 1];
        }
        4..8 => copy_ends::<4>(place, bytes),
        8..16 => copy_ends::<8>(place, bytes),
        16..32 => copy_ends::<16>(place, bytes),
        32..COPY_INLINE_BYTES_MAX => copy_ends::<32>(place, bytes),
        _ => place.copy_from_slice(bytes),
    }
}

/// Copies N to 2N bytes as their first N and their last N, which may overlap.
#[inline]
fn copy_ends<const N: usize>(place: &mut [u8], bytes: &[u8]) {
    if let (Some(to), Some(from)) = (place.first_chunk_mut::<N>(), bytes.first_chunk::<N>()) {
        *to = *from;
    }
    if let (Some(to), Some(from)) = (place.last_chunk_mut::<N>(), bytes.last_chunk::<N>()) {
        *to = *from;
    }
}
