//! Running [`Apply`]: the inner plan once for each distinct set of outer values.
//!
//! Results of single-valued kinds are remembered (up to [`MEMO_ENTRIES`] and [`MEMO_BYTES`]), since outer rows often repeat the values that the
//! subquery depends on. The inner plan is planned anew for each set, with the values as literals, so that it can choose its
//! own index spans.

use super::apply::{Apply, ApplyKind};
use super::engine::{MAX_BATCH_ROWS, run, statement};
use super::text::sql;
use super::{ExecContext, params};
use crate::error::{SqlError, SqlState};
use crate::types::{Datum, PgType, datum_at, to_scalar};
use datafusion::arrow::array::{ArrayRef, UInt64Array, new_null_array};
use datafusion::arrow::compute::{concat_batches, take};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{HashMap, HashSet, Result, ScalarValue, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use std::fmt;
use std::sync::Arc;

/// Distinct sets of outer values whose result is kept.
const MEMO_ENTRIES: usize = 16_384;
/// Bytes of them.
const MEMO_BYTES: usize = 1 << 20;

/// See the module.
#[derive(Debug)]
pub struct ApplyExec {
    input: Arc<dyn ExecutionPlan>,
    inner: Arc<LogicalPlan>,
    params: Vec<(String, Arc<dyn PhysicalExpr>)>,
    probe: Option<Arc<dyn PhysicalExpr>>,
    kind: ApplyKind,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl ApplyExec {
    pub fn new(
        input: Arc<dyn ExecutionPlan>,
        apply: &Apply,
        params: Vec<(String, Arc<dyn PhysicalExpr>)>,
        probe: Option<Arc<dyn PhysicalExpr>>,
    ) -> Self {
        Self::with_schema(
            input,
            Arc::clone(&apply.inner),
            params,
            probe,
            apply.kind,
            Arc::clone(UserDefinedLogicalNode::schema(apply).inner()),
        )
    }

    fn with_schema(
        input: Arc<dyn ExecutionPlan>,
        inner: Arc<LogicalPlan>,
        params: Vec<(String, Arc<dyn PhysicalExpr>)>,
        probe: Option<Arc<dyn PhysicalExpr>>,
        kind: ApplyKind,
        schema: SchemaRef,
    ) -> Self {
        let from = input.properties();
        let mut equivalence = EquivalenceProperties::new(Arc::clone(&schema));
        // Input columns come first, so an order of the input is one of the output.
        if let Some(order) = from.output_ordering() {
            equivalence.add_ordering(order.clone());
        }
        let properties = Arc::new(PlanProperties::new(
            equivalence,
            from.partitioning.clone(),
            from.emission_type,
            from.boundedness,
        ));
        ApplyExec { input, inner, params, probe, kind, schema, properties }
    }
}

impl ApplyExec {
    pub(super) fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    /// Its line in a plan, over columns of these names.
    pub(super) fn explain(&self, names: &[String]) -> String {
        let what = match self.kind {
            ApplyKind::Exists => "EXISTS",
            ApplyKind::InSet => "IN",
            ApplyKind::Array(_) => "ARRAY",
            ApplyKind::LateralInner | ApplyKind::LateralLeft => "LATERAL",
            _ => "a value",
        };
        if self.params.is_empty() {
            return format!("Subquery: {what}");
        }
        let of = self.params.iter().map(|(_, e)| sql(e, names)).collect::<Vec<_>>().join(", ");
        format!("Subquery: {what}, for each {of}")
    }

    /// What its last column is, if it appends one.
    pub(super) fn result(&self, names: &[String]) -> Option<String> {
        match self.kind {
            ApplyKind::Exists => Some("EXISTS (…)".into()),
            ApplyKind::InSet => Some(format!("{} IN (…)", sql(self.probe.as_ref()?, names))),
            ApplyKind::Array(_) => Some("ARRAY (…)".into()),
            ApplyKind::Scalar => Some("(…)".into()),
            ApplyKind::LateralInner | ApplyKind::LateralLeft => None,
        }
    }
}

impl DisplayAs for ApplyExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Apply: {:?}", self.kind)
    }
}

impl ExecutionPlan for ApplyExec {
    fn name(&self) -> &str {
        "ApplyExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    /// Where each row gives one, no more are wanted of the input than of this.
    fn supports_limit_pushdown(&self) -> bool {
        !self.kind.is_lateral()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for expr in self.params.iter().map(|(_, e)| e).chain(&self.probe) {
            if f(expr)? == TreeNodeRecursion::Stop {
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
        let Some(input) = children.into_iter().next() else { return internal_err!("Apply has one input") };
        Ok(Arc::new(Self::with_schema(
            input,
            Arc::clone(&self.inner),
            self.params.clone(),
            self.probe.clone(),
            self.kind,
            Arc::clone(&self.schema),
        )))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(
            children,
            ReplaceChildrenOptions::new(datafusion::physical_plan::ChildrenPropertiesMode::Recompute),
        )
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let statement = statement(&context)?;
        let memory = MemoryConsumer::new("Apply").register(context.memory_pool());
        let input = self.input.execute(partition, context)?;
        let run = Run {
            inner: Arc::clone(&self.inner),
            params: self.params.clone(),
            probe: self.probe.clone(),
            kind: self.kind,
            schema: Arc::clone(&self.schema),
            statement,
            memo: HashMap::new(),
            set: None,
            volatile: params::is_volatile(&self.inner)?,
            memory,
        };
        let stream = if self.kind.is_lateral() { run.lateral(input) } else { run.single(input) };
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream)))
    }
}

/// The one value of a subquery that depends on nothing around it.
pub(super) async fn value(apply: &Apply, ctx: &ExecContext) -> Result<ScalarValue> {
    let mut run = Run::alone(apply, ctx);
    match run.kind {
        ApplyKind::Array(array) => run.collect_array(&[], array).await,
        _ => {
            // Where only existence matters, there may be no column.
            let ty = apply.inner.schema().fields().first().map_or(DataType::Null, |f| f.data_type().clone());
            run.evaluate(&[], &ty).await
        }
    }
}

/// Its different values, NULL among them; `None` if there are more than `most`.
pub(super) async fn values(
    apply: &Apply,
    ctx: &ExecContext,
    most: usize,
) -> Result<Option<Vec<ScalarValue>>> {
    let mut rows = Run::alone(apply, ctx).inner_rows(&[])?;
    let (mut seen, mut values) = (HashSet::new(), Vec::new());
    while let Some(batch) = rows.try_next().await? {
        for row in 0..batch.num_rows() {
            let value = ScalarValue::try_from_array(batch.column(0), row)?;
            if seen.insert(value.clone()) {
                values.push(value);
            }
        }
        if values.len() > most {
            return Ok(None);
        }
    }
    Ok(Some(values))
}

struct Run {
    inner: Arc<LogicalPlan>,
    params: Vec<(String, Arc<dyn PhysicalExpr>)>,
    probe: Option<Arc<dyn PhysicalExpr>>,
    kind: ApplyKind,
    schema: SchemaRef,
    statement: Arc<ExecContext>,
    memo: HashMap<Vec<ScalarValue>, ScalarValue>,
    set: Option<InnerSet>,
    /// The inner plan calls volatile functions.
    volatile: bool,
    memory: MemoryReservation,
}

struct InnerSet {
    values: HashSet<ScalarValue>,
    has_null: bool,
}

impl Run {
    /// Of a node that depends on no row.
    fn alone(apply: &Apply, ctx: &ExecContext) -> Self {
        Run {
            inner: Arc::clone(&apply.inner),
            params: Vec::new(),
            probe: None,
            kind: apply.kind,
            schema: Arc::clone(UserDefinedLogicalNode::schema(apply).inner()),
            statement: Arc::new(ctx.clone()),
            memo: HashMap::new(),
            set: None,
            volatile: false,
            memory: MemoryConsumer::new("Apply").register(&ctx.engine.runtime().memory_pool),
        }
    }

    /// One output row for each input row.
    fn single(self, input: SendableRecordBatchStream) -> BoxStream<'static, Result<RecordBatch>> {
        futures::stream::try_unfold((self, input), |(mut run, mut input)| async move {
            let Some(batch) = input.try_next().await? else { return Ok(None) };
            let column = run.column(&batch).await?;
            let mut columns = batch.columns().to_vec();
            columns.push(column);
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let out = RecordBatch::try_new_with_options(Arc::clone(&run.schema), columns, &options)?;
            Ok(Some((out, (run, input))))
        })
        .boxed()
    }

    async fn column(&mut self, batch: &RecordBatch) -> Result<ArrayRef> {
        let ty = self.schema.field(self.schema.fields().len() - 1).data_type().clone();
        let mut values = Vec::with_capacity(batch.num_rows());
        if self.kind == ApplyKind::InSet {
            let Some(probe) = &self.probe else { return internal_err!("a set without a probe") };
            let probe = probe.evaluate(batch)?.into_array(batch.num_rows())?;
            for row in 0..batch.num_rows() {
                let value = ScalarValue::try_from_array(&probe, row)?;
                values.push(self.in_set(value).await?);
            }
        } else {
            let outer = self.outer(batch)?;
            for row in 0..batch.num_rows() {
                let key = row_values(&outer, row)?;
                if let Some(known) = self.memo.get(&key) {
                    values.push(known.clone());
                    continue;
                }
                let value = match self.kind {
                    ApplyKind::Array(array) => self.collect_array(&key, array).await?,
                    _ => self.evaluate(&key, &ty).await?,
                };
                if self.may_remember(&key, &value) {
                    self.memo.insert(key, value.clone());
                }
                values.push(value);
            }
        }
        if values.is_empty() { Ok(new_null_array(&ty, 0)) } else { ScalarValue::iter_to_array(values) }
    }

    /// Whether there is room to remember a result; what is not remembered is found anew.
    fn may_remember(&self, key: &[ScalarValue], value: &ScalarValue) -> bool {
        // What calls volatile functions is run for each row, unless no row is mentioned.
        if self.volatile && !key.is_empty() {
            return false;
        }
        let size = value.size() + key.iter().map(ScalarValue::size).sum::<usize>() + 64;
        self.memo.len() < MEMO_ENTRIES
            && self.memory.size() + size <= MEMO_BYTES
            && self.memory.try_grow(size).is_ok()
    }

    /// Values of the outer columns, in the order of `params`.
    fn outer(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.params.iter().map(|(_, e)| e.evaluate(batch)?.into_array(batch.num_rows())).collect()
    }

    fn inner_rows(&self, key: &[ScalarValue]) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let value = |id: &str| self.params.iter().position(|(p, _)| p == id).map(|at| key[at].clone());
        let plan = params::substitute(&self.inner, &value)?;
        Ok(run(Arc::new(plan), ExecContext::clone(&self.statement)))
    }

    async fn evaluate(&self, key: &[ScalarValue], ty: &DataType) -> Result<ScalarValue> {
        let mut rows = self.inner_rows(key)?;
        let mut found: Option<ScalarValue> = None;
        while let Some(batch) = rows.try_next().await? {
            if batch.num_rows() == 0 {
                continue;
            }
            if self.kind == ApplyKind::Exists {
                return Ok(ScalarValue::from(true));
            }
            if found.is_some() || batch.num_rows() > 1 {
                return Err(SqlError::new(
                    SqlState::CARDINALITY_VIOLATION,
                    "more than one row returned by a subquery used as an expression",
                )
                .into());
            }
            found = Some(ScalarValue::try_from_array(batch.column(0), 0)?);
        }
        match found {
            Some(value) => Ok(value),
            None if self.kind == ApplyKind::Exists => Ok(ScalarValue::from(false)),
            None => ScalarValue::try_from(ty),
        }
    }

    async fn collect_array(&mut self, key: &[ScalarValue], array: PgType) -> Result<ScalarValue> {
        let element = array.element().unwrap_or(PgType::Text);
        let mut rows = self.inner_rows(key)?;
        let mut items = Vec::new();
        // Only until the array is made: what is kept of it is counted where it is kept.
        let held = self.memory.new_empty();
        while let Some(batch) = rows.try_next().await? {
            held.try_grow(batch.get_array_memory_size())?;
            for row in 0..batch.num_rows() {
                items.push(datum_at(batch.column(0), row, element)?);
            }
        }
        Ok(to_scalar(&Datum::Array(items), array))
    }

    async fn in_set(&mut self, probe: ScalarValue) -> Result<ScalarValue> {
        if self.set.is_none() {
            self.set = Some(self.collect_set().await?);
        }
        let Some(set) = &self.set else { return internal_err!("the set was just made") };
        let known = if set.values.is_empty() && !set.has_null {
            Some(false)
        } else if probe.is_null() {
            None
        } else if set.values.contains(&probe) {
            Some(true)
        } else {
            (!set.has_null).then_some(false)
        };
        Ok(ScalarValue::Boolean(known))
    }

    async fn collect_set(&mut self) -> Result<InnerSet> {
        let mut set = InnerSet { values: HashSet::new(), has_null: false };
        let mut rows = self.inner_rows(&[])?;
        while let Some(batch) = rows.try_next().await? {
            for row in 0..batch.num_rows() {
                let value = ScalarValue::try_from_array(batch.column(0), row)?;
                if value.is_null() {
                    set.has_null = true;
                    continue;
                }
                let size = value.size() + 16;
                if set.values.insert(value) {
                    self.memory.try_grow(size)?;
                }
            }
        }
        Ok(set)
    }

    /// Several output rows for each input row, in pieces of about [`MAX_BATCH_ROWS`].
    fn lateral(self, input: SendableRecordBatchStream) -> BoxStream<'static, Result<RecordBatch>> {
        let state = Lateral { run: self, input, outer: None, rows: None, done: false };
        futures::stream::try_unfold(state, |mut state| async move {
            let mut pieces = Vec::new();
            let mut count = 0;
            while count < MAX_BATCH_ROWS {
                let Some(piece) = state.piece().await? else { break };
                count += piece.num_rows();
                pieces.push(piece);
            }
            if pieces.is_empty() {
                return Ok(None);
            }
            let out = concat_batches(&state.run.schema, &pieces)?;
            Ok(Some((out, state)))
        })
        .boxed()
    }
}

struct Lateral {
    run: Run,
    input: SendableRecordBatchStream,
    /// The input batch, its outer values, and the next row.
    outer: Option<(RecordBatch, Vec<ArrayRef>, usize)>,
    /// Inner rows of the row before `next`, and whether there was one.
    rows: Option<(BoxStream<'static, Result<RecordBatch>>, bool)>,
    done: bool,
}

impl Lateral {
    async fn piece(&mut self) -> Result<Option<RecordBatch>> {
        while !self.done {
            if let (Some((rows, some)), Some((batch, _, next))) = (&mut self.rows, &self.outer) {
                let row = next - 1;
                match rows.try_next().await? {
                    Some(inner) if inner.num_rows() == 0 => continue,
                    Some(inner) => {
                        *some = true;
                        return self.run.join(batch, row, inner.columns(), inner.num_rows()).map(Some);
                    }
                    None => {
                        let none = !*some && self.run.kind == ApplyKind::LateralLeft;
                        self.rows = None;
                        if none {
                            let width = batch.num_columns();
                            let nulls: Vec<ArrayRef> = self.run.schema.fields()[width..]
                                .iter()
                                .map(|f| new_null_array(f.data_type(), 1))
                                .collect();
                            return self.run.join(batch, row, &nulls, 1).map(Some);
                        }
                    }
                }
            }
            match &mut self.outer {
                Some((batch, outer, next)) if *next < batch.num_rows() => {
                    let key = row_values(outer, *next)?;
                    *next += 1;
                    self.rows = Some((self.run.inner_rows(&key)?, false));
                }
                _ => match self.input.try_next().await? {
                    Some(batch) => {
                        let outer = self.run.outer(&batch)?;
                        self.outer = Some((batch, outer, 0));
                    }
                    None => self.done = true,
                },
            }
        }
        Ok(None)
    }
}

impl Run {
    /// One outer row beside `rows` inner ones.
    fn join(&self, batch: &RecordBatch, row: usize, inner: &[ArrayRef], rows: usize) -> Result<RecordBatch> {
        let indices = UInt64Array::from(vec![row as u64; rows]);
        let mut columns =
            batch.columns().iter().map(|c| take(c, &indices, None)).collect::<Result<Vec<_>, _>>()?;
        columns.extend(inner.iter().cloned());
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

fn row_values(columns: &[ArrayRef], row: usize) -> Result<Vec<ScalarValue>> {
    columns.iter().map(|c| ScalarValue::try_from_array(c.as_ref(), row)).collect()
}
