//! Waits for locks end: by the holder, by a timeout, by a cancel request; the SQLSTATE says which.

mod support;

use std::time::Duration;
use support::{Demo, pause};
use tokio_postgres::{NoTls, error::SqlState};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waits_for_locks_end() {
    let demo = Demo::start();
    let (holder, waiter) = (demo.client(1).await, demo.client(2).await);
    holder
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0)")
        .await
        .unwrap();
    holder.batch_execute("BEGIN; UPDATE t SET v = 1 WHERE id = 1").await.unwrap();

    let update = "UPDATE t SET v = v + 10 WHERE id = 1";
    waiter.batch_execute("SET lock_timeout = '200ms'").await.unwrap();
    let error = waiter.batch_execute(update).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::LOCK_NOT_AVAILABLE));
    waiter.batch_execute("SET lock_timeout = 0; SET statement_timeout = '300ms'").await.unwrap();
    let error = waiter.batch_execute(update).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED));

    waiter.batch_execute("SET statement_timeout = 0").await.unwrap();
    let token = waiter.cancel_token();
    let waiting = tokio::spawn(async move { (waiter.batch_execute(update).await, waiter) });
    pause(Duration::from_millis(300)).await;
    token.cancel_query(NoTls).await.unwrap();
    let (cancelled, waiter) = waiting.await.unwrap();
    assert_eq!(cancelled.unwrap_err().code(), Some(&SqlState::QUERY_CANCELED));

    let waiting = tokio::spawn(async move { waiter.batch_execute(update).await });
    pause(Duration::from_millis(300)).await;
    holder.batch_execute("COMMIT").await.unwrap();
    waiting.await.unwrap().unwrap();
    let v: i32 = holder.query_one("SELECT v FROM t WHERE id = 1", &[]).await.unwrap().get(0);
    assert_eq!(v, 11);
}
