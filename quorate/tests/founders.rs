//! The nodes that founded a cluster carry its placement driver; one that has lost its disk does not vote again.

mod support;

use std::time::Duration;
use support::{Demo, pause};

/// What `quorate setting ls` says by a node, once the placement driver answers.
async fn settings(demo: &Demo, node: u16) -> String {
    for _ in 0..300 {
        let ran = demo.ask(node, &["setting", "ls"]).await;
        if ran.code == Some(0) {
            return ran.out;
        }
        pause(Duration::from_millis(200)).await;
    }
    panic!("the placement driver does not answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_founder_that_has_lost_its_disk_does_not_vote_again() {
    let demo = Demo::start();
    demo.kill(3);
    // Nodes 1 and 2 hold it, node 3 does not.
    settings(&demo, 1).await;
    demo.ask(1, &["setting", "set", "placement.repair_after", "77min"]).await.done();
    demo.kill(1);
    demo.kill(2);
    demo.wipe(2);
    demo.spawn(3);
    demo.spawn(2);
    let said = demo.said_at_its_end(2).await;
    assert!(said.contains("it must not vote again") && said.contains("--node-id"), "{said}");
    let alone = demo.ask(3, &["setting", "ls"]).await;
    assert_ne!(alone.code, Some(0), "{alone:?}");
    demo.spawn(1);
    let all = settings(&demo, 1).await;
    assert!(all.contains("77min"), "{all}");

    // The way out that it has named: the empty directory under another id. The role of the driver is not to be had so.
    demo.spawn(4);
    let roles = "SELECT roles FROM quorate.nodes WHERE node_id = 4";
    let mut found = None;
    for _ in 0..300 {
        if let Ok(client) = demo.try_client(4).await
            && let Ok(Some(row)) = client.query_opt(roles, &[]).await
        {
            found = Some(row.get::<_, String>(0));
            break;
        }
        pause(Duration::from_millis(200)).await;
    }
    assert_eq!(found.as_deref(), Some("shard,sql"));
    assert!(demo.log(4).contains("the role placement is left out"), "{}", demo.log(4));
}
