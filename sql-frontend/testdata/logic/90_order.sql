CREATE TABLE s (id int PRIMARY KEY, a int, b text)
----

INSERT INTO s VALUES (1, 3, 'x'), (2, NULL, 'y'), (3, 1, NULL), (4, 3, 'A')
----

SELECT id, a FROM s ORDER BY a, id
----
3|1
1|3
4|3
2|NULL

SELECT id, a FROM s ORDER BY a DESC, id DESC
----
2|NULL
4|3
1|3
3|1

SELECT id, a FROM s ORDER BY a NULLS FIRST, id
----
2|NULL
3|1
1|3
4|3

SELECT id, a FROM s ORDER BY a DESC NULLS LAST, id
----
1|3
4|3
3|1
2|NULL

SELECT id, b FROM s ORDER BY b
----
4|A
1|x
2|y
3|NULL

SELECT id AS a FROM s ORDER BY a
----
1
2
3
4

SELECT id FROM s ORDER BY a + id, id
----
1
3
4
2

SELECT id AS k, a FROM s ORDER BY k + 1
----
ERROR 42703 35: column "k" does not exist

SELECT id FROM s ORDER BY 2
----
ERROR 42P10 27: ORDER BY position 2 is not in select list

SELECT id FROM s ORDER BY 0
----
ERROR 42P10 27: ORDER BY position 0 is not in select list

SELECT id FROM s ORDER BY 'x'
----
ERROR 42601 27: non-integer constant in ORDER BY

SELECT id, -a AS a FROM s ORDER BY a, id
----
1|-3
4|-3
3|-1
2|NULL

SELECT id x, a x FROM s ORDER BY x
----
ERROR 42702 34: ORDER BY "x" is ambiguous

SELECT id FROM s ORDER BY id LIMIT 2
----
1
2

SELECT id FROM s ORDER BY id LIMIT 2 OFFSET 1
----
2
3

SELECT id FROM s ORDER BY id OFFSET 3
----
4

SELECT id FROM s ORDER BY id FETCH FIRST 2 ROWS ONLY
----
1
2

SELECT id FROM s ORDER BY id FETCH FIRST ROW ONLY
----
1

SELECT id FROM s ORDER BY id LIMIT 1 + 1
----
1
2

SELECT id FROM s ORDER BY id LIMIT NULL
----
1
2
3
4

SELECT id FROM s ORDER BY id LIMIT ALL
----
1
2
3
4

SELECT id FROM s LIMIT 0
----

SELECT id FROM s LIMIT -1
----
ERROR 2201W -: LIMIT must not be negative

SELECT id FROM s OFFSET -1
----
ERROR 2201X -: OFFSET must not be negative

SELECT id FROM s LIMIT 'x'
----
ERROR 22P02 24: invalid input syntax for type bigint: "x"

SELECT id FROM s LIMIT '2'
----
1
2

SELECT id FROM s ORDER BY id DESC LIMIT 2
----
4
3

SELECT id FROM s WHERE a <> 0 AND 6 / a > 1 ORDER BY id
----
1
3
4

SELECT id FROM s WHERE id > 1 AND 1 / (id - 1) >= 0 ORDER BY id
----
2
3
4

SELECT id FROM s WHERE id = 1 OR 1 / (id - 1) = 1 ORDER BY id
----
1
2

SELECT CASE WHEN id > 1 THEN 1 / (id - 1) END FROM s ORDER BY id
----
NULL
1
0
0

SELECT id FROM s WHERE a
----
ERROR 42804 24: argument of WHERE must be type boolean, not type integer

SELECT id FROM s WHERE a = 3 AND b = 'x'
----
1

SELECT id FROM s WHERE a = 3 AND id
----
ERROR 42804 34: argument of AND must be type boolean, not type integer
