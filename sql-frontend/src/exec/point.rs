//! Queries for one row by its primary key, run without a physical plan.
//!
//! `SELECT … FROM t WHERE key = …` and the scans of `UPDATE` and `DELETE` by key are recognized in the optimized plan: one
//! table, an equality for every column of its primary key, anything computed from the row on top. Running one is a key
//! lookup, a filter and the computed columns; columns and parameters that are only passed on cost no expression.

use super::ExecContext;
use super::program::{RowProgram, unkey};
use super::read::How;
use super::source::StoredTable;
use super::widened::{Fit, Operand, fit};
use crate::bind::OutColumn;
use crate::catalog::TableDescriptor;
use crate::error::SqlError;
use crate::row::{RowDecoder, column_to_key, index_prefix};
use crate::types::{Datum, PgType, from_scalar, to_array};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::{Column, DFSchema};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, TableScan};
use quorate_proto::kv::LockRequest;
use std::sync::Arc;

/// Where a value comes from.
#[derive(Clone, Debug)]
enum Cell {
    /// A decoded column.
    Column(usize),
    /// A parameter, from 0, of just this type.
    Param(usize),
    Constant(Datum),
    /// A column of [`PointQuery::computed`].
    Computed(usize),
}

/// See the module.
#[derive(Debug)]
pub struct PointQuery {
    table: Arc<TableDescriptor>,
    lock: Option<LockRequest>,
    /// One for each column of the primary key.
    key: Vec<Cell>,
    /// Computed key parts, over no input.
    key_program: Option<RowProgram>,
    decoder: RowDecoder,
    /// One boolean over the decoded columns.
    filter: Option<RowProgram>,
    output: Vec<Cell>,
    computed: Option<RowProgram>,
    types: Vec<PgType>,
    schema: SchemaRef,
}

impl PointQuery {
    /// The query as a lookup by key, if it is one.
    pub(crate) fn of(plan: &LogicalPlan, columns: &[OutColumn], params: &[PgType]) -> Option<PointQuery> {
        let mut plan = plan;
        // At most one row needs no order, and any limit of at least one lets it pass.
        loop {
            plan = match plan {
                LogicalPlan::Sort(sort) if sort.fetch != Some(0) => &sort.input,
                LogicalPlan::Limit(limit) if limit.skip.is_none() && is_positive(limit.fetch.as_deref()) => {
                    &limit.input
                }
                _ => break,
            };
        }
        let (exprs, scan) = match plan {
            LogicalPlan::Projection(p) => match &*p.input {
                LogicalPlan::TableScan(scan) => (p.expr.clone(), scan),
                _ => return None,
            },
            LogicalPlan::TableScan(scan) => {
                (scan.projected_schema.columns().into_iter().map(Expr::Column).collect(), scan)
            }
            _ => return None,
        };
        if scan.fetch == Some(0) || exprs.len() != columns.len() {
            return None;
        }
        let source = scan.source.downcast_ref::<StoredTable>()?;
        Self::build(source, scan, exprs, columns, params).ok().flatten()
    }

    fn build(
        source: &StoredTable,
        scan: &TableScan,
        exprs: Vec<Expr>,
        columns: &[OutColumn],
        params: &[PgType],
    ) -> Result<Option<PointQuery>, SqlError> {
        let table = Arc::clone(&source.table);
        let position = |c: &Column| table.columns.iter().position(|t| t.name == c.name);
        let mut rest: Vec<&Expr> = scan.filters.iter().flat_map(split_conjunction).collect();
        let mut key = Vec::with_capacity(table.primary.columns.len());
        let mut key_exprs = Vec::new();
        let mut key_columns = Vec::new();
        for part in &table.primary.columns {
            let Some(at) = table.position(part.column) else { return Ok(None) };
            let ty = table.columns[at].ty;
            let found = rest.iter().position(|f| equal_to(f, &|c| position(c) == Some(at), ty).is_some());
            let Some(found) = found else { return Ok(None) };
            let filter = rest.remove(found);
            let Some((value, ty)) = equal_to(filter, &|c| position(c) == Some(at), ty) else {
                return Ok(None);
            };
            key.push(match passed_on(value, ty, params, &|_| None) {
                Some(cell) => cell,
                None => {
                    key_exprs.push(value.clone());
                    let out = &table.columns[at];
                    key_columns.push(OutColumn { name: out.name.clone(), ty, typmod: -1, origin: None });
                    Cell::Computed(key_exprs.len() - 1)
                }
            });
        }
        let rest: Vec<Expr> = rest.into_iter().cloned().collect();
        let mut wanted: Vec<usize> =
            exprs.iter().chain(&rest).flat_map(|e| e.column_refs()).filter_map(position).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let fields: Vec<Field> = wanted
            .iter()
            .map(|at| Field::new(&table.columns[*at].name, table.columns[*at].ty.arrow(), true))
            .collect();
        let row =
            Arc::new(DFSchema::try_from_qualified_schema(scan.table_name.clone(), &Schema::new(fields))?);
        let input: Vec<PgType> = wanted.iter().map(|at| table.columns[*at].ty).collect();
        let decoded = |c: &Column| position(c).and_then(|at| wanted.iter().position(|w| *w == at));
        let mut output = Vec::with_capacity(exprs.len());
        let mut computed = Vec::new();
        let mut computed_columns = Vec::new();
        for (expr, column) in exprs.into_iter().zip(columns) {
            let expr = expr.unalias();
            output.push(match passed_on(&expr, column.ty, params, &decoded) {
                Some(cell) => cell,
                None => {
                    computed.push(expr);
                    computed_columns.push(column.clone());
                    Cell::Computed(computed.len() - 1)
                }
            });
        }
        let program =
            |exprs: Vec<Expr>, columns: Vec<OutColumn>, schema: &Arc<DFSchema>, input: &[PgType]| {
                if exprs.is_empty() {
                    return Ok(None);
                }
                RowProgram::new(Arc::clone(schema), input.to_vec(), exprs, columns, params.to_vec()).map(Some)
            };
        let nothing = Arc::new(DFSchema::empty());
        let condition = OutColumn { name: "condition".into(), ty: PgType::Bool, typmod: -1, origin: None };
        let filter = conjunction(rest).into_iter().collect();
        let types: Vec<PgType> = columns.iter().map(|c| c.ty).collect();
        let fields: Vec<Field> =
            types.iter().enumerate().map(|(i, ty)| Field::new(i.to_string(), ty.arrow(), true)).collect();
        Ok(Some(PointQuery {
            lock: source.lock.clone(),
            key,
            key_program: program(key_exprs, key_columns, &nothing, &[])?,
            decoder: RowDecoder::for_rows(&table, &wanted)?,
            filter: program(filter, vec![condition], &row, &input)?,
            output,
            computed: program(computed, computed_columns, &row, &input)?,
            types,
            schema: Arc::new(Schema::new(fields)),
            table,
        }))
    }

    /// The row, if there is one.
    pub async fn row(&self, params: &[Datum], ctx: &ExecContext) -> Result<Option<Vec<Datum>>, SqlError> {
        let computed = match &self.key_program {
            Some(program) => program.evaluate(&[], params, ctx)?,
            None => vec![],
        };
        let mut key = index_prefix(self.table.id, self.table.primary.id);
        for (part, cell) in self.table.primary.columns.iter().zip(&self.key) {
            let value = value(cell, &[], params, &computed)?;
            if value.is_null() {
                return Ok(None);
            }
            let ty = self.table.column(part.column).map_or(PgType::Text, |c| c.ty);
            // No row has a key beyond the range of its type.
            let Fit::Within(value) = fit(value, ty) else { return Ok(None) };
            column_to_key(&mut key, ty, &value, part.descending)?;
        }
        let keys = [key.into()];
        let found =
            ctx.read.get_many(&keys, self.lock.clone().map_or(How::Plain, How::Lock)).await?.pop().flatten();
        let Some(found) = found else { return Ok(None) };
        let mut row = Vec::new();
        self.decoder.decode(&keys[0], &found, &mut row)?;
        if let Some(filter) = &self.filter
            && filter.evaluate(&row, params, ctx)? != [Datum::Bool(true)]
        {
            return Ok(None);
        }
        let computed = match &self.computed {
            Some(program) => program.evaluate(&row, params, ctx)?,
            None => vec![],
        };
        self.output
            .iter()
            .map(|cell| value(cell, &row, params, &computed).cloned())
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// The row as a batch.
    pub(super) async fn batch(
        &self,
        params: &[Datum],
        ctx: &ExecContext,
    ) -> Result<Option<RecordBatch>, SqlError> {
        let Some(row) = self.row(params, ctx).await? else { return Ok(None) };
        let columns =
            row.iter().zip(&self.types).map(|(d, ty)| to_array([d], *ty)).collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        Ok(Some(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?))
    }
}

fn value<'a>(
    cell: &'a Cell,
    row: &'a [Datum],
    params: &'a [Datum],
    computed: &'a [Datum],
) -> Result<&'a Datum, SqlError> {
    match cell {
        Cell::Column(at) => row.get(*at),
        Cell::Param(at) => params.get(*at),
        Cell::Constant(value) => Some(value),
        Cell::Computed(at) => computed.get(*at),
    }
    .ok_or_else(|| SqlError::internal("a lookup with a value missing"))
}

/// A value that needs no evaluation.
fn passed_on(
    expr: &Expr,
    ty: PgType,
    params: &[PgType],
    column: &dyn Fn(&Column) -> Option<usize>,
) -> Option<Cell> {
    match expr {
        Expr::Column(c) => column(c).map(Cell::Column),
        Expr::Literal(value, _) if value.data_type() == ty.arrow() => {
            from_scalar(value, ty).ok().map(Cell::Constant)
        }
        Expr::Placeholder(p) => {
            let at = p.id.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1)?;
            (params.get(at) == Some(&ty)).then_some(Cell::Param(at))
        }
        _ => None,
    }
}

/// The other side of an equality with a column, free of columns itself, and the type of the comparison.
fn equal_to<'a>(
    filter: &'a Expr,
    is_column: &dyn Fn(&Column) -> bool,
    ty: PgType,
) -> Option<(&'a Expr, PgType)> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = filter else { return None };
    // Both sides are compared by their keys, or both as they are.
    let keyed = !ty.has_plain_equality();
    let bare = |e: &'a Expr| -> Option<&'a Expr> {
        let inner = unkey(e);
        (keyed != std::ptr::eq(inner, e) || matches!(e, Expr::Literal(..))).then_some(inner)
    };
    let (l, r) = (bare(left)?, bare(right)?);
    let is_it = |e| Operand::of(e).filter(|it| is_column(it.column)).map(|it| it.compared_as(ty));
    let free = |e: &Expr| e.column_refs().is_empty() && !e.is_volatile();
    // A key that was folded to a literal is no value of the type any more.
    let whole = |side: &Expr, e: &Expr| !keyed || !std::ptr::eq(side, e);
    let sides = [(l, r, whole(right, r)), (r, l, whole(left, l))];
    sides.into_iter().find_map(|(column, value, whole)| {
        let compared = is_it(column)?;
        (free(value) && whole).then_some((value, compared))
    })
}

fn is_positive(fetch: Option<&Expr>) -> bool {
    match fetch {
        None => true,
        Some(Expr::Literal(datafusion::common::ScalarValue::Int64(n), _)) => n.is_none_or(|n| n > 0),
        Some(_) => false,
    }
}
