//! Where a running plan gives way to other tasks, and to what may end it.
//!
//! DataFusion counts what leaves of a plan yield against their task's budget, and goes on later once it is used up. A join makes
//! many batches of few, long after its leaves have ended; so what joins yield is counted as well. Without it nothing could
//! cancel a product of small tables.
//!
//! Planning gives way to nobody, so it asks between its rules whether it is to end: dozens of relations take seconds.

use crate::func::give_way;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use std::sync::Arc;

#[derive(Debug)]
pub struct JoinsGiveWay;

impl PhysicalOptimizerRule for JoinsGiveWay {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let counted = plan.transform_up(|node| {
            if node.children().len() < 2 {
                return Ok(Transformed::no(node));
            }
            let counted: Arc<dyn ExecutionPlan> = Arc::new(CooperativeExec::new(node));
            Ok(Transformed::yes(counted))
        })?;
        Ok(counted.data)
    }

    fn name(&self) -> &str {
        "joins_give_way"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// A rule of both optimizers that changes nothing, and fails when the statement is to end.
#[derive(Debug)]
pub struct MayEnd;

impl OptimizerRule for MayEnd {
    fn name(&self) -> &str {
        "may_end"
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        give_way()?;
        Ok(Transformed::no(plan))
    }
}

impl PhysicalOptimizerRule for MayEnd {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        give_way()?;
        Ok(plan)
    }

    fn name(&self) -> &str {
        "may_end"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
