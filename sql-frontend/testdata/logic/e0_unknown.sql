# What is null, and what cannot be.

create table t (a int primary key, b int, c text, g bool)
----

insert into t values (1, 2, 'x', true), (2, 2, 'z', false), (3, null, null, null)
----

select a not in (nullif(b, 99), 1) from (values (9, 7)) t(a, b)
----
t

select a in (nullif(b, 0), 1, -2), a not in (nullif(b, 0), 1, -2) from t order by a
----
t|f
t|f
NULL|NULL

select a from t where a not in (nullif(b, 0), 1, -2)
----

select a in (case when b = 2 then null else b end, 2), a in (case when b = 2 then a end, 0) from t order by a
----
NULL|t
t|t
NULL|NULL

select a in (coalesce(b, 3), 0), a not in (coalesce(b, a)), a in (b, a + 1, null), a in (b) from t order by a
----
f|t|NULL|f
t|f|t|t
t|f|NULL|NULL

select c in (case when a = 1 then 'x' end, 'y'), c not in (nullif(c, 'z'), 'q') from t order by a
----
t|f
NULL|NULL
NULL|NULL

select g in (b = 2, null), g in (a = 1 and b = 2, false), g not in (a > 1 or b > 1) from t order by a
----
t|t|f
NULL|t|t
NULL|NULL|NULL

select a in (case when b is null then 3 else 1 / (b - 2 + a) end, 7) from t where a = 3
----
t

select a, a in (greatest(b, 1), least(a, b)) from t order by a
----
1|t
2|t
3|t

select count(*) from t where a in (nullif(a, 2), 5) and b in (nullif(b, 1), a)
----
1

select max(a) in (nullif(count(*), 0), max(b)), sum(a) not in (nullif(max(b), 2), 1) from t
----
t|NULL

select distinct (c < 'z') is true from t order by 1
----
f
t

select distinct (c < 'z') is not true, g is false, g is not false, g is unknown, g is not unknown, g is true from t order by 1, 2, 3, 4, 5, 6
----
f|f|t|f|t|t
t|f|t|t|f|f
t|t|f|f|t|f

select g is true from t union select false order by 1
----
f
t

select g is not true from t union all select g is false from t except select g is unknown from t where a = 1 order by 1
----
t

select g is not false from t intersect select true
----
t

select g is true, count(*) from t group by 1 order by 1
----
f|2
t|1

select g is not true as n, b is null, count(*) from t group by g is not true, b is null order by 1, 2
----
f|f|1
t|f|1
t|t|1

select distinct coalesce(b, 0), coalesce(g, false), b is distinct from 2, nullif(b, 2) is null, case when b is null then 0 else b end, b in (2), a in (1, 2), c like 'x' from t order by 1, 2, 3
----
0|f|t|t|0|NULL|f|NULL
2|f|f|t|2|t|t|f
2|t|f|t|2|t|t|t

select distinct on (g is true) g is true, a from t order by g is true, a
----
f|2
t|1

select distinct (b > 0 and 10 / b > 1) is not true, (b > 5 or 10 / b > 1) is true from t order by 1, 2
----
f|t
t|f

select a from t where g is true or (c < 'y') is not false order by a
----
1
3

select x.a, y.a from t x left join t y on (x.a = y.b) is true and y.g is not true order by 1, 2
----
1|NULL
2|2
3|NULL

select x.a from t x left join t y on x.a = y.b where (y.a > 0) is true order by 1
----
2
2

select x.a from t x left join t y on x.a = y.b where (y.a > 0) is not true order by 1
----
1
3

select bool_or(g is unknown), bool_and(g is not true), count(*) filter (where g is not false) from t
----
t|f|2

select array_agg(g is true order by a) from t
----
{t,f,f}

select a = any (array[nullif(b, 0), 1, -2]), a <> all (array[nullif(b, 0), 1, -2]), a = any (array[b, a]) from t order by a
----
t|f|t
t|f|t
NULL|NULL|t
