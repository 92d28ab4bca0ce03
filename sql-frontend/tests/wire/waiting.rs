//! Functions that hold their statement up.

use crate::{
    session::{fails, one, run},
    standin::Node,
};
use std::time::Duration;
use tokio_postgres::NoTls;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sleeping_statement_is_ended() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "set statement_timeout = '200ms'").await;
    assert_eq!(fails(&c, "select pg_sleep(600)").await, "57014");
    assert_eq!(one(&c, "select 1").await, "1");
    run(&c, "set statement_timeout = 0").await;
    // Alone, and where the guard of the statement has waited before: behind rows that were read from the shard.
    run(&c, "create table t (a int)").await;
    run(&c, "insert into t values (1), (2)").await;
    for sql in [
        "select pg_sleep(600)",
        "select a, pg_sleep(600) from t",
        "insert into t select 1 where pg_sleep(600) is null",
    ] {
        let token = c.cancel_token();
        let cancel = async {
            node.env.sleep(Duration::from_millis(200)).await;
            token.cancel_query(NoTls).await.unwrap();
        };
        let (state, ()) = tokio::join!(fails(&c, sql), cancel);
        assert_eq!(state, "57014", "{sql}");
    }
    assert_eq!(one(&c, "select count(*) from t").await, "2");
}
