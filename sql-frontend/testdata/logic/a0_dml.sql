CREATE TABLE acc (id int PRIMARY KEY, owner text NOT NULL, bal numeric(8,2) DEFAULT 0, note varchar(5) UNIQUE, at date DEFAULT '2020-01-01')
----

INSERT INTO acc VALUES (1, 'ann', 10, 'n1'), (2, 'bob', DEFAULT, 'n2', NULL)
----
ERROR 42601 47: VALUES lists must all be the same length

SELECT * FROM acc ORDER BY id
----

INSERT INTO acc (owner, id) VALUES ('cid', 3) RETURNING *
----
3|cid|0.00|NULL|2020-01-01

INSERT INTO acc (id, owner) SELECT id + 10, upper(owner) FROM acc WHERE id < 3 ORDER BY id RETURNING id, owner, bal + 1 AS b
----

INSERT INTO acc (id, owner) VALUES ('7', 5)
----

INSERT INTO acc (id, owner, bal) VALUES (8, 'x', '12.345') RETURNING bal
----
12.35

INSERT INTO acc (id) VALUES (20)
----
ERROR 23502 -: null value in column "owner" of relation "acc" violates not-null constraint

INSERT INTO acc (id, owner) VALUES (1, 'dup')
----

INSERT INTO acc (id, owner, note) VALUES (30, 'x', 'n1')
----

INSERT INTO acc (id, owner, note) VALUES (31, 'x', 'toolong')
----
ERROR 22001 -: value too long for type character varying(5)

INSERT INTO acc (id, owner, bal) VALUES (32, 'x', 1234567.5)
----
ERROR 22003 -: numeric field overflow

INSERT INTO acc (id, owner, at) VALUES (33, 'x', true)
----
ERROR 42804 50: column "at" is of type date but expression is of type boolean

INSERT INTO acc (id, owner) VALUES (1.5, true)
----

INSERT INTO acc (id, owner) VALUES (34, 'x', 1)
----
ERROR 42601 46: INSERT has more expressions than target columns

INSERT INTO acc (id, owner, bal) VALUES (34, 'x')
----
ERROR 42601 29: INSERT has more target columns than expressions

INSERT INTO acc (id, nope) VALUES (1, 2)
----
ERROR 42703 22: column "nope" of relation "acc" does not exist

INSERT INTO acc (id, id) VALUES (1, 2)
----
ERROR 42701 22: column "id" specified more than once

INSERT INTO nope VALUES (1)
----
ERROR 42P01 13: relation "nope" does not exist

INSERT INTO acc (id, owner) VALUES (40, (SELECT owner FROM acc WHERE id = 1)) RETURNING owner
----
dup

INSERT INTO acc (id, owner) VALUES (41, nope)
----
ERROR 42703 41: column "nope" does not exist

UPDATE acc SET bal = bal + 5 WHERE id = 1 RETURNING id, bal
----
1|5.00

UPDATE acc SET bal = bal * 2, owner = owner || '!' WHERE id IN (1, 2) RETURNING id, owner, bal
----
1|dup!|10.00
2|true!|0.00

UPDATE acc SET note = DEFAULT, at = '2021-01-01' WHERE id = 2 RETURNING *
----
2|true!|0.00|NULL|2021-01-01

UPDATE acc SET (owner, bal) = ('z', 1) WHERE id = 3 RETURNING owner, bal
----
z|1.00

UPDATE acc SET id = 99 WHERE id = 3 RETURNING id
----
99

UPDATE acc SET owner = NULL WHERE id = 1
----
ERROR 23502 -: null value in column "owner" of relation "acc" violates not-null constraint

UPDATE acc SET bal = 'abc' WHERE id = 1
----
ERROR 22P02 22: invalid input syntax for type numeric: "abc"

UPDATE acc SET bal = true WHERE id = 1
----
ERROR 42804 22: column "bal" is of type numeric but expression is of type boolean

UPDATE acc SET nope = 1
----
ERROR 42703 16: column "nope" of relation "acc" does not exist

UPDATE acc SET id = 1, id = 2
----
ERROR 42601 -: multiple assignments to same column "id"

UPDATE acc SET bal = sum(bal)
----
ERROR 42803 22: aggregate functions are not allowed in UPDATE

UPDATE acc a SET bal = s.v FROM (VALUES (1, 100), (2, 200)) AS s (i, v) WHERE a.id = s.i RETURNING a.id, a.bal, s.v
----
1|100.00|100
2|200.00|200

UPDATE acc SET bal = (SELECT max(bal) FROM acc) WHERE id = 99 RETURNING bal
----
200.00

UPDATE acc SET owner = x.owner FROM acc x WHERE x.id = 1 AND acc.id = 99 RETURNING acc.owner
----
dup!

DELETE FROM acc WHERE id = 99 RETURNING *
----
99|dup!|200.00|NULL|2020-01-01

DELETE FROM acc USING (VALUES (11), (12)) AS d (i) WHERE acc.id = d.i RETURNING acc.id, d.i
----

DELETE FROM acc WHERE nope = 1
----
ERROR 42703 23: column "nope" does not exist

DELETE FROM acc a WHERE acc.id = 1
----
ERROR 42P01 25: invalid reference to FROM-clause entry for table "acc"

SELECT id, owner, bal, note FROM acc ORDER BY id
----
1|dup!|100.00|NULL
2|true!|200.00|NULL
7|5|0.00|NULL
8|x|12.35|NULL
30|x|0.00|n1
40|dup|0.00|NULL

DELETE FROM acc
----

SELECT count(*) FROM acc
----
0

CREATE TABLE nokey (a int, b text DEFAULT 'd')
----

INSERT INTO nokey VALUES (1), (1), (2)
----

SELECT * FROM nokey ORDER BY a, b
----
1|d
1|d
2|d

SELECT *, nokey.* FROM nokey WHERE a = 2
----
2|d|2|d

INSERT INTO nokey DEFAULT VALUES RETURNING *
----
NULL|d

SELECT * FROM nokey WHERE a = 1 FOR UPDATE
----
1|d
1|d

SELECT DISTINCT a FROM nokey FOR UPDATE
----
ERROR 0A000 -: FOR UPDATE is not allowed with DISTINCT clause
