//! `value op ANY (array)` and `value op ALL (array)`.

use super::super::resolve::{Form, key};
use super::super::scalar::{Function, PgFunction};
use super::super::special::Special;
use super::super::{Resolved, StatementContext, catalog::Options, resolve_binary_operator};
use super::{by_row, called, items, made};
use crate::types::{Datum, PgType, from_scalar, to_scalar};
use crate::{Result, SqlError, SqlState};
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::{InList, ScalarFunction};
use std::any::Any;
use std::sync::Arc;

/// The names of [`resolve_any`]'s functions for `= ANY` and `<> ALL`, which are lists.
const IN: &str = "= any";
const NOT_IN: &str = "<> all";

/// The call for a value and an array; 42809 when the operator is not a condition.
pub fn resolve_any(op: &str, left: PgType, array: PgType, all: bool) -> Result<Resolved> {
    // An untyped literal is an array of what the other side is.
    let element = match array.element() {
        Some(element) => element,
        None if array == PgType::Unknown => left,
        None => {
            return Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                "op ANY/ALL (array) requires array on right side",
            ));
        }
    };
    let inner = resolve_binary_operator(op, left, element)?;
    if inner.result != PgType::Bool {
        return Err(SqlError::new(
            SqlState::WRONG_OBJECT_TYPE,
            "op ANY/ALL (array) requires operator to yield boolean",
        ));
    }
    let hidden = match &inner.body {
        Form::Call { function, .. } => !function.hidden.is_empty(),
        Form::Special(Special::Swapped { function, .. }) => !function.hidden.is_empty(),
        Form::Context(_) => true,
        _ => false,
    };
    if hidden {
        return Err(SqlError::unsupported(format!("the operator {op} with ANY or ALL over an array")));
    }
    let [l, r] = inner.arg_types[..] else { return Err(SqlError::internal("an operator of two sides")) };
    let list = r.array().ok_or_else(|| SqlError::unsupported(format!("an array of {r}")))?;
    let name = format!("{op} {}", if all { "all" } else { "any" });
    let options = Options { strict: false, ..Options::default() };
    let made = made(&name, &[l, list], PgType::Bool, options, || {
        by_row(vec![l, list], PgType::Bool, false, move |args| found(&inner, &args[0], &args[1], all))
    });
    Ok(called(&name, vec![l, list], PgType::Bool, made))
}

fn found(inner: &Resolved, value: &Datum, array: &Datum, all: bool) -> Result<Datum> {
    if array.is_null() {
        return Ok(Datum::Null);
    }
    let context = StatementContext::default();
    let mut unknown = false;
    for item in items(array) {
        let pair = [value.clone(), item.clone()];
        let test = if inner.is_strict() && pair.iter().any(Datum::is_null) {
            Datum::Null
        } else {
            inner.eval(&pair, &context)?
        };
        match test {
            Datum::Bool(decided) if decided != all => return Ok(Datum::Bool(decided)),
            Datum::Null => unknown = true,
            _ => {}
        }
    }
    Ok(if unknown { Datum::Null } else { Datum::Bool(all) })
}

/// `value = ANY (array)` (or `<> ALL`) over an array whose elements are known, as a list, so that keys are found.
pub fn as_list(call: &ScalarFunction) -> Option<Expr> {
    let function = function_of(call)?;
    let negated = match function.name.as_str() {
        IN => false,
        NOT_IN => true,
        _ => return None,
    };
    let ([_, array], [value, items]) = (&function.params[..], &call.args[..]) else { return None };
    let element = array.element()?;
    let list = elements(items, *array)?;
    if !list.iter().all(is_listable) {
        return None;
    }
    let list: Vec<Expr> = list.into_iter().map(|item| key(element, item)).collect();
    // Without elements it is false, whatever the value is; a list must have some.
    (!list.is_empty())
        .then(|| Expr::InList(InList::new(Box::new(key(function.params[0], value.clone())), list, negated)))
}

/// Whether DataFusion's list of `IN` may hold it. It evaluates a list on no rows at all to see whether it is constant, and
/// takes a `CASE` for constant whose branches are.
pub fn is_listable(item: &Expr) -> bool {
    let cases = item.exists(|e| Ok(matches!(e, Expr::Case(_) | Expr::BinaryExpr(_)))).unwrap_or(true);
    !cases && (item.column_refs().is_empty() || matches!(item, Expr::Column(_))) && !item.is_volatile()
}

fn function_of(call: &ScalarFunction) -> Option<&Arc<Function>> {
    let called: &dyn Any = call.func.inner().as_ref();
    called.downcast_ref::<PgFunction>().map(|f| &f.function)
}

/// Of a literal, or of `ARRAY[…]`.
fn elements(array: &Expr, ty: PgType) -> Option<Vec<Expr>> {
    match array {
        Expr::Literal(literal, _) => match from_scalar(literal, ty) {
            Ok(Datum::Array(items)) => {
                let element = ty.element()?;
                Some(items.iter().map(|i| Expr::Literal(to_scalar(i, element), None)).collect())
            }
            _ => None,
        },
        Expr::ScalarFunction(call) => {
            let function = function_of(call)?;
            (function.name == super::CONSTRUCTOR && function.result == ty).then(|| call.args.clone())
        }
        _ => None,
    }
}
