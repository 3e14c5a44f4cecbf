//! Names of places in a guest's memory: the static variables that a module's DWARF tells.

use std::collections::BTreeMap;

use gimli::{AttributeValue, Dwarf, EndianSlice, LittleEndian, Operation, SectionId};
use wasmparser::{Parser, Payload};

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// Static variables by their address.
#[derive(Clone, Debug, Default)]
pub struct Symbols(BTreeMap<u64, String>);

impl Symbols {
    /// None for a module without DWARF, and for one whose DWARF cannot be read: it is for people alone.
    pub fn of(wasm: &[u8]) -> Symbols {
        read(wasm).unwrap_or_default()
    }

    /// The variable that begins at the address or last before it, and how far behind its begin that is.
    pub fn nearest(&self, address: u64) -> Option<(&str, u64)> {
        let (begin, name) = self.0.range(..=address).next_back()?;
        Some((name, address - begin))
    }
}

fn read(wasm: &[u8]) -> Option<Symbols> {
    let mut sections: BTreeMap<&str, &[u8]> = BTreeMap::new();
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::CustomSection(section) = payload.ok()? {
            sections.insert(section.name(), section.data());
        }
    }
    let load = |id: SectionId| -> Result<Slice<'_>, ()> {
        Ok(EndianSlice::new(sections.get(id.name()).copied().unwrap_or_default(), LittleEndian))
    };
    let dwarf = Dwarf::load(load).ok()?;
    let mut found = BTreeMap::new();
    let mut units = dwarf.units();
    while let Some(header) = units.next().ok()? {
        let unit = dwarf.unit(header).ok()?;
        let mut entries = unit.entries();
        while let Some(entry) = entries.next_dfs().ok()? {
            if entry.tag() != gimli::DW_TAG_variable {
                continue;
            }
            let Some(AttributeValue::Exprloc(place)) = entry.attr_value(gimli::DW_AT_location)
            else {
                continue;
            };
            let mut operations = place.operations(unit.encoding());
            let Some(Operation::Address { address }) = operations.next().ok().flatten() else {
                continue;
            };
            let name = entry
                .attr_value(gimli::DW_AT_name)
                .and_then(|it| dwarf.attr_string(&unit, it).ok())
                .map(|it| String::from_utf8_lossy(it.slice()).into_owned());
            if let Some(name) = name {
                found.entry(address).or_insert(name);
            }
        }
    }
    Some(Symbols(found))
}
