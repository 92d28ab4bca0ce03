//! Catalogs of things that do not exist here: they are there to be looked into, and have no rows.

use super::{Make, Spec};

const PG: &str = "pg_catalog";

pub static TABLES: &[Spec] = &[
    Spec(
        PG,
        "pg_proc",
        "oid:oid proname:name pronamespace:oid proowner:oid prolang:oid prokind:char prorettype:oid proargtypes:oidvector prosrc:text pronargs:int2 provariadic:oid proretset:bool proisstrict:bool provolatile:char",
        Make::Empty,
    ),
    Spec(PG, "pg_views", "schemaname:name viewname:name viewowner:name definition:text", Make::Empty),
    Spec(
        PG,
        "pg_matviews",
        "schemaname:name matviewname:name matviewowner:name tablespace:name hasindexes:bool ispopulated:bool definition:text",
        Make::Empty,
    ),
    Spec(PG, "pg_description", "objoid:oid classoid:oid objsubid:int4 description:text", Make::Empty),
    Spec(PG, "pg_shdescription", "objoid:oid classoid:oid description:text", Make::Empty),
    Spec(PG, "pg_enum", "oid:oid enumtypid:oid enumsortorder:float4 enumlabel:name", Make::Empty),
    Spec(
        PG,
        "pg_range",
        "rngtypid:oid rngsubtype:oid rngmultitypid:oid rngcollation:oid rngsubopc:oid rngcanonical:text rngsubdiff:text",
        Make::Empty,
    ),
    Spec(PG, "pg_inherits", "inhrelid:oid inhparent:oid inhseqno:int4 inhdetachpending:bool", Make::Empty),
    Spec(
        PG,
        "pg_depend",
        "classid:oid objid:oid objsubid:int4 refclassid:oid refobjid:oid refobjsubid:int4 deptype:char",
        Make::Empty,
    ),
    Spec(
        PG,
        "pg_rewrite",
        "oid:oid rulename:name ev_class:oid ev_type:char ev_enabled:char is_instead:bool ev_qual:text ev_action:text",
        Make::Empty,
    ),
    Spec(
        PG,
        "pg_trigger",
        "oid:oid tgrelid:oid tgparentid:oid tgname:name tgfoid:oid tgtype:int2 tgenabled:char tgisinternal:bool tgconstrrelid:oid tgconstrindid:oid tgconstraint:oid tgdeferrable:bool tginitdeferred:bool",
        Make::Empty,
    ),
    Spec(
        PG,
        "pg_policy",
        "oid:oid polname:name polrelid:oid polcmd:char polpermissive:bool polroles:_oid polqual:text polwithcheck:text",
        Make::Empty,
    ),
    Spec(
        PG,
        "pg_statistic_ext",
        "oid:oid stxrelid:oid stxname:name stxnamespace:oid stxowner:oid stxstattarget:int4 stxkeys:int2vector stxkind:_char stxexprs:text",
        Make::Empty,
    ),
    Spec(
        PG,
        "pg_publication",
        "oid:oid pubname:name pubowner:oid puballtables:bool pubinsert:bool pubupdate:bool pubdelete:bool pubtruncate:bool pubviaroot:bool",
        Make::Empty,
    ),
    Spec(
        PG,
        "pg_publication_rel",
        "oid:oid prpubid:oid prrelid:oid prqual:text prattrs:int2vector",
        Make::Empty,
    ),
    Spec(PG, "pg_publication_namespace", "oid:oid pnpubid:oid pnnspid:oid", Make::Empty),
    Spec(PG, "pg_publication_tables", "pubname:name schemaname:name tablename:name", Make::Empty),
    Spec(PG, "pg_subscription", "oid:oid subname:name", Make::Empty),
    Spec(PG, "pg_foreign_table", "ftrelid:oid ftserver:oid ftoptions:_text", Make::Empty),
    Spec(PG, "pg_foreign_server", "oid:oid srvname:name srvowner:oid srvfdw:oid", Make::Empty),
    Spec(PG, "pg_foreign_data_wrapper", "oid:oid fdwname:name fdwowner:oid", Make::Empty),
    Spec(
        PG,
        "pg_extension",
        "oid:oid extname:name extowner:oid extnamespace:oid extrelocatable:bool extversion:text",
        Make::Empty,
    ),
    Spec(
        PG,
        "pg_event_trigger",
        "oid:oid evtname:name evtevent:name evtowner:oid evtenabled:char",
        Make::Empty,
    ),
    Spec(
        PG,
        "pg_partitioned_table",
        "partrelid:oid partstrat:char partnatts:int2 partdefid:oid partattrs:int2vector",
        Make::Empty,
    ),
    Spec(PG, "pg_auth_members", "roleid:oid member:oid grantor:oid admin_option:bool", Make::Empty),
    Spec(PG, "pg_db_role_setting", "setdatabase:oid setrole:oid setconfig:_text", Make::Empty),
    Spec(
        PG,
        "pg_cast",
        "oid:oid castsource:oid casttarget:oid castfunc:oid castcontext:char castmethod:char",
        Make::Empty,
    ),
    Spec(
        PG,
        "pg_operator",
        "oid:oid oprname:name oprnamespace:oid oprleft:oid oprright:oid oprresult:oid",
        Make::Empty,
    ),
    Spec(
        PG,
        "pg_opclass",
        "oid:oid opcmethod:oid opcname:name opcnamespace:oid opcintype:oid opcdefault:bool",
        Make::Empty,
    ),
    Spec(PG, "pg_aggregate", "aggfnoid:oid aggkind:char aggnumdirectargs:int2", Make::Empty),
    Spec(PG, "pg_conversion", "oid:oid conname:name connamespace:oid", Make::Empty),
    Spec(PG, "pg_ts_config", "oid:oid cfgname:name cfgnamespace:oid", Make::Empty),
    Spec(PG, "pg_largeobject_metadata", "oid:oid lomowner:oid lomacl:_text", Make::Empty),
    Spec(PG, "pg_seclabel", "objoid:oid classoid:oid objsubid:int4 provider:text label:text", Make::Empty),
    Spec(
        PG,
        "pg_default_acl",
        "oid:oid defaclrole:oid defaclnamespace:oid defaclobjtype:char defaclacl:_text",
        Make::Empty,
    ),
    Spec(
        PG,
        "pg_prepared_xacts",
        "transaction:text gid:text prepared:timestamptz owner:name database:name",
        Make::Empty,
    ),
];
