//! Arrays of the Arrow C Data Interface: looked at where the host wrote them, and built over columns.

use std::marker::PhantomData;
use std::ptr;

use crate::column::bits::BitsReader;

/// `ArrowArray`, with its fields in the order of the specification.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct ArrowArray {
    length: i64,
    null_count: i64,
    offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *const *const u8,
    children: *const *const ArrowArray,
    dictionary: *const ArrowArray,
    release: usize,
    private_data: *const u8,
}

// A11. The order of fields gives these places on wasm32; natively pointers are longer.
#[cfg(target_arch = "wasm32")]
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<ArrowArray>() == 64);
    assert!(offset_of!(ArrowArray, n_children) == 32);
    assert!(offset_of!(ArrowArray, buffers) == 40);
    assert!(offset_of!(ArrowArray, children) == 44);
    assert!(offset_of!(ArrowArray, dictionary) == 48);
    assert!(offset_of!(ArrowArray, release) == 52);
    assert!(offset_of!(ArrowArray, private_data) == 56);
};

/// An array to read.
///
/// Invariant: it was made for the schema that its reader's type describes, by `ArrayView::new` or out of
/// such a view, so its buffers have the type and length that the schema and `rows` say (A11, A12).
#[derive(Clone, Copy)]
pub struct ArrayView<'b> {
    rows: usize,
    kind: Kind<'b>,
}

#[derive(Clone, Copy)]
enum Kind<'b> {
    Array(&'b ArrowArray),
    /// The bytes of binary values, as if they were an array of `u8`.
    Data(*const u8),
}

impl<'b> ArrayView<'b> {
    /// # Safety
    ///
    /// `array` points to an array of the schema that the view's reader describes, canonical as A12 has
    /// it, and it and all it points to stay as they are for `'b`.
    pub(crate) unsafe fn new(array: *const ArrowArray) -> Self {
        // SAFETY: the caller promises that the pointer is good for `'b`.
        let array = unsafe { &*array };
        ArrayView { rows: array.length as usize, kind: Kind::Array(array) }
    }

    #[doc(hidden)]
    pub fn rows(self) -> usize {
        self.rows
    }

    #[doc(hidden)]
    pub fn child(self, index: usize) -> ArrayView<'b> {
        let array = self.array();
        assert!(index < array.n_children as usize, "the host left out column {index}");
        // SAFETY: `children` points to `n_children` arrays, good for `'b`, by the invariant.
        unsafe { ArrayView::new(*array.children.add(index)) }
    }

    /// The first `len` values of a buffer. By the invariant, readers ask for what their schema says.
    pub(crate) fn values<T>(self, buffer: usize, len: usize) -> &'b [T] {
        let values = match self.kind {
            Kind::Data(values) => values,
            Kind::Array(array) => buffer_of(array, buffer),
        };
        if len == 0 {
            return &[];
        }
        assert!(!values.is_null(), "the host left out buffer {buffer}");
        // SAFETY: by the invariant the buffer holds `len` values of `T`, aligned, good for `'b`.
        unsafe { std::slice::from_raw_parts(values.cast(), len) }
    }

    /// Which rows are not null; `None` where no row is.
    pub(crate) fn validity(self) -> Option<BitsReader<'b>> {
        let has_nulls = self.array().null_count != 0;
        has_nulls.then(|| BitsReader(self.values(0, self.rows.div_ceil(8))))
    }

    /// A data buffer of `rows` bytes as an array of `u8`.
    pub(crate) fn data_as_array(self, buffer: usize, rows: usize) -> ArrayView<'b> {
        ArrayView { rows, kind: Kind::Data(buffer_of(self.array(), buffer)) }
    }

    fn array(self) -> &'b ArrowArray {
        match self.kind {
            Kind::Array(array) => array,
            Kind::Data(_) => unreachable!("only numbers are read out of bytes"),
        }
    }
}

fn buffer_of(array: &ArrowArray, index: usize) -> *const u8 {
    assert!(index < array.n_buffers as usize, "the host left out buffer {index}");
    // SAFETY: `buffers` points to `n_buffers` pointers, by the invariant of the view.
    unsafe { *array.buffers.add(index) }
}

/// The text of a utf8 column.
#[inline]
pub(crate) fn utf8(bytes: &[u8]) -> &str {
    // SAFETY: called by the readers of utf8 columns alone; the host validated their values, and their
    // offsets stand between characters (A12).
    unsafe { std::str::from_utf8_unchecked(bytes) }
}

/// An array over borrowed buffers, ready to be handed out.
pub struct Exported<'c> {
    array: ArrowArray,
    /// The first is the validity.
    buffers: Vec<*const u8>,
    children: Vec<Exported<'c>>,
    child_pointers: Vec<*const ArrowArray>,
    columns: PhantomData<&'c ()>,
}

impl<'c> Exported<'c> {
    #[doc(hidden)]
    pub fn new(rows: usize) -> Self {
        let array = ArrowArray {
            length: rows as i64,
            null_count: 0,
            offset: 0,
            n_buffers: 0,
            n_children: 0,
            buffers: ptr::null(),
            children: ptr::null(),
            dictionary: ptr::null(),
            release: 0,
            private_data: ptr::null(),
        };
        Exported {
            array,
            buffers: vec![ptr::null()],
            children: Vec::new(),
            child_pointers: Vec::new(),
            columns: PhantomData,
        }
    }

    pub(crate) fn buffer<T>(mut self, values: &'c [T]) -> Self {
        // An empty slice may point anywhere.
        self.buffers.push(if values.is_empty() { ptr::null() } else { values.as_ptr().cast() });
        self
    }

    pub(crate) fn nulls(mut self, null_count: usize, validity: &'c [u8]) -> Self {
        self.array.null_count = null_count as i64;
        self.buffers[0] = validity.as_ptr();
        self
    }

    /// Takes over the buffers of another array, without its validity.
    pub(crate) fn buffers_of(mut self, other: Exported<'c>) -> Self {
        self.buffers.extend_from_slice(&other.buffers[1..]);
        self
    }

    #[doc(hidden)]
    pub fn child(mut self, child: Exported<'c>) -> Self {
        self.children.push(child);
        self
    }

    /// The array with all its pointers. It is good until `self` is moved or dropped.
    pub(crate) fn seal(&mut self) -> *const ArrowArray {
        self.child_pointers = self.children.iter_mut().map(Exported::seal).collect();
        self.array.n_buffers = self.buffers.len() as i64;
        self.array.buffers = self.buffers.as_ptr();
        self.array.n_children = self.child_pointers.len() as i64;
        self.array.children = self.child_pointers.as_ptr();
        &raw const self.array
    }

    /// Looks at the array as the host does.
    ///
    /// # Safety
    ///
    /// The view is read by the row type whose column was exported, as long as `self` is neither moved nor
    /// dropped and its columns are unchanged.
    #[cfg(not(target_arch = "wasm32"))]
    unsafe fn view<'b>(&mut self) -> ArrayView<'b> {
        // SAFETY: `seal` makes an array of the column's schema; the caller keeps it in place.
        unsafe { ArrayView::new(self.seal()) }
    }
}

/// Reads the rows of a column as the host would, for native tests. The column is leaked, so that rows
/// that borrow may be kept as long as a test likes.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn leak_view<C: crate::row::Column + 'static>(column: C) -> ArrayView<'static> {
    let column: &'static C = Box::leak(Box::new(column));
    let exported: &'static mut Exported<'static> = Box::leak(Box::new(column.export()));
    // SAFETY: both were leaked, so they stay in place; `C` is the column of the type that reads it.
    unsafe { exported.view() }
}

/// Looks at an array as the host does, for native tests of the one who exports and reads it.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn view_exported<'e>(exported: &'e mut Exported<'_>) -> ArrayView<'e> {
    // SAFETY: it is borrowed for as long as the view is used, so it stays in place and its columns
    // unchanged; the tests read it by the schema that it was built for.
    unsafe { exported.view() }
}
