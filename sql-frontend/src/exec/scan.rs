//! Reading a table: spans of one index, rows decoded into batches, filtered, projected.
//!
//! Rows stream: a batch holds what one or a few pages gave, at first few rows, later up to
//! [`super::engine::MAX_BATCH_ROWS`], so that a query with a small limit reads little. An index that does not hold all
//! wanted columns is followed to the rows, a batch of keys at a time.

use super::access::{self, Access};
use super::engine::statement;
use super::index_order;
use super::lookup;
use super::program::physical_expr;
use super::reading::Run;
use super::source::StoredTable;
use super::text::sql;
use crate::catalog::{IndexDescriptor, TableDescriptor};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DFSchema, Result as DfResult, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableScan};
use datafusion::physical_expr::expressions::Column as PhysicalColumn;
use datafusion::physical_expr::{
    ConstExpr, EquivalenceProperties, Partitioning, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation, PushedDown,
};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::sort_pushdown::SortOrderPushdownResult;
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use futures::TryStreamExt;
use quorate_proto::kv::{LockRequest, WaitPolicy};
use std::fmt;
use std::sync::Arc;

/// A scan of one index of a table.
#[derive(Clone, Debug)]
pub struct ScanExec {
    pub(super) table: Arc<TableDescriptor>,
    pub(super) access: Access,
    /// A step above locks the rows that are found.
    pub(super) candidates: Option<LockRequest>,
    /// The scan locks them itself.
    pub(super) lock: Option<LockRequest>,
    pub(super) reverse: bool,
    pub(super) fetch: Option<usize>,
    /// Positions in the table's columns that are decoded: the output's first, then what the filter needs.
    pub(super) decoded: Vec<usize>,
    pub(super) decoded_schema: SchemaRef,
    /// How many of `decoded` are the output.
    pub(super) width: usize,
    pub(super) filter: Option<Arc<dyn PhysicalExpr>>,
    /// Filters of joins, over the output; known when the scan begins.
    pub(super) joins: Vec<Arc<dyn PhysicalExpr>>,
    pub(super) schema: SchemaRef,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// Makes a scan executable: chooses the index and spans, compiles what filters are left.
pub(super) fn plan(
    source: &StoredTable,
    scan: &TableScan,
    props: &ExecutionProps,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    let table = &source.table;
    let output: Vec<usize> = match &scan.projection {
        Some(projection) => projection.clone(),
        None => (0..table.columns.len()).collect(),
    };
    let position = |name: &str| table.columns.iter().position(|c| c.name == name);
    let all_wanted = with_columns(&output, &scan.filters, &position);
    let access = access::choose(table, &scan.filters, &all_wanted, props)?;
    let rest: Vec<Expr> = scan
        .filters
        .iter()
        .enumerate()
        .filter(|(at, _)| !access.settled.contains(at))
        .map(|(_, f)| f.clone())
        .collect();
    // What is written meanwhile may no longer meet the conditions of an index, so a locking scan checks the row itself.
    let locked = source.lock.is_some() || source.candidates.is_some();
    let rest = if locked && access.index > 0 { scan.filters.clone() } else { rest };
    let decoded = with_columns(&output, &rest, &position);
    let full = datafusion::logical_expr::TableSource::schema(source);
    let decoded_schema = Arc::new(full.project(&decoded)?);
    let filter = match conjunction(rest) {
        Some(expr) => {
            let qualified = DFSchema::try_from_qualified_schema(scan.table_name.clone(), &decoded_schema)?;
            Some(physical_expr(&expr, &qualified, props)?)
        }
        None => None,
    };
    let mut exec = ScanExec {
        table: Arc::clone(table),
        access,
        candidates: source.candidates.clone(),
        lock: source.lock.clone(),
        reverse: false,
        fetch: scan.fetch,
        width: output.len(),
        decoded,
        decoded_schema,
        filter,
        joins: vec![],
        schema: Arc::clone(scan.projected_schema.inner()),
        properties: Arc::new(PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(scan.projected_schema.inner())),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )),
        metrics: ExecutionPlanMetricsSet::new(),
    };
    exec.properties = Arc::new(exec.properties_now()?);
    Ok(Arc::new(exec))
}

fn with_columns(output: &[usize], filters: &[Expr], position: &dyn Fn(&str) -> Option<usize>) -> Vec<usize> {
    let mut all = output.to_vec();
    for filter in filters {
        let mut more: Vec<usize> = filter.column_refs().iter().filter_map(|c| position(&c.name)).collect();
        more.sort_unstable();
        for at in more {
            if !all.contains(&at) {
                all.push(at);
            }
        }
    }
    all
}

impl ScanExec {
    pub(super) fn index(&self) -> &IndexDescriptor {
        self.table.readable_indexes().nth(self.access.index).unwrap_or(&self.table.primary)
    }

    /// The order of the rows: the index's columns, as far as they are put out and their values compare as their keys do. With
    /// it, how many of these have one value in all spans.
    fn ordering(&self) -> (Vec<PhysicalSortExpr>, usize) {
        let (mut order, mut fixed) = (Vec::new(), 0);
        let keys = self.index().columns.iter();
        // Entries of a non-unique index are ordered by the primary key behind their own columns.
        let primary =
            self.table.primary.columns.iter().filter(|_| self.access.index > 0 && !self.index().unique);
        for (at, key) in keys.chain(primary).enumerate() {
            let Some(position) = self.table.position(key.column) else { break };
            let column = &self.table.columns[position];
            let output = self.decoded[..self.width].iter().position(|d| *d == position);
            let Some(output) = output.filter(|_| column.ty.has_plain_equality()) else {
                // What has one value everywhere orders nothing.
                if at < self.access.constant_columns {
                    continue;
                }
                break;
            };
            fixed += usize::from(at < self.access.constant_columns);
            let descending = key.descending != self.reverse;
            let options = SortOptions { descending, nulls_first: descending };
            order.push(PhysicalSortExpr::new(Arc::new(PhysicalColumn::new(&column.name, output)), options));
        }
        (order, fixed)
    }

    fn properties_now(&self) -> DfResult<PlanProperties> {
        let mut equivalence = EquivalenceProperties::new(Arc::clone(&self.schema));
        let constants = self.index().columns[..self.access.constant_columns].iter().filter_map(|key| {
            let position = self.table.position(key.column)?;
            let output = self.decoded[..self.width].iter().position(|d| *d == position)?;
            let column: Arc<dyn PhysicalExpr> =
                Arc::new(PhysicalColumn::new(&self.table.columns[position].name, output));
            Some(ConstExpr::from(column))
        });
        let constants: Vec<ConstExpr> = constants.collect();
        equivalence.add_constants(constants)?;
        // In order of the whole key, and so, where its first columns have one value, in order of the rest.
        let (order, fixed) = self.ordering();
        let rest = order[fixed..].to_vec();
        equivalence.add_orderings([order, rest]);
        Ok(PlanProperties::new(
            equivalence,
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ))
    }

    fn changed(&self, change: impl FnOnce(&mut Self)) -> DfResult<Arc<ScanExec>> {
        let mut exec = self.clone();
        change(&mut exec);
        exec.metrics = ExecutionPlanMetricsSet::new();
        exec.properties = Arc::new(exec.properties_now()?);
        Ok(Arc::new(exec))
    }

    /// Whether it gives all rows of its table that meet a filter, in no order that matters to anybody yet.
    pub(super) fn is_free(&self) -> bool {
        let whole = self.access.shown.is_empty() && !self.access.spans.is_empty() && self.joins.is_empty();
        whole && self.fetch.is_none() && self.lock.is_none() && self.candidates.is_none()
    }

    /// The same rows, read by other means.
    pub(super) fn reading(&self, access: Access, reverse: bool) -> DfResult<Arc<ScanExec>> {
        self.changed(|e| (e.access, e.reverse) = (access, reverse))
    }

    /// The same scan, locking no more than so many rows by itself, if it finds candidates for locks.
    pub(super) fn locking(&self, fetch: Option<usize>) -> DfResult<Option<Arc<dyn ExecutionPlan>>> {
        if self.candidates.is_none() || self.fetch.is_some() || !self.joins.is_empty() {
            return Ok(None);
        }
        let locking = self.changed(|e| {
            e.lock = e.candidates.take();
            e.fetch = fetch;
        })?;
        Ok(Some(locking))
    }

    /// Whether what is read needs no proof: rows that others have locked are skipped, so that it is no consistent view.
    pub(super) fn is_loose(&self) -> bool {
        let skips = |lock: &LockRequest| lock.wait == WaitPolicy::SkipLocked;
        let candidates = || self.candidates.is_some() && quorate_env::planted!("sql.candidates_unproven");
        self.candidates.iter().chain(&self.lock).any(skips) || candidates()
    }

    /// Lines for `EXPLAIN`: what is read, and the conditions.
    pub fn explain(&self) -> (String, Vec<String>) {
        let table = &self.table;
        let mut title = if self.access.spans.is_empty() {
            "No Scan".to_string()
        } else if self.access.index == 0 {
            let whole = self.access.shown.is_empty();
            (if whole {
                "Full Scan"
            } else if self.access.points {
                "Key Lookup"
            } else {
                "Range Scan"
            })
            .to_string()
        } else {
            let kind = if self.access.covering { "Index Only Scan" } else { "Index Scan" };
            format!("{kind} using {}", self.index().name)
        };
        if self.reverse {
            title.push_str(" Backward");
        }
        title.push_str(&format!(" on {}", table.name));
        let mut lines = Vec::new();
        if !self.access.shown.is_empty() {
            lines.push(format!("Key: {}", self.access.shown.join(" AND ")));
        }
        if self.access.spans.len() > 1 {
            lines.push(format!("Spans: {}", self.access.spans.len()));
        }
        let fields = self.decoded_schema.fields().iter();
        let names: Vec<String> = fields.map(|field| field.name().clone()).collect();
        if let Some(filter) = &self.filter {
            lines.push(format!("Filter: {}", sql(filter, &names)));
        }
        if !self.joins.is_empty() {
            let columns: Vec<String> =
                self.joins.iter().flat_map(|j| j.children()).map(|c| sql(c, &names)).collect();
            lines.push(format!("Keys from Join: {}", columns.join(", ")));
        }
        if let Some(fetch) = self.fetch {
            lines.push(format!("Limit: {fetch}"));
        }
        if let Some(lock) = &self.lock {
            lines.push(format!("Lock: {}", lock_words(lock)));
        }
        (title, lines)
    }
}

impl DisplayAs for ScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (title, lines) = self.explain();
        write!(f, "{title}")?;
        lines.iter().try_for_each(|line| write!(f, ", {line}"))
    }
}

impl ExecutionPlan for ScanExec {
    fn name(&self) -> &str {
        "ScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        for expr in self.filter.iter().chain(&self.joins) {
            if f(expr)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], _: &StatisticsArgs) -> DfResult<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema);
        let rows = lookup::estimate(&self.access, self.filter.is_some(), self.fetch);
        statistics.num_rows = Precision::Inexact(rows);
        Ok(Arc::new(statistics))
    }

    /// Takes the filters of joins above, which only tell which keys are worth reading. Below a limit it is the limit that tells.
    fn handle_child_pushdown_result(
        &self,
        phase: FilterPushdownPhase,
        result: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> DfResult<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        let refused = vec![PushedDown::No; result.parent_filters.len()];
        let unchanged = FilterPushdownPropagation { filters: refused.clone(), updated_node: None };
        if !matches!(phase, FilterPushdownPhase::Post) || self.lock.is_some() || self.fetch.is_some() {
            return Ok(unchanged);
        }
        let mut joins = Vec::new();
        let mut joined = Vec::new();
        for filter in result.parent_filters {
            if let Some(columns) = lookup::join_columns(&filter.filter) {
                joined.extend(columns.iter().filter_map(|c| self.decoded.get(*c).copied()));
                joins.push(filter.filter);
            }
        }
        if joins.is_empty() {
            return Ok(unchanged);
        }
        let other = if self.access.settled.is_empty() && !self.access.spans.is_empty() {
            lookup::better_index(&self.table, &self.access, &joined, &self.decoded)?
        } else {
            None
        };
        let node: Arc<dyn ExecutionPlan> = self.changed(|e| {
            e.joins = joins;
            if let Some(other) = other {
                e.access = other;
            }
        })?;
        Ok(FilterPushdownPropagation { filters: refused, updated_node: Some(node) })
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn supports_limit_pushdown(&self) -> bool {
        false
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        // The limit's rows are not those of a join above it.
        if limit.is_some() && !self.joins.is_empty() {
            return None;
        }
        let exec: Arc<dyn ExecutionPlan> = self.changed(|e| e.fetch = limit).ok()?;
        Some(exec)
    }

    fn fetch(&self) -> Option<usize> {
        self.fetch
    }

    /// A scan can run backwards instead of being sorted, or read an index that has the order and all that is wanted.
    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
    ) -> DfResult<SortOrderPushdownResult<Arc<dyn ExecutionPlan>>> {
        let backwards = self.changed(|e| e.reverse = !e.reverse)?;
        if self.fetch.is_none() && backwards.properties.eq_properties.ordering_satisfy(order.to_vec())? {
            return Ok(SortOrderPushdownResult::Exact { inner: backwards });
        }
        Ok(match index_order::in_order(self, order, false)? {
            Some(inner) => SortOrderPushdownResult::Exact { inner },
            None => SortOrderPushdownResult::Unsupported,
        })
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let statement = statement(&context)?;
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let rows_read = MetricBuilder::new(&self.metrics).counter("rows_read", partition);
        let run = Run::new(self, Arc::clone(&statement.read), rows_read)?;
        let stream = futures::stream::try_unfold(run, |mut run| async move {
            Ok(run.next().await?.map(|batch| (batch, run)))
        });
        let stream = stream.inspect_ok(move |batch: &RecordBatch| metrics.record_output(batch.num_rows()));
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream)))
    }
}

/// A lock for `EXPLAIN`, with what becomes of a row that somebody else has locked, where it is not waited for.
pub(super) fn lock_words(lock: &LockRequest) -> String {
    let wait = match lock.wait {
        WaitPolicy::Block(_) => "",
        WaitPolicy::NoWait => " NOWAIT",
        WaitPolicy::SkipLocked => " SKIP LOCKED",
    };
    format!("{:?}{wait}", lock.mode)
}

/// `d@3 = 5` as `d = 5`.
pub(super) fn without_positions(shown: &str) -> String {
    let mut out = String::with_capacity(shown.len());
    let mut rest = shown;
    while let Some(at) = rest.find('@') {
        let digits = rest[at + 1..].bytes().take_while(u8::is_ascii_digit).count();
        out.push_str(if digits == 0 { &rest[..=at] } else { &rest[..at] });
        rest = &rest[at + 1 + digits..];
    }
    out + rest
}
