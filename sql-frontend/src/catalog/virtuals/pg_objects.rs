//! Types, databases, roles and the other things that drivers ask for by OID.

use super::{Make, Rows, Spec, oid, text};
use crate::{
    error::SqlError,
    session::view::SessionView,
    types::{Category, Datum, PgType},
};
use Datum::{Bool, Null, Oid};

const PG: &str = "pg_catalog";

pub static TABLES: &[Spec] = &[
    Spec(
        PG,
        "pg_type",
        "oid:oid typname:name typnamespace:oid typowner:oid typlen:int2 typbyval:bool typtype:char typcategory:char \
         typispreferred:bool typisdefined:bool typdelim:char typrelid:oid typsubscript:text typelem:oid typarray:oid \
         typinput:text typoutput:text typreceive:text typsend:text typalign:char typstorage:char typnotnull:bool \
         typbasetype:oid typtypmod:int4 typndims:int4 typcollation:oid typdefault:text typacl:_text",
        Make::Now(types),
    ),
    Spec(
        PG,
        "pg_database",
        "oid:oid datname:name datdba:oid encoding:int4 datlocprovider:char datistemplate:bool datallowconn:bool \
         datconnlimit:int4 dattablespace:oid datcollate:text datctype:text daticulocale:text datcollversion:text \
         datacl:_text",
        Make::Now(databases),
    ),
    Spec(
        PG,
        "pg_roles",
        "rolname:name rolsuper:bool rolinherit:bool rolcreaterole:bool rolcreatedb:bool rolcanlogin:bool \
         rolreplication:bool rolconnlimit:int4 rolpassword:text rolvaliduntil:timestamptz rolbypassrls:bool \
         rolconfig:_text oid:oid",
        Make::Now(roles),
    ),
    Spec(
        PG,
        "pg_user",
        "usename:name usesysid:oid usecreatedb:bool usesuper:bool userepl:bool usebypassrls:bool passwd:text \
         valuntil:timestamptz useconfig:_text",
        Make::Now(users),
    ),
    Spec(PG, "pg_am", "oid:oid amname:name amhandler:text amtype:char", Make::Now(methods)),
    Spec(
        PG,
        "pg_collation",
        "oid:oid collname:name collnamespace:oid collowner:oid collprovider:char collisdeterministic:bool \
         collencoding:int4 collcollate:text collctype:text colliculocale:text collversion:text",
        Make::Now(collations),
    ),
    Spec(
        PG,
        "pg_tablespace",
        "oid:oid spcname:name spcowner:oid spcacl:_text spcoptions:_text",
        Make::Now(tablespaces),
    ),
    Spec(
        PG,
        "pg_language",
        "oid:oid lanname:name lanowner:oid lanispl:bool lanpltrusted:bool lanplcallfoid:oid laninline:oid \
         lanvalidator:oid lanacl:_text",
        Make::Now(languages),
    ),
];

/// Users exist from the start.
pub const USERS: [(&str, u32); 2] = [("root", oid::ROOT), ("postgres", 16)];

fn category(ty: PgType) -> &'static str {
    match ty.category() {
        Category::Array => "A",
        Category::Boolean => "B",
        Category::Numeric => "N",
        Category::String => "S",
        Category::DateTime => "D",
        Category::Timespan => "T",
        Category::UserDefined => "U",
        Category::Unknown => "X",
        Category::Internal => "Z",
        Category::Pseudo => "P",
    }
}

fn types(_: &SessionView) -> Result<Rows, SqlError> {
    let mut rows = Vec::new();
    for ty in PgType::all() {
        let name = if ty == PgType::Char { "char" } else { ty.name() };
        let kind = if matches!(ty, PgType::Unknown | PgType::Void) { "p" } else { "b" };
        rows.push(row(
            ty,
            ty.oid(),
            name.into(),
            ty.len(),
            kind,
            category(ty),
            ty.element().map_or(0, PgType::oid),
            ty.array_oid(),
        ));
        if ty.array_oid() != 0 {
            // Drivers look arrays up even where nothing returns them.
            rows.push(row(ty, ty.array_oid(), format!("_{name}"), -1, "b", "A", ty.oid(), 0));
        }
    }
    Ok(rows)
}

#[allow(clippy::too_many_arguments)]
fn row(
    ty: PgType,
    number: u32,
    name: String,
    len: i16,
    kind: &str,
    category: &str,
    element: u32,
    array: u32,
) -> Vec<Datum> {
    let function = |suffix: &str| {
        text(if element != 0 { format!("array_{suffix}") } else { format!("{}{suffix}", ty.name()) })
    };
    vec![
        Oid(number),
        text(name),
        Oid(oid::PG_CATALOG),
        Oid(oid::ROOT),
        Datum::Int2(len),
        Bool(len > 0 && len <= 8),
        text(kind),
        text(category),
        Bool(element == 0 && ty.is_preferred()),
        Bool(true),
        text(","),
        Oid(0),
        text(if element != 0 { "array_subscript_handler" } else { "-" }),
        Oid(element),
        Oid(array),
        function("in"),
        function("out"),
        function("recv"),
        function("send"),
        text("i"),
        text(if len < 0 { "x" } else { "p" }),
        Bool(false),
        Oid(0),
        Datum::Int4(-1),
        Datum::Int4(0),
        Oid(super::pg_catalog::collation(ty)),
        Null,
        Null,
    ]
}

fn databases(_: &SessionView) -> Result<Rows, SqlError> {
    let row = |number: u32, name: &str| {
        vec![
            Oid(number),
            text(name),
            Oid(oid::ROOT),
            Datum::Int4(6),
            text("c"),
            Bool(false),
            Bool(true),
            Datum::Int4(-1),
            Oid(1663),
            text("C"),
            text("C.UTF-8"),
            Null,
            Null,
            Null,
        ]
    };
    Ok(oid::DATABASES.iter().map(|(number, name)| row(*number, name)).collect())
}

fn roles(_: &SessionView) -> Result<Rows, SqlError> {
    let row = |(name, number): &(&str, u32)| {
        vec![
            text(*name),
            Bool(true),
            Bool(true),
            Bool(true),
            Bool(true),
            Bool(true),
            Bool(false),
            Datum::Int4(-1),
            text("********"),
            Null,
            Bool(true),
            Null,
            Oid(*number),
        ]
    };
    Ok(USERS.iter().map(row).collect())
}

fn users(_: &SessionView) -> Result<Rows, SqlError> {
    let row = |(name, number): &(&str, u32)| {
        vec![
            text(*name),
            Oid(*number),
            Bool(true),
            Bool(true),
            Bool(false),
            Bool(true),
            text("********"),
            Null,
            Null,
        ]
    };
    Ok(USERS.iter().map(row).collect())
}

fn methods(_: &SessionView) -> Result<Rows, SqlError> {
    Ok(vec![
        vec![Oid(2), text("heap"), text("heap_tableam_handler"), text("t")],
        vec![Oid(oid::BTREE), text("btree"), text("bthandler"), text("i")],
    ])
}

fn collations(_: &SessionView) -> Result<Rows, SqlError> {
    let row = |number: u32, name: &str, provider: &str| {
        vec![
            Oid(number),
            text(name),
            Oid(oid::PG_CATALOG),
            Oid(oid::ROOT),
            text(provider),
            Bool(true),
            Datum::Int4(-1),
            text("C"),
            text("C"),
            Null,
            Null,
        ]
    };
    Ok(vec![row(100, "default", "d"), row(oid::COLLATION_C, "C", "c")])
}

fn tablespaces(_: &SessionView) -> Result<Rows, SqlError> {
    Ok(vec![vec![Oid(1663), text("pg_default"), Oid(oid::ROOT), Null, Null]])
}

fn languages(_: &SessionView) -> Result<Rows, SqlError> {
    Ok(vec![vec![
        Oid(14),
        text("sql"),
        Oid(oid::ROOT),
        Bool(false),
        Bool(true),
        Oid(0),
        Oid(0),
        Oid(0),
        Null,
    ]])
}
