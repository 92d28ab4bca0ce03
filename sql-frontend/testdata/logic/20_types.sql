# literals, unknowns, casts, common types

SELECT 1, -1, 2147483648, 1.5, 'x', true, NULL
----
1|-1|2147483648|1.5|x|t|NULL

SELECT -2147483648, -9223372036854775808
----
-2147483648|-9223372036854775808

SELECT 1 + 2 * 3, 7 / 2, -7 / 2, 7 % 3, 2 ^ 10
----
7|3|-3|1|1024

SELECT 1 / 0
----
ERROR 22012 -: division by zero

SELECT 2147483647 + 1
----
ERROR 22003 -: integer out of range

SELECT 1.0 / 3
----
0.33333333333333333333

SELECT 1.5 + 1, 0.1 + 0.2, 1e3
----
2.5|0.3|1000

SELECT '12'::int + 1, CAST('1.50' AS numeric(5,1)), '2020-02-30'::date
----
ERROR 22008 53: date/time field value out of range: "2020-02-30"

SELECT 'abc'::int
----
ERROR 22P02 8: invalid input syntax for type integer: "abc"

SELECT int '7', date '2020-01-01', interval '1 day 02:03'
----
7|2020-01-01|1 day 02:03:00

SELECT 'abcdef'::varchar(3), 'ab'::char(4) || '|', 3.7::int, 2.5::int, 3.5::int
----
abc|ab||4|3|4

SELECT 1 = '1', 1 < '2'
----
t|t

SELECT 1 = 'x'
----
ERROR 22P02 12: invalid input syntax for type integer: "x"

SELECT 1 || 'a', 'a' || NULL
----
1a|NULL

SELECT 'a' + 1
----
ERROR 22P02 8: invalid input syntax for type integer: "a"

SELECT true + 1
----
ERROR 42883 13: operator does not exist: boolean + integer

SELECT 'a' = true
----
ERROR 22P02 8: invalid input syntax for type boolean: "a"

SELECT CASE WHEN true THEN 1 ELSE 2.5 END
----
1

SELECT CASE WHEN false THEN 1 END
----
NULL

SELECT CASE 3 WHEN 1 THEN 'a' WHEN 3 THEN 'c' ELSE 'z' END
----
c

SELECT CASE WHEN 1 THEN 2 END
----
ERROR 42804 18: argument of CASE/WHEN must be type boolean, not type integer

SELECT CASE WHEN true THEN 1 ELSE 'x' END
----
ERROR 22P02 35: invalid input syntax for type integer: "x"

SELECT CASE WHEN true THEN 1 ELSE true END
----
ERROR 42804 28: CASE types boolean and integer cannot be matched

SELECT COALESCE(NULL, 1, 2.5), COALESCE(NULL, 'x'), NULLIF(1, 1), NULLIF(1, 2)
----
1|x|NULL|1

SELECT GREATEST(1, 2.5, NULL), LEAST('b', 'a')
----
2.5|a

SELECT 1 IN (1, 2), 3 IN (1, 2), 3 IN (1, NULL), NULL IN (1), 1 NOT IN (2, NULL)
----
t|f|NULL|NULL|NULL

SELECT 1 IN (1, 2.5), '2' IN (1, 2)
----
t|t

SELECT 5 BETWEEN 1 AND 10, 5 NOT BETWEEN 1 AND 10, 5 BETWEEN 10 AND 1, NULL BETWEEN 1 AND 2
----
t|f|f|NULL

SELECT NOT true, NOT NULL::bool, true AND NULL, false AND NULL, true OR NULL, false OR NULL
----
f|NULL|NULL|f|t|NULL

SELECT NULL IS NULL, 1 IS NOT NULL, true IS TRUE, NULL::bool IS NOT TRUE, NULL::bool IS UNKNOWN
----
t|t|t|t|t

SELECT 1 IS DISTINCT FROM NULL, NULL IS NOT DISTINCT FROM NULL
----
t|t

SELECT 1 IS TRUE
----
ERROR 42804 8: argument of IS TRUE must be type boolean, not type integer

SELECT NOT 1
----
ERROR 42804 12: argument of NOT must be type boolean, not type integer

SELECT 1 AND true
----
ERROR 42804 8: argument of AND must be type boolean, not type integer

SELECT (1, 2) = (1, 2), (1, 2) < (1, 3), (2, 1) < (1, 3), (1, NULL) = (1, 2), (1, NULL) < (2, 1)
----
t|t|f|NULL|t

SELECT (1, 2) = (1, 2, 3)
----
ERROR 42601 15: unequal number of entries in row expressions

SELECT (1, 2) IN ((1, 2), (3, 4)), (1, 5) IN ((1, 2), (3, 4))
----
t|f

SELECT 'abc' LIKE 'a%', 'abc' LIKE 'A%', 'abc' ILIKE 'A%', 'a_c' LIKE 'a\_c', 'abc' NOT LIKE '%d%'
----
t|f|t|t|t

SELECT substring('hello' from 2 for 3), position('l' in 'hello'), trim(both 'x' from 'xxaxx'), upper('a'), length('héé')
----
ell|3|a|A|3

SELECT abs(-5), round(2.567, 2), floor(-1.5), ceil(1.2), mod(7, 3), power(2, 3), sqrt(16)
----
5|2.57|-2|2|1|8|4

SELECT nofunc(1)
----
ERROR 42883 8: function nofunc(integer) does not exist

SELECT abs('a', 1)
----
ERROR 42883 8: function abs(unknown, integer) does not exist

SELECT 1::nosuchtype
----
ERROR 42704 11: type "nosuchtype" does not exist

SELECT 1::text || 'x', true::text, 1::bool, 'yes'::bool
----
1x|true|t|t

SELECT 1.5::bool
----
ERROR 42846 11: cannot cast type numeric to boolean

SELECT pg_typeof(1)
----
integer

SELECT E'a\nb' = 'a
b'
----
t

SELECT hashtext(s), hashtextextended(s, 0), hashtextextended(s, 1), hashtextextended(s, -7) FROM (VALUES (''), ('x'), ('abcd'), ('abcdefgh'), ('abcdefghi'), ('abcdefghijk'), ('abcdefghijkl'), ('worker:4711, with more than one block of bytes — ünïcödé')) AS v (s)
----
-1477818771|-6939563903564495251|-150071773020461347|7897695672827216937
1074944137|-474845166489675639|-504344683840945215|-5737452938362021082
-393934804|-1038429303365892052|-9042268383291675265|7346167835541129067
-1960928205|-8882191227074733005|-996835456672934620|5765243751216853957
-92131489|-3278210106038014113|5773402991589158274|-825360520361386248
-1483803693|3112909444737856467|8196382510784792041|-7800407695651034862
-1586087212|-7556637188122330412|-6429754808531195817|-2179186698317225985
-1927172667|829641474678304197|-3029753476460289446|-7817837325474390492
