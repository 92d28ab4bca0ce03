# Arrays of one dimension.

create table a (id int primary key, n int[], s text[])
----

insert into a values (1, '{1,2,3}', '{a,"b c",NULL}'), (2, array[4], array[]::text[]), (3, null, '{"",null,"NULL"}')
----

select id, n, s from a order by id
----
1|{1,2,3}|{a,"b c",NULL}
2|{4}|{}
3|NULL|{"",NULL,"NULL"}

select array[1, 2.5, null], array['a', 'b'], array[]::int[], '{}'::text[]
----
{1,2.5,NULL}|{a,b}|{}|{}

# ours: without the place
select array[]
----
ERROR 42P18 -: cannot determine type of empty array

select array[1, 'x']
----
ERROR 22P02 17: invalid input syntax for type integer: "x"

select '{1,2'::int[]
----
ERROR 22P02 8: malformed array literal: "{1,2"

select '{a}'::int[]
----
ERROR 22P02 8: invalid input syntax for type integer: "a"

select array[1,2] || 3, 0 || array[1], array[1] || array[2], array[1] || '{2,3}'
----
{1,2,3}|{0,1}|{1,2}|{1,2,3}

select array[1] || 'x'
----
ERROR 22P02 20: malformed array literal: "x"

select n[1], n[4], s[2], (array[7,8])[2] from a order by id
----
1|NULL|b c|8
4|NULL|NULL|8
NULL|NULL|NULL|8

select id from a where 2 = any (n)
----
1

select id from a where 2 <> all (n) order by id
----
2

select id from a where id = any ('{3,1}') order by id
----
1
3

select id from a where id = any (array[2,3]::bigint[]) order by id
----
2
3

select id from a where id <> all (array[2]) order by id
----
1
3

select 1 = any (array[2, null]), 1 = any (array[1, null]), 1 = any ('{}'::int[]), 1 = all ('{}'::int[]), null = any (array[1])
----
NULL|t|f|t|NULL

select 3 > all (array[1, 2]), 'abc' like any (array['x%', 'ab%']), 5 < any (array[1, 2])
----
t|t|f

select 1 = any (2)
----
ERROR 42809 10: op ANY/ALL (array) requires array on right side

select 1 = any (array['a'])
----
ERROR 42883 10: operator does not exist: integer = text

select array[1,2] = array[1,2], array[1,2] < array[1,3], array[1] < array[1,null], array[1,2] <> '{1}', array[1.0] = array[1.00]
----
t|t|t|t|t

select array[1] = array['a']
----
ERROR 42883 17: operator does not exist: integer[] = text[]

select array[1,2,3] @> array[2], array[2] <@ array[1,2], array[1,2] && array[3], array[1,null] @> array[null]::int[]
----
t|t|f|f

select array_length(array[1,2], 1), array_length('{}'::int[], 1), array_lower(array[5], 1), array_upper(array[5,6], 1), cardinality(array[1,2,3]), array_length(array[1], 2)
----
2|NULL|1|2|3|NULL

select array_append(array[1], 2), array_prepend(0, array[1]), array_cat(array[1], array[2]), array_remove(array[1,2,1], 1), array_replace(array[1,2], 2, 5)
----
{1,2}|{0,1}|{1,2}|{2}|{1,5}

select array_position(array['a','b'], 'b'), array_position(array[1], 9), array_positions(array[1,2,1], 1)
----
2|NULL|{1,3}

select array_to_string(array[1,null,3], ','), array_to_string(array['a',null], '-', '*'), array_to_string(null::int[], ',')
----
1,3|a-*|NULL

select string_to_array('a,b,,c', ','), string_to_array('abc', null), string_to_array('', ','), string_to_array('a-x', '-', 'x')
----
{a,b,"",c}|{a,b,c}|{}|{a,NULL}

select array_agg(id order by id desc), array_agg(distinct id % 2), array_agg(n[1] order by id) from a
----
{3,2,1}|{0,1}|{1,4,NULL}

select array_agg(id) from a where id > 10
----
NULL

select array(select id from a order by id desc), array(select id from a where id > 10)
----
{3,2,1}|{}

select id, array(select b.id from a b where b.id < a.id order by 1) from a order by id
----
1|{}
2|{1}
3|{1,2}

select * from unnest(array[3,1,2]) u
----
3
1
2

select u.x, u.o from unnest(array['p','q']) with ordinality as u(x, o)
----
p|1
q|2

select * from unnest(array[1,2], array['a']) as t(x, y)
----
1|a
2|NULL

select a.id, u from a, unnest(a.n) u order by 1, 2
----
1|1
1|2
1|3
2|4

select id, unnest(n) from a order by 1, 2
----
1|1
1|2
1|3
2|4

select unnest(array[1,2]), generate_series(1, 3)
----
1|1
2|2
NULL|3

select generate_series(1, 3) + 10 as x
----
11
12
13

select generate_subscripts(array['a','b','c'], 1), generate_subscripts(array[1,2], 1, true)
----
1|2
2|1
3|NULL

select id from a where unnest(n) = 1
----
ERROR 0A000 24: set-returning functions are not allowed in WHERE

select count(*), n is null from a group by 2 order by 2
----
2|f
1|t

select n, count(*) from a group by n order by n
----
{1,2,3}|1
{4}|1
NULL|1

select distinct n from a order by n desc
----
NULL
{4}
{1,2,3}

select array[1,2]::text, '{1,2}'::text::int[], array[1,2]::bigint[], array[1.6]::int[], array['1','2']::int[]
----
{1,2}|{1,2}|{1,2}|{2}|{1,2}

select array[1]::text[] || 'b'
----
ERROR 22P02 28: malformed array literal: "b"

select pg_typeof(array[1]), pg_typeof(array['a']), pg_typeof('{1}'::int2[])
----
integer[]|text[]|smallint[]

select coalesce(n, array[0]), greatest(n, array[2]) from a order by id
----
{1,2,3}|{2}
{4}|{4}
{0}|{2}

select case when id = 1 then n else '{9}' end from a order by id
----
{1,2,3}
{9}
{9}

select array['{', '"', 'a\b', ' ', 'NULL', 'null', '']
----
{"{","\"","a\\b"," ","NULL","null",""}

select '{ a b , "c" , d\,e }'::text[]
----
{"a b",c,"d,e"}

select '{1,,2}'::int[]
----
ERROR 22P02 8: malformed array literal: "{1,,2}"

select array['2000-01-01'::date, 'infinity'], array[true, null], array[interval '1 day 2 h']
----
{2000-01-01,infinity}|{t,NULL}|{"1 day 02:00:00"}

update a set n = array_append(n, 9) where id = 1 returning n
----
{1,2,3,9}

select 5 = any (n), n[10] from a where id = 2
----
f|NULL

# ours: only one dimension
select array[array[1]]
----
ERROR 0A000 20: an array of more than one dimension is not supported
