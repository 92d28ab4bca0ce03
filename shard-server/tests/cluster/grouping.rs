//! Commands that share an entry of the log, and its fate.

use super::harness::*;
use quorate_env::NodeId;
use quorate_proto::kv::ShardReply;
use quorate_proto::{ErrorClass, Key};
use std::{collections::BTreeSet, time::Duration};

const MANY: u64 = 24;

#[test]
fn commands_proposed_side_by_side_share_entries() {
    run(11, |cluster| async move {
        let descriptor = cluster.found(&[1, 2, 3]).await;
        let (node, _, _) = cluster.leader("k").await;
        let now = cluster.now();
        let commits = (0..MANY).map(|n| {
            let (servers, to) = (cluster.servers.clone(), descriptor.clone());
            let op = commit_op(100 + n, now, &format!("k{n}"), &format!("v{n}"));
            cluster.sim.spawn("commit", async move { servers.send_to(node, &to, op).await })
        });
        let mut positions = BTreeSet::new();
        for commit in commits.collect::<Vec<_>>() {
            let Ok(ShardReply::Committed(_, position)) = commit.join().await.unwrap() else {
                panic!("not committed")
            };
            positions.insert(position.index);
        }
        assert!(positions.len() as u64 <= MANY / 2, "{} entries for {MANY} commands", positions.len());
        cluster.sim.sleep(Duration::from_millis(50)).await;
        for n in 0..MANY {
            assert_eq!(cluster.get(&format!("k{n}")).await, Some(format!("v{n}")));
        }
    });
}

/// Those in an entry that a deposed leader could not replicate are told that nobody knows, or to go elsewhere; what each
/// was told holds, and the keys are free for the next leader.
#[test]
fn commands_of_an_entry_that_is_lost_are_all_told() {
    run(12, |cluster| async move {
        let descriptor = cluster.found(&[1, 2, 3]).await;
        let (old, _, term) = cluster.leader("k").await;
        let others: Vec<NodeId> = (1..=3).filter(|node| *node != old).map(NodeId).collect();
        cluster.sim.partition(&[NodeId(old)], &others);
        let now = cluster.now();
        let commits: Vec<_> = (0..MANY)
            .map(|n| {
                let (servers, to) = (cluster.servers.clone(), descriptor.clone());
                let op = commit_op(100 + n, now, &format!("k{n}"), "lost?");
                cluster.sim.spawn("commit", async move { servers.send_to(old, &to, op).await })
            })
            .collect();
        let (new, ..) = cluster.other_leader("k", old, term).await;
        for n in 0..MANY {
            let op = commit_op(200 + n, cluster.now(), &format!("k{n}"), "second");
            let done = cluster.servers.send_to(new, &descriptor, op).await;
            assert!(matches!(done, Ok(ShardReply::Committed(..))), "{done:?}");
        }
        cluster.sim.heal();
        for commit in commits {
            let error = commit.join().await.unwrap().expect_err("it cannot have been replicated");
            assert!(
                matches!(error.class(), ErrorClass::Reroute | ErrorClass::Ambiguous | ErrorClass::Permanent),
                "{error}"
            );
        }
        cluster.sim.sleep(Duration::from_millis(50)).await;
        for n in 0..MANY {
            assert_eq!(cluster.get(&format!("k{n}")).await.as_deref(), Some("second"));
            let again = commit_op(300 + n, cluster.now(), &format!("k{n}"), "third");
            cluster.servers.send(&Key::from(format!("k{n}").as_str()), again).await.expect("the key is free");
        }
    });
}
