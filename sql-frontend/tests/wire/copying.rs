//! `COPY`: where an error is, and what is not carried out.

use crate::{
    session::{fails, run},
    standin::Node,
};
use futures::{SinkExt, TryStreamExt};
use tokio_postgres::{Client, error::DbError};

async fn copy(c: &Client, options: &str, data: &'static [u8]) -> DbError {
    let sink = c.copy_in(&format!("copy t from stdin {options}")).await.unwrap();
    let mut sink = std::pin::pin!(sink);
    sink.send(bytes::Bytes::from_static(data)).await.unwrap();
    let error = sink.finish().await.expect_err("the data are wrong");
    error.as_db_error().unwrap_or_else(|| panic!("{error:?}")).clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_tell_their_line() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (a int primary key, b text check (b <> 'no'))").await;
    for (options, data, state, context) in [
        ("", &b"1\tx\nzwei\ty\n3\tz\n"[..], "22P02", "COPY t, line 2"),
        ("", b"1\tx\n2\n3\tz\n4\tz\n", "22P04", "COPY t, line 2"),
        ("", b"1\tx\n2\tno\n3\tz\n", "23514", "COPY t, line 2"),
        ("csv header", b"a,b\n1,x\nzwei,y\n3,z\n", "22P02", "COPY t, line 3"),
        ("csv", b"1,\"x\ny\"\n2,z,z\n3,z\n", "22P04", "COPY t, line 3"),
        ("csv", b"1,x\n2,\"z", "22P04", "COPY t, line 2"),
        ("", b"1\tx\n1\ty\n", "23505", "COPY t"),
        ("", b"1\tx\r\n2\ty\n", "22P04", "COPY t, line 2"),
        ("csv", b"1,x\n2,y\r\n", "22P04", "COPY t, line 2"),
    ] {
        let error = copy(&c, options, data).await;
        assert_eq!(error.code().code(), state, "{data:?}: {error:?}");
        assert_eq!(error.where_(), Some(context), "{data:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_forms_are_refused() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (a int primary key, b text)").await;
    for sql in [
        "copy t from stdin (format csv, force_null (b))",
        "copy t from stdin (format csv, force_not_null (b))",
        "copy t from stdin csv force not null b",
        "copy t to stdout (format csv, force_quote *)",
        "copy t from stdin where a > 1",
        "copy t from stdin (format csv) where a > 1",
        "copy t from stdin (format binary)",
        "copy t from stdin with binary",
        "copy binary t to stdout",
        "copy t from stdin (format csv, header match)",
        "copy t from stdin (encoding 'latin1')",
        "copy t from stdin (delimiter 'ab')",
        "copy t to stdout delimiter 'é'",
        "copy t to stdout (format csv, quote '')",
        "copy t to stdout (format csv, escape 'ab')",
        "copy t from '/tmp/x'",
        "copy t to program 'cat'",
        "copy t to stdout (null 'a,b', delimiter ',')",
        "copy t to stdout csv null 'a\"b'",
        "copy t to stdout (quote 'x')",
        "copy t to stdout escape 'x'",
    ] {
        assert_eq!(fails(&c, sql).await, "0A000", "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_that_make_no_sense_are_wrong() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (a int primary key, b text)").await;
    for sql in [
        "copy t from",
        "copy t from stdin (nope)",
        "copy t to stdout ()",
        "copy t to stdout (csv)",
        "copy t to stdout (format csv header)",
        "copy t to stdout (format csv,)",
        "copy t to stdout (null)",
        "copy t to stdout (header maybe)",
        "copy t to stdout (header 2)",
        "copy t to stdout (header yes)",
        "copy t to stdout (freeze maybe)",
        "copy t to stdout (header, header off)",
        "copy t to stdout csv csv",
    ] {
        assert_eq!(fails(&c, sql).await, "42601", "{sql}");
    }
    for sql in [
        "copy t from stdin (format nope)",
        "copy t to stdout (format \"CSV\")",
        "copy t to stdout (delimiter E'\\n')",
        "copy t to stdout (delimiter a)",
        "copy t to stdout delimiter '.'",
        "copy t to stdout null E'a\\nb'",
        "copy t to stdout (format csv, quote ',')",
    ] {
        assert_eq!(fails(&c, sql).await, "22023", "{sql}");
    }
    assert_eq!(fails(&c, "copy t from stdin (freeze)").await, "55000");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_written_as_values_are() {
    let node = Node::start().await;
    let c = node.connect().await;
    for (sql, header) in [
        (r#"copy (select 1 as "c,d", 2 as "q""") to stdout csv header"#, "\"c,d\",\"q\"\"\"\n"),
        (r#"copy (select 1 as "n", 2 as b) to stdout (format csv, header, null 'n')"#, "\"n\",b\n"),
        (
            "copy (select 1 as \"c|d\", 2 as \"t\tx\\\") to stdout (header, delimiter '|')",
            "c\\|d|t\\tx\\\\\n",
        ),
    ] {
        let lines: Vec<bytes::Bytes> = c.copy_out(sql).await.unwrap().try_collect().await.unwrap();
        assert_eq!(lines[0], header, "{sql}");
    }
}
