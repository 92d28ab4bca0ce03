//! Joins as lookups by key.
//!
//! A hash join that has read its first side knows which keys it wants of the second, and says so in a dynamic filter. A scan
//! takes that filter when it begins to read, and narrows its spans: joining a few rows to a large table reads a few keys of
//! it. Which side comes first follows from the estimates that scans give ([`estimate`]).

use super::access::{self, Access, Allowed, Condition};
use super::widened::{Fit, fit};
use crate::catalog::TableDescriptor;
use crate::error::SqlError;
use crate::func::widening_to;
use crate::row::RowDecoder;
use crate::types::{PgType, from_scalar};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column, DynamicFilterPhysicalExpr, InListExpr, Literal,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use std::sync::Arc;

/// Rows that a whole table is taken to have. Only comparisons of such guesses matter.
const TABLE_ROWS: usize = 1_000_000;

/// A guess at the number of rows a scan gives.
pub(super) fn estimate(access: &Access, filtered: bool, fetch: Option<usize>) -> usize {
    let ranged = access.shown.len() > access.constant_columns;
    let per_span = TABLE_ROWS >> (10 * access.constant_columns.min(2));
    let rows = if access.points {
        access.spans.len()
    } else if ranged {
        per_span / 4
    } else {
        per_span
    };
    let rows = if filtered { rows.div_ceil(4) } else { rows };
    fetch.map_or(rows, |fetch| rows.min(fetch))
}

/// Whether a filter comes from a join, and the output columns that it will speak of.
pub(super) fn join_columns(filter: &Arc<dyn PhysicalExpr>) -> Option<Vec<usize>> {
    let any: &dyn std::any::Any = filter.as_ref();
    any.downcast_ref::<DynamicFilterPhysicalExpr>()?;
    filter.children().into_iter().map(column).collect()
}

/// A column, or one that is widened to be compared.
fn column(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    operand(expr).map(|(column, _)| column)
}

/// The column, and the type it is compared in where that is not its own.
fn operand(expr: &Arc<dyn PhysicalExpr>) -> Option<(usize, Option<PgType>)> {
    let any: &dyn std::any::Any = expr.as_ref();
    if let Some(column) = any.downcast_ref::<Column>() {
        return Some((column.index(), None));
    }
    let call = any.downcast_ref::<ScalarFunctionExpr>()?;
    let wide = widening_to(call.fun())?;
    let inner: &dyn std::any::Any = call.args().first()?.as_ref();
    inner.downcast_ref::<Column>().map(|column| (column.index(), Some(wide)))
}

/// For a scan of a whole table: the index that begins with the columns a join will give, if another one than the present
/// serves better. `joined` are positions in the table.
pub(super) fn better_index(
    table: &TableDescriptor,
    access: &Access,
    joined: &[usize],
    wanted: &[usize],
) -> Result<Option<Access>, SqlError> {
    let matched = |index: &crate::catalog::IndexDescriptor| {
        let known = index
            .columns
            .iter()
            .take_while(|c| table.position(c.column).is_some_and(|p| joined.contains(&p)));
        known.count()
    };
    let mut best: Option<(usize, usize)> = None;
    for (position, index) in table.readable_indexes().enumerate() {
        let score = matched(index);
        if best.is_none_or(|(known, _)| score > known) {
            best = Some((score, position));
        }
    }
    let Some((score, position)) = best.filter(|(score, _)| *score > 0) else { return Ok(None) };
    let present = table.readable_indexes().nth(access.index).map_or(0, matched);
    if position == access.index || score <= present {
        return Ok(None);
    }
    let Some(index) = table.readable_indexes().nth(position) else { return Ok(None) };
    let mut other = access::restrict(table, index, &access.allowed)?;
    other.index = position;
    other.covering = position == 0 || RowDecoder::for_index(table, index, wanted)?.is_some();
    other.allowed = Arc::clone(&access.allowed);
    Ok(Some(other))
}

/// The spans that are left when join filters are taken into account. They keep to what `access` has settled.
pub(super) fn narrow(
    table: &TableDescriptor,
    access: &Access,
    filters: &[Arc<dyn PhysicalExpr>],
    output: &[usize],
) -> Result<Option<Access>> {
    if access.spans.is_empty() {
        return Ok(None);
    }
    let mut allowed: Vec<Allowed> = access.allowed.to_vec();
    let mut narrowed = false;
    for filter in filters {
        let any: &dyn std::any::Any = filter.as_ref();
        let Some(dynamic) = any.downcast_ref::<DynamicFilterPhysicalExpr>() else { continue };
        let mut parts = Vec::new();
        split(&dynamic.current()?, &mut parts);
        for part in parts {
            if let Some(condition) = condition(table, &part, output) {
                if matches!(condition, Condition::Never) {
                    return Ok(Some(Access { spans: vec![], ..access.clone() }));
                }
                access::note(&mut allowed, table, condition, None);
                narrowed = true;
            }
        }
    }
    if !narrowed {
        return Ok(None);
    }
    let Some(index) = table.readable_indexes().nth(access.index) else { return Ok(None) };
    let mut narrower = access::restrict(table, index, &allowed)?;
    narrower.index = access.index;
    narrower.covering = access.covering;
    Ok(Some(narrower))
}

fn split(expr: &Arc<dyn PhysicalExpr>, out: &mut Vec<Arc<dyn PhysicalExpr>>) {
    let any: &dyn std::any::Any = expr.as_ref();
    match any.downcast_ref::<BinaryExpr>() {
        Some(both) if *both.op() == Operator::And => {
            split(both.left(), out);
            split(both.right(), out);
        }
        _ => out.push(Arc::clone(expr)),
    }
}

fn condition(table: &TableDescriptor, expr: &Arc<dyn PhysicalExpr>, output: &[usize]) -> Option<Condition> {
    let any: &dyn std::any::Any = expr.as_ref();
    if let Some(literal) = any.downcast_ref::<Literal>() {
        return (*literal.value() == ScalarValue::Boolean(Some(false))).then_some(Condition::Never);
    }
    if let Some(list) = any.downcast_ref::<InListExpr>().filter(|l| !l.negated()) {
        let (column, wide) = operand(list.expr())?;
        let at = *output.get(column)?;
        let ty = table.columns[at].ty;
        let mut values = Vec::with_capacity(list.len());
        for item in list.list() {
            let value = from_scalar(&literal(item)?, wide.unwrap_or(ty)).ok()?;
            match fit(&value, ty) {
                Fit::Within(value) if !value.is_null() => values.push(value),
                _ => {}
            }
        }
        return ty.has_plain_equality().then_some(Condition::Points(at, values));
    }
    let both = any.downcast_ref::<BinaryExpr>()?;
    let (column, wide) = operand(both.left())?;
    let at = *output.get(column)?;
    let ty = table.columns[at].ty;
    let value = from_scalar(&literal(both.right())?, wide.unwrap_or(ty)).ok()?;
    // A bound beyond the range decides nothing here: the join itself looks at every row.
    let Fit::Within(value) = fit(&value, ty) else { return None };
    if value.is_null() || !ty.has_plain_equality() {
        return None;
    }
    match both.op() {
        Operator::GtEq => Some(Condition::Lower(at, value, true)),
        Operator::LtEq => Some(Condition::Upper(at, value, true)),
        Operator::Eq => Some(Condition::Points(at, vec![value])),
        _ => None,
    }
}

fn literal(expr: &Arc<dyn PhysicalExpr>) -> Option<ScalarValue> {
    let any: &dyn std::any::Any = expr.as_ref();
    any.downcast_ref::<Literal>().map(|l| l.value().clone())
}
