# Relations and types by their names.

create table pa (a int primary key, b text)
----

create index pb on pa (b)
----

create schema other
----

create table other."Pa" (a int)
----

select 'pa'::regclass, 'pb'::regclass, 'pa_pkey'::regclass, null::regclass, 'other."Pa"'::regclass, 'pg_class'::regclass
----
pa|pb|pa_pkey|NULL|other."Pa"|pg_class

select indexrelid::regclass, indrelid::regclass from pg_index where indrelid = 'pa'::regclass order by 1::text
----
pa_pkey|pa
pb|pa

select 'int4'::regtype, 25::regtype, 'pa'::regclass::text, 'pa'::regclass = 'pa'::regclass::oid
----
integer|text|pa|t

select c.oid::regclass from pg_class c where relname = 'pa'
----
pa

set search_path = other, public
----

select '"Pa"'::regclass, 'pa'::regclass
----
"Pa"|pa

reset search_path
----

select 'nosuch'::regclass
----
ERROR 42P01 8: relation "nosuch" does not exist

prepare p (text) as select $1::regclass
----

execute p ('pa')
----
pa

execute p ('nosuch')
----
ERROR 42P01 -: relation "nosuch" does not exist

begin
----

declare c cursor for select 'pa'::regclass from generate_series(1, 2)
----

fetch 1 from c
----
pa

fetch all from c
----
pa

commit
----

select relname::regclass from pg_class where relname = 'pa'
----
pa

select has_table_privilege('pa', 'select'), has_table_privilege('pa'::regclass, 'select'), has_schema_privilege('public', 'usage')
----
t|t|t

select to_regclass('pa'), to_regclass('nosuch')
----
pa|NULL

create table ck (a int constraint pos check (a > 0), b int unique)
----

create sequence cs as integer start 3 maxvalue 9 cycle
----

select constraint_schema, constraint_name, check_clause from information_schema.check_constraints where constraint_name = 'pos'
----
public|pos|((a > 0))

select table_schema, table_name, column_name, constraint_name from information_schema.constraint_column_usage where constraint_name in ('pa_pkey', 'ck_b_key') order by 2
----
public|ck|b|ck_b_key
public|pa|a|pa_pkey

select sequence_schema, sequence_name, start_value, minimum_value, maximum_value, increment, cycle_option from information_schema.sequences
----
public|cs|3|1|9|1|YES

# What is made without a name gets one that is free, also after a table has been moved out of the way.

create table moved (id serial primary key, a int unique)
----

create index on moved (a)
----

alter table moved rename to moved_old
----

create table moved (id serial primary key, a int unique)
----

create index on moved (a)
----

create index on moved (a)
----

select indexname from pg_indexes where tablename = 'moved' order by 1
----
moved_a_idx1
moved_a_idx2
moved_a_key1
moved_pkey1

insert into moved (a) values (1) returning id
----
1

select pg_get_serial_sequence('moved', 'id')
----
public.moved_id_seq1
