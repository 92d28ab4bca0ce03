//! Where copies are to lie, and why they lie where they do.

use crate::{
    session::{fails, one, rows, run},
    standin::Node,
};
use std::time::Duration;
use tokio_postgres::Client;

async fn shown(client: &Client) -> Vec<String> {
    let all = rows(client, "show placement for table t").await;
    all[0].iter().map(|value| value.clone().unwrap_or_default()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_are_asked_for_changed_shown_and_taken_back() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (id int primary key); create table u (id int primary key)").await;
    assert_eq!(shown(&c).await, ["t", "3", "", "", "0", "t", "", ""]);

    run(&c, "alter table t configure placement (replicas = 5, constraints = 'region=eu, region=us:2')").await;
    let open = ["f", "shard 1 has 1 copies", "there is one node"];
    assert_eq!(shown(&c).await, [&["t", "5", "region=eu,region=us:2", "", "1"], &open[..]].concat());
    run(&c, "ALTER TABLE public.t CONFIGURE PLACEMENT (Leader_Preference = 'zone=a,zone=b', constraints = default)").await;
    assert_eq!(shown(&c).await, [&["t", "5", "", "zone=a,zone=b", "2"], &open[..]].concat());
    let table = "select table_name, replicas, fulfilled from quorate.placement_rules";
    assert_eq!(rows(&c, table).await, [[Some("t".to_owned()), Some("5".into()), Some("f".into())]]);
    run(&c, "alter table t rename to v").await;
    assert_eq!(one(&c, "select table_name from quorate.placement_rules").await, "v");
    run(&c, "alter table v reset placement").await;
    assert_eq!(one(&c, "select count(*) from quorate.placement_rules").await, "0");

    // It goes with its table.
    run(&c, "alter table u configure placement (replicas = 1); drop table u").await;
    while one(&c, "select count(*) from quorate.jobs").await != "0" {
        node.env.sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(one(&c, "select count(*) from quorate.placement_rules").await, "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (id int primary key)").await;
    for (options, state) in [
        ("(replicas = 2)", "22023"),
        ("(replicas = 'many')", "22023"),
        ("(constraints = 'eu')", "22023"),
        ("(constraints = 'region=eu,region=us')", "22023"),
        ("(constraints = 'region=eu:4')", "22023"),
        ("(leader_preference = 'zone=a:1')", "22023"),
        ("(copies = 3)", "22023"),
        ("(replicas = 3, replicas = 5)", "42601"),
        ("()", "42601"),
        ("replicas = 3", "42601"),
        ("(replicas)", "42601"),
    ] {
        assert_eq!(
            fails(&c, &format!("alter table t configure placement {options}")).await,
            state,
            "{options}"
        );
    }
    assert_eq!(fails(&c, "alter table nowhere configure placement (replicas = 3)").await, "42P01");
    assert_eq!(fails(&c, "show placement for table nowhere").await, "42P01");
    assert_eq!(fails(&c, "begin; alter table t configure placement (replicas = 3)").await, "25001");
    run(&c, "rollback").await;
    assert_eq!(one(&c, "select count(*) from quorate.placement_rules").await, "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_driver_explains_where_copies_lie() {
    let node = Node::start().await;
    let c = node.connect().await;
    let told = rows(&c, "explain placement for shard 1").await;
    assert_eq!(told[0], [Some("copy".to_owned()), Some("node 1: leads".into())]);
    let told = rows(&c, "EXPLAIN PLACEMENT FOR SHARD 1 WHY NOT NODE 7").await;
    assert_eq!(told, [[Some("node".to_owned()), Some("there is no node 7".into())]]);
    assert_eq!(fails(&c, "explain placement for shard 2").await, "22023");
    assert_eq!(fails(&c, "explain placement for shard one").await, "42601");
    // By the extended protocol as well.
    let prepared = c.query("explain placement for shard 1", &[]).await.unwrap();
    assert_eq!(prepared[1].get::<_, &str>("explanation"), "nothing: it is small");
    // Nothing of PostgreSQL's is taken away.
    run(&c, "create table placement (id int)").await;
    assert!(!rows(&c, "explain select * from placement for update").await.is_empty());
}
