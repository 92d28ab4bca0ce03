# Columns that are refused: their defaults, when they are given and when they are used, and their types.

create table a (a varchar(3) default 'abcd', b int)
----

insert into a (b) values (1)
----
ERROR 22001 -: value too long for type character varying(3)

insert into a values ('x', 2)
----

insert into a values (default, 3)
----
ERROR 22001 -: value too long for type character varying(3)

alter table a alter column a set default 'efghi'
----

insert into a (b) values (1)
----
ERROR 22001 -: value too long for type character varying(3)

select a, b from a
----
x|2

create table c (a int, b int default a)
----
ERROR 0A000 38: cannot use column reference in DEFAULT expression

create table c (a int, b int default 1 + c.a)
----
ERROR 0A000 42: cannot use column reference in DEFAULT expression

create table c (a int default nope)
----
ERROR 0A000 31: cannot use column reference in DEFAULT expression

create table c (a numeric(3, 1) default 12345)
----

insert into c values (default)
----
ERROR 22003 -: numeric field overflow

create table d (a int default 'x')
----
ERROR 22P02 31: invalid input syntax for type integer: "x"

create table d (a varchar(3) default upper('abcd'))
----

create table e (a int, b nope)
----
ERROR 42704 26: type "nope" does not exist

create table e (a int,
  "ä" text, b nope)
----
ERROR 42704 38: type "nope" does not exist

alter table a add column e nope
----
ERROR 42704 28: type "nope" does not exist

create table ck (a int, b int, check (a > 0), check (a > b), check (a < 9))
----

insert into ck values (0, -1)
----
ERROR 23514 -: new row for relation "ck" violates check constraint "ck_a_check"

insert into ck values (1, 1)
----
ERROR 23514 -: new row for relation "ck" violates check constraint "ck_check"

insert into ck values (9, 1)
----
ERROR 23514 -: new row for relation "ck" violates check constraint "ck_a_check1"
