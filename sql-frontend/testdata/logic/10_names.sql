# names, scopes, case folding

CREATE TABLE emp (id int PRIMARY KEY, name text NOT NULL, dept int, salary numeric(10,2), hired date)
----

CREATE TABLE dept (id int PRIMARY KEY, name text, "Mixed" int)
----

INSERT INTO emp VALUES (1, 'ann', 10, 1000.50, '2020-01-02'), (2, 'bob', 10, 900, '2021-03-04'), (3, 'cid', 20, 2000, NULL), (4, 'dan', NULL, NULL, '2019-12-31')
----

INSERT INTO dept VALUES (10, 'dev', 1), (20, 'ops', 2), (30, 'hr', 3)
----

SELECT * FROM emp ORDER BY id
----
1|ann|10|1000.50|2020-01-02
2|bob|10|900.00|2021-03-04
3|cid|20|2000.00|NULL
4|dan|NULL|NULL|2019-12-31

SELECT ID, NAME FROM EMP ORDER BY Id
----
1|ann
2|bob
3|cid
4|dan

SELECT emp.name, e2.name FROM emp, emp AS e2 WHERE emp.id = 1 AND e2.id = 2
----
ann|bob

SELECT public.emp.name FROM public.emp WHERE public.emp.id = 1
----
ann

SELECT "Mixed" FROM dept ORDER BY 1
----
1
2
3

SELECT Mixed FROM dept
----
ERROR 42703 8: column "mixed" does not exist

SELECT name, name, id AS name FROM dept ORDER BY dept.id
----
dev|dev|10
ops|ops|20
hr|hr|30

SELECT nope FROM emp
----
ERROR 42703 8: column "nope" does not exist

SELECT emp.nope FROM emp
----
ERROR 42703 8: column emp.nope does not exist

SELECT x.id FROM emp
----
ERROR 42P01 8: missing FROM-clause entry for table "x"

SELECT emp.id FROM emp e
----
ERROR 42P01 8: invalid reference to FROM-clause entry for table "emp"

SELECT id FROM emp, dept
----
ERROR 42702 8: column reference "id" is ambiguous

SELECT * FROM nothere
----
ERROR 42P01 15: relation "nothere" does not exist

SELECT * FROM nope.emp
----
ERROR 42P01 15: relation "nope.emp" does not exist

SELECT * FROM emp, emp
----
ERROR 42712 -: table name "emp" specified more than once

SELECT * FROM emp a, dept a
----
ERROR 42712 -: table name "a" specified more than once

SELECT d.* FROM emp e JOIN dept d ON d.id = e.dept ORDER BY e.id
----
10|dev|1
10|dev|1
20|ops|2

SELECT nope.* FROM emp
----
ERROR 42P01 8: missing FROM-clause entry for table "nope"

SELECT e.id, d FROM emp e, (SELECT 1 AS d) x ORDER BY 1
----
1|1
2|1
3|1
4|1

SELECT * FROM (SELECT id, name FROM emp) AS s (a, b) WHERE a < 3 ORDER BY b DESC
----
2|bob
1|ann

SELECT * FROM (SELECT id FROM emp) AS s (a, b)
----
ERROR 42P10 -: table "s" has 1 columns available but 2 columns specified

SELECT * FROM (SELECT id FROM emp, dept) s
----
ERROR 42702 23: column reference "id" is ambiguous

SELECT 1 AS one, 'a' AS "Two", NULL AS three
----
1|a|NULL

SELECT *
----
ERROR 42601 8: SELECT * with no tables specified is not valid
