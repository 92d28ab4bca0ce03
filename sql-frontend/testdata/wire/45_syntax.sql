# What the parser reads otherwise by itself.

create table t (a int primary key, b int, g bool, s text)
----

insert into t values (1, 2, true, 'xx'), (2, -3, false, null), (3, null, null, 'xay')
----

select a from t where a>-1 and a>=-1 and a<>-1 and a<+9 order by a
----
1
2
3

select 2>+1, 1-+1, 1+-1, 2*-3, 3<-1, 3<=-1, 3<>-1, -(-1), - -1, + -1
----
t|0|0|-6|f|f|t|1|1|-1

select a-1, a -1, a+-1, a-/* not an operator */1 from t where a=-1
----

select 1>/* x */0, 1</* x */0, 7/-- to the end
2
----
t|f|3

select -2 ^ 2, 2 ^ -1, -2 ^ 2 ^ 2, -(2 ^ 2), - 3 * 2, -3 % 2, - a::int ^ 2 from t order by a limit 1
----
4|0.5|16|-4|-6|-1|1

select -2147483648, -32768::int2
----
ERROR 22003 -: smallint out of range

select -a, -b, +b, - - b from t order by a
----
-1|-2|2|2
-2|3|-3|-3
-3|NULL|NULL|NULL

select not exists (select 1) is null, not exists (select 1) is not null, not exists (select 1 where false)
----
t|f|t

select not exists (select 1 from t where a > 5) is unknown, not exists (select 1) is true, not exists (select 1) and false
----
t|f|f

select a from t x where not exists (select 1 from t y where y.a = x.a + 1)
----
3

select a from t x where not not exists (select 1 from t y where y.a = x.a + 1) order by a
----
1
2

select trim(leading from '  a '), trim(trailing from '  a '), trim(both from '  a '), trim(from '  a '), trim('  a ')
----
a |  a|a|a|a

select trim(both from 'yxTomxx', 'xyz'), trim(leading 'x' from s), trim(both 'x' from s), trim(from s, 'x') from t order by a
----
Tom|||
Tom|NULL|NULL|NULL
Tom|ay|ay|ay

select trim(leading 'xxa', 'x'), trim(trailing from 'axx', 'x'), trim(both '  a '), trim(leading 'x' from 'xax')
----
a|a|a|ax

select 3 between symmetric 5 and 1, 3 not between symmetric 5 and 1, 0 between symmetric 5 and 1, 3 between asymmetric 5 and 1
----
t|f|f|f

select a, a between symmetric b and 3, a not between symmetric 3 and b, b between symmetric null and 1 from t order by a
----
1|f|t|NULL
2|t|f|NULL
3|NULL|NULL|NULL

select a from t where a between symmetric 3 and 2 and b is null
----
3

select 1 < 2 = true
----
ERROR 42601 14: syntax error at or near "="

select a = b = g from t
----
ERROR 42601 14: syntax error at or near "="

select (1 < 2) = true, 1 < 2 is true, 1 + 1 = 2 and 2 > 1
----
t|t|t

select a from only t order by a
----
1
2
3

select x.a from only t x join only t y on x.a = y.a, only t z where z.a = x.a order by 1
----
1
2
3

update only t set b = b + 1 where a = 1
----

delete from only t where a = 2
----

select a, b from t order by a
----
1|3
3|NULL

create table arrayed (a int array, b text array[3], c timestamp with time zone array)
----

insert into arrayed values (array[1, 2], '{x,yz}', null) returning a, b, c
----
{1,2}|{x,yz}|NULL

select '{5}'::int array, cast('{a,b}' as text array), array[1] || 2, a[1] + b[1]::int array from (select array[7] a, array['{8}'] b) q
----
ERROR 42883 75: operator does not exist: integer + integer[]

select '{5}'::int array, cast('{a,b}' as text array), array[1] || 2, 3 = any (array[3])
----
{5}|{a,b}|{1,2}|t

select 5 array
----
ERROR 42601 10: syntax error at or near "array"

drop table arrayed
----

select 1 is distinct from 2 is null
----
ERROR 42601 29: syntax error at or near "is"

select 1 is distinct from 2 is not distinct from true
----
ERROR 42601 29: syntax error at or near "is"

select 'a' like 'b' like 'c'
----
ERROR 42601 21: syntax error at or near "like"

select 1 between 0 and 2 between false and true
----
ERROR 42601 26: syntax error at or near "between"

select 1 from (values (1)) a (x) for update of public.a
----
ERROR 42601 48: FOR UPDATE must specify unqualified relation names

select b isnull, s isnull, a + 1 isnull, not b isnull from (values (1, 2, 'xx'), (2, -3, null), (3, null, 'xay')) v (a, b, s) order by a
----
f|f|f|t
f|t|f|t
t|f|f|f

select a from (values (1, 2, 'xx'), (2, -3, null), (3, null, 'xay')) v (a, b, s) where s isnull and b notnull
----
2

select 5 isnull is false, null isnull, 5 isnull isnull, 1 as isnull
----
t|t|f|1

select 1 is distinct from 2 isnull
----
ERROR 42601 29: syntax error at or near "isnull"

# Numbers of rows that are expressions.
select a from t order by a fetch first (1 + 1) rows only
----
1
3

select a from t order by a offset 1 rows fetch next (select 1) row only
----
3

select a from t order by a desc fetch first (1) rows only for update
----
3

select a from (select a from t order by a fetch first (2) rows only) x order by a fetch first row only
----
1

select a from t limit 1 fetch first (1) rows only
----
ERROR 42601 25: syntax error at or near "fetch"
