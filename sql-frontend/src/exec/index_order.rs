//! The first rows in some order, from an index that has it.
//!
//! Which index a scan reads is chosen by its conditions. Without any, each index holds all rows, and one that has the order of
//! an `ORDER BY` above saves sorting them: always if it holds the columns that are wanted, and where only the first few rows
//! are, even if each of these must be looked up.

use super::access::Access;
use super::scan::ScanExec;
use crate::error::SqlError;
use crate::row::RowDecoder;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::PhysicalSortExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::sorts::sort::SortExec;
use std::any::Any;
use std::sync::Arc;

/// More rows than this are rather sorted than looked up one by one.
const LOOKUPS: usize = 1024;

/// A rule for when limits have found their sorts.
#[derive(Debug)]
pub struct IndexOrder;

impl PhysicalOptimizerRule for IndexOrder {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let ordered = plan.transform_up(|node| match first_of_index(&*node)? {
            Some(scan) => Ok(Transformed::yes(scan)),
            None => Ok(Transformed::no(node)),
        })?;
        Ok(ordered.data)
    }

    fn name(&self) -> &str {
        "index_order"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// What a sort that wants a few rows of a scan comes to.
fn first_of_index(node: &dyn ExecutionPlan) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let any: &dyn Any = node;
    let Some(sort) = any.downcast_ref::<SortExec>() else { return Ok(None) };
    let Some(fetch) = sort.fetch().filter(|fetch| *fetch <= LOOKUPS) else { return Ok(None) };
    let input: &dyn Any = sort.input().as_ref();
    let Some(scan) = input.downcast_ref::<ScanExec>() else { return Ok(None) };
    let order: Vec<PhysicalSortExpr> = sort.expr().iter().cloned().collect();
    Ok(in_order(scan, &order, true)?.and_then(|scan| scan.with_fetch(Some(fetch))))
}

/// The rows of a scan without conditions, in this order, if an index has it. `lookups`: also from one that holds not all of
/// their columns.
pub(super) fn in_order(
    scan: &ScanExec,
    order: &[PhysicalSortExpr],
    lookups: bool,
) -> Result<Option<Arc<ScanExec>>> {
    if !scan.is_free() {
        return Ok(None);
    }
    for access in whole_indexes(scan)? {
        if !access.covering && (!lookups || scan.filter.is_some()) {
            continue;
        }
        for reverse in [false, true] {
            let other = scan.reading(access.clone(), reverse)?;
            if other.properties().eq_properties.ordering_satisfy(order.to_vec())? {
                return Ok(Some(other));
            }
        }
    }
    Ok(None)
}

/// All of each index but the scan's.
fn whole_indexes(scan: &ScanExec) -> Result<Vec<Access>, SqlError> {
    let (table, present) = (&scan.table, &scan.access);
    let mut all = Vec::new();
    for (position, index) in table.readable_indexes().enumerate().filter(|(at, _)| *at != present.index) {
        let mut access = super::access::restrict(table, index, &present.allowed)?;
        access.index = position;
        access.covering = position == 0 || RowDecoder::for_index(table, index, &scan.decoded)?.is_some();
        access.allowed = Arc::clone(&present.allowed);
        all.push(access);
    }
    Ok(all)
}
