//! Constructs that look like functions: COALESCE, NULLIF, GREATEST, LEAST; and three-valued logic on single values.

use super::cast::{CastContext, CastPlan, cast};
use super::catalog::{CATALOG, Catalog, Options};
use super::kind::{Body, Int4, column, column_of};
use super::resolve::{Form, Logic, Resolved, common_type, key};
use super::scalar::{Function, Variadic};
use super::{StatementContext, eval, resolve_binary_operator};
use crate::types::{Datum, PgType, datum_at, to_scalar};
use crate::{Result, SqlError, SqlState};
use datafusion::logical_expr::expr::{Case, ScalarFunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, ScalarUDF};
use std::sync::Arc;

#[derive(Clone)]
pub(crate) enum Special {
    Coalesce,
    Nullif {
        /// What the two are compared as, and how the first becomes that if it comes as something else.
        compared: PgType,
        first: Option<CastPlan>,
    },
    Greatest,
    Least,
    /// A call whose arguments the syntax gives in reverse.
    Swapped {
        function: Arc<Function>,
        udf: Arc<ScalarUDF>,
        negated: bool,
    },
}

impl Special {
    pub(crate) fn by_name(name: &str) -> Option<Special> {
        Some(match name {
            "coalesce" => Special::Coalesce,
            "nullif" => Special::Nullif { compared: PgType::Unknown, first: None },
            "greatest" => Special::Greatest,
            "least" => Special::Least,
            _ => return None,
        })
    }

    pub(crate) fn resolve(mut self, name: &str, args: &[PgType]) -> Result<Resolved> {
        let (arg_types, result) = match &mut self {
            Special::Nullif { compared, first } => {
                let [a, b] = args else {
                    return Err(SqlError::new(SqlState::SYNTAX_ERROR, "NULLIF requires two arguments"));
                };
                let equal = resolve_binary_operator("=", *a, *b)?;
                *compared = equal.arg_types[0];
                // The result is what the operator takes at its left.
                let result = if compares_as_it_is(*a, *b) { *a } else { *compared };
                if result != *compared {
                    *first = cast(result, *compared, -1, CastContext::Implicit);
                }
                (vec![result, equal.arg_types[1]], result)
            }
            _ => {
                if args.is_empty() {
                    return Err(SqlError::new(
                        SqlState::SYNTAX_ERROR,
                        format!("{} requires an argument", name.to_uppercase()),
                    ));
                }
                let ty = common_type(&name.to_uppercase(), args)?;
                (vec![ty; args.len()], ty)
            }
        };
        Ok(Resolved { name: name.into(), arg_types, result, body: Form::Special(self) })
    }

    pub(crate) fn call(&self, args: Vec<Expr>, ty: PgType) -> Expr {
        match self {
            Special::Swapped { function, udf, negated } => {
                let mut args = args;
                args.reverse();
                args.extend(function.hidden.iter().map(|h| h.placeholder()));
                let call = Expr::ScalarFunction(ScalarFunction::new_udf(udf.clone(), args));
                if *negated { Expr::Not(Box::new(call)) } else { call }
            }
            Special::Coalesce => {
                let mut args = args;
                let last = args.pop().unwrap_or_else(|| null(ty));
                if args.is_empty() {
                    return last;
                }
                let branches = args
                    .into_iter()
                    .map(|a| (Box::new(Expr::IsNotNull(Box::new(a.clone()))), Box::new(a)))
                    .collect();
                Expr::Case(Case::new(None, branches, Some(Box::new(last))))
            }
            Special::Nullif { compared, first } => {
                let mut args = args.into_iter();
                let (Some(a), Some(b)) = (args.next(), args.next()) else { return null(ty) };
                let left = first.as_ref().map_or_else(|| a.clone(), |plan| plan.call(a.clone()));
                let equal = binary(key(*compared, left), Operator::Eq, key(*compared, b));
                Expr::Case(Case::new(None, vec![(Box::new(equal), Box::new(null(ty)))], Some(Box::new(a))))
            }
            Special::Greatest | Special::Least => {
                match CATALOG.extremes.get(&(matches!(self, Special::Greatest), ty)) {
                    Some((_, udf)) => Expr::ScalarFunction(ScalarFunction::new_udf(udf.clone(), args)),
                    None => null(ty),
                }
            }
        }
    }

    pub(crate) fn eval(&self, args: &[Datum], ty: PgType, context: &StatementContext) -> Result<Datum> {
        Ok(match (self, args) {
            (Special::Coalesce, args) => args.iter().find(|a| !a.is_null()).cloned().unwrap_or(Datum::Null),
            (Special::Nullif { compared, first }, [a, b]) => {
                let left = first.as_ref().map_or_else(|| Ok(a.clone()), |plan| plan.eval(a, context))?;
                let equal = left.compare(b, *compared).is_some_and(|order| order.is_eq());
                if equal { Datum::Null } else { a.clone() }
            }
            (Special::Swapped { function, negated, .. }, args) => {
                let reversed: Vec<Datum> = args.iter().rev().cloned().collect();
                match eval::function(function, &reversed, context)? {
                    Datum::Bool(b) => Datum::Bool(b != *negated),
                    other => other,
                }
            }
            (_, args) => extreme(matches!(self, Special::Greatest), args.iter().cloned(), ty),
        })
    }
}

/// Whether PostgreSQL has an operator for the two as they are.
fn compares_as_it_is(a: PgType, b: PgType) -> bool {
    let float = |ty| matches!(ty, PgType::Float4 | PgType::Float8);
    let time = |ty| matches!(ty, PgType::Date | PgType::Timestamp | PgType::Timestamptz);
    // A numeric becomes a float there.
    let floats = float(a) && (float(b) || b == PgType::Numeric);
    (a.is_integer() && b.is_integer()) || floats || (time(a) && time(b))
}

/// The greatest or least that is not null.
fn extreme(greatest: bool, values: impl Iterator<Item = Datum>, ty: PgType) -> Datum {
    values
        .filter(|v| !v.is_null())
        .reduce(|best, next| {
            let keep = best.compare(&next, ty).is_some_and(|o| if greatest { o.is_ge() } else { o.is_le() });
            if keep { best } else { next }
        })
        .unwrap_or(Datum::Null)
}

pub(super) fn register(c: &mut Catalog) {
    register_counts(c);
    for (greatest, name) in [(true, "greatest"), (false, "least")] {
        for ty in PgType::all().chain(PgType::arrays()) {
            let options = Options { variadic: Variadic::Any, ..Options::lenient() };
            let body: Body = Arc::new(move |args, rows| {
                column_of(ty, rows, |row| {
                    let values: Result<Vec<Datum>> =
                        args.iter().map(|a| datum_at(a.array.as_ref(), a.row(row), ty)).collect();
                    Ok(extreme(greatest, values?.into_iter(), ty))
                })
            });
            let made = c.make(name, &[], ty, options, body);
            c.extremes.insert((greatest, ty), made);
        }
    }
}

/// How many arguments are null, or are not.
fn register_counts(c: &mut Catalog) {
    for (name, nulls) in [("num_nonnulls", false), ("num_nulls", true)] {
        let options = Options { variadic: Variadic::Any, ..Options::lenient() };
        let body: Body = Arc::new(move |args, rows| {
            let count = |row| args.iter().filter(|arg| arg.is_null(row) == nulls).count() as i32;
            column::<Int4>(rows, |row| Ok(Some(count(row))))
        });
        c.function(name, &[], PgType::Int4, options, body);
    }
}

fn null(ty: PgType) -> Expr {
    Expr::Literal(to_scalar(&Datum::Null, ty), None)
}

fn binary(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}

/// AND, OR and NOT with unknown.
pub(crate) fn logic(op: Logic, args: &[Datum]) -> Datum {
    let truth = |d: Option<&Datum>| match d {
        Some(Datum::Bool(b)) => Some(*b),
        _ => None,
    };
    let (a, b) = (truth(args.first()), truth(args.get(1)));
    let result = match op {
        Logic::Not => a.map(|a| !a),
        Logic::And => match (a, b) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        },
        Logic::Or => match (a, b) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        },
    };
    result.into()
}
