//! A gateway loses its power in the midst of a commit across shards: at each of its await points, one after the other. Whoever then
//! reads what the commit was about is answered within the time after which a gateway counts as dead, and sees all of it or
//! nothing.

use crate::{
    cluster::Cluster,
    node::{Node, on_node},
};
use quorate_proto::{ErrorClass, Key, KvError, NodeId, Value};
use quorate_txn::{Txn, TxnError, TxnOptions};
use std::{collections::BTreeSet, time::Duration};

/// A commit that has ended this often before its gateway died has no await points left.
const ENDED: u64 = 12;
/// Await points that are tried at most.
const MOST: u64 = 400;
/// Questions about the dead gateway's transaction, and the commit wait of their answers, come on top of the time after which it
/// counts as dead.
const ASKING: Duration = Duration::from_millis(1000);

/// What the client was told, and whether the transaction turned out to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Committed,
    Failed,
    /// It went with its gateway.
    Nothing,
}

/// The keys of one transaction, each in another shard.
pub fn keys() -> [Key; 3] {
    [b"a", b"b", b"c"].map(|key| Key::from(key.to_vec()))
}

/// Runs deaths until the commit leaves no await point untried; `patience` is after which a gateway counts as dead.
///
/// # Errors
/// When the cluster cannot be used at all.
pub async fn story(
    cluster: Cluster,
    patience: Duration,
    facts: &mut Vec<String>,
) -> Result<Vec<String>, String> {
    let gateway = bystander(&cluster)?;
    let world = cluster.world.clone();
    let (mut seen, mut problems) = (BTreeSet::new(), Vec::new());
    let (mut before, mut ended, mut slowest, mut tried) = (None, 0, Duration::ZERO, 0);
    while ended < ENDED && tried < MOST {
        let told = die(&cluster, gateway, tried).await?;
        let began = world.elapsed();
        let read = read(&cluster).await?;
        let took = world.elapsed() - began;
        slowest = slowest.max(took);
        let there = read == Some(tried);
        seen.insert((told, there));
        let at = format!("after {tried} polls, told {told:?}");
        if !there && read != before {
            problems.push(format!("{at}: {read:?} is read, which is neither {tried} nor {before:?}"));
        }
        if (told == Told::Committed && !there) || (told == Told::Failed && there) {
            problems.push(format!("{at}, but it is{} there", if there { "" } else { " not" }));
        }
        if took > patience + ASKING {
            problems.push(format!("{at}: a reader waited {took:?}"));
        }
        (before, tried) = (read, tried + 1);
        ended = if told == Told::Committed { ended + 1 } else { 0 };
    }
    facts.push(format!("{tried} await points, longest read {slowest:?}"));
    // Or nothing was tried.
    for expected in [(Told::Nothing, false), (Told::Nothing, true), (Told::Committed, true)] {
        if !seen.contains(&expected) {
            problems.push(format!("no death led to {expected:?}, only to {seen:?}"));
        }
    }
    Ok(problems)
}

/// A node that holds no copy of any shard: its death takes no leader along.
fn bystander(cluster: &Cluster) -> Result<NodeId, String> {
    let shards = cluster.descriptors();
    let holders: BTreeSet<NodeId> =
        shards.iter().flat_map(|shard| &shard.replicas).map(|replica| replica.node).collect();
    let free = cluster.nodes().into_iter().find(|node| !holders.contains(node));
    free.ok_or_else(|| "every node holds a copy".into())
}

/// Writes `value` under all keys through a gateway whose power is cut after so many polls.
async fn die(cluster: &Cluster, gateway: NodeId, value: u64) -> Result<Told, String> {
    let node = serving(cluster, gateway).await?;
    let work = async move {
        let write = move |node: Node| async move {
            node.coordinator.run(TxnOptions::default(), move |txn| write(txn, value)).await
        };
        on_node(&node, write).await
    };
    let work = cluster.world.spawn("deaths.client", work);
    cluster.crash(gateway, value + 1, cluster.world.random().range(0..1001)).await;
    let told = match work.join().await.ok().flatten() {
        Some(Ok(_)) => Told::Committed,
        Some(Err(error)) if error.class() != ErrorClass::Ambiguous => Told::Failed,
        _ => Told::Nothing,
    };
    cluster.start(gateway).await?;
    Ok(told)
}

/// The node, once transactions succeed through it.
async fn serving(cluster: &Cluster, id: NodeId) -> Result<Node, String> {
    let deadline = cluster.world.elapsed() + Duration::from_secs(60);
    loop {
        let node = cluster.running.get(id).ok_or("the gateway is down")?;
        let tried = on_node(&node, |node| async move {
            node.coordinator.run(TxnOptions::default(), |txn| async move { values(&txn).await }).await
        });
        match tried.await {
            Some(Ok(_)) => return Ok(node),
            other if cluster.world.elapsed() > deadline => {
                return Err(format!("the gateway does not serve: {:?}", other.map(|tried| tried.err())));
            }
            _ => cluster.world.sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn write(txn: Txn, value: u64) -> Result<(), TxnError> {
    values(&txn).await?;
    for key in keys() {
        txn.put(key, Value::from(value.to_be_bytes().to_vec()));
    }
    Ok(())
}

async fn values(txn: &Txn) -> Result<Vec<Option<u64>>, TxnError> {
    let mut values = Vec::new();
    for key in keys() {
        let value = txn.get(&key, None).await?;
        let number = value.map(|value| value[..].try_into().map(u64::from_be_bytes));
        let unreadable = |_| TxnError::new(txn.id(), KvError::Internal { why: "an unreadable value".into() });
        values.push(number.transpose().map_err(unreadable)?);
    }
    Ok(values)
}

/// What another node reads: the one value of all keys.
async fn read(cluster: &Cluster) -> Result<Option<u64>, String> {
    let holders = cluster.descriptors();
    let reader = holders.first().and_then(|shard| shard.replicas.first()).ok_or("no shard is known")?;
    let node = cluster.running.get(reader.node).ok_or("the reader is down")?;
    let answer = on_node(&node, |node| async move {
        let options = TxnOptions { read_only: true, ..TxnOptions::default() };
        node.coordinator.run(options, |txn| async move { values(&txn).await }).await
    });
    let (values, _) = answer.await.ok_or("a reader gave up")?.map_err(|error| error.to_string())?;
    if values.iter().any(|value| *value != values[0]) {
        return Err(format!("a part of a transaction is read: {values:?}"));
    }
    Ok(values[0])
}
