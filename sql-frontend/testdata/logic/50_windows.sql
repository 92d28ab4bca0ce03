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
