//! What a node's memory bounds: results go out as they come, and what must be kept is counted and refused beyond the bound.

use crate::{
    hostile::{frame, startup},
    session::{fails, one, rows, run},
    standin::{Node, shard::PAGE},
};
use quorate_sql::{SqlConfig, wire::connection::serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Rows of a thousand bytes and more.
const WIDE: &str = "select repeat('x', 1000) || g as v, g from generate_series(1, 20000) g";

async fn node() -> Node {
    Node::start_with(SqlConfig { query_memory: 4 << 20, ..Default::default() }).await
}

fn in_use(node: &Node) -> usize {
    node.server.shared().engine.memory_in_use()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_too_much_memory_is_refused_and_gives_it_back() {
    let node = node().await;
    let c = node.connect().await;
    run(&c, "create table t (id int primary key)").await;
    let wide = format!("with w as ({WIDE})");
    for sql in [
        format!("{WIDE} order by 1 desc"),
        format!("{wide} select count(*) from w group by v"),
        format!("{wide} select distinct v from w"),
        format!("{wide} select count(*) from w a join w b on a.v = b.v"),
        format!("{wide} select count(*) from w a join w b on a.g < b.g + 1 and a.v < b.v"),
        format!("{wide} select array_agg(v) from w"),
        format!("{wide} select string_agg(v, ',') from w"),
        format!("{wide} select v, sum(g) over () from w"),
        format!("{wide} select v, last_value(g) over (partition by g % 2) from w"),
        format!("{wide} select 'a' in (select v from w) from generate_series(1, 2)"),
        format!("{wide} select array(select v from w)"),
        "insert into t select g from generate_series(1, 8000) g returning id, repeat('x', 1000)".into(),
    ] {
        assert_eq!(fails(&c, &sql).await, "53200", "{sql}");
        assert_eq!(in_use(&node), 0, "{sql}");
        assert_eq!(one(&c, "select count(*) from t").await, "0", "{sql}");
    }
    // What fits goes on as ever, also behind these.
    let small = rows(&c, "select g from generate_series(1, 5000) g order by g desc").await;
    assert_eq!((small.len(), small[0][0].as_deref()), (5000, Some("5000")));
    let sql = "insert into t select g from generate_series(1, 2000) g returning id, repeat('x', 1000)";
    assert_eq!(rows(&c, sql).await.len(), 2000);
    let sql = "select sum(g) over (), repeat('x', 1000) from generate_series(1, 1000) g";
    assert_eq!(rows(&c, sql).await.len(), 1000);
    assert_eq!(in_use(&node), 0);
    let error = c.batch_execute(&format!("{WIDE} order by 1")).await.expect_err("it is too much");
    let error = error.as_db_error().unwrap();
    assert_eq!(error.message(), "out of memory");
    assert!(error.hint().is_some_and(|hint| hint.contains("working memory")), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arrays_that_are_let_go_do_not_add_up() {
    let node = node().await;
    let c = node.connect().await;
    let sql = "select g, array(select repeat('x', 1000) from generate_series(1, 10 + g % 1)) from generate_series(1, 600) g";
    let counted = format!("select count(*) from ({sql}) a (g, items) where items is not null");
    assert_eq!(one(&c, &counted).await, "600");
    assert_eq!(in_use(&node), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_is_kept_within_the_bound() {
    let node = node().await;
    let c = node.connect().await;
    run(&c, "create table t (id int primary key)").await;
    run(&c, &format!("begin; declare c cursor for {WIDE}; fetch 1 from c")).await;
    assert_eq!(fails(&c, "insert into t values (1)").await, "53200");
    run(&c, "rollback").await;
    assert_eq!(in_use(&node), 0);
    run(
        &c,
        &format!("begin; declare c cursor for {WIDE} limit 3000; fetch 1 from c; insert into t values (1)"),
    )
    .await;
    let kept = in_use(&node);
    assert!(kept > 1 << 20, "{kept}");
    // Another write keeps nothing twice.
    run(&c, "insert into t values (2)").await;
    assert_eq!(in_use(&node), kept);
    assert_eq!(rows(&c, "fetch all from c").await.len(), 2999);
    run(&c, "commit").await;
    assert_eq!(in_use(&node), 0);
}

/// The wire as seen by a client that reads when it likes; next to nothing fits in between.
struct Slow {
    stream: DuplexStream,
    buffer: Vec<u8>,
}

impl Slow {
    fn connect(node: &Node) -> Slow {
        let (stream, theirs) = tokio::io::duplex(4096);
        let (reading, writing) = tokio::io::split(theirs);
        let (shared, peer) = (node.server.shared().clone(), ([127, 0, 0, 1], 1).into());
        let session = serve(shared, Box::new(reading), Box::new(writing), peer);
        node.env.spawn("test.session", session).detach();
        Slow { stream, buffer: Vec::new() }
    }

    /// The kind of the next message.
    async fn next(&mut self) -> u8 {
        loop {
            if self.buffer.len() >= 5 {
                let size = 1 + u32::from_be_bytes(self.buffer[1..5].try_into().unwrap()) as usize;
                if self.buffer.len() >= size {
                    return self.buffer.drain(..size).next().unwrap();
                }
            }
            let read = self.stream.read_buf(&mut self.buffer).await.unwrap();
            assert!(read > 0, "the session has ended");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_is_read_at_the_pace_of_its_client() {
    const ROWS: u64 = 20_000;
    // A page, the batch made of it, what is written at a time, and the next page.
    const AHEAD: u64 = 4 * PAGE as u64;
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (id int primary key, v text)").await;
    for from in (0..ROWS).step_by(1000) {
        let sql =
            format!("insert into t select {from} + g, repeat('x', 100) from generate_series(1, 1000) g");
        run(&c, &sql).await;
    }
    let mut slow = Slow::connect(&node);
    slow.stream.write_all(&startup()).await.unwrap();
    while slow.next().await != b'Z' {}
    let before = node.shard.scanned();
    slow.stream.write_all(&frame(b'Q', b"select id, v from t where id > 0\0")).await.unwrap();
    let (mut received, mut most) = (0, 0);
    loop {
        match slow.next().await {
            b'D' => received += 1,
            b'C' => break,
            _ => {}
        }
        let ahead = (node.shard.scanned() - before).saturating_sub(received);
        assert!(ahead <= AHEAD, "{ahead} rows were read ahead of {received} that were sent");
        assert!(in_use(&node) < 1 << 20);
        most = most.max(ahead);
    }
    assert_eq!(received, ROWS);
    assert!(most > 0);
}
