//! Which operators stand in which stage.

use super::{GraphError, Keyed, OperatorNode, Port, SourceNode, Stage};

/// First one for each source, then one for each operator that shares rows out among tasks.
pub(super) fn of(
    sources: &[SourceNode],
    operators: &[OperatorNode],
    inputs: &[Vec<Port>],
    readers: &[usize],
) -> Result<Vec<Stage>, GraphError> {
    let mut stages = vec![Stage { operators: 0..0, keyed: None }; sources.len()];
    // The source of each operator so far; none behind the first that takes from all of them.
    let mut source_of: Vec<usize> = Vec::new();
    for (index, operator) in operators.iter().enumerate() {
        let behind_keys = stages.len() > sources.len();
        let mut from: Vec<usize> = (0..sources.len()).filter(|it| readers[*it] == index).collect();
        if !behind_keys {
            from.extend(inputs[index].iter().map(|it| source_of[it.operator]));
            from.sort_unstable();
            from.dedup();
        }
        let begins = match &operator.keyed {
            Some(keyed) => Some(keyed.clone()),
            None if !behind_keys && from.len() > 1 => Some(Keyed { columns: Vec::new(), tasks: 1 }),
            None => None,
        };
        if begins.is_some() {
            stages.push(Stage { operators: index..index, keyed: begins });
        }
        let at = match from.as_slice() {
            [source] if stages.len() == sources.len() => *source,
            _ => stages.len() - 1,
        };
        let stage = &mut stages[at];
        if stage.operators.is_empty() {
            stage.operators = index..index;
        }
        if stage.operators.end != index {
            return Err(apart(operator, index, &sources[at]));
        }
        stage.operators.end = index + 1;
        source_of.push(at);
    }
    Ok(stages)
}

fn apart(operator: &OperatorNode, index: usize, source: &SourceNode) -> GraphError {
    GraphError {
        at: format!("operator.{index}"),
        message: format!(
            "operator {} stands apart from the others of source {}",
            operator.name, source.name
        ),
        help: "put the operators of one source one behind the other".to_owned(),
    }
}
