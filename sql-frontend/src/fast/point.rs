//! A read of one row by its key, and what is computed from it.

use crate::{
    bind::OutColumn,
    catalog::TableDescriptor,
    error::SqlError,
    exec::{
        ExecContext, RowProgram, schema,
        source::StoredTable,
        widened::{Fit, Operand, fit},
    },
    row::{RowDecoder, column_to_key, index_prefix, is_exact_in_key},
    session::errors::from_txn,
    types::{Datum, PgType, from_scalar},
};
use datafusion::{
    arrow::datatypes::{Field, FieldRef},
    common::{
        Column, DFSchema, TableReference,
        tree_node::{Transformed, TreeNode},
    },
    logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, TableScan, utils::split_conjunction},
};
use quorate_proto::{
    Key,
    kv::{LockRequest, WaitPolicy},
};
use quorate_txn::Txn;
use std::{sync::Arc, time::Duration};

/// Where a key column's value comes from.
#[derive(Clone, Debug)]
enum Source {
    Literal(Datum),
    /// Position among the parameters.
    Param(usize),
    /// An expression over the parameters.
    Computed(RowProgram),
}

/// Where an output column comes from.
#[derive(Clone, Copy, Debug)]
enum Output {
    /// Position among the decoded columns.
    Column(usize),
    /// Position among the program's columns.
    Computed(usize),
}

#[derive(Clone, Debug)]
pub struct PointScan {
    table: Arc<TableDescriptor>,
    lock: Option<LockRequest>,
    key: Vec<Source>,
    decoder: RowDecoder,
    output: Vec<Output>,
    /// Over the decoded columns and all parameters; its first column says whether the row counts, if `filtered`.
    program: Option<RowProgram>,
    filtered: bool,
}

impl PointScan {
    /// `None` if the scan is more than one key.
    pub fn new(
        source: &StoredTable,
        scan: &TableScan,
        exprs: Vec<Expr>,
        out: Vec<PgType>,
        params: Vec<PgType>,
    ) -> Result<Option<PointScan>, SqlError> {
        let table = source.table.clone();
        let Some((key, rest)) = split_filters(&table, &scan.filters, &params)? else { return Ok(None) };
        let mut build = Build {
            table: &table,
            name: scan.table_name.clone(),
            decoded: Vec::new(),
            computed: Vec::new(),
            types: Vec::new(),
        };
        let filtered = !rest.is_empty();
        if let Some(all) = rest.into_iter().reduce(Expr::and) {
            build.compute(all, PgType::Bool);
        }
        let mut output = Vec::with_capacity(exprs.len());
        for (expr, ty) in exprs.into_iter().zip(out) {
            output.push(build.output(expr.unalias(), ty));
        }
        let decoder = RowDecoder::for_rows(&table, &build.decoded)?;
        let Some(program) = build.program(&params)? else { return Ok(None) };
        Ok(Some(PointScan {
            lock: source.lock.clone(),
            decoder,
            key,
            output,
            program,
            filtered,
            table: table.clone(),
        }))
    }

    pub fn table(&self) -> &Arc<TableDescriptor> {
        &self.table
    }

    fn key(&self, params: &[Datum], ctx: &ExecContext) -> Result<Option<Key>, SqlError> {
        let mut key = index_prefix(self.table.id, self.table.primary.id);
        for (source, column) in self.key.iter().zip(&self.table.primary.columns) {
            let computed;
            let datum = match source {
                Source::Literal(datum) => datum,
                Source::Param(at) => {
                    params.get(*at).ok_or_else(|| SqlError::internal("a parameter is missing"))?
                }
                Source::Computed(program) => {
                    computed = program.evaluate(params, &[], ctx)?.pop().unwrap_or(Datum::Null);
                    &computed
                }
            };
            // Nothing equals NULL.
            if datum.is_null() {
                return Ok(None);
            }
            let ty = self.table.column(column.column).map_or(PgType::Unknown, |c| c.ty);
            // No row has a key beyond the range of its type.
            let Fit::Within(datum) = fit(datum, ty) else { return Ok(None) };
            column_to_key(&mut key, ty, &datum, column.descending)?;
        }
        Ok(Some(key.into()))
    }

    /// The row, if it is there and counts.
    pub async fn fetch(
        &self,
        txn: &Txn,
        params: &[Datum],
        ctx: &ExecContext,
        lock_timeout: Duration,
    ) -> Result<Option<Vec<Datum>>, SqlError> {
        let Some(key) = self.key(params, ctx)? else { return Ok(None) };
        let mut lock = self.lock.clone();
        if let Some(lock) = &mut lock
            && let WaitPolicy::Block(0) = lock.wait
        {
            lock.wait = WaitPolicy::Block(lock_timeout.as_millis() as u64);
        }
        let Some(value) = txn.get(&key, lock).await.map_err(from_txn)? else { return Ok(None) };
        let mut row = Vec::with_capacity(self.decoder.width() + params.len());
        self.decoder.decode(&key, &value, &mut row)?;
        let mut computed = Vec::new();
        if let Some(program) = &self.program {
            let width = row.len();
            row.extend_from_slice(params);
            computed = program.evaluate(&row, &[], ctx)?;
            row.truncate(width);
            if self.filtered && computed.first() != Some(&Datum::Bool(true)) {
                return Ok(None);
            }
        }
        let out = self.output.iter().map(|output| match output {
            Output::Column(at) => row[*at].clone(),
            Output::Computed(at) => computed[*at].clone(),
        });
        Ok(Some(out.collect()))
    }
}

/// A value for each key column, and the conditions that are left; `None` unless all key columns are fixed.
type Split = Option<(Vec<Source>, Vec<Expr>)>;

fn split_filters(table: &TableDescriptor, filters: &[Expr], params: &[PgType]) -> Result<Split, SqlError> {
    let mut found: Vec<Option<Source>> = vec![None; table.primary.columns.len()];
    let mut rest = Vec::new();
    for filter in filters.iter().flat_map(split_conjunction) {
        match equality(table, filter, params)? {
            Some((at, source)) if found[at].is_none() => found[at] = Some(source),
            _ => rest.push(filter.clone()),
        }
    }
    let key: Option<Vec<Source>> = found.into_iter().collect();
    Ok(key.map(|key| (key, rest)))
}

/// `key column = literal or parameter`, either way round.
fn equality(
    table: &TableDescriptor,
    filter: &Expr,
    params: &[PgType],
) -> Result<Option<(usize, Source)>, SqlError> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = filter else { return Ok(None) };
    let (operand, value) = match (Operand::of(left), Operand::of(right)) {
        (Some(operand), None) => (operand, &**right),
        (None, Some(operand)) => (operand, &**left),
        _ => return Ok(None),
    };
    let Some(descriptor) = table.column_named(&operand.column.name) else { return Ok(None) };
    let ty = operand.compared_as(descriptor.ty);
    let at = table.primary.columns.iter().position(|key| key.column == descriptor.id);
    let (Some(at), true) = (at, is_exact_in_key(descriptor.ty)) else { return Ok(None) };
    let source = match value {
        Expr::Literal(value, _) if value.data_type() == ty.arrow() => {
            Source::Literal(from_scalar(value, ty)?)
        }
        Expr::Placeholder(placeholder) => match param_number(&placeholder.id) {
            Some(number) if params.get(number) == Some(&ty) => Source::Param(number),
            _ => return Ok(None),
        },
        value if value.column_refs().is_empty() => match over_params(value, ty, params)? {
            Some(program) => Source::Computed(program),
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    Ok(Some((at, source)))
}

/// An expression of parameters alone, such as the cast of one to the key's type.
fn over_params(expr: &Expr, ty: PgType, params: &[PgType]) -> Result<Option<RowProgram>, SqlError> {
    let schema = param_schema(Vec::new(), params)?;
    let Some(expr) = with_params_as_columns(expr.clone())? else { return Ok(None) };
    let fits = expr.get_type(&schema).is_ok_and(|found| found == ty.arrow());
    if !fits {
        return Ok(None);
    }
    RowProgram::new(Arc::new(schema), params.to_vec(), vec![expr], vec![unnamed(ty)], Vec::new()).map(Some)
}

fn unnamed(ty: PgType) -> OutColumn {
    OutColumn { name: String::new(), ty, typmod: -1, origin: None }
}

/// Columns, followed by one for each parameter.
fn param_schema(
    mut fields: Vec<(Option<TableReference>, FieldRef)>,
    params: &[PgType],
) -> Result<DFSchema, SqlError> {
    for (i, ty) in params.iter().enumerate() {
        fields.push((None, Arc::new(Field::new(format!("${}", i + 1), ty.arrow(), true))));
    }
    schema::of_fields(fields).map_err(|error| SqlError::internal(error.to_string()))
}

/// `None` for expressions that have to be bound anew for each execution.
fn with_params_as_columns(expr: Expr) -> Result<Option<Expr>, SqlError> {
    if expr.is_volatile() {
        return Ok(None);
    }
    let replaced = expr.transform_up(|e| match &e {
        Expr::Placeholder(p) if param_number(&p.id).is_some() => {
            Ok(Transformed::yes(Expr::Column(Column::new_unqualified(p.id.clone()))))
        }
        _ => Ok(Transformed::no(e)),
    });
    replaced.map(|t| Some(t.data)).map_err(|error| SqlError::internal(error.to_string()))
}

/// From 0; `None` for what is not the client's parameter.
fn param_number(id: &str) -> Option<usize> {
    id.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1)
}

/// Gathers which columns are needed and what is computed.
struct Build<'a> {
    table: &'a TableDescriptor,
    name: TableReference,
    /// Positions in the table's columns.
    decoded: Vec<usize>,
    computed: Vec<Expr>,
    types: Vec<PgType>,
}

impl Build<'_> {
    fn need(&mut self, name: &str) -> Option<usize> {
        let position = self.table.columns.iter().position(|c| c.name == name)?;
        Some(self.decoded.iter().position(|&d| d == position).unwrap_or_else(|| {
            self.decoded.push(position);
            self.decoded.len() - 1
        }))
    }

    fn output(&mut self, expr: Expr, ty: PgType) -> Output {
        if let Expr::Column(column) = &expr
            && let Some(at) = self.need(&column.name)
        {
            return Output::Column(at);
        }
        Output::Computed(self.compute(expr, ty))
    }

    fn compute(&mut self, expr: Expr, ty: PgType) -> usize {
        let names: Vec<String> = expr.column_refs().into_iter().map(|c| c.name.clone()).collect();
        for name in names {
            self.need(&name);
        }
        self.computed.push(expr);
        self.types.push(ty);
        self.computed.len() - 1
    }

    /// The inner `None`: nothing to compute. The outer one: it cannot be computed here.
    fn program(self, params: &[PgType]) -> Result<Option<Option<RowProgram>>, SqlError> {
        if self.computed.is_empty() {
            return Ok(Some(None));
        }
        let mut fields: Vec<(Option<TableReference>, FieldRef)> = Vec::new();
        let mut input = Vec::new();
        for &at in &self.decoded {
            let column = &self.table.columns[at];
            let field = Field::new(&column.name, column.ty.arrow(), true);
            fields.push((Some(self.name.clone()), Arc::new(field)));
            input.push(column.ty);
        }
        input.extend_from_slice(params);
        let schema = param_schema(fields, params)?;
        let mut exprs = Vec::with_capacity(self.computed.len());
        for expr in self.computed {
            // The hidden arguments of volatile ones change from run to run; the engine knows how.
            let Some(expr) = with_params_as_columns(expr)? else { return Ok(None) };
            exprs.push(expr);
        }
        let columns = self.types.iter().map(|ty| unnamed(*ty)).collect();
        RowProgram::new(Arc::new(schema), input, exprs, columns, Vec::new())
            .map(|program| Some(Some(program)))
    }
}
