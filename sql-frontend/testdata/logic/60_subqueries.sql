CREATE TABLE o (id int PRIMARY KEY, c int, amt int)
----

CREATE TABLE cu (id int PRIMARY KEY, name text)
----

INSERT INTO cu VALUES (1, 'ann'), (2, 'bob'), (3, 'cid')
----

INSERT INTO o VALUES (1, 1, 10), (2, 1, 20), (3, 2, 5), (4, NULL, 7)
----

SELECT (SELECT 1), (SELECT name FROM cu WHERE id = 2), (SELECT name FROM cu WHERE id = 9)
----
1|bob|NULL

SELECT (SELECT name FROM cu)
----
ERROR 21000 -: more than one row returned by a subquery used as an expression

SELECT (SELECT id, name FROM cu)
----
ERROR 42601 8: subquery must return only one column

SELECT name, (SELECT sum(amt) FROM o WHERE o.c = cu.id) FROM cu ORDER BY id
----
ann|30
bob|5
cid|NULL

SELECT name, (SELECT count(*) FROM o WHERE o.c = cu.id) FROM cu ORDER BY id
----
ann|2
bob|1
cid|0

SELECT name, (SELECT amt FROM o WHERE o.c = cu.id ORDER BY amt DESC LIMIT 1) FROM cu ORDER BY id
----
ann|20
bob|5
cid|NULL

SELECT name, (SELECT amt FROM o WHERE o.c = cu.id) FROM cu ORDER BY id
----
ERROR 21000 -: more than one row returned by a subquery used as an expression

SELECT name FROM cu WHERE EXISTS (SELECT 1 FROM o WHERE o.c = cu.id) ORDER BY 1
----
ann
bob

SELECT name FROM cu WHERE NOT EXISTS (SELECT * FROM o WHERE o.c = cu.id) ORDER BY 1
----
cid

SELECT name FROM cu WHERE NOT EXISTS (SELECT * FROM o WHERE o.c = cu.id AND o.amt > 15) AND id > 0 ORDER BY 1
----
bob
cid

SELECT name FROM cu WHERE EXISTS (SELECT 1 FROM o)
----
ann
bob
cid

SELECT name FROM cu WHERE id IN (SELECT c FROM o) ORDER BY 1
----
ann
bob

SELECT name FROM cu WHERE id NOT IN (SELECT c FROM o) ORDER BY 1
----

SELECT name FROM cu WHERE id NOT IN (SELECT c FROM o WHERE c IS NOT NULL) ORDER BY 1
----
cid

SELECT id, id IN (SELECT c FROM o) FROM cu ORDER BY id
----
1|t
2|t
3|NULL

SELECT id, c IN (SELECT id FROM cu) FROM o ORDER BY id
----
1|t
2|t
3|t
4|NULL

SELECT name FROM cu WHERE id = ANY (SELECT c FROM o) ORDER BY 1
----
ann
bob

SELECT id FROM o WHERE amt > ALL (SELECT amt FROM o i WHERE i.c = 2) ORDER BY 1
----
1
2
4

SELECT id FROM o WHERE amt >= ALL (SELECT amt FROM o) ORDER BY 1
----
2

SELECT id FROM o WHERE amt < ANY (SELECT amt FROM o WHERE c = 1) ORDER BY 1
----
1
3
4

SELECT id FROM o WHERE amt > ALL (SELECT amt FROM o WHERE false) ORDER BY 1
----
1
2
3
4

SELECT id FROM o x WHERE amt = (SELECT max(amt) FROM o y WHERE y.c = x.c) ORDER BY id
----
2
3

SELECT id FROM o WHERE (c, amt) IN (SELECT c, max(amt) FROM o GROUP BY c) ORDER BY id
----
2
3

SELECT id FROM o WHERE c IN (SELECT id, name FROM cu)
----
ERROR 42601 26: subquery has too many columns

SELECT id FROM cu WHERE name IN (SELECT c FROM o)
----
ERROR 42883 30: operator does not exist: text = integer

SELECT * FROM cu WHERE EXISTS (SELECT nope FROM o)
----
ERROR 42703 39: column "nope" does not exist

SELECT name FROM cu WHERE (SELECT count(*) FROM o WHERE c = cu.id AND amt IN (SELECT amt FROM o o2 WHERE o2.c = cu.id)) = 2
----
ann

SELECT s.name, n FROM (SELECT name, (SELECT count(*) FROM o WHERE c = cu.id) AS n FROM cu) s WHERE n > 0 ORDER BY n DESC
----
ann|2
bob|1

SELECT CASE WHEN EXISTS (SELECT 1 FROM o WHERE c = 2) THEN 'yes' ELSE 'no' END
----
yes

SELECT id FROM cu ORDER BY (SELECT count(*) FROM o WHERE c = cu.id) DESC, id
----
1
2
3

SELECT count(*) FROM cu WHERE id = (SELECT c FROM o WHERE id = 4)
----
0

SELECT name FROM cu WHERE id < (SELECT 1 / 0)
----
ERROR 22012 -: division by zero

# ours
SELECT (SELECT sum(cu.id)) FROM cu
----
ERROR 0A000 16: an aggregate of an outer query's columns inside a subquery is not supported

SELECT o.c, sum(amt) FROM o GROUP BY o.c HAVING sum(amt) > (SELECT avg(amt) FROM o) ORDER BY 1
----
1|30

SELECT a.id FROM cu a WHERE a.id = (SELECT max(b.id) FROM cu b WHERE b.id <= a.id AND EXISTS (SELECT 1 FROM o WHERE o.c = a.id AND o.c = b.id)) ORDER BY 1
----
1
2

create table fb (id int primary key, g bool, c int)
----

insert into fb values (1, true, 1), (2, false, 1), (3, null, 2), (4, true, 2)
----

select (select max(id) from fb) k, count(*) from fb x group by 1
----
4|4

select exists (select 1 from fb s where s.g), count(*) from fb x group by 1
----
t|4

select (select max(s.id) from fb s where s.c = x.c) k, count(*) from fb x group by 1 order by 1
----
2|2
4|2

select x.id in (select s.id from fb s where s.g) k, count(*) from fb x group by 1 order by 1
----
f|2
t|2

select x.id in (select s.id from fb s where s.g), count(*) from fb x group by x.id in (select s.id from fb s where s.g) order by 1
----
f|2
t|2

select x.id not in (select s.id from fb s where s.g) k, min(id) from fb x group by k order by k
----
f|1
t|2

select (select max(s.id) from fb s where s.c = x.c) + 1 k, count(*) from fb x group by (select max(s.id) from fb s where s.c = x.c) + 1 order by 1
----
3|2
5|2

select exists (select 1 from fb s where s.c = x.id) k, count(*) from fb x group by 1 having count(*) > 1 order by 1
----
f|2
t|2

select case when exists (select 1 from fb s where s.c = x.id) then 'some' else 'none' end k, sum(id) from fb x group by 1 order by 1
----
none|7
some|3

select x.c, x.id = any (select s.c from fb s) k, count(*) from fb x group by 1, 2 order by 1, 2
----
1|t|2
2|f|2

select (select max(s.id) from fb s where s.c = x.c), x.id, count(*) from fb x group by x.c
----
ERROR 42803 54: column "x.id" must appear in the GROUP BY clause or be used in an aggregate function

select 1 from fb x group by (select max(s.id) from fb s where s.c = x.c) order by (select max(s.id) from fb s)
----
1
1

# Lists in parentheses that begin as queries do.
select 1 in ((select 1), 2), 3 in ((select 1), 2), 3 not in ((select 1), 2), null in ((select 1), 2)
----
t|f|t|NULL

select 1 in ((select 1)), 1 in (((select 1))), 1 in ((select 1) + 0), 1 in ((select 1) union (select 2)), 2 in ((values (1), (2)))
----
t|t|t|t|t

select 2 in ((select generate_series(1, 2))), 1 in ((select 2) limit 1), (1, 2) in (((select 1), 2)), 1 in ((1), (select 2))
----
t|f|t|t

select 1 in ((select 1 from (values (1), (2)) v(a)), 2)
----
ERROR 21000 -: more than one row returned by a subquery used as an expression

select ((select 1) union (select 1)), ((select 1)), (((select 1))), ((select 1) + 1), ((values (3)))
----
1|1|1|2|3

# VALUES as queries.
select (values (1)), (values (1)) + 1, (values ('a')), (values (null::int))
----
1|2|a|NULL

select (values (1), (2))
----
ERROR 21000 -: more than one row returned by a subquery used as an expression

select 1 = any (values (1), (2)), 3 = any (values (1), (2)), 3 <> all (values (1), (2)), 1 < some (values (1), (null))
----
t|f|t|NULL

select 1 = any ((values (1), (2))), 'a' like any (values ('a%')), 'b' ~ any (values ('a'), ('b'))
----
t|t|t

select exists (values (1)), not exists (values (1)), 1 in (values (1), (2)), 3 not in (values (1), (2)), array(values (1), (2))
----
t|f|t|t|{1,2}

select 'a' not ilike any (select 'A%'), 'a' ilike any (select 'A%' union select null), 'a' like any (select null)
----
f|t|NULL

select 1 like any (select 2)
----
ERROR 42883 10: operator does not exist: integer ~~ integer

select (values) from (select 1 as values) v where (values) = 1 and (values) in (1, 2)
----
1

# Arguments of functions in FROM.
create table fa (a int primary key, b int)
----

insert into fa values (1, 2), (2, 3), (3, 1)
----

select * from unnest(array(select a from fa order by a desc))
----
3
2
1

select * from unnest(array(select a from fa order by a), array(select b from fa where a < 3 order by a)) with ordinality as u(x, y, n)
----
1|2|1
2|3|2
3|NULL|3

select * from generate_series(1, (select max(a) from fa)) g
----
1
2
3

select * from generate_series((select min(a) from fa), (select max(a) from fa) + 1, (select 2)) g
----
1
3

select * from upper((select 'a'))
----
A

select * from upper((select 'a' || max(a) from fa)) u, lower((select 'B')) l
----
A3|b

# sorted
select fa.a, g from fa, generate_series(1, (select count(*) from fa x where x.a <= fa.a)) g
----
1|1
2|1
2|2
3|1
3|2
3|3

# sorted
select fa.a, u from fa, unnest(array(select x.a from fa x where x.b < fa.b)) u
----
1|3
2|1
2|3

# sorted
select fa.a, u from fa left join lateral unnest(array(select x.a from fa x where x.b < fa.b)) u on true
----
1|3
2|1
2|3
3|NULL

select fa.a, u from fa, lateral upper((select 'x' || x.b from fa x where x.a = fa.a)) u order by 1
----
1|X2
2|X3
3|X1

select a, (select sum(g) from generate_series(1, (select x.b from fa x where x.a = fa.a)) g) from fa order by a
----
1|3
2|6
3|1

select * from generate_series(1, (select a from fa)) g
----
ERROR 21000 -: more than one row returned by a subquery used as an expression

select * from unnest(array(select nope from fa))
----
ERROR 42703 35: column "nope" does not exist

select * from fa where a in (select * from generate_series(1, (select 2))) order by a
----
1|2
2|3

# Limits that subqueries say.
select a from fa order by a limit (select 2)
----
1
2

select a from fa order by a offset (select 1) limit (select count(*) - 2 from fa)
----
2

select a from fa order by a limit (select null::int) offset (select null::bigint)
----
1
2
3

select a from fa order by a desc limit (select 1) + 1
----
3
2

select a from fa order by a limit (select -1)
----
ERROR 2201W -: LIMIT must not be negative

select a from fa order by a offset (select -1)
----
ERROR 2201X -: OFFSET must not be negative

select a from fa order by a limit (select a from fa)
----
ERROR 21000 -: more than one row returned by a subquery used as an expression

select a from fa order by a limit (select 'x'::text)
----
ERROR 42804 35: argument of LIMIT must be type bigint, not type text

select a from fa order by a limit (select a from fa where false)
----
1
2
3

select a, (select x.a from fa x order by x.a desc limit 1 offset (select fa.a - 1)) from fa order by a
----
ERROR 42702 102: ORDER BY "a" is ambiguous

select fa.a, l.a from fa, lateral (select x.a from fa x order by x.a limit (select fa.a)) l order by 1, 2
----
1|1
2|1
2|2
3|1
3|2
3|3

select a from fa union all select b from fa order by 1 limit (select 4)
----
1
1
2
2

values (1), (2), (3) limit (select 1)
----
1

select count(*) from (select a from fa limit (select 2)) x
----
2

select a from fa where a in (select x.a from fa x order by x.a limit (select 1))
----
1

select a from fa order by a limit (select 1.5)
----
1
2

# Twice.
select a from fa order by a limit (select 1) offset (select a from fa where b = 2)
----
2

# ours
select a from fa order by a limit (select 1) for update
----
ERROR 0A000 -: a subquery in LIMIT or OFFSET of a query that locks rows is not supported

select a from fa order by a limit 'x'::text
----
ERROR 42804 35: argument of LIMIT must be type bigint, not type text

# Conditions of lateral joins.
# sorted
select fa.a, l.a, l.b from fa left join lateral (select x.a, x.b from fa x where x.a <= fa.a) l on l.b > fa.b
----
1|NULL|NULL
2|NULL|NULL
3|1|2
3|2|3

# sorted
select fa.a, l.a from fa left join lateral (select x.a from fa x where x.a <= fa.a) l on l.a = fa.a and fa.b > 1
----
1|1
2|2
3|NULL

# sorted
select fa.a, l.* from fa left join lateral (select fa.a + x.b as s from fa x) l on s > 5
----
1|NULL
2|NULL
3|6

# sorted
select fa.a, g from fa left join generate_series(2, 4) g on g = fa.a
----
1|NULL
2|2
3|3

# sorted
select fa.a, g from fa right join generate_series(2, 4) g on g = fa.a
----
2|2
3|3
NULL|4

# sorted
select fa.a, g from fa full join generate_series(2, 4) g on g = fa.a
----
1|NULL
2|2
3|3
NULL|4

# sorted
select a, g.a from fa join generate_series(2, 4) g(a) using (a)
----
2|2
3|3

# sorted
select fa.a, g from fa left join generate_series(1, fa.a) g on g > 1
----
1|NULL
2|2
3|2
3|3

# sorted
select fa.a, g, h from fa left join lateral generate_series(1, fa.a) g on g > 1 left join lateral generate_series(1, g) h on h = fa.b
----
1|NULL|NULL
2|2|NULL
3|2|1
3|3|1

# ours
select fa.a from fa right join lateral (select fa.a) l on true
----
ERROR 42P10 41: The combining JOIN type must be INNER or LEFT for a LATERAL reference.

select fa.a from fa left join lateral (select fa.a) l on a = 1
----
ERROR 42702 58: column reference "a" is ambiguous

# ours
select x.a from fa x, fa y left join lateral (select y.a) l on x.a = 1
----
ERROR 42P01 64: missing FROM-clause entry for table "x"

# sorted
select x.a, l.a from fa x, fa y left join lateral (select x.a) l on y.a = l.a
----
1|1
1|NULL
1|NULL
2|2
2|NULL
2|NULL
3|3
3|NULL
3|NULL

# ours
select fa.a from fa left join lateral (select fa.a as s) l on s in (select 1)
----
ERROR 0A000 40: a subquery in the condition of an outer join is not supported

select fa.a, count(l.a) from fa left join lateral (select x.a from fa x where x.a < fa.a) l on l.a <> fa.b group by fa.a order by 1
----
1|0
2|1
3|1
