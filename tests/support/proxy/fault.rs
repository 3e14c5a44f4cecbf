//! What can happen to a request, and to which it happens.

use std::time::Duration;

use crate::proxy::http::Request;
use crate::simulation::rng::Rng;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends before anything was done.
    CutBefore,
    /// Nothing is done, and this is answered.
    AnsweredInstead(u16),
    /// It is done, and the connection ends without an answer.
    AnswerCut,
    /// It is done, and the connection ends in the middle of the answer.
    HalfAnswer,
    /// It is done, and this is answered.
    AppliedAndAnswered(u16),
    /// The connection ends, and some time after that it is done.
    Late(Duration),
    /// It is done after a while, and answered.
    Slow(Duration),
    /// It is done two times; the first answer is given.
    Twice,
    /// It waits for another request that has the same fate; then both are done at once.
    Meet,
}

/// Which requests get a fault.
#[derive(Clone, Debug)]
pub struct Rule {
    pub method: &'static str,
    /// A part of the path.
    pub path: String,
    pub fault: Fault,
    /// So many that fit are let through before it.
    pub skip: usize,
    /// So many get it; then the rule is used up.
    pub times: usize,
}

impl Rule {
    /// The next one that fits.
    pub fn once(method: &'static str, path: &str, fault: Fault) -> Rule {
        Rule { method, path: path.to_owned(), fault, skip: 0, times: 1 }
    }

    pub(crate) fn fits(&self, request: &Request) -> bool {
        self.times > 0 && request.method == self.method && request.path.contains(&self.path)
    }

    /// What happens to one that fits.
    pub(crate) fn take(&mut self) -> Option<Fault> {
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        self.times -= 1;
        Some(self.fault)
    }
}

/// Faults of all kinds at random, from a seed.
pub struct Storm {
    rng: Rng,
    /// Of a thousand requests, those that get one.
    per_mille: u64,
}

impl Storm {
    pub fn new(seed: u64, per_mille: u64) -> Storm {
        Storm { rng: Rng::new(seed), per_mille }
    }

    pub(crate) fn fault_of(&mut self, request: &Request) -> Option<Fault> {
        if !self.rng.chance(self.per_mille) {
            return None;
        }
        let changes = matches!(request.method.as_str(), "POST" | "PUT" | "DELETE");
        let refusals = [429, 500, 502, 503, 504];
        let short = Duration::from_millis(self.rng.range(1..=400));
        Some(match self.rng.below(if changes { 9 } else { 4 }) {
            0 => Fault::CutBefore,
            1 | 2 => Fault::AnsweredInstead(self.rng.pick(&refusals)),
            3 => Fault::Slow(short),
            4 => Fault::AnswerCut,
            5 => Fault::HalfAnswer,
            6 => Fault::AppliedAndAnswered(self.rng.pick(&[409, 500, 502, 503, 504])),
            7 => Fault::Late(short * self.rng.pick(&[1, 1, 8])),
            _ => Fault::Twice,
        })
    }
}
