//! Plans are made once and kept as long as their tables stay what they are.

use crate::{
    session::{one, rows, run},
    standin::Node,
};
use tokio_postgres::{Client, Statement, types::Type};

/// Statements planned while `work` runs.
async fn planned<T>(node: &Node, work: impl Future<Output = T>) -> u64 {
    let before = node.server.shared().plans();
    work.await;
    node.server.shared().plans() - before
}

async fn start() -> (Node, Client) {
    let node = Node::start().await;
    let client = node.connect().await;
    run(
        &client,
        "create table t (id int primary key, v int, w int); insert into t values (1, 0, 0), (2, 0, 0)",
    )
    .await;
    (node, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepared_statement_is_planned_once() {
    let (node, c) = start().await;
    for sql in [
        "update t set v = v + $1 where id = $2",
        "insert into t (v, id) values ($1, $2 + 10 + (random() * 2000000000)::int)",
        "delete from t where v = $1 and id = $2 + 1000",
        "select v from t where v > $1 and id = $2",
        "select a.v from t a join t b on a.v = b.w where a.v > $1 and b.id = $2",
    ] {
        let mut prepared: Option<Statement> = None;
        let making = planned(&node, async { prepared = Some(c.prepare(sql).await.unwrap()) }).await;
        assert_eq!(making, 1, "{sql}");
        let prepared = prepared.unwrap();
        let using = planned(&node, async {
            for id in [1, 2, 1, 2] {
                c.query(&prepared, &[&5i32, &id]).await.unwrap();
            }
        });
        assert_eq!(using.await, 0, "{sql}");
    }
    assert_eq!(one(&c, "select v from t where id = 2").await, "10");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_table_means_one_more_plan() {
    let (node, c) = start().await;
    let add = c.prepare("update t set v = v + 1 where id = $1").await.unwrap();
    run(&c, "alter table t drop column w").await;
    let using = planned(&node, async {
        for id in [1, 2, 1] {
            c.execute(&add, &[&id]).await.unwrap();
        }
    });
    assert_eq!(using.await, 1);
    assert_eq!(rows(&c, "select id, v from t order by id").await[0][1].as_deref(), Some("2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn texts_that_differ_in_their_literals_share_a_plan() {
    let (node, c) = start().await;
    run(&c, "select v from t where id = 1").await;
    run(&c, "update t set v = v + 3 where id = 1").await;
    let using = planned(&node, async {
        for id in [2, 1, 7, 2] {
            run(&c, &format!("select v from t where id = {id}")).await;
            run(&c, &format!("update t set v = v + {id} where id = {id}")).await;
        }
    });
    assert_eq!(using.await, 0);
    assert_eq!(one(&c, "select v from t where id = 2").await, "4");
    // A text that needs the relational engine is known as a whole.
    run(&c, "select count(*) from t where v > w").await;
    assert_eq!(planned(&node, run(&c, "select count(*) from t where v > w")).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parameter_has_its_type_from_where_it_stands_first() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (id int8 primary key)").await;
    for sql in [
        "select 1 from t where id between $1 and $1 + 999999",
        "select 1 from t where id not between symmetric $1 and 7",
        "select 1 from t where id between 7 and $1",
    ] {
        let statement = c.prepare(sql).await.unwrap();
        assert_eq!(statement.params(), [Type::INT8], "{sql}");
    }
}
