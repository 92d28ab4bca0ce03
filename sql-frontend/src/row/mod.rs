//! How rows and index entries lie in the key space.
//!
//! | entry | key | value |
//! |---|---|---|
//! | row | prefix ++ primary key columns | the other columns ([`value`]) |
//! | index entry | prefix ++ index columns ++ primary key columns | empty |
//! | unique index entry | prefix ++ index columns | the primary key columns |
//! | unique index entry with a NULL | like a plain index entry | empty |
//!
//! prefix = [`TABLE`](quorate_proto::key::prefix::TABLE) ++ table id ++ index id, both as 8 bytes. Comparing keys gives the
//! order of the columns, NULLs last (first when descending). A row here is a slice of [`Datum`]s in the order of
//! [`TableDescriptor::columns`].

pub mod entry;
pub mod key;
pub mod value;

#[cfg(test)]
mod tests;

pub use entry::{IndexEntry, RowDecoder, encode_row, index_entry, primary_key, row_key_of_entry, row_value};
pub(crate) use key::ordered_bytes;
pub use key::{column_from_key, column_to_key, index_prefix, index_span, is_exact_in_key, table_span};
