//! Executable expressions as SQL, for `EXPLAIN`.

use super::scan::without_positions;
use crate::func::{PgFunction, widening_to};
use crate::types::{Category, PgType, TimeZone, from_scalar};
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, DynamicFilterPhysicalExpr, InListExpr, IsNotNullExpr, IsNullExpr,
    Literal, NegativeExpr, NotExpr,
};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr, ScalarFunctionExpr};
use datafusion::scalar::ScalarValue;
use std::any::Any;
use std::sync::Arc;

/// An expression over columns of these names.
pub(super) fn sql(expr: &Arc<dyn PhysicalExpr>, names: &[String]) -> String {
    let any: &dyn Any = expr.as_ref();
    let inner = |e: &Arc<dyn PhysicalExpr>| operand(e, names);
    if let Some(column) = any.downcast_ref::<Column>() {
        return names.get(column.index()).cloned().unwrap_or_else(|| column.name().to_string());
    }
    if let Some(value) = any.downcast_ref::<Literal>() {
        return literal(value.value(), None);
    }
    if let Some(binary) = any.downcast_ref::<BinaryExpr>() {
        return infix(binary, names);
    }
    if let Some(not) = any.downcast_ref::<NotExpr>() {
        return format!("NOT {}", inner(not.arg()));
    }
    if let Some(null) = any.downcast_ref::<IsNullExpr>() {
        return format!("{} IS NULL", inner(null.arg()));
    }
    if let Some(null) = any.downcast_ref::<IsNotNullExpr>() {
        return format!("{} IS NOT NULL", inner(null.arg()));
    }
    if let Some(negative) = any.downcast_ref::<NegativeExpr>() {
        return format!("- {}", inner(negative.arg()));
    }
    if let Some(cast) = any.downcast_ref::<CastExpr>() {
        return sql(cast.expr(), names);
    }
    if let Some(list) = any.downcast_ref::<InListExpr>() {
        let not = if list.negated() { "NOT " } else { "" };
        return format!("{} {not}IN ({})", inner(list.expr()), all(list.list(), names));
    }
    if any.is::<DynamicFilterPhysicalExpr>() {
        return "keys of a join".into();
    }
    if let Some(case) = any.downcast_ref::<CaseExpr>() {
        return choice(case, names);
    }
    match any.downcast_ref::<ScalarFunctionExpr>() {
        Some(call) => called(call, names),
        None => without_positions(&expr.to_string()),
    }
}

/// Several, with commas.
pub(super) fn all(exprs: &[Arc<dyn PhysicalExpr>], names: &[String]) -> String {
    exprs.iter().map(|e| sql(e, names)).collect::<Vec<_>>().join(", ")
}

/// Keys of an order, without what goes without saying.
pub(super) fn order<'a>(keys: impl IntoIterator<Item = &'a PhysicalSortExpr>, names: &[String]) -> String {
    let key = |key: &PhysicalSortExpr| {
        let direction = match (key.options.descending, key.options.nulls_first) {
            (false, false) => "",
            (false, true) => " NULLS FIRST",
            (true, true) => " DESC",
            (true, false) => " DESC NULLS LAST",
        };
        sql(&key.expr, names) + direction
    };
    keys.into_iter().map(key).collect::<Vec<_>>().join(", ")
}

/// In parentheses where it could be misread.
fn operand(expr: &Arc<dyn PhysicalExpr>, names: &[String]) -> String {
    let text = sql(expr, names);
    if is_compound(expr) { format!("({text})") } else { text }
}

fn is_compound(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let any: &dyn Any = expr.as_ref();
    if let Some(call) = any.downcast_ref::<ScalarFunctionExpr>() {
        return match transparent(call) {
            Some(inner) => is_compound(inner),
            None => is_operator(call.fun().name()),
        };
    }
    any.is::<BinaryExpr>()
        || any.is::<NotExpr>()
        || any.is::<IsNullExpr>()
        || any.is::<IsNotNullExpr>()
        || any.is::<NegativeExpr>()
        || any.is::<InListExpr>()
}

fn is_operator(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}

fn infix(binary: &BinaryExpr, names: &[String]) -> String {
    // Chains of AND and of OR, and what they join, stand without parentheses.
    let side = |e: &Arc<dyn PhysicalExpr>| {
        let any: &dyn Any = e.as_ref();
        let logic = |op: &Operator| matches!(op, Operator::And | Operator::Or);
        let plain = any
            .downcast_ref::<BinaryExpr>()
            .is_some_and(|inner| logic(binary.op()) && (inner.op() == binary.op() || !logic(inner.op())));
        if plain { sql(e, names) } else { operand(e, names) }
    };
    let op = match binary.op() {
        Operator::NotEq => "<>".to_string(),
        op => op.to_string(),
    };
    format!("{} {op} {}", side(binary.left()), side(binary.right()))
}

fn choice(case: &CaseExpr, names: &[String]) -> String {
    let mut out = String::from("CASE");
    if let Some(of) = case.expr() {
        out += &format!(" {}", sql(of, names));
    }
    for (when, then) in case.when_then_expr() {
        out += &format!(" WHEN {} THEN {}", sql(when, names), sql(then, names));
    }
    if let Some(other) = case.else_expr() {
        out += &format!(" ELSE {}", sql(other, names));
    }
    out + " END"
}

/// The argument of a function that no statement writes: a key, or an integer made wider.
fn transparent(call: &ScalarFunctionExpr) -> Option<&Arc<dyn PhysicalExpr>> {
    let hidden = call.fun().name() == crate::func::KEY || widening_to(call.fun()).is_some();
    call.args().first().filter(|_| hidden)
}

fn called(call: &ScalarFunctionExpr, names: &[String]) -> String {
    if let Some(inner) = transparent(call) {
        return sql_as(inner, work_type(call, 0), names);
    }
    let name = call.fun().name();
    // What the session adds to the arguments is not shown.
    let count = function(call).map_or(usize::MAX, |f| call.args().len().saturating_sub(f.hidden.len()));
    let args: Vec<String> = call
        .args()
        .iter()
        .take(count)
        .enumerate()
        .map(|(at, arg)| match literal_of(arg) {
            Some(value) => literal(value, work_type(call, at)),
            None if is_operator(name) => operand(arg, names),
            None => sql(arg, names),
        })
        .collect();
    match &args[..] {
        [left, right] if is_operator(name) => format!("{left} {name} {right}"),
        [one] if is_operator(name) => format!("{name} {one}"),
        [one, ..] if is_cast(call) => {
            let to = function(call).map_or(String::new(), |f| f.result.format(-1));
            let wrap = call.args().first().is_some_and(is_compound);
            if wrap { format!("({one})::{to}") } else { format!("{one}::{to}") }
        }
        _ => format!("{name}({})", args.join(", ")),
    }
}

fn function(call: &ScalarFunctionExpr) -> Option<&crate::func::Function> {
    let any: &dyn Any = call.fun().inner().as_ref();
    any.downcast_ref::<PgFunction>().map(|f| &*f.function)
}

fn work_type(call: &ScalarFunctionExpr, at: usize) -> Option<PgType> {
    function(call)?.work.get(at).copied()
}

/// Whether it is the work behind a cast, or behind the length of a type.
fn is_cast(call: &ScalarFunctionExpr) -> bool {
    let Some(function) = function(call) else { return false };
    let (name, to) = (function.name.as_str(), function.result.name());
    let from = function.work.first().map_or("", |ty| ty.name());
    let length = name == to && function.work.len() == 3;
    length || name == format!("{to}_from_{from}") || name == format!("{from}_out")
}

fn literal_of(expr: &Arc<dyn PhysicalExpr>) -> Option<&ScalarValue> {
    let any: &dyn Any = expr.as_ref();
    any.downcast_ref::<Literal>().map(Literal::value)
}

fn sql_as(expr: &Arc<dyn PhysicalExpr>, ty: Option<PgType>, names: &[String]) -> String {
    match literal_of(expr) {
        Some(value) => literal(value, ty),
        None => sql(expr, names),
    }
}

/// A constant; without its type, what Arrow's says.
fn literal(value: &ScalarValue, ty: Option<PgType>) -> String {
    if value.is_null() {
        return "NULL".into();
    }
    let Some(ty) = ty.or_else(|| shape(&value.data_type())) else { return value.to_string() };
    let Ok(datum) = from_scalar(value, ty) else { return value.to_string() };
    let text = datum.to_text(ty, &TimeZone::UTC);
    match ty.category() {
        Category::Numeric => text,
        Category::Boolean => if text == "t" { "true" } else { "false" }.into(),
        _ => format!("'{}'", text.replace('\'', "''")),
    }
}

fn shape(ty: &DataType) -> Option<PgType> {
    Some(match ty {
        DataType::Boolean => PgType::Bool,
        DataType::Int16 => PgType::Int2,
        DataType::Int32 => PgType::Int4,
        DataType::Int64 => PgType::Int8,
        DataType::Float32 => PgType::Float4,
        DataType::Float64 => PgType::Float8,
        DataType::Utf8 => PgType::Text,
        DataType::Date32 => PgType::Date,
        DataType::Time64(TimeUnit::Microsecond) => PgType::Time,
        DataType::Timestamp(TimeUnit::Microsecond, None) => PgType::Timestamp,
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => PgType::Timestamptz,
        _ => return None,
    })
}
