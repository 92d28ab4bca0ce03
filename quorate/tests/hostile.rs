//! Bad input of every kind gets a proper error or a closed connection, and the next client is served.

mod support;

use support::{
    Demo, below,
    raw::{self, send as send_raw, startup},
};
use tokio_postgres::SimpleQueryMessage;

/// Sends the bytes; whatever comes back is messages of the protocol, whole ones. The SQLSTATE of the error among them, if any.
async fn answered_properly(port: u16, bytes: &[u8]) -> Option<String> {
    let answer = send_raw(port, bytes).await;
    let (mut rest, mut state) = (answer.as_slice(), None);
    while let [kind, a, b, c, d, behind @ ..] = rest {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize - 4;
        let (body, next) = behind.split_at_checked(length).expect("a whole message");
        if *kind == b'E' {
            state = raw::field(body, b'C');
        }
        rest = next;
    }
    assert!(rest.is_empty(), "{rest:?}");
    state
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_packets_and_absurd_statements() {
    let demo = Demo::start();
    let port = demo.sql_port(1);
    let mut random = 42;
    for round in 0..60 {
        let length = [0, 1, 3, 7, 8, 100, 5000][round % 7];
        let noise: Vec<u8> = (0..length).map(|_| below(&mut random, 256) as u8).collect();
        for packet in [noise.clone(), [startup(), noise].concat()] {
            answered_properly(port, &packet).await;
        }
    }
    let mut told = Vec::new();
    for packet in [
        vec![b'Q', 0xff, 0xff, 0xff, 0xff],
        vec![b'Q', 0x7f, 0xff, 0xff, 0xff, b's'],
        vec![b'P', 0, 0, 0, 5, b'x'],
        vec![b'B', 0, 0, 0, 8, 0, 0, 0xff, 0xff],
    ] {
        told.push(answered_properly(port, &[startup(), packet].concat()).await);
    }
    assert_eq!(told, vec![Some("08P01".to_owned()); 4]);
    answered_properly(port, &[0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0]).await;

    let client = demo.client(1).await;
    let state = |error: tokio_postgres::Error| error.code().map(|c| c.code().to_owned());
    let deep = format!("SELECT {}1{}", "(".repeat(20_000), ")".repeat(20_000));
    assert_eq!(state(client.simple_query(&deep).await.unwrap_err()).as_deref(), Some("54001"));
    let chain = format!("SELECT 1{}", " + 1".repeat(50_000));
    assert_eq!(state(client.simple_query(&chain).await.unwrap_err()).as_deref(), Some("54001"));
    let long = format!("SELECT '{}'", "x".repeat(8 << 20));
    let answer = client.simple_query(&long).await.unwrap();
    let told = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::len),
        _ => None,
    });
    assert_eq!(told, Some(8 << 20));
    assert_eq!(state(client.simple_query("SELEC 1").await.unwrap_err()).as_deref(), Some("42601"));

    let statement = client.prepare("SELECT $1::int4 + $2::int4").await.unwrap();
    assert_eq!(statement.params().len(), 2);
    let error = client.simple_query("SELECT $1::int4").await.unwrap_err();
    assert_eq!(state(error).as_deref(), Some("42P02"));
    let one: i32 = client.query_one(&statement, &[&1i32, &2i32]).await.unwrap().get(0);
    assert_eq!(one, 3);
    demo.assert_healthy().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_connections_at_one_gateway() {
    let demo = Demo::start();
    let mut open = Vec::new();
    for _ in 0..500 {
        open.push(demo.client(1).await);
    }
    for client in &open {
        client.simple_query("SELECT 1").await.unwrap();
    }
    // Beside them, the next one is served; and so it is after they have gone.
    demo.assert_healthy().await;
    drop(open);
    demo.assert_healthy().await;
}
