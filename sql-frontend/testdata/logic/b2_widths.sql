# Integers compared across their types: answers as PostgreSQL's, by the index.

CREATE TABLE w (s int2, i int4, b int8, v int, PRIMARY KEY (i))
----

CREATE INDEX w_s ON w (s, b)
----

INSERT INTO w VALUES (1, 1, 1, 10), (-5, -5, -5, 20), (32767, 2147483647, 9223372036854775807, 30), (-32768, -2147483648, -9223372036854775808, 40), (NULL, 7, NULL, 50)
----

SELECT v FROM w WHERE i = 7::int8
----
50

SELECT v FROM w WHERE i = 3000000000
----

SELECT v FROM w WHERE i = -3000000000 OR i = 7::int8
----
50

# sorted
SELECT v FROM w WHERE i <> 3000000000
----
10
20
30
40
50

# sorted
SELECT v FROM w WHERE NOT (i = 3000000000)
----
10
20
30
40
50

# sorted
SELECT v FROM w WHERE i < 3000000000
----
10
20
30
40
50

# sorted
SELECT v FROM w WHERE i > 3000000000
----

# sorted
SELECT v FROM w WHERE i > -3000000000 AND i <= 1::int8
----
10
20
40

# sorted
SELECT v FROM w WHERE i IN (7::int8, 3000000000, -5)
----
20
50

# sorted
SELECT v FROM w WHERE i NOT IN (7::int8, 3000000000)
----
10
20
30
40

# sorted
SELECT v FROM w WHERE i BETWEEN -5::int8 AND 3000000000
----
10
20
30
50

# sorted
SELECT v FROM w WHERE s = 1 OR s = 40000
----
10

# sorted
SELECT v FROM w WHERE s < 40000
----
10
20
30
40

# sorted
SELECT v FROM w WHERE s >= -40000
----
10
20
30
40

SELECT v FROM w WHERE s = 40000 IS NULL
----
50

SELECT v FROM w WHERE s = 32767::int8 AND b = 9223372036854775807
----
30

SELECT v FROM w WHERE b = 1::int2 AND s = 1::int8
----
10

SELECT v FROM w WHERE NULL::int8 = i
----

# sorted
SELECT a.v, c.v FROM w a JOIN w c ON a.i = c.b
----
10|10
20|20

# sorted
SELECT a.v FROM w a WHERE EXISTS (SELECT 1 FROM w c WHERE c.s = a.b)
----
10
20

UPDATE w SET v = v + 1 WHERE i = 7::int8 RETURNING v
----
51

DELETE FROM w WHERE 7::int8 = i RETURNING v
----
51

DELETE FROM w WHERE i = 3000000000 RETURNING v
----

# ours
EXPLAIN SELECT v FROM w WHERE i = 5::int8
----
Key Lookup on w
  Key: i = 5

# ours
-- params 5
EXPLAIN SELECT v FROM w WHERE i = $1::int8
----
Key Lookup on w
  Key: i = 5

# ours
EXPLAIN SELECT v FROM w WHERE i = 3000000000
----
No Scan on w
  Key: i = no value

# ours
EXPLAIN SELECT v FROM w WHERE i >= 5::int8 AND i < 3000000000
----
Range Scan on w
  Key: i >= 5
  Filter: i < 3000000000

# ours
EXPLAIN SELECT v FROM w WHERE s = 5 AND b > 6
----
Index Scan using w_s on w
  Key: s = 5 AND b > 6

# ours
EXPLAIN SELECT v FROM w WHERE s IN (1, 2, 70000)
----
Index Scan using w_s on w
  Key: s = any of 2 values
  Spans: 2

# ours
EXPLAIN SELECT a.v, c.v FROM w a JOIN w c ON c.i = a.b WHERE a.i = 1
----
Hash Join
  Hash Cond: b = i
  ->  Key Lookup on w
        Key: i = 1
  ->  Project: i, v, i
        ->  Full Scan on w
              Keys from Join: i
