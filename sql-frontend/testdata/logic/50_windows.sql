CREATE TABLE w (id int PRIMARY KEY, g text, n int)
----

INSERT INTO w VALUES (1, 'a', 10), (2, 'a', 20), (3, 'a', 20), (4, 'b', 5), (5, 'b', NULL)
----

SELECT id, row_number() OVER (ORDER BY id DESC) FROM w ORDER BY id
----
1|5
2|4
3|3
4|2
5|1

SELECT id, rank() OVER (PARTITION BY g ORDER BY n), dense_rank() OVER (PARTITION BY g ORDER BY n) FROM w ORDER BY id
----
1|1|1
2|2|2
3|2|2
4|1|1
5|2|2

SELECT id, sum(n) OVER (PARTITION BY g ORDER BY id) FROM w ORDER BY id
----
1|10
2|30
3|50
4|5
5|5

SELECT id, sum(n) OVER (PARTITION BY g) FROM w ORDER BY id
----
1|50
2|50
3|50
4|5
5|5

SELECT id, sum(n) OVER (ORDER BY n) FROM w ORDER BY id
----
1|15
2|55
3|55
4|5
5|55

SELECT id, count(*) OVER () FROM w ORDER BY id
----
1|5
2|5
3|5
4|5
5|5

SELECT id, lag(n) OVER (ORDER BY id), lead(n, 2, -1) OVER (ORDER BY id) FROM w ORDER BY id
----
1|NULL|20
2|10|5
3|20|NULL
4|20|-1
5|5|-1

SELECT id, first_value(n) OVER p, last_value(n) OVER p, nth_value(n, 2) OVER p FROM w WINDOW p AS (PARTITION BY g ORDER BY id) ORDER BY id
----
1|10|10|NULL
2|10|20|20
3|10|20|20
4|5|5|NULL
5|5|NULL|NULL

SELECT id, sum(n) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING) FROM w ORDER BY id
----
1|30
2|50
3|45
4|25
5|5

SELECT id, sum(n) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) FROM w ORDER BY id
----
1|10
2|30
3|50
4|55
5|55

SELECT id, sum(n) OVER (p ORDER BY id) FROM w WINDOW p AS (PARTITION BY g) ORDER BY id
----
1|10
2|30
3|50
4|5
5|5

SELECT id, sum(n) OVER (ORDER BY g RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) FROM w ORDER BY id
----
1|55
2|55
3|55
4|5
5|5

SELECT id, ntile(2) OVER (ORDER BY id), percent_rank() OVER (ORDER BY id), cume_dist() OVER (ORDER BY g) FROM w ORDER BY id
----
1|1|0|0.6
2|1|0.25|0.6
3|1|0.5|0.6
4|2|0.75|1
5|2|1|1

SELECT g, sum(n), rank() OVER (ORDER BY sum(n) DESC) FROM w GROUP BY g ORDER BY g
----
a|50|1
b|5|2

SELECT g, sum(sum(n)) OVER () FROM w GROUP BY g ORDER BY g
----
a|55
b|55

SELECT id FROM w WHERE row_number() OVER () = 1
----
ERROR 42P20 24: window functions are not allowed in WHERE

SELECT row_number() FROM w
----
ERROR 42809 8: window function row_number requires an OVER clause

SELECT abs(n) OVER () FROM w
----
ERROR 42809 8: OVER specified, but abs is not a window function nor an aggregate function

SELECT sum(row_number() OVER ()) FROM w
----
ERROR 42803 12: aggregate function calls cannot contain window function calls

SELECT sum(n) OVER nope FROM w
----
ERROR 42704 20: window "nope" does not exist

# ours
SELECT sum(n) OVER (ROWS BETWEEN CURRENT ROW AND 1 PRECEDING) FROM w
----
ERROR 42P20 8: frame starting from current row cannot have preceding rows

SELECT id, n - lag(n) OVER (ORDER BY id) AS d FROM w ORDER BY d NULLS FIRST, id
----
1|NULL
5|NULL
4|-15
3|0
2|10

SELECT * FROM (SELECT id, row_number() OVER (PARTITION BY g ORDER BY n DESC NULLS LAST) r FROM w) s WHERE r = 1 ORDER BY id
----
2|1
4|1

SELECT id, count(n) FILTER (WHERE n > 5) OVER (PARTITION BY g) FROM w ORDER BY id
----
1|3
2|3
3|3
4|0
5|0

CREATE TABLE wide (k int PRIMARY KEY, s smallint, a int, b bigint, d date, t timestamp, x text)
----

INSERT INTO wide VALUES (1, 1, 3, 2, '2024-01-02', '2024-01-01 10:00', 'a'), (2, 2, 1, 4, '2024-01-01', '2024-01-01 10:00', 'b'), (3, 3, 5, 5, NULL, '2024-01-03', 'B'), (4, 0, NULL, 6, '2024-01-05', NULL, 'a'), (5, -1, 2, 3, '2024-01-05', '2024-01-05', 'c')
----

SELECT k, row_number() OVER (PARTITION BY a < b ORDER BY k) FROM wide ORDER BY k
----
1|1
2|1
3|2
4|1
5|2

SELECT k, row_number() OVER (ORDER BY a < b, k DESC), rank() OVER (ORDER BY d < t) FROM wide ORDER BY k
----
1|2|1
2|4|3
3|1|4
4|5|4
5|3|1

SELECT k, sum(b) OVER (PARTITION BY CASE WHEN s < a THEN a::bigint < b ELSE false END ORDER BY (a, k) < (b, s), k) FROM wide ORDER BY k
----
1|2
2|11
3|7
4|17
5|3

SELECT k, sum(a + b) OVER (ORDER BY a + b, k), count(*) FILTER (WHERE a < b) OVER (ORDER BY k) FROM wide ORDER BY k
----
1|5|0
2|10|1
3|25|1
4|25|1
5|15|2

SELECT a < b AS c, sum(count(*)) OVER (ORDER BY a < b), rank() OVER (ORDER BY sum(b) > 3) FROM wide GROUP BY a < b ORDER BY c
----
f|2|1
t|4|1
NULL|5|1

SELECT k, lag(x, s) OVER (ORDER BY k), lead(x, s, 'none') OVER (ORDER BY k), lag(x, 1, x) OVER (ORDER BY k) FROM wide ORDER BY k
----
1|NULL|b|a
2|NULL|a|a
3|NULL|none|b
4|a|a|B
5|NULL|a|a

SELECT k, lag(x, a - 2, upper(x)) OVER (ORDER BY k), lead(k, NULL, 7) OVER (ORDER BY k), lag(x, -1) OVER (ORDER BY k) FROM wide ORDER BY k
----
1|A|NULL|b
2|B|NULL|B
3|B|NULL|a
4|NULL|NULL|c
5|c|NULL|NULL

SELECT k, nth_value(x, k) OVER (ORDER BY k), nth_value(x, a) OVER (ORDER BY k ROWS BETWEEN 1 PRECEDING AND 2 FOLLOWING) FROM wide ORDER BY k
----
1|a|B
2|b|a
3|B|NULL
4|a|NULL
5|c|c

SELECT nth_value(k, 0) OVER (ORDER BY k) FROM wide
----
ERROR 22016 -: argument of nth_value must be greater than zero

SELECT nth_value(k, -1) OVER (ORDER BY k) FROM wide
----
ERROR 22016 -: argument of nth_value must be greater than zero

SELECT nth_value(k, s + 1) OVER (ORDER BY k) FROM wide
----
ERROR 22016 -: argument of nth_value must be greater than zero

SELECT k, nth_value(k, NULL) OVER (ORDER BY k) FROM wide ORDER BY k
----
1|NULL
2|NULL
3|NULL
4|NULL
5|NULL

SELECT ntile(0) OVER (ORDER BY k) FROM wide
----
ERROR 22014 -: argument of ntile must be greater than zero

SELECT k, ntile(NULL) OVER (ORDER BY k), ntile(2) OVER (ORDER BY k), ntile(3) OVER (PARTITION BY k > 2 ORDER BY k), ntile(7) OVER (ORDER BY k), ntile(a) OVER (PARTITION BY k < 4 ORDER BY k) FROM wide ORDER BY k
----
1|NULL|1|1|1|1
2|NULL|1|2|2|2
3|NULL|1|1|3|3
4|NULL|2|2|4|NULL
5|NULL|2|3|5|1

SELECT k, sum(k) OVER (ORDER BY k ROWS BETWEEN 2 FOLLOWING AND 1 FOLLOWING), count(*) OVER (ORDER BY k ROWS BETWEEN 1 PRECEDING AND 2 PRECEDING), first_value(k) OVER (ORDER BY d GROUPS BETWEEN 2 FOLLOWING AND 1 FOLLOWING), nth_value(k, 1) OVER (ORDER BY k ROWS BETWEEN 1 PRECEDING AND 2 PRECEDING), array_agg(k) OVER (ORDER BY k ROWS BETWEEN 2 FOLLOWING AND 1 FOLLOWING) FROM wide ORDER BY k
----
1|NULL|0|NULL|NULL|NULL
2|NULL|0|NULL|NULL|NULL
3|NULL|0|NULL|NULL|NULL
4|NULL|0|NULL|NULL|NULL
5|NULL|0|NULL|NULL|NULL

SELECT k, bool_and(a < b) OVER r, bool_or(a < b) OVER r, bit_and(a) OVER r, bit_or(a) OVER r, bit_xor(a) OVER r, every(a > 1) OVER r FROM wide WINDOW r AS (ORDER BY k ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) ORDER BY k
----
1|f|f|3|3|3|t
2|f|t|1|3|2|f
3|f|t|1|5|4|f
4|f|f|5|5|5|t
5|t|t|2|2|2|t

SELECT bool_and(a < b), bool_or(a > b), every(a IS NULL), bit_and(a), bit_or(s), bool_and(NULL), bit_or(b) FILTER (WHERE k > 9), bool_or(DISTINCT a < b) FROM wide
----
f|t|f|0|-1|NULL|NULL|t

SELECT pg_typeof(nullif(1, 2::bigint)), nullif(1, 1::bigint), nullif(2::smallint, 3), pg_typeof(nullif(1::real, 2::float8)), pg_typeof(nullif(1, 2.5)), nullif(3, 3.0)
----
integer|NULL|2|real|numeric|NULL

SELECT k, pg_typeof(nullif(a, b)), nullif(a, b), nullif(s, k) FROM wide ORDER BY k
----
1|integer|3|NULL
2|integer|1|NULL
3|integer|NULL|NULL
4|integer|NULL|0
5|integer|2|-1

CREATE TABLE many (k int PRIMARY KEY, x int)
----

INSERT INTO many SELECT i, i % 3 FROM generate_series(1, 20) i
----

SELECT ntile(nullif(x, 1)) OVER (PARTITION BY x ORDER BY k), nth_value(k, 3) OVER (PARTITION BY x ORDER BY k), ntile(4) OVER (ORDER BY k) FROM many WHERE x > 0 ORDER BY k
----
NULL|NULL|1
1|NULL|1
NULL|NULL|1
1|NULL|1
NULL|7|2
1|8|2
NULL|7|2
1|8|2
NULL|7|3
2|8|3
NULL|7|3
2|8|4
NULL|7|4
2|8|4

SELECT k, ntile(CASE WHEN k > 2 THEN 3 END) OVER (ORDER BY k) FROM many WHERE k < 9 ORDER BY k
----
1|NULL
2|NULL
3|1
4|1
5|1
6|2
7|2
8|2

SELECT random() IS NULL, count(r) FROM (SELECT lag(random()) OVER (ORDER BY random()) AS r FROM many) s GROUP BY 1 LIMIT 1
----
f|19

SELECT k, (SELECT max(v) FROM (SELECT lag(i + many.k, many.k) OVER (ORDER BY i + many.x) AS v FROM generate_series(1, 10) i) s) FROM many ORDER BY k LIMIT 4
----
1|10
2|10
3|10
4|10

SELECT x, array_agg(k ORDER BY k), first_value(sum(k)) OVER (PARTITION BY x > 1 ORDER BY x + 1) FROM many GROUP BY x ORDER BY x
----
0|{3,6,9,12,15,18}|63
1|{1,4,7,10,13,16,19}|63
2|{2,5,8,11,14,17,20}|77

SELECT DISTINCT ON (x) x, row_number() OVER (ORDER BY k * -1) AS n FROM many ORDER BY x, n DESC
----
0|18
1|20
2|19

SELECT k FROM many ORDER BY row_number() OVER (ORDER BY x::bigint < k, k DESC) LIMIT 3
----
2
1
20

SELECT nullif(date '2020-01-01', timestamp '2020-01-02 10:00'), nullif(date '2020-01-01', timestamp '2020-01-01'), pg_typeof(nullif(date '2020-01-01', now())), pg_typeof(nullif(timestamp '2020-01-01', date '2020-01-01')), pg_typeof(nullif(1::real, 2.5)), nullif(2.5::real, 2.5), pg_typeof(nullif(2.5, 2.5::real))
----
2020-01-01|NULL|date|timestamp without time zone|real|NULL|double precision

SELECT k, bit_xor(v) OVER (ORDER BY k ROWS BETWEEN CURRENT ROW AND CURRENT ROW) FROM (VALUES (1, 5), (2, NULL)) t (k, v) ORDER BY k
----
1|5
2|NULL

SELECT k, bit_xor(DISTINCT v), bit_xor(v) FROM (VALUES (1, 5), (1, 5), (1, 3), (2, -7)) t (k, v) GROUP BY k ORDER BY k
----
1|6|3
2|-7|-7
