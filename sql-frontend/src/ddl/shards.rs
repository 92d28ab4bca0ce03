//! `ALTER TABLE … SPLIT AT`, `UNSPLIT`, `SCATTER` and `SHOW SHARDS`: where a table's rows live.

use super::{Change, PLACEMENT_TIMEOUT, create_table};
use crate::{
    bind::OutColumn,
    catalog::{Snapshot, TableDescriptor, virtuals::cluster},
    error::{SqlError, SqlState},
    row::{
        column_from_key, column_to_key, index_prefix, index_span,
        key::{split_prefix, table_of},
        table_span,
    },
    session::run::Outcome,
    types::{Datum, PgType, TimeZone},
};
use quorate_proto::{
    Key,
    key::prefix,
    placement::{Operation, OperationState, PlacementReply, PlacementRequest},
};
use sqlparser::ast::{Expr, ObjectName};
use std::time::Duration;

/// Longest wait for one operation of the placement driver.
const OPERATION: Duration = Duration::from_secs(120);
/// How often its step is asked for (milliseconds).
const LOOK_AGAIN: u64 = 500;

pub fn show_columns() -> Vec<OutColumn> {
    let column = |name: &str, ty| OutColumn { name: name.into(), ty, typmod: -1, origin: None };
    vec![
        column("shard_id", PgType::Int8),
        column("start_key", PgType::Text),
        column("end_key", PgType::Text),
        column("leader_node_id", PgType::Int8),
        column("replica_node_ids", PgType::Text),
        column("version", PgType::Int8),
        column("config_epoch", PgType::Int8),
    ]
}

pub async fn show(change: &mut Change, name: &ObjectName) -> Result<Outcome, SqlError> {
    let table = change.view()?.names.table(name)?;
    let span = table_span(table.id);
    let mut rows = Vec::new();
    let shared = change.shared()?;
    let leaders = cluster::leaders(&shared).await;
    for (shard, met) in shared.cluster.shards() {
        if !shard.span.overlaps(&span) {
            continue;
        }
        let nodes: Vec<String> = shard.replicas.iter().map(|replica| replica.node.to_string()).collect();
        rows.push(vec![
            Datum::Int8(shard.id.0 as i64),
            Datum::Text(show_key(&shard.span.start, change.now())),
            Datum::Text(shard.span.end.as_ref().map_or("…".into(), |end| show_key(end, change.now()))),
            leaders.get(&shard.id).map(|(node, _)| *node).or(met).map(|node| node.0 as i64).into(),
            Datum::Text(format!("{{{}}}", nodes.join(","))),
            Datum::Int8(shard.version as i64),
            Datum::Int8(shard.config_epoch as i64),
        ]);
    }
    Ok(Outcome::rows(rows, "SHOW"))
}

/// A key in words: `t/` where a table begins, `t/(1, x)` where it is of a table in the catalog. Of others it names what they are
/// of, and the rest in hexadecimal.
pub fn show_key(key: &Key, catalog: &Snapshot) -> String {
    if key.is_empty() {
        return "…".into();
    }
    let Some((id, index, mut rest)) = split_prefix(key) else {
        return match table_of(key).and_then(|id| catalog.tables.get(&id)) {
            Some(table) => format!("{}/", table.name),
            None => show_other(key),
        };
    };
    let Some(table) = catalog.tables.get(&id) else {
        return format!("table {id}/{index}/{}", hexadecimal(rest));
    };
    let columns = std::iter::once(&table.primary).chain(&table.indexes).find(|i| i.id == index);
    let mut shown = Vec::new();
    for column in columns.map(|i| i.columns.as_slice()).unwrap_or_default() {
        let Some(descriptor) = table.column(column.column) else { break };
        let Ok(datum) = column_from_key(&mut rest, descriptor.ty, column.descending) else { break };
        shown.push(match datum {
            Datum::Null => "NULL".into(),
            datum => datum.to_text(descriptor.ty, &TimeZone::UTC),
        });
    }
    format!("{}/({})", table.name, shown.join(", "))
}

/// A key that is of no row.
fn show_other(key: &[u8]) -> String {
    let of = |what: &str| format!("{what}/{}", hexadecimal(&key[1..]));
    match key[0] {
        prefix::IDEMPOTENCY => of("idempotency"),
        prefix::ADVISORY => of("advisory locks"),
        prefix::CATALOG => of("catalog"),
        prefix::TABLE => of("tables"),
        _ => hexadecimal(key),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub async fn split_at(
    change: &mut Change,
    name: &ObjectName,
    rows: &[Vec<Expr>],
) -> Result<Outcome, SqlError> {
    let table = change.view()?.names.table(name)?;
    for (done, row) in rows.iter().enumerate() {
        let key = split_key(change, &table, row, "SPLIT AT")?;
        let what = format!("{done} of {} splits done", rows.len());
        operate(change, &what, Operation::Split { at: key }).await?;
    }
    Ok(Outcome::done("ALTER TABLE"))
}

/// Merges the shards of a table: those that begin at the rows given, or all that begin within it, with the ones before them.
pub async fn unsplit(
    change: &mut Change,
    name: &ObjectName,
    rows: Option<&[Vec<Expr>]>,
) -> Result<Outcome, SqlError> {
    let table = change.view()?.names.table(name)?;
    let keys = match rows {
        Some(rows) => {
            rows.iter().map(|row| split_key(change, &table, row, "UNSPLIT AT")).collect::<Result<_, _>>()?
        }
        None => splits(change, &table).await?,
    };
    for (done, key) in keys.iter().enumerate() {
        let what = format!("{done} of {} merges done", keys.len());
        operate(change, &what, Operation::Merge { at: key.clone() }).await?;
    }
    Ok(Outcome::done("ALTER TABLE"))
}

/// Where shards begin within the table, its first key not included: what lies before that is another's.
async fn splits(change: &Change, table: &TableDescriptor) -> Result<Vec<Key>, SqlError> {
    let first = std::iter::once(&table.primary).chain(&table.indexes).map(|index| index.id).min();
    let (first, span) = (index_prefix(table.id, first.unwrap_or_default()), table_span(table.id));
    let shared = change.shared()?;
    let request = PlacementRequest::WatchMap { after_version: 0, wait_millis: 0 };
    let map = match shared.placement.request(request, PLACEMENT_TIMEOUT).await {
        Ok(PlacementReply::Map(map)) => map,
        Ok(other) => return Err(SqlError::internal(format!("placement answered {other:?}"))),
        Err(error) => return Err(SqlError::new(SqlState("57Q01"), format!("placement driver: {error}"))),
    };
    let starts = map.changed.into_iter().map(|shard| shard.span.start);
    let mut within: Vec<Key> = starts.filter(|start| span.contains(start) && start[..] > first[..]).collect();
    within.sort();
    Ok(within)
}

/// The key at which a shard begins: some or all columns of the primary key.
fn split_key(
    change: &Change,
    table: &TableDescriptor,
    values: &[Expr],
    statement: &str,
) -> Result<Key, SqlError> {
    if values.len() > table.primary.columns.len() || !table.has_declared_key() {
        return Err(SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!(
                "{statement} takes at most as many values as the primary key of \"{}\" has columns: {}",
                table.name,
                if table.has_declared_key() { table.primary.columns.len() } else { 0 }
            ),
        ));
    }
    let mut key = index_prefix(table.id, table.primary.id);
    for (column, value) in table.primary.columns.iter().zip(values) {
        let descriptor = table
            .column(column.column)
            .ok_or_else(|| SqlError::internal("a primary key over an unknown column"))?;
        let program = create_table::bind_constant(change, value, descriptor.ty, descriptor.typmod)?;
        let datum = program.evaluate(&[], &[], &change.ctx)?.pop().unwrap_or(Datum::Null);
        column_to_key(&mut key, descriptor.ty, &datum, column.descending)?;
    }
    Ok(key.into())
}

pub async fn scatter(change: &mut Change, name: &ObjectName) -> Result<Outcome, SqlError> {
    let table = change.view()?.names.table(name)?;
    let span = index_span(table.id, table.primary.id);
    operate(change, "scattering", Operation::Scatter { span }).await?;
    Ok(Outcome::done("ALTER TABLE"))
}

/// Starts an operation of the placement driver and waits for its end, noting `what` with the step it is at.
async fn operate(change: &Change, what: &str, operation: Operation) -> Result<(), SqlError> {
    let (shared, notes) = (change.shared()?, &change.view()?.notes);
    notes.now(format!("{what}; waiting for the placement driver"));
    let failed = |why: String| SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, why);
    let unavailable = |error| SqlError::new(SqlState("57Q01"), format!("placement driver: {error}"));
    let request = PlacementRequest::Start(operation);
    let id = match shared.placement.request(request, PLACEMENT_TIMEOUT).await.map_err(unavailable)? {
        PlacementReply::Started(id) => id,
        other => return Err(SqlError::internal(format!("placement answered {other:?}"))),
    };
    let deadline = shared.env.boottime() + OPERATION;
    loop {
        let request = PlacementRequest::Operation { id, wait_millis: LOOK_AGAIN };
        let reply = shared.placement.request(request, PLACEMENT_TIMEOUT).await.map_err(unavailable)?;
        let PlacementReply::Operations(found) = reply else {
            return Err(SqlError::internal(format!("placement answered {reply:?}")));
        };
        let step = match found.into_iter().find(|status| status.id == id) {
            Some(status) => match status.state {
                OperationState::Done => return Ok(()),
                OperationState::Failed(why) => return Err(failed(format!("the operation failed: {why}"))),
                OperationState::Running => {
                    notes.now(format!("{what}; operation {id}: {}", status.step));
                    status.step
                }
            },
            None => return Err(failed("the placement driver has forgotten the operation".into())),
        };
        if shared.env.boottime() > deadline {
            return Err(failed(format!("the operation takes long; it goes on in the background ({step})"))
                .hint("quorate.placement_operations tells how far it is."));
        }
        shared.env.sleep(Duration::from_millis(10)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_unknown_tables_and_of_no_table_are_readable() {
        let shown = |key: &[u8]| show_key(&key.to_vec().into(), &Snapshot::default());
        let mut gone = index_prefix(7, 1);
        gone.extend([1, 0x80, 0xff]);
        assert_eq!(shown(&gone), "table 7/1/0180ff");
        assert_eq!(shown(&index_prefix(7, 1)), "table 7/1/");
        assert_eq!(shown(&[prefix::CATALOG, 1]), "catalog/01");
        assert_eq!(shown(&[prefix::ADVISORY, 0xab]), "advisory locks/ab");
        assert_eq!(shown(&[prefix::IDEMPOTENCY]), "idempotency/");
        assert_eq!(shown(&[0xee, 1]), "ee01");
        assert_eq!(shown(&[]), "…");
    }
}
