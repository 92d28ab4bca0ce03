//! An engine that does not keep up with what is written: writes stand in line, and are told to come again after a while.

use super::harness::*;
use quorate_proto::KvError;
use quorate_storage::engine::mem::MemFault;
use std::time::Duration;

#[test]
fn writes_stand_in_line_and_reads_do_not() {
    run(181, |cluster| async move {
        cluster.found(&[1, 2, 3]).await;
        cluster.put(1, "a", "v").await.unwrap();
        let (leader, shard, _) = cluster.leader("a").await;
        let others: Vec<u64> = (1..=3).filter(|node| *node != leader).collect();
        cluster.engine(leader).fail(MemFault::Strained, true);
        // Who is inside stays there.
        others.iter().for_each(|node| cluster.log(*node).stall(true));
        let mut writes = Vec::new();
        for n in 0..200 {
            let op = commit_op(100 + n, cluster.now(), &format!("k{n}"), "v");
            let (servers, shard) = (cluster.servers.clone(), shard.clone());
            writes.push(cluster.sim.spawn("write", async move { servers.send_to(leader, &shard, op).await }));
            cluster.sim.sleep(Duration::from_millis(5)).await;
        }
        cluster.sim.sleep(Duration::from_secs(3)).await;
        others.iter().for_each(|node| cluster.log(*node).stall(false));
        let mut refused = 0;
        for write in writes {
            refused += u32::from(matches!(write.join().await.unwrap(), Err(KvError::Overloaded { .. })));
        }
        assert!((50..190).contains(&refused), "{refused} writes were refused");
        // With strain, too, all goes on, only not all at once.
        assert_eq!(cluster.get("a").await.as_deref(), Some("v"));
        for n in 0..50 {
            cluster.put(1000 + n, &format!("k{n}"), "w").await.unwrap();
        }
        assert_eq!(cluster.get("k49").await.as_deref(), Some("w"));
    });
}
