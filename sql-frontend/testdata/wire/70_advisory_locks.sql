# Advisory locks in statements of all kinds. (Several sessions: testdata/advisory.)

select pg_advisory_lock(1), pg_try_advisory_lock(1), pg_advisory_unlock(1), pg_advisory_unlock(1), pg_advisory_unlock(1)
----
|t|t|t|f

select pg_try_advisory_lock('17'), pg_try_advisory_lock(17::smallint), pg_try_advisory_lock('1', '2')
----
t|t|t

select pg_advisory_unlock(17), pg_advisory_unlock(17), pg_advisory_unlock(17), pg_advisory_unlock(1, 2)
----
t|t|f|t

select pg_try_advisory_lock(1.5)
----
ERROR 42883 8: function pg_try_advisory_lock(numeric) does not exist

select pg_try_advisory_lock(1, 2::bigint)
----
ERROR 42883 8: function pg_try_advisory_lock(integer, bigint) does not exist

select pg_try_advisory_lock(1, 2, 3)
----
ERROR 42883 8: function pg_try_advisory_lock(integer, integer, integer) does not exist

select pg_try_advisory_lock(null), pg_advisory_unlock(null, 1)
----
NULL|NULL

select pg_try_advisory_lock(9223372036854775807), pg_try_advisory_lock(-1), pg_try_advisory_lock(-1, -1)
----
t|t|t

select pg_advisory_unlock(9223372036854775807), pg_advisory_unlock(-1), pg_advisory_unlock(-1, -1)
----
t|t|t

create table t (id int primary key, v int)
----

insert into t select g, g % 2 from generate_series(1, 20) g
----

select count(pg_advisory_lock(id)) from t where v = 1
----
10

# sorted
select id from t where not pg_advisory_unlock(id)
----
10
12
14
16
18
2
20
4
6
8

select id from t where v = 1 and id > 10 and pg_try_advisory_lock(id) order by id
----
11
13
15
17
19

# sorted
select id from t where pg_advisory_unlock(id)
----
11
13
15
17
19

select id from t where pg_try_advisory_lock(id) and v = 1 and id < 6 order by id
----
1
3
5

select case when pg_try_advisory_lock(100) then 'locked' else 'taken' end
----
locked

select case when v = 1 then pg_try_advisory_lock(id) end from t where id < 4 order by id
----
t
NULL
t

insert into t select 21, 0 where pg_try_advisory_lock(21)
----

update t set v = 2 where id = 21 and pg_advisory_unlock(21) returning v
----
2

delete from t where id = 21 and pg_advisory_unlock(21) returning id
----

select pg_advisory_unlock_all(), 1
----
|1

select count(*) from t where pg_advisory_unlock(id)
----
0

prepare p (bigint) as select pg_try_advisory_lock($1)
----

execute p (5)
----
t

select pg_advisory_unlock(5)
----
t

begin read only
----

select pg_advisory_lock(6), pg_advisory_xact_lock(7)
----
|

commit
----

select pg_advisory_unlock(6), pg_advisory_unlock(7)
----
t|f
