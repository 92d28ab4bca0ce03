//! Running [`super::evaluated::Evaluated`]: a projection that no rule knows for one, and so none prunes, merges or moves.

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    ReplaceChildrenOptions,
};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// Steps other than projections keep what they compute, and are planned as themselves.
pub(super) fn plan(step: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let any: &dyn Any = &*step;
    if any.is::<ProjectionExec>() { Arc::new(EvaluatedExec { projection: step }) } else { step }
}

#[derive(Debug)]
pub(super) struct EvaluatedExec {
    projection: Arc<dyn ExecutionPlan>,
}

impl EvaluatedExec {
    pub(super) fn projection(&self) -> &Arc<dyn ExecutionPlan> {
        &self.projection
    }
}

impl DisplayAs for EvaluatedExec {
    fn fmt_as(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.projection.fmt_as(t, f)
    }
}

impl ExecutionPlan for EvaluatedExec {
    fn name(&self) -> &str {
        "EvaluatedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.projection.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.projection.children()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    /// Each row gives one.
    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.projection.apply_expressions(f)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if children.len() != 1 {
            return internal_err!("a projection has one input");
        }
        let projection = Arc::clone(&self.projection).replace_children(children, options)?;
        Ok(Arc::new(EvaluatedExec { projection }))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.projection.execute(partition, context)
    }
}
