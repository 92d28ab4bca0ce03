//! Limits that no filter of a join passes.
//!
//! DataFusion moves a limit into the join or filter below it, and lets the keys that a join above wants through it all the same:
//! other rows would come first then, and within the limit. A limit of its own stops them.

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::limit::GlobalLimitExec;
use std::sync::Arc;

/// A rule for when limits have found their places, and filters not yet.
#[derive(Debug)]
pub struct HeldLimits;

impl PhysicalOptimizerRule for HeldLimits {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let held = plan.transform_up(|node| {
            let Some(fetch) = node.fetch().filter(|_| lets_filters_by(&node)) else {
                return Ok(Transformed::no(node));
            };
            let limit: Arc<dyn ExecutionPlan> = Arc::new(GlobalLimitExec::new(node, 0, Some(fetch)));
            Ok(Transformed::yes(limit))
        })?;
        Ok(held.data)
    }

    fn name(&self) -> &str {
        "held_limits"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn lets_filters_by(node: &Arc<dyn ExecutionPlan>) -> bool {
    let any: &dyn std::any::Any = node.as_ref();
    any.is::<HashJoinExec>() || any.is::<FilterExec>()
}
