//! Faults of the network between nodes that have addresses of their own: packets are dropped where they arrive.

use crate::demo::{
    Cluster,
    network::{self, Network, tool},
};
use anyhow::{Context, Result};

/// At `node`, packets from `from` are lost: all of them, or a share.
pub struct Rule {
    pub node: u64,
    pub from: u64,
    pub share: Option<f64>,
}

/// Between the two sides; one way: only what goes to `cut`.
pub fn partition(cut: &[u64], from: &[u64], one_way: bool) -> Vec<Rule> {
    let pairs = cut.iter().flat_map(|a| from.iter().map(move |b| (*a, *b)));
    let both = pairs.flat_map(|(a, b)| [(a, b), (b, a)].into_iter().take(if one_way { 1 } else { 2 }));
    both.map(|(node, from)| Rule { node, from, share: None }).collect()
}

/// Between a node and each of the others, in both directions.
pub fn loss(node: u64, others: &[u64], percent: f64) -> Vec<Rule> {
    let share = Some(percent / 100.0);
    others
        .iter()
        .flat_map(|other| [Rule { node, from: *other, share }, Rule { node: *other, from: node, share }])
        .collect()
}

/// By this the rules of one fault are found again.
fn mark(id: &str) -> String {
    format!("quorate-{id}")
}

fn network(cluster: &Cluster) -> Result<&Network> {
    cluster
        .network
        .as_ref()
        .context("the nodes share one network; this needs a demo made with `demo --isolated`")
}

pub fn apply(cluster: &Cluster, id: &str, rules: &[Rule]) -> Result<()> {
    let network = network(cluster)?;
    for rule in rules {
        let (source, mark) = (network.address(rule.from), mark(id));
        let share = rule.share.map(|share| format!("{share}"));
        let mut words = vec!["-A", "INPUT", "-s", &source];
        if let Some(share) = &share {
            words.extend(["-m", "statistic", "--mode", "random", "--probability", share]);
        }
        words.extend(["-m", "comment", "--comment", &mark, "-j", "DROP"]);
        iptables(&network.namespace(rule.node), &words)?;
    }
    Ok(())
}

/// Removes the fault's rules, wherever they are.
pub fn undo(cluster: &Cluster, id: &str) -> Result<()> {
    let network = network(cluster)?;
    let mark = mark(id);
    for node in &cluster.nodes {
        let namespace = network.namespace(node.id);
        if !network::exists(&namespace) {
            continue;
        }
        let listed = iptables(&namespace, &["-S", "INPUT"])?;
        let rules = listed.lines().filter(|line| line.starts_with("-A "));
        let ours = rules.zip(1..).filter(|(rule, _)| rule.contains(&mark)).map(|(_, number)| number);
        // From behind, so that the numbers before stay.
        for number in ours.collect::<Vec<u32>>().into_iter().rev() {
            iptables(&namespace, &["-D", "INPUT", &number.to_string()])?;
        }
    }
    Ok(())
}

fn iptables(namespace: &str, words: &[&str]) -> Result<String> {
    let all = [&["netns", "exec", namespace, "iptables", "-w", "5"], words].concat();
    tool("ip", &all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_or_one() {
        let pairs = |rules: Vec<Rule>| rules.iter().map(|rule| (rule.node, rule.from)).collect::<Vec<_>>();
        assert_eq!(pairs(partition(&[1], &[2, 3], false)), [(1, 2), (2, 1), (1, 3), (3, 1)]);
        assert_eq!(pairs(partition(&[1, 2], &[3], true)), [(1, 3), (2, 3)]);
        assert_eq!(pairs(loss(3, &[1, 2], 5.0)), [(3, 1), (1, 3), (3, 2), (2, 3)]);
    }
}
