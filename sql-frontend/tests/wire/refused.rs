//! Statements of PostgreSQL's that are not carried out.

use crate::{
    session::{fails, run},
    standin::Node,
};

const STATEMENTS: &str = "
create view v as select 1
create or replace view v as select 1
copy (insert into t values (7) returning a) to stdout
copy (delete from t returning a) to stdout
create temp view v as select 1
create recursive view v (a) as select 1
create materialized view v as select 1
refresh materialized view v
create function f() returns int language sql as 'select 1'
create or replace function f(a int default 1) returns setof int language plpgsql as $$ begin return 1; end $$
create procedure p() language sql as $$ select 1 $$
call p()
set transaction snapshot '00000003-0000001B-1'
do $$ begin end $$
create trigger g before insert on t for each row execute function f()
create constraint trigger g after insert on t deferrable for each row execute function f()
create event trigger e on ddl_command_start execute function f()
create rule r as on insert to t do instead nothing
merge into t using t u on t.a = u.a when matched then do nothing
listen x
notify x, 'payload'
grant select on t to root
grant all on all tables in schema public to root with grant option
revoke all on t from root
create role r
create user u with password 'x'
alter role r set search_path = a
drop role r
create group g
alter user u with superuser
reassign owned by a to b
drop owned by a
create type e as enum ('a', 'b')
create type c as (a int, b text)
create type r as range (subtype = int)
alter type e add value 'x'
create domain d as int check (value > 0)
create extension hstore
create aggregate a (int) (sfunc = int4pl, stype = int)
create operator === (leftarg = int, rightarg = int, function = int4eq)
create cast (int as text) with inout
create collation c (locale = 'C')
create conversion c for 'UTF8' to 'LATIN1' from f
create language l
create foreign data wrapper w
create server s foreign data wrapper w
create foreign table ft (a int) server s
create user mapping for root server s
import foreign schema s from server w into public
create publication p for table t
create subscription s connection 'x' publication p
create policy p on t
create statistics st on a, b from t
create tablespace ts location '/x'
create text search configuration c (copy = simple)
create transform for int language l (from sql with function f(internal))
create access method m type index handler h
create database d
alter database d set timezone = 'UTC'
drop database d
alter system set work_mem = '1MB'
alter default privileges grant select on tables to root
comment on table t is 'x'
security label on table t is 'x'
cluster t
reindex table t
lock table t in exclusive mode
lock t
load 'x'
prepare transaction 'x'
commit prepared 'x'
rollback prepared 'x'
set constraints all deferred
alter table t owner to root
alter table t enable row level security
alter table t cluster on t_pkey
alter table t inherit u
alter table t attach partition p default
alter table t replica identity full
alter table t set schema s
alter table t disable trigger all
create unlogged table u (a int)
create table u as select 1
create table u (a int) partition by range (a)
create table u (like t)
create table u () inherits (t)
create table u (a int references t)
create table u (a int generated always as (1) stored)
create temp table u (a int)
select 1 into u
update t set b = 1 where current of c
delete from t where current of c
create table u of x
create table u (a int, exclude using gist (a with =))
create table u (a int, constraint e exclude (a with =))
alter table t add constraint e exclude using gist (a with =)
create table u (a int unique nulls not distinct)
create table u (a int, unique nulls not distinct (a))
alter table t add unique nulls not distinct (b)
create table u (like t including all)
insert into t (a) overriding system value values (1)
update t set b[2] = 3
select a from t union select a from t for update
select sum(a) over (order by a rows between 1 preceding and 1 following exclude current row) from t
explain (costs off) select 1
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_carried_out_says_so() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (a int primary key, b int)").await;
    let mut wrong = Vec::new();
    for sql in STATEMENTS.lines().filter(|line| !line.is_empty()) {
        let state = match c.batch_execute(sql).await {
            Ok(()) => "nothing".to_string(),
            Err(_) => fails(&c, sql).await,
        };
        if state != "0A000" {
            wrong.push(format!("{state}: {sql}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What shows or fixes PostgreSQL's own numbers of transactions, and some more that is not there (`docs/guarantees.md`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_about_transactions_is_unknown_or_refused() {
    let node = Node::start().await;
    let c = node.connect().await;
    run(&c, "create table t (a int)").await;
    for (sql, state) in [
        ("select txid_current()", "42883"),
        ("select pg_current_xact_id()", "42883"),
        ("select pg_current_snapshot()", "42883"),
        ("select pg_export_snapshot()", "42883"),
        ("select xmin from t", "42703"),
        ("select ctid, xmax from t", "42703"),
        ("select * from pg_locks", "42P01"),
        ("set constraints all deferred", "0A000"),
        ("prepare transaction 'x'", "0A000"),
        ("set transaction snapshot '00000003-0000001B-1'", "0A000"),
        ("update t set a = 1 where current of c", "0A000"),
        ("set deadlock_timeout = '1s'", "42704"),
    ] {
        assert_eq!(fails(&c, sql).await, state, "{sql}");
    }
}
