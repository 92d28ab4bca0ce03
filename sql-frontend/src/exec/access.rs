//! How a table is read: which index, which spans of its keys, and which conditions that settles.
//!
//! Conditions of the form `column = constant`, `column < constant`, `column IN (constants)`, `column IS NULL` and
//! disjunctions of equalities on one column restrict an index as long as they cover a prefix of its columns; the first column
//! that has only a range ends the prefix. Among the indexes the one with the most restricted columns wins; one that
//! holds all wanted columns is preferred, then the primary one.

use super::program::{constant, unkey};
use super::widened::{Fit, Operand, fit};
use crate::catalog::{IndexDescriptor, TableDescriptor};
use crate::error::SqlError;
use crate::row::{RowDecoder, column_to_key, index_prefix};
use crate::types::{Datum, PgType, from_scalar};
use datafusion::common::Column;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::utils::{split_binary, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use quorate_proto::{Key, Span};
use std::cmp::Ordering;
use std::sync::Arc;

/// More points than this are read as a range with a filter.
pub(super) const MAX_SPANS: usize = 1024;

/// A chosen way to read a table.
#[derive(Clone, Debug)]
pub struct Access {
    /// Position in [`TableDescriptor::readable_indexes`]; 0 is the primary one.
    pub index: usize,
    /// Disjoint, in key order. Empty: no row can match.
    pub spans: Vec<Span>,
    /// Leading columns of the index that have one value in all spans.
    pub constant_columns: usize,
    /// Filters (by position) that every row in the spans meets.
    pub settled: Vec<usize>,
    /// The index holds all wanted columns.
    pub covering: bool,
    /// Each span is the key of at most one row.
    pub points: bool,
    /// How the spans were made, for `EXPLAIN`.
    pub shown: Vec<String>,
    /// What the filters allow, to be narrowed further while the query runs.
    pub(super) allowed: Arc<Vec<Allowed>>,
}

/// What one column's conditions allow.
#[derive(Clone, Debug, Default)]
pub(super) struct Allowed {
    /// Values (NULL for `IS NULL`) and the filters that say so.
    points: Option<(Vec<Datum>, Vec<usize>)>,
    lower: Option<(Datum, bool)>,
    upper: Option<(Datum, bool)>,
    range_filters: Vec<usize>,
}

impl Allowed {
    /// The points that the range leaves, and the filters that say so: what holds of a column holds of its points.
    fn points_in_range(&self, ty: PgType) -> Option<(Vec<&Datum>, &[usize])> {
        let (points, filters) = self.points.as_ref()?;
        Some((points.iter().filter(|point| self.range_has(point, ty)).collect(), filters))
    }

    /// NULL lies in no range.
    fn range_has(&self, value: &Datum, ty: PgType) -> bool {
        let within = |bound: &Option<(Datum, bool)>, beyond: Ordering| {
            bound.as_ref().is_none_or(|(bound, inclusive)| match value.compare(bound, ty) {
                Some(Ordering::Equal) => *inclusive,
                order => order == Some(beyond),
            })
        };
        within(&self.lower, Ordering::Greater) && within(&self.upper, Ordering::Less)
    }
}

/// One filter, understood; columns by position in the table.
pub(super) enum Condition {
    Points(usize, Vec<Datum>),
    Lower(usize, Datum, bool),
    Upper(usize, Datum, bool),
    Never,
}

/// Chooses. `wanted` are positions of columns that must come out (those of the remaining filters included).
pub fn choose(
    table: &TableDescriptor,
    filters: &[Expr],
    wanted: &[usize],
    props: &ExecutionProps,
) -> Result<Access, SqlError> {
    let mut columns: Vec<Allowed> = vec![Allowed::default(); table.columns.len()];
    for (at, filter) in filters.iter().enumerate() {
        // A conjunction settles as a whole only if all its parts do; parts of it may still narrow the spans.
        let parts = split_conjunction(filter);
        let single = parts.len() == 1;
        for part in parts {
            match understand(table, part, props) {
                Some(Condition::Never) => return Ok(nothing(at)),
                Some(condition) => note(&mut columns, table, condition, single.then_some(at)),
                None => {}
            }
        }
    }
    let mut best: Option<(Access, (usize, usize, bool))> = None;
    for (position, index) in table.readable_indexes().enumerate() {
        let mut access = restrict(table, index, &columns)?;
        access.index = position;
        access.covering = position == 0 || RowDecoder::for_index(table, index, wanted)?.is_some();
        let equal = index
            .columns
            .iter()
            .take_while(|c| table.position(c.column).is_some_and(|p| columns[p].points.is_some()));
        let equal = equal.count();
        let restricted = access.settled.len();
        if position > 0 && access.settled.is_empty() && !access.covering {
            continue;
        }
        let score = (equal * 2 + usize::from(restricted > equal), restricted, access.covering);
        let better = best
            .as_ref()
            .is_none_or(|(_, best)| score.0 > best.0 || (score.0 == best.0 && score.2 && !best.2));
        if better {
            best = Some((access, score));
        }
    }
    let (mut access, _) = best.ok_or_else(|| SqlError::internal("a table without an index"))?;
    access.allowed = Arc::new(columns);
    Ok(access)
}

fn nothing(filter: usize) -> Access {
    Access {
        index: 0,
        spans: vec![],
        constant_columns: 0,
        settled: vec![filter],
        covering: true,
        points: true,
        shown: vec!["nothing".into()],
        allowed: Arc::default(),
    }
}

pub(super) fn note(
    columns: &mut [Allowed],
    table: &TableDescriptor,
    condition: Condition,
    filter: Option<usize>,
) {
    let ty = |at: usize| table.columns[at].ty;
    match condition {
        Condition::Never => {}
        Condition::Points(at, values) => {
            let allowed = &mut columns[at];
            let (points, filters) = match allowed.points.take() {
                Some((old, filters)) => {
                    let kept =
                        old.into_iter().filter(|o| values.iter().any(|v| same(o, v, ty(at)))).collect();
                    (kept, filters)
                }
                None => (values, vec![]),
            };
            allowed.points = Some((points, filters.into_iter().chain(filter).collect()));
        }
        Condition::Lower(at, value, inclusive) => {
            let allowed = &mut columns[at];
            let tighter =
                allowed.lower.as_ref().is_none_or(|(old, old_inclusive)| match value.compare(old, ty(at)) {
                    Some(Ordering::Greater) => true,
                    Some(Ordering::Equal) => *old_inclusive && !inclusive,
                    _ => false,
                });
            if tighter {
                allowed.lower = Some((value, inclusive));
            }
            allowed.range_filters.extend(filter);
        }
        Condition::Upper(at, value, inclusive) => {
            let allowed = &mut columns[at];
            let tighter =
                allowed.upper.as_ref().is_none_or(|(old, old_inclusive)| match value.compare(old, ty(at)) {
                    Some(Ordering::Less) => true,
                    Some(Ordering::Equal) => *old_inclusive && !inclusive,
                    _ => false,
                });
            if tighter {
                allowed.upper = Some((value, inclusive));
            }
            allowed.range_filters.extend(filter);
        }
    }
}

fn same(a: &Datum, b: &Datum, ty: PgType) -> bool {
    (a.is_null() && b.is_null()) || a.compare(b, ty) == Some(Ordering::Equal)
}

/// Makes the spans of one index from what its columns allow. `index` and `covering` are the caller's to set.
pub(super) fn restrict(
    table: &TableDescriptor,
    index: &IndexDescriptor,
    columns: &[Allowed],
) -> Result<Access, SqlError> {
    let mut prefixes = vec![index_prefix(table.id, index.id)];
    let mut access = Access {
        index: 0,
        spans: vec![],
        constant_columns: 0,
        settled: vec![],
        covering: false,
        points: false,
        shown: vec![],
        allowed: Arc::default(),
    };
    let mut nulls = false;
    for (depth, key) in index.columns.iter().enumerate() {
        let Some(at) = table.position(key.column) else { break };
        let (allowed, ty, name) = (&columns[at], table.columns[at].ty, &table.columns[at].name);
        let points = allowed.points_in_range(ty);
        if let Some((points, filters)) = points.filter(|(p, _)| prefixes.len() * p.len() <= MAX_SPANS) {
            let mut next = Vec::with_capacity(prefixes.len() * points.len());
            for prefix in &prefixes {
                for point in &points {
                    let mut longer = prefix.clone();
                    column_to_key(&mut longer, ty, point, key.descending)?;
                    next.push(longer);
                    nulls |= point.is_null();
                }
            }
            next.sort_unstable();
            next.dedup();
            prefixes = next;
            if prefixes.len() == 1 && access.constant_columns == depth {
                access.constant_columns += 1;
            }
            access.settled.extend(filters.iter().chain(&allowed.range_filters));
            access.shown.push(shown_points(name, &points, ty));
            if depth + 1 == index.columns.len() && index.unique && !nulls {
                access.points = true;
            }
            continue;
        }
        if allowed.lower.is_some() || allowed.upper.is_some() {
            for prefix in &prefixes {
                access.spans.extend(range(prefix, ty, key.descending, allowed)?);
            }
            access.settled.extend(&allowed.range_filters);
            access.shown.push(shown_range(name, ty, allowed));
            return Ok(access);
        }
        break;
    }
    for prefix in prefixes {
        access.spans.push(Span::prefix(&prefix.into()));
    }
    Ok(access)
}

/// The part of a prefix in which the next column lies in its range; NULLs are outside of every range.
fn range(prefix: &[u8], ty: PgType, descending: bool, allowed: &Allowed) -> Result<Option<Span>, SqlError> {
    let encode = |value: &Datum| -> Result<Key, SqlError> {
        let mut out = prefix.to_vec();
        column_to_key(&mut out, ty, value, descending)?;
        Ok(out.into())
    };
    let nulls = encode(&Datum::Null)?;
    let whole = Span::prefix(&Key::copy_from(prefix));
    let (first, last) =
        if descending { (&allowed.upper, &allowed.lower) } else { (&allowed.lower, &allowed.upper) };
    let start = match first {
        Some((value, true)) => encode(value)?,
        Some((value, false)) => {
            encode(value)?.prefix_end().ok_or_else(|| SqlError::internal("key without end"))?
        }
        None if descending => nulls.prefix_end().ok_or_else(|| SqlError::internal("key without end"))?,
        None => whole.start.clone(),
    };
    let end = match last {
        Some((value, true)) => encode(value)?.prefix_end(),
        Some((value, false)) => Some(encode(value)?),
        None if descending => whole.end.clone(),
        None => Some(nulls),
    };
    let span = Span { start, end };
    Ok((!span.is_empty()).then_some(span))
}

fn understand(table: &TableDescriptor, filter: &Expr, props: &ExecutionProps) -> Option<Condition> {
    match filter {
        Expr::Column(column) => Some(Condition::Points(position(table, column)?, vec![Datum::Bool(true)])),
        Expr::Not(inner) => match &**inner {
            Expr::Column(column) => {
                Some(Condition::Points(position(table, column)?, vec![Datum::Bool(false)]))
            }
            _ => None,
        },
        Expr::IsNull(inner) => match &**inner {
            Expr::Column(column) => Some(Condition::Points(position(table, column)?, vec![Datum::Null])),
            _ => None,
        },
        Expr::InList(InList { expr, list, negated: false }) => {
            let side = key_column(table, expr)?;
            let mut values = Vec::with_capacity(list.len());
            for item in list {
                match fit(&value_of(&side, item, props)?, side.ty) {
                    Fit::Within(value) if !value.is_null() => values.push(value),
                    _ => {}
                }
            }
            Some(Condition::Points(side.at, values))
        }
        Expr::BinaryExpr(BinaryExpr { op: Operator::Or, .. }) => {
            let mut all: Option<(usize, Vec<Datum>)> = None;
            for part in split_binary(filter, Operator::Or) {
                match (understand(table, part, props)?, &mut all) {
                    (Condition::Points(at, values), None) => all = Some((at, values)),
                    (Condition::Points(at, values), Some((known, sum))) if at == *known => sum.extend(values),
                    _ => return None,
                }
            }
            all.map(|(at, values)| Condition::Points(at, values))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (side, op, other) = match (key_column(table, left), key_column(table, right)) {
                (Some(side), None) => (side, *op, right),
                (None, Some(side)) => (side, op.swap()?, left),
                _ => return None,
            };
            if !matches!(op, Operator::Eq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq) {
                return None;
            }
            let value = value_of(&side, other, props)?;
            if value.is_null() {
                return Some(Condition::Never);
            }
            let at = side.at;
            let value = match (fit(&value, side.ty), op) {
                (Fit::Within(value), _) => value,
                (_, Operator::Eq) => return Some(Condition::Points(at, vec![])),
                (Fit::Below, Operator::Lt | Operator::LtEq) | (Fit::Above, Operator::Gt | Operator::GtEq) => {
                    return Some(Condition::Never);
                }
                // All values there are; only NULLs are left to the filter.
                _ => return None,
            };
            match op {
                Operator::Eq => Some(Condition::Points(at, vec![value])),
                Operator::Lt => Some(Condition::Upper(at, value, false)),
                Operator::LtEq => Some(Condition::Upper(at, value, true)),
                Operator::Gt => Some(Condition::Lower(at, value, false)),
                Operator::GtEq => Some(Condition::Lower(at, value, true)),
                _ => None,
            }
        }
        _ => None,
    }
}

fn position(table: &TableDescriptor, column: &Column) -> Option<usize> {
    table.columns.iter().position(|c| c.name == column.name)
}

/// A column in a comparison.
struct Side {
    at: usize,
    ty: PgType,
    /// The type of the comparison.
    compared: PgType,
}

/// A column, or the comparison key of one.
fn key_column(table: &TableDescriptor, expr: &Expr) -> Option<Side> {
    let operand = Operand::of(unkey(expr))?;
    let at = position(table, operand.column)?;
    let ty = table.columns[at].ty;
    Some(Side { at, ty, compared: operand.compared_as(ty) })
}

/// A constant as a value of the comparison's type; `None` if it is no constant, or if evaluating it fails (the filter will say so).
fn value_of(side: &Side, expr: &Expr, props: &ExecutionProps) -> Option<Datum> {
    let expr = unkey(expr);
    if !expr.column_refs().is_empty() || expr.is_volatile() {
        return None;
    }
    let value = constant(expr, props).ok()?;
    if value.data_type() != side.compared.arrow() {
        return None;
    }
    from_scalar(&value, side.compared).ok()
}

fn shown_points(name: &str, points: &[&Datum], ty: PgType) -> String {
    match points {
        [] => format!("{name} = no value"),
        [one] if one.is_null() => format!("{name} IS NULL"),
        [one] => format!("{name} = {}", shown(one, ty)),
        _ => format!("{name} = any of {} values", points.len()),
    }
}

fn shown_range(name: &str, ty: PgType, allowed: &Allowed) -> String {
    let mut parts = Vec::new();
    if let Some((value, inclusive)) = &allowed.lower {
        parts.push(format!("{name} {} {}", if *inclusive { ">=" } else { ">" }, shown(value, ty)));
    }
    if let Some((value, inclusive)) = &allowed.upper {
        parts.push(format!("{name} {} {}", if *inclusive { "<=" } else { "<" }, shown(value, ty)));
    }
    parts.join(" AND ")
}

fn shown(value: &Datum, ty: PgType) -> String {
    if value.is_null() {
        return "NULL".into();
    }
    let text = value.to_text(ty, &crate::types::TimeZone::UTC);
    if ty.category() == crate::types::Category::Numeric { text } else { format!("'{text}'") }
}
