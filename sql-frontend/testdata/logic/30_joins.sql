CREATE TABLE a (id int PRIMARY KEY, x text, k int)
----

CREATE TABLE b (id int PRIMARY KEY, y text, k bigint)
----

CREATE TABLE c (k int, z text)
----

INSERT INTO a VALUES (1, 'a1', 10), (2, 'a2', 20), (3, 'a3', NULL)
----

INSERT INTO b VALUES (1, 'b1', 10), (2, 'b2', 10), (4, 'b4', NULL)
----

INSERT INTO c VALUES (10, 'c10'), (10, 'c10b'), (NULL, 'cn')
----

SELECT a.id, b.id FROM a JOIN b ON a.k = b.k ORDER BY 1, 2
----
1|1
1|2

SELECT a.id, b.id FROM a LEFT JOIN b ON a.k = b.k ORDER BY 1, 2
----
1|1
1|2
2|NULL
3|NULL

SELECT a.id, b.id FROM a RIGHT JOIN b ON a.k = b.k ORDER BY 1, 2
----
1|1
1|2
NULL|4

SELECT a.id, b.id FROM a FULL JOIN b ON a.k = b.k ORDER BY 1, 2
----
1|1
1|2
2|NULL
3|NULL
NULL|4

SELECT a.id, b.id FROM a CROSS JOIN b ORDER BY 1, 2
----
1|1
1|2
1|4
2|1
2|2
2|4
3|1
3|2
3|4

SELECT * FROM a JOIN b USING (id) ORDER BY id
----
1|a1|10|b1|10
2|a2|20|b2|10

SELECT id, a.id, b.id FROM a FULL JOIN b USING (id) ORDER BY id
----
ERROR 42702 62: ORDER BY "id" is ambiguous

SELECT * FROM a LEFT JOIN b USING (id, k) ORDER BY 1, 2
----
1|10|a1|b1
2|20|a2|NULL
3|NULL|a3|NULL

SELECT * FROM a NATURAL JOIN b
----
1|10|a1|b1

SELECT * FROM a NATURAL LEFT JOIN c ORDER BY a.id, z
----
10|1|a1|c10
10|1|a1|c10b
20|2|a2|NULL
NULL|3|a3|NULL

SELECT k FROM a JOIN b USING (id)
----
ERROR 42702 8: column reference "k" is ambiguous

SELECT k FROM a JOIN b USING (k) ORDER BY 1
----
10
10

SELECT a.k, b.k, k FROM a RIGHT JOIN b USING (k) ORDER BY b.id
----
10|10|10
10|10|10
NULL|NULL|NULL

SELECT * FROM a JOIN b USING (nope)
----
ERROR 42703 -: column "nope" specified in USING clause does not exist in left table

SELECT * FROM a JOIN b ON a.x
----
ERROR 42804 27: argument of JOIN/ON must be type boolean, not type text

SELECT * FROM a JOIN b ON c.k = 1, c
----
ERROR 42P01 27: missing FROM-clause entry for table "c"

SELECT a.id FROM a JOIN b ON a.id = b.id JOIN c ON c.k = b.k ORDER BY a.id
----
1
1
2
2

SELECT a.id, b.id FROM a LEFT JOIN b ON a.k = b.k AND b.id > 1 ORDER BY 1, 2
----
1|2
2|NULL
3|NULL

SELECT a.id, b.id FROM a LEFT JOIN b ON a.k = b.k WHERE b.id IS NULL ORDER BY 1
----
2|NULL
3|NULL

SELECT a.id, b.id FROM a LEFT JOIN b ON true ORDER BY 1, 2
----
1|1
1|2
1|4
2|1
2|2
2|4
3|1
3|2
3|4

SELECT a.id, s.n FROM a, LATERAL (SELECT count(*) AS n FROM b WHERE b.k = a.k) s ORDER BY 1
----
1|2
2|0
3|0

SELECT a.id, s.y FROM a LEFT JOIN LATERAL (SELECT y FROM b WHERE b.k = a.k ORDER BY b.id LIMIT 1) s ON true ORDER BY 1
----
1|b1
2|NULL
3|NULL

SELECT a.id, g FROM a, generate_series(1, a.id) AS g ORDER BY 1, 2
----
1|1
2|1
2|2
3|1
3|2
3|3

SELECT a.id FROM a, (SELECT * FROM b WHERE b.id = a.id) s
----
ERROR 42P01 51: invalid reference to FROM-clause entry for table "a"

SELECT g, h FROM generate_series(1, 3) g, generate_series(3, 1, -1) AS t (h) WHERE g < h ORDER BY 1, 2
----
1|2
1|3
2|3

SELECT count(*), sum(g) FROM generate_series(1, 5000) g
----
5000|12502500

SELECT * FROM generate_series(1, 10, 0)
----
ERROR 22023 -: step size cannot equal zero

SELECT * FROM generate_series(1.5, 3, 0.5)
----
1.5
2.0
2.5
3.0

SELECT * FROM generate_series(1, 3), generate_series(1, 2)
----
ERROR 42712 -: table name "generate_series" specified more than once

SELECT x FROM a JOIN (b JOIN c USING (k)) ON a.id = b.id ORDER BY 1
----
a1
a1
a2
a2
