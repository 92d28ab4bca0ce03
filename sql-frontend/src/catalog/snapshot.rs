//! The whole catalog at one moment, in memory.

use super::{SequenceDescriptor, TableDescriptor, TableState, keys};
use crate::error::SqlError;
use quorate_proto::{Key, Value, ordered, rpc};
use std::{collections::BTreeMap, sync::Arc};

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    Table(u64),
    /// Of the table, with this id there.
    Index(u64, u32),
    Sequence(u64),
}

#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Placement's schema version that was known before this was read: what is older is not in it.
    pub version: u64,
    pub generation: u64,
    /// Was read, and is not the empty one that a node starts with.
    pub loaded: bool,
    pub schemas: BTreeMap<String, u64>,
    /// Dropped ones too, until their rows are gone.
    pub tables: BTreeMap<u64, Arc<TableDescriptor>>,
    pub sequences: BTreeMap<u64, Arc<SequenceDescriptor>>,
    pub(super) names: BTreeMap<String, BTreeMap<String, Object>>,
}

impl Snapshot {
    /// From the rows of [`keys::descriptors`].
    pub fn from_rows(version: u64, rows: &[(Key, Value)]) -> Result<Snapshot, SqlError> {
        let mut snapshot = Snapshot { version, loaded: true, ..Default::default() };
        for (key, value) in rows {
            snapshot.add(key, value).ok_or_else(|| {
                SqlError::internal(format!("malformed catalog entry {:?}", key.escape_ascii().to_string()))
            })?;
        }
        snapshot.index_names();
        Ok(snapshot)
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        use keys::Kind;
        let (kind, mut rest) = keys::split(key)?;
        match kind {
            k if k == Kind::Generation as u8 => self.generation = decode_u64(value)?,
            k if k == Kind::Schema as u8 => {
                let name = String::from_utf8(ordered::take_bytes(&mut rest).ok()?).ok()?;
                self.schemas.insert(name, decode_u64(value)?);
            }
            k if k == Kind::Table as u8 => {
                let table: TableDescriptor = rpc::decode(value).ok()?;
                self.tables.insert(table.id, Arc::new(table));
            }
            k if k == Kind::Sequence as u8 => {
                let sequence: SequenceDescriptor = rpc::decode(value).ok()?;
                self.sequences.insert(sequence.id, Arc::new(sequence));
            }
            _ => return None,
        }
        Some(())
    }

    fn index_names(&mut self) {
        self.names.clear();
        let mut put = |schema: &str, name: &str, object: Object| {
            self.names.entry(schema.to_string()).or_default().insert(name.to_string(), object);
        };
        for table in self.tables.values().filter(|t| t.state != TableState::Dropped) {
            put(&table.schema, &table.name, Object::Table(table.id));
            if table.has_declared_key() {
                put(&table.schema, &table.primary.name, Object::Index(table.id, table.primary.id));
            }
            for index in &table.indexes {
                put(&table.schema, &index.name, Object::Index(table.id, index.id));
            }
        }
        for sequence in self.sequences.values() {
            put(&sequence.schema, &sequence.name, Object::Sequence(sequence.id));
        }
    }

    pub fn object(&self, schema: &str, name: &str) -> Option<Object> {
        self.names.get(schema)?.get(name).copied()
    }

    pub fn table_named(&self, schema: &str, name: &str) -> Option<&Arc<TableDescriptor>> {
        match self.object(schema, name)? {
            Object::Table(id) => self.tables.get(&id),
            _ => None,
        }
    }

    pub fn sequence_named(&self, schema: &str, name: &str) -> Option<&Arc<SequenceDescriptor>> {
        match self.object(schema, name)? {
            Object::Sequence(id) => self.sequences.get(&id),
            _ => None,
        }
    }

    pub fn has_schema(&self, name: &str) -> bool {
        name == PUBLIC || self.schemas.contains_key(name)
    }

    /// Tables that have a name, in order of their ids.
    pub fn public_tables(&self) -> impl Iterator<Item = &Arc<TableDescriptor>> {
        self.tables.values().filter(|t| t.state != TableState::Dropped)
    }

    /// Whether a statement bound against `(id, version)` pairs would be bound alike against this.
    pub fn still_has(&self, tables: &[(u64, u64)]) -> bool {
        tables.iter().all(|(id, version)| {
            self.tables.get(id).is_some_and(|t| t.version == *version && t.state != TableState::Dropped)
        })
    }

    /// This catalog with a transaction's own changes on top.
    pub fn with(&self, change: impl FnOnce(&mut Snapshot)) -> Arc<Snapshot> {
        let mut next = self.clone();
        change(&mut next);
        next.index_names();
        Arc::new(next)
    }
}

/// The schema that exists without being created.
pub const PUBLIC: &str = "public";

pub fn encode_u64(value: u64) -> Value {
    value.to_be_bytes().to_vec().into()
}

pub fn decode_u64(raw: &[u8]) -> Option<u64> {
    raw.try_into().ok().map(u64::from_be_bytes)
}
