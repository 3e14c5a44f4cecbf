//! Graph: which outputs each operator and each sink takes, and the stages into which keys part the operators.
//!
//! Operators stand in the order of the pipeline file, and each takes from those before it, so there is no
//! circle. A stage is a run of them that is instantiated together; within it a batch goes from one to the
//! next by a call. Each source has a stage of its own, with a task for each of its partitions. An operator with
//! `key-by`, or one that takes from several sources, begins a further stage, whose tasks each have the rows of
//! some keys, from all sources.

mod stages;

use std::ops::Range;

use crate::exchange::PARTITIONER;
use crate::manifest::KeyedIdentity;
use crate::position::TopicPartition;

/// An output of an operator, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    pub operator: usize,
    pub output: u32,
}

/// What flows into the operators of a pipeline, and out of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    /// At least one, in the order of the pipeline file.
    pub sources: Vec<SourceNode>,
    /// For each source, the operator that its records are decoded for.
    pub readers: Vec<usize>,
    /// For each operator, what it takes of other operators.
    pub inputs: Vec<Vec<Port>>,
    /// For each sink, what it takes.
    pub sinks: Vec<Vec<Port>>,
    /// One for each source, then those of keys in order; together they are all operators.
    pub stages: Vec<Stage>,
}

/// A source as the pipeline file has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceNode {
    pub name: String,
    /// A topic belongs to one source. A source that is alone has all topics, whatever stands here.
    pub topics: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Empty for a source whose records go to a keyed stage at once.
    pub operators: Range<usize>,
    /// `None`: the stage of a source, with a task for each partition.
    pub keyed: Option<Keyed>,
}

/// How rows are parted among the tasks of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// Columns of what its first operator takes. Empty for one task that has all rows.
    pub columns: Vec<String>,
    pub tasks: u32,
}

/// An operator as the pipeline file has it, with the outputs that its module declares.
#[derive(Clone, Debug)]
pub struct OperatorNode {
    pub name: String,
    pub outputs: Vec<String>,
    /// "source", "operator" or "operator.output". Empty: output 0 of the operator before it; of the first, the
    /// source that is alone.
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
    pub fn new(
        sources: &[SourceNode],
        operators: &[OperatorNode],
        sinks: &[SinkNode],
    ) -> Result<Graph, GraphError> {
        refuse_equal_names(sources, operators)?;
        let mut inputs = Vec::new();
        let mut readers = vec![None; sources.len()];
        for index in 0..operators.len() {
            let taken = input(sources, &operators[..index], index, &operators[index].input)?;
            for source in taken.sources {
                if let Some(reader) = readers[source].replace(index) {
                    return Err(read_twice(&sources[source], operators, reader, index));
                }
            }
            inputs.push(taken.ports);
        }
        let readers = readers
            .into_iter()
            .enumerate()
            .map(|(source, it)| it.ok_or_else(|| read_by_nobody(&sources[source], source)))
            .collect::<Result<Vec<usize>, GraphError>>()?;
        let mut all = Vec::new();
        for (index, sink) in sinks.iter().enumerate() {
            all.push(match sink.input.is_empty() {
                true => vec![Port { operator: operators.len() - 1, output: 0 }],
                false => ports(operators, &sink.input, &format!("sink.{index}.input"))?,
            });
        }
        let stages = stages::of(sources, operators, &inputs, &readers)?;
        let graph = Graph { sources: sources.to_vec(), readers, inputs, sinks: all, stages };
        graph.refuse_far_inputs(operators)?;
        graph.refuse_lost_outputs(operators)?;
        graph.refuse_lost_sources()?;
        Ok(graph)
    }

    /// One operator behind the other, and one sink behind the last.
    pub fn chain(operators: usize) -> Graph {
        let before = |index: usize| {
            index.checked_sub(1).map(|operator| Port { operator, output: 0 }).into_iter().collect()
        };
        Graph {
            sources: vec![SourceNode::default()],
            readers: vec![0],
            inputs: (0..operators).map(before).collect(),
            sinks: vec![before(operators)],
            stages: vec![Stage { operators: 0..operators, keyed: None }],
        }
    }

    pub fn is_keyed(&self) -> bool {
        self.keyed_stages().next().is_some()
    }

    /// With their numbers among all stages.
    pub fn keyed_stages(&self) -> impl Iterator<Item = (usize, &Stage, &Keyed)> {
        let all = self.stages.iter().enumerate();
        all.filter_map(|(number, stage)| Some((number, stage, stage.keyed.as_ref()?)))
    }

    /// The stage of an operator.
    pub fn stage_of(&self, operator: usize) -> usize {
        let of = self.stages.iter().position(|it| it.operators.contains(&operator));
        of.expect("the stages are all operators")
    }

    /// The stage that takes rows from this one.
    pub fn stage_behind(&self, stage: usize) -> Option<usize> {
        let next = (stage + 1).max(self.sources.len());
        (next < self.stages.len()).then_some(next)
    }

    /// The source of a partition, which is the number of its stage, too. `None`: its topic is no source's.
    pub fn source_of(&self, partition: &TopicPartition) -> Option<usize> {
        match self.sources.len() {
            1 => Some(0),
            _ => self
                .sources
                .iter()
                .position(|it| it.topics.iter().any(|topic| **topic == *partition.topic)),
        }
    }

    /// The sources that an operator takes records of, as they are decoded for it.
    pub fn read_by(&self, operator: usize) -> impl Iterator<Item = &SourceNode> {
        let all = self.sources.iter().zip(&self.readers);
        all.filter(move |it| *it.1 == operator).map(|it| it.0)
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
        if let Some(next) = self.stage_behind(stage) {
            let first = self.stages[next].operators.start;
            if self.readers.get(stage) == Some(&first) {
                leaving.push((None, Outlet::Next));
            }
            let taken = self.inputs[first].iter().filter_map(inside);
            leaving.extend(taken.map(|it| (Some(it), Outlet::Next)));
        }
        Wires { inputs, leaving }
    }

    /// What a checkpoint keeps of an operator's place: what it takes where that is not what it is by default,
    /// and what parts its keys. `name` is a port's.
    pub fn identity(
        &self,
        operator: usize,
        name: &dyn Fn(Port) -> String,
    ) -> (Vec<String>, Option<KeyedIdentity>) {
        let taken = &self.inputs[operator];
        let usual = operator.checked_sub(1).map(|operator| Port { operator, output: 0 });
        let mut inputs = Vec::new();
        if self.sources.len() > 1 {
            inputs.extend(self.read_by(operator).map(|it| it.name.clone()));
        }
        if !inputs.is_empty() || !taken.iter().copied().eq(usual) {
            inputs.extend(taken.iter().map(|it| name(*it)));
        }
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
            let begins =
                self.stages[stage].operators.start == index && self.stages[stage].keyed.is_some();
            let is_near = |from: usize| match begins {
                true => self.stage_behind(from) == Some(stage),
                false => from == stage,
            };
            let far_port = taken.iter().find(|it| !is_near(self.stage_of(it.operator)));
            let far_source = self.readers.iter().zip(&self.sources).enumerate();
            let far_source = far_source
                .filter(|(_, it)| *it.0 == index)
                .find(|(source, _)| !is_near(*source))
                .map(|(_, it)| format!("source {}", it.1.name));
            let far = far_port.map(|it| format!("operator {}", operators[it.operator].name));
            if let Some(far) = far.or(far_source) {
                return Err(GraphError {
                    at: format!("operator.{index}.input"),
                    message: format!(
                        "operator {} takes rows of {far}, which is in another stage: a key-by, or an operator of several sources, stands between them, or stands elsewhere",
                        operators[index].name
                    ),
                    help: "an operator takes from its own stage, one that begins a stage from those right before it"
                        .to_owned(),
                });
            }
        }
        Ok(())
    }

    /// The watermark of a keyed stage is the least of all that is before it: none may be without a part in it.
    fn refuse_lost_sources(&self) -> Result<(), GraphError> {
        let Some((first, stage, _)) = self.keyed_stages().next() else { return Ok(()) };
        for (number, source) in self.sources.iter().enumerate() {
            let leaving = self.wires(number).leaving;
            if !leaving.iter().any(|it| it.1 == Outlet::Next) {
                assert_eq!(self.stage_behind(number), Some(first));
                return Err(GraphError {
                    at: format!("source.{number}"),
                    message: format!(
                        "nothing of source {} reaches the operator that shares rows out by key, and other sources do",
                        source.name
                    ),
                    help: format!(
                        "let [[operator]] number {} take some of it, or make it a pipeline of its own",
                        stage.operators.start + 1
                    ),
                });
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

/// What an operator takes: records of sources, and rows of operators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// By their numbers.
    pub sources: Vec<usize>,
    pub ports: Vec<Port>,
}

/// What the operator `index` takes that stands behind `before`.
pub fn input(
    sources: &[SourceNode],
    before: &[OperatorNode],
    index: usize,
    input: &[String],
) -> Result<Taken, GraphError> {
    let at = format!("operator.{index}.input");
    if input.is_empty() {
        return match (before.len().checked_sub(1), sources) {
            (Some(operator), _) => {
                Ok(Taken { ports: vec![Port { operator, output: 0 }], ..Taken::default() })
            }
            (None, [_]) => Ok(Taken { sources: vec![0], ..Taken::default() }),
            (None, sources) => Err(GraphError {
                at: format!("operator.{index}"),
                message: "the first operator does not say which source it takes".to_owned(),
                help: format!("input = {}", names_of(sources)),
            }),
        };
    }
    let mut taken = Taken::default();
    for text in input {
        match sources.iter().position(|it| it.name == *text) {
            Some(source) => taken.sources.push(source),
            None if before.is_empty() => {
                return Err(GraphError {
                    at,
                    message: format!(
                        "{text:?} is no source, and the first operator takes what a source brings"
                    ),
                    help: format!("take it out, or input = {}", names_of(sources)),
                });
            }
            None => taken.ports.push(port(before, text, &at)?),
        }
    }
    Ok(taken)
}

fn names_of(sources: &[SourceNode]) -> String {
    let names: Vec<String> = sources.iter().map(|it| format!("{:?}", it.name)).collect();
    format!("[{}]", names.join(", "))
}

fn refuse_equal_names(
    sources: &[SourceNode],
    operators: &[OperatorNode],
) -> Result<(), GraphError> {
    for (index, source) in sources.iter().enumerate() {
        let of_operator = operators.iter().any(|it| it.name == source.name);
        // Alone, it has a name that nobody gave it.
        if sources.len() > 1 && of_operator {
            return Err(GraphError {
                at: format!("source.{index}.name"),
                message: format!("a source and an operator are named {:?}", source.name),
                help: "give one of them another name".to_owned(),
            });
        }
    }
    Ok(())
}

fn read_twice(
    source: &SourceNode,
    operators: &[OperatorNode],
    first: usize,
    second: usize,
) -> GraphError {
    GraphError {
        at: format!("operator.{second}.input"),
        message: format!(
            "operators {} and {} both take source {}, whose records are decoded for one operator",
            operators[first].name, operators[second].name, source.name
        ),
        help: "let one operator take it, and the others what that one emits".to_owned(),
    }
}

fn read_by_nobody(source: &SourceNode, number: usize) -> GraphError {
    GraphError {
        at: format!("source.{number}"),
        message: format!("no operator takes source {}", source.name),
        help: format!("input = [{:?}] in the [[operator]] that takes it", source.name),
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
mod tests;
