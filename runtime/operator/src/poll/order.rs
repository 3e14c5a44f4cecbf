//! The order of code in loops, for the compile with polls: where a branch goes on in its loop and what stands
//! behind it may leave the loop, the two change places.
//!
//! Compilers of WebAssembly put what follows a loop into it, at the place where it is left. Cranelift visits the
//! taken side of a branch first, and what it visits first it lays last: behind `br_if` to the next iteration
//! the rest of that iteration lies behind everything that follows the loop. The allocator of registers takes
//! all that lies between for the loop, and stores and loads in each iteration what only the rest needs: on
//! raw JSON 4 accesses of memory and 2 jumps for each byte.
//!
//! `cond br_if $in REST end` becomes `cond eqz if REST end br $in end`: the same, with the sides exchanged.
//! Functions of a recursion stay as they are, so that how deep one gets does not depend on it.

use wasm_encoder::{CodeSection, Encode, Module, RawSection};
use wasmparser::{
    BinaryReaderError, ElementItems, FuncToValidate, FunctionBody, Operator, OperatorsReader,
    Parser, Payload, ValidPayload, Validator, ValidatorResources,
};

use super::place::{callees, imported_functions};
use crate::check::features;

/// Of a loop whose branches are turned, so that the work for a module stays proportional to its size.
const LOOP_INSTRUCTIONS_MAX: usize = 1_000;

const BR: u8 = 0x0c;
const BR_IF: u8 = 0x0d;
const BR_TABLE: u8 = 0x0e;
const I32_EQZ: u8 = 0x45;
/// Without a result.
const IF: [u8; 2] = [0x04, 0x40];
const END: u8 = 0x0b;

type Read<T> = Result<T, BinaryReaderError>;

/// The module, which was checked, in that order.
pub(super) fn in_order(wasm: &[u8]) -> Read<Vec<u8>> {
    let may_recur = may_recur(wasm)?;
    let mut validator = Validator::new_with_features(features());
    let (mut module, mut code) = (Module::new(), CodeSection::new());
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        match (validator.payload(&payload)?, &payload) {
            (ValidPayload::Func(function, body), _) => {
                let function_index = code.len() as usize;
                if may_recur[function_index] {
                    code.raw(&wasm[body.range()]);
                } else {
                    let instructions = instructions(function, &body)?;
                    code.raw(&Turn::new(wasm, &instructions).body(&body));
                }
                if code.len() as usize == may_recur.len() {
                    module.section(&code);
                }
            }
            (_, Payload::CodeSectionStart { .. }) => {}
            (_, other) => {
                if let Some((id, range)) = other.as_section() {
                    module.section(&RawSection { id, data: &wasm[range] });
                }
            }
        }
    }
    Ok(module.finish())
}

/// Of each function with a body: may it stand on the stack twice? A call by table may be of any function
/// that is in one.
fn may_recur(wasm: &[u8]) -> Read<Vec<bool>> {
    let imported = imported_functions(wasm)?;
    let (mut calls, mut by_table, mut in_tables) = (Vec::new(), Vec::new(), Vec::new());
    let own = |function: u32| function.checked_sub(imported).map(|it| it as usize);
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::ElementSection(section) => {
                for segment in section {
                    match segment?.items {
                        ElementItems::Functions(functions) => {
                            for function in functions {
                                in_tables.extend(own(function?));
                            }
                        }
                        ElementItems::Expressions(_, expressions) => {
                            for expression in expressions {
                                for operator in expression?.get_operators_reader() {
                                    if let Operator::RefFunc { function_index } = operator? {
                                        in_tables.extend(own(function_index));
                                    }
                                }
                            }
                        }
                    }
                }
            }
            Payload::CodeSectionEntry(body) => {
                let (callees, calls_by_table) = callees(&body, imported)?;
                by_table.push(calls_by_table);
                calls.push(callees);
            }
            _ => {}
        }
    }
    // One more, that all calls by table go through.
    let functions = calls.len();
    for (function, _) in by_table.iter().enumerate().filter(|it| *it.1) {
        calls[function].push(functions);
    }
    calls.push(in_tables);
    let mut callers = vec![Vec::new(); calls.len()];
    for (function, callees) in calls.iter().enumerate() {
        callees.iter().for_each(|it| callers[*it].push(function));
    }
    let (to_an_end, from_a_begin) = (lead_out(&calls, &callers), lead_out(&callers, &calls));
    Ok((0..functions).map(|it| !to_an_end[it] && !from_a_begin[it]).collect())
}

/// Those from which no way goes on for ever.
fn lead_out(ways: &[Vec<usize>], back: &[Vec<usize>]) -> Vec<bool> {
    let mut open: Vec<usize> = ways.iter().map(Vec::len).collect();
    let mut lead_out: Vec<bool> = open.iter().map(|it| *it == 0).collect();
    let mut found: Vec<usize> = (0..ways.len()).filter(|it| lead_out[*it]).collect();
    while let Some(it) = found.pop() {
        for from in &back[it] {
            open[*from] -= 1;
            if open[*from] == 0 {
                lead_out[*from] = true;
                found.push(*from);
            }
        }
    }
    lead_out
}

struct Instruction {
    at: usize,
    next: usize,
    kind: Kind,
}

enum Kind {
    Begin {
        is_loop: bool,
    },
    Else,
    End,
    /// `bare`: nothing but its condition is on the frame's stack.
    Branch {
        code: u8,
        depths: Vec<u32>,
        bare: bool,
    },
    /// The function ends here, well or not.
    Stop,
    Other,
}

fn instructions(
    function: FuncToValidate<ValidatorResources>,
    body: &FunctionBody<'_>,
) -> Read<Vec<Instruction>> {
    let mut validator = function.into_validator(Default::default());
    let mut reader = body.get_binary_reader();
    validator.read_locals(&mut reader)?;
    let mut reader = OperatorsReader::new(reader);
    let mut instructions = Vec::new();
    while !reader.eof() {
        let (operator, at) = reader.read_with_offset()?;
        let bare = validator.get_control_frame(0).is_some_and(|it| {
            !it.unreachable && validator.operand_stack_height() as usize == it.height + 1
        });
        let branch = |code, depths| Kind::Branch { code, depths, bare };
        let kind = match &operator {
            Operator::Loop { .. } => Kind::Begin { is_loop: true },
            Operator::Block { .. } | Operator::If { .. } => Kind::Begin { is_loop: false },
            Operator::Else => Kind::Else,
            Operator::End => Kind::End,
            Operator::Br { relative_depth } => branch(BR, vec![*relative_depth]),
            Operator::BrIf { relative_depth } => branch(BR_IF, vec![*relative_depth]),
            Operator::BrTable { targets } => {
                let mut depths = targets.targets().collect::<Read<Vec<_>>>()?;
                depths.push(targets.default());
                branch(BR_TABLE, depths)
            }
            Operator::Return
            | Operator::ReturnCall { .. }
            | Operator::ReturnCallIndirect { .. }
            | Operator::Unreachable => Kind::Stop,
            _ => Kind::Other,
        };
        validator.op(at, &operator)?;
        instructions.push(Instruction { at, next: reader.original_position(), kind });
    }
    Ok(instructions)
}

/// A frame of the source.
struct Frame {
    /// How many frames the result has around it.
    depth: u32,
    /// The innermost loop around what stands in it, itself included: its place among the frames.
    of_loop: Option<usize>,
}

/// A rest that stands in an `if` now.
struct Turned {
    /// The place of the instruction behind it.
    end: usize,
    falls_through: bool,
    /// Of the branch that stood before it.
    depths: Vec<u32>,
}

/// What a rest does.
struct Rest {
    end: usize,
    falls_through: bool,
    may_leave: bool,
}

struct Turn<'a> {
    wasm: &'a [u8],
    instructions: &'a [Instruction],
    /// Of each loop's first instruction: how many instructions it has. 0 elsewhere.
    loop_lengths: Vec<usize>,
    frames: Vec<Frame>,
    /// Innermost last.
    turned: Vec<Turned>,
    depth: u32,
    bytes: Vec<u8>,
}

impl<'a> Turn<'a> {
    fn new(wasm: &'a [u8], instructions: &'a [Instruction]) -> Turn<'a> {
        let mut loop_lengths = vec![0; instructions.len()];
        let mut begun = Vec::new();
        for (place, instruction) in instructions.iter().enumerate() {
            match instruction.kind {
                Kind::Begin { is_loop } => begun.push((place, is_loop)),
                // The last one is the function's own.
                Kind::End => {
                    if let Some((begin, true)) = begun.pop() {
                        loop_lengths[begin] = place - begin;
                    }
                }
                _ => {}
            }
        }
        Turn {
            wasm,
            instructions,
            loop_lengths,
            frames: vec![Frame { depth: 0, of_loop: None }],
            turned: Vec::new(),
            depth: 1,
            bytes: Vec::new(),
        }
    }

    fn body(mut self, body: &FunctionBody<'_>) -> Vec<u8> {
        let (range, instructions) = (body.range(), self.instructions);
        let first = instructions.first().map_or(range.end, |it| it.at);
        self.bytes.extend_from_slice(&self.wasm[range.start..first]);
        for (place, instruction) in instructions.iter().enumerate() {
            while let Some(turned) = self.turned.pop_if(|it| it.end == place) {
                self.close(&turned);
            }
            self.instruction(place, instruction);
        }
        self.bytes
    }

    fn instruction(&mut self, place: usize, instruction: &Instruction) {
        match &instruction.kind {
            Kind::Branch { code, depths, bare } => {
                let may_turn = *code == BR_IF && *bare;
                match may_turn.then(|| self.turns(place, depths[0])).flatten() {
                    Some(rest) => self.open(rest, depths),
                    None => self.branch(*code, depths),
                }
                return;
            }
            Kind::Begin { is_loop } => {
                let is_small = self.loop_lengths[place] <= LOOP_INSTRUCTIONS_MAX;
                let around = self.frames.last().and_then(|it| it.of_loop);
                let of_loop = match is_loop {
                    true => is_small.then_some(self.frames.len()),
                    false => around,
                };
                self.frames.push(Frame { depth: self.depth, of_loop });
                self.depth += 1;
            }
            Kind::End => {
                self.frames.pop();
                self.depth -= 1;
            }
            Kind::Else | Kind::Stop | Kind::Other => {}
        }
        self.bytes.extend_from_slice(&self.wasm[instruction.at..instruction.next]);
    }

    /// What stands behind a branch, if the two are to change places.
    fn turns(&self, place: usize, depth: u32) -> Option<Rest> {
        let innermost = self.frames.len() - 1;
        let of_loop = self.frames[innermost].of_loop?;
        // To the loop's own begin it is no way that would have to be laid somewhere.
        let stays = innermost.checked_sub(depth as usize)? > of_loop;
        if !stays {
            return None;
        }
        let rest = self.rest(place + 1, innermost - of_loop);
        rest.may_leave.then_some(rest)
    }

    /// `outermost` is the depth of the loop there.
    fn rest(&self, begin: usize, outermost: usize) -> Rest {
        let (mut nested, mut rest) =
            (0_usize, Rest { end: begin, falls_through: true, may_leave: false });
        for instruction in &self.instructions[begin..] {
            let is_end = nested == 0 && matches!(instruction.kind, Kind::End | Kind::Else);
            if is_end {
                break;
            }
            rest.end += 1;
            rest.falls_through = true;
            match &instruction.kind {
                Kind::Begin { .. } => nested += 1,
                Kind::End => nested -= 1,
                Kind::Branch { code, depths, .. } => {
                    rest.may_leave |= depths.iter().any(|it| *it as usize > nested + outermost);
                    rest.falls_through = nested > 0 || *code == BR_IF;
                }
                Kind::Stop => {
                    rest.may_leave = true;
                    rest.falls_through = nested > 0;
                }
                Kind::Else | Kind::Other => {}
            }
        }
        rest
    }

    fn open(&mut self, rest: Rest, depths: &[u32]) {
        let Rest { end, falls_through, .. } = rest;
        self.turned.push(Turned { end, falls_through, depths: depths.to_vec() });
        self.bytes.push(I32_EQZ);
        self.bytes.extend_from_slice(&IF);
        self.depth += 1;
    }

    fn close(&mut self, turned: &Turned) {
        if turned.falls_through {
            // To the end of the frame that both stand in.
            self.branch(BR, &[0]);
        }
        self.bytes.push(END);
        self.depth -= 1;
        self.branch(BR, &turned.depths);
    }

    fn branch(&mut self, code: u8, depths: &[u32]) {
        self.bytes.push(code);
        if code == BR_TABLE {
            ((depths.len() - 1) as u32).encode(&mut self.bytes);
        }
        for depth in depths {
            let target = &self.frames[self.frames.len() - 1 - *depth as usize];
            (self.depth - 1 - target.depth).encode(&mut self.bytes);
        }
    }
}
