//! What the nodes of a cluster count, read from their `/metrics`.

use crate::{host, report::Counted};
use anyhow::{Context, Result, bail};
use std::{collections::BTreeMap, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Counters of all nodes, summed by name.
#[derive(Default, Debug, Clone, PartialEq)]
pub struct Counters(BTreeMap<String, f64>);

impl Counters {
    /// What the nodes at these addresses (`host:port`) have counted since their starts.
    pub async fn read(addresses: &[String]) -> Result<Self> {
        let mut sums = Counters::default();
        for address in addresses {
            let page = host::within(PATIENCE, page(address)).await.context("no answer").flatten();
            sums.add_page(&page.with_context(|| format!("no metrics at {address}"))?);
        }
        Ok(sums)
    }

    fn add_page(&mut self, page: &str) {
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let name = name.split('{').next().unwrap_or(name);
            if let Ok(value) = value.parse::<f64>() {
                *self.0.entry(name.to_owned()).or_default() += value;
            }
        }
    }

    /// What was counted since `before`.
    pub fn since(mut self, before: &Counters) -> Self {
        for (name, value) in &mut self.0 {
            *value -= before.0.get(name).copied().unwrap_or(0.0);
        }
        self
    }

    pub fn plus(mut self, other: &Counters) -> Self {
        for (name, value) in &other.0 {
            *self.0.entry(name.clone()).or_default() += value;
        }
        self
    }

    /// What no node counts is unknown, and so is everything where there were no transactions.
    pub fn per_transaction(&self, transactions: usize) -> Counted {
        let each = |name: &str| Some(self.0.get(name)? / transactions as f64).filter(|each| each.is_finite());
        Counted {
            consensus_rounds_per_txn: each("quorate_txn_rounds_total"),
            raft_entries_per_txn: each("quorate_consensus_entries_total"),
            calls_per_txn: each("quorate_env_calls_total"),
            fsyncs_per_txn: each("quorate_storage_log_fsyncs_total"),
            bytes_per_txn: each("quorate_env_sent_bytes_total"),
        }
    }
}

async fn page(address: &str) -> Result<String> {
    let mut stream = host::connect(address).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.split_whitespace().nth(1) == Some("200") => Ok(body.to_owned()),
        _ => bail!("it answers {:?}", answer.lines().next().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(pages: &[&str]) -> Counters {
        let mut sums = Counters::default();
        pages.iter().for_each(|page| sums.add_page(page));
        sums
    }

    #[test]
    fn nodes_and_labels_are_summed_and_what_was_before_taken_off() {
        let before = counted(&["a{x=\"1\"} 1\na{x=\"2\"} 2\n", "a{x=\"1\"} 4\n"]);
        let after = counted(&["# TYPE a counter\na{x=\"1\"} 11\nb 5\n", "a{x=\"1\"} 4\n"]);
        assert_eq!(before, counted(&["a 7"]));
        let turn = after.since(&before);
        assert_eq!(turn, counted(&["a 8\nb 5"]));
        assert_eq!(turn.clone().plus(&turn), counted(&["a 16\nb 10"]));
    }

    #[test]
    fn what_is_not_counted_is_unknown() {
        let counters = counted(&["quorate_txn_rounds_total 30\nquorate_env_calls_total 0"]);
        let each = counters.per_transaction(20);
        assert_eq!((each.consensus_rounds_per_txn, each.calls_per_txn), (Some(1.5), Some(0.0)));
        assert_eq!(each.fsyncs_per_txn, None);
        assert_eq!(counters.per_transaction(0), Counted::default());
    }
}
