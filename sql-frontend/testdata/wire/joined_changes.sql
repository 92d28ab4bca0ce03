# A row that several rows of the source match is changed once, whatever the source is.
CREATE TABLE twice (id int PRIMARY KEY, v int UNIQUE)
----

INSERT INTO twice VALUES (1, 10), (2, 20), (3, 30), (4, 40)
----

# sorted
UPDATE twice a SET v = a.v + 1 FROM twice b WHERE a.id < b.id RETURNING a.id, a.v
----
1|11
2|21
3|31

SELECT count(*) FROM twice WHERE v > 0
----
4

# sorted
UPDATE twice SET v = v + 1 FROM (VALUES (1), (1), (4)) s (id) WHERE s.id = twice.id RETURNING twice.id, v
----
1|12
4|41

DELETE FROM twice USING generate_series(1, 3) WHERE id = 1 RETURNING id, v
----
1|12

# sorted
DELETE FROM twice a USING twice b WHERE a.id <> b.id RETURNING a.id
----
2
3
4

SELECT count(*) FROM twice
----
0

INSERT INTO twice VALUES (1, 21), (2, 12)
----

CREATE TABLE moved (id int PRIMARY KEY, v int)
----

INSERT INTO moved VALUES (1, 10), (2, 20), (3, 30)
----

UPDATE moved a SET id = a.id + 100 FROM moved b WHERE a.id < b.id
----

SELECT * FROM moved ORDER BY id
----
3|30
101|10
102|20
