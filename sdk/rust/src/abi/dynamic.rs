//! The exports of a module whose columns depend on its configuration (A27).

use std::cell::UnsafeCell;
use std::panic;

use crate::abi::arrow::ArrayView;
use crate::abi::guest::{Region, fail_at};
use crate::abi::imports::{self, Imports};
use crate::abi::schema::{self, ArrowSchema};
use crate::config::Config;
use crate::dynamic::{DynamicOperator, Out, Shape, batch};
use crate::error::Result;
use crate::types::Timestamp;

/// The operator of this module and what it works with.
pub struct DynamicGuest<T: DynamicOperator>(UnsafeCell<State<T>>);

struct State<T> {
    running: Option<Running<T>>,
    input: Region,
}

struct Running<T> {
    operator: T,
    shape: Shape,
    out: Out,
}

// SAFETY: a module of this ABI has one thread (A22).
unsafe impl<T: DynamicOperator> Sync for DynamicGuest<T> {}

impl<T: DynamicOperator> DynamicGuest<T> {
    #[expect(clippy::new_without_default, reason = "a static needs a const fn")]
    pub const fn new() -> Self {
        DynamicGuest(UnsafeCell::new(State { running: None, input: Region::EMPTY }))
    }

    pub fn describe(&self, name: &'static str, version: &'static str, state_version: u32) -> i32 {
        self.with(|state| {
            let Some(Running { shape, .. }) = &state.running else {
                return schema::describe(name, version, state_version, None, &[]) as usize as i32;
            };
            let input = shape.input.field();
            let fields: Vec<_> = shape.outputs.iter().map(|(_, it)| it.field()).collect();
            let outputs: Vec<_> = shape
                .outputs
                .iter()
                .zip(&fields)
                .map(|((name, _), it)| (name.as_str(), it))
                .collect();
            schema::describe(name, version, state_version, Some(&input), &outputs) as usize as i32
        })
    }

    pub fn input(&self, len: i32) -> i32 {
        self.with(|state| state.input.at_least(len as u32 as usize) as usize as i32)
    }

    pub fn configure(&self, config: i32, config_len: i32, upstream: i32) -> i32 {
        panic::set_hook(Box::new(fail_at));
        // SAFETY: the host wrote `config_len` bytes there (A10, A27), and writes nothing during the call.
        let text = unsafe {
            std::slice::from_raw_parts(config as usize as *const u8, config_len as u32 as usize)
        };
        match Running::open(&String::from_utf8_lossy(text), upstream as usize as *const _) {
            Ok(running) => self.with(|it| it.running = Some(running)),
            Err(error) => imports::fail(error.text()),
        }
        0
    }

    /// The operator was made by `configure`, of the same configuration.
    pub fn open(&self) -> i32 {
        self.run(|_| ())
    }

    pub fn process(&self, array: i32) -> i32 {
        self.run(|Running { operator, shape, out }| {
            // SAFETY: the host wrote a canonical array of the input's schema there (A11, A12), and
            // writes nothing during the call.
            let rows = unsafe { ArrayView::new(array as usize as *const _) };
            batch::process(operator, &shape.input, rows, out, &mut Imports);
        })
    }

    pub fn watermark(&self, time_ms: i64) -> i32 {
        self.run(|Running { operator, out, .. }| {
            if let Err(error) = operator.watermark(Timestamp(time_ms), out) {
                imports::fail(error.text());
            }
            out.hand_over(|output, rows| batch::Host::emit(&mut Imports, output, rows));
        })
    }

    fn run(&self, call: impl FnOnce(&mut Running<T>)) -> i32 {
        self.with(|state| match &mut state.running {
            Some(running) => call(running),
            None => imports::fail("the operator was called before `configure`"),
        });
        0
    }

    fn with<R>(&self, call: impl FnOnce(&mut State<T>) -> R) -> R {
        // SAFETY: there is one thread, the host calls no export during an import (A15), and no export
        // calls another, so this is the only reference.
        call(unsafe { &mut *self.0.get() })
    }
}

impl<T: DynamicOperator> Running<T> {
    fn open(config: &str, upstream: *const ArrowSchema) -> Result<Self> {
        let upstream = match upstream.is_null() {
            true => None,
            // SAFETY: the host wrote a schema there (A27), and writes nothing during the call.
            false => Some(unsafe { schema::columns(upstream) }?),
        };
        let config = Config::parse(config)?;
        let (operator, shape) = T::open(config.clone(), upstream.as_ref())?;
        config.refuse_unread()?;
        let out = Out::new(&shape.outputs);
        Ok(Running { operator, shape, out })
    }
}

/// Writes the exports of a module. `dynamic_operator!` uses it.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_dynamic {
    ($operator:ty, $name:expr, $version:expr, $state_version:expr) => {
        const _: () = {
            static GUEST: $crate::abi::DynamicGuest<$operator> = $crate::abi::DynamicGuest::new();

            #[unsafe(no_mangle)]
            extern "C" fn floe_v1_describe() -> i32 {
                GUEST.describe($name, $version, $state_version)
            }
            #[unsafe(no_mangle)]
            extern "C" fn floe_v1_input(len: i32) -> i32 {
                GUEST.input(len)
            }
            #[unsafe(no_mangle)]
            extern "C" fn floe_v1_configure(config: i32, config_len: i32, upstream: i32) -> i32 {
                GUEST.configure(config, config_len, upstream)
            }
            #[unsafe(no_mangle)]
            extern "C" fn floe_v1_open(_: i32, _: i32) -> i32 {
                GUEST.open()
            }
            #[unsafe(no_mangle)]
            extern "C" fn floe_v1_process(array: i32) -> i32 {
                GUEST.process(array)
            }
            #[unsafe(no_mangle)]
            extern "C" fn floe_v1_watermark(time: i64) -> i32 {
                GUEST.watermark(time)
            }
        };
    };
}
