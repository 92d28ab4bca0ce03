# What drivers and ORMs ask.

select to_regtype('int4'), to_regtype('nope'), to_regtype('pg_catalog.int8'), to_regtype('numeric(10,2)'), to_regtype('int4[]')
----
integer|NULL|bigint|numeric|integer[]

select to_regtype('timestamp with time zone'), to_regtype(null), to_regtype('"int4"'), to_regtype('foo.int4')
----
timestamp with time zone|NULL|integer|NULL

select typname, oid::regtype::text from pg_type t where t.oid = to_regtype('bool')
----
bool|boolean

select current_schema, current_schema(), current_catalog = current_database(), current_role = user
----
public|public|t|t

select current_schema from (select 1 as "current_schema") x
----
public

select "current_schema" from (select 1 as "current_schema") x
----
1

select pg_sleep(0), pg_sleep(null), pg_sleep_for('0 s') is null, pg_sleep_until(now() - interval '1 hour'), pg_sleep(-1)
----
|NULL|f||

select count(pg_sleep(0.001)) from generate_series(1, 3)
----
3

select json_build_object('a', 1, 'b', 'x', 'c', null, 'd', 1.50, 'e', true, 5, date '2020-01-01')
----
{"a" : 1, "b" : "x", "c" : null, "d" : 1.50, "e" : true, "5" : "2020-01-01"}

select json_build_object('a', array[1, 2], 'q"', E'a\nb"c\\\x01', 'o', json_build_object('b', 'NaN'::float8)), json_build_object()
----
{"a" : [1,2], "q\"" : "a\nb\"c\\\u0001", "o" : {"b" : "NaN"}}|{}

select json_build_array(timestamp '2020-01-01 10:00:00.5', timestamptz '2020-01-01 10:00+02', array['x', null], 'NaN'::numeric, 1e300::float8)
----
["2020-01-01T10:00:00.5", "2020-01-01T08:00:00+00:00", ["x",null], "NaN", 1e+300]

select json_build_object('a')
----
ERROR 22023 -: argument list must have even number of elements

select json_build_object(null, 1)
----
ERROR 22023 -: argument 1 cannot be null

select json_build_object(array[1], 1)
----
ERROR 22023 -: key value must be scalar, not array, composite, or json

select pg_typeof(json_build_object()), to_json(1), to_json('a'::text), to_json(null::int), to_json(null::text) is null
----
json|1|"a"|NULL|t

select '{"a": [1, 2]}'::json, json_build_array('{"a" : 1}'::json), '[1]'::json::text || 'x'
----
{"a": [1, 2]}|[{"a" : 1}]|[1]x

select '{"a"'::json
----
ERROR 22P02 8: invalid input syntax for type json

select json_build_object('n', count(*)) from generate_series(1, 4)
----
{"n" : 4}

select count(*) from pg_sleep(0)
----
1

select * from current_schema()
----
public

select f, x, y.y from current_schema() f, upper('a') as g (x), lateral lower(g.x) y
----
public|A|a

select t.n, l from generate_series(1, 2) t (n), lateral to_hex(t.n + 9) l
----
1|a
2|b

select * from nosuch(1)
----
ERROR 42883 15: function nosuch(integer) does not exist

select num_nonnulls(1, null, 'a', null::int), num_nulls(1, null, 'a', null::int), num_nulls(null)
----
2|2|1

select num_nulls()
----
ERROR 42883 8: function num_nulls() does not exist

select pg_get_userbyid(10) in (nullif(a, 'x'), lower('A')), upper(current_schema()) not in (coalesce(a, 'PUBLIC'), 'x') from (values (null), ('PUBLIC')) t (a)
----
NULL|f
f|f

select current_setting('default_table_access_method')
----
heap

unlisten *
----

unlisten x
----
