# ours
CREATE TABLE small (id int PRIMARY KEY, name text)
----

# ours
CREATE TABLE big (id int PRIMARY KEY, small_id int, n int)
----

# ours
CREATE INDEX big_small ON big (small_id)
----

# ours
INSERT INTO small SELECT g, g::text FROM generate_series(1, 100) g
----

# ours
INSERT INTO big SELECT g, g % 100, g FROM generate_series(1, 2000) g
----

# ours
EXPLAIN SELECT s.name, b.n FROM small s JOIN big b ON b.small_id = s.id WHERE s.id = 7
----
Hash Join
  Hash Cond: id = small_id
  ->  Key Lookup on small
        Key: id = 7
  ->  Index Scan using big_small on big
        Key: small_id = 7
        Keys from Join: small_id

# ours
EXPLAIN SELECT s.name, b.n FROM big b JOIN small s ON b.small_id = s.id WHERE b.id = 7
----
Hash Join
  Hash Cond: small_id = id
  ->  Key Lookup on big
        Key: id = 7
  ->  Full Scan on small
        Keys from Join: id

# ours
EXPLAIN SELECT s.name, b.n FROM big b JOIN small s ON b.small_id = s.id WHERE s.id IN (1, 2) ORDER BY b.id
----
Hash Join
  Hash Cond: id = small_id
  ->  Key Lookup on small
        Key: id = any of 2 values
        Spans: 2
  ->  Sort: id
        ->  Filter: keys of a join
              ->  Index Scan using big_small on big
                    Key: small_id = any of 2 values
                    Spans: 2
                    Keys from Join: small_id

# ours
EXPLAIN SELECT * FROM small s LEFT JOIN big b ON b.id = s.id WHERE s.id < 3 ORDER BY s.id
----
Sort: id
  ->  Hash Left Join
        Hash Cond: id = id
        ->  Range Scan on small
              Key: id < 3
        ->  Range Scan on big
              Key: id < 3
              Keys from Join: id

# ours
SELECT s.name, b.n FROM small s JOIN big b ON b.small_id = s.id WHERE s.id = 7 AND b.n < 500 ORDER BY n
----
7|7
7|107
7|207
7|307
7|407

# ours
SELECT s.name, b.n FROM big b JOIN small s ON b.small_id = s.id WHERE b.id = 7
----
7|7

# ours
SELECT count(*), sum(n) FROM small s JOIN big b ON b.small_id = s.id
----
1980|1980000

# ours
SELECT s.id, b.n FROM small s LEFT JOIN big b ON b.id = s.id + 1999 WHERE s.id < 4 ORDER BY s.id
----
1|2000
2|NULL
3|NULL

# ours
SELECT b.id FROM big b JOIN small s ON b.small_id = s.id WHERE s.id IN (1, 2) ORDER BY b.id LIMIT 3
----
1
2
101

# ours
SELECT count(*) FROM big b WHERE EXISTS (SELECT 1 FROM small s WHERE s.id = b.small_id AND s.id > 98)
----
20

# ours
SELECT count(*) FROM small s WHERE NOT EXISTS (SELECT 1 FROM big b WHERE b.small_id = s.id)
----
1

# NULLs of an index stand behind its values, before them where it descends.
CREATE TABLE due (id int PRIMARY KEY, state text, at int, since int)
----

INSERT INTO due VALUES (1, 'new', 5, 1), (2, 'new', NULL, 2), (3, 'new', 3, NULL), (4, 'old', NULL, NULL), (5, NULL, 1, 1), (6, NULL, NULL, 6)
----

CREATE INDEX due_at ON due (state, at)
----

CREATE INDEX due_since ON due (since DESC, at)
----

SELECT id FROM due WHERE state = 'new' ORDER BY at LIMIT 3
----
3
1
2

SELECT id FROM due WHERE state = 'new' ORDER BY at DESC LIMIT 2
----
2
1

SELECT id FROM due WHERE state IS NULL ORDER BY at NULLS FIRST
----
6
5

SELECT id FROM due WHERE state = 'new' AND at > 3 ORDER BY at
----
1

SELECT id FROM due WHERE state = 'new' AND at < 4 ORDER BY at
----
3

SELECT id FROM due WHERE state = 'new' AND at IS NULL
----
2

SELECT state, at, id FROM due ORDER BY state, at, id
----
new|3|3
new|5|1
new|NULL|2
old|NULL|4
NULL|1|5
NULL|NULL|6

SELECT since, at FROM due WHERE since > 1 ORDER BY since DESC, at
----
6|NULL
2|NULL

SELECT since, at FROM due WHERE since < 6 ORDER BY since DESC, at
----
2|NULL
1|1
1|5

SELECT since, at FROM due ORDER BY since DESC, at LIMIT 3
----
NULL|3
NULL|NULL
6|NULL

SELECT since, at FROM due ORDER BY since, at DESC
----
1|5
1|1
2|NULL
6|NULL
NULL|NULL
NULL|3

SELECT min(at), max(at), min(since), max(since) FROM due
----
1|5|1|6

# An order that an index has, without a condition.
SELECT * FROM due ORDER BY state, at LIMIT 3
----
3|new|3|NULL
1|new|5|1
2|new|NULL|2

SELECT id FROM due ORDER BY state DESC, at DESC, id DESC
----
6
5
4
2
1
3

SELECT * FROM due ORDER BY since DESC, at LIMIT 2 OFFSET 1
----
4|old|NULL|NULL
6|NULL|NULL|6

SELECT since, at FROM due WHERE at IS DISTINCT FROM 5 ORDER BY since DESC, at LIMIT 3
----
NULL|3
NULL|NULL
6|NULL

SELECT a.id, b.id FROM (SELECT * FROM due ORDER BY since DESC, at LIMIT 2) a JOIN due b ON a.since IS NOT DISTINCT FROM b.since ORDER BY 1, 2
----
3|3
3|4
4|3
4|4

INSERT INTO due SELECT g, 'x' || g % 7, g % 11, nullif(g % 5, 0) FROM generate_series(10, 400) g
----

SELECT id FROM due WHERE id > 9 ORDER BY state, at, id LIMIT 5
----
77
154
231
308
385

SELECT state, at, id FROM due ORDER BY state DESC, at DESC, id DESC LIMIT 4
----
NULL|NULL|6
NULL|1|5
x6|10|384
x6|10|307

SELECT since, at FROM due ORDER BY since, at DESC LIMIT 2
----
1|10
1|10
