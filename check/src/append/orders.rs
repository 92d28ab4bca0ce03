//! Which transactions have taken effect, and in which order each list was written.

use super::{Element, History, Key, Op, Transaction};
use crate::{attempt::Outcome, graph::Node};
use std::collections::{BTreeMap, BTreeSet};

pub(super) struct Orders<'a> {
    pub history: &'a History,
    pub writers: BTreeMap<(Key, Element), Node>,
    /// Each key's list as it was in the end, or the longest that was read.
    pub lists: BTreeMap<Key, &'a [Element]>,
    /// Those that were acknowledged, and those of unknown outcome of which something was seen.
    pub effective: Vec<bool>,
}

/// What a transaction has read of a key.
pub(super) struct View<'a> {
    pub key: Key,
    pub list: &'a [Element],
    /// What it had itself appended before.
    pub own: Vec<Element>,
}

impl<'a> View<'a> {
    pub fn has_own(&self) -> bool {
        self.list.ends_with(&self.own)
    }

    /// Without what it had itself appended.
    pub fn of_others(&self) -> &'a [Element] {
        let end = if self.has_own() { self.list.len() - self.own.len() } else { self.list.len() };
        &self.list[..end]
    }
}

pub(super) fn views(transaction: &Transaction) -> Vec<View<'_>> {
    let mut appended: BTreeMap<Key, Vec<Element>> = BTreeMap::new();
    let mut views = Vec::new();
    for op in &transaction.did {
        match op {
            Op::Append { key, element } => appended.entry(*key).or_default().push(*element),
            Op::Read { key, list } => {
                let own = appended.get(key).cloned().unwrap_or_default();
                views.push(View { key: *key, list, own });
            }
        }
    }
    views
}

pub(super) fn reads(transaction: &Transaction) -> impl Iterator<Item = (Key, &[Element])> {
    transaction.did.iter().filter_map(|op| match op {
        Op::Read { key, list } => Some((*key, list.as_slice())),
        Op::Append { .. } => None,
    })
}

pub(super) fn appends(transaction: &Transaction) -> impl Iterator<Item = (Key, Element)> {
    transaction.did.iter().filter_map(|op| match op {
        Op::Append { key, element } => Some((*key, *element)),
        Op::Read { .. } => None,
    })
}

impl<'a> Orders<'a> {
    pub fn new(history: &'a History) -> Self {
        let numbered = || history.transactions.iter().enumerate();
        let mut orders = Orders {
            history,
            writers: numbered()
                .flat_map(|(node, transaction)| appends(transaction).map(move |write| (write, node)))
                .collect(),
            lists: lists(history),
            effective: numbered().map(|(_, t)| t.outcome == Outcome::Committed).collect(),
        };
        orders.find_effective();
        orders
    }

    /// Elements of a read that its key's list does not begin with. (Most reads have none, and are not looked at twice.)
    pub fn aside(&self, key: Key, list: &'a [Element]) -> &'a [Element] {
        if self.is_prefix(key, list) { &[] } else { list }
    }

    pub fn is_prefix(&self, key: Key, list: &[Element]) -> bool {
        self.lists.get(&key).copied().unwrap_or_default().starts_with(list)
    }

    pub fn effective(&self) -> impl Iterator<Item = (Node, &'a Transaction)> {
        self.history.transactions.iter().enumerate().filter(|(node, _)| self.effective[*node])
    }

    /// Who appended it, if that took effect.
    pub fn writer(&self, key: Key, element: Element) -> Option<Node> {
        self.writers.get(&(key, element)).copied().filter(|node| self.effective[*node])
    }

    /// Whose outcome is unknown has taken effect if somebody has seen what it wrote who has taken effect.
    fn find_effective(&mut self) {
        let history = self.history;
        let mut due: BTreeSet<(Key, Element)> = BTreeSet::new();
        for (key, list) in &self.lists {
            due.extend(list.iter().map(|element| (*key, *element)));
        }
        let committed: Vec<Node> = self.effective().map(|(node, _)| node).collect();
        for node in committed {
            due.extend(self.seen_aside(&history.transactions[node]));
        }
        while let Some((key, element)) = due.pop_first() {
            let Some(node) = self.writers.get(&(key, element)).copied() else { continue };
            let transaction = &history.transactions[node];
            if transaction.outcome == Outcome::Unknown && !self.effective[node] {
                self.effective[node] = true;
                due.extend(self.seen_aside(transaction));
            }
        }
    }

    fn seen_aside(&self, transaction: &'a Transaction) -> Vec<(Key, Element)> {
        let aside = reads(transaction).map(|(key, list)| (key, self.aside(key, list)));
        aside.flat_map(|(key, list)| list.iter().map(move |element| (key, *element))).collect()
    }
}

fn lists(history: &History) -> BTreeMap<Key, &[Element]> {
    let mut lists: BTreeMap<Key, &[Element]> = BTreeMap::new();
    let committed = history.transactions.iter().filter(|t| t.outcome == Outcome::Committed);
    for (key, list) in committed.flat_map(reads) {
        let longest = lists.entry(key).or_default();
        if list.len() > longest.len() {
            *longest = list;
        }
    }
    if let Some(last) = &history.last {
        // What was read of a key that is absent in the end is not in its list.
        lists.values_mut().for_each(|list| *list = &[]);
        lists.extend(last.iter().map(|(key, list)| (*key, list.as_slice())));
    }
    lists
}
