# Forms of queries that the parser does not know by itself.

create table t (a int primary key, b int, c text)
----

insert into t values (1, 2, 'x'), (2, 3, 'y'), (3, null, 'z')
----

select a from t where a = 1 for no key update
----
1

select a from t where a = 1 for no key update of t nowait
----
1

table t
----
1|2|x
2|3|y
3|NULL|z

table t order by a desc limit 1
----
3|NULL|z

(table t) union all table t order by 1 limit 2
----
1|2|x
1|2|x

with x as (table t) table x limit 1
----
1|2|x

select count(*) from (table t) x
----
3

create table u (a int primary key, b int, c text)
----

insert into u table t; insert into u (a, b, c) table t
----
ERROR 23505 -: duplicate key value violates unique constraint "u_pkey"

select count(*) from u
----
0

insert into u table t; select count(*) from u; drop table u
----
3

explain table nothing
----
ERROR 42P01 15: relation "nothing" does not exist




select where false
----

select exists (select from t where a = 2), exists (select where false), (select count(*) from (select union all select) x)
----
t|f|2

# ours: without the right place
select 'a'   -- one
  -- two
  'b' 'c'
----
ERROR 42601 8: syntax error at or near "'c'"

select 'a'   -- one
  -- two
  'b'
  'c' as "d"
----
abc

# ours: without the right place
select 'a' 'b'
----
ERROR 42601 8: syntax error at or near "'b'"

select 1 as aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggggggggg order by aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg
----
1

create table "ÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄ" (a int)
----

select relname from pg_class where relname like 'ÄÄ%'
----
ÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄ

select row(1, 2) = row(1, 2), (1, 2) = row(1, 2), row(1, 2) < (1, 3), row(1) = row(1)
----
t|t|t|t

select a from t where (a, b) = (1, 2)
----
1

select a from t where (a, b) < (2, 3)
----
1

select a from t where (a, b) >= (2, 3) order by a
----
2
3

select a from t where (a, b) in ((1, 2), row(2, 3), (9, 9)) order by a
----
1
2

select a from t where row(a, b) not in ((1, 2)) order by a
----
2
3

select a from t where row(a, b) in (select a, b from t where a = 1)
----
1

select (1, 2) is null, (null, null) is null, (1, null) is not null, row(1, null) is null, (1, 2) is not null
----
f|t|f|f|t

select (1, null) = (1, 2), (1, null) = (2, 2), (1, 2) <> (1, null), (1, null) < (2, 1), (1, null) < (1, 1)
----
NULL|f|NULL|t|NULL

select (1, 2) is distinct from (1, null), (1, null) is distinct from (1, null), row(1, 2) is not distinct from row(1, 2)
----
t|f|t

select (a, b) between (1, 1) and (2, 3), (a, b) not between (1, 1) and (2, 2) from t order by a
----
t|f
t|t
f|t

select (1, 2) = (1, 2, 3)
----
ERROR 42601 15: unequal number of entries in row expressions

select (1, 2) = (1, 'x')
----
ERROR 22P02 21: invalid input syntax for type integer: "x"

select a, b from t group by (a, b) order by 1
----
1|2
2|3
3|NULL

update t set (b, c) = row(6, 'r') where a = 1 returning a, b, c
----
1|6|r

# ours
select row(1, 'a')
----
ERROR 0A000 8: a row value outside of a comparison is not supported
