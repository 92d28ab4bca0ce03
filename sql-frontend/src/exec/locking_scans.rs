//! Locks that a scan takes by itself: where nothing stands between a scan and the step that locks what it finds, the scan
//! locks what matches, page by page, and a lookup by key is one request.

use super::ahead::picks_columns;
use super::explain::only_renames;
use super::lock_rows_exec::LockRowsExec;
use super::params::locks_of;
use super::scan::ScanExec;
use super::source::StoredTable;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::{LogicalPlan, Projection, TableScan};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};
use std::any::Any;
use std::sync::Arc;

/// A rule of both optimizers. The first finds plain scans; the second also those that turn out to give the order that is wanted.
#[derive(Debug)]
pub struct LockingScans;

impl OptimizerRule for LockingScans {
    fn name(&self) -> &str {
        "locking_scans"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let alone = locks_of(&plan).filter(|node| node.relations.len() == 1 && node.order.is_empty());
        Ok(match alone.and_then(|node| locking(&node.input)) {
            Some(scan) => Transformed::yes(scan),
            None => Transformed::no(plan),
        })
    }
}

/// The plan with a scan that locks, if it is one that finds candidates, or picks columns of one.
fn locking(plan: &LogicalPlan) -> Option<LogicalPlan> {
    match plan {
        LogicalPlan::TableScan(scan) if scan.fetch.is_none() => {
            let source = scan.source.downcast_ref::<StoredTable>()?;
            source.candidates.as_ref()?;
            let source = Arc::new(source.locking());
            Some(LogicalPlan::TableScan(TableScan { source, ..scan.clone() }))
        }
        LogicalPlan::Projection(pick) if picks_columns(pick) => {
            let input = Arc::new(locking(&pick.input)?);
            Projection::try_new(pick.expr.clone(), input).ok().map(LogicalPlan::Projection)
        }
        _ => None,
    }
}

impl PhysicalOptimizerRule for LockingScans {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let locked = plan.transform_up(|node| {
            let any: &dyn Any = &*node;
            let alone = any.downcast_ref::<LockRowsExec>().filter(|node| node.relations() == 1);
            match alone.map(|node| scan_locking(node.input(), node.fetch())).transpose()?.flatten() {
                Some(scan) => Ok(Transformed::yes(scan)),
                None => Ok(Transformed::no(node)),
            }
        })?;
        Ok(locked.data)
    }

    fn name(&self) -> &str {
        "locking_scans"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn scan_locking(
    plan: &Arc<dyn ExecutionPlan>,
    fetch: Option<usize>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let any: &dyn Any = &**plan;
    if let Some(scan) = any.downcast_ref::<ScanExec>() {
        return scan.locking(fetch);
    }
    let Some(pick) = any.downcast_ref::<ProjectionExec>() else { return Ok(None) };
    if !only_renames(pick) {
        return Ok(None);
    }
    match scan_locking(pick.input(), fetch)? {
        Some(scan) => {
            let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
            Arc::clone(plan).replace_children(vec![scan], options).map(Some)
        }
        None => Ok(None),
    }
}
