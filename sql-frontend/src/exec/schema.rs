//! DataFusion's schemas. They carry metadata in a std hash map; ours carry none.

use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::{DFSchema, Result, TableReference};

/// A schema of these columns, each with the relation that qualifies it.
#[expect(clippy::disallowed_types, reason = "DataFusion asks for one, and it stays empty")]
pub fn of_fields(fields: Vec<(Option<TableReference>, FieldRef)>) -> Result<DFSchema> {
    DFSchema::new_with_metadata(fields, std::collections::HashMap::new())
}
