//! Where polls stand: at each loop, before each call whose target is not known or that may be a recursion,
//! before each call of the host and each bulk operation, and wherever a path became long without one.
//!
//! Loops and recursion alone are not enough: sixty functions that each call the next one twice run for ever
//! without either, and so does the way back from a deep recursion. So the longest path without a poll is
//! computed for each function from those of the functions that it calls, and is kept below a limit.

use wasmparser::{BinaryReaderError, FunctionBody, Operator, Parser, Payload, TypeRef};

/// Instructions between two polls at the most, but for one call's entry: some microseconds.
const PATH_MAX: u32 = 10_000;
/// Instructions since the last poll where a function returns, so that its caller has room left.
const RETURN_MAX: u32 = 5_000;

type Read<T> = Result<T, BinaryReaderError>;

/// What is found in a body, as places in the module's bytes, each in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// Before these a poll belongs.
    pub(super) polls: Vec<usize>,
    /// Branches that are hardly ever taken: those that leave several loops at once. A search or a parser ends
    /// its inner loops one by one, unless what it reads is broken. It decides where code lies (a tenth less time
    /// on raw JSON), and no result.
    pub(super) unlikely: Vec<usize>,
}

/// Those of each body.
pub(super) fn places(bodies: &[FunctionBody<'_>], imported: u32) -> Read<Vec<Places>> {
    let calls = bodies.iter().map(|it| Ok(callees(it, imported)?.0)).collect::<Read<Vec<_>>>()?;
    let mut known: Vec<Option<Known>> = vec![None; bodies.len()];
    let mut places = vec![Places::default(); bodies.len()];
    // Callees first. What is not known yet when a function's turn comes is among those that led to it:
    // calling it may be a recursion.
    for function in callees_first(&calls) {
        let mut walk = Walk::new(imported, &known);
        walk.body(&bodies[function])?;
        let (at, learned) = walk.conclude();
        places[function] = at;
        known[function] = Some(learned);
    }
    Ok(places)
}

pub(super) fn imported_functions(wasm: &[u8]) -> Read<u32> {
    let mut count = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::ImportSection(section) = payload? {
            for import in section.into_imports() {
                let is_function = matches!(import?.ty, TypeRef::Func(_) | TypeRef::FuncExact(_));
                count += u32::from(is_function);
            }
            break;
        }
    }
    Ok(count)
}

/// The functions that a body calls by their number, without those of the host; and does it call by table?
pub(super) fn callees(body: &FunctionBody<'_>, imported: u32) -> Read<(Vec<usize>, bool)> {
    let (mut callees, mut by_table) = (Vec::new(), false);
    let mut reader = body.get_operators_reader()?;
    while !reader.eof() {
        match reader.read()? {
            Operator::Call { function_index: it } | Operator::ReturnCall { function_index: it } => {
                callees.extend(it.checked_sub(imported).map(|it| it as usize));
            }
            Operator::CallIndirect { .. } | Operator::ReturnCallIndirect { .. } => by_table = true,
            _ => {}
        }
    }
    callees.sort_unstable();
    callees.dedup();
    Ok((callees, by_table))
}

/// All functions; each behind those that it calls, as far as there is such an order.
fn callees_first(calls: &[Vec<usize>]) -> Vec<usize> {
    let mut order = Vec::with_capacity(calls.len());
    let mut seen = vec![false; calls.len()];
    for root in 0..calls.len() {
        if std::mem::replace(&mut seen[root], true) {
            continue;
        }
        let mut path = vec![(root, 0)];
        while let Some((function, next)) = path.last_mut() {
            match calls[*function].get(*next) {
                Some(callee) => {
                    *next += 1;
                    if !std::mem::replace(&mut seen[*callee], true) {
                        path.push((*callee, 0));
                    }
                }
                None => {
                    order.push(*function);
                    path.pop();
                }
            }
        }
    }
    order
}

/// What a caller has to know of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    /// Instructions until its first poll, or until it returns without one.
    begin: u32,
    /// Instructions of a whole call without any poll. `None`: there is no such path.
    through: Option<u32>,
    /// Instructions since the last poll where it returns. `None`: it never returns behind a poll.
    end: Option<u32>,
}

/// The longest paths that lead to a place. Both `None`: none does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Paths {
    /// From the function's begin, without a poll.
    fresh: Option<u32>,
    /// Since the last poll.
    polled: Option<u32>,
}

impl Paths {
    fn lead_here(self) -> bool {
        self.fresh.is_some() || self.polled.is_some()
    }

    fn longest(self) -> u32 {
        self.fresh.max(self.polled).unwrap_or(0)
    }

    fn or(self, other: Paths) -> Paths {
        Paths { fresh: self.fresh.max(other.fresh), polled: self.polled.max(other.polled) }
    }

    fn and(self, instructions: u32) -> Paths {
        let more = |it: Option<u32>| it.map(|it| it.saturating_add(instructions));
        Paths { fresh: more(self.fresh), polled: more(self.polled) }
    }

    /// Behind a call.
    fn call(self, callee: &Known) -> Paths {
        if !self.lead_here() {
            return self;
        }
        let through = callee.through.map(|it| self.and(it)).unwrap_or_default();
        through.or(Paths { fresh: None, polled: callee.end })
    }
}

struct Frame {
    is_loop: bool,
    /// Paths that branch behind its end.
    branched: Paths,
    /// Of an `if`: the paths on which its condition is false, until `else`.
    otherwise: Option<Paths>,
}

struct Walk<'a> {
    imported: u32,
    known: &'a [Option<Known>],
    frames: Vec<Frame>,
    here: Paths,
    returned: Paths,
    begin: u32,
    places: Places,
}

impl Walk<'_> {
    fn new(imported: u32, known: &[Option<Known>]) -> Walk<'_> {
        Walk {
            imported,
            known,
            frames: Vec::new(),
            here: Paths { fresh: Some(0), polled: None },
            returned: Paths::default(),
            begin: 0,
            places: Places::default(),
        }
    }

    fn conclude(self) -> (Places, Known) {
        let Paths { fresh, polled } = self.returned;
        let begin = self.begin.max(fresh.unwrap_or(0));
        (self.places, Known { begin, through: fresh, end: polled })
    }

    fn body(&mut self, body: &FunctionBody<'_>) -> Read<()> {
        self.enter(false, None);
        let mut reader = body.get_operators_reader()?;
        while !reader.eof() {
            let (operator, at) = reader.read_with_offset()?;
            let next = reader.original_position();
            self.operator(&operator, at, next)?;
        }
        Ok(())
    }

    fn operator(&mut self, operator: &Operator<'_>, at: usize, next: usize) -> Read<()> {
        match operator {
            Operator::Block { .. } => self.enter(false, None),
            Operator::Loop { .. } => {
                self.enter(true, None);
                // Behind the opcode, where each round passes: one before the loop is another.
                self.poll_always(next);
            }
            Operator::If { .. } => {
                self.count(1, at);
                self.enter(false, Some(self.here));
            }
            Operator::Else => {
                let frame = self.frames.last_mut().expect("the module was validated");
                frame.branched = frame.branched.or(self.here);
                self.here = frame.otherwise.take().unwrap_or_default();
            }
            Operator::End => self.leave(at),
            Operator::Br { relative_depth } => {
                self.count(1, at);
                self.branch(*relative_depth, at);
                self.here = Paths::default();
            }
            Operator::BrIf { relative_depth } => {
                self.count(1, at);
                if self.loops_left_by(*relative_depth) > 1 {
                    self.places.unlikely.push(at);
                }
                self.branch(*relative_depth, at);
            }
            Operator::BrTable { targets } => {
                self.count(1, at);
                for depth in targets.targets() {
                    self.branch(depth?, at);
                }
                self.branch(targets.default(), at);
                self.here = Paths::default();
            }
            Operator::Return => {
                self.count(1, at);
                self.ret(at);
                self.here = Paths::default();
            }
            Operator::Unreachable => self.here = Paths::default(),
            Operator::Call { function_index } => {
                self.count(1, at);
                self.here = self.call(*function_index, at);
            }
            Operator::ReturnCall { function_index } => {
                self.count(1, at);
                let mut behind = self.call(*function_index, at);
                if behind.longest() > RETURN_MAX {
                    self.poll(at);
                    behind = self.call(*function_index, at);
                }
                self.returned = self.returned.or(behind);
                self.here = Paths::default();
            }
            Operator::CallIndirect { .. } => self.here = self.call_unknown(at),
            Operator::ReturnCallIndirect { .. } => {
                let behind = self.call_unknown(at);
                self.returned = self.returned.or(behind);
                self.here = Paths::default();
            }
            // A gigabyte is filled in some tenth of a second, and there may be many of them.
            Operator::MemoryFill { .. }
            | Operator::MemoryCopy { .. }
            | Operator::MemoryGrow { .. } => {
                self.poll(at);
                self.count(1, at);
            }
            Operator::BrOnNull { .. }
            | Operator::BrOnNonNull { .. }
            | Operator::BrOnCast { .. }
            | Operator::BrOnCastFail { .. }
            | Operator::CallRef { .. }
            | Operator::ReturnCallRef { .. }
            | Operator::TryTable { .. }
            | Operator::Throw { .. }
            | Operator::ThrowRef => unreachable!("the check refuses it"),
            _ => self.count(1, at),
        }
        Ok(())
    }

    fn enter(&mut self, is_loop: bool, otherwise: Option<Paths>) {
        self.frames.push(Frame { is_loop, branched: Paths::default(), otherwise });
    }

    fn leave(&mut self, at: usize) {
        let frame = self.frames.pop().expect("the module was validated");
        self.here = self.here.or(frame.branched).or(frame.otherwise.unwrap_or_default());
        if self.frames.is_empty() {
            self.ret(at);
        }
    }

    /// How many loops a branch leaves.
    fn loops_left_by(&self, depth: u32) -> usize {
        let target = self.frames.len() - 1 - depth as usize;
        self.frames[target..].iter().skip(1).filter(|it| it.is_loop).count()
    }

    fn branch(&mut self, depth: u32, at: usize) {
        let target = self.frames.len() - 1 - depth as usize;
        if target == 0 {
            // A poll before the function's end is not passed on this way.
            return self.ret(at);
        }
        let here = self.here;
        let frame = &mut self.frames[target];
        // A loop begins with a poll.
        if !frame.is_loop {
            frame.branched = frame.branched.or(here);
        }
    }

    fn ret(&mut self, at: usize) {
        if self.here.longest() > RETURN_MAX {
            self.poll(at);
        }
        self.returned = self.returned.or(self.here);
    }

    fn count(&mut self, instructions: u32, at: usize) {
        if self.here.longest().saturating_add(instructions) > PATH_MAX {
            self.poll(at);
        }
        self.here = self.here.and(instructions);
    }

    fn poll(&mut self, at: usize) {
        let was_polled_here = self.here == Paths { fresh: None, polled: Some(0) };
        if !was_polled_here {
            self.poll_always(at);
        }
    }

    fn poll_always(&mut self, at: usize) {
        if !self.here.lead_here() {
            return;
        }
        self.begin = self.begin.max(self.here.fresh.unwrap_or(0));
        self.here = Paths { fresh: None, polled: Some(0) };
        self.places.polls.push(at);
    }

    /// The paths behind a call of a function by its number.
    fn call(&mut self, function: u32, at: usize) -> Paths {
        let Some(own) = function.checked_sub(self.imported) else {
            self.poll(at);
            return self.here.and(1);
        };
        let Some(callee) = self.known[own as usize] else { return self.call_unknown(at) };
        if self.here.longest().saturating_add(callee.begin) > PATH_MAX {
            self.poll(at);
        }
        if let Some(fresh) = self.here.fresh {
            self.begin = self.begin.max(fresh.saturating_add(callee.begin));
        }
        self.here.call(&callee)
    }

    /// Any function: it returns at once, or as far from its last poll as a function may.
    fn call_unknown(&mut self, at: usize) -> Paths {
        self.poll(at);
        if !self.here.lead_here() {
            return self.here;
        }
        Paths { fresh: None, polled: Some(RETURN_MAX) }
    }
}
