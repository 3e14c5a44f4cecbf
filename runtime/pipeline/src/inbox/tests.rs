//! The inbox by itself: barriers that wait, and barriers that overtake, in every order in which things can happen.

use std::collections::BTreeSet;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use floe_core::{EventTime, TopicPartition};

use super::*;
use crate::passed::{Origin, PassedRows};

fn mark(from: u32, time: i64) -> Passed {
    Passed::Watermark { from, to: None, watermark: EventTime(time) }
}

fn text(taken: Option<Taken>) -> String {
    match taken {
        None => "nothing".to_owned(),
        Some(Taken::Barrier { epoch, .. }) => format!("barrier {epoch}"),
        Some(Taken::Overtaking(epoch)) => format!("overtaking {epoch}"),
        Some(Taken::InFlight { epoch, passed, .. }) => {
            let passed: Vec<String> =
                passed.into_iter().map(|it| text(Some(Taken::Element(it)))).collect();
            format!("in flight {epoch}: {}", passed.join(" "))
        }
        Some(Taken::Element(Passed::Watermark { from, watermark, .. })) => {
            format!("{from}:{}", watermark.0)
        }
        Some(Taken::Element(other)) => format!("{other:?}"),
    }
}

#[test]
fn an_input_at_the_barrier_waits_for_the_others() {
    let mut inbox = Inbox::new(3, Vec::new(), 0);
    inbox.push(0, Passed::Barrier(Epoch(1)));
    inbox.push(0, mark(0, 10));
    inbox.push(1, mark(1, 1));
    inbox.push(1, Passed::Barrier(Epoch(1)));
    inbox.push(1, mark(1, 11));
    assert_eq!(text(inbox.take(None)), "1:1");
    assert_eq!(text(inbox.take(None)), "nothing", "10 and 11 are behind the barrier");
    inbox.push(2, mark(2, 2));
    assert_eq!(text(inbox.take(None)), "2:2");
    inbox.push(2, Passed::Barrier(Epoch(1)));
    assert_eq!(text(inbox.take(None)), "barrier 1");
    let rest = [text(inbox.take(None)), text(inbox.take(None)), text(inbox.take(None))];
    assert_eq!(rest, ["0:10", "1:11", "nothing"]);
}

#[test]
fn the_time_between_the_first_barrier_and_the_last_is_told() {
    let mut inbox = Inbox::new(2, Vec::new(), 0);
    for epoch in [Epoch(1), Epoch(2)] {
        inbox.push(0, Passed::Barrier(epoch));
        assert!(inbox.take(None).is_none());
        let waited = Duration::from_millis(20);
        std::thread::sleep(waited);
        inbox.push(1, Passed::Barrier(epoch));
        let Some(Taken::Barrier { aligned_in, .. }) = inbox.take(None) else { panic!("a barrier") };
        assert!(aligned_in >= waited, "{aligned_in:?}");
    }
}

#[test]
fn a_full_edge_holds_its_sender_and_a_barrier_goes_through() {
    let (mut senders, receiver) = channel(2, Vec::new(), Arc::new(Overdue::new(None)));
    let slow = senders.pop().unwrap();
    let fast = senders.pop().unwrap();
    let sending = std::thread::spawn(move || {
        assert!(fast.send(Passed::Barrier(Epoch(1))));
        (0..100).all(|it| fast.send(mark(0, it)))
    });
    // All that the fast one sends is behind the barrier that the slow one has not given.
    let working = std::thread::spawn(move || {
        let mut seen = Vec::new();
        while let Some(taken) = receiver.recv() {
            seen.push(text(Some(taken)));
        }
        seen
    });
    assert!(slow.send(mark(1, 1)));
    assert!(slow.send(Passed::Barrier(Epoch(1))));
    drop(slow);
    assert!(sending.join().unwrap());
    let seen = working.join().unwrap();
    assert_eq!(seen[..2], ["1:1".to_owned(), "barrier 1".to_owned()]);
    assert_eq!(seen.len(), 102);
}

#[test]
fn nobody_waits_for_who_is_gone() {
    let (senders, receiver) = channel(1, Vec::new(), Arc::new(Overdue::new(None)));
    (0..PASSED_MAX).for_each(|it| assert!(senders[0].send(mark(0, it as i64))));
    let waiting = std::thread::spawn(move || senders[0].send(mark(0, 99)));
    drop(receiver);
    assert!(!waiting.join().unwrap());
}

/// One way in which it may go: what is pushed and taken, in which order.
#[derive(Clone)]
struct Course {
    inbox: Inbox,
    /// For each input, what it has not pushed yet.
    to_push: Vec<VecDeque<Passed>>,
    before: Vec<String>,
    in_flight: Option<Vec<String>>,
    behind: Vec<String>,
    /// Whether the barrier came, and how.
    barrier: Option<String>,
}

impl Course {
    fn take(&mut self, overdue: bool) -> bool {
        let Some(taken) = self.inbox.take(overdue.then_some(Epoch(1))) else { return false };
        match taken {
            Taken::Element(_) if self.barrier.is_none() => self.before.push(text(Some(taken))),
            Taken::Element(_) => self.behind.push(text(Some(taken))),
            Taken::Barrier { .. } | Taken::Overtaking(_) => {
                assert_eq!(self.barrier.replace(text(Some(taken))), None, "one barrier");
            }
            Taken::InFlight { passed, .. } => {
                let passed = passed.into_iter().map(|it| text(Some(Taken::Element(it))));
                assert_eq!(self.in_flight.replace(passed.collect()), None, "told once");
            }
        }
        true
    }

    /// Two courses that are equal in this go on equally.
    fn place(&self) -> String {
        let left: Vec<usize> = self.to_push.iter().map(VecDeque::len).collect();
        let waiting = |it: &Input| (it.at_barrier, it.waiting.len());
        let inputs: Vec<_> = self.inbox.inputs.iter().map(waiting).collect();
        let inbox = (self.inbox.turn % 2, inputs, self.inbox.overtaken.as_ref().map(|it| it.epoch));
        let taken = (&self.before, &self.in_flight, &self.behind, &self.barrier);
        format!("{left:?} {inbox:?} {taken:?}")
    }

    fn is_over(&self) -> bool {
        self.to_push.iter().all(VecDeque::is_empty) && !self.inbox.is_ready(Some(Epoch(1)))
    }

    /// Whatever the order: what was taken before the barrier, and what it overtook, are together all that came
    /// before it; each is taken once, and those of one input in their order.
    fn judge(&self) {
        let barrier = self.barrier.as_deref().expect("the barrier came");
        let overtook = barrier == "overtaking 1";
        assert_eq!(overtook, self.in_flight.is_some(), "{barrier}");
        let in_flight = self.in_flight.clone().unwrap_or_default();
        let mut cut: Vec<&String> = self.before.iter().chain(&in_flight).collect();
        cut.sort();
        assert_eq!(cut, ["0:1", "0:2", "1:1", "9:9"]);
        let all: Vec<&String> = self.before.iter().chain(&self.behind).collect();
        assert_eq!(all.len(), 6);
        assert_eq!(all[0], "9:9", "what was restored comes first");
        for (input, wanted) in [("0:", &["0:1", "0:2", "0:10"][..]), ("1:", &["1:1", "1:10"])] {
            let of = |all: &[&String]| -> Vec<String> {
                all.iter().filter(|it| it.starts_with(input)).map(|it| (*it).clone()).collect()
            };
            assert_eq!(of(&all), wanted);
            assert!(of(&in_flight.iter().collect::<Vec<_>>()).is_sorted());
        }
    }
}

#[test]
fn whatever_comes_first_the_cut_is_the_same() {
    let barrier = || Passed::Barrier(Epoch(1));
    let first = Course {
        inbox: Inbox::new(2, vec![mark(9, 9)], 0),
        to_push: vec![
            [mark(0, 1), mark(0, 2), barrier(), mark(0, 10)].into(),
            [mark(1, 1), barrier(), mark(1, 10)].into(),
        ],
        before: Vec::new(),
        in_flight: None,
        behind: Vec::new(),
        barrier: None,
    };
    let (mut open, mut aligned, mut overtaking) = (vec![first], 0, 0);
    let mut seen = BTreeSet::new();
    while let Some(course) = open.pop() {
        if !seen.insert(course.place()) {
            continue;
        }
        if course.is_over() {
            course.judge();
            *(if course.in_flight.is_some() { &mut overtaking } else { &mut aligned }) += 1;
            continue;
        }
        for input in 0..2 {
            let mut next = course.clone();
            if let Some(passed) = next.to_push[input].pop_front() {
                next.inbox.push(input, passed);
                open.push(next);
            }
        }
        for overdue in [false, true] {
            let mut next = course.clone();
            if next.take(overdue) {
                open.push(next);
            }
        }
    }
    assert!(aligned >= 6, "{aligned} ends of ways that were aligned");
    assert!(overtaking >= 20, "{overtaking} ends of ways that overtook");
}

fn rows(from: u32) -> Passed {
    let column = Arc::new(Int64Array::from(vec![7; 100])) as ArrayRef;
    Passed::Rows(PassedRows {
        from,
        to: 0,
        batch: RecordBatch::try_from_iter([("n", column)]).unwrap(),
        origin: Origin { task: TopicPartition::new("in", 0), offsets: None },
        virtual_time: EventTime(1),
    })
}

#[test]
fn more_than_may_be_in_flight_is_not_overtaken() {
    let each = rows(0).bytes();
    assert!(each >= 800);
    for (waiting, max, overtakes) in [(3, 3 * each, true), (3, 3 * each - 1, false)] {
        let mut inbox = Inbox::new(2, Vec::new(), max);
        (0..waiting).for_each(|_| inbox.push(0, rows(0)));
        inbox.push(1, Passed::Barrier(Epoch(1)));
        let taken = inbox.take(Some(Epoch(1)));
        assert_eq!(matches!(taken, Some(Taken::Overtaking(_))), overtakes, "{waiting} of {max}");
        if !overtakes {
            // One is less now.
            let taken = text(inbox.take(Some(Epoch(1))));
            assert_eq!(taken, "overtaking 1");
        }
    }
}

/// A barrier that is overdue comes through an edge that is full, and no more than may be in flight before it.
#[test]
fn a_full_edge_lets_an_overdue_barrier_through() {
    let mut inbox = Inbox::new(2, Vec::new(), 20 * rows(0).bytes());
    (0..PASSED_MAX).for_each(|_| inbox.push(0, rows(0)));
    let overdue = Some(Epoch(1));
    assert!(inbox.is_full(0, None) && !inbox.is_full(0, overdue));
    inbox.push(1, Passed::Barrier(Epoch(1)));
    assert_eq!(text(inbox.take(overdue)), "overtaking 1");
    for _ in PASSED_MAX..20 {
        assert!(!inbox.is_full(0, overdue));
        inbox.push(0, rows(0));
    }
    assert!(inbox.is_full(0, overdue), "so much is in flight");
    inbox.push(0, Passed::Barrier(Epoch(1)));
    assert!(inbox.is_full(0, overdue), "behind the barrier it is an edge like any other");
    let Some(Taken::InFlight { passed, .. }) = inbox.take(overdue) else { panic!("all came") };
    assert_eq!(passed.len(), 20);
}
