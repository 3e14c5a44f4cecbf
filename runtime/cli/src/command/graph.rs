//! `floe check --graph`: which operators and sinks take what, drawn as text, for Mermaid, or as SVG.

use std::fmt::Write;

use clap::ValueEnum;
use floe_core::graph::Port;
use floe_pipeline::config::{PipelineSpec, SourceSpec};

use crate::telemetry::facts::origin_text;
use crate::wire::Modules;

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum GraphFormat {
    Text,
    Mermaid,
    Svg,
}

/// A box of the drawing.
struct Node {
    title: String,
    lines: Vec<String>,
    /// Boxes of one column take from columns to the left.
    column: usize,
    is_operator: bool,
}

struct Edge {
    from: usize,
    to: usize,
    /// The output's name, where the operator has several; the key, where it parts rows.
    label: String,
    keyed: bool,
}

struct Drawing {
    sources: usize,
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

pub(super) fn draw(spec: &PipelineSpec, modules: &Modules, format: GraphFormat) -> String {
    let drawing = Drawing::of(spec, modules);
    match format {
        GraphFormat::Text => drawing.text(),
        GraphFormat::Mermaid => drawing.mermaid(),
        GraphFormat::Svg => drawing.svg(),
    }
}

impl Drawing {
    fn of(spec: &PipelineSpec, modules: &Modules) -> Drawing {
        let graph = &modules.graph;
        let source = |it: &SourceSpec| Node {
            title: match spec.sources.len() {
                1 => "source".to_owned(),
                _ => format!("source {}", it.name),
            },
            lines: vec![origin_text(&it.origin)],
            column: 0,
            is_operator: false,
        };
        let nodes: Vec<Node> = spec.sources.iter().map(source).collect();
        let mut drawing = Drawing { sources: nodes.len(), nodes, edges: Vec::new() };
        for (index, module) in modules.chain.iter().enumerate() {
            let stage = &graph.stages[graph.stage_of(index)];
            let tasks = match &stage.keyed {
                None => "a task for each partition".to_owned(),
                Some(keyed) if keyed.columns.is_empty() => "one task".to_owned(),
                Some(keyed) => format!("{} tasks by key", keyed.tasks),
            };
            let lines = vec![module.file_name(), tasks];
            let key = stage.keyed.as_ref().filter(|_| stage.operators.start == index);
            let key = key.map(|it| match it.columns.is_empty() {
                true => "all rows".to_owned(),
                false => format!("key-by {}", it.columns.join(", ")),
            });
            let inputs = &graph.inputs[index];
            let column = 1 + drawing.column_of(inputs);
            let title = module.name.clone();
            drawing.nodes.push(Node { title, lines, column, is_operator: true });
            let read = graph.readers.iter().enumerate().filter(|it| *it.1 == index);
            for (source, _) in read {
                drawing.connect_source(source, key.as_deref());
            }
            drawing.connect(modules, inputs, key.as_deref());
        }
        for (number, sink) in spec.sinks.iter().enumerate() {
            let inputs = &graph.sinks[number];
            let column = 1 + drawing.column_of(inputs);
            let (title, lines) = (format!("sink {}", sink.name), vec![sink.spec.name().to_owned()]);
            drawing.nodes.push(Node { title, lines, column, is_operator: false });
            drawing.connect(modules, inputs, None);
        }
        drawing
    }

    /// Sources are the first nodes, then come the operators.
    fn column_of(&self, inputs: &[Port]) -> usize {
        let of = |it: &Port| self.nodes[self.sources + it.operator].column;
        inputs.iter().map(of).max().unwrap_or(0)
    }

    /// To the newest node.
    fn connect_source(&mut self, source: usize, key: Option<&str>) {
        let (to, label) = (self.nodes.len() - 1, key.unwrap_or_default().to_owned());
        self.edges.push(Edge { from: source, to, label, keyed: key.is_some() });
    }

    /// Edges to the newest node.
    fn connect(&mut self, modules: &Modules, inputs: &[Port], key: Option<&str>) {
        let to = self.nodes.len() - 1;
        for port in inputs {
            let outputs = &modules.chain[port.operator].factory.describe().outputs;
            let name = outputs.get(port.output as usize).map(|it| it.0.as_str());
            let output = name.filter(|_| outputs.len() > 1);
            let label = output.into_iter().chain(key).collect::<Vec<_>>().join(", ");
            let from = self.sources + port.operator;
            self.edges.push(Edge { from, to, label, keyed: key.is_some() });
        }
    }

    fn text(&self) -> String {
        let mut out = String::new();
        let width = self.nodes.iter().map(|it| it.title.chars().count()).max().unwrap_or(0);
        for (index, node) in self.nodes.iter().enumerate() {
            // Writing to a string does not fail.
            let _ = writeln!(out, "{:width$}  {}", node.title, node.lines.join(", "));
            for edge in self.edges.iter().filter(|it| it.from == index) {
                let to = &self.nodes[edge.to].title;
                let arrow = if edge.keyed { "⇉" } else { "→" };
                let label = match edge.label.is_empty() {
                    true => String::new(),
                    false => format!("  ({})", edge.label),
                };
                let _ = writeln!(out, "  {arrow} {to}{label}");
            }
        }
        out
    }

    fn mermaid(&self) -> String {
        let mut out = "flowchart LR\n".to_owned();
        for (index, node) in self.nodes.iter().enumerate() {
            let text: Vec<String> =
                std::iter::once(&node.title).chain(&node.lines).map(|it| escaped(it)).collect();
            let text = text.join("<br>");
            let _ = match node.is_operator {
                true => writeln!(out, "  n{index}[\"{text}\"]"),
                false => writeln!(out, "  n{index}([\"{text}\"])"),
            };
        }
        for edge in &self.edges {
            let arrow = if edge.keyed { "==>" } else { "-->" };
            let label = match edge.label.is_empty() {
                true => String::new(),
                false => format!("|\"{}\"|", escaped(&edge.label)),
            };
            let _ = writeln!(out, "  n{} {arrow}{label} n{}", edge.from, edge.to);
        }
        out
    }

    fn svg(&self) -> String {
        let columns = self.nodes.iter().map(|it| it.column).max().unwrap_or(0) + 1;
        let mut rows = vec![0; columns];
        let mut places = Vec::new();
        for node in &self.nodes {
            places.push((
                MARGIN + node.column * (BOX_WIDTH + GAP_X),
                MARGIN + rows[node.column] * (BOX_HEIGHT + GAP_Y),
            ));
            rows[node.column] += 1;
        }
        let width = 2 * MARGIN + columns * (BOX_WIDTH + GAP_X) - GAP_X;
        let most = rows.iter().copied().max().unwrap_or(1);
        let height = 2 * MARGIN + most * (BOX_HEIGHT + GAP_Y) - GAP_Y;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
        );
        for edge in &self.edges {
            let (from, to) = (places[edge.from], places[edge.to]);
            let (x1, y1) = (from.0 + BOX_WIDTH, from.1 + BOX_HEIGHT / 2);
            let (x2, y2) = (to.0, to.1 + BOX_HEIGHT / 2);
            let (middle, label_y) = (x1.midpoint(x2), y1.midpoint(y2));
            let thick = if edge.keyed { 3 } else { 1 };
            let _ = writeln!(
                out,
                "<path d=\"M{x1} {y1} C{middle} {y1} {middle} {y2} {x2} {y2}\" fill=\"none\" stroke=\"black\" stroke-width=\"{thick}\"/>\n<path d=\"M{} {} L{x2} {y2} L{} {}\" fill=\"none\" stroke=\"black\"/>",
                x2 - 6,
                y2 - 4,
                x2 - 6,
                y2 + 4
            );
            if !edge.label.is_empty() {
                let _ = writeln!(
                    out,
                    "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\" stroke=\"white\" stroke-width=\"4\" paint-order=\"stroke\">{}</text>",
                    label_y - 5,
                    escaped(&edge.label)
                );
            }
        }
        for (node, (x, y)) in self.nodes.iter().zip(&places) {
            let round = if node.is_operator { 2 } else { BOX_HEIGHT / 2 };
            let _ = writeln!(
                out,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{BOX_WIDTH}\" height=\"{BOX_HEIGHT}\" rx=\"{round}\" fill=\"#f4f6f8\" stroke=\"black\"/>"
            );
            for (line, text) in std::iter::once(&node.title).chain(&node.lines).enumerate() {
                let weight = if line == 0 { " font-weight=\"bold\"" } else { "" };
                let _ = writeln!(
                    out,
                    "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\"{weight}>{}</text>",
                    x + BOX_WIDTH / 2,
                    y + 18 + 16 * line,
                    escaped(&shortened(text))
                );
            }
        }
        out + "</svg>\n"
    }
}

const MARGIN: usize = 16;
const BOX_WIDTH: usize = 200;
const BOX_HEIGHT: usize = 60;
const GAP_X: usize = 150;
const GAP_Y: usize = 24;
/// Characters that a box is wide.
const BOX_CHARACTERS: usize = 30;

fn shortened(text: &str) -> String {
    match text.chars().count() > BOX_CHARACTERS {
        false => text.to_owned(),
        true => text.chars().take(BOX_CHARACTERS - 1).chain(['…']).collect(),
    }
}

/// For SVG, and within quotes of Mermaid.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
