//! Bytes that no client should send. The answer is a proper error or a closed connection, and the next client is served.

use crate::{
    session::{fails, one, run},
    standin::Node,
};
use quorate_sql::server::SqlConfig;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub fn startup() -> Vec<u8> {
    let body = b"\x00\x03\x00\x00user\0root\0database\0quorate\0\0";
    let mut out = ((body.len() + 4) as u32).to_be_bytes().to_vec();
    out.extend_from_slice(body);
    out
}

pub fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend_from_slice(&((body.len() + 4) as u32).to_be_bytes());
    out.extend_from_slice(body);
    out
}

/// Sends, and reads until the answer contains what is expected, or the server is gone or silent for long.
#[expect(clippy::disallowed_methods, reason = "a client's connection")]
pub async fn exchange(node: &Node, bytes: &[u8], expected: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(node.server.address()).await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let mut out = Vec::new();
    let mut buffer = [0; 4096];
    let read = async {
        while let Ok(Ok(n)) = node.env.timeout(Duration::from_secs(30), reading.read(&mut buffer)).await {
            out.extend_from_slice(&buffer[..n]);
            if n == 0 || contains(&out, expected) {
                break;
            }
        }
    };
    let (_, ()) = tokio::join!(writing.write_all(bytes), read);
    out
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|w| w == needle.as_bytes())
}

async fn is_alive(node: &Node) {
    let client = node.connect().await;
    assert_eq!(client.query_one("select 1", &[]).await.unwrap().get::<_, i32>(0), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_is_survived() {
    let node = Node::start().await;
    let with = |messages: &[Vec<u8>]| [startup(), messages.concat()].concat();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "08P01"),
        (vec![0; 64], "08P01"),
        (vec![0xff; 64], "08P01"),
        (with(&[vec![0x7f, 1, 2, 3, 4, 5]]), "08P01"),
        (with(&[b"Q\xff\xff\xff\xff".to_vec()]), "08P01"),
        (with(&[frame(b'Q', b"select 1")]), "08P01"),
        (with(&[frame(b'Q', b"select '\xff\xfe'\0")]), "22021"),
        (with(&[frame(b'B', b"\0\0\xff\xff")]), "08P01"),
        (with(&[frame(b'E', b"nope\0\0\0\0\0"), frame(b'S', b"")]), "34000"),
        (with(&[frame(b'D', b"Snope\0"), frame(b'S', b"")]), "26000"),
        // Without a Sync: the client waits for the answer before it sends one.
        (with(&[frame(b'P', b"\0select nope\0\0\0"), frame(b'H', b"")]), "42703"),
        (with(&[frame(b'F', b"\0\0\0\0"), frame(b'Q', b"select 1\0")]), "0A000"),
        (with(&[frame(b'p', b"password\0")]), "08P01"),
        (
            with(&[frame(
                b'Q',
                format!("select {}1{}\0", "(".repeat(20_000), ")".repeat(20_000)).as_bytes(),
            )]),
            "54001",
        ),
        (with(&[frame(b'Q', format!("select 1{}\0", " + 1".repeat(200_000)).as_bytes())]), "54001"),
        (with(&[frame(b'Q', format!("select {}\0", "not ".repeat(100_000)).as_bytes())]), "54001"),
    ];
    for (bytes, expected) in cases {
        let answer = exchange(&node, &bytes, expected).await;
        assert!(contains(&answer, expected), "{expected}: {:?}", answer.escape_ascii().to_string());
        is_alive(&node).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_cut_out_whole_costs_no_connection() {
    let node = Node::start().await;
    let next = frame(b'Q', b"select 'still here'\0");
    for (kind, body) in
        [(b'B', &b"\0\0\xff\xff"[..]), (b'P', b"\0select 1\0\0\x05"), (b'E', b"\0\0"), (b'D', b"Xa\0")]
    {
        let bytes = [startup(), frame(kind, body), frame(b'S', b""), next.clone()].concat();
        let answer = exchange(&node, &bytes, "still here").await;
        assert!(contains(&answer, "08P01") && contains(&answer, "still here"), "{}", answer.escape_ascii());
        assert!(!contains(&answer, "FATAL"));
    }
    // These end with their own answer, in the midst of others too.
    let unknown = frame(b'E', b"nope\0\0\0\0\0");
    for wrong in [frame(b'Q', b"select 1"), frame(b'S', b"x"), [unknown, frame(b'S', b"x")].concat()] {
        let answer = exchange(&node, &[startup(), wrong, next.clone()].concat(), "still here").await;
        assert!(contains(&answer, "08P01") && contains(&answer, "still here"), "{}", answer.escape_ascii());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_parameter_counts() {
    let node = Node::start().await;
    let parse = frame(b'P', b"s\0select $1::int + $2::int\0\0\0");
    let bind = frame(b'B', b"\0s\0\0\0\0\x01\0\0\0\x011\0\0");
    let answer = exchange(&node, &[startup(), parse, bind, frame(b'S', b"")].concat(), "supplies 1").await;
    assert!(contains(&answer, "bind message supplies 1 parameters") && contains(&answer, "08P01"));
    is_alive(&node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_clients_and_strangers() {
    let node = Node::start_with(SqlConfig { max_connections: 3, ..Default::default() }).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(node.connect().await);
    }
    assert!(contains(&exchange(&node, &startup(), "53300").await, "53300"));
    clients.pop();
    node.env.sleep(Duration::from_millis(100)).await;
    is_alive(&node).await;
    let mut stranger = b"\x00\x03\x00\x00user\0nobody\0\0".to_vec();
    stranger.splice(0..0, ((stranger.len() + 4) as u32).to_be_bytes());
    assert!(contains(&exchange(&node, &stranger, "28000").await, "28000"));
    let mut elsewhere = b"\x00\x03\x00\x00user\0root\0database\0other\0\0".to_vec();
    elsewhere.splice(0..0, ((elsewhere.len() + 4) as u32).to_be_bytes());
    assert!(contains(&exchange(&node, &elsewhere, "3D000").await, "3D000"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deep_expressions_do_not_overflow_the_stack() {
    let node = Node::start().await;
    let client = node.connect().await;
    for sql in [
        format!("select 1{}", " + 1".repeat(900)),
        format!("select {}1{}", "(".repeat(60), ")".repeat(60)),
        format!("select 1 where 1 = 1{}", " or 1 = 2".repeat(400)),
        format!("select {}true", "not ".repeat(60)),
        format!("select case when true then {}1{} end", "case when true then ".repeat(30), " end".repeat(30)),
        format!("select {}1{}", "(".repeat(100_000), ")".repeat(100_000)),
        format!("select {}1{}", "(select ".repeat(60), ")".repeat(60)),
        format!("select {}1{}", "(select ".repeat(20_000), ")".repeat(20_000)),
        format!("select 1{}", " union all select 1".repeat(300)),
        format!("select 1{}", " union all select 1".repeat(20_000)),
        format!("select 1{}", " union select 1".repeat(100)),
        format!("select 1 where 1 = 1{}", " or 1 = 2".repeat(10_000)),
        format!("select 1 where 1 in (0{})", ", 123456".repeat(125_000)),
        format!("select array[0{}]", ", 123456".repeat(50_000)),
        format!("values (0){}", ", (1)".repeat(20_000)),
        format!("select {}1{}", "abs(".repeat(100), ")".repeat(100)),
        format!("select * from {}(select 1) a{}", "(".repeat(40), ")".repeat(40)),
        format!("select 1{}", "::int".repeat(5_000)),
        format!("select '{}'::int[]", "{".repeat(100_000)),
        format!(
            "with {} select 1",
            (0..300).map(|i| format!("c{i} as (select 1)")).collect::<Vec<_>>().join(", ")
        ),
    ] {
        // An answer or an error; what matters is that the server is still there.
        let _ = client.simple_query(&sql).await;
        assert!(!client.is_closed(), "{}", &sql[..40]);
        is_alive(&node).await;
    }
}

/// To plan their joins would take minutes, in which nothing can end the statement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_relations_are_refused_at_once() {
    let node = Node::start().await;
    let c = node.connect().await;
    let joined = |n: usize| {
        let more: String = (1..n).map(|i| format!(" join (values (1)) t{i} (x) using (x)")).collect();
        format!("select count(*) from (values (1)) t0 (x){more}")
    };
    assert_eq!(one(&c, &joined(40)).await, "1");
    assert_eq!(fails(&c, &joined(1000)).await, "54000");
}

/// Each reference to a WITH query is planned by itself, so that references to references multiply.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_queries_that_multiply_are_refused_at_once() {
    let node = Node::start().await;
    let c = node.connect().await;
    let doubled = |levels: usize| {
        let more: String =
            (1..=levels).map(|n| format!(", c{n} as (select a.x from c{0} a, c{0} b)", n - 1)).collect();
        format!("with c0 as (select 1 x){more} select count(*) from c{levels}")
    };
    assert_eq!(one(&c, &doubled(8)).await, "1");
    assert_eq!(fails(&c, &doubled(30)).await, "54001");
    // One after the other they do not.
    let chain: String = (1..=100).map(|n| format!(", c{n} as (select x + 1 as x from c{})", n - 1)).collect();
    assert_eq!(one(&c, &format!("with c0 as (select 0 x){chain} select x from c100")).await, "100");
}

/// Lists that programs write: as long as the details of the error say.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chains_of_operators_may_be_long() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table chained (id int primary key, v int); insert into chained values (7, 8)").await;
    assert_eq!(one(&c, &format!("select 1{}", " + 1".repeat(999))).await, "1000");
    assert_eq!(one(&c, &format!("select length('a'{})", " || 'a'".repeat(900))).await, "901");
    let pairs: Vec<String> = (0..400).map(|n| format!("(id = {n} and v = {})", n + 1)).collect();
    assert_eq!(one(&c, &format!("select v from chained where {}", pairs.join(" or "))).await, "8");
    let sums: Vec<String> = (0..900).map(|n| format!("v + {n}")).collect();
    assert_eq!(one(&c, &format!("select v from chained where v in ({})", sums.join(", "))).await, "8");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_that_returned_its_rows_has_no_more() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (a int); insert into t values (1)").await;
    let again = frame(b'E', b"\0\0\0\0\0");
    for (sql, first, second) in [
        ("values (1), (2)", "SELECT 2", "SELECT 0"),
        ("update t set a = a returning a", "UPDATE 1", "UPDATE 0"),
        ("insert into t values (1) returning a", "INSERT 0 1", "INSERT 0 0"),
        ("update t set a = a", "UPDATE 2", "55000"),
    ] {
        let parse = frame(b'P', format!("\0{sql}\0\0\0").as_bytes());
        let bind = frame(b'B', b"\0\0\0\0\0\0\0\0");
        let bytes = [startup(), parse, bind, again.clone(), again.clone(), frame(b'S', b"")].concat();
        let answer = exchange(&node, &bytes, second).await;
        assert!(contains(&answer, first) && contains(&answer, second), "{}", answer.escape_ascii());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_the_data_may_hold_something() {
    let node = Node::start().await;
    run(&node.connect().await, "create table t (a int)").await;
    let copy = [frame(b'Q', b"copy t from stdin\0"), frame(b'd', b"1\n2\n"), frame(b'c', b"xy")];
    let answer = exchange(&node, &[startup(), copy.concat()].concat(), "COPY 2").await;
    assert!(contains(&answer, "COPY 2"), "{}", answer.escape_ascii());
}
