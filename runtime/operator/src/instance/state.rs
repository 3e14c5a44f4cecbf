//! The state in the operator's own words: told as JSON, and taken from it (A24 to A26).

use bytes::Bytes;
use floe_core::ports::{ExportedState, no_state};
use floe_core::{Error, EventTime, Result};
use serde::de::IgnoredAny;

use super::Instance;
use crate::abi;
use crate::input::json::{DEPTH_MAX, too_deep};
use crate::memory::{Checked, GuestMemory, Violation, violation};

/// A walk over maps and the writing of numbers take some ten instructions a byte of memory.
const EXPORT_FUEL_PER_BYTE: u64 = 100;

/// Parsing JSON and filling maps take some hundred instructions a byte of text.
const IMPORT_FUEL_PER_BYTE: u64 = 1_000;

impl Instance {
    /// Called in an instance that nobody uses afterwards.
    pub(super) fn export_state(mut self) -> Result<ExportedState> {
        let name = self.store.data().name.clone();
        let function = self
            .instance
            .get_typed_func::<(), i32>(&mut self.store, abi::EXPORT_STATE)
            .map_err(|_| no_state(&name, "export_state"))?;
        let bytes = self.memory.data_size(&self.store) as u64;
        self.begin_sized(EXPORT_FUEL_PER_BYTE, bytes);
        self.store.data_mut().now = EventTime::MIN;
        let pointer = match self.call(&function, ()) {
            Ok(pointer) => u64::from(pointer as u32),
            Err(error) => {
                self.finish("export_state", Err(error))?;
                unreachable!("an error of the call is one of its end");
            }
        };
        let wanted = self.store.data().state_version;
        read(GuestMemory(self.memory.data(&self.store)), pointer, wanted)
            .map_err(|broken| Error::operator(format!("export_state of {name}: {}", broken.0)))
    }

    /// Follows `open`, before any batch.
    pub(crate) fn import(mut self, states: &[ExportedState]) -> Result<Instance> {
        let function = self
            .instance
            .get_typed_func::<(i32, i32), i32>(&mut self.store, abi::IMPORT_STATE)
            .map_err(|_| no_state(&self.store.data().name, "import_state"))?;
        let text_bytes: u64 = states.iter().map(|it| it.json.len() as u64).sum();
        if text_bytes > abi::STATE_BYTES_MAX {
            return Err(Error::invalid(too_large(text_bytes)));
        }
        self.begin_sized(IMPORT_FUEL_PER_BYTE, text_bytes);
        let head = (states.len() * abi::state::BYTES).next_multiple_of(64);
        let bytes = head as u64 + text_bytes;
        // As large as it must be and no larger: it stays for the instance's life.
        let (pointer, capacity) = match bytes <= u64::from(self.region.1) {
            true => self.region,
            false => self.grow_region(bytes)?,
        };
        self.region_used = capacity as usize;
        let region = &mut self.memory.data_mut(&mut self.store)
            [pointer as usize..pointer as usize + capacity as usize];
        region.fill(0);
        let mut text = head;
        for (index, state) in states.iter().enumerate() {
            region[text..text + state.json.len()].copy_from_slice(&state.json);
            let words = [state.version, pointer + text as u32, state.json.len() as u32];
            for (word, at) in words.iter().zip((index * abi::state::BYTES..).step_by(4)) {
                region[at..at + 4].copy_from_slice(&word.to_le_bytes());
            }
            text += state.json.len();
        }
        let done = self.call(&function, (pointer as i32, states.len() as i32));
        self.finish("import_state", done)?;
        Ok(self)
    }
}

fn too_large(bytes: u64) -> String {
    format!("a state of {bytes} bytes of JSON is over {}", abi::STATE_BYTES_MAX)
}

fn read(memory: GuestMemory<'_>, at: u64, wanted: u32) -> Checked<ExportedState> {
    let version = memory.u32(at + abi::state::VERSION)?;
    if version != wanted {
        return violation(format!(
            "it names state version {version}, and the module's description {wanted}"
        ));
    }
    let text = u64::from(memory.u32(at + abi::state::TEXT)?);
    let len = u64::from(memory.u32(at + abi::state::TEXT_LEN)?);
    if len > abi::STATE_BYTES_MAX {
        return violation(too_large(len));
    }
    let json = memory.bytes(text, len)?;
    let json = match std::str::from_utf8(json) {
        Ok(text) => text.as_bytes(),
        Err(_) => return violation("the state is not UTF-8"),
    };
    // A guest's brackets must not go down the host's stack.
    if too_deep(json).is_some() {
        return violation(format!("the state is nested deeper than {DEPTH_MAX}"));
    }
    sonic_rs::from_slice::<IgnoredAny>(json)
        .map_err(|error| Violation(format!("the state is no JSON: {error}")))?;
    Ok(ExportedState { version, json: Bytes::copy_from_slice(json) })
}
