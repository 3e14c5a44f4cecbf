//! Graphs as pipeline files describe them.

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

fn one() -> [SourceNode; 1] {
    [SourceNode::default()]
}

fn source(name: &str) -> SourceNode {
    SourceNode { name: name.to_owned(), topics: vec![format!("topic-of-{name}")] }
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
    let graph = Graph::new(&one(), &operators, &[sink(&[])]).unwrap();
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
    let graph = Graph::new(&one(), &operators, &sinks).unwrap();
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
    let graph = Graph::new(&one(), &operators, &[sink(&[]), sink(&["a.odd"])]).unwrap();
    let ranges: Vec<_> = graph.stages.iter().map(|it| it.operators.clone()).collect();
    assert_eq!(ranges, [0..1, 1..3]);
    let (first, second) = (graph.wires(0), graph.wires(1));
    let leaving = [(Some((0, 1)), Outlet::Sink(1)), (Some((0, 0)), Outlet::Next)];
    assert_eq!(first.leaving, leaving);
    assert_eq!(second.inputs, [vec![], vec![(0, 0)]]);
    assert_eq!(second.leaving, [(Some((1, 0)), Outlet::Sink(0))]);

    let first_is_keyed = [keyed(operator("a", &["rows"], &[]), 2)];
    let graph = Graph::new(&one(), &first_is_keyed, &[sink(&[])]).unwrap();
    assert_eq!(graph.wires(0).leaving, [(None, Outlet::Next)]);
    assert_eq!(graph.wires(0).inputs.len(), 0);
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let a = || operator("a", &["rows", "late"], &[]);
    let wrong = |operators: &[OperatorNode], sinks: &[SinkNode]| {
        let error = Graph::new(&one(), operators, sinks).unwrap_err();
        format!("{}: {}", error.at, error.message)
    };
    assert!(wrong(&[a()], &[sink(&[])]).contains("nobody takes output a.late"));
    assert!(wrong(&[a()], &[sink(&["a.late"])]).contains("nobody takes output a.rows"));
    assert!(wrong(&[a()], &[sink(&["a.lat"])]).starts_with("sink.0.input: operator a has no"));
    assert!(wrong(&[a()], &[sink(&["x"])]).contains("\"x\" is no output"));
    let behind = [operator("a", &["rows"], &["b"]), operator("b", &["rows"], &[])];
    assert!(wrong(&behind, &[sink(&[])]).contains("the first operator takes what a source"));
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
    assert!(Graph::new(&one(), &[discarded.clone()], &[sink(&[])]).is_ok());
    assert!(wrong(&[discarded], &[sink(&["a", "a.late"])]).contains("somebody takes it"));
}

#[test]
fn each_source_has_a_stage_and_they_meet_behind_them() {
    let sources = [source("orders"), source("rates")];
    let operators = [
        operator("clean", &["rows", "odd"], &["orders"]),
        operator("fit", &["rows"], &["clean"]),
        keyed(operator("joined", &["rows"], &["rates", "fit"]), 3),
        operator("last", &["rows"], &[]),
    ];
    let graph = Graph::new(&sources, &operators, &[sink(&[]), sink(&["clean.odd"])]).unwrap();
    let ranges: Vec<_> = graph.stages.iter().map(|it| it.operators.clone()).collect();
    assert_eq!(ranges, [0..2, 0..0, 2..4]);
    assert_eq!(graph.readers, [0, 2]);
    let leaving = [(Some((0, 1)), Outlet::Sink(1)), (Some((1, 0)), Outlet::Next)];
    assert_eq!(graph.wires(0).leaving, leaving);
    assert_eq!(graph.wires(0).inputs, [vec![], vec![(0, 0)]]);
    assert_eq!(graph.wires(1).leaving, [(None, Outlet::Next)]);
    assert_eq!(graph.wires(2).inputs, [vec![], vec![(0, 0)]]);
    assert_eq!([0, 1, 2].map(|it| graph.stage_behind(it)), [Some(2), Some(2), None]);
    let of = |topic| graph.source_of(&TopicPartition::new(topic, 0));
    assert_eq!([of("topic-of-orders"), of("topic-of-rates"), of("x")], [Some(0), Some(1), None]);
    let name = |port: Port| format!("{}.{}", port.operator, port.output);
    assert_eq!(graph.identity(0, &name).0, ["orders"]);
    assert_eq!(graph.identity(1, &name).0, [""; 0]);
    assert_eq!(graph.identity(2, &name).0, ["rates", "1.0"]);
}

#[test]
fn an_operator_of_two_sources_without_a_key_is_one_task() {
    let sources = [source("a"), source("b")];
    let operators = [operator("both", &["rows"], &["a", "b"])];
    let graph = Graph::new(&sources, &operators, &[sink(&[])]).unwrap();
    let one = Keyed { columns: Vec::new(), tasks: 1 };
    let keyed: Vec<_> = graph.keyed_stages().map(|it| (it.0, it.2.clone())).collect();
    assert_eq!(keyed, [(2, one)]);
    // Two sources may also go their ways to two sinks.
    let operators = [operator("x", &["rows"], &["a"]), operator("y", &["rows"], &["b"])];
    let graph = Graph::new(&sources, &operators, &[sink(&["x"]), sink(&["y"])]).unwrap();
    assert!(!graph.is_keyed());
    let ranges: Vec<_> = graph.stages.iter().map(|it| it.operators.clone()).collect();
    assert_eq!(ranges, [0..1, 1..2]);
}

#[test]
fn what_is_wrong_about_sources_is_named_with_its_place() {
    let wrong = |operators: &[OperatorNode]| {
        let sources = [source("a"), source("b")];
        let error = Graph::new(&sources, operators, &[sink(&[])]).unwrap_err();
        format!("{}: {}\n{}", error.at, error.message, error.help)
    };
    let x = |input: &[&str]| operator("x", &["rows"], input);
    let y = |input: &[&str]| operator("y", &["rows"], input);
    let z = |input: &[&str]| operator("z", &["rows"], input);
    assert!(wrong(&[x(&[])]).contains("does not say which source"));
    assert!(wrong(&[x(&["c"])]).contains("\"c\" is no source"));
    assert!(wrong(&[x(&["a"])]).starts_with("source.1: no operator takes source b"));
    assert!(wrong(&[x(&["a"]), y(&["a", "b"])]).contains("both take source a"));
    assert!(wrong(&[x(&["a"]), y(&["b"]), z(&["x"])]).contains("operator z stands apart"));
    let named = operator("b", &["rows"], &["a"]);
    assert!(wrong(&[named, y(&["b"])]).contains("are named \"b\""));
    // Rows of b alone are shared out, and a goes elsewhere.
    assert!(wrong(&[x(&["a"]), keyed(y(&["b"]), 2)]).contains("nobody takes output x.rows"));
    let mut dropped = x(&["a"]);
    dropped.discard = vec!["rows".to_owned()];
    assert!(wrong(&[dropped, keyed(y(&["b"]), 2)]).contains("nothing of source a reaches"));
    assert!(wrong(&[keyed(x(&["a"]), 2), y(&["b"])]).contains("source b, which is in another"));
}
