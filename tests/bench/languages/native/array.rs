//! A batch as the Arrow C Data Interface has it natively, over the columns where they are.

use std::ffi::c_void;
use std::ptr;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array as _, RecordBatch};
use arrow_schema::DataType;

#[repr(C)]
pub(crate) struct ArrowArray {
    length: i64,
    null_count: i64,
    offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *const *const c_void,
    children: *const *const ArrowArray,
    dictionary: *const c_void,
    release: *const c_void,
    private_data: *const c_void,
}

/// Invariant: every pointer of it is into what it owns.
pub(crate) struct Array {
    root: Box<ArrowArray>,
    _columns: Vec<ArrowArray>,
    _children: Vec<*const ArrowArray>,
    _buffers: Vec<Vec<*const c_void>>,
    _batch: RecordBatch,
}

impl Array {
    /// Columns of bytes and of numbers, without nulls.
    pub(crate) fn of(batch: &RecordBatch) -> Array {
        let rows = batch.num_rows();
        let buffers = batch.columns().iter().map(|column| match column.data_type() {
            DataType::Int64 => {
                vec![ptr::null(), column.as_primitive::<Int64Type>().values().as_ptr().cast()]
            }
            _ => {
                let bytes = column.as_binary::<i32>();
                vec![ptr::null(), bytes.offsets().as_ptr().cast(), bytes.values().as_ptr().cast()]
            }
        });
        let mut buffers: Vec<Vec<*const c_void>> = buffers.collect();
        let columns = buffers.iter().map(|it| array(rows, it, &[]));
        let columns: Vec<ArrowArray> = columns.collect();
        let children: Vec<*const ArrowArray> = columns.iter().map(ptr::from_ref).collect();
        buffers.push(vec![ptr::null()]);
        let own = buffers.last().map_or(&[][..], Vec::as_slice);
        let root = Box::new(array(rows, own, &children));
        Array {
            root,
            _columns: columns,
            _children: children,
            _buffers: buffers,
            _batch: batch.clone(),
        }
    }

    pub(crate) fn root(&self) -> *const ArrowArray {
        &raw const *self.root
    }
}

fn array(rows: usize, buffers: &[*const c_void], children: &[*const ArrowArray]) -> ArrowArray {
    ArrowArray {
        length: rows as i64,
        null_count: 0,
        offset: 0,
        n_buffers: buffers.len() as i64,
        n_children: children.len() as i64,
        buffers: buffers.as_ptr(),
        children: children.as_ptr(),
        dictionary: ptr::null(),
        release: ptr::null(),
        private_data: ptr::null(),
    }
}
