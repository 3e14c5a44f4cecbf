//! Graph: which outputs each operator and each sink takes, and the stages into which keys part the operators.
//!
//! Operators stand in the order of the pipeline file, and each takes from those before it, so there is no
//! circle. A stage is a run of them that is instantiated together; within it a batch goes from one to the
//! next by a call. The first stage has a task for each source partition. An operator with `key-by` begins a
//! further stage, whose tasks each have the rows of some keys.

use std::ops::Range;

use crate::exchange::PARTITIONER;
use crate::manifest::KeyedIdentity;

/// An output of an operator, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    pub operator: usize,
    pub output: u32,
}

/// What flows into the operators of a pipeline, and out of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    /// For each operator, what it takes. Nothing: what comes in from the source.
    pub inputs: Vec<Vec<Port>>,
    /// For each sink, what it takes.
    pub sinks: Vec<Vec<Port>>,
    /// In order; together they are all operators.
    pub stages: Vec<Stage>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Empty for a first stage whose records go to a keyed one at once.
    pub operators: Range<usize>,
    /// `None`: the first stage, with a task for each source partition.
    pub keyed: Option<Keyed>,
}

/// How rows are parted among the tasks of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// Columns of what its first operator takes.
    pub columns: Vec<String>,
    pub tasks: u32,
}

/// An operator as the pipeline file has it, with the outputs that its module declares.
#[derive(Clone, Debug)]
pub struct OperatorNode {
    pub name: String,
    pub outputs: Vec<String>,
    /// "operator" or "operator.output". Empty: output 0 of the operator before it.
    pub input: Vec<String>,
    /// Outputs whose rows go nowhere.
    pub discard: Vec<String>,
    pub keyed: Option<Keyed>,
}

/// A sink as the pipeline file has it.
#[derive(Clone, Debug)]
pub struct SinkNode {
    /// As for an operator. Empty: output 0 of the last operator.
    pub input: Vec<String>,
}

/// What is wrong, and where in the pipeline file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphError {
    pub at: String,
    pub message: String,
    pub help: String,
}

impl Graph {
    pub fn new(operators: &[OperatorNode], sinks: &[SinkNode]) -> Result<Graph, GraphError> {
        let mut inputs = Vec::new();
        for (index, operator) in operators.iter().enumerate() {
            let at = format!("operator.{index}.input");
            inputs.push(match (index, operator.input.is_empty()) {
                (0, true) => Vec::new(),
                (0, false) => {
                    return Err(GraphError {
                        at,
                        message: format!(
                            "operator {} is the first, and takes what the source brings",
                            operator.name
                        ),
                        help: "take input out".to_owned(),
                    });
                }
                (_, _) => input(&operators[..index], &operator.input)?,
            });
        }
        let mut all = Vec::new();
        for (index, sink) in sinks.iter().enumerate() {
            all.push(match sink.input.is_empty() {
                true => vec![Port { operator: operators.len() - 1, output: 0 }],
                false => ports(operators, &sink.input, &format!("sink.{index}.input"))?,
            });
        }
        let graph = Graph { inputs, sinks: all, stages: stages(operators) };
        graph.refuse_far_inputs(operators)?;
        graph.refuse_lost_outputs(operators)?;
        Ok(graph)
    }

    /// One operator behind the other, and one sink behind the last.
    pub fn chain(operators: usize) -> Graph {
        let before = |index: usize| {
            index.checked_sub(1).map(|operator| Port { operator, output: 0 }).into_iter().collect()
        };
        Graph {
            inputs: (0..operators).map(before).collect(),
            sinks: vec![before(operators)],
            stages: vec![Stage { operators: 0..operators, keyed: None }],
        }
    }

    pub fn is_keyed(&self) -> bool {
        self.stages.len() > 1
    }

    /// The stage of an operator.
    pub fn stage_of(&self, operator: usize) -> usize {
        let of = self.stages.iter().position(|it| it.operators.contains(&operator));
        of.expect("the stages are all operators")
    }

    /// What the tasks of a stage call, in order, and what leaves them.
    pub fn wires(&self, stage: usize) -> Wires {
        let range = self.stages[stage].operators.clone();
        let inside = |port: &Port| {
            range.contains(&port.operator).then(|| (port.operator - range.start, port.output))
        };
        let inputs = range
            .clone()
            .map(|operator| self.inputs[operator].iter().filter_map(inside).collect())
            .collect();
        let mut leaving = Vec::new();
        for (sink, taken) in self.sinks.iter().enumerate() {
            leaving
                .extend(taken.iter().filter_map(inside).map(|it| (Some(it), Outlet::Sink(sink))));
        }
        if let Some(next) = self.stages.get(stage + 1) {
            let taken = &self.inputs[next.operators.start];
            match taken.is_empty() {
                true => leaving.push((None, Outlet::Next)),
                false => leaving
                    .extend(taken.iter().filter_map(inside).map(|it| (Some(it), Outlet::Next))),
            }
        }
        Wires { inputs, leaving }
    }

    /// What a checkpoint keeps of an operator's place: the outputs that it takes where they are not what they
    /// are by default, and what parts its keys. `name` is a port's.
    pub fn identity(
        &self,
        operator: usize,
        name: &dyn Fn(Port) -> String,
    ) -> (Vec<String>, Option<KeyedIdentity>) {
        let taken = &self.inputs[operator];
        let usual = operator.checked_sub(1).map(|operator| Port { operator, output: 0 });
        let inputs = match taken.iter().copied().eq(usual) {
            true => Vec::new(),
            false => taken.iter().map(|it| name(*it)).collect(),
        };
        let stage = &self.stages[self.stage_of(operator)];
        let keyed = stage.keyed.as_ref().filter(|_| stage.operators.start == operator);
        let keyed = keyed.map(|it| KeyedIdentity {
            columns: it.columns.clone(),
            tasks: it.tasks,
            partitioner: PARTITIONER.to_owned(),
        });
        (inputs, keyed)
    }

    /// Between two stages rows go one way: from the tasks of one to those of the next.
    fn refuse_far_inputs(&self, operators: &[OperatorNode]) -> Result<(), GraphError> {
        for (index, taken) in self.inputs.iter().enumerate() {
            let stage = self.stage_of(index);
            let begins = self.stages[stage].operators.start == index && stage > 0;
            let from = stage - usize::from(begins);
            if let Some(port) = taken.iter().find(|it| self.stage_of(it.operator) != from) {
                let (name, far) = (&operators[index].name, &operators[port.operator].name);
                return Err(GraphError {
                    at: format!("operator.{index}.input"),
                    message: format!(
                        "operator {name} takes rows of operator {far}, which is in another stage: a key-by stands between them, or stands elsewhere"
                    ),
                    help: "an operator takes from its own stage, one with key-by from the stage before it"
                        .to_owned(),
                });
            }
            if taken.is_empty() && index > 0 {
                unreachable!("only the first operator takes what comes in");
            }
        }
        Ok(())
    }

    /// Rows that nobody takes would be lost without a word.
    fn refuse_lost_outputs(&self, operators: &[OperatorNode]) -> Result<(), GraphError> {
        let taken =
            |port: Port| self.inputs.iter().chain(&self.sinks).flatten().any(|it| *it == port);
        for (index, operator) in operators.iter().enumerate() {
            for (number, output) in operator.discard.iter().enumerate() {
                let at = format!("operator.{index}.discard.{number}");
                let Some(found) = operator.outputs.iter().position(|it| it == output) else {
                    return Err(no_output(at, operator, output));
                };
                if taken(Port { operator: index, output: found as u32 }) {
                    let name = &operator.name;
                    return Err(GraphError {
                        at,
                        message: format!("{name}.{output} is discarded, and somebody takes it"),
                        help: "take it out of one of them".to_owned(),
                    });
                }
            }
            for (output, name) in operator.outputs.iter().enumerate() {
                if taken(Port { operator: index, output: output as u32 })
                    || operator.discard.contains(name)
                {
                    continue;
                }
                let full = format!("{}.{name}", operator.name);
                return Err(GraphError {
                    at: format!("operator.{index}"),
                    message: format!("nobody takes output {full}: its rows would be lost"),
                    help: format!(
                        "[[sink]] with input = \"{full}\", or discard = [\"{name}\"] in [[operator]] {}",
                        operator.name
                    ),
                });
            }
        }
        Ok(())
    }
}

/// What an operator takes that stands behind these; at least one does.
pub fn input(before: &[OperatorNode], input: &[String]) -> Result<Vec<Port>, GraphError> {
    match input.is_empty() {
        true => Ok(vec![Port { operator: before.len() - 1, output: 0 }]),
        false => ports(before, input, &format!("operator.{}.input", before.len())),
    }
}

/// The operators of a stage and what leaves it, by their places in the stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wires {
    /// For each operator the (operator, output) that it takes. The first takes what comes into the stage.
    pub inputs: Vec<Vec<(usize, u32)>>,
    /// (operator, output) and where its rows go; `None` is what comes into the stage itself.
    pub leaving: Vec<(Option<(usize, u32)>, Outlet)>,
}

impl Wires {
    /// One operator behind the other, and one sink behind the last.
    pub fn chain(operators: usize) -> Wires {
        Graph::chain(operators).wires(0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outlet {
    /// By its number.
    Sink(usize),
    /// The tasks of the next stage, by key.
    Next,
}

fn stages(operators: &[OperatorNode]) -> Vec<Stage> {
    let mut stages = vec![Stage { operators: 0..0, keyed: None }];
    for (index, operator) in operators.iter().enumerate() {
        if operator.keyed.is_some() {
            stages.push(Stage { operators: index..index, keyed: operator.keyed.clone() });
        }
        let open = stages.last_mut().expect("one was put there above");
        open.operators.end = index + 1;
    }
    stages
}

fn ports(operators: &[OperatorNode], input: &[String], at: &str) -> Result<Vec<Port>, GraphError> {
    input.iter().map(|text| port(operators, text, at)).collect()
}

/// "operator", "operator.output", or "operator.output.with.dots".
fn port(operators: &[OperatorNode], text: &str, at: &str) -> Result<Port, GraphError> {
    let of = |name: &str| operators.iter().position(|it| it.name == name);
    if let Some(operator) = of(text) {
        return Ok(Port { operator, output: 0 });
    }
    // An operator's name may have a dot.
    for (dot, _) in text.match_indices('.') {
        let (name, output) = (&text[..dot], &text[dot + 1..]);
        let Some(operator) = of(name) else { continue };
        let found = operators[operator].outputs.iter().position(|it| it == output);
        return match found {
            Some(output) => Ok(Port { operator, output: output as u32 }),
            None => Err(no_output(at.to_owned(), &operators[operator], output)),
        };
    }
    let known: Vec<&str> = operators.iter().map(|it| it.name.as_str()).collect();
    Err(GraphError {
        at: at.to_owned(),
        message: format!("{text:?} is no output of an operator before it"),
        help: format!("\"operator.output\"; the operators before it are {}", known.join(", ")),
    })
}

fn no_output(at: String, operator: &OperatorNode, output: &str) -> GraphError {
    GraphError {
        at,
        message: format!("operator {} has no output {output:?}", operator.name),
        help: format!("its outputs are {}", operator.outputs.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(name: &str, outputs: &[&str], input: &[&str]) -> OperatorNode {
        let texts = |it: &[&str]| it.iter().map(|it| (*it).to_owned()).collect();
        OperatorNode {
            name: name.to_owned(),
            outputs: texts(outputs),
            input: texts(input),
            discard: Vec::new(),
            keyed: None,
        }
    }

    fn sink(input: &[&str]) -> SinkNode {
        SinkNode { input: input.iter().map(|it| (*it).to_owned()).collect() }
    }

    fn keyed(mut node: OperatorNode, tasks: u32) -> OperatorNode {
        node.keyed = Some(Keyed { columns: vec!["k".to_owned()], tasks });
        node
    }

    fn at(operator: usize, output: u32) -> Port {
        Port { operator, output }
    }

    #[test]
    fn a_chain_is_what_nothing_is_said_of() {
        let operators = [operator("a", &["rows"], &[]), operator("b", &["rows"], &[])];
        let graph = Graph::new(&operators, &[sink(&[])]).unwrap();
        assert_eq!(graph, Graph::chain(2));
        let wires = graph.wires(0);
        assert_eq!(wires.inputs, [vec![], vec![(0, 0)]]);
        assert_eq!(wires.leaving, [(Some((1, 0)), Outlet::Sink(0))]);
    }

    #[test]
    fn outputs_branch_and_come_together() {
        let operators = [
            operator("r", &["large", "small", "odd"], &[]),
            operator("a", &["rows"], &["r.large"]),
            operator("b.c", &["rows", "late"], &["r.small", "a"]),
        ];
        let sinks = [sink(&[]), sink(&["r.odd", "b.c.late"])];
        let graph = Graph::new(&operators, &sinks).unwrap();
        assert_eq!(graph.inputs, [vec![], vec![at(0, 0)], vec![at(0, 1), at(1, 0)]]);
        assert_eq!(graph.sinks, [vec![at(2, 0)], vec![at(0, 2), at(2, 1)]]);
    }

    #[test]
    fn a_key_begins_a_stage() {
        let operators = [
            operator("a", &["rows", "odd"], &[]),
            keyed(operator("b", &["rows"], &[]), 4),
            operator("c", &["rows"], &[]),
        ];
        let graph = Graph::new(&operators, &[sink(&[]), sink(&["a.odd"])]).unwrap();
        let ranges: Vec<_> = graph.stages.iter().map(|it| it.operators.clone()).collect();
        assert_eq!(ranges, [0..1, 1..3]);
        let (first, second) = (graph.wires(0), graph.wires(1));
        let leaving = [(Some((0, 1)), Outlet::Sink(1)), (Some((0, 0)), Outlet::Next)];
        assert_eq!(first.leaving, leaving);
        assert_eq!(second.inputs, [vec![], vec![(0, 0)]]);
        assert_eq!(second.leaving, [(Some((1, 0)), Outlet::Sink(0))]);

        let first_is_keyed = [keyed(operator("a", &["rows"], &[]), 2)];
        let graph = Graph::new(&first_is_keyed, &[sink(&[])]).unwrap();
        assert_eq!(graph.wires(0).leaving, [(None, Outlet::Next)]);
        assert_eq!(graph.wires(0).inputs.len(), 0);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let a = || operator("a", &["rows", "late"], &[]);
        let wrong = |operators: &[OperatorNode], sinks: &[SinkNode]| {
            let error = Graph::new(operators, sinks).unwrap_err();
            format!("{}: {}", error.at, error.message)
        };
        assert!(wrong(&[a()], &[sink(&[])]).contains("nobody takes output a.late"));
        assert!(wrong(&[a()], &[sink(&["a.late"])]).contains("nobody takes output a.rows"));
        assert!(wrong(&[a()], &[sink(&["a.lat"])]).starts_with("sink.0.input: operator a has no"));
        assert!(wrong(&[a()], &[sink(&["x"])]).contains("\"x\" is no output"));
        let behind = [operator("a", &["rows"], &["b"]), operator("b", &["rows"], &[])];
        assert!(wrong(&behind, &[sink(&[])]).contains("is the first"));
        let forward = [operator("a", &["rows"], &[]), operator("b", &["rows"], &["c"])];
        assert!(wrong(&forward, &[sink(&[])]).contains("is no output of an operator before"));
        let far = [
            operator("a", &["rows", "odd"], &[]),
            keyed(operator("b", &["rows"], &[]), 2),
            operator("c", &["rows"], &["a.odd"]),
        ];
        assert!(wrong(&far, &[sink(&["b"]), sink(&["c"])]).contains("another stage"));
        let mut discarded = a();
        discarded.discard = vec!["late".to_owned()];
        assert!(Graph::new(&[discarded.clone()], &[sink(&[])]).is_ok());
        assert!(wrong(&[discarded], &[sink(&["a", "a.late"])]).contains("somebody takes it"));
    }
}
