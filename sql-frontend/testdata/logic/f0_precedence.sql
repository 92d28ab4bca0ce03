# How tightly operators bind.

select 1 where 1 is not distinct from 1 and true
----
1

select a is distinct from b and c, (a is distinct from b) and c from (values (true, true, false)) v (a, b, c)
----
f|f

select a is distinct from b or c from (values (true, true, true)) v (a, b, c)
----
t

select (1 is distinct from 2) is null
----
f

select 1 is distinct from 2 = true
----
ERROR 42883 29: operator does not exist: integer = boolean

select 1 = 1 is distinct from 2 = 2
----
f

select not 1 is distinct from 1
----
t

select case when 1 is distinct from 2 then 'x' end, array[1 is distinct from 2, true]
----
x|{t,t}

select @ -5 + 2, ~ 1 + 2, |/ 4.0 + 5, ~ 1 | 2
----
3|-4|3|-2

select true = 'a' ~ 'a', 'a' ~ 'a' || 'b'
----
t|trueb

select 'a' ~ 'b' = false
----
t

select 'a' ~ any (array['b', 'a']) and true, 'a' ~ all (array['a'] || array['b'])
----
t|f

select 'a' like any (array['b', 'a'])::int
----
1

select true between 1 < 2 and true
----
t

select 'b'::text collate "C" || 'a'::text collate "C" < 'c'
----
t

select 1 operator(pg_catalog.+) 2 * 3, 1 + 2 operator(pg_catalog.=) 3
----
7|t

select 2 ^ 3 ^ 2, -2 ^ 2, - 2 ^ 0.5 is null
----
ERROR 2201F -: a negative number raised to a non-integer power yields a complex result

select timestamp '2020-01-01 00:00:00' at time zone 'UTC' at time zone 'UTC' is distinct from null and false
----
f

select '%' collate "C" !~~ 'tr%' collate "C" is null
----
f

select '%' not similar to 'tr%' and '1' ~ 'tr%'
----
f

select '%' || '%' collate "C" || 'b' || 0 || 'b' || 3
----
%%b0b3

select '%' || 'a' collate "C" || 0 + 2 + 1 + 4
----
%a7

select '1' collate "C" collate "C" || false::int::text::int
----
10

select '1' collate "C" || 'tr%' || 'tr%' collate "C"
----
1tr%tr%

select '1' collate "C" || 7 * 7 < '1' || 'tr%' || 7 ^ 3
----
t

select '1' || '1' is distinct from '1' || '%'
----
t

select '1' || 'ab' || '%' collate "C"
----
1ab%

select '1' || 'ab' || '1' || 'tr%' collate "C"
----
1ab1tr%

select '1' || 'ab' || 3::text::int || 'tr%' collate "C" collate "C"
----
1ab3tr%

select '1' || 4 || '1' collate "C" || - 1 ^ 1
----
141-1

select 'a' = '1' is distinct from true or false
----
t

select 'a' = '1' is not distinct from '%' !~~ any (array['tr%'])
----
f

select 'a' collate "C" || '1' collate "C" || 'b' || 'b' || 'b' collate "C"
----
a1bbb

select 'a' collate "C" || 'tr%' || 'b'
----
atr%b

select 'a' collate "C" || + 4 ~ any (array['b' collate "C" || 'b' || 1])
----
f

select 'a' || 'a' || 'ab' collate "C" collate "C"
----
aaab

select 'a' || 2 ~~ any (array['tr%' collate "C"])
----
f

select 'a' ~ any (array['b']) or false >= null::bool
----
NULL

select 'ab' collate "C" || '1' || '1'
----
ab11

select 'ab' similar to 'tr%' is not distinct from true = false
----
t

select 'ab' || '1' || 'a' || 'a' || 'tr%' || 7 || 'a' || 2
----
ab1aatr%7a2

select 'ab' || 'b' collate "C" = 'tr%' collate "C" || 'a' || 'b'
----
f

select 'ab' || 'tr%' collate "C" collate "C"
----
abtr%

select 'ab' || 'tr%' || 'ab' collate "C" || 0 ^ 7 ^ 2::text::int
----
abtr%ab0

select 'ab' || 1 = 'a' || null::int
----
NULL

select 'ab' || 3 || 'b' || 'ab' || 'b' collate "C" collate "C"
----
ab3babb

select 'ab' || 7 || 'a' || '1' like any (array['a' || 0 || '%' || '%'])
----
f

select 'ab' ~~ 'tr%' and null::bool is distinct from false
----
f

select 'b' collate "C" || '%' || 'tr%' || 7 + 1 / 4 + 1
----
b%tr%8

select 'b' collate "C" || '%' || 4 ~ any (array['%' || 'tr%' collate "C"])
----
f

select 'b' collate "C" || 'b' || 'b'
----
bbb

select 'b' collate "C" || false::int || '%' || 'ab' collate "C"
----
b0%ab

select 'b' || 'a' || 'a' collate "C" || 'b' collate "C" || '%' collate "C"
----
baab%

select 'b' || 'tr%' collate "C" collate "C"
----
btr%

select 'b' || 'tr%' like any (array['1' || 'a'])
----
f

select 'b' || 1 || 'tr%' collate "C"
----
b1tr%

select 'tr%' < 'a' or false is distinct from null::bool
----
t

select 'tr%' collate "C" || 'a' || 'b' < '%' || 4 || 1::text::int
----
f

select 'tr%' || '%' || 'b' || 1 || '1' || 7 || '%' || '%'
----
tr%%b117%%

select 'tr%' || 'a' = 'tr%' || 'tr%'
----
f

select 'tr%' || 'b' || 'ab' collate "C" < 'tr%' || 'a' collate "C"
----
f

select 'tr%' || 'tr%' || '%' || 'ab'
----
tr%tr%%ab

select 'tr%' || 'tr%' || 3::text::int || 1 ^ 4 - 4 % 4
----
tr%tr%31

select 'tr%' ~ any (array['1']) is distinct from '%' similar to 'a'
----
f

select + null::int / 1 not between 3 >> 4 + 3 + 4 and - 1::text::int
----
NULL

select - 4 + 7 in (4, + 0 ^ 1::text::int)
----
f

select - 4 | null::int is not distinct from + 2 ^ null::int
----
t

select 0 + 3 between 1::text::int and 3 * 4
----
t

select 0 = any (array[4, 3])::int is not distinct from true::int + @ 7
----
f

select 0 = any (array[4, null::int]) is not true
----
t

select 0 ^ 0 + false::int::text::int
----
1

select 0::text::int is not distinct from + 2
----
f

select 0::text::int not between symmetric true::int and true::int
----
t

select 1 + 4 ^ 0 + null::int < 7 * null::int + 4 ^ 7
----
NULL

select 1 - 4::text::int is distinct from @ 4 - ~ 2
----
t

select 1 = any (array[null::int, 4]) is null
----
t

select 1::text::int = any (array[0 ^ null::int, 7])
----
NULL

select 2 & 0 = any (array[4 >> 4, 4]) and false::int is distinct from 7 % 2
----
t

select 2 * 2 < any (array[4 - 0, 4])
----
f

select 2 + 1 - null::int / 2::text::int
----
NULL

select 2 - null::int is not distinct from 4::text::int
----
f

select 2 < 1 is not distinct from null::int >= 0
----
f

select 2 <= 2 is distinct from null::bool not between false and true
----
t

select 2::text::int between symmetric 4::text::int and 7 ^ 0
----
t

select 2::text::int is not distinct from 7 ^ 4
----
f

select 2::text::int | null::int + 7 is not distinct from 0::text::int & - 7
----
f

select 3 + 0 / - 2 # 3::text::int::text::int
----
0

select 3 - 7 < any (array[0 - 0, 0])
----
t

select 3 << 2 < 2 / 2 is distinct from 7::text::int <> ~ 7
----
t

select 3 is distinct from null::int::int
----
t

select 3::text::int <> null::int - null::int is true
----
f

select 4 * 0 & 7 - 3 - 2 + 4 * 4 % 3 * - 1 - 0 >> 4 - 3
----
0

select 4 * 1 not between symmetric @ 0 and 7::text::int
----
f

select 4 + 4 / true::int + 3::text::int ^ null::int / 7
----
NULL

select 4 <> 4 is not distinct from 2 < 4
----
f

select 7 % 2 + 1 + 3 > 2 << 1 * 1 * 3 is false
----
t

select 7 - 3 = any (array[3 >> 4, 0])
----
f

select 7 <> 3 is distinct from false not between true and false
----
f

select 7 | 3 not between symmetric 1::text::int and 7 + 4 is not null
----
t

select @ 2 ^ 3 + 0::text::int::text::int
----
8

select @ 7 is not distinct from null::int::text::int
----
f

select false != null::bool and 3 < any (array[1, 1])
----
f

select false >= true and 4 < any (array[null::int, null::int])
----
f

select false and false is distinct from false not in (null::bool)
----
f

select false and null::bool and null::int is not distinct from null::int
----
f

select false and true and false in (true)
----
f

select false between true and false or false or true
----
t

select false in (false)::int is distinct from 3 - 0 + 7 % 1
----
t

select false is distinct from false::int < - 0::text::int
----
f

select false is not distinct from true and 2 not between 0 and 2
----
f

select false not in (false) is not distinct from 'tr%' ~~ 'tr%'
----
f

select false or true is not distinct from false not in (false)
----
f

select false::int is not distinct from 4::text::int
----
f

select not '%' !~~ any (array['b']) or true >= false
----
t

select not 'ab' || 'ab' ~ any (array['b' || 0])
----
t

select not 'b' collate "C" not similar to '%' collate "C"
----
t

select not 3 >= any (array[4, 4]) is distinct from false or null::bool
----
t

select not 7 = any (array[0, 4]) or true is distinct from null::bool
----
t

select not null::int # null::int in (1, 7::text::int)
----
NULL

select not true is not distinct from true
----
f

select null::bool and false <> 7 not between symmetric 3 and 7::int
----
f

select null::bool not between false and true is distinct from 0 <= 0
----
t

select null::bool or true or not true
----
t

select null::bool or true or true is not distinct from true
----
t

select null::bool::int is not distinct from ~ 1
----
f

select null::int % 2 not between null::int + 4 and 3 % 3
----
NULL

select null::int + 7 is distinct from 3 + null::int
----
f

select null::int <= 0 is not distinct from 1 < any (array[3, 0])
----
f

select true and null::bool is false
----
f

select true is distinct from false or 4 < 2
----
t

select true is distinct from true::int = any (array[+ 4 + + 1, 7])
----
t

select true is false and true and null::bool
----
f

select true is not distinct from false or null::bool is null
----
t

select true is not null::int is distinct from - 4 ^ 0::text::int
----
f

select true not between false and null::bool is not distinct from 3 = 3
----
f

select true::int / null::int - 7 + ~ null::int + 4 * 2::text::int
----
NULL

select true::int ^ 3::text::int is not distinct from + 2 ^ 2
----
f

select ~ 2 % 7 is distinct from 2 ^ 7 ^ 7 ^ null::int
----
t
