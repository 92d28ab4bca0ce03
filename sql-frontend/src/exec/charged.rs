//! Counting the memory of window functions.
//!
//! DataFusion's operator for frames that need the rest of the input keeps all of it, twice while it is put together, and
//! counts none of it. So its input passes through here and is counted, until its output has been taken.

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::WindowAggExec;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::TryStreamExt;
use parking_lot::Mutex;
use std::any::Any;
use std::fmt;
use std::sync::{Arc, Weak};

/// Puts a counter around every operator that keeps its whole input without counting it.
pub(super) fn charge_windows(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let any: &dyn Any = &*node;
        if !any.is::<WindowAggExec>() {
            return Ok(Transformed::no(node));
        }
        let held = Arc::new(Mutex::new(Weak::new()));
        let charged = |part, plan: &Arc<dyn ExecutionPlan>| -> Arc<dyn ExecutionPlan> {
            Arc::new(ChargedExec { part, plan: Arc::clone(plan), held: Arc::clone(&held) })
        };
        let inputs = node.children().into_iter().map(|input| charged(Part::Input, input)).collect();
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        let window: Arc<dyn ExecutionPlan> = node.replace_children(inputs, options)?;
        Ok(Transformed::yes(charged(Part::Output, &window)))
    })
    .data()
}

#[derive(Clone, Copy, Debug)]
enum Part {
    /// Counts what passes.
    Input,
    /// Begins to count, and gives back when it is dropped.
    Output,
}

/// What stands below and above the operator.
#[derive(Debug)]
pub(super) struct ChargedExec {
    part: Part,
    plan: Arc<dyn ExecutionPlan>,
    /// Of the present execution.
    held: Arc<Mutex<Weak<MemoryReservation>>>,
}

impl ChargedExec {
    fn begin(&self, context: &TaskContext) -> Arc<MemoryReservation> {
        let held = Arc::new(MemoryConsumer::new("Window").register(context.memory_pool()));
        *self.held.lock() = Arc::downgrade(&held);
        held
    }
}

impl DisplayAs for ChargedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Charged")
    }
}

impl ExecutionPlan for ChargedExec {
    fn name(&self) -> &str {
        "ChargedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.plan.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.plan]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(plan) = children.into_iter().next() else { return internal_err!("one input is counted") };
        Ok(Arc::new(ChargedExec { part: self.part, plan, held: Arc::clone(&self.held) }))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let held = match self.part {
            Part::Output => Some(self.begin(&context)),
            Part::Input => self.held.lock().upgrade(),
        };
        let rows = self.plan.execute(partition, context)?;
        let Some(held) = held else { return internal_err!("rows are counted by nobody") };
        let (schema, part) = (rows.schema(), self.part);
        let counted = rows.and_then(move |batch: RecordBatch| {
            let grown = match part {
                Part::Input => held.try_grow(2 * batch.get_array_memory_size()),
                Part::Output => Ok(()),
            };
            futures::future::ready(grown.map(|()| batch))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, counted)))
    }
}
