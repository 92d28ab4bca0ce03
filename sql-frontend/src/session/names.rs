//! Names as statements mean them: along the search path, in a snapshot of the catalog.

use super::functions::{self, Link};
use crate::{
    bind,
    catalog::{Object, SequenceDescriptor, Snapshot, TableDescriptor, virtuals},
    error::{SqlError, SqlState},
    func::Resolved,
    server::Shared,
    types::PgType,
};
use sqlparser::ast::{ObjectName, ObjectNamePart};
use std::sync::Arc;

pub struct Names {
    shared: Arc<Shared>,
    snapshot: Arc<Snapshot>,
    path: Vec<String>,
    link: Arc<Link>,
}

impl Names {
    pub fn new(shared: Arc<Shared>, snapshot: Arc<Snapshot>, path: Vec<String>, link: Arc<Link>) -> Self {
        Names { shared, snapshot, path, link }
    }

    /// The same names in another snapshot.
    pub fn within(&self, snapshot: Arc<Snapshot>) -> Self {
        Names { shared: self.shared.clone(), snapshot, path: self.path.clone(), link: self.link.clone() }
    }

    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Schema (if given) and name, folded. The database may stand before the schema.
    pub fn split(name: &ObjectName) -> Result<(Option<String>, String), SqlError> {
        let mut parts = Vec::new();
        for part in &name.0 {
            match part {
                ObjectNamePart::Identifier(ident) => parts.push(super::parse::fold(ident)),
                _ => return Err(SqlError::unsupported("this form of a name")),
            }
        }
        match parts.as_slice() {
            [name] => Ok((None, name.clone())),
            [schema, name] => Ok((Some(schema.clone()), name.clone())),
            [database, schema, name] if matches!(database.as_str(), "quorate" | "postgres") => {
                Ok((Some(schema.clone()), name.clone()))
            }
            _ => Err(SqlError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                format!("references to another database are not supported: \"{name}\""),
            )),
        }
    }

    /// The object of this name, and the schema it was found in.
    pub fn object(&self, schema: Option<&str>, name: &str) -> Option<(String, Object)> {
        match schema {
            Some(schema) => self.snapshot.object(schema, name).map(|found| (schema.to_string(), found)),
            None => self
                .path
                .iter()
                .find_map(|schema| self.snapshot.object(schema, name).map(|found| (schema.clone(), found))),
        }
    }

    /// A table that may be changed.
    pub fn table(&self, name: &ObjectName) -> Result<Arc<TableDescriptor>, SqlError> {
        let (schema, name) = Self::split(name)?;
        self.table_named(schema.as_deref(), &name)
    }

    pub fn table_named(&self, schema: Option<&str>, name: &str) -> Result<Arc<TableDescriptor>, SqlError> {
        match self.object(schema, name) {
            Some((_, Object::Table(id))) => {
                self.snapshot.tables.get(&id).cloned().ok_or_else(|| no_relation(schema, name))
            }
            Some(_) => Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{name}\" is not a table"))),
            None if virtuals::find(schema, name).is_some() => Err(SqlError::new(
                SqlState("42501"),
                format!("permission denied: \"{name}\" is a system catalog"),
            )),
            None => Err(no_relation(schema, name)),
        }
    }

    pub fn sequence_named(
        &self,
        schema: Option<&str>,
        name: &str,
    ) -> Result<Arc<SequenceDescriptor>, SqlError> {
        match self.object(schema, name) {
            Some((_, Object::Sequence(id))) => {
                self.snapshot.sequences.get(&id).cloned().ok_or_else(|| no_relation(schema, name))
            }
            Some(_) => {
                Err(SqlError::new(SqlState::WRONG_OBJECT_TYPE, format!("\"{name}\" is not a sequence")))
            }
            None => Err(no_relation(schema, name)),
        }
    }

    /// The schema that a new object goes to.
    pub fn creation_schema(&self, schema: Option<String>) -> Result<String, SqlError> {
        match schema {
            Some(schema) if virtuals::is_system_schema(&schema) => Err(SqlError::new(
                SqlState("42501"),
                format!("permission denied to create in schema \"{schema}\""),
            )),
            Some(schema) if self.snapshot.has_schema(&schema) => Ok(schema),
            Some(schema) => Err(no_schema(&schema)),
            None => {
                self.path.iter().find(|schema| self.snapshot.has_schema(schema)).cloned().ok_or_else(|| {
                    SqlError::new(SqlState::INVALID_SCHEMA_NAME, "no schema has been selected to create in")
                })
            }
        }
    }

    /// `current_schema`.
    pub fn current_schema(&self) -> Option<String> {
        self.path.iter().find(|schema| self.snapshot.has_schema(schema)).cloned()
    }

    /// The search path as far as it exists.
    pub fn visible_schemas(&self) -> Vec<String> {
        self.path.iter().filter(|schema| self.snapshot.has_schema(schema)).cloned().collect()
    }
}

pub fn no_relation(schema: Option<&str>, name: &str) -> SqlError {
    let full = schema.map_or_else(|| name.to_string(), |schema| format!("{schema}.{name}"));
    SqlError::new(SqlState::UNDEFINED_TABLE, format!("relation \"{full}\" does not exist"))
}

pub fn no_schema(schema: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_SCHEMA_NAME, format!("schema \"{schema}\" does not exist"))
}

impl bind::Catalog for Names {
    fn relation(&self, schema: Option<&str>, name: &str) -> Option<bind::Relation> {
        // The system catalog comes before the search path, as in PostgreSQL.
        if let Some(table) = virtuals::find(schema, name) {
            return Some(bind::Relation::Virtual(table));
        }
        match self.object(schema, name)? {
            (_, Object::Table(id)) => self.snapshot.tables.get(&id).cloned().map(bind::Relation::Table),
            _ => None,
        }
    }

    fn regclass(&self, name: &str) -> Option<u32> {
        let (schema, name) = functions::split_name(name).ok()?;
        functions::relation_oid(self, schema.as_deref(), &name)
    }

    fn function(&self, schema: Option<&str>, name: &str, args: &[PgType]) -> Option<Resolved> {
        functions::resolve(&self.link, schema, name, args)
    }
}
