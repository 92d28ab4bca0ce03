//! Which node is meant.

use super::args::Target;
use crate::{
    demo::{self, Cluster, process},
    shell,
};
use anyhow::{Context, Result, bail};
use std::time::{SystemTime, UNIX_EPOCH};

pub async fn find(cluster: &Cluster, target: &Target) -> Result<u64> {
    match &target.words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["any"] => any(cluster),
        ["leader-of", table] => leader(cluster, table).await,
        ["leader-of"] => bail!("leader-of which table?"),
        [number] => {
            let id = number.parse().ok().with_context(|| {
                format!("`{number}` is no node: give a number, `any`, or `leader-of TABLE`")
            })?;
            Ok(cluster.node(id)?.id)
        }
        words => bail!("`{}` is no node: give a number, `any`, or `leader-of TABLE`", words.join(" ")),
    }
}

/// Several, with commas; or what [`find`] takes.
pub async fn find_some(cluster: &Cluster, words: &[String]) -> Result<Vec<u64>> {
    match words {
        [list] if list.contains(',') => {
            let id = |number: &str| Ok(cluster.node(number.parse().context("nodes are numbers")?)?.id);
            list.split(',').map(id).collect()
        }
        _ => Ok(vec![find(cluster, &Target { words: words.to_vec() }).await?]),
    }
}

fn any(cluster: &Cluster) -> Result<u64> {
    let running: Vec<u64> =
        cluster.nodes.iter().filter(|n| process::running(cluster, n).is_some()).map(|n| n.id).collect();
    let nth = unique() % running.len().max(1) as u64;
    running.get(nth as usize).copied().context("no node runs")
}

/// The leader of a table's first shard, by the first node that answers.
async fn leader(cluster: &Cluster, table: &str) -> Result<u64> {
    let mut why = None;
    for node in &cluster.nodes {
        let ask = async {
            let client = shell::connect(&node.url()).await?;
            let rows = client.query(&format!("SHOW SHARDS FROM TABLE {table}"), &[]).await?;
            let row = rows.first().with_context(|| format!("{table} has no shards"))?;
            let leader: Option<i64> = row.try_get("leader_node_id")?;
            let leader = leader.with_context(|| format!("nobody leads the first shard of {table}"))?;
            Ok(u64::try_from(leader)?)
        };
        match demo::in_time(node, ask).await {
            Ok(leader) => return Ok(cluster.node(leader)?.id),
            Err(error) => why = Some(error),
        }
    }
    Err(why.context("a demo without nodes")?)
}

/// Another number at every call, also in processes that start together.
#[expect(clippy::disallowed_methods, reason = "a tool around the cluster, never simulated")]
pub fn unique() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Nearby times make distant numbers (the finish of splitmix64).
    let mixed =
        (time.as_nanos() as u64 ^ (u64::from(std::process::id()) << 48)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 31)
}
