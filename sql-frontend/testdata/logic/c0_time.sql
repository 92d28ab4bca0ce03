SELECT '2020-02-29'::date + 1
----
2020-03-01

SELECT extract(year from date '2021-05-06'), date_part('month', timestamp '2021-05-06 07:08:09')
----
2021|5

SELECT now() = now(), current_date = now()::date
----
t|t

SELECT * FROM generate_series('2020-01-30'::timestamp, '2020-02-02', '1 day')
----
2020-01-30 00:00:00
2020-01-31 00:00:00
2020-02-01 00:00:00
2020-02-02 00:00:00
