CREATE TABLE tree (id int PRIMARY KEY, parent int, name text)
----

INSERT INTO tree VALUES (1, NULL, 'root'), (2, 1, 'a'), (3, 1, 'b'), (4, 2, 'aa')
----

WITH x AS (SELECT id, name FROM tree WHERE parent = 1) SELECT * FROM x ORDER BY id
----
2|a
3|b

WITH x (i, n) AS (SELECT id, name FROM tree) SELECT a.n, b.n FROM x a JOIN x b ON a.i < b.i ORDER BY 1, 2
----
a|aa
a|b
b|aa
root|a
root|aa
root|b

WITH x AS (SELECT 1 AS a), y AS (SELECT a + 1 AS b FROM x) SELECT * FROM x, y
----
1|2

WITH RECURSIVE c AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM c WHERE n < 5) SELECT * FROM c ORDER BY n
----
1
2
3
4
5

WITH RECURSIVE d (id, depth, path) AS (SELECT id, 0, name FROM tree WHERE parent IS NULL UNION ALL SELECT t.id, d.depth + 1, d.path || '/' || t.name FROM tree t JOIN d ON t.parent = d.id) SELECT * FROM d ORDER BY path
----
1|0|root
2|1|root/a
4|2|root/a/aa
3|1|root/b

WITH RECURSIVE u AS (SELECT 1 AS n UNION SELECT (n % 3) + 1 FROM u) SELECT * FROM u ORDER BY n
----
1
2
3

WITH RECURSIVE f (a, b) AS (VALUES (0, 1) UNION ALL SELECT b, a + b FROM f WHERE b < 50) SELECT a FROM f ORDER BY a
----
0
1
1
2
3
5
8
13
21
34

WITH RECURSIVE z AS (SELECT 1 AS n UNION ALL SELECT n + 1.5 FROM z WHERE n < 5) SELECT * FROM z
----
ERROR 42804 29: recursive query "z" column 1 has type integer in non-recursive term but type numeric overall

WITH x AS (SELECT 1) SELECT * FROM nope
----
ERROR 42P01 36: relation "nope" does not exist

WITH x AS (SELECT 1), x AS (SELECT 2) SELECT * FROM x
----
ERROR 42712 23: WITH query name "x" specified more than once

WITH x (a, b) AS (SELECT 1) SELECT * FROM x
----
ERROR 42P10 6: WITH query "x" has 1 columns available but 2 columns specified

WITH tree AS (SELECT 42 AS id) SELECT * FROM tree
----
42

SELECT * FROM (WITH q AS (SELECT 7 AS v) SELECT v FROM q) s
----
7

WITH a AS (SELECT 1 AS v) SELECT (WITH b AS (SELECT v + 1 AS w FROM a) SELECT w FROM b)
----
2

WITH RECURSIVE c AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM c) SELECT n FROM c LIMIT 3
----
1
2
3

SELECT t.name, (WITH k AS (SELECT count(*) AS n FROM tree c WHERE c.parent = t.id) SELECT n FROM k) FROM tree t ORDER BY t.id
----
root|2
a|1
b|0
aa|0
