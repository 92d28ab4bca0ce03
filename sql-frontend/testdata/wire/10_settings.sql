# Settings by functions, and time zones.

select set_config('statement_timeout', '5s', false), current_setting('statement_timeout')
----
5s|5s

show statement_timeout
----
5s

begin
----

select set_config('statement_timeout', '7s', true)
----
7s

show statement_timeout
----
7s

commit
----

show statement_timeout
----
5s

begin; select set_config('statement_timeout', '9s', false); rollback
----
9s

show statement_timeout
----
5s

select set_config('statement_timeout', '1min', false); select 1/0
----
ERROR 22012 -: division by zero

show statement_timeout
----
5s

select set_config('statement_timeout', null, null), set_config('search_path', 'pg_catalog, "A b"', false)
----
0|pg_catalog, "A b"

show search_path
----
pg_catalog, "A b"

reset search_path
----

select set_config('no_such', 'x', false)
----
ERROR 42704 -: unrecognized configuration parameter "no_such"

select set_config(null, 'x', false)
----
ERROR 22004 -: SET requires parameter name

select set_config('statement_timeout', 'soon', false)
----
ERROR 22023 -: invalid value for parameter "statement_timeout": "soon"

select set_config('app.tenant', 'me', false), current_setting('app.tenant')
----
me|me

set app.tenant = 'you'; show app.tenant
----
you

select current_setting('app.other', true)
----
NULL

select current_setting('app.other')
----
ERROR 42704 -: unrecognized configuration parameter "app.other"

select current_setting('jit', true) is null, set_config('jit', 'off', false)
----
f|off

set timezone = '+3'; show timezone; select '2020-01-01 00:00+00'::timestamptz
----
<+03>-03
2020-01-01 03:00:00+03

set timezone = '-3.5'; show timezone; select '2020-01-01 00:00+00'::timestamptz
----
<-03:30>+03:30
2019-12-31 20:30:00-03:30

set timezone = '+03:00'; show timezone; select '2020-01-01 00:00+00'::timestamptz
----
+03:00
2019-12-31 21:00:00-03

set time zone -3; show timezone; select '2020-01-01 00:00+00'::timestamptz
----
<-03>+03
2019-12-31 21:00:00-03

set time zone 'UTC+3'; show timezone; select '2020-01-01 00:00+00'::timestamptz
----
UTC+3
2019-12-31 21:00:00-03

set time zone '<+03>-03'; show timezone; select '2020-01-01 00:00+00'::timestamptz, date '2020-01-01' + time '10:00'
----
<+03>-03
2020-01-01 03:00:00+03|2020-01-01 10:00:00

set time zone interval '+02:30' hour to minute; show timezone; select '2020-01-01 00:00+00'::timestamptz
----
<+02:30>-02:30
2020-01-01 02:30:00+02:30

set time zone interval '1 month'
----
ERROR 22023 -: invalid value for parameter "TimeZone": "INTERVAL '1 mon'"

set time zone 200
----
ERROR 22023 -: invalid value for parameter "TimeZone": "200"

set time zone 'nowhere'
----
ERROR 22023 -: invalid value for parameter "TimeZone": "nowhere"

set time zone local; show timezone
----
UTC

select timestamp '2020-01-01 00:00' at time zone '+3'
----
2020-01-01 03:00:00+00
