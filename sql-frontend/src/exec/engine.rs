//! The one DataFusion session of a process: its rules, its planner, its memory.

use super::apply::Apply;
use super::apply_exec::ApplyExec;
use super::evaluated::{Evaluated, bare_top, keep_calls};
use super::giving_way::{JoinsGiveWay, MayEnd};
use super::held_limits::HeldLimits;
use super::index_order::IndexOrder;
use super::lock_rows::LockRows;
use super::lock_rows_exec::LockRowsExec;
use super::locking_scans::LockingScans;
use super::memory::sql_error;
use super::rows_from::RowsFrom;
use super::source::{StoredTable, VirtualSource};
use super::{ExecContext, ahead, charged, evaluated_exec, params, rows_from, scan, virtual_table};
use crate::bind::BoundQuery;
use crate::error::{SqlError, SqlState};
use crate::func::{ContextValue, give_way};
use crate::types::{Datum, PgType, to_scalar};
use async_trait::async_trait;
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::Session;
use datafusion::common::{DataFusionError, Result as DfResult, ScalarValue};
use datafusion::execution::context::SessionConfig;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{GreedyMemoryPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::execution::{SessionState, TaskContext};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, TableScan, UserDefinedLogicalNode};
use datafusion::optimizer::OptimizerRule;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// Rows in a batch, at most.
pub const MAX_BATCH_ROWS: usize = 1024;

/// A join with no more keys than this reads its other side by key.
const MAX_JOIN_KEYS: usize = 1000;

/// What one node grants to queries.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Bytes of working memory of all statements together (sorts, hash tables, rows kept for later); beyond it a statement
    /// fails with 53200.
    pub memory: usize,
    /// Scans lock nothing by themselves, and every locked row is looked at again, as if it had changed. For tests: it changes no
    /// answer.
    pub recheck_all: bool,
}

impl Default for EngineConfig {
    fn default() -> Self {
        EngineConfig { memory: 256 << 20, recheck_all: false }
    }
}

/// Shared by all sessions of a node.
pub struct Engine {
    state: SessionState,
    /// The same without lookups by the keys of joins: for plans that need an order which such a lookup would lose.
    plain: SessionState,
    planner: DefaultPhysicalPlanner,
    pub(super) recheck_all: bool,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Engine")
    }
}

impl Engine {
    pub fn new(config: EngineConfig) -> Result<Arc<Engine>, SqlError> {
        let recheck_all = config.recheck_all;
        let mut session = SessionConfig::new()
            .with_target_partitions(1)
            .with_batch_size(MAX_BATCH_ROWS)
            .with_create_default_catalog_and_schema(false)
            .with_information_schema(false);
        let options = session.options_mut();
        options.optimizer.skip_failed_rules = false;
        options.optimizer.max_passes = 3;
        options.optimizer.enable_dynamic_filter_pushdown = true;
        options.optimizer.enable_join_dynamic_filter_pushdown = true;
        options.optimizer.enable_topk_dynamic_filter_pushdown = false;
        options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
        options.optimizer.hash_join_inlist_pushdown_max_distinct_values = MAX_JOIN_KEYS;
        options.optimizer.prefer_existing_sort = true;
        options.optimizer.enable_round_robin_repartition = false;
        options.optimizer.filter_null_join_keys = false;
        options.execution.collect_statistics = false;
        let pool = TrackConsumersPool::new(
            GreedyMemoryPool::new(config.memory),
            NonZeroUsize::new(3).expect("three is not zero"),
        );
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
            .build_arc()?;
        let mut without = session.clone();
        without.options_mut().optimizer.enable_join_dynamic_filter_pushdown = false;
        let build = |config: SessionConfig| {
            SessionStateBuilder::new()
                .with_config(config)
                .with_runtime_env(Arc::clone(&runtime))
                .with_analyzer_rules(vec![])
                .with_optimizer_rules(rules(recheck_all))
                .with_physical_optimizer_rules(physical_rules(recheck_all))
                .build()
        };
        let (state, plain) = (build(session), build(without));
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(Planner)]);
        Ok(Arc::new(Engine { state, plain, planner, recheck_all }))
    }

    /// Runs the optimizer over a plan with placeholders.
    pub fn optimize(&self, plan: LogicalPlan) -> Result<LogicalPlan, SqlError> {
        let plan = keep_calls(plan)?;
        self.state.optimizer().optimize(plan, &self.state, |_, _| {}).map(bare_top).map_err(sql_error)
    }

    /// A plan without placeholders, made executable.
    pub async fn physical(&self, plan: &LogicalPlan) -> DfResult<Arc<dyn ExecutionPlan>> {
        let physical = match self.planner.create_physical_plan(plan, &self.state).await {
            Ok(physical) => physical,
            Err(_) => self.planner.create_physical_plan(plan, &self.plain).await?,
        };
        charged::charge_windows(physical)
    }

    pub(super) fn runtime(&self) -> &RuntimeEnv {
        self.state.runtime_env()
    }

    pub(crate) fn props(&self) -> &ExecutionProps {
        self.state.execution_props()
    }

    /// A task of this engine that carries the statement.
    #[expect(clippy::disallowed_types, reason = "DataFusion asks for them, and they stay empty")]
    pub(crate) fn task(&self, ctx: &ExecContext) -> Arc<TaskContext> {
        use std::collections::HashMap;
        let config = self.state.config().clone().with_extension(Arc::new(ctx.clone()));
        Arc::new(TaskContext::new(
            None,
            String::new(),
            config,
            HashMap::default(),
            HashMap::default(),
            HashMap::default(),
            HashMap::default(),
            Arc::clone(self.state.runtime_env()),
        ))
    }
}

/// The statement that a task belongs to.
pub(crate) fn statement(task: &TaskContext) -> DfResult<Arc<ExecContext>> {
    task.session_config()
        .get_extension::<ExecContext>()
        .ok_or_else(|| DataFusionError::Internal("a task without its statement".into()))
}

/// Rules that neither change what a plan means nor evaluate what PostgreSQL would not. Left out on purpose: the rewriting of
/// subqueries (the binder does it), common subexpressions (they would be evaluated outside of the `CASE` that guards
/// them), and simplification (which turns such a `CASE` into `AND` and `OR`, whose sides may be evaluated in any order).
fn rules(recheck_all: bool) -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    use datafusion::optimizer::{
        eliminate_cross_join::EliminateCrossJoin, eliminate_duplicated_expr::EliminateDuplicatedExpr,
        eliminate_filter::EliminateFilter, eliminate_group_by_constant::EliminateGroupByConstant,
        eliminate_limit::EliminateLimit, eliminate_outer_join::EliminateOuterJoin,
        extract_equijoin_predicate::ExtractEquijoinPredicate, optimize_projections::OptimizeProjections,
        optimize_unions::OptimizeUnions, propagate_empty_relation::PropagateEmptyRelation,
        push_down_filter::PushDownFilter, push_down_limit::PushDownLimit,
        replace_distinct_aggregate::ReplaceDistinctWithAggregate,
    };
    let rules: [Arc<dyn OptimizerRule + Send + Sync>; 13] = [
        Arc::new(OptimizeUnions::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(EliminateDuplicatedExpr::new()),
        Arc::new(EliminateFilter::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(EliminateLimit::new()),
        Arc::new(PropagateEmptyRelation::new()),
        Arc::new(EliminateOuterJoin::new()),
        Arc::new(PushDownLimit::new()),
        Arc::new(PushDownFilter::new()),
        Arc::new(EliminateGroupByConstant::new()),
        Arc::new(OptimizeProjections::new()),
    ];
    let locking: Option<Arc<dyn OptimizerRule + Send + Sync>> =
        (!recheck_all).then(|| Arc::new(LockingScans) as _);
    rules.into_iter().chain(locking).flat_map(|rule| [Arc::new(MayEnd), rule]).collect()
}

fn physical_rules(recheck_all: bool) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    // When orders and limits have found their places, and before leaves are wrapped.
    let wrapping = rules.iter().position(|rule| rule.name() == "EnsureCooperative").unwrap_or(rules.len());
    rules.insert(wrapping, Arc::new(HeldLimits));
    rules.insert(wrapping, Arc::new(IndexOrder));
    if !recheck_all {
        rules.insert(wrapping, Arc::new(LockingScans));
    }
    rules.push(Arc::new(JoinsGiveWay));
    rules.into_iter().flat_map(|rule| [Arc::new(MayEnd), rule]).collect()
}

/// The plan with the statement's parameters and the session's values filled in.
pub(crate) fn bind_values(
    query: &BoundQuery,
    params: &[Datum],
    ctx: &ExecContext,
) -> Result<Arc<LogicalPlan>, SqlError> {
    check_params(&query.param_types, params)?;
    let value = statement_values(&query.param_types, params, ctx);
    Ok(Arc::new(params::substitute(&query.plan, &value).map_err(sql_error)?))
}

/// 08P01 when their number is not that of the types.
pub(crate) fn check_params(types: &[PgType], params: &[Datum]) -> Result<(), SqlError> {
    if types.len() == params.len() {
        return Ok(());
    }
    Err(wrong_count(params.len(), types.len()))
}

fn wrong_count(given: usize, wanted: usize) -> SqlError {
    SqlError::new(
        SqlState::PROTOCOL_VIOLATION,
        format!("{given} parameters were given, but the statement has {wanted}"),
    )
}

/// The values behind `$1`… and the session's hidden parameters.
pub(crate) fn statement_values<'a>(
    types: &'a [PgType],
    params: &'a [Datum],
    ctx: &'a ExecContext,
) -> impl Fn(&str) -> Option<ScalarValue> + 'a {
    move |id| {
        let name = id.strip_prefix('$')?;
        if let Ok(number) = name.parse::<usize>() {
            let at = number.checked_sub(1)?;
            return Some(to_scalar(params.get(at)?, *types.get(at)?));
        }
        let which = ContextValue::ALL.into_iter().find(|v| v.parameter() == name)?;
        Some(ctx.session.scalar(which))
    }
}

pub(super) fn execute(
    query: &BoundQuery,
    params: &[Datum],
    ctx: &ExecContext,
) -> BoxStream<'static, Result<RecordBatch, SqlError>> {
    if let Some(point) = &query.point {
        let (point, types) = (Arc::clone(point), query.param_types.len());
        let (params, ctx) = (params.to_vec(), ctx.clone());
        let batch = async move {
            if params.len() != types {
                return Err(wrong_count(params.len(), types));
            }
            point.batch(&params, &ctx).await
        };
        return futures::stream::once(batch)
            .filter_map(|batch| futures::future::ready(batch.transpose()))
            .boxed();
    }
    let plan = match bind_values(query, params, ctx) {
        Ok(plan) => plan,
        Err(error) => return futures::stream::once(async { Err(error) }).boxed(),
    };
    run(plan, ctx.clone()).map_err(sql_error).boxed()
}

/// Plans and runs a plan without placeholders.
pub(crate) fn run(plan: Arc<LogicalPlan>, ctx: ExecContext) -> BoxStream<'static, DfResult<RecordBatch>> {
    futures::stream::once(async move {
        let plan = ahead::answered(plan, &ctx).await?;
        let physical = ctx.engine.physical(&plan).await?;
        execute_stream(physical, ctx.engine.task(&ctx))
    })
    .try_flatten()
    .boxed()
}

/// Makes our own nodes and tables executable.
struct Planner;

#[async_trait]
impl ExtensionPlanner for Planner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        planning: &PhysicalPlanningContext,
    ) -> DfResult<Option<Arc<dyn ExecutionPlan>>> {
        if let Some(node) = node.as_any().downcast_ref::<RowsFrom>() {
            return rows_from::plan(node, session.execution_props()).map(Some);
        }
        let Some(input) = logical_inputs.first() else { return Ok(None) };
        let physical = |e| planner.create_physical_expr(e, input.schema(), session, planning);
        if let Some(node) = node.as_any().downcast_ref::<LockRows>() {
            let mut order = Vec::with_capacity(node.order.len());
            for key in &node.order {
                let options = SortOptions { descending: !key.asc, nulls_first: key.nulls_first };
                order.push(PhysicalSortExpr::new(physical(&key.expr)?, options));
            }
            let order = LexOrdering::new(order);
            let exec = LockRowsExec::new(node, Arc::clone(&physical_inputs[0]), order)?;
            return Ok(Some(Arc::new(exec)));
        }
        if node.as_any().is::<Evaluated>() {
            return Ok(Some(evaluated_exec::plan(Arc::clone(&physical_inputs[0]))));
        }
        let Some(apply) = node.as_any().downcast_ref::<Apply>() else { return Ok(None) };
        let params = apply
            .params
            .iter()
            .map(|(id, e)| Ok((id.clone(), physical(e)?)))
            .collect::<DfResult<Vec<_>>>()?;
        let probe = apply.probe.as_ref().map(physical).transpose()?;
        let exec = ApplyExec::new(Arc::clone(&physical_inputs[0]), apply, params, probe);
        Ok(Some(Arc::new(exec)))
    }

    async fn plan_table_scan(
        &self,
        _planner: &dyn PhysicalPlanner,
        scan: &TableScan,
        session: &dyn Session,
        _planning: &PhysicalPlanningContext,
    ) -> DfResult<Option<Arc<dyn ExecutionPlan>>> {
        give_way()?;
        if let Some(table) = scan.source.downcast_ref::<StoredTable>() {
            return scan::plan(table, scan, session.execution_props()).map(Some);
        }
        match scan.source.downcast_ref::<VirtualSource>() {
            Some(table) => virtual_table::plan(table, scan).map(Some),
            None => Ok(None),
        }
    }
}
