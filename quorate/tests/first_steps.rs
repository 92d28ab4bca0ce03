//! What README shows a newcomer, through real clients.

mod support;

use std::process::Command;
use support::Demo;

#[tokio::test]
async fn tables_transactions_joins_and_errors() {
    let demo = Demo::start();
    let client = demo.client(1).await;
    client
        .batch_execute(
            "CREATE TABLE owners (id int4 PRIMARY KEY, name text NOT NULL UNIQUE);
             CREATE TABLE accounts (id int8 PRIMARY KEY, owner int4 NOT NULL, balance numeric(12,2) NOT NULL DEFAULT 0);
             CREATE INDEX accounts_owner ON accounts (owner);
             INSERT INTO owners VALUES (1, 'ada'), (2, 'bob');
             INSERT INTO accounts VALUES (1, 1, 100), (2, 2, 50), (3, 1, 0.50);",
        )
        .await
        .unwrap();
    client
        .batch_execute(
            "BEGIN;
             UPDATE accounts SET balance = balance - 30 WHERE id = 1;
             UPDATE accounts SET balance = balance + 30 WHERE id = 2;
             COMMIT;",
        )
        .await
        .unwrap();
    client.batch_execute("BEGIN; DELETE FROM accounts; ROLLBACK;").await.unwrap();

    let other = demo.client(2).await;
    let rows = other
        .query(
            "SELECT o.name, sum(a.balance)::text, count(*) FROM owners o JOIN accounts a ON a.owner = o.id
             GROUP BY o.name ORDER BY o.name",
            &[],
        )
        .await
        .unwrap();
    let got: Vec<(String, String, i64)> = rows.iter().map(|r| (r.get(0), r.get(1), r.get(2))).collect();
    assert_eq!(got, [("ada".into(), "70.50".into(), 2), ("bob".into(), "80.00".into(), 1)]);

    let error = other.execute("INSERT INTO owners VALUES (3, 'ada')", &[]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "23505");
    let error = other.query("SELECT nothing FROM owners", &[]).await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "42703");
    assert!(matches!(error.position(), Some(tokio_postgres::error::ErrorPosition::Original(8))));
    demo.assert_healthy().await;
}

#[test]
fn psql_and_the_operators_commands() {
    let demo = Demo::start();
    let psql = |sql: &str| {
        let output = Command::new("psql").args([&demo.url(3), "-X", "-A", "-t", "-c", sql]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    psql("CREATE TABLE t (a int PRIMARY KEY, b text)");
    psql("INSERT INTO t SELECT g, 'row ' || g FROM generate_series(1, 100) g");
    assert_eq!(psql("SELECT count(*), min(b), max(a) FROM t"), "100|row 1|100\n");

    psql("ALTER TABLE t SPLIT AT VALUES (25), (50), (75)");
    psql("ALTER TABLE t SCATTER");
    assert_eq!(psql("SHOW SHARDS FROM TABLE t").lines().count(), 4);
    psql("CREATE TABLE u (x int, y text, PRIMARY KEY (x, y))");
    psql("ALTER TABLE u SPLIT AT VALUES (7, 'b')");
    let shards = psql("SHOW SHARDS FROM TABLE t");
    assert!(shards.lines().last().is_some_and(|last| last.contains("|t/(75)|u/(7, b)|")), "{shards}");
    assert_eq!(psql("START TRANSACTION"), "START TRANSACTION\n");
    assert_eq!(psql("SELECT sum(a) FROM t"), "5050\n");

    let nodes = demo.quorate(&["node", "ls", "--json", "--host", &demo.rpc(2)]);
    let nodes: serde_json::Value = serde_json::from_str(&nodes).unwrap();
    assert_eq!(nodes.as_array().unwrap().len(), 3);
    assert!(nodes.as_array().unwrap().iter().all(|n| n["state"] == "live"));
    let shards = demo.quorate(&["shard", "ls", "--json", "--host", &demo.rpc(1)]);
    let shards: serde_json::Value = serde_json::from_str(&shards).unwrap();
    assert!(shards.as_array().unwrap().len() >= 4);
    let answer = demo.quorate(&["sql", "--url", &demo.url(1), "-c", "SELECT max(a) AS most FROM t"]);
    assert!(answer.contains("most") && answer.contains("100"), "{answer}");
}
