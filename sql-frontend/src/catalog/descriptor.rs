//! What a table is. Descriptors are immutable; each change writes a new one with the next `version`.

use crate::types::PgType;
use minicbor::{Decode, Encode};

/// A table, its columns and its indexes.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct TableDescriptor {
    #[n(0)]
    pub id: u64,
    #[n(1)]
    pub schema: String,
    #[n(2)]
    pub name: String,
    /// In the order of their creation; dropped ones are gone. Looked up by `id`, never by position.
    #[n(3)]
    pub columns: Vec<ColumnDescriptor>,
    /// Always public and unique. A table without a declared key has a hidden serial column as its key.
    #[n(4)]
    pub primary: IndexDescriptor,
    #[n(5)]
    pub indexes: Vec<IndexDescriptor>,
    /// Rises by one with every change of this descriptor.
    #[n(6)]
    pub version: u64,
    #[n(7)]
    pub next_column_id: u32,
    #[n(8)]
    pub next_index_id: u32,
    #[n(9)]
    pub state: TableState,
    /// Conditions that every row must meet (false refuses, NULL passes).
    #[n(10)]
    #[cbor(default)]
    pub checks: Vec<CheckConstraint>,
    /// Was dropped, and transactions that have used it are not waited for any more: they commit no writes.
    #[n(11)]
    #[cbor(default)]
    pub closed: bool,
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct ColumnDescriptor {
    #[n(0)]
    pub id: u32,
    #[n(1)]
    pub name: String,
    #[n(2)]
    #[cbor(with = "super::type_codec")]
    pub ty: PgType,
    #[n(3)]
    pub nullable: bool,
    /// SQL text.
    #[n(4)]
    pub default: Option<String>,
    /// `*` leaves it out. The row id of a table without a declared primary key; any other one is on its way in or out
    /// ([`TableDescriptor::is_withheld`]).
    #[n(5)]
    pub hidden: bool,
    /// The sequence owned by a `serial` column, or that numbers the rows of a hidden one.
    #[n(6)]
    pub sequence: Option<u64>,
    /// Of a column added later: the value (in the encoding of `row::value`) that rows written before it have. Such a
    /// column's NULLs are written explicitly.
    #[n(7)]
    pub missing: Option<Vec<u8>>,
    /// Type modifier as in `pg_attribute.atttypmod`: −1 for none.
    #[n(8)]
    pub typmod: i32,
    /// Is being dropped, but still there: what is `NOT NULL` stays so for writers, and readers may find it NULL.
    #[n(9)]
    #[cbor(default)]
    pub leaving: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct IndexDescriptor {
    /// Unique within the table, never given out twice.
    #[n(0)]
    pub id: u32,
    #[n(1)]
    pub name: String,
    #[n(2)]
    pub columns: Vec<IndexColumn>,
    #[n(3)]
    pub unique: bool,
    #[n(4)]
    pub state: IndexState,
    /// Made by `CREATE UNIQUE INDEX`: no constraint of the table, though as unique as one.
    #[n(5)]
    #[cbor(default)]
    pub plain: bool,
}

impl IndexDescriptor {
    /// Whether it is what a key or a `UNIQUE` of the table rests on.
    pub fn is_constraint(&self) -> bool {
        self.unique && !self.plain
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct IndexColumn {
    /// A [`ColumnDescriptor::id`].
    #[n(0)]
    pub column: u32,
    #[n(1)]
    pub descending: bool,
}

/// How far an index has come (Rae et al., "Online, Asynchronous Schema Change in F1", 2013).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum IndexState {
    /// Writers remove entries and add none.
    #[n(0)]
    DeleteOnly,
    /// Writers keep it; readers do not look.
    #[n(1)]
    WriteOnly,
    #[n(2)]
    Public,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum TableState {
    #[n(0)]
    Public,
    /// Has no name any more; its rows are being removed.
    #[n(1)]
    Dropped,
    /// Is being moved to new indexes: readable, but writers wait.
    #[n(2)]
    Rewriting,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CheckConstraint {
    #[n(0)]
    pub name: String,
    /// SQL text of the condition.
    #[n(1)]
    pub condition: String,
    /// Goes with a column: rows that meet it must go on to do so, and rows that do not are possible.
    #[n(2)]
    #[cbor(default)]
    pub leaving: bool,
}

/// A sequence. Its counter lives under a key of its own, so that taking numbers does not change the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SequenceDescriptor {
    #[n(0)]
    pub id: u64,
    #[n(1)]
    pub schema: String,
    #[n(2)]
    pub name: String,
    #[n(3)]
    pub start: i64,
    #[n(4)]
    pub increment: i64,
    #[n(5)]
    pub min: i64,
    #[n(6)]
    pub max: i64,
    /// The table and column that own it, and take it with them when dropped.
    #[n(7)]
    pub owner: Option<(u64, u32)>,
    /// Behind its last number it begins anew, from the other bound.
    #[n(8)]
    #[cbor(default)]
    pub cycle: bool,
}

impl TableDescriptor {
    pub fn column(&self, id: u32) -> Option<&ColumnDescriptor> {
        self.columns.iter().find(|c| c.id == id)
    }

    pub fn column_named(&self, name: &str) -> Option<&ColumnDescriptor> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// A column that statements do not see, because it is being added or dropped. Writers keep its values.
    pub fn is_withheld(&self, column: &ColumnDescriptor) -> bool {
        column.hidden && !self.is_primary_key(column.id)
    }

    /// Whether a schema change is under way that goes in steps.
    pub fn is_changing(&self) -> bool {
        self.state == TableState::Rewriting
            || self.indexes.iter().any(|index| index.state != IndexState::Public)
            || self.columns.iter().any(|column| column.leaving || self.is_withheld(column))
    }

    /// Position of a column in `columns`, which is also its position in a row of this table.
    pub fn position(&self, id: u32) -> Option<usize> {
        self.columns.iter().position(|c| c.id == id)
    }

    /// What `*` means.
    pub fn visible_columns(&self) -> impl Iterator<Item = &ColumnDescriptor> {
        self.columns.iter().filter(|c| !c.hidden)
    }

    pub fn is_primary_key(&self, column: u32) -> bool {
        self.primary.columns.iter().any(|c| c.column == column)
    }

    /// Whether the key was declared (and is not the hidden row id).
    pub fn has_declared_key(&self) -> bool {
        !self.primary.columns.iter().any(|c| self.column(c.column).is_some_and(|c| c.hidden))
    }

    /// Indexes that queries may read, the primary one first.
    pub fn readable_indexes(&self) -> impl Iterator<Item = &IndexDescriptor> {
        std::iter::once(&self.primary).chain(self.indexes.iter().filter(|i| i.state == IndexState::Public))
    }

    pub fn index_named(&self, name: &str) -> Option<&IndexDescriptor> {
        self.indexes.iter().find(|i| i.name == name)
    }

    /// `schema.name`, for messages.
    pub fn qualified_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}
