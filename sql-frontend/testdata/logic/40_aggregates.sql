CREATE TABLE t (id int PRIMARY KEY, g text, n int, v numeric, f float8)
----

INSERT INTO t VALUES (1, 'a', 1, 1.0, 1.5), (2, 'a', 2, 1.00, 2.5), (3, 'b', NULL, 2.5, NULL), (4, 'b', 4, NULL, 0), (5, NULL, 5, 3, -0.0)
----

SELECT count(*), count(n), sum(n), avg(n), min(n), max(n) FROM t
----
5|4|12|3.0000000000000000|1|5

SELECT count(*), sum(n), avg(n), min(g), max(g) FROM t WHERE false
----
0|NULL|NULL|NULL|NULL

SELECT g, count(*), sum(n), sum(v), avg(f) FROM t GROUP BY g ORDER BY g
----
a|2|3|2.00|2
b|2|4|2.5|0
NULL|1|5|3|0

SELECT g AS h, count(*) FROM t GROUP BY h ORDER BY h NULLS FIRST
----
NULL|1
a|2
b|2

SELECT g, count(*) FROM t GROUP BY 1 ORDER BY 2 DESC, 1
----
a|2
b|2
NULL|1

SELECT n % 2 AS odd, count(*) FROM t GROUP BY n % 2 ORDER BY 1
----
0|2
1|2
NULL|1

SELECT n % 2 + 1, count(*) FROM t GROUP BY n % 2 ORDER BY 1
----
1|2
2|2
NULL|1

SELECT g, n FROM t GROUP BY g
----
ERROR 42803 11: column "t.n" must appear in the GROUP BY clause or be used in an aggregate function

SELECT t.g, sum(n) + n FROM t GROUP BY t.g
----
ERROR 42803 22: column "t.n" must appear in the GROUP BY clause or be used in an aggregate function

SELECT id, g, count(*) FROM t GROUP BY id ORDER BY id
----
1|a|1
2|a|1
3|b|1
4|b|1
5|NULL|1

SELECT count(*) FROM t GROUP BY v ORDER BY 1
----
1
1
1
2

SELECT count(*) FROM t GROUP BY f ORDER BY 1
----
1
1
1
2

SELECT count(DISTINCT g), count(DISTINCT n % 2), count(DISTINCT v) FROM t
----
2|2|3

SELECT sum(DISTINCT n % 3) FROM t
----
3

SELECT g, count(*) FILTER (WHERE n > 1), sum(n) FILTER (WHERE false) FROM t GROUP BY g ORDER BY g
----
a|1|NULL
b|1|NULL
NULL|1|NULL

SELECT g FROM t GROUP BY g HAVING count(*) > 1 ORDER BY g
----
a
b

SELECT count(*) FROM t HAVING count(*) > 10
----

SELECT 1 FROM t HAVING true
----
1

SELECT g FROM t HAVING true
----
ERROR 42803 8: column "t.g" must appear in the GROUP BY clause or be used in an aggregate function

SELECT sum(n) FROM t WHERE sum(n) > 1
----
ERROR 42803 28: aggregate functions are not allowed in WHERE

SELECT sum(sum(n)) FROM t
----
ERROR 42803 12: aggregate function calls cannot be nested

SELECT g FROM t GROUP BY sum(n)
----
ERROR 42803 26: aggregate functions are not allowed in GROUP BY

SELECT g, sum(n) FROM t GROUP BY g ORDER BY sum(n) DESC NULLS LAST
----
NULL|5
b|4
a|3

SELECT g FROM t GROUP BY g ORDER BY max(id)
----
a
b
NULL

SELECT g FROM t GROUP BY g ORDER BY id
----
ERROR 42803 37: column "t.id" must appear in the GROUP BY clause or be used in an aggregate function

SELECT string_agg(g, ',' ORDER BY id DESC) FROM t
----
b,b,a,a

SELECT bool_and(n > 0), bool_or(n > 4), every(n IS NULL) FROM t
----
t|t|f

SELECT sum(n) + 1 AS s, sum(n) * 2 FROM t
----
13|24

SELECT count(n, g) FROM t
----
ERROR 42883 8: function count(integer, text) does not exist

SELECT count() FROM t
----
ERROR 42809 8: count(*) must be used to call a parameterless aggregate function

SELECT sum('x') FROM t
----
ERROR 42725 8: function sum(unknown) is not unique

SELECT sum(g) FROM t
----
ERROR 42883 8: function sum(text) does not exist

SELECT abs(*) FROM t
----
ERROR 42883 8: function abs() does not exist

SELECT abs(DISTINCT n) FROM t
----
ERROR 42809 8: DISTINCT specified, but abs is not an aggregate function

SELECT DISTINCT g FROM t ORDER BY g
----
a
b
NULL

SELECT DISTINCT v FROM t ORDER BY v
----
1.0
2.5
3
NULL

SELECT DISTINCT g, n % 2 FROM t ORDER BY g, 2
----
a|0
a|1
b|0
b|NULL
NULL|1

SELECT DISTINCT g FROM t ORDER BY n
----
ERROR 42P10 35: for SELECT DISTINCT, ORDER BY expressions must appear in select list

SELECT DISTINCT ON (g) g, id FROM t ORDER BY g, id DESC
----
a|2
b|4
NULL|5

SELECT DISTINCT ON (g) g, id FROM t ORDER BY id
----
ERROR 42P10 21: SELECT DISTINCT ON expressions must match initial ORDER BY expressions

SELECT DISTINCT ON (g) id FROM t ORDER BY g, n DESC NULLS LAST
----
2
4
5

SELECT max(n) - min(n) FROM t GROUP BY g ORDER BY 1
----
0
0
1

SELECT (SELECT max(id) FROM t u WHERE u.g = t.g), count(*) FROM t GROUP BY g ORDER BY 1
----
2|2
4|2
NULL|1

SELECT (SELECT max(id) FROM t u WHERE u.n = t.n), count(*) FROM t GROUP BY g
----
ERROR 42803 45: subquery uses ungrouped column "t.n" from outer query

# ours
SELECT GROUPING(g) FROM t GROUP BY g
----
ERROR 0A000 8: GROUPING is not supported

SELECT sum(2147483647::int8 * 1000000000 * 3) FROM t
----
32212254705000000000

SELECT sum(9223372036854775807) FROM t
----
46116860184273879035

SELECT avg(v), stddev(n), variance(n) FROM t WHERE n IS NOT NULL
----
1.6666666666666667|1.8257418583505537|3.3333333333333333

SELECT n FROM t GROUP BY n, g HAVING n > 1 ORDER BY n
----
2
4
5

SELECT array_agg(DISTINCT x ORDER BY x DESC), array_agg(DISTINCT x ORDER BY x NULLS FIRST), string_agg(DISTINCT t, ',' ORDER BY t DESC), count(DISTINCT x ORDER BY x), sum(DISTINCT x ORDER BY x DESC), max(DISTINCT x ORDER BY x) FROM (VALUES (1, 'a'), (NULL, 'b'), (3, 'c'), (1, 'a'), (-2, NULL), (3, 'b')) v (x, t)
----
{NULL,3,1,-2}|{NULL,-2,1,3}|c,b,a|3|2|3

SELECT string_agg(DISTINCT t, d ORDER BY d DESC, t) FROM (VALUES ('a', '-'), ('b', '+'), ('ab', '-'), ('a', '+'), ('b', '+')) v (t, d)
----
a-ab+a+b

SELECT array_agg(DISTINCT x ORDER BY x * -1) FROM (VALUES (1), (2)) v (x)
----
ERROR 42P10 38: in an aggregate with DISTINCT, ORDER BY expressions must appear in argument list

SELECT g, array_agg(DISTINCT n ORDER BY n DESC NULLS LAST) FROM (VALUES (1, 1.50), (1, 1.5), (2, NULL), (1, 20), (1, -3)) v (g, n) GROUP BY g ORDER BY g
----
1|{20,1.50,-3}
2|{NULL}
