//! Transactions and lists in words.

use super::{Element, History, Op};
use crate::{
    finding::{Anomaly, Finding},
    graph::Node,
};

/// More elements than these of a list are not shown: the last ones tell the version.
const SHOWN: usize = 6;

pub(super) fn txn(node: Node) -> String {
    format!("T{node}")
}

pub(super) fn list(elements: &[Element]) -> String {
    let hidden = elements.len().saturating_sub(SHOWN);
    let shown: Vec<String> = elements[hidden..].iter().map(Element::to_string).collect();
    format!("[{}{}]", if hidden > 0 { "… " } else { "" }, shown.join(" "))
}

fn op(op: &Op) -> String {
    match op {
        Op::Append { key, element } => format!("append {element} to {key}"),
        Op::Read { key, list: read } => format!("read {key}: {}", list(read)),
    }
}

/// A finding whose story ends with the transactions that are involved, each with all that it did.
pub(super) fn finding(
    history: &History,
    anomaly: Anomaly,
    involved: Vec<Node>,
    mut story: Vec<String>,
) -> Finding {
    for node in &involved {
        let transaction = &history.transactions[*node];
        let ops: Vec<String> = transaction.did.iter().map(op).collect();
        story.push(format!("{} ({}): {}", txn(*node), transaction.told(), ops.join("; ")));
    }
    Finding::new(anomaly, involved, story)
}
