//! Bad input of every kind gets a proper error or a closed connection, and the next client is served.

mod support;

use std::time::Duration;
use support::{
    Demo, below, pause,
    raw::{send as send_raw, startup},
};
use tokio_postgres::SimpleQueryMessage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_packets_and_absurd_statements() {
    let demo = Demo::start();
    let port = demo.sql_port(1);
    let mut random = 42;
    for length in [0usize, 1, 3, 7, 8, 100, 5000] {
        let noise: Vec<u8> = (0..length).map(|_| below(&mut random, 256) as u8).collect();
        send_raw(port, &noise).await;
        send_raw(port, &[startup(), noise].concat()).await;
    }
    send_raw(port, &[0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0]).await;
    send_raw(port, &[startup(), vec![b'Q', 0xff, 0xff, 0xff, 0xff]].concat()).await;
    send_raw(port, &[startup(), vec![b'Q', 0x7f, 0xff, 0xff, 0xff, b's']].concat()).await;
    send_raw(port, &[startup(), vec![b'P', 0, 0, 0, 5, b'x']].concat()).await;
    send_raw(port, &[startup(), vec![b'B', 0, 0, 0, 8, 0, 0, 0xff, 0xff]].concat()).await;

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
async fn five_hundred_connections() {
    let demo = Demo::start();
    let mut open = Vec::new();
    let mut refused = 0;
    for n in 0..500u16 {
        match demo.try_client(1 + n % 3).await {
            Ok(client) => open.push(client),
            Err(error) => {
                assert_eq!(error.code().map(|c| c.code()), Some("53300"), "{error}");
                refused += 1;
            }
        }
    }
    for client in &open {
        client.simple_query("SELECT 1").await.unwrap();
    }
    eprintln!("{} served, {refused} refused", open.len());
    drop(open);
    pause(Duration::from_millis(500)).await;
    demo.assert_healthy().await;
}
