# Cursors, and sequences that begin again.

create table t (a int primary key, b int)
----

insert into t select g, g from generate_series(1, 10) g
----

declare c cursor for select 1
----
ERROR 25P01 -: DECLARE CURSOR can only be used in transaction blocks

begin
----

declare c no scroll cursor for select a, b from t order by a
----

fetch c
----
1|1

fetch 2 from c
----
2|2
3|3

fetch forward 1 in c
----
4|4

move 2 from c
----

fetch next from c
----
7|7

# sorted
fetch forward all from c
----
10|10
8|8
9|9

fetch c
----

select name, statement, is_holdable, is_binary, is_scrollable from pg_cursors
----
c|declare c no scroll cursor for select a, b from t order by a|f|f|f

close c
----

select count(*) from pg_cursors
----
0

close c
----
ERROR 34000 -: cursor "c" does not exist

rollback
----

begin
----

declare c insensitive cursor without hold for select a from t order by a
----

fetch 2 c
----
1
2

insert into t values (0, 0), (11, 11); delete from t where a in (4, 5); update t set a = a + 100 where a = 6
----

fetch all c
----
3
4
5
6
7
8
9
10

select count(*), sum(a) from t
----
10|157

rollback
----

begin; savepoint s; declare d cursor for select 1; rollback to s; fetch d
----
ERROR 34000 -: cursor "d" does not exist

rollback
----

begin; declare "My C" cursor for values (1), (2); declare "My C" cursor for select 1
----
ERROR 42P03 -: cursor "My C" already exists

rollback
----

begin; fetch nothing
----
ERROR 34000 -: cursor "nothing" does not exist

rollback
----

begin; declare c cursor for select 1; declare d cursor for select 2; close all; fetch d
----
ERROR 34000 -: cursor "d" does not exist

rollback
----

begin; declare c cursor for select a from t order by a; fetch 2 c; commit; fetch c
----
ERROR 34000 -: cursor "c" does not exist

begin
----

declare c cursor for select a from t where a = 3 for update
----

fetch 1 c
----
3

commit
----

# ours
begin; declare c scroll cursor for select 1; fetch prior c
----
ERROR 0A000 -: fetching otherwise than forward is not supported

rollback
----

# ours
begin; declare c cursor with hold for select 1
----
ERROR 0A000 -: a cursor that outlives its transaction (WITH HOLD) is not supported

rollback
----

create sequence s start with 5 
----

select nextval('s'), nextval('s')
----
5|6

alter sequence s restart
----

select nextval('s')
----
5

alter sequence s restart with 100
----

select nextval('s')
----
100

begin; alter sequence s restart 7; rollback
----

# sorted
select nextval('s') > 100
----
t

alter sequence s restart with 0
----
ERROR 22023 -: RESTART value (0) cannot be less than MINVALUE (1)

alter sequence nothing restart
----
ERROR 42P01 -: relation "nothing" does not exist

alter sequence if exists nothing restart
----

alter sequence t restart
----
ERROR 42809 -: "t" is not a sequence

create table n (id serial, x int); insert into n (x) values (1)
----

alter sequence n_id_seq restart with 10
----

insert into n (x) values (2), (3) returning id
----
10
11
