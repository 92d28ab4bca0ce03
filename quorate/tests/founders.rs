//! The nodes that founded a cluster carry its placement driver; one that has lost its disk does not vote again, and another
//! takes its place.

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
    // It says so in its log as well.
    demo.expect_errors();
    demo.spawn(2);
    let said = demo.said_at_its_end(2).await;
    assert!(said.contains("it must not vote again") && said.contains("--node-id"), "{said}");
    let alone = demo.ask(3, &["setting", "ls"]).await;
    assert_ne!(alone.code, Some(0), "{alone:?}");
    demo.spawn(1);
    let all = settings(&demo, 1).await;
    assert!(all.contains("77min"), "{all}");

    // The way out that it has named: the empty directory under another id. There it can take the lost one's place.
    demo.spawn(4);
    until_it_carries(&demo, 4, false).await;
    demo.ask(1, &["setting", "set", "placement.repair_after", "4s"]).await.done();
    until_it_carries(&demo, 4, true).await;
    until_it_carries(&demo, 2, false).await;
    let all = settings(&demo, 3).await;
    assert!(all.contains("4s"), "{all}");
    // What the lost one has promised does not count any more, so that its node may come back as well.
    demo.spawn(2);
    for _ in 0..300 {
        if let Ok(client) = demo.try_client(2).await {
            client.query_one("SELECT count(*) FROM quorate.shards", &[]).await.unwrap();
            return;
        }
        pause(Duration::from_millis(200)).await;
    }
    panic!("node 2 does not serve");
}

/// Until the driver's leader says so of a node.
async fn until_it_carries(demo: &Demo, node: i64, wanted: bool) {
    let question = "SELECT carries_driver FROM quorate.nodes WHERE node_id = $1";
    for _ in 0..300 {
        if let Ok(client) = demo.try_client(3).await
            && let Ok(Some(row)) = client.query_opt(question, &[&node]).await
            && row.get::<_, bool>(0) == wanted
        {
            return;
        }
        pause(Duration::from_millis(200)).await;
    }
    panic!("node {node} and the driver: not {wanted}");
}
