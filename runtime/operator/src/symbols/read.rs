//! Variables out of a module's DWARF, and the borders of stack and heap out of what its linker says.

use std::collections::BTreeMap;

use gimli::{
    AttributeValue, Dwarf, EndianSlice, EntriesTreeNode, LittleEndian, Operation, OperationIter,
    SectionId, Unit, UnitOffset,
};
use wasmparser::{ConstExpr, ExternalKind, Name, NameSectionReader, Operator, Parser, Payload};

use super::{POINTER_BYTES, Symbols, Variable};

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// Fields of fields are named this deep; what is deeper is of the field that holds it.
const DEPTH_MAX: usize = 8;
/// Fields of all variables; a module of Go has some thousands.
const FIELDS_MAX: usize = 100_000;

pub(super) fn read(wasm: &[u8]) -> Option<Symbols> {
    let mut sections: BTreeMap<&str, &[u8]> = BTreeMap::new();
    let mut borders = Borders::default();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.ok()? {
            Payload::CustomSection(section) => {
                sections.insert(section.name(), section.data());
                if section.name() == "name" {
                    borders.take_names(section.data(), section.data_offset());
                }
            }
            Payload::GlobalSection(globals) => {
                for global in globals {
                    borders.begins.push(constant(&global.ok()?.init_expr));
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    let export = export.ok()?;
                    if export.kind == ExternalKind::Global {
                        borders.names.entry(export.name.to_owned()).or_insert(export.index);
                    }
                }
            }
            _ => {}
        }
    }
    let load = |id: SectionId| -> Result<Slice<'_>, ()> {
        Ok(EndianSlice::new(sections.get(id.name()).copied().unwrap_or_default(), LittleEndian))
    };
    let dwarf = Dwarf::load(load).ok()?;
    let mut variables = BTreeMap::new();
    let mut units = dwarf.units();
    while let Some(header) = units.next().ok()? {
        let unit = dwarf.unit(header).ok()?;
        Reader { dwarf: &dwarf, unit: &unit, variables: &mut variables }.all()?;
    }
    let end_of_variables =
        variables.iter().filter_map(|(begin, it): (&u64, &Variable)| Some(begin + it.bytes?)).max();
    let heap = borders.of("__heap_base").or(end_of_variables);
    let stack = borders.of("__stack_pointer");
    Some(Symbols { variables, heap, stack })
}

/// Globals, as they begin, and the names that the linker gave them.
#[derive(Default)]
struct Borders {
    begins: Vec<Option<u64>>,
    names: BTreeMap<String, u32>,
}

impl Borders {
    fn of(&self, name: &str) -> Option<u64> {
        *self.begins.get(*self.names.get(name)? as usize)?
    }

    /// Names that cannot be read are none.
    fn take_names(&mut self, section: &[u8], offset: usize) {
        let reader = wasmparser::BinaryReader::new(section, offset);
        for name in NameSectionReader::new(reader).flatten() {
            let Name::Global(globals) = name else { continue };
            for global in globals.into_iter().flatten() {
                self.names.insert(global.name.to_owned(), global.index);
            }
        }
    }
}

fn constant(begin: &ConstExpr<'_>) -> Option<u64> {
    match begin.get_operators_reader().read().ok()? {
        Operator::I32Const { value } => Some(u64::from(value as u32)),
        _ => None,
    }
}

struct Reader<'a, 'd> {
    dwarf: &'a Dwarf<Slice<'d>>,
    unit: &'a Unit<Slice<'d>>,
    variables: &'a mut BTreeMap<u64, Variable>,
}

impl<'d> Reader<'_, 'd> {
    fn all(&mut self) -> Option<()> {
        let mut entries = self.unit.entries();
        while let Some(entry) = entries.next_dfs().ok()? {
            if entry.tag() != gimli::DW_TAG_variable {
                continue;
            }
            let Some(AttributeValue::Exprloc(place)) = entry.attr_value(gimli::DW_AT_location)
            else {
                continue;
            };
            let Some(pieces) = pieces(place.operations(self.unit.encoding())) else { continue };
            let Some(name) = self.text(entry.attr_value(gimli::DW_AT_name)) else { continue };
            let kind = reference(entry.attr_value(gimli::DW_AT_type));
            self.take(&pieces, 0, name, kind, 0);
        }
        Some(())
    }

    fn text(&self, value: Option<AttributeValue<Slice<'d>>>) -> Option<String> {
        let text = self.dwarf.attr_string(self.unit, value?).ok()?;
        Some(String::from_utf8_lossy(text.slice()).into_owned())
    }

    /// A variable or the field that begins `at` in it and, where that is a structure, the fields in it. The first
    /// that begins at an address is the innermost.
    fn take(
        &mut self,
        pieces: &[Piece],
        at: u64,
        name: String,
        kind: Option<UnitOffset>,
        depth: usize,
    ) {
        if self.variables.len() >= FIELDS_MAX {
            return;
        }
        let bytes = kind.and_then(|it| self.size_of(it, 0));
        if depth < DEPTH_MAX
            && let Some(kind) = kind
        {
            for (behind, field, kind) in self.fields(kind).unwrap_or_default() {
                let name = format!("{name}.{field}");
                self.take(pieces, at.wrapping_add(behind), name, kind, depth + 1);
            }
        }
        let piece = pieces.iter().find(|it| it.at <= at && at - it.at < it.bytes);
        if let Some(piece) = piece
            && bytes != Some(0)
        {
            let bytes = bytes.map(|it| it.min(piece.bytes - (at - piece.at)));
            let address = piece.address.wrapping_add(at - piece.at);
            self.variables.entry(address).or_insert(Variable { name, bytes });
        }
    }

    fn size_of(&self, kind: UnitOffset, depth: usize) -> Option<u64> {
        let entry = self.unit.entry(kind).ok()?;
        let told = entry.attr_value(gimli::DW_AT_byte_size).and_then(|it| it.udata_value());
        if told.is_some() || depth >= DEPTH_MAX {
            return told;
        }
        // Rust says no width of pointers.
        if entry.tag() == gimli::DW_TAG_pointer_type {
            return Some(POINTER_BYTES);
        }
        let inner = self.size_of(reference(entry.attr_value(gimli::DW_AT_type))?, depth + 1)?;
        match entry.tag() {
            gimli::DW_TAG_array_type => {
                let mut tree = self.unit.entries_tree(Some(kind)).ok()?;
                let mut ranges = tree.root().ok()?.children();
                let mut count = 1u64;
                while let Some(range) = ranges.next().ok()? {
                    let number =
                        |name| range.entry().attr_value(name).and_then(|it| it.udata_value());
                    let above = || number(gimli::DW_AT_upper_bound).map(|it| it.wrapping_add(1));
                    count = count.checked_mul(number(gimli::DW_AT_count).or_else(above)?)?;
                }
                inner.checked_mul(count)
            }
            _ => Some(inner),
        }
    }

    /// The fields of a structure: where each begins, its name and its type.
    fn fields(&self, kind: UnitOffset) -> Option<Vec<(u64, String, Option<UnitOffset>)>> {
        let mut tree = self.unit.entries_tree(Some(kind)).ok()?;
        let root = tree.root().ok()?;
        let mut fields = Vec::new();
        match root.entry().tag() {
            gimli::DW_TAG_structure_type | gimli::DW_TAG_class_type => {
                self.members(root, &mut fields)?;
            }
            // Another name for a type, or the same but constant.
            gimli::DW_TAG_typedef | gimli::DW_TAG_const_type | gimli::DW_TAG_volatile_type => {
                let of = reference(root.entry().attr_value(gimli::DW_AT_type))?;
                return self.fields(of);
            }
            _ => {}
        }
        Some(fields)
    }

    /// Members of a structure, and of each variant of an enum.
    fn members(
        &self,
        node: EntriesTreeNode<'_, '_, Slice<'d>>,
        fields: &mut Vec<(u64, String, Option<UnitOffset>)>,
    ) -> Option<()> {
        let mut children = node.children();
        while let Some(child) = children.next().ok()? {
            let entry = child.entry();
            match entry.tag() {
                gimli::DW_TAG_member => {
                    let at = entry.attr_value(gimli::DW_AT_data_member_location);
                    let at = at.and_then(|it| it.udata_value()).unwrap_or(0);
                    let kind = reference(entry.attr_value(gimli::DW_AT_type));
                    // The discriminant of an enum has no name.
                    if let Some(name) = self.text(entry.attr_value(gimli::DW_AT_name)) {
                        fields.push((at, name, kind));
                    }
                }
                gimli::DW_TAG_variant_part | gimli::DW_TAG_variant => {
                    self.members(child, fields)?;
                }
                _ => {}
            }
        }
        Some(())
    }
}

/// A part of a variable, and where it stands: LLVM takes structures apart.
struct Piece {
    /// In the variable.
    at: u64,
    address: u64,
    bytes: u64,
}

/// `None` for what is in no memory.
fn pieces(mut operations: OperationIter<Slice<'_>>) -> Option<Vec<Piece>> {
    let (mut pieces, mut at, mut begins) = (Vec::new(), 0, None);
    while let Some(operation) = operations.next().ok()? {
        match operation {
            Operation::Address { address } => begins = Some(address),
            Operation::Piece { size_in_bits, .. } => {
                let bytes = size_in_bits / 8;
                // A piece without an address was optimised away.
                pieces.extend(begins.take().map(|address| Piece { at, address, bytes }));
                at = at.checked_add(bytes)?;
            }
            _ => return None,
        }
    }
    // The whole variable in one piece.
    pieces.extend(begins.map(|address| Piece { at, address, bytes: u64::MAX }));
    (!pieces.is_empty()).then_some(pieces)
}

fn reference(value: Option<AttributeValue<Slice<'_>>>) -> Option<UnitOffset> {
    match value? {
        AttributeValue::UnitRef(offset) => Some(offset),
        _ => None,
    }
}
