//! Functions by which tools look into the catalogs: visibility, privileges, definitions, sizes.
//!
//! Every user may do everything here, so the questions about privileges are answered with true. Definitions of things that do
//! not exist here are null, as PostgreSQL's functions answer for an unknown OID. What tables take on disk is not known
//! to a gateway and is null too; `SHOW SHARDS` tells it.

use super::functions::{Function, Run, function, string};
use super::view::SessionView;
use crate::{
    error::SqlError,
    types::{Datum, PgType},
};
use PgType::{Bool, Int2, Int4, Int8, Name, Numeric, Oid, Regclass, Text};

const YES: Run = |_, _| Ok(Datum::Bool(true));
const NO: Run = |_, _| Ok(Datum::Bool(false));
const UNKNOWN: Run = |_, _| Ok(Datum::Null);

pub(super) static FUNCTIONS: &[Function] = &[
    function("pg_collation_is_visible", &[Oid], Bool, YES),
    function("pg_conversion_is_visible", &[Oid], Bool, YES),
    function("pg_opclass_is_visible", &[Oid], Bool, YES),
    function("pg_operator_is_visible", &[Oid], Bool, YES),
    function("pg_statistics_obj_is_visible", &[Oid], Bool, YES),
    function("pg_ts_config_is_visible", &[Oid], Bool, YES),
    function("pg_ts_dict_is_visible", &[Oid], Bool, YES),
    function("pg_ts_parser_is_visible", &[Oid], Bool, YES),
    function("pg_ts_template_is_visible", &[Oid], Bool, YES),
    function("pg_relation_is_publishable", &[Regclass], Bool, NO),
    function("pg_relation_is_updatable", &[Regclass, Bool], Int4, |_, _| Ok(Datum::Int4(28))),
    function("has_any_column_privilege", &[Oid, Text], Bool, YES),
    function("has_any_column_privilege", &[Text, Text], Bool, YES),
    function("has_column_privilege", &[Oid, Int2, Text], Bool, YES),
    function("has_column_privilege", &[Oid, Text, Text], Bool, YES),
    function("has_column_privilege", &[Text, Text, Text], Bool, YES),
    function("has_database_privilege", &[Oid, Text], Bool, YES),
    function("has_database_privilege", &[Text, Text], Bool, YES),
    function("has_database_privilege", &[Name, Text, Text], Bool, YES),
    function("has_function_privilege", &[Oid, Text], Bool, YES),
    function("has_schema_privilege", &[Oid, Text], Bool, YES),
    function("has_schema_privilege", &[Text, Text], Bool, YES),
    function("has_schema_privilege", &[Name, Text, Text], Bool, YES),
    function("has_sequence_privilege", &[Oid, Text], Bool, YES),
    function("has_sequence_privilege", &[Text, Text], Bool, YES),
    function("has_table_privilege", &[Oid, Text], Bool, YES),
    function("has_table_privilege", &[Text, Text], Bool, YES),
    function("has_table_privilege", &[Name, Oid, Text], Bool, YES),
    function("has_table_privilege", &[Name, Text, Text], Bool, YES),
    function("has_tablespace_privilege", &[Oid, Text], Bool, YES),
    function("has_type_privilege", &[Oid, Text], Bool, YES),
    function("pg_has_role", &[Oid, Text], Bool, YES),
    function("pg_has_role", &[Name, Text], Bool, YES),
    function("pg_has_role", &[Name, Name, Text], Bool, YES),
    function("pg_has_role", &[Name, Oid, Text], Bool, YES),
    function("pg_get_function_arguments", &[Oid], Text, UNKNOWN),
    function("pg_get_function_identity_arguments", &[Oid], Text, UNKNOWN),
    function("pg_get_function_result", &[Oid], Text, UNKNOWN),
    function("pg_get_function_sqlbody", &[Oid], Text, UNKNOWN),
    function("pg_get_functiondef", &[Oid], Text, UNKNOWN),
    function("pg_get_partition_constraintdef", &[Oid], Text, UNKNOWN),
    function("pg_get_partkeydef", &[Oid], Text, UNKNOWN),
    function("pg_get_ruledef", &[Oid], Text, UNKNOWN),
    function("pg_get_ruledef", &[Oid, Bool], Text, UNKNOWN),
    function("pg_get_statisticsobjdef", &[Oid], Text, UNKNOWN),
    function("pg_get_statisticsobjdef_columns", &[Oid], Text, UNKNOWN),
    function("pg_get_triggerdef", &[Oid], Text, UNKNOWN),
    function("pg_get_triggerdef", &[Oid, Bool], Text, UNKNOWN),
    function("pg_get_viewdef", &[Oid], Text, UNKNOWN),
    function("pg_get_viewdef", &[Oid, Bool], Text, UNKNOWN),
    function("pg_tablespace_location", &[Oid], Text, |_, _| Ok(Datum::Text(String::new()))),
    function("pg_database_size", &[Oid], Int8, UNKNOWN),
    function("pg_database_size", &[Name], Int8, UNKNOWN),
    function("pg_indexes_size", &[Regclass], Int8, UNKNOWN),
    function("pg_relation_size", &[Regclass], Int8, UNKNOWN),
    function("pg_relation_size", &[Regclass, Text], Int8, UNKNOWN),
    function("pg_table_size", &[Regclass], Int8, UNKNOWN),
    function("pg_tablespace_size", &[Oid], Int8, UNKNOWN),
    function("pg_total_relation_size", &[Regclass], Int8, UNKNOWN),
    function("pg_size_pretty", &[Int8], Text, size_pretty),
    function("pg_size_pretty", &[Numeric], Text, size_pretty),
    function("getdatabaseencoding", &[], Name, |_, _| Ok(Datum::Text("UTF8".into()))),
    function("pg_client_encoding", &[], Name, |_, _| Ok(Datum::Text("UTF8".into()))),
    function("pg_char_to_encoding", &[Name], Int4, |_, args| {
        let utf8 = matches!(string(&args[0]).to_ascii_lowercase().as_str(), "utf8" | "utf-8" | "unicode");
        Ok(Datum::Int4(if utf8 { 6 } else { -1 }))
    }),
    function("current_schemas", &[Bool], PgType::NAME_ARRAY, current_schemas),
];

fn current_schemas(view: &SessionView, args: &[Datum]) -> Result<Datum, SqlError> {
    let mut all = view.names.visible_schemas();
    if args[0] == Datum::Bool(true) && !all.iter().any(|schema| schema == "pg_catalog") {
        all.insert(0, "pg_catalog".into());
    }
    Ok(Datum::Array(all.into_iter().map(Datum::Text).collect()))
}

/// In the largest unit of which there are ten, rounded half away from zero.
fn size_pretty(_: &SessionView, args: &[Datum]) -> Result<Datum, SqlError> {
    let bytes: f64 = match &args[0] {
        Datum::Int8(bytes) => *bytes as f64,
        other => other.to_text(Numeric, &crate::types::TimeZone::UTC).parse().unwrap_or(f64::NAN),
    };
    let mut size = bytes;
    for unit in ["bytes", "kB", "MB", "GB", "TB"] {
        if size.abs() < 10.0 * 1024.0 {
            return Ok(Datum::Text(format!("{} {unit}", size.round())));
        }
        size /= 1024.0;
    }
    Ok(Datum::Text(format!("{} PB", size.round())))
}
