# What is refused, and how.

create table q8 (a int, b text)
----

# ours
select * from rows from (generate_series(1,2), unnest(array[3])) as x(a,b)
----
ERROR 0A000 -: ROWS FROM is not supported

# ours
select 1 from q8, rows from (generate_series(1,2)) x
----
ERROR 0A000 -: ROWS FROM is not supported

# ours
select 1 from q8 join lateral rows from (generate_series(1,2)) x on true
----
ERROR 0A000 -: ROWS FROM is not supported

# ours
alter table q8 alter column a set statistics 10
----
ERROR 0A000 -: ALTER COLUMN … SET STATISTICS is not supported

# ours
alter table q8 alter a set storage plain
----
ERROR 0A000 -: ALTER COLUMN … SET STORAGE is not supported

# ours
create table q8b (a int primary key using index tablespace nope)
----
ERROR 0A000 -: a tablespace is not supported

# ours
create table q8b (a int, primary key (a) using index tablespace pg_default)
----
ERROR 0A000 -: a tablespace is not supported

# ours
create index on q8 (a) tablespace nope
----
ERROR 0A000 -: a tablespace is not supported

create table q8c (a int) with (nope=1)
----
ERROR 22023 -: unrecognized parameter "nope"

create table q8c (a int) with (fillfactor=50, nope=1)
----
ERROR 22023 -: unrecognized parameter "nope"

create table q8c (a int) with (autovacuum_enabled=false, parallel_workers=2, user_catalog_table=true)
----

drop table q8c
----

create table q8c (a int) with (oids=true)
----
ERROR 0A000 -: tables declared WITH OIDS are not supported

create table q8c (a int) with (oids=false)
----

alter table q8 set (nope=1)
----
ERROR 22023 -: unrecognized parameter "nope"

alter table q8 set (fillfactor=50)
----

# ours
alter table q8 reset (nope)
----
ERROR 0A000 -: ALTER TABLE … RESET is not supported

create table q8e (a int) tablespace nope
----
ERROR 42704 -: tablespace "nope" does not exist

create table q8e (a int) tablespace pg_default
----

# ours
alter table q8 set tablespace nope
----
ERROR 0A000 -: ALTER TABLE … SET is not supported

vacuum (nope)
----
ERROR 42601 9: unrecognized VACUUM option "nope"

vacuum (nope) q8
----
ERROR 42601 9: unrecognized VACUUM option "nope"

vacuum (full, nope 1) q8
----
ERROR 42601 15: unrecognized VACUUM option "nope"

analyze (nope) q8
----
ERROR 42601 10: unrecognized ANALYZE option "nope"

vacuum (verbose, full false, analyze on, parallel 2, index_cleanup auto, truncate, freeze, skip_locked, disable_page_skipping, process_toast) q8
----

analyze (verbose, skip_locked) q8
----

analyze (full) q8
----
ERROR 42601 10: unrecognized ANALYZE option "full"

vacuum verbose nosuch
----
ERROR 42P01 -: relation "nosuch" does not exist

select count(*) over w, sum(a) over w from q8 window w as (order by a), w as (order by b)
----
ERROR 42P20 78: window "w" is already defined

select a from q8 order by null
----
ERROR 42601 27: non-integer constant in ORDER BY

select a from q8 group by null
----
ERROR 42601 27: non-integer constant in GROUP BY

select a from q8 group by true
----
ERROR 42601 27: non-integer constant in GROUP BY

select a from q8 order by true
----
ERROR 42601 27: non-integer constant in ORDER BY

select a from q8 order by 'x'
----
ERROR 42601 27: non-integer constant in ORDER BY

# ours
select distinct on (null) a from q8
----
ERROR 42601 21: non-integer constant in ORDER BY

# ours
select a from q8 order by -1
----
ERROR 42P10 28: ORDER BY position -1 is not in select list

select case when true then generate_series(1,2) end
----
ERROR 0A000 28: set-returning functions are not allowed in CASE

select coalesce(generate_series(1,2), 3)
----
ERROR 0A000 17: set-returning functions are not allowed in COALESCE

select coalesce(1, unnest(array[1]))
----
ERROR 0A000 20: set-returning functions are not allowed in COALESCE

select case generate_series(1,2) when 1 then 2 end
----
ERROR 0A000 13: set-returning functions are not allowed in CASE

select coalesce((select generate_series(1,1)), 3), case when true then (select generate_series(2, 2)) end
----
1|2

select greatest(generate_series(1,2), 1)
----
1
2

create index on q8 (a) with (nope=1)
----
ERROR 22023 -: unrecognized parameter "nope"

create index on q8 (a) with (fillfactor=50)
----

select chr(-1)
----
ERROR 22023 -: character number must be positive

select chr(0)
----
ERROR 54000 -: null character not permitted

select chr(1114112)
----
ERROR 54000 -: requested character too large for encoding: 1114112

select 'a' like 'a\'
----
f

select 'ab' like 'a\'
----
ERROR 22025 -: LIKE pattern must not end with escape character

select 'b' like 'a\'
----
f

select 'a' like '\'
----
ERROR 22025 -: LIKE pattern must not end with escape character

select '' like '\'
----
f

select '' like '%\'
----
f

select 'a' like '%\'
----
ERROR 22025 -: LIKE pattern must not end with escape character

select 'a' like '_\'
----
f

select 'aa' like '_\'
----
ERROR 22025 -: LIKE pattern must not end with escape character

select 'a' like '%%\'
----
ERROR 22025 -: LIKE pattern must not end with escape character

select 'abc' like '%b\'
----
ERROR 22025 -: LIKE pattern must not end with escape character

select 'abc' ilike 'ABC\'
----
f

select 'abc' ilike 'AB\'
----
ERROR 22025 -: LIKE pattern must not end with escape character

select 'a' like 'a%\'
----
f

select 'ab' like '%_\'
----
ERROR 22025 -: LIKE pattern must not end with escape character

select 'ab' like '%x\'
----
f

select 'ab' not like 'ab\'
----
t

select 'ab' like 'abc\', 'ab' like 'x%\', 'éa' like '_a\', 'éa' like '%a_\'
----
f|f|f|f

# ours
create table q8d (a int) with (toast.autovacuum_enabled=true)
----
ERROR 0A000 -: a parameter of TOAST is not supported

# Columns may have these names.
select rows from (select 1 as rows) x
----
1

# The parser knows clauses of other databases. None goes unseen.

# ours
create table q8f (a int) partitioned by (b int)
----
ERROR 0A000 -: a clause of CREATE TABLE that PostgreSQL does not have is not supported

# ours
create table q8f (a int) order by a
----
ERROR 0A000 -: a clause of CREATE TABLE that PostgreSQL does not have is not supported

# ours
create table q8f (a int) stored as parquet
----
ERROR 0A000 -: a clause of CREATE TABLE that PostgreSQL does not have is not supported

# ours
create table q8f (a int) location 'x'
----
ERROR 0A000 -: a clause of CREATE TABLE that PostgreSQL does not have is not supported

# ours
create table q8f (a int) distkey (a)
----
ERROR 0A000 -: a clause of CREATE TABLE that PostgreSQL does not have is not supported

# ours
create table q8f (a int) sortkey (a)
----
ERROR 0A000 -: a clause of CREATE TABLE that PostgreSQL does not have is not supported

# ours
create table q8f (a int) backup no
----
ERROR 0A000 -: a clause of CREATE TABLE that PostgreSQL does not have is not supported

# ours
create table q8f on cluster c (a int)
----
ERROR 0A000 -: a clause of CREATE TABLE that PostgreSQL does not have is not supported

# ours
create index on q8 (a) using hash
----
ERROR 0A000 -: an option behind the columns of an index is not supported

# ours
create index on q8 (a) comment 'x'
----
ERROR 0A000 -: an option behind the columns of an index is not supported

# ours
create table q8f (a int, primary key (a) comment 'x')
----
ERROR 0A000 -: an option of a key is not supported

# ours
create table q8f (a int, unique (a) comment 'x')
----
ERROR 0A000 -: an option of a key is not supported

# ours
alter table q8 add unique (a) comment 'x'
----
ERROR 0A000 -: an option of a key is not supported

# ours
create table q8f (a int check (a > 0) not enforced)
----
ERROR 0A000 -: NOT ENFORCED is not supported

# ours
create table q8f (a int, check (a > 0) not enforced)
----
ERROR 0A000 -: NOT ENFORCED is not supported

# ours
create schema q8s with (x = 1)
----
ERROR 0A000 -: a clause of CREATE SCHEMA that PostgreSQL does not have is not supported

# ours
create schema q8s clone public
----
ERROR 0A000 -: a clause of CREATE SCHEMA that PostgreSQL does not have is not supported

# ours
drop table q8 purge
----
ERROR 0A000 -: this form of DROP is not supported

# ours
drop index q8i on q8
----
ERROR 0A000 -: this form of DROP is not supported

# ours
truncate if exists q8
----
ERROR 0A000 -: this form of TRUNCATE is not supported

create table q8f (a int default 1 default 2)
----
ERROR 42601 -: multiple default values specified for column "a" of table "q8f"

create table q8f (a serial default 1)
----
ERROR 42601 -: multiple default values specified for column "a" of table "q8f"
