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

create table w (a int primary key, b int)
----

insert into w values (1, 10), (2, 20), (3, 30), (4, 40)
----

with x as (select max(a) m from w) update w set b = b + m from x where a = m returning a, b
----
4|44

with x as (select 1 a union all select 2), y (k) as (select a from x where a > 1) update w set b = 0 where a in (select k from y) returning *
----
2|0

with x as (select 1 as one) delete from w using x where a = one returning w.*
----
1|10

with x as (values (7, 70), (8, 80)) insert into w select * from x where column1 > 7 returning a, b
----
8|80

with x as (select 5) insert into w (a) values ((select * from x)) returning a, b
----
5|NULL

with x as (select 5 a) insert into w with x as (select 6 a) select a, a from x returning a
----
6

with recursive r (n) as (select 100 union all select n + 1 from r where n < 102) insert into w select n, n from r returning a
----
100
101
102

with x as (select 1) update w set b = nosuch where a = 4
----
ERROR 42703 39: column "nosuch" does not exist

with x as (select 3) delete from w where a = (table x)
----

select * from w order by a
----
2|0
4|44
5|NULL
6|6
8|80
100|100
101|101
102|102

# ours
with x as (delete from w returning a) select * from x
----
ERROR 0A000 -: a data-modifying statement inside a query is not supported

select a from w order by a for update limit 1
----
2

select a from w order by a for update skip locked limit 1 offset 1
----
4

select a from w order by a for no key update of w nowait offset 1 fetch first 2 rows only
----
4
5

select x.* from (select a from w order by a for update limit 1) x
----
2

select a from w union select a from w for update
----
ERROR 0A000 -: FOR UPDATE is not allowed with UNION/INTERSECT/EXCEPT

begin read only
----

with x as (select 1) update w set b = 1
----
ERROR 25006 -: cannot execute UPDATE in a read-only transaction

rollback
----
