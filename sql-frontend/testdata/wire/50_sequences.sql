# Sequences: their options, and what comes behind the last number.

create sequence a start 5 increment 2
----

select nextval('a'), nextval('a')
----
5|7

create sequence b increment by 2 start with 5 cache 10 no cycle minvalue 1 maxvalue 9
----

select nextval('b'), nextval('b'), nextval('b')
----
5|7|9

select nextval('b')
----
ERROR 2200H -: nextval: reached maximum value of sequence "b" (9)

select nextval('b')
----
ERROR 2200H -: nextval: reached maximum value of sequence "b" (9)

create sequence up cycle maxvalue 3 start 2
----

select nextval('up')
----
2

select nextval('up')
----
3

select nextval('up')
----
1

select nextval('up')
----
2

select nextval('up'), nextval('up'), nextval('up')
----
3|1|2

select setval('up', 3)
----
3

select nextval('up')
----
1

select setval('up', 3, false)
----
3

select nextval('up')
----
3

select nextval('up')
----
1

create sequence down cycle increment -2 maxvalue 5 minvalue 0
----

select n, nextval('down') from generate_series(1, 7) n
----
1|5
2|3
3|1
4|5
5|3
6|1
7|5

create sequence few minvalue 10 maxvalue 12 cycle
----

select n, nextval('few') from generate_series(1, 7) n
----
1|10
2|11
3|12
4|10
5|11
6|12
7|10

create sequence most start 9223372036854775806
----

select nextval('most')
----
9223372036854775806

select nextval('most')
----
9223372036854775807

select nextval('most')
----
ERROR 2200H -: nextval: reached maximum value of sequence "most" (9223372036854775807)

select nextval('most')
----
ERROR 2200H -: nextval: reached maximum value of sequence "most" (9223372036854775807)

create sequence least increment -1 minvalue -9223372036854775808 start -9223372036854775807
----

select nextval('least')
----
-9223372036854775807

select nextval('least')
----
-9223372036854775808

select nextval('least')
----
ERROR 2200H -: nextval: reached minimum value of sequence "least" (-9223372036854775808)

create sequence round maxvalue 9223372036854775807 start 9223372036854775807 cycle
----

select nextval('round')
----
9223372036854775807

select nextval('round')
----
1

create sequence small as smallint
----

create sequence four increment -1 as integer
----

select sequencename, data_type, start_value, min_value, max_value, increment_by, cycle from pg_sequences where sequencename in ('up', 'down', 'small', 'a') order by 1
----
a|bigint|5|1|9223372036854775807|2|f
down|bigint|5|0|5|-2|t
small|smallint|1|1|32767|1|f
up|bigint|2|1|3|1|t

create sequence x as text
----
ERROR 22023 -: sequence type must be smallint, integer, or bigint

create sequence x as smallint maxvalue 40000
----
ERROR 22023 -: MAXVALUE (40000) is out of range for sequence data type smallint

create sequence x start 0
----
ERROR 22023 -: START value (0) cannot be less than MINVALUE (1)

create sequence x maxvalue 5 start 6
----
ERROR 22023 -: START value (6) cannot be greater than MAXVALUE (5)

create sequence x minvalue 5 maxvalue 5
----
ERROR 22023 -: MINVALUE (5) must be less than MAXVALUE (5)

create sequence x increment 0
----
ERROR 22023 -: INCREMENT must not be zero

create sequence x cache 0
----
ERROR 22023 -: CACHE (0) must be greater than zero

create sequence if not exists up
----

create sequence up
----
ERROR 42P07 -: relation "up" already exists

drop sequence up
----

create sequence x owned by none no minvalue no maxvalue
----

select nextval('x')
----
1
