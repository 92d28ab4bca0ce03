# Keys that a join wants, together with what a scan's own conditions leave.

create table q1 (id int primary key, v int, w int, n int)
----

insert into q1 select i, i, i % 10, nullif(i % 7, 0) from generate_series(1, 3000) i
----

create index q1_v on q1 (v desc)
----

create index q1_wv on q1 (w, v)
----

create index q1_n on q1 (n)
----

# sorted
select a.id, b.id from (select id from q1 where id > 2990) a join (values (1), (2995)) b (id) on b.id = a.id
----
2995|2995

# sorted
select a.id, b.id from (select id from q1 where id > 2990) a join (select id, v from q1 where id < 100) b on b.id = a.id
----

# sorted
select a.id from (select id from q1 where id >= 2990 and id < 2995) a join (values (1), (2989), (2990), (2994), (2995), (null)) b (id) on b.id = a.id
----
2990
2994

# sorted
select a.v from (select v from q1 where v >= 2990 and v < 2995) a join (values (1), (2989), (2990), (2994), (2995), (null)) b (v) on b.v = a.v
----
2990
2994

# sorted
select a.v from (select v from q1 where v > 2990 and v <= 2995) a join (values (1), (2990), (2991), (2995), (2996)) b (v) on b.v = a.v
----
2991
2995

# sorted
select a.v from (select w, v from q1 where w = 3 and v > 2900) a join (values (3), (2893), (2903), (2904), (2913)) b (v) on b.v = a.v
----
2903
2913

# sorted
select a.v from (select w, v from q1 where w in (3, 4) and v > 2900) a join (values (3, 3), (3, 2903), (4, 2904), (5, 2905), (4, 4)) b (w, v) on b.v = a.v and b.w = a.w
----
2903
2904

# sorted
select a.id from (select id from q1 where id in (1, 2, 3, 2000, 2001) and id < 1000) a join (values (2), (3), (2000), (5)) b (id) on b.id = a.id
----
2
3

select id from q1 where id in (1, 2, 3, 2000, 2001) and id < 1000 and id > 1 order by id
----
2
3

select id from q1 where v in (1, 2, 3, 2000, 2001) and v < 2001 and v >= 3 order by id
----
3
2000

select id from q1 where n is null and n > 3
----

# sorted
select a.n, a.id from (select id, n from q1 where n is null and id < 30) a join (values (null), (3)) b (n) on b.n is not distinct from a.n
----
NULL|14
NULL|21
NULL|28
NULL|7

# sorted
select a.n, a.id from (select id, n from q1 where n > 5 and id < 30) a join (values (null), (3), (6)) b (n) on b.n is not distinct from a.n
----
6|13
6|20
6|27
6|6

select a.n from (select n from q1 where n > 5) a intersect select * from (values (null), (3), (6)) b (n)
----
6

# sorted
select a.n from q1 a intersect select * from (values (null), (3), (9)) b (n)
----
3
NULL

# sorted
select a.id from (select id, v from q1 where v = 2990) a join (values (1), (2990)) b (id) on b.id = a.id
----
2990

# sorted
select a.id, b.id from (select id from q1 where id = null::int) a join (values (1), (2995)) b (id) on b.id = a.id
----

# sorted
select b.id, a.id from (values (1), (2995)) b (id) left join (select id from q1 where id > 2990) a on b.id = a.id
----
1|NULL
2995|2995

# sorted
select id from q1 where id > 2990 and id in (select x from (values (1), (2995)) s (x))
----
2995

# sorted
select a.id from (select id from q1 where id > 2990) a join (values (1::bigint), (2995), (5000000000)) b (id) on b.id = a.id
----
2995

# Below a limit.
select b.id from (values (2000), (1)) s (x) join (select id from q1 order by id limit 100) b on b.id = s.x
----
1

select b.v from (values (2000), (2950)) s (x) join (select v from q1 order by v desc limit 100) b on b.v = s.x
----
2950

select b.id from (values (2000), (1)) s (x) join (select id from q1 order by id offset 5 limit 100) b on b.id = s.x
----

select b.n from (values (2000), (1)) s (x) join (select id, n from q1 order by n, id limit 100) b on b.id = s.x
----
1

select b.id from (values (2000), (1)) s (x) join (select id from q1 where w = 0 order by id limit 3) b on b.id = s.x
----

# The limit goes into the join below it.
select b.id from (values (1), (2000), (2001)) s (x) join (select a.id from q1 a join q1 c on c.id = a.v order by a.id limit 10) b on b.id = s.x
----
1

select b.id from (values (1), (2000), (2001)) s (x) join (select a.id from q1 a join q1 c on c.id = a.v order by c.id limit 10) b on b.id = s.x
----
1

select b.id from (values (1), (2000), (2001)) s (x) join (select c.id from q1 a join q1 c on c.id = a.v order by c.id limit 10) b on b.id = s.x
----
1

select b.id from (values (1), (2000), (2001)) s (x) join (select c.id from (values (2000), (1), (3)) a (id) join q1 c on c.id >= a.id and c.w = c.w order by c.id limit 10) b on b.id = s.x
----
1

select b.w from (values (1), (4)) s (x) join (select w from q1 group by w order by w limit 2) b on b.w = s.x
----
1

select b.w from (values (1), (4)) s (x) join (select distinct w from q1 order by w limit 2) b on b.w = s.x
----
1

select x from (values (1), (2000)) s (x) where x in (select a.id from q1 a join q1 c on c.id = a.v order by a.id limit 10)
----
1

delete from q1 using (select id from q1 order by id limit 1000) b where b.id = q1.id and q1.id in (2000, 2001) returning q1.id
----

update q1 set w = -1 from (select id from q1 order by id desc limit 10) b where b.id = q1.id and q1.id in (2000, 2999) returning q1.id
----
2999

# A filter decides how much is to be read for a limit.
select id from q1 where w + n = 5 order by id offset 80 limit 3
----
1131
1143
1160

select id from q1 where w + n = 5 order by id desc offset 80 limit 3
----
1872
1860
1843

select count(*) from (select id from q1 where v + 0 > 5 limit 2500) a
----
2500

select count(*) from (select id from q1 where v + 0 > 5 and id in (1, 7, 8, 64, 128, 2999, 4000) limit 10) a
----
5

select v from q1 where w in (3, 4, 5) and v % 100 = 3 order by w, v offset 25 limit 10
----
2503
2603
2703
2803
2903

select v from q1 where w in (3, 4, 5) and v % 100 = 4 order by w desc, v desc offset 25 limit 10
----
404
304
204
104
4
