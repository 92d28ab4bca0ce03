//! What is wrong by itself, without any cycle, and forbidden at every level.

use super::{
    Element, Key,
    orders::{Orders, View, appends, views},
    words::{self, txn},
};
use crate::{
    attempt::Outcome,
    finding::{Anomaly, Finding},
    graph::Node,
};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn findings(orders: &Orders) -> Vec<Finding> {
    let mut findings = foreign_elements(orders);
    findings.extend(duplicates(orders));
    findings.extend(lost(orders));
    findings.extend(incompatible(orders));
    for (node, transaction) in orders.effective() {
        for view in views(transaction) {
            findings.extend(own_missing(node, &view));
            findings.extend(intermediate(orders, node, &view));
        }
    }
    findings
}

/// All that was seen, each element once with its reader: nobody for the lists in the end.
fn seen(orders: &Orders) -> BTreeMap<(Key, Element), Option<Node>> {
    let mut seen = BTreeMap::new();
    for (node, transaction) in orders.effective() {
        for view in views(transaction) {
            let elements = orders.aside(view.key, view.list).iter();
            seen.extend(elements.map(|element| ((view.key, *element), Some(node))));
        }
    }
    for (key, list) in &orders.lists {
        seen.extend(list.iter().map(|element| ((*key, *element), None)));
    }
    seen
}

/// Elements of transactions that have failed, and of nobody.
fn foreign_elements(orders: &Orders) -> Vec<Finding> {
    let mut findings = Vec::new();
    for ((key, element), reader) in seen(orders) {
        let who = reader.map_or("a list of key".to_owned(), |node| format!("{} has read key", txn(node)));
        let writer = orders.writers.get(&(key, element)).copied();
        let (anomaly, why) = match writer {
            None => (Anomaly::ValueFromNowhere, "nobody has appended it".to_owned()),
            Some(writer) if orders.history.transactions[writer].outcome == Outcome::Failed => (
                Anomaly::AbortedRead,
                format!("{} appended it, and was told that it has failed", txn(writer)),
            ),
            Some(_) => continue,
        };
        let story = vec![format!("{who} {key} with {element} in it; {why}")];
        let involved: Vec<Node> = writer.into_iter().chain(reader).collect();
        findings.push(words::finding(orders.history, anomaly, involved, story));
    }
    findings
}

fn twice(list: &[Element]) -> Option<Element> {
    let mut met = BTreeSet::new();
    list.iter().copied().find(|element| !met.insert(*element))
}

fn duplicates(orders: &Orders) -> Vec<Finding> {
    let views = orders.effective().flat_map(|(_, transaction)| views(transaction));
    let aside = views.map(|view| (view.key, orders.aside(view.key, view.list)));
    let all = orders.lists.iter().map(|(key, list)| (*key, *list)).chain(aside);
    let doubled: BTreeSet<(Key, Element)> = all.filter_map(|(key, list)| Some((key, twice(list)?))).collect();
    let tell = |(key, element): (Key, Element)| {
        let story = vec![format!("element {element} stands twice in the list of key {key}")];
        let writer = orders.writers.get(&(key, element)).copied();
        words::finding(orders.history, Anomaly::DuplicateWrite, writer.into_iter().collect(), story)
    };
    doubled.into_iter().map(tell).collect()
}

/// What took effect and is not there in the end.
fn lost(orders: &Orders) -> Vec<Finding> {
    if orders.history.last.is_none() {
        return Vec::new();
    }
    let there: BTreeSet<(Key, Element)> =
        orders.lists.iter().flat_map(|(key, list)| list.iter().map(|element| (*key, *element))).collect();
    let mut findings = Vec::new();
    for (node, transaction) in orders.effective() {
        let gone = appends(transaction).filter(|write| !there.contains(write));
        let gone: Vec<String> = gone.map(|(key, element)| format!("{element} to key {key}")).collect();
        if gone.is_empty() {
            continue;
        }
        let why = match transaction.outcome {
            Outcome::Committed => "was told that it has committed",
            _ => "has taken effect, for others have seen of it",
        };
        let story =
            format!("{} appended {} and {why}; that is not there in the end", txn(node), gone.join(", "));
        findings.push(words::finding(orders.history, Anomaly::LostWrite, vec![node], vec![story]));
    }
    findings
}

/// Lists of one key of which neither is the beginning of the other; one example for each key.
fn incompatible(orders: &Orders) -> Vec<Finding> {
    let mut examples: BTreeMap<Key, Finding> = BTreeMap::new();
    for (node, transaction) in orders.effective() {
        for view in views(transaction) {
            let list = orders.lists.get(&view.key).copied().unwrap_or_default();
            if list.starts_with(view.list) || examples.contains_key(&view.key) {
                continue;
            }
            let common = list.iter().zip(view.list).take_while(|(a, b)| a == b).count();
            let other = match list.get(common) {
                Some(element) => format!("where another read found {element}"),
                None => "where another read found nothing".to_owned(),
            };
            let story = vec![format!(
                "{} has read key {} with {} in place {}, {other}; before it both have {}",
                txn(node),
                view.key,
                view.list[common],
                common + 1,
                words::list(&list[..common]),
            )];
            let finding = words::finding(orders.history, Anomaly::IncompatibleOrders, vec![node], story);
            examples.insert(view.key, finding);
        }
    }
    examples.into_values().collect()
}

fn own_missing(node: Node, view: &View) -> Option<Finding> {
    let story = || {
        vec![format!(
            "{} has appended {} to key {} and then read {}",
            txn(node),
            words::list(&view.own),
            view.key,
            words::list(view.list)
        )]
    };
    (!view.has_own()).then(|| Finding::new(Anomaly::OwnWriteMissing, vec![node], story()))
}

/// The list ends with an element that was not the last which its transaction appended to it.
fn intermediate(orders: &Orders, node: Node, view: &View) -> Option<Finding> {
    let last = *view.of_others().last()?;
    let writer = orders.writer(view.key, last).filter(|writer| *writer != node)?;
    let written = appends(&orders.history.transactions[writer]);
    let (_, end) = written.filter(|(key, _)| *key == view.key).last()?;
    if end == last {
        return None;
    }
    let story = vec![format!(
        "{} has read key {} up to {last}; {} appended that, and {end} behind it in the same transaction",
        txn(node),
        view.key,
        txn(writer)
    )];
    Some(words::finding(orders.history, Anomaly::IntermediateRead, vec![writer, node], story))
}
