//! The exports of a module (A2): one static that holds the operator, and what `#[operator]` calls on it.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::UnsafeCell;
use std::panic;

use crate::abi::arrow::ArrayView;
use crate::abi::imports::{self, Imports};
use crate::abi::schema;
use crate::batch;
use crate::config;
use crate::operator::{Emit, Operator};
use crate::outputs::Outputs;
use crate::row::Value;
use crate::types::Timestamp;

/// The operator of this module and what it works with.
pub struct Guest<T: Operator>(UnsafeCell<State<T>>);

struct State<T: Operator> {
    running: Option<Running<T>>,
    input: Region,
}

struct Running<T: Operator> {
    operator: T,
    out: Emit<T::Output>,
}

// SAFETY: a module of this ABI has one thread (A22).
unsafe impl<T: Operator> Sync for Guest<T> {}

impl<T: Operator> Guest<T> {
    #[expect(clippy::new_without_default, reason = "a static needs a const fn")]
    pub const fn new() -> Self {
        Guest(UnsafeCell::new(State { running: None, input: Region::EMPTY }))
    }

    pub fn describe(&self, name: &'static str, version: &'static str, state_version: u32) -> i32 {
        let input = T::Input::field("");
        let outputs = T::Output::described();
        let outputs: Vec<_> = outputs.iter().map(|(name, field)| (*name, field)).collect();
        schema::describe(name, version, state_version, Some(&input), &outputs) as usize as i32
    }

    pub fn input(&self, len: i32) -> i32 {
        self.with(|state| state.input.at_least(len as u32 as usize) as usize as i32)
    }

    pub fn open(&self, config: i32, config_len: i32) -> i32 {
        panic::set_hook(Box::new(fail_at));
        // SAFETY: the host wrote `config_len` bytes there (A2, A10), and writes nothing during the call.
        let text = unsafe {
            std::slice::from_raw_parts(config as usize as *const u8, config_len as u32 as usize)
        };
        let text = std::str::from_utf8(text).unwrap_or_default();
        match config::open(text) {
            Ok(operator) => {
                self.with(|it| it.running = Some(Running { operator, out: Emit::new() }))
            }
            Err(error) => imports::fail(error.text()),
        }
        0
    }

    pub fn process(&self, array: i32) -> i32 {
        self.run(|running| {
            // SAFETY: the host wrote a canonical array of the input's schema there (A11, A12), and
            // writes nothing during the call.
            let rows = unsafe { ArrayView::new(array as usize as *const _) };
            batch::process(&mut running.operator, rows, &mut running.out, &mut Imports);
        })
    }

    pub fn watermark(&self, time_ms: i64) -> i32 {
        self.run(|Running { operator, out }| {
            if let Err(error) = batch::watermark(operator, Timestamp(time_ms), out, &mut Imports) {
                imports::fail(error.text());
            }
        })
    }

    #[cfg(feature = "state")]
    pub fn export_state(&self, version: u32) -> i32 {
        let mut pointer = 0;
        self.run(|running| match running.operator.export_state() {
            Ok(text) => {
                // The host reads them and drops the instance (A24).
                let text: &'static str = text.leak();
                let state = ExportedState { version, text: text.as_ptr(), text_len: text.len() };
                pointer = std::ptr::from_ref(Box::leak(Box::new(state))) as usize as i32;
            }
            Err(error) => imports::fail(error.text()),
        });
        pointer
    }

    #[cfg(feature = "state")]
    pub fn import_state(&self, states: i32, count: i32, own_version: u32) -> i32 {
        if count != 1 {
            imports::fail("several states cannot be merged by this operator");
        }
        // SAFETY: the host wrote one `floe_state` there and its text behind it (A25), and writes nothing
        // during the call.
        let (version, text) = unsafe {
            let state = &*(states as usize as *const ExportedState);
            (state.version, std::slice::from_raw_parts(state.text, state.text_len))
        };
        self.run(|Running { operator, .. }| {
            let taken = std::str::from_utf8(text)
                .map_err(crate::Error::from)
                .and_then(|text| crate::state::import(operator, own_version, version, text));
            if let Err(error) = taken {
                imports::fail(error.text());
            }
        })
    }

    fn run(&self, call: impl FnOnce(&mut Running<T>)) -> i32 {
        self.with(|state| match &mut state.running {
            Some(running) => call(running),
            None => imports::fail("the operator was called before `open`"),
        });
        0
    }

    fn with<R>(&self, call: impl FnOnce(&mut State<T>) -> R) -> R {
        // SAFETY: there is one thread, the host calls no export during an import (A15), and no export
        // calls another, so this is the only reference.
        call(unsafe { &mut *self.0.get() })
    }
}

/// A panic with its place, as the standard library writes it, without the standard library's means for it:
/// they would be 2 kB in each module.
pub(super) fn fail_at(info: &panic::PanicHookInfo<'_>) {
    let payload = info.payload();
    let message = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text.as_str(),
        (None, None) => "",
    };
    let (file, line, column) =
        info.location().map_or(("", 0, 0), |it| (it.file(), it.line(), it.column()));
    let mut text = String::from("panicked at ");
    text.push_str(file);
    for number in [line, column] {
        text.push(':');
        push_number(&mut text, number);
    }
    text.push_str(":\n");
    text.push_str(message);
    imports::fail(&text);
}

fn push_number(text: &mut String, number: u32) {
    if number > 9 {
        push_number(text, number / 10);
    }
    text.push(char::from(b'0' + (number % 10) as u8));
}

/// `floe_state` (A24).
#[cfg(feature = "state")]
#[repr(C)]
struct ExportedState {
    version: u32,
    text: *const u8,
    text_len: usize,
}

/// Where the host writes its input (A10). It only grows.
pub(super) struct Region {
    start: *mut u8,
    len: usize,
}

const REGION_ALIGN: usize = 64;

/// Growing to powers of two from here keeps the holes that grown-out-of regions leave small and few.
const REGION_BYTES_MIN: usize = 64 << 10;

impl Region {
    pub(super) const EMPTY: Region = Region { start: std::ptr::null_mut(), len: 0 };

    pub(super) fn at_least(&mut self, len: usize) -> *mut u8 {
        if len > self.len {
            self.release();
            let layout = layout(len.max(REGION_BYTES_MIN).next_power_of_two());
            // SAFETY: the layout's size is not zero.
            let start = unsafe { alloc(layout) };
            if start.is_null() {
                handle_alloc_error(layout);
            }
            *self = Region { start, len: layout.size() };
        }
        self.start
    }

    /// Gives the memory back, zeroed: what was input is no state.
    fn release(&mut self) {
        if self.len > 0 {
            // SAFETY: `start` was allocated with this very layout, and the host no longer uses it.
            unsafe {
                self.start.write_bytes(0, self.len);
                dealloc(self.start, layout(self.len));
            }
            *self = Region::EMPTY;
        }
    }
}

fn layout(len: usize) -> Layout {
    Layout::from_size_align(len, REGION_ALIGN).expect("an input region is smaller than the memory")
}

/// Writes the exports of a module. `#[operator]` uses it.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($operator:ty, $name:expr, $version:expr, $state_version:expr, $watermark:ident, $state:ident) => {
        const _: () = {
            static GUEST: $crate::abi::Guest<$operator> = $crate::abi::Guest::new();

            #[unsafe(no_mangle)]
            extern "C" fn floe_v1_describe() -> i32 {
                GUEST.describe($name, $version, $state_version)
            }
            #[unsafe(no_mangle)]
            extern "C" fn floe_v1_input(len: i32) -> i32 {
                GUEST.input(len)
            }
            #[unsafe(no_mangle)]
            extern "C" fn floe_v1_open(config: i32, config_len: i32) -> i32 {
                GUEST.open(config, config_len)
            }
            #[unsafe(no_mangle)]
            extern "C" fn floe_v1_process(array: i32) -> i32 {
                GUEST.process(array)
            }
    $crate::__export!(@$watermark);
    $crate::__export!(@$state $state_version);
        };
    };
    (@with_watermark) => {
        #[unsafe(no_mangle)]
        extern "C" fn floe_v1_watermark(time: i64) -> i32 {
            GUEST.watermark(time)
        }
    };
    (@without_watermark) => {};
    (@with_state $state_version:expr) => {
        #[unsafe(no_mangle)]
        extern "C" fn floe_v1_export_state() -> i32 {
            GUEST.export_state($state_version)
        }
        #[unsafe(no_mangle)]
        extern "C" fn floe_v1_import_state(states: i32, count: i32) -> i32 {
            GUEST.import_state(states, count, $state_version)
        }
    };
    (@without_state $state_version:expr) => {};
}
