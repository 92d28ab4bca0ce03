//! What tools ask the catalogs: every query of psql 15's backslash commands and of its completion is answered.
//!
//! The files in `testdata/catalog` hold the queries as psql sends them (`psql -E`, and a server's log while the tab key
//! is pressed), separated by empty lines, with `@name` where psql puts the OID of that relation.

use crate::session::{fails, one, rows, run};
use crate::standin::Node;
use tokio_postgres::Client;

const TABLES: &str = "
    create table accounts (id int primary key, name varchar(20) not null default 'x', balance numeric(10,2),
        created timestamptz default now(), unique (name));
    create table items (a int, b text, c serial, primary key (a, b), check (a > 0));
    create schema app;
    create table app.things (id bigserial primary key, v float8)";

async fn queries(client: &Client, file: &str) -> Vec<String> {
    let path = format!("{}/testdata/catalog/{file}", env!("CARGO_MANIFEST_DIR"));
    let mut text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    while let Some(start) = text.find("'@") {
        let end = start + 2 + text[start + 2..].find('\'').expect("a closing quote");
        let oid = one(client, &format!("select '{}'::regclass::oid", &text[start + 2..end])).await;
        text.replace_range(start..end + 1, &format!("'{oid}'"));
    }
    text.split("\n\n").map(str::to_string).filter(|q| !q.trim().is_empty()).collect()
}

async fn client(node: &Node) -> Client {
    let client = node.connect().await;
    run(&client, TABLES).await;
    run(&client, "create index accounts_balance on accounts (balance, name desc)").await;
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn psql_describes_and_completes() {
    let node = Node::start().await;
    let c = client(&node).await;
    let mut refused = Vec::new();
    for file in ["psql15_describe.sql", "psql15_completion.sql"] {
        for query in queries(&c, file).await {
            if let Err(error) = c.simple_query(&query).await {
                let text = error
                    .as_db_error()
                    .map_or_else(|| error.to_string(), |e| format!("{} {}", e.code().code(), e.message()));
                refused.push(format!("{text}\n{query}\n"));
            }
        }
    }
    assert!(refused.is_empty(), "{} queries refused:\n\n{}", refused.len(), refused.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_psql_shows_of_a_table() {
    let node = Node::start().await;
    let c = client(&node).await;
    let columns = "SELECT a.attname, format_type(a.atttypid, a.atttypmod),
        (SELECT pg_get_expr(d.adbin, d.adrelid, true) FROM pg_attrdef d
         WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef), a.attnotnull
        FROM pg_attribute a WHERE a.attrelid = 'accounts'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";
    let shown: Vec<String> = rows(&c, columns).await.iter().map(|r| shown(r)).collect();
    assert_eq!(
        shown,
        [
            "id|integer|NULL|t",
            "name|character varying(20)|'x'|t",
            "balance|numeric(10,2)|NULL|f",
            "created|timestamp with time zone|now()|f",
        ]
    );
    let indexes = "SELECT c2.relname, i.indisprimary, i.indisunique, i.indkey, i.indoption,
        pg_get_indexdef(i.indexrelid, 0, true), pg_get_constraintdef(con.oid, true)
        FROM pg_class c, pg_class c2, pg_index i
        LEFT JOIN pg_constraint con ON (conrelid = i.indrelid AND conindid = i.indexrelid AND contype IN ('p','u','x'))
        WHERE c.oid = 'accounts'::regclass AND c.oid = i.indrelid AND i.indexrelid = c2.oid ORDER BY 1";
    let shown: Vec<String> = rows(&c, indexes).await.iter().map(|r| self::shown(r)).collect();
    assert_eq!(
        shown,
        [
            "accounts_balance|f|f|3 2|0 3|CREATE INDEX accounts_balance ON public.accounts USING btree (balance, name DESC)|NULL",
            "accounts_name_key|f|t|2|0|CREATE UNIQUE INDEX accounts_name_key ON public.accounts USING btree (name)|UNIQUE (name)",
            "accounts_pkey|t|t|1|0|CREATE UNIQUE INDEX accounts_pkey ON public.accounts USING btree (id)|PRIMARY KEY (id)",
        ]
    );
    // As the introspection of Django and SQLAlchemy does it.
    let keys = "SELECT con.conname, array(SELECT attname FROM unnest(con.conkey) WITH ORDINALITY cols(colid, arridx)
        JOIN pg_attribute AS ca ON cols.colid = ca.attnum WHERE ca.attrelid = con.conrelid ORDER BY cols.arridx)
        FROM pg_constraint con JOIN pg_class cl ON con.conrelid = cl.oid
        WHERE cl.relname = 'items' AND con.contype = 'p' AND pg_table_is_visible(cl.oid)";
    assert_eq!(shown_all(&rows(&c, keys).await), ["items_pkey|{a,b}"]);
    let unnested = "SELECT unnest(conkey) AS attnum, generate_subscripts(conkey, 1) AS ord FROM pg_constraint
        WHERE conname = 'items_pkey'";
    assert_eq!(shown_all(&rows(&c, unnested).await), ["1|1", "2|2"]);
}

fn shown(row: &[Option<String>]) -> String {
    row.iter().map(|v| v.as_deref().unwrap_or("NULL")).collect::<Vec<_>>().join("|")
}

fn shown_all(rows: &[Vec<Option<String>>]) -> Vec<String> {
    rows.iter().map(|r| shown(r)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unique_index_is_no_constraint() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (a int primary key, b int unique, c int, d int)").await;
    run(&c, "create unique index t_c on t (c); ").await;
    run(&c, "alter table t add constraint t_d unique (d)").await;
    // As psql's \d asks.
    let shown = "select c2.relname, i.indisunique, con.contype from pg_index i
        join pg_class c2 on c2.oid = i.indexrelid
        left join pg_constraint con on con.conrelid = i.indrelid and con.conindid = i.indexrelid and con.contype in ('p', 'u', 'x')
        where i.indrelid = 't'::regclass order by 1";
    let expected = [("t_b_key", Some("u")), ("t_c", None), ("t_d", Some("u")), ("t_pkey", Some("p"))];
    let expected = expected.map(|(name, kind)| {
        vec![Some(name.to_string()), Some("t".to_string()), kind.map(ToString::to_string)]
    });
    assert_eq!(rows(&c, shown).await, expected);
    let counted = "select count(*) from information_schema.table_constraints where table_name = 't' and constraint_type = 'UNIQUE'";
    assert_eq!(one(&c, counted).await, "2");
    run(&c, "insert into t values (1, 1, 1, 1)").await;
    assert_eq!(fails(&c, "insert into t values (2, 2, 1, 2)").await, "23505");
    run(&c, "insert into t values (2, 2, 1, 2) on conflict (c) do nothing").await;
    assert_eq!(
        fails(&c, "insert into t values (2, 2, 1, 2) on conflict on constraint t_c do nothing").await,
        "42704"
    );
    assert_eq!(fails(&c, "alter table t drop constraint t_c").await, "42704");
    for constraint in ["t_b_key", "t_d", "t_pkey"] {
        assert_eq!(fails(&c, &format!("drop index {constraint}")).await, "2BP01");
    }
    run(&c, "drop index t_c").await;
    run(&c, "alter table t drop constraint t_b_key").await;
    run(&c, "insert into t values (2, 1, 1, 2)").await;
}
