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
