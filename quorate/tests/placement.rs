//! Where copies of a table lie, as its users ask for it, by real processes in four zones.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test of real processes, in real time")]

mod support;

use std::sync::{Arc, Mutex};
use support::{Demo, eventually};
use tokio_postgres::{AsyncMessage, Client, NoTls};

/// A client, and what it is told beside its answers.
async fn listening(demo: &Demo) -> (Client, Arc<Mutex<Vec<String>>>) {
    let (client, mut connection) = tokio_postgres::connect(&demo.url(1), NoTls).await.unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let told = heard.clone();
    tokio::spawn(async move {
        let mut messages = futures::stream::poll_fn(move |cx| connection.poll_message(cx));
        while let Some(Ok(message)) = futures::StreamExt::next(&mut messages).await {
            if let AsyncMessage::Notice(notice) = message {
                told.lock().unwrap().push(notice.message().to_owned());
            }
        }
    });
    (client, heard)
}

/// The shard of the rows: its id, who leads it, and who holds copies.
async fn shard(client: &Client) -> (i64, i64, String) {
    let row = client
        .query_one(
            "SELECT shard_id, leader_node_id, replica_node_ids FROM quorate.shards WHERE table_name = 't'",
            &[],
        )
        .await
        .unwrap();
    (row.get(0), row.try_get(1).unwrap_or(0), row.get(2))
}

async fn explained(client: &Client, sql: &str) -> String {
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| format!("{}: {}\n", row.get::<_, &str>(0), row.get::<_, &str>(1))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_go_where_they_are_asked_for_and_the_reasons_are_told() {
    let demo = Demo::start_with(&["--localities", "zone=a;zone=b;zone=c"]);
    demo.manage(&["add-node", "--locality", "zone=d"]).await.done();
    let (client, heard) = listening(&demo).await;
    let localities = client.query("SELECT locality FROM quorate.nodes ORDER BY node_id", &[]).await.unwrap();
    let localities: Vec<&str> = localities.iter().map(|row| row.get(0)).collect();
    assert_eq!(localities, ["zone=a", "zone=b", "zone=c", "zone=d"]);
    assert!(demo.ask(1, &["node", "ls"]).await.done().contains("zone=d"));
    client
        .batch_execute(
            "CREATE TABLE t (id int8 PRIMARY KEY);
             INSERT INTO t SELECT g FROM generate_series(1, 90) g",
        )
        .await
        .unwrap();
    let wanted = "ALTER TABLE t CONFIGURE PLACEMENT (constraints = 'zone=d:1', leader_preference = 'zone=d')";
    client.batch_execute(wanted).await.unwrap();
    assert!(heard.lock().unwrap().is_empty(), "{heard:?}");
    for (name, value) in
        [("placement.look_every", "500ms"), ("placement.merge_after", "1s"), ("placement.moves", "2")]
    {
        demo.ask(1, &["setting", "set", name, value]).await.done();
    }

    // The table gets a shard of its own, a copy in the fourth zone, and its leader there.
    let id = eventually("the copy", || async {
        let kept = client.query_one("SHOW PLACEMENT FOR TABLE t", &[]).await.unwrap();
        let (id, leader, nodes) = shard_if_one(&client).await?;
        (kept.get::<_, bool>("fulfilled") && leader == 4 && nodes.contains('4')).then_some(id)
    })
    .await;
    assert_eq!(client.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get::<_, i64>(0), 90);
    let told = explained(&client, &format!("EXPLAIN PLACEMENT FOR SHARD {id}")).await;
    for part in
        ["copy: node 4 (zone=d): leads", "constraint: zone=d:1", "spread: no two in one zone", "decision "]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
    let (_, _, nodes) = shard(&client).await;
    let without = (1..4).find(|node| !nodes.contains(&node.to_string())).unwrap();
    let why = explained(&client, &format!("EXPLAIN PLACEMENT FOR SHARD {id} WHY NOT NODE {without}")).await;
    assert!(why.contains("the shard has the 3 copies that are wanted"), "{why}");
    let inputs = "SELECT inputs FROM quorate.placement_decisions WHERE scheduler = 'constraints'";
    let inputs: serde_json::Value =
        serde_json::from_str(client.query(inputs, &[]).await.unwrap()[0].get(0)).unwrap();
    assert_eq!(inputs["place"]["rule"]["constraints"][0], "zone=d:1", "{inputs}");

    // What no node can fulfil is told at once, and stays told.
    client.batch_execute("ALTER TABLE t CONFIGURE PLACEMENT (constraints = 'zone=e')").await.unwrap();
    let notices = heard.lock().unwrap().join("; ");
    assert!(notices.contains("cannot be fulfilled") && notices.contains("and there are 0"), "{notices}");
    let open = "SELECT NOT fulfilled AND unfulfilled LIKE '%is not in zone=e%' FROM quorate.placement_rules";
    assert!(client.query_one(open, &[]).await.unwrap().get::<_, bool>(0));

    // With the table goes what was asked for, and its boundaries.
    client.batch_execute("ALTER TABLE t SPLIT AT VALUES (50)").await.unwrap();
    client.batch_execute("DROP TABLE t").await.unwrap();
    eventually("one shard", || async {
        let left =
            "SELECT (SELECT count(*) FROM quorate.placement_rules) + (SELECT count(*) FROM quorate.shards)";
        (client.query_one(left, &[]).await.unwrap().get::<_, i64>(0) == 1).then_some(())
    })
    .await;
    demo.assert_healthy().await;
}

/// None while the map is about to change.
async fn shard_if_one(client: &Client) -> Option<(i64, i64, String)> {
    let all = client.query("SELECT 1 FROM quorate.shards WHERE table_name = 't'", &[]).await.unwrap();
    if all.len() == 1 { Some(shard(client).await) } else { None }
}
