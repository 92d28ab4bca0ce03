//! Cycles of dependencies, each told by a shortest one of the worst sort.

use super::{
    History,
    words::{self, txn},
};
use crate::{
    finding::{Anomaly, Finding},
    graph::{Class, Edge, Graph, Kind, Shape, Why},
};

pub(super) fn findings(history: &History, graph: &Graph, forbidden: Shape) -> Vec<Finding> {
    let mut findings = Vec::new();
    for knot in graph.knots(forbidden) {
        let found = forbidden.and_worse().find_map(|shape| {
            let cycle = graph.shortest(&knot, shape, shape == forbidden)?;
            Some((shape, cycle))
        });
        if let Some((shape, cycle)) = found {
            findings.push(tell(history, shape, &cycle));
        }
    }
    findings
}

fn anomaly(shape: Shape, cycle: &[Edge]) -> Anomaly {
    let keys = || cycle.iter().map(|edge| edge.why.key());
    match shape.class {
        Class::G0 => Anomaly::DirtyWrite,
        Class::G1c => Anomaly::CircularInformationFlow,
        Class::Single if cycle.iter().all(|edge| matches!(edge.why.kind(), Kind::Rw | Kind::RealTime)) => {
            Anomaly::StaleRead
        }
        // It read a list, others appended to that list, and then it appended upon what it had read.
        Class::Single
            if keys().all(|key| key.is_some() && key == cycle[0].why.key())
                && cycle.iter().all(|edge| edge.why.kind() != Kind::Wr) =>
        {
            Anomaly::LostUpdate
        }
        Class::Single => Anomaly::ReadSkew,
        Class::Nonadjacent => Anomaly::NonadjacentCycle,
        Class::G2 => Anomaly::WriteSkew,
    }
}

fn tell(history: &History, shape: Shape, cycle: &[Edge]) -> Finding {
    let mut story = Vec::new();
    for edge in cycle {
        let (from, to) = (txn(edge.from), txn(edge.to));
        let kind = match edge.why.kind() {
            Kind::Ww => "ww",
            Kind::Wr => "wr",
            Kind::Rw => "rw",
            Kind::RealTime => "real time",
        };
        let why = match edge.why {
            Why::Ww { key, earlier, later } => {
                format!("{from} appended {earlier} to key {key}, and {to} appended {later} right behind it")
            }
            Why::Wr { key, last } => format!("{to} has read key {key} up to {last}, which {from} appended"),
            Why::Rw { key, next } => {
                format!("{from} has read key {key} without {next}, which {to} appended next")
            }
            Why::RealTime => format!("{from} was answered before {to} began"),
        };
        story.push(format!("{from} → {to} ({kind}): {why}"));
    }
    let involved = cycle.iter().map(|edge| edge.from).collect();
    let mut finding = words::finding(history, anomaly(shape, cycle), involved, story);
    finding.real_time = shape.real_time;
    finding
}
