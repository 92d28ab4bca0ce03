//! Tables that are not kept anywhere: `pg_catalog` and `information_schema` as far as clients look into them, and `quorate`,
//! which shows the cluster. Their rows are made from the catalog, the session and the node when they are read.

mod activity;
pub mod cluster;
mod empty;
mod gateways;
mod information_schema;
pub mod oid;
pub mod pg_catalog;
mod pg_objects;
mod pg_session;
mod recoveries;
mod transactions;

use crate::{
    error::SqlError,
    exec::{ExecContext, VirtualColumn, VirtualTable},
    session::view::SessionView,
    types::{Datum, PgType},
};
use async_trait::async_trait;
use futures::future::BoxFuture;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, LazyLock},
};

pub type Rows = Vec<Vec<Datum>>;

/// How a table's rows are made.
#[derive(Clone, Copy)]
pub enum Make {
    Empty,
    /// From the session's snapshot and settings.
    Now(fn(&SessionView) -> Result<Rows, SqlError>),
    /// By asking others.
    Ask(for<'a> fn(&'a SessionView) -> BoxFuture<'a, Result<Rows, SqlError>>),
}

/// A virtual table.
pub struct Virtual {
    schema: &'static str,
    name: &'static str,
    /// As specified, and `tableoid`, which is hidden.
    columns: Vec<VirtualColumn>,
    oid: u32,
    make: Make,
}

impl Virtual {
    pub fn shown_columns(&self) -> impl Iterator<Item = &VirtualColumn> {
        self.columns.iter().filter(|column| !column.hidden)
    }
}

impl fmt::Debug for Virtual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

#[async_trait]
impl VirtualTable for Virtual {
    fn schema_name(&self) -> &str {
        self.schema
    }

    fn name(&self) -> &str {
        self.name
    }

    fn columns(&self) -> &[VirtualColumn] {
        &self.columns
    }

    async fn rows(&self, ctx: &ExecContext) -> Result<Vec<Vec<Datum>>, SqlError> {
        let view = SessionView::of(ctx)?;
        let mut rows = match self.make {
            Make::Empty => Vec::new(),
            Make::Now(make) => make(view)?,
            Make::Ask(make) => make(view).await?,
        };
        for row in &mut rows {
            row.push(Datum::Oid(self.oid));
        }
        Ok(rows)
    }
}

/// A table as it is listed: schema, name, columns as `name:type …` (types by their `pg_type` name; `char` is `"char"`).
pub struct Spec(pub &'static str, pub &'static str, pub &'static str, pub Make);

type Registry = BTreeMap<(&'static str, &'static str), Arc<Virtual>>;

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let all = [
        pg_catalog::TABLES,
        pg_objects::TABLES,
        pg_session::TABLES,
        activity::TABLES,
        empty::TABLES,
        information_schema::TABLES,
        cluster::TABLES,
        recoveries::TABLES,
        transactions::TABLES,
    ];
    let mut registry = BTreeMap::new();
    for Spec(schema, name, columns, make) in all.into_iter().flatten() {
        let columns = columns.split_whitespace().filter_map(|column| {
            let (name, ty) = column.split_once(':')?;
            let ty = if ty == "char" { PgType::Char } else { PgType::from_name(ty)? };
            Some(VirtualColumn::new(name, ty))
        });
        registry.insert((*schema, *name), (columns.collect::<Vec<_>>(), *make));
    }
    let with_oids = registry.into_iter().enumerate().map(|(at, ((schema, name), (mut columns, make)))| {
        columns.push(VirtualColumn { hidden: true, ..VirtualColumn::new("tableoid", PgType::Oid) });
        ((schema, name), Arc::new(Virtual { schema, name, columns, oid: oid::system(at), make }))
    });
    with_oids.collect()
});

/// The virtual table of this name; without a schema only those of `pg_catalog` are found.
pub fn find(schema: Option<&str>, name: &str) -> Option<Arc<dyn VirtualTable>> {
    let found = REGISTRY.get(&(schema.unwrap_or("pg_catalog"), name))?.clone();
    Some(found)
}

/// All of them, with their OIDs.
pub fn all() -> impl Iterator<Item = (u32, &'static Arc<Virtual>)> {
    REGISTRY.values().map(|table| (table.oid, table))
}

/// Relations of `pg_catalog` that are functions too, without arguments.
pub fn is_function(name: &str) -> bool {
    name == "pg_timezone_names"
}

/// Relations of `pg_catalog` that never have rows.
pub fn is_always_empty(name: &str) -> bool {
    REGISTRY.get(&("pg_catalog", name)).is_some_and(|table| matches!(table.make, Make::Empty))
}

pub fn is_system_schema(name: &str) -> bool {
    matches!(name, "pg_catalog" | "information_schema" | "quorate") || name.starts_with("pg_toast")
}

pub const SYSTEM_SCHEMAS: [&str; 3] = ["information_schema", "pg_catalog", "quorate"];

pub(super) fn text(value: impl Into<String>) -> Datum {
    Datum::Text(value.into())
}

pub(super) fn int4(value: impl TryInto<i32>) -> Datum {
    Datum::Int4(value.try_into().unwrap_or(i32::MAX))
}

pub(super) fn int2(value: impl TryInto<i16>) -> Datum {
    Datum::Int2(value.try_into().unwrap_or(i16::MAX))
}

pub(super) fn int8(value: impl TryInto<i64>) -> Datum {
    Datum::Int8(value.try_into().unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_has_a_type() {
        let specs = [
            pg_catalog::TABLES,
            pg_objects::TABLES,
            pg_session::TABLES,
            activity::TABLES,
            empty::TABLES,
            information_schema::TABLES,
            cluster::TABLES,
            transactions::TABLES,
        ];
        for Spec(schema, name, columns, _) in specs.into_iter().flatten() {
            let known = REGISTRY.get(&(*schema, *name)).map_or(0, |t| t.shown_columns().count());
            assert_eq!(known, columns.split_whitespace().count(), "{schema}.{name}");
        }
        assert!(find(None, "pg_class").is_some() && find(None, "nodes").is_none());
        assert!(find(Some("quorate"), "nodes").is_some() && is_always_empty("pg_policy"));
    }
}
