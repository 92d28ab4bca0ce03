# what is read: ours, not PostgreSQL's

# ours
CREATE TABLE k (a int, b int, c text, d int, PRIMARY KEY (a, b))
----

# ours
CREATE INDEX k_c ON k (c, d DESC)
----

# ours
INSERT INTO k SELECT g / 10, g % 10, 'c' || (g % 7)::text, g FROM generate_series(0, 99) g
----

# ours
EXPLAIN SELECT * FROM k WHERE a = 3 AND b = 4
----
Key Lookup on k
  Key: a = 3 AND b = 4

# ours
EXPLAIN SELECT d FROM k WHERE a = 3 AND b > 4 AND d > 0
----
Range Scan on k
  Key: a = 3 AND b > 4
  Filter: d > 0

# ours
EXPLAIN SELECT d FROM k WHERE a IN (1, 2, 5) AND b = 4
----
Key Lookup on k
  Key: a = any of 3 values AND b = 4
  Spans: 3

# ours
EXPLAIN SELECT * FROM k ORDER BY a, b LIMIT 5
----
Full Scan on k
  Limit: 5

# ours
EXPLAIN SELECT * FROM k ORDER BY a DESC, b DESC LIMIT 5
----
Full Scan Backward on k
  Limit: 5

# ours
EXPLAIN SELECT * FROM k WHERE a = 3 ORDER BY b
----
Range Scan on k
  Key: a = 3

# ours
EXPLAIN SELECT a, b FROM k WHERE c = 'c1'
----
Index Only Scan using k_c on k
  Key: c = 'c1'

# ours
EXPLAIN SELECT c, d FROM k WHERE c = 'c1' AND d < 50
----
Index Only Scan using k_c on k
  Key: c = 'c1' AND d < 50

# ours
EXPLAIN SELECT * FROM k WHERE c = 'c1'
----
Index Only Scan using k_c on k
  Key: c = 'c1'

# ours
EXPLAIN SELECT * FROM k WHERE a = NULL
----
No Scan on k
  Key: nothing

# ours
EXPLAIN SELECT * FROM k WHERE d = 5
----
Full Scan on k
  Filter: d = 5

# ours
SELECT d FROM k WHERE a = 3 AND b > 6
----
37
38
39

# ours
SELECT d FROM k WHERE a IN (9, 1, 5) AND b = 4
----
14
54
94

# ours
SELECT d FROM k WHERE c = 'c1' AND d < 30 ORDER BY d DESC
----
29
22
15
8
1

# ours
SELECT a, b FROM k ORDER BY a DESC, b DESC LIMIT 3
----
9|9
9|8
9|7

# ours
SELECT d FROM k WHERE a > 8 OR a = 0 AND b < 2 ORDER BY d
----
0
1
90
91
92
93
94
95
96
97
98
99

# ours
-- params 3, 4
SELECT d FROM k WHERE a = $1 AND b = $2
----
34

# ours
-- params 2
SELECT a, b FROM k ORDER BY a, b LIMIT $1
----
0|0
0|1

# ours
-- params -2
SELECT a FROM k LIMIT $1
----
ERROR 2201W -: LIMIT must not be negative

# ours
-- params 5, x
SELECT $1 + 1, $2
----
6|x

# ours
SELECT $1
----
ERROR 08P01 -: 0 parameters were given, but the statement has 1
