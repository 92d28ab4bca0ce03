//! Running [`LockRows`](super::lock_rows::LockRows).

use super::engine::{run, statement};
use super::lock_rows::{LockRows, LockedRelation};
use super::read::How;
use super::scan::lock_words;
use super::{ExecContext, ahead, params};
use crate::error::SqlError;
use crate::row::{RowDecoder, column_to_key, index_prefix};
use crate::types::{PgType, datum_at, to_array};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use datafusion::arrow::compute::{concat_batches, filter, filter_record_batch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, DFSchemaRef, Result, ScalarValue, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::{EquivalenceProperties, LexOrdering, OrderingRequirements, PhysicalExpr};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::TryStreamExt;
use quorate_proto::kv::LockRequest;
use quorate_proto::{Key, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use tokio::sync::OnceCell;

/// See the module.
#[derive(Clone, Debug)]
pub struct LockRowsExec {
    input: Arc<dyn ExecutionPlan>,
    locking: Arc<Locking>,
    order: Option<LexOrdering>,
    /// So many rows are wanted.
    fetch: Option<usize>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// What does not change from one plan to the next.
#[derive(Debug)]
struct Locking {
    tables: Vec<LockedTable>,
    recheck: Arc<LogicalPlan>,
    /// Placeholders of the second look, and where their values stand in the input (`None`: nobody needs them).
    row: Vec<(String, Option<usize>, ScalarValue)>,
    /// Where the input's columns stand in what the second look gives; `None`: they stay.
    again: Vec<Option<usize>>,
    schema: SchemaRef,
}

/// A relation of the input.
#[derive(Debug)]
struct LockedTable {
    name: String,
    request: LockRequest,
    prefix: Vec<u8>,
    /// Columns of its primary key: position in the input, type, direction.
    key: Vec<(usize, PgType, bool)>,
    /// Its columns in the input: position, type.
    columns: Vec<(usize, PgType)>,
    /// Decodes just these.
    decoder: RowDecoder,
}

impl LockedTable {
    fn new(relation: &LockedRelation, input: &DFSchemaRef) -> Result<Self> {
        let table = &relation.table;
        let mut key = Vec::new();
        for (part, column) in table.primary.columns.iter().zip(relation.key()) {
            let ty = table.column(part.column).map_or(PgType::Text, |c| c.ty);
            key.push((input.index_of_column(&column)?, ty, part.descending));
        }
        let mut columns = Vec::new();
        let mut wanted = Vec::new();
        for (position, column) in table.columns.iter().enumerate() {
            let named = Column::new(Some(relation.name.clone()), column.name.clone());
            if let Some(at) = input.maybe_index_of_column(&named) {
                columns.push((at, column.ty));
                wanted.push(position);
            }
        }
        Ok(LockedTable {
            name: table.name.clone(),
            request: relation.request.clone(),
            prefix: index_prefix(table.id, table.primary.id),
            key,
            columns,
            decoder: RowDecoder::for_rows(table, &wanted)?,
        })
    }

    /// The key of a row of it; `None` where an outer join has found none.
    fn key_of(&self, batch: &RecordBatch, row: usize) -> Result<Option<Key>, SqlError> {
        let mut key = self.prefix.clone();
        for (at, ty, descending) in &self.key {
            let value = datum_at(batch.column(*at), row, *ty)?;
            if value.is_null() {
                return Ok(None);
            }
            column_to_key(&mut key, *ty, &value, *descending)?;
        }
        Ok(Some(key.into()))
    }
}

impl LockRowsExec {
    pub fn new(
        node: &LockRows,
        input: Arc<dyn ExecutionPlan>,
        order: Option<LexOrdering>,
    ) -> Result<LockRowsExec> {
        let from = UserDefinedLogicalNode::schema(node);
        let tables = node.relations.iter().map(|relation| LockedTable::new(relation, from));
        let value = |row: &super::lock_rows::RowValue| {
            let at = from.maybe_index_of_column(&row.column);
            Ok((row.id.clone(), at, ScalarValue::try_from(&row.ty)?))
        };
        let again = from.columns().iter().map(|c| node.recheck.schema().maybe_index_of_column(c)).collect();
        let locking = Locking {
            tables: tables.collect::<Result<_>>()?,
            recheck: Arc::clone(&node.recheck),
            row: node.row.iter().map(value).collect::<Result<_>>()?,
            again,
            schema: Arc::clone(from.inner()),
        };
        Ok(Self::over(input, Arc::new(locking), order, None))
    }

    fn over(
        input: Arc<dyn ExecutionPlan>,
        locking: Arc<Locking>,
        order: Option<LexOrdering>,
        fetch: Option<usize>,
    ) -> Self {
        // That of the rows as they were found. It must be told: of rows without an order a limit takes any.
        let mut equivalence = EquivalenceProperties::new(Arc::clone(&locking.schema));
        equivalence.add_orderings(order.clone());
        let properties = Arc::new(PlanProperties::new(
            equivalence,
            Partitioning::UnknownPartitioning(1),
            input.properties().emission_type,
            input.properties().boundedness,
        ));
        LockRowsExec { input, locking, order, fetch, properties, metrics: ExecutionPlanMetricsSet::new() }
    }

    pub(super) fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    pub(super) fn relations(&self) -> usize {
        self.locking.tables.len()
    }

    /// Lines for `EXPLAIN`.
    pub(super) fn explain(&self) -> (String, Vec<String>) {
        let lock = |table: &LockedTable| format!("Lock: {} on {}", lock_words(&table.request), table.name);
        let limit = self.fetch.map(|n| format!("Limit: {n}"));
        ("Lock Rows".into(), self.locking.tables.iter().map(lock).chain(limit).collect())
    }
}

impl DisplayAs for LockRowsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LockRows")
    }
}

impl ExecutionPlan for LockRowsExec {
    fn name(&self) -> &str {
        "LockRowsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![self.order.clone().map(OrderingRequirements::from)]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for key in self.order.iter().flatten() {
            if f(&key.expr)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.into_iter().next() else { return internal_err!("LockRows has one input") };
        Ok(Arc::new(Self::over(input, Arc::clone(&self.locking), self.order.clone(), self.fetch)))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn with_fetch(&self, fetch: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        let input = Arc::clone(&self.input);
        Some(Arc::new(Self::over(input, Arc::clone(&self.locking), self.order.clone(), fetch)))
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let (locking, statement) = (Arc::clone(&self.locking), statement(&context)?);
        let locker = Locker { locking, statement, recheck: OnceCell::new() };
        let run = Run {
            locker,
            input: self.input.execute(partition, context)?,
            found: None,
            left: self.fetch.unwrap_or(usize::MAX),
        };
        let rows = futures::stream::try_unfold(run, |mut run| async move {
            Ok(run.next().await?.map(|batch| (batch, run)))
        });
        let rows = rows.inspect_ok(move |batch: &RecordBatch| metrics.record_output(batch.num_rows()));
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.locking.schema), rows)))
    }
}

/// Locking under way.
struct Run {
    locker: Locker,
    input: SendableRecordBatchStream,
    /// What is left of the last batch found.
    found: Option<RecordBatch>,
    /// Rows still wanted.
    left: usize,
}

impl Run {
    /// The next rows. No more are locked than are wanted, unless some are skipped or match no more.
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        while self.left > 0 {
            let found = match self.found.take() {
                Some(found) => found,
                None => match self.input.try_next().await? {
                    Some(found) => found,
                    None => return Ok(None),
                },
            };
            let wanted = if quorate_env::planted!("sql.limit_after_locks") { usize::MAX } else { self.left };
            let some = found.num_rows().min(wanted);
            if some < found.num_rows() {
                self.found = Some(found.slice(some, found.num_rows() - some));
            }
            let locked = self.locker.locked(found.slice(0, some)).await?;
            if locked.num_rows() > 0 {
                self.left = self.left.saturating_sub(locked.num_rows());
                return Ok(Some(locked));
            }
        }
        Ok(None)
    }
}

/// What rows are locked with.
struct Locker {
    locking: Arc<Locking>,
    statement: Arc<ExecContext>,
    /// The plan of the second look, with answers to what does not depend on the row.
    recheck: OnceCell<LogicalPlan>,
}

impl Locker {
    /// The rows under their locks, as they are now.
    async fn locked(&self, found: RecordBatch) -> Result<RecordBatch> {
        let mut now = found;
        let mut changed = BooleanArray::from(vec![false; now.num_rows()]);
        for table in &self.locking.tables {
            let (kept, values) = self.lock(table, &now).await?;
            now = filter_record_batch(&now, &kept)?;
            changed = filter(&changed, &kept)?.as_boolean().clone();
            (now, changed) = renewed(table, now, &changed, &values)?;
        }
        let doubted = self.statement.engine.recheck_all;
        if (changed.true_count() == 0 && !doubted) || quorate_env::planted!("sql.changed_row_trusted") {
            return Ok(now);
        }
        let mut rows = Vec::with_capacity(now.num_rows());
        for row in 0..now.num_rows() {
            let one = now.slice(row, 1);
            rows.push(if doubted || changed.value(row) { self.looked_at_again(one).await? } else { one });
        }
        Ok(concat_batches(&self.locking.schema, &rows)?)
    }

    /// Locks one table's rows: which of them are there and ours, and what these are now (`None`: an outer join has found none).
    async fn lock(
        &self,
        table: &LockedTable,
        batch: &RecordBatch,
    ) -> Result<(BooleanArray, Vec<Option<(Key, Value)>>)> {
        let keys = (0..batch.num_rows()).map(|row| table.key_of(batch, row));
        let keys = keys.collect::<Result<Vec<Option<Key>>, SqlError>>()?;
        // A join may bring a row several times.
        let mut places: BTreeMap<&Key, usize> = BTreeMap::new();
        let mut distinct = Vec::new();
        for key in keys.iter().flatten() {
            places.entry(key).or_insert_with(|| {
                distinct.push(key.clone());
                distinct.len() - 1
            });
        }
        let values = self.statement.read.get_many(&distinct, How::Lock(table.request.clone())).await?;
        let mut kept = Vec::with_capacity(keys.len());
        let mut now = Vec::with_capacity(keys.len());
        for key in &keys {
            let value = key.as_ref().map(|key| (key, places.get(key).and_then(|at| values[*at].clone())));
            kept.push(!matches!(value, Some((_, None))));
            match value {
                None => now.push(None),
                Some((_, None)) => {}
                Some((key, Some(value))) => now.push(Some((key.clone(), value))),
            }
        }
        Ok((BooleanArray::from(kept), now))
    }

    /// One changed row, if it is still what the query asks for.
    async fn looked_at_again(&self, row: RecordBatch) -> Result<RecordBatch> {
        let locking = &self.locking;
        let mut values = BTreeMap::new();
        for (id, at, null) in &locking.row {
            let value = match at {
                Some(at) => ScalarValue::try_from_array(row.column(*at), 0)?,
                None => null.clone(),
            };
            values.insert(id.as_str(), value);
        }
        let answered = || ahead::independent(&locking.recheck, &self.statement);
        let recheck = self.recheck.get_or_try_init(answered).await?;
        let plan = params::substitute(recheck, &|id| values.get(id).cloned())?;
        let mut again = run(Arc::new(plan), ExecContext::clone(&self.statement));
        while let Some(batch) = again.try_next().await? {
            if batch.num_rows() == 0 {
                continue;
            }
            let place = |(at, old): (&Option<usize>, &ArrayRef)| match at {
                Some(at) => batch.column(*at).slice(0, 1),
                None => Arc::clone(old),
            };
            let columns = locking.again.iter().zip(row.columns()).map(place).collect();
            return batch_of(&locking.schema, columns, 1);
        }
        Ok(row.slice(0, 0))
    }
}

/// The rows with one table's columns as they are now; which rows that changes is added to `changed`.
fn renewed(
    table: &LockedTable,
    batch: RecordBatch,
    changed: &BooleanArray,
    values: &[Option<(Key, Value)>],
) -> Result<(RecordBatch, BooleanArray)> {
    let mut columns = vec![Vec::with_capacity(values.len()); table.columns.len()];
    let mut row = Vec::with_capacity(columns.len());
    for (at, value) in values.iter().enumerate() {
        match value {
            Some((key, value)) => table.decoder.decode(key, value, &mut row)?,
            // It stays as the join has made it.
            None => {
                row.clear();
                for (place, ty) in &table.columns {
                    row.push(datum_at(batch.column(*place), at, *ty)?);
                }
            }
        }
        columns.iter_mut().zip(row.drain(..)).for_each(|(column, datum)| column.push(datum));
    }
    let mut now = batch.columns().to_vec();
    let mut changed: Vec<bool> = changed.values().iter().collect();
    for ((place, ty), column) in table.columns.iter().zip(&columns) {
        let new = to_array(column, *ty)?;
        let old = &now[*place];
        if old.as_ref() != new.as_ref() {
            for (row, changed) in changed.iter_mut().enumerate() {
                *changed |= old.slice(row, 1).as_ref() != new.slice(row, 1).as_ref();
            }
            now[*place] = new;
        }
    }
    let rows = batch.num_rows();
    Ok((batch_of(&batch.schema(), now, rows)?, BooleanArray::from(changed)))
}

fn batch_of(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}
