# Functions that do something are called for each row that a query makes, also where nobody reads what they say.

create sequence s
----

create table t (id int primary key, v int)
----

insert into t values (1, 10), (2, 20), (3, 10), (4, 20)
----

select count(*) from (select id, nextval('s') from t) z
----
4

select nextval('s')
----
5

select id from (select id, nextval('s') from t) z order by id limit 2
----
1
2

select setval('s', 100)
----
100

select count(*) from (select nextval('s') from t) z
----
4

select nextval('s')
----
105

select setval('s', 100)
----
100

select 1 from (select nextval('s') n from t) z limit 1
----
1

select nextval('s')
----
102

select setval('s', 100)
----
100

select id from (select id, nextval('s') from t) z where id = 3
----
3

select nextval('s')
----
102

select setval('s', 100)
----
100

select id from (select id, nextval('s') n from t) z where n > 102
----
3
4

select nextval('s')
----
105

select setval('s', 100)
----
100

select 1 from nextval('s')
----
1

select nextval('s')
----
102

select setval('s', 100)
----
100

select 1 from nextval('s'), t limit 1
----
1

select nextval('s')
----
102

select setval('s', 100)
----
100

select 1 from t, nextval('s')
----
1
1
1
1

select nextval('s')
----
102

select setval('s', 100)
----
100

select count(*) from generate_series(1, 3) g, lateral (select nextval('s') where g > 0) z
----
3

select nextval('s')
----
104

select setval('s', 100)
----
100

select count(*) from (select v, sum(nextval('s')) from t group by v) z
----
2

select nextval('s')
----
105

select setval('s', 100)
----
100

select v from (select v, count(nextval('s')) from t group by v) z order by v
----
10
20

select nextval('s')
----
105

select setval('s', 100)
----
100

select count(*) from (select nextval('s') union all select nextval('s') from t) z
----
5

select nextval('s')
----
106

select setval('s', 100)
----
100

select count(*) from (values (1, nextval('s')), (2, nextval('s'))) z (a, b)
----
2

select nextval('s')
----
103

select setval('s', 100)
----
100

select a from (values (1, nextval('s')), (2, nextval('s'))) z (a, b)
----
1
2

select nextval('s')
----
103

select setval('s', 100)
----
100

with z as (select id, nextval('s') from t) select count(*) from z
----
4

select nextval('s')
----
105

select setval('s', 100)
----
100

with z as (select id, nextval('s') from t) select 1
----
1

select nextval('s')
----
101

select setval('s', 100)
----
100

select count(*) from (select id, (select nextval('s') where v > 0) from t) z
----
4

select nextval('s')
----
105

select setval('s', 100)
----
100

select count(*) from (select id, (select nextval('s')) from t) z
----
4

select nextval('s')
----
102

select setval('s', 100)
----
100

select count(*) from (select x from (select id x, nextval('s') y from t) z) zz
----
4

select nextval('s')
----
105

select setval('s', 100)
----
100

select count(*) from t a join (select id, nextval('s') from t) z on z.id = a.v / 10
----
4

select nextval('s')
----
105

select setval('s', 100)
----
100

select count(*) from t a left join (select id, nextval('s') from t) z on z.id = a.id
----
4

select nextval('s')
----
105

select setval('s', 100)
----
100

select count(*) from t where id in (select nextval('s') - 100 from t)
----
4

select nextval('s')
----
105

select setval('s', 100)
----
100

select count(*) from t where exists (select nextval('s'))
----
4

select nextval('s')
----
101

select setval('s', 100)
----
100

select count(*) from t where exists (select nextval('s') from t u where u.id = t.id)
----
4

select nextval('s')
----
101

select setval('s', 100)
----
100

select nextval('s')
----
101

select setval('s', 100)
----
100

select count(*) from t a, t b where nextval('s') > 0
----
16

select nextval('s')
----
117

select setval('s', 100)
----
100

select count(*) from t a, t b where nextval('s') > a.id
----
16

select nextval('s')
----
105

select setval('s', 100)
----
100

select count(*) from (select distinct v from t) z where nextval('s') > 0
----
2

select nextval('s')
----
103

select setval('s', 100)
----
100

select count(*) from (select v, count(*) from t group by v) z where nextval('s') > v
----
2

select nextval('s')
----
103

select setval('s', 100)
----
100

select id, nextval('s') from t order by id desc limit 1
----
4|101

select nextval('s')
----
102

select setval('s', 100)
----
100

select id, nextval('s') from t order by v desc, id desc limit 2
----
4|101
2|102

select nextval('s')
----
103

select setval('s', 100)
----
100

select id, nextval('s') from t order by v desc, id desc
----
4|101
2|102
3|103
1|104

select setval('s', 100)
----
100

select nextval('s')
----
101

select setval('s', 100)
----
100

select n, n from (select id, nextval('s') n from t) z order by id
----
101|101
102|102
103|103
104|104

select setval('s', 100)
----
100

create table u (a int, b bigint)
----

insert into u (a) select id from (select id, nextval('s') from t) z
----

select nextval('s')
----
105

select setval('s', 100)
----
100

insert into u select id, n from (select id, nextval('s') n from t) z order by id
----

select a, b from u where b is not null order by a
----
1|101
2|102
3|103
4|104

select setval('s', 100)
----
100

update u set b = 0 from (select id, nextval('s') from t) z where z.id = u.a
----

select nextval('s')
----
105

select setval('s', 100)
----
100

delete from u using (select id, nextval('s') from t) z where z.id = u.a and u.b = 0
----

select nextval('s')
----
105

select setval('s', 100)
----
100

with recursive r as (select 1 n, nextval('s') x union all select n + 1, nextval('s') from r where n < 3) select count(*) from r
----
3

select nextval('s')
----
104

select count(*) from (select pg_advisory_lock(g) from generate_series(901, 902) g) z
----
2

select id from (select id, pg_advisory_lock(903) from t where id = 1) z
----
1

select 1 from pg_advisory_lock(904), t limit 1
----
1

select pg_advisory_unlock(g) from generate_series(901, 905) g order by g
----
t
t
t
t
f

select setval('s', 100)
----
100

select v from t group by v having nextval('s') > 0 order by v
----
10
20

select nextval('s')
----
103

create table x (id int primary key, a int, b int, c int)
----

insert into x select g, 10 - g, g % 2, 1 from generate_series(1, 6) g
----

select setval('s', 100)
----
100

select id, setval('s', a * 100 + b + c) from x order by a
----
6|401
5|502
4|601
3|702
2|801
1|902

select lastval()
----
902

select setval('s', 100)
----
100

select id, nextval('s') + a * 0 + b * 0 + c * 0 from x where pg_try_advisory_lock(id) and not pg_advisory_unlock(b * 3 + 4) order by a limit 2
----
6|101
5|102

select nextval('s')
----
103

select pg_advisory_unlock_all(), 1
----
|1

select setval('s', 100)
----
100

create table y (n bigint, id int)
----

insert into y select nextval('s'), id from x order by a
----

select * from y order by n
----
101|6
102|5
103|4
104|3
105|2
106|1

select setval('s', 100)
----
100

select a.id, z.n from x a join (select id, nextval('s') n from x) z on z.id = a.id where a.id = 3
----
3|101

select nextval('s')
----
102
