//! What the binder asks of the catalog. Answers come from a snapshot of descriptors, without waiting.

use crate::catalog::TableDescriptor;
use crate::exec::virtual_table::VirtualTable;
use crate::func::Resolved;
use crate::types::PgType;
use std::sync::Arc;

/// What a name in `FROM` stands for.
#[derive(Clone)]
pub enum Relation {
    Table(Arc<TableDescriptor>),
    Virtual(Arc<dyn VirtualTable>),
}

/// Names to descriptors, as of one schema version.
pub trait Catalog: Send + Sync {
    /// The relation of this name; without a schema, the first along the search path. Names are already case-folded.
    fn relation(&self, schema: Option<&str>, name: &str) -> Option<Relation>;

    /// The OID of a relation by its name as text (`'public.t'::regclass`), resolved along the search path.
    fn regclass(&self, name: &str) -> Option<u32> {
        let _ = name;
        None
    }

    /// Functions that need the session or the cluster (`nextval`, `current_setting`, `pg_…`); asked before the built-in
    /// ones. `None`: not one of these.
    fn function(&self, schema: Option<&str>, name: &str, args: &[PgType]) -> Option<Resolved> {
        let _ = (schema, name, args);
        None
    }
}
