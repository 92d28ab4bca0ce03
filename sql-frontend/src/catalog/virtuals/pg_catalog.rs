//! `pg_class`, `pg_attribute`, `pg_index` and what else describes tables.

use super::{Make, Rows, Spec, int2, oid, text};
use crate::{
    catalog::{ColumnDescriptor, IndexDescriptor, IndexState, SequenceDescriptor, Snapshot, TableDescriptor},
    error::SqlError,
    session::view::SessionView,
    types::{Category, Datum, PgType},
};
use Datum::{Bool, Null, Oid};

const PG: &str = "pg_catalog";

pub static TABLES: &[Spec] = &[
    Spec(PG, "pg_namespace", "oid:oid nspname:name nspowner:oid nspacl:_text", Make::Now(namespaces)),
    Spec(
        PG,
        "pg_class",
        "oid:oid relname:name relnamespace:oid reltype:oid reloftype:oid relowner:oid relam:oid relfilenode:oid \
         reltablespace:oid relpages:int4 reltuples:float4 relallvisible:int4 reltoastrelid:oid relhasindex:bool \
         relisshared:bool relpersistence:char relkind:char relnatts:int2 relchecks:int2 relhasrules:bool \
         relhastriggers:bool relhassubclass:bool relrowsecurity:bool relforcerowsecurity:bool relispopulated:bool \
         relreplident:char relispartition:bool relrewrite:oid relacl:_text reloptions:_text relpartbound:text",
        Make::Now(classes),
    ),
    Spec(
        PG,
        "pg_attribute",
        "attrelid:oid attname:name atttypid:oid attstattarget:int4 attlen:int2 attnum:int2 attndims:int4 \
         attcacheoff:int4 atttypmod:int4 attbyval:bool attalign:char attstorage:char attcompression:char \
         attnotnull:bool atthasdef:bool atthasmissing:bool attidentity:char attgenerated:char attisdropped:bool \
         attislocal:bool attinhcount:int4 attcollation:oid attacl:_text attoptions:_text attfdwoptions:_text attmissingval:text",
        Make::Now(attributes),
    ),
    Spec(
        PG,
        "pg_index",
        "indexrelid:oid indrelid:oid indnatts:int2 indnkeyatts:int2 indisunique:bool indnullsnotdistinct:bool \
         indisprimary:bool indisexclusion:bool indimmediate:bool indisclustered:bool indisvalid:bool \
         indcheckxmin:bool indisready:bool indislive:bool indisreplident:bool indkey:int2vector indcollation:oidvector \
         indclass:oidvector indoption:int2vector indexprs:text indpred:text",
        Make::Now(indexes),
    ),
    Spec(PG, "pg_attrdef", "oid:oid adrelid:oid adnum:int2 adbin:text", Make::Now(defaults)),
    Spec(
        PG,
        "pg_constraint",
        "oid:oid conname:name connamespace:oid contype:char condeferrable:bool condeferred:bool convalidated:bool \
         conrelid:oid contypid:oid conindid:oid conparentid:oid confrelid:oid confupdtype:char confdeltype:char \
         confmatchtype:char conislocal:bool coninhcount:int4 connoinherit:bool conkey:_int2 confkey:_int2 conpfeqop:_oid \
         conppeqop:_oid conffeqop:_oid confdelsetcols:_int2 conexclop:_oid conbin:text",
        Make::Now(constraints),
    ),
    Spec(
        PG,
        "pg_sequence",
        "seqrelid:oid seqtypid:oid seqstart:int8 seqincrement:int8 seqmax:int8 seqmin:int8 seqcache:int8 seqcycle:bool",
        Make::Now(sequences),
    ),
    Spec(
        PG,
        "pg_tables",
        "schemaname:name tablename:name tableowner:name tablespace:name hasindexes:bool hasrules:bool \
         hastriggers:bool rowsecurity:bool",
        Make::Now(tables),
    ),
    Spec(
        PG,
        "pg_indexes",
        "schemaname:name tablename:name indexname:name tablespace:name indexdef:text",
        Make::Now(index_definitions),
    ),
    Spec(
        PG,
        "pg_sequences",
        "schemaname:name sequencename:name sequenceowner:name data_type:regtype start_value:int8 min_value:int8 \
         max_value:int8 increment_by:int8 cycle:bool cache_size:int8 last_value:int8",
        Make::Now(sequence_list),
    ),
];

pub fn schema_oid(snapshot: &Snapshot, name: &str) -> u32 {
    oid::schema(name, snapshot.schemas.get(name).copied())
}

fn namespaces(view: &SessionView) -> Result<Rows, SqlError> {
    let snapshot = view.snapshot();
    let mut names: Vec<&str> = super::SYSTEM_SCHEMAS.to_vec();
    names.push("public");
    names.extend(snapshot.schemas.keys().map(String::as_str));
    names.sort_unstable();
    names.dedup();
    let row = |name: &&str| vec![Oid(schema_oid(snapshot, name)), text(*name), Oid(oid::ROOT), Null];
    Ok(names.iter().map(row).collect())
}

/// The indexes that the catalogs show: all but the hidden row id's.
pub fn shown_indexes(table: &TableDescriptor) -> impl Iterator<Item = &IndexDescriptor> {
    let primary = table.has_declared_key().then_some(&table.primary);
    primary.into_iter().chain(&table.indexes)
}

struct Class<'a> {
    oid: u32,
    name: &'a str,
    namespace: u32,
    am: u32,
    has_index: bool,
    kind: &'static str,
    columns: usize,
    checks: usize,
}

fn class(c: Class<'_>) -> Vec<Datum> {
    vec![
        Oid(c.oid),
        text(c.name),
        Oid(c.namespace),
        Oid(0),
        Oid(0),
        Oid(oid::ROOT),
        Oid(c.am),
        Oid(c.oid),
        Oid(0),
        Datum::Int4(0),
        Datum::Float4(-1.0),
        Datum::Int4(0),
        Oid(0),
        Bool(c.has_index),
        Bool(false),
        text("p"),
        text(c.kind),
        int2(c.columns),
        int2(c.checks),
        Bool(false),
        Bool(false),
        Bool(false),
        Bool(false),
        Bool(false),
        Bool(true),
        text(if c.kind == "r" { "d" } else { "n" }),
        Bool(false),
        Oid(0),
        Null,
        Null,
        Null,
    ]
}

fn classes(view: &SessionView) -> Result<Rows, SqlError> {
    let snapshot = view.snapshot();
    let mut rows = Vec::new();
    for table in snapshot.public_tables() {
        let namespace = schema_oid(snapshot, &table.schema);
        let indexed = shown_indexes(table).next().is_some();
        rows.push(class(Class {
            oid: oid::table(table.id),
            name: &table.name,
            namespace,
            am: 2,
            has_index: indexed,
            kind: "r",
            columns: table.visible_columns().count(),
            checks: table.checks.len(),
        }));
        for index in shown_indexes(table) {
            rows.push(class(Class {
                oid: oid::index(table.id, index.id),
                name: &index.name,
                namespace,
                am: oid::BTREE,
                has_index: false,
                kind: "i",
                columns: index.columns.len(),
                checks: 0,
            }));
        }
    }
    for sequence in snapshot.sequences.values() {
        rows.push(class(Class {
            oid: oid::object(sequence.id),
            name: &sequence.name,
            namespace: schema_oid(snapshot, &sequence.schema),
            am: 0,
            has_index: false,
            kind: "S",
            columns: 3,
            checks: 0,
        }));
    }
    for (number, table) in super::all() {
        rows.push(class(Class {
            oid: number,
            name: table.name,
            namespace: schema_oid(snapshot, table.schema),
            am: 2,
            has_index: false,
            kind: if table.schema == PG { "r" } else { "v" },
            columns: table.shown_columns().count(),
            checks: 0,
        }));
    }
    Ok(rows)
}

fn attribute(
    relation: u32,
    number: i64,
    name: &str,
    ty: PgType,
    typmod: i32,
    column: Option<&ColumnDescriptor>,
) -> Vec<Datum> {
    let fixed = ty.len() > 0 && ty.len() <= 8;
    vec![
        Oid(relation),
        text(name),
        Oid(ty.oid()),
        Datum::Int4(-1),
        Datum::Int2(ty.len()),
        int2(number),
        Datum::Int4(0),
        Datum::Int4(-1),
        Datum::Int4(typmod),
        Bool(fixed),
        text("i"),
        text(if ty.len() < 0 { "x" } else { "p" }),
        text(""),
        Bool(column.is_some_and(|c| !c.nullable)),
        Bool(column.is_some_and(|c| c.default.is_some())),
        Bool(column.is_some_and(|c| c.missing.is_some())),
        text(""),
        text(""),
        Bool(false),
        Bool(true),
        Datum::Int4(0),
        Oid(collation(ty)),
        Null,
        Null,
        Null,
        Null,
    ]
}

/// The type's own collation, so that nobody takes it for one that was asked for.
pub fn collation(ty: PgType) -> u32 {
    match ty {
        PgType::Name => oid::COLLATION_C,
        ty if ty.category() == Category::String => 100,
        _ => 0,
    }
}

fn attributes(view: &SessionView) -> Result<Rows, SqlError> {
    let mut rows = Vec::new();
    for table in view.snapshot().public_tables() {
        for column in table.visible_columns() {
            let number = i64::from(column.id);
            let relation = oid::table(table.id);
            rows.push(attribute(relation, number, &column.name, column.ty, column.typmod, Some(column)));
        }
        for index in shown_indexes(table) {
            let columns = index.columns.iter().filter_map(|c| table.column(c.column));
            for (at, column) in columns.enumerate() {
                let relation = oid::index(table.id, index.id);
                rows.push(attribute(relation, at as i64 + 1, &column.name, column.ty, column.typmod, None));
            }
        }
    }
    for (number, table) in super::all() {
        for (at, column) in table.shown_columns().enumerate() {
            rows.push(attribute(number, at as i64 + 1, &column.name, column.ty, -1, None));
        }
    }
    Ok(rows)
}

fn vector(items: impl Iterator<Item = Datum>) -> Datum {
    Datum::Array(items.collect())
}

fn indexes(view: &SessionView) -> Result<Rows, SqlError> {
    let mut rows = Vec::new();
    for table in view.snapshot().public_tables() {
        for index in shown_indexes(table) {
            let primary = index.id == table.primary.id;
            rows.push(vec![
                Oid(oid::index(table.id, index.id)),
                Oid(oid::table(table.id)),
                int2(index.columns.len()),
                int2(index.columns.len()),
                Bool(index.unique),
                Bool(false),
                Bool(primary),
                Bool(false),
                Bool(true),
                Bool(false),
                Bool(index.state == IndexState::Public),
                Bool(false),
                Bool(index.state != IndexState::DeleteOnly),
                Bool(true),
                Bool(false),
                vector(index.columns.iter().map(|c| int2(c.column))),
                vector(index.columns.iter().map(|_| Oid(0))),
                vector(index.columns.iter().map(|_| Oid(0))),
                vector(index.columns.iter().map(|c| Datum::Int2(if c.descending { 3 } else { 0 }))),
                Null,
                Null,
            ]);
        }
    }
    Ok(rows)
}

fn defaults(view: &SessionView) -> Result<Rows, SqlError> {
    let mut rows = Vec::new();
    for table in view.snapshot().public_tables() {
        for column in table.visible_columns() {
            if let Some(default) = &column.default {
                rows.push(vec![
                    Oid(oid::default(table.id, column.id)),
                    Oid(oid::table(table.id)),
                    int2(i64::from(column.id)),
                    text(shown_default(default)),
                ]);
            }
        }
    }
    Ok(rows)
}

/// A default as PostgreSQL would print it.
pub fn shown_default(default: &str) -> String {
    match default.strip_prefix("nextval('").and_then(|rest| rest.strip_suffix("'::text)")) {
        Some(sequence) => {
            format!("nextval('{}'::regclass)", sequence.strip_prefix("public.").unwrap_or(sequence))
        }
        None => default.to_string(),
    }
}

fn constraints(view: &SessionView) -> Result<Rows, SqlError> {
    let snapshot = view.snapshot();
    let mut rows = Vec::new();
    for table in snapshot.public_tables() {
        let mut put = |number: u32, name: &str, kind: &str, index: u32, key: Datum, condition: Datum| {
            rows.push(vec![
                Oid(oid::constraint(table.id, number)),
                text(name),
                Oid(schema_oid(snapshot, &table.schema)),
                text(kind),
                Bool(false),
                Bool(false),
                Bool(true),
                Oid(oid::table(table.id)),
                Oid(0),
                Oid(index),
                Oid(0),
                Oid(0),
                text(" "),
                text(" "),
                text(" "),
                Bool(true),
                Datum::Int4(0),
                Bool(true),
                key,
                Null,
                Null,
                Null,
                Null,
                Null,
                Null,
                condition,
            ]);
        };
        for index in shown_indexes(table).filter(|index| index.is_constraint()) {
            let kind = if index.id == table.primary.id { "p" } else { "u" };
            let key = vector(index.columns.iter().map(|c| int2(c.column)));
            put(index.id, &index.name, kind, oid::index(table.id, index.id), key, Null);
        }
        for (at, check) in table.checks.iter().enumerate() {
            put(63 - at as u32, &check.name, "c", 0, Null, text(&check.condition));
        }
    }
    Ok(rows)
}

/// What `pg_get_indexdef` says.
pub fn index_definition(table: &TableDescriptor, index: &IndexDescriptor) -> String {
    let columns: Vec<String> = index
        .columns
        .iter()
        .filter_map(|column| {
            let name = quote(&table.column(column.column)?.name);
            Some(if column.descending { format!("{name} DESC") } else { name })
        })
        .collect();
    format!(
        "CREATE {}INDEX {} ON {}.{} USING btree ({})",
        if index.unique { "UNIQUE " } else { "" },
        quote(&index.name),
        quote(&table.schema),
        quote(&table.name),
        columns.join(", ")
    )
}

/// What `pg_get_constraintdef` says of a constraint by its OID.
pub fn constraint_definition(snapshot: &Snapshot, number: u32) -> Option<String> {
    for table in snapshot.public_tables() {
        for index in shown_indexes(table).filter(|index| index.is_constraint()) {
            if oid::constraint(table.id, index.id) == number {
                let names = index.columns.iter().filter_map(|c| Some(quote(&table.column(c.column)?.name)));
                let names: Vec<String> = names.collect();
                let word = if index.id == table.primary.id { "PRIMARY KEY" } else { "UNIQUE" };
                return Some(format!("{word} ({})", names.join(", ")));
            }
        }
        for (at, check) in table.checks.iter().enumerate() {
            if oid::constraint(table.id, 63 - at as u32) == number {
                return Some(format!("CHECK (({}))", check.condition));
            }
        }
    }
    None
}

/// An identifier as it has to be written.
pub fn quote(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_string() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// The type whose bounds it has, as far as they tell.
pub fn sequence_type(sequence: &SequenceDescriptor) -> PgType {
    let bound = if sequence.increment > 0 { sequence.max } else { -(sequence.min + 1) };
    match bound {
        max if max == i64::from(i16::MAX) => PgType::Int2,
        max if max == i64::from(i32::MAX) => PgType::Int4,
        _ => PgType::Int8,
    }
}

fn sequences(view: &SessionView) -> Result<Rows, SqlError> {
    let row = |sequence: &std::sync::Arc<SequenceDescriptor>| {
        vec![
            Oid(oid::object(sequence.id)),
            Oid(sequence_type(sequence).oid()),
            Datum::Int8(sequence.start),
            Datum::Int8(sequence.increment),
            Datum::Int8(sequence.max),
            Datum::Int8(sequence.min),
            Datum::Int8(1),
            Bool(sequence.cycle),
        ]
    };
    Ok(view.snapshot().sequences.values().map(row).collect())
}

fn sequence_list(view: &SessionView) -> Result<Rows, SqlError> {
    let row = |sequence: &std::sync::Arc<SequenceDescriptor>| {
        vec![
            text(&sequence.schema),
            text(&sequence.name),
            text("root"),
            Oid(sequence_type(sequence).oid()),
            Datum::Int8(sequence.start),
            Datum::Int8(sequence.min),
            Datum::Int8(sequence.max),
            Datum::Int8(sequence.increment),
            Bool(sequence.cycle),
            Datum::Int8(1),
            Null,
        ]
    };
    Ok(view.snapshot().sequences.values().map(row).collect())
}

fn tables(view: &SessionView) -> Result<Rows, SqlError> {
    let row = |table: &std::sync::Arc<TableDescriptor>| {
        vec![
            text(&table.schema),
            text(&table.name),
            text("root"),
            Null,
            Bool(shown_indexes(table).next().is_some()),
            Bool(false),
            Bool(false),
            Bool(false),
        ]
    };
    Ok(view.snapshot().public_tables().map(row).collect())
}

fn index_definitions(view: &SessionView) -> Result<Rows, SqlError> {
    let mut rows = Vec::new();
    for table in view.snapshot().public_tables() {
        for index in shown_indexes(table) {
            rows.push(vec![
                text(&table.schema),
                text(&table.name),
                text(&index.name),
                Null,
                text(index_definition(table, index)),
            ]);
        }
    }
    Ok(rows)
}
