# INSERT … ON CONFLICT.

create table t (a int primary key, b text, n int default 0)
----

insert into t values (1, 'x'), (2, 'y')
----

# A row that the condition leaves as it is may be proposed again.
insert into t values (1, 'p'), (1, 'q') on conflict (a) do update set b = excluded.b where t.b = 'none' returning a
----

insert into t values (1, 'p'), (1, 'q'), (1, 'r') on conflict (a) do update set b = excluded.b where excluded.b >= 'q' returning a, b
----
ERROR 21000 -: ON CONFLICT DO UPDATE command cannot affect row a second time

insert into t values (1, 'p'), (1, 'q'), (1, 'o') on conflict (a) do update set b = excluded.b where excluded.b >= 'q' returning a, b
----
ERROR 21000 -: ON CONFLICT DO UPDATE command cannot affect row a second time

insert into t values (5, 'p'), (5, 'q') on conflict (a) do update set b = excluded.b where false
----
ERROR 21000 -: ON CONFLICT DO UPDATE command cannot affect row a second time

select * from t order by a
----
1|x|0
2|y|0

# What the query of the rows ends with is no alias.
insert into t select 2, 'z' on conflict do nothing
----

insert into t select 2, 'z' as x on conflict do nothing
----

insert into t (a, b) select 2 as x, 'z' y on conflict (a) do update set b = excluded.b returning a, b
----
2|z

insert into t select a, 'w' from t on conflict do nothing
----

insert into t select a, 'w' from t u on conflict (a) do update set b = excluded.b || t.a returning *
----
1|w1|0
2|w2|0

insert into t select a, max(b) from t group by a on conflict do nothing returning a
----

insert into t select x.a, y.b from t x join t y on x.a = y.a on conflict (a) do nothing returning a
----

insert into t select a, b from t order by a limit 1 on conflict do nothing returning a
----

insert into t values (9, 'i') on conflict on constraint t_pkey do nothing returning a
----
9

select 1 on
----
ERROR 42601 10: syntax error at or near "on"

select 1 as on
----
1

select * from t order by a
----
1|w1|0
2|w2|0
9|i|0

# Subqueries that mention nothing of the row are asked once, before the statement writes.
insert into t values (1, 'p'), (2, 'q'), (7, 'r') on conflict (a) do update set n = (select count(*) from t), b = excluded.b where t.a > (select min(a) from t) returning *
----
2|q|3
7|r|0

insert into t values (1, 'p'), (2, 'q') on conflict (a) do update set n = default, b = coalesce((select max(b) from t where a = 100), 'none') || t.a where exists (select 1 from t where a = 7) returning *
----
1|none1|0
2|none2|0

insert into t values (1, 'p') on conflict (a) do update set b = array_to_string(array(select b from t order by a), ',') returning b
----
none1,none2,r,i

insert into t values (1, 'p') on conflict (a) do update set n = (select a from t)
----
ERROR 21000 -: more than one row returned by a subquery used as an expression

insert into t values (1, 'p') on conflict (a) do update set n = (select 'x')
----
ERROR 42804 65: column "n" is of type integer but expression is of type text

insert into t values (1, 'p') on conflict (a) do update set n = (values (5)) + t.a where not exists (select) or (select true) returning n
----
6

# ours
insert into t values (1, 'p') on conflict (a) do update set n = (select count(*) from t x where x.a > excluded.a)
----
ERROR 0A000 -: a subquery of ON CONFLICT DO UPDATE that mentions the row, or stands behind IN is not supported

# ours
insert into t values (1, 'p') on conflict (a) do update set n = 1 where t.a in (select 1)
----
ERROR 0A000 -: a subquery of ON CONFLICT DO UPDATE that mentions the row, or stands behind IN is not supported

# Subqueries in VALUES.
create table s (id serial, a int, b text default 'd', primary key (id))
----

insert into s (a, b) values ((select 5), default), (6, (select max(b) from t)), ((select 7) + (select 1), 'x') returning *
----
1|5|d
2|6|r
3|8|x

insert into s (a) values ((select max(a) from s)), ((select count(*) from s)) returning a
----
8
3

insert into s (a) values ((select 1)) returning a
----
1

insert into s (a) values ((select a from s)), (1)
----
ERROR 21000 -: more than one row returned by a subquery used as an expression

values ((select 1), 2), (3, (select 4)), (null, (select a from s where false))
----
1|2
3|4
NULL|NULL

values ((select 1)), ('2'), (1.5)
----
1
2
1.5

select * from (values ((select 'x')), ('y')) v(a) order by a
----
x
y

select a, (values (a), ((select a + 1)) order by 1 desc limit 1) from s order by id limit 2
----
5|6
6|7

insert into s (a) select * from (values ((select 30)), (40)) v returning a
----
30
40

select 8 in (values ((select 8)), (9)), array(values (1), ((select 2)))
----
t|{1,2}

prepare p (int, int) as insert into t values ($1, 'p') on conflict (a) do update set n = (select max(a) + $2 from t) returning n
----

execute p (1, 10)
----
19

execute p (1, 20)
----
29

create table excluded (k int primary key, x int)
----

insert into excluded as e values (1, 2), (2, 3) on conflict (k) do update set x = e.x + 1 returning k, x
----
1|2
2|3

insert into excluded values (1, 5) on conflict (k) do update set x = 7 returning k, x
----
1|7

insert into excluded values (1, 5) on conflict (k) do update set x = excluded.x + 1
----
ERROR 42P09 70: table reference "excluded" is ambiguous

insert into excluded as e values (1, 5) on conflict (k) do update set x = x + 1
----
ERROR 42702 75: column reference "x" is ambiguous

insert into excluded as e values (1, 5) on conflict (k) do update set x = 1 where k > 0
----
ERROR 42702 83: column reference "k" is ambiguous

insert into excluded as e values (1, 5) on conflict (k) do update set x = excluded.x + e.x where e.k > 0 returning k, x
----
1|12

# A query in parentheses is no list of columns.
create table u (a int primary key, b int default 5, c text)
----

insert into u (values (1, 1, 'a'))
----

insert into u ((select 2, 1, 'a'))
----

insert into u (with w as (select 3, 1, 'a') select * from w) returning a
----
3

insert into u as x (values (4, 1, 'a')) union (values (1, 1, 'a')) on conflict do nothing returning x.a
----
4

insert into u ((values (5, default, 'a'))) on conflict (a) do update set b = 0 returning *
----
5|5|a

insert into public.u as x ((select 6, 1, 'a') union (values (7, 1, 'b') order by 1 limit 1)) returning x.a
----
6
7

insert into u (with w as (select 8, 2) select * from w) union all (values (9, 3)) order by 1 on conflict do nothing returning a
----
8
9

insert into u values ((values (10)), 1, 'a'), ((11), 1, 'b') returning a
----
10
11

insert into u ((values (1, 1, 'a')))) on conflict do nothing
----
ERROR 42601 37: syntax error at or near ")"

insert into u (a, c) (values (12, 'x')) returning *
----
12|5|x

prepare q as insert into u (values ($1, $2, $3)) returning *
----

execute q (13, null, 'q')
----
13|NULL|q

create table d (a int default 1 primary key)
----

insert into d select on conflict do nothing
----

insert into d select on conflict do nothing returning a
----

insert into d select returning a
----
ERROR 23505 -: duplicate key value violates unique constraint "d_pkey"

# ours
insert into u values (1) on conflict (a) where a > 0 do nothing
----
ERROR 0A000 -: a condition on the target of ON CONFLICT is not supported

# ours
insert into u values (1) on conflict (a int4_ops) do nothing
----
ERROR 0A000 -: a collation or an operator class in the target of ON CONFLICT is not supported

# ours
insert into u values (1) on conflict (c collate "C") do nothing
----
ERROR 0A000 -: a collation or an operator class in the target of ON CONFLICT is not supported

insert into u values (1) on conflict (a,) do nothing
----
ERROR 42601 41: syntax error at or near ")"

insert into u values (1) on conflict (a) do nothing where
----
ERROR 42601 53: syntax error at or near "where"

select 'abc' like some (array['a%']), 'abc' not like some (array['a%']), 'abc' ilike some (array['A%']), 'a' like some (values ('a%'))
----
t|f|t|t

create table n (a numeric(99999999999999999999))
----
ERROR 22003 19: value "99999999999999999999" is out of range for type integer

create table n (a numeric(5, 99999999999999999999))
----
ERROR 22003 19: value "99999999999999999999" is out of range for type integer

create table n (a varchar(99999999999999999999))
----
ERROR 42601 27: syntax error at or near "99999999999999999999"

create sequence n start 99999999999999999999
----
ERROR 22003 -: value "99999999999999999999" is out of range for type bigint

create sequence n minvalue -99999999999999999999
----
ERROR 22003 -: value "-99999999999999999999" is out of range for type bigint

create sequence n start 'a'
----
ERROR 42601 25: syntax error at or near "'a'"

# ours
explain placement for shard 99999999999999999999
----
ERROR 42601 29: syntax error at or near "99999999999999999999"

select 'abc' like all (array['a%', '%c']), 'abc' not like all (array['a%']), 'abc' ilike all (values ('A%'), ('b'))
----
t|f|f

with w as (select 20 as a) insert into u (values ((select a from w), 1, 'w')) returning a
----
20
