//! Transactions under an idempotency key: they happen once, and the same again gets the first one's answers.

use crate::{
    session::{fails, one, rows, run},
    standin::Node,
};
use std::time::{Duration, SystemTime};
use tokio_postgres::{Client, SimpleQueryMessage};

const TABLES: &str = "create table a (id int primary key, n int not null); \
     create table log (seq serial primary key, what text); \
     insert into a values (1, 0), (2, 0)";

async fn under(client: &Client, key: &str) {
    run(client, &format!("set quorate.idempotency_key = '{key}'")).await;
}

async fn node() -> (Node, Client) {
    let node = Node::start().await;
    let client = node.connect().await;
    run(&client, TABLES).await;
    (node, client)
}

/// The message and detail of the error.
async fn refused(client: &Client, sql: &str) -> (String, String) {
    let error = client.simple_query(sql).await.unwrap_err();
    let error = error.as_db_error().unwrap();
    (error.code().code().into(), format!("{} {}", error.message(), error.detail().unwrap_or_default()))
}

/// Rows and tags, as the simple protocol tells them.
async fn answers(client: &Client, sql: &str) -> Vec<String> {
    let messages = client.simple_query(sql).await.unwrap();
    let told = messages.iter().map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            (0..row.len()).map(|i| row.get(i).unwrap_or("NULL")).collect::<Vec<_>>().join("|")
        }
        SimpleQueryMessage::CommandComplete(rows) => format!("{rows} rows"),
        SimpleQueryMessage::RowDescription(columns) => {
            columns.iter().map(|column| column.name()).collect::<Vec<_>>().join(",")
        }
        other => format!("{other:?}"),
    });
    told.collect()
}

const TRANSFER: &str = "begin; select n from a where id = 1; update a set n = n - 1 where id = 1; \
     update a set n = n + 1 where id = 2; insert into log (what) values ('sent') returning seq, what; commit";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_transaction_again_gets_the_same_answers_and_does_nothing() {
    let (node, c) = node().await;
    under(&c, "k1").await;
    let first = answers(&c, TRANSFER).await;
    assert!(first.contains(&"1|sent".to_string()), "{first:?}");
    // What has changed since does not show.
    let other = node.connect().await;
    run(&other, "update a set n = 100 where id = 1").await;
    under(&other, "k1").await;
    for client in [&other, &c] {
        assert_eq!(answers(client, TRANSFER).await, first);
    }
    assert_eq!(
        rows(&node.connect().await, "select n from a order by id").await,
        [[Some("100".into())], [Some("1".into())]]
    );
    assert_eq!(one(&node.connect().await, "select count(*) from log").await, "1");
    // Another key, another transaction.
    under(&c, "k2").await;
    assert!(answers(&c, TRANSFER).await.contains(&"2|sent".to_string()));
    assert_eq!(one(&node.connect().await, "select n from a where id = 2").await, "2");
    // Without a key as ever.
    run(&c, "reset quorate.idempotency_key").await;
    run(&c, TRANSFER).await;
    assert_eq!(one(&c, "select n from a where id = 2").await, "3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_statements_and_the_extended_protocol_count_as_well() {
    let (node, c) = node().await;
    let sql = "update a set n = n + $1 where id = $2 returning n";
    under(&c, "k").await;
    let first: i32 = c.query_one(sql, &[&5, &1]).await.unwrap().get(0);
    let other = node.connect().await;
    under(&other, "k").await;
    let again: i32 = other.query_one(sql, &[&5, &1]).await.unwrap().get(0);
    assert_eq!((first, again), (5, 5));
    let error = other.query_one(sql, &[&6, &1]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "25Q01", "another parameter is another statement");
    assert_eq!(one(&node.connect().await, "select n from a where id = 1").await, "5");
    // The same text again and again, with whatever is remembered of its plan.
    for key in ["s1", "s2", "s1", "s2"] {
        under(&c, key).await;
        run(&c, "update a set n = n + 1 where id = 2").await;
    }
    assert_eq!(one(&node.connect().await, "select n from a where id = 2").await, "2");
}

/// All kinds of values, by the simple protocol in text and by the extended one in binary, each first and each again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_which_protocol_a_statement_comes_is_no_matter() {
    let (node, c) = node().await;
    let sql = "update a set n = n + 1 where id = 1 returning n, null::text as nothing, 'x'::text as t, 1.50::numeric as d, \
        '2024-02-29 12:00+02'::timestamptz as at, array[1, null, 3] as list";
    type Binary = (i32, Option<String>, String, SystemTime, Vec<Option<i32>>);
    async fn binary(client: &Client, sql: &str) -> Binary {
        let row = client.query_one(sql, &[]).await.unwrap();
        (row.get(0), row.get(1), row.get(2), row.get(4), row.get(5))
    }
    let texts = |n: &str| {
        let values = [n, "", "x", "1.50", "2024-02-29 10:00:00+00", "{1,NULL,3}"];
        let texts = values.map(|value| (!value.is_empty()).then(|| value.to_string()));
        vec![texts.to_vec()]
    };
    under(&c, "simple first").await;
    assert_eq!(rows(&c, &format!("{sql};")).await, texts("1"));
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_709_200_800);
    let values = |n| (n, None, "x".to_string(), at, vec![Some(1), None, Some(3)]);
    let other = node.connect().await;
    under(&other, "simple first").await;
    assert_eq!(binary(&other, sql).await, values(1));
    under(&other, "extended first").await;
    assert_eq!(binary(&other, sql).await, values(2));
    under(&c, "extended first").await;
    assert_eq!(rows(&c, sql).await, texts("2"));
    assert_eq!(binary(&c, sql).await, values(2));
    assert_eq!(one(&node.connect().await, "select n from a where id = 1").await, "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_belongs_to_the_statements_that_it_was_used_for() {
    let (_node, c) = node().await;
    under(&c, "k").await;
    run(&c, "begin; update a set n = 1 where id = 1; update a set n = 1 where id = 2; commit").await;
    let other = "begin; update a set n = 2 where id = 1; commit";
    let (state, text) = refused(&c, other).await;
    assert_eq!(state, "25Q01");
    assert!(text.contains("\"k\"") && text.contains("committed"), "{text}");
    run(&c, "rollback").await;
    let less = "begin; update a set n = 1 where id = 1; commit";
    assert_eq!(fails(&c, less).await, "25Q01");
    let more =
        "begin; update a set n = 1 where id = 1; update a set n = 1 where id = 2; update a set n = 3; commit";
    assert_eq!(fails(&c, more).await, "25Q01");
    run(&c, "rollback").await;
    run(&c, "reset quorate.idempotency_key").await;
    assert_eq!(rows(&c, "select n from a order by id").await, [[Some("1".into())], [Some("1".into())]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_did_not_commit_leaves_the_key_free() {
    let (node, c) = node().await;
    under(&c, "k").await;
    run(&c, "begin; update a set n = 7 where id = 1; rollback").await;
    assert_eq!(fails(&c, "insert into a values (1, 1)").await, "23505");
    let other = node.connect().await;
    assert_eq!(one(&other, "select outcome from quorate.transaction_outcome('k')").await, "unknown");
    run(&c, "update a set n = 8 where id = 1").await;
    assert_eq!(one(&other, "select outcome from quorate.transaction_outcome('k')").await, "committed");
    assert_eq!(one(&other, "select n from a where id = 1").await, "8");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_outcome_can_be_asked_for_and_settled_for_good() {
    let (node, c) = node().await;
    under(&c, "done").await;
    run(&c, "update a set n = 1").await;
    let q = node.connect().await;
    let asked = "select outcome, committed_at between now() - interval '1 minute' and now(), length(transaction_id) \
         from quorate.transaction_outcome('done')";
    assert_eq!(answers(&q, asked).await[1], "committed|t|32");
    assert_eq!(
        answers(&q, "select * from quorate.transaction_outcome('other')").await[1],
        "unknown|NULL|NULL"
    );
    assert_eq!(one(&q, "select outcome from quorate.transaction_outcome('done', true)").await, "committed");
    // Nobody else's keys.
    assert_eq!(one(&q, "select outcome from quorate.transaction_outcome('late', false)").await, "unknown");
    assert_eq!(one(&q, "select t.outcome from quorate.transaction_outcome('late', true) t").await, "aborted");
    under(&c, "late").await;
    let (state, text) = refused(&c, "update a set n = 2").await;
    assert_eq!(state, "25Q02");
    assert!(text.contains("late"), "{text}");
    assert_eq!(one(&q, "select outcome from quorate.transaction_outcome('late')").await, "aborted");
    assert_eq!(one(&q, "select sum(n) from a").await, "2");
    assert_eq!(fails(&q, "select * from quorate.transaction_outcome('')").await, "22023");
    assert_eq!(
        fails(&q, "begin read only; select * from quorate.transaction_outcome('x', true)").await,
        "25006"
    );
    run(&q, "rollback").await;
    let stmt = q.prepare("select outcome from quorate.transaction_outcome($1)").await.unwrap();
    let outcome: String = q.query_one(&stmt, &[&"done"]).await.unwrap().get(0);
    assert_eq!(outcome, "committed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_one_happens() {
    let (node, c) = node().await;
    for round in 0..12 {
        let mut clients = Vec::new();
        for _ in 0..6 {
            let client = node.connect().await;
            // A transaction whose statements each have a snapshot of their own does not look for the key again.
            let level = ["serializable", "repeatable read", "read committed"][round % 3];
            run(&client, &format!("set default_transaction_isolation = '{level}'")).await;
            under(&client, &format!("round {round}")).await;
            clients.push(client);
        }
        let sql = "update a set n = n + 1 where id = 1; insert into log (what) values ('x') returning what";
        let told = futures::future::join_all(clients.iter().map(|client| answers(client, sql))).await;
        assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{told:?}");
        assert_eq!(one(&c, "select n from a where id = 1").await, (round + 1).to_string());
    }
    assert_eq!(one(&c, "select count(*) from log").await, "12");
}

/// What the second one runs into is what the first has done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_repeated_while_it_commits_is_told_so() {
    let (node, c) = node().await;
    let failing = ["insert into a values (7, 0)", "select 1 / (n - 1) from a where id = 2"];
    let mut round = 0;
    for level in ["serializable", "repeatable read", "read committed"] {
        for second in failing {
            round += 1;
            let whole = format!(
                "begin isolation level {level}; select n from a where id = 1; {second}; \
                 update a set n = 1 where id = 2; commit"
            );
            run(&c, "delete from a where id = 7; update a set n = 0 where id = 2").await;
            let (one, two) = (node.connect().await, node.connect().await);
            for client in [&one, &two] {
                under(client, &format!("overtaken {round}")).await;
                run(client, &format!("begin isolation level {level}")).await;
                run(client, "select n from a where id = 1").await;
            }
            for sql in [second, "update a set n = 1 where id = 2", "commit"] {
                run(&one, sql).await;
            }
            // Here, or with the next statements.
            let mut told = Vec::new();
            for sql in [second, "update a set n = 1 where id = 2", "commit"] {
                told.extend(two.simple_query(sql).await.err().and_then(|error| error.code().cloned()));
            }
            let first = told.first().map(|code| code.code().to_owned());
            assert_eq!(first.as_deref(), Some("40001"), "{level}: {second}: {told:?}");
            run(&two, "rollback").await;
            under(&two, &format!("overtaken {round}")).await;
            assert!(!answers(&two, &whole).await.is_empty());
        }
    }
    assert_eq!(crate::session::one(&c, "select count(*) from a where id = 7").await, "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_for_good_and_a_commit_exclude_one_another() {
    let (node, c) = node().await;
    for round in 0..10 {
        let (one_more, judge) = (node.connect().await, node.connect().await);
        under(&one_more, &format!("race {round}")).await;
        let ask = format!("select outcome from quorate.transaction_outcome('race {round}', true)");
        let before: i32 = one(&c, "select n from a where id = 1").await.parse().unwrap();
        let commit = one_more.simple_query("update a set n = n + 1 where id = 1");
        let (commit, outcome) = tokio::join!(commit, one(&judge, &ask));
        let after: i32 = one(&c, "select n from a where id = 1").await.parse().unwrap();
        match outcome.as_str() {
            "committed" => assert!(commit.is_ok() && after == before + 1, "{commit:?}"),
            "aborted" => {
                assert_eq!(commit.unwrap_err().code().unwrap().code(), "25Q02");
                assert_eq!(after, before);
            }
            other => panic!("{other} is no decision"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_answered_twice_is_refused_or_told() {
    let (node, c) = node().await;
    under(&c, "k").await;
    assert_eq!(fails(&c, "copy a from stdin").await, "0A000");
    assert_eq!(fails(&c, "create table t (x int)").await, "0A000");
    assert_eq!(fails(&c, "begin; declare x cursor for select 1").await, "0A000");
    run(&c, "rollback").await;
    assert_eq!(fails(&c, "begin; select 1; set quorate.idempotency_key = 'other'").await, "25001");
    run(&c, "rollback").await;
    assert_eq!(fails(&c, "select set_config('quorate.idempotency_key', 'other', true)").await, "25001");
    // Settings are no business of the key's.
    run(&c, "begin; set local lock_timeout = 100; update a set n = 1; show lock_timeout; commit").await;
    run(&c, "begin; update a set n = 1; commit").await;
    // Answers of any size are given once; only what is small is given again.
    under(&c, "large").await;
    let large = "update a set n = 2 where id = 1 returning repeat('x', 100000)";
    assert_eq!(answers(&c, large).await[1].len(), 100_000);
    assert_eq!(refused(&c, large).await.0, "25Q03");
    // So it is where a statement failed on the way.
    under(&c, "failed").await;
    let failed = "begin; savepoint s; update a set n = 3 where id = 1";
    run(&c, failed).await;
    assert_eq!(fails(&c, "insert into a values (1, 1)").await, "23505");
    run(&c, "rollback to s; update a set n = 4 where id = 1; commit").await;
    assert_eq!(fails(&c, failed).await, "25Q03");
    run(&c, "rollback").await;
    assert_eq!(one(&node.connect().await, "select n from a where id = 1").await, "4");
}

/// Until the answer to a question is what it should be.
async fn until(node: &Node, client: &Client, question: &str, answer: &str) {
    for _ in 0..3000 {
        if one(client, question).await == answer {
            return;
        }
        node.env.sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("{question} is not {answer} after a minute");
}

const AGES_AGO: Option<std::time::Duration> = Some(std::time::Duration::from_millis(1));
const LONG: Option<std::time::Duration> = Some(std::time::Duration::from_secs(3600));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_key_is_as_one_that_was_never_used() {
    let (node, c) = node().await;
    let q = node.connect().await;
    let outcome = "select outcome from quorate.transaction_outcome('k')";
    let add = "update a set n = n + 1 where id = 1";
    for level in ["serializable", "repeatable read", "read committed"] {
        run(&c, &format!("set default_transaction_isolation = '{level}'")).await;
        under(&c, "k").await;
        node.world.set_idempotency_ttl(AGES_AGO);
        until(&node, &q, outcome, "unknown").await;
        // Other statements than before, and another user of the key: it is free.
        run(&c, "update a set n = 0 where id = 1").await;
        until(&node, &q, outcome, "unknown").await;
        run(&c, &format!("begin; {add}; commit")).await;
        until(&node, &q, outcome, "unknown").await;
        run(&c, add).await;
        node.world.set_idempotency_ttl(LONG);
        assert_eq!(one(&q, outcome).await, "committed", "{level}");
        run(&c, add).await;
        assert_eq!(one(&q, "select n from a where id = 1").await, "2", "{level}");
        node.world.set_idempotency_ttl(None);
        run(&c, add).await;
        assert_eq!(one(&q, "select n from a where id = 1").await, "2", "what counts is not known: {level}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_for_good_is_for_as_long_as_keys_count() {
    let (node, c) = node().await;
    let q = node.connect().await;
    let (asked, settled) = (
        "select outcome from quorate.transaction_outcome('k')",
        "select outcome from quorate.transaction_outcome('k', true)",
    );
    under(&c, "k").await;
    run(&c, "update a set n = 1 where id = 1").await;
    node.world.set_idempotency_ttl(AGES_AGO);
    until(&node, &q, asked, "unknown").await;
    assert_eq!(one(&q, settled).await, "aborted", "in place of the old one");
    node.world.set_idempotency_ttl(LONG);
    assert_eq!(one(&q, settled).await, "aborted");
    assert_eq!(fails(&c, "update a set n = 2 where id = 1").await, "25Q02");
    node.world.set_idempotency_ttl(AGES_AGO);
    until(&node, &q, asked, "unknown").await;
    run(&c, "update a set n = 3 where id = 1").await;
    assert_eq!(one(&q, "select n from a where id = 1").await, "3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_aborted_under_a_transaction_is_told_and_keys_show_in_the_guarantee() {
    let (node, c) = node().await;
    let q = node.connect().await;
    run(&c, "begin idempotency key 'k'; update a set n = n + 1 where id = 1").await;
    assert!(one(&c, "show guarantee").await.contains(", once, trust("));
    assert_eq!(one(&q, "select outcome from quorate.transaction_outcome('k', true)").await, "aborted");
    assert_eq!(fails(&c, "commit").await, "25Q02");
    run(&c, "update a set n = n + 1 where id = 1").await;
    assert!(one(&c, "show guarantee").await.contains(", none, trust("));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_records_are_removed_in_the_background() {
    let (node, c) = node().await;
    let q = node.connect().await;
    for key in ["one", "two"] {
        under(&c, key).await;
        run(&c, "update a set n = n + 1 where id = 1").await;
    }
    assert_eq!(one(&q, "select outcome from quorate.transaction_outcome('late', true)").await, "aborted");
    node.world.set_idempotency_ttl(AGES_AGO);
    for key in ["one", "two", "late"] {
        let outcome = format!("select outcome from quorate.transaction_outcome('{key}')");
        let mut tries = 0;
        loop {
            // If it is there, it counts.
            node.world.set_idempotency_ttl(None);
            if one(&q, &outcome).await == "unknown" {
                break;
            }
            tries += 1;
            assert!(tries < 300, "{key} is still there");
            node.world.set_idempotency_ttl(AGES_AGO);
            node.env.sleep(std::time::Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_may_stand_behind_begin() {
    let (node, c) = node().await;
    let q = node.connect().await;
    let add = "update a set n = n + 1 where id = 1";
    for begin in [
        "begin idempotency key 'b'",
        "BEGIN TRANSACTION ISOLATION LEVEL SERIALIZABLE, IDEMPOTENCY KEY 'b'",
        "start transaction idempotency key E'\\x62' read write",
        "begin; set transaction idempotency key 'b'",
    ] {
        run(&c, &format!("{begin}; {add}; commit")).await;
        assert_eq!(one(&c, "show quorate.idempotency_key").await, "");
        assert_eq!(one(&q, "select n from a where id = 1").await, "1", "{begin}");
    }
    assert_eq!(one(&q, "select outcome from quorate.transaction_outcome('b')").await, "committed");
    // For this transaction only, whatever is set for the others, and also if it fails.
    under(&c, "s").await;
    for end in ["commit", "rollback", "commit and chain; rollback"] {
        let again = format!("begin idempotency key 'b'; show quorate.idempotency_key; {add}; {end}");
        assert_eq!(answers(&c, &again).await[2], "b", "{end}");
        assert_eq!(one(&c, "show quorate.idempotency_key").await, "s", "{end}");
    }
    assert_eq!(one(&q, "select n from a where id = 1").await, "1");
    // A transaction that is chained to it is another one.
    run(&c, "reset quorate.idempotency_key").await;
    run(&c, &format!("begin idempotency key 'b'; {add}; commit and chain; {add}; commit")).await;
    assert_eq!(one(&q, "select n from a where id = 1").await, "2");
    assert_eq!(fails(&c, "begin idempotency key ''").await, "22023");
    assert_eq!(fails(&c, &format!("begin idempotency key '{}'", "x".repeat(256))).await, "22023");
    assert_eq!(one(&c, "show quorate.idempotency_key").await, "");
    assert_eq!(fails(&c, "begin; select 1; set transaction idempotency key 'late'").await, "25001");
    run(&c, "rollback").await;
    assert_eq!(fails(&c, "begin idempotency 'x'").await, "42601");
    let all = "set session characteristics as transaction idempotency key 'x'";
    assert_eq!(fails(&c, all).await, "0A000");
}
