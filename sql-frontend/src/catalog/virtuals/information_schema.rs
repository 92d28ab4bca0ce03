//! The standard's views.

use super::{Make, Rows, Spec, int4, pg_catalog, text};
use crate::{
    catalog::SequenceDescriptor,
    error::SqlError,
    session::view::SessionView,
    types::{Datum, PgType},
};
use Datum::Null;

const IS: &str = "information_schema";

pub static TABLES: &[Spec] = &[
    Spec(
        IS,
        "schemata",
        "catalog_name:name schema_name:name schema_owner:name default_character_set_catalog:name \
         default_character_set_schema:name default_character_set_name:name sql_path:text",
        Make::Now(schemata),
    ),
    Spec(
        IS,
        "tables",
        "table_catalog:name table_schema:name table_name:name table_type:text self_referencing_column_name:name \
         reference_generation:text user_defined_type_catalog:name user_defined_type_schema:name \
         user_defined_type_name:name is_insertable_into:text is_typed:text commit_action:text",
        Make::Now(tables),
    ),
    Spec(
        IS,
        "columns",
        "table_catalog:name table_schema:name table_name:name column_name:name ordinal_position:int4 \
         column_default:text is_nullable:text data_type:text character_maximum_length:int4 \
         character_octet_length:int4 numeric_precision:int4 numeric_precision_radix:int4 numeric_scale:int4 \
         datetime_precision:int4 udt_catalog:name udt_schema:name udt_name:name is_identity:text \
         identity_generation:text is_generated:text generation_expression:text is_updatable:text",
        Make::Now(columns),
    ),
    Spec(
        IS,
        "table_constraints",
        "constraint_catalog:name constraint_schema:name constraint_name:name table_catalog:name table_schema:name \
         table_name:name constraint_type:text is_deferrable:text initially_deferred:text enforced:text",
        Make::Now(table_constraints),
    ),
    Spec(
        IS,
        "key_column_usage",
        "constraint_catalog:name constraint_schema:name constraint_name:name table_catalog:name table_schema:name \
         table_name:name column_name:name ordinal_position:int4 position_in_unique_constraint:int4",
        Make::Now(key_column_usage),
    ),
    Spec(
        IS,
        "constraint_column_usage",
        "table_catalog:name table_schema:name table_name:name column_name:name constraint_catalog:name \
         constraint_schema:name constraint_name:name",
        Make::Now(constraint_column_usage),
    ),
    Spec(
        IS,
        "check_constraints",
        "constraint_catalog:name constraint_schema:name constraint_name:name check_clause:text",
        Make::Now(check_constraints),
    ),
    Spec(
        IS,
        "sequences",
        "sequence_catalog:name sequence_schema:name sequence_name:name data_type:text numeric_precision:int4 \
         numeric_precision_radix:int4 numeric_scale:int4 start_value:text minimum_value:text maximum_value:text \
         increment:text cycle_option:text",
        Make::Now(sequences),
    ),
    Spec(
        IS,
        "referential_constraints",
        "constraint_catalog:name constraint_schema:name constraint_name:name unique_constraint_catalog:name \
         unique_constraint_schema:name unique_constraint_name:name match_option:text update_rule:text delete_rule:text",
        Make::Empty,
    ),
    Spec(
        IS,
        "views",
        "table_catalog:name table_schema:name table_name:name view_definition:text",
        Make::Empty,
    ),
    Spec(
        IS,
        "routines",
        "specific_catalog:name specific_schema:name specific_name:name routine_name:name",
        Make::Empty,
    ),
];

fn yes(flag: bool) -> Datum {
    text(if flag { "YES" } else { "NO" })
}

fn schemata(view: &SessionView) -> Result<Rows, SqlError> {
    let mut names: Vec<&str> = super::SYSTEM_SCHEMAS.to_vec();
    names.push("public");
    names.extend(view.snapshot().schemas.keys().map(String::as_str));
    names.sort_unstable();
    names.dedup();
    let row = |name: &&str| vec![text(&view.database), text(*name), text("root"), Null, Null, Null, Null];
    Ok(names.iter().map(row).collect())
}

fn tables(view: &SessionView) -> Result<Rows, SqlError> {
    let row = |schema: &str, name: &str, kind: &str| {
        let mut row = vec![text(&view.database), text(schema), text(name), text(kind)];
        row.extend([Null, Null, Null, Null, Null, yes(kind == "BASE TABLE"), yes(false), Null]);
        row
    };
    let mut rows: Rows =
        view.snapshot().public_tables().map(|t| row(&t.schema, &t.name, "BASE TABLE")).collect();
    for (_, table) in super::all() {
        let kind = if table.schema == "pg_catalog" { "BASE TABLE" } else { "VIEW" };
        rows.push(row(table.schema, table.name, kind));
    }
    Ok(rows)
}

/// Precision, radix and scale.
fn numeric_facts(ty: PgType, typmod: i32) -> [Datum; 3] {
    let binary = |bits: i32| [Datum::Int4(bits), Datum::Int4(2), Datum::Int4(0)];
    match ty {
        PgType::Int2 => binary(16),
        PgType::Int4 => binary(32),
        PgType::Int8 => binary(64),
        PgType::Float4 => [Datum::Int4(24), Datum::Int4(2), Null],
        PgType::Float8 => [Datum::Int4(53), Datum::Int4(2), Null],
        PgType::Numeric if typmod >= 4 => {
            let packed = typmod - 4;
            let scale = ((packed & 0x7ff) ^ 1024) - 1024;
            [Datum::Int4((packed >> 16) & 0xffff), Datum::Int4(10), Datum::Int4(scale)]
        }
        PgType::Numeric => [Null, Datum::Int4(10), Null],
        _ => [Null, Null, Null],
    }
}

fn columns(view: &SessionView) -> Result<Rows, SqlError> {
    let mut rows = Vec::new();
    for table in view.snapshot().public_tables() {
        for (at, column) in table.visible_columns().enumerate() {
            let length = match column.ty {
                PgType::Varchar | PgType::Bpchar if column.typmod >= 4 => Datum::Int4(column.typmod - 4),
                _ => Null,
            };
            let octets = match (&length, column.ty) {
                (Datum::Int4(n), _) => Datum::Int4(n.saturating_mul(4)),
                (_, PgType::Text | PgType::Varchar) => Datum::Int4(1 << 30),
                _ => Null,
            };
            let precision = match column.ty {
                PgType::Date => Datum::Int4(0),
                PgType::Time | PgType::Timestamp | PgType::Timestamptz | PgType::Interval => {
                    Datum::Int4(if column.typmod >= 0 { column.typmod } else { 6 })
                }
                _ => Null,
            };
            let [digits, radix, scale] = numeric_facts(column.ty, column.typmod);
            rows.push(vec![
                text(&view.database),
                text(&table.schema),
                text(&table.name),
                text(&column.name),
                int4(at + 1),
                column.default.as_ref().map(|d| pg_catalog::shown_default(d)).into(),
                yes(column.nullable),
                text(column.ty.sql_name()),
                length,
                octets,
                digits,
                radix,
                scale,
                precision,
                text(&view.database),
                text("pg_catalog"),
                text(column.ty.name()),
                yes(false),
                Null,
                text("NEVER"),
                Null,
                yes(true),
            ]);
        }
    }
    Ok(rows)
}

fn table_constraints(view: &SessionView) -> Result<Rows, SqlError> {
    let mut rows = Vec::new();
    for table in view.snapshot().public_tables() {
        let mut put = |name: &str, kind: &str| {
            rows.push(vec![
                text(&view.database),
                text(&table.schema),
                text(name),
                text(&view.database),
                text(&table.schema),
                text(&table.name),
                text(kind),
                yes(false),
                yes(false),
                yes(true),
            ]);
        };
        for index in pg_catalog::shown_indexes(table).filter(|index| index.is_constraint()) {
            put(&index.name, if index.id == table.primary.id { "PRIMARY KEY" } else { "UNIQUE" });
        }
        for check in &table.checks {
            put(&check.name, "CHECK");
        }
    }
    Ok(rows)
}

fn key_column_usage(view: &SessionView) -> Result<Rows, SqlError> {
    let mut rows = Vec::new();
    for table in view.snapshot().public_tables() {
        for index in pg_catalog::shown_indexes(table).filter(|index| index.is_constraint()) {
            let columns = index.columns.iter().filter_map(|c| table.column(c.column));
            for (at, column) in columns.enumerate() {
                rows.push(vec![
                    text(&view.database),
                    text(&table.schema),
                    text(&index.name),
                    text(&view.database),
                    text(&table.schema),
                    text(&table.name),
                    text(&column.name),
                    int4(at + 1),
                    Null,
                ]);
            }
        }
    }
    Ok(rows)
}

/// The columns of keys. Those that a check mentions are not kept apart from its text.
fn constraint_column_usage(view: &SessionView) -> Result<Rows, SqlError> {
    let mut rows = Vec::new();
    for table in view.snapshot().public_tables() {
        for index in pg_catalog::shown_indexes(table).filter(|index| index.is_constraint()) {
            for column in index.columns.iter().filter_map(|c| table.column(c.column)) {
                rows.push(vec![
                    text(&view.database),
                    text(&table.schema),
                    text(&table.name),
                    text(&column.name),
                    text(&view.database),
                    text(&table.schema),
                    text(&index.name),
                ]);
            }
        }
    }
    Ok(rows)
}

fn check_constraints(view: &SessionView) -> Result<Rows, SqlError> {
    let mut rows = Vec::new();
    for table in view.snapshot().public_tables() {
        for check in &table.checks {
            rows.push(vec![
                text(&view.database),
                text(&table.schema),
                text(&check.name),
                text(format!("(({}))", check.condition)),
            ]);
        }
    }
    Ok(rows)
}

fn sequences(view: &SessionView) -> Result<Rows, SqlError> {
    let row = |sequence: &std::sync::Arc<SequenceDescriptor>| {
        let ty = pg_catalog::sequence_type(sequence);
        let [precision, radix, scale] = numeric_facts(ty, -1);
        vec![
            text(&view.database),
            text(&sequence.schema),
            text(&sequence.name),
            text(ty.sql_name()),
            precision,
            radix,
            scale,
            text(sequence.start.to_string()),
            text(sequence.min.to_string()),
            text(sequence.max.to_string()),
            text(sequence.increment.to_string()),
            yes(sequence.cycle),
        ]
    };
    Ok(view.snapshot().sequences.values().map(row).collect())
}
