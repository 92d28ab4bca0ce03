# INSERT … ON CONFLICT.

create table t (a int primary key, b text, n int default 0)
----

insert into t values (1, 'x'), (2, 'y')
----

# A row that the condition leaves as it is may be proposed again.
insert into t values (1, 'p'), (1, 'q') on conflict (a) do update set b = excluded.b where t.b = 'none' returning a
----

insert into t values (1, 'p'), (1, 'q'), (1, 'r') on conflict (a) do update set b = excluded.b where excluded.b >= 'q' returning a, b
----
ERROR 21000 -: ON CONFLICT DO UPDATE command cannot affect row a second time

insert into t values (1, 'p'), (1, 'q'), (1, 'o') on conflict (a) do update set b = excluded.b where excluded.b >= 'q' returning a, b
----
ERROR 21000 -: ON CONFLICT DO UPDATE command cannot affect row a second time

insert into t values (5, 'p'), (5, 'q') on conflict (a) do update set b = excluded.b where false
----
ERROR 21000 -: ON CONFLICT DO UPDATE command cannot affect row a second time

select * from t order by a
----
1|x|0
2|y|0
