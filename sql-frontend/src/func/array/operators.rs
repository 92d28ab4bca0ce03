//! `||`, comparisons, `@>`, `<@`, `&&`.

use super::super::resolve::{Form, Resolved, common_type};
use super::{items, same, simple};
use crate::types::{Datum, PgType};
use crate::{Result, SqlError, SqlState};
use datafusion::logical_expr::Operator;

/// Where either side is an array; `None` leaves it to the others.
pub(crate) fn operator(op: &str, left: PgType, right: PgType) -> Option<Result<Resolved>> {
    let (l, r) = (left.element(), right.element());
    if l.is_none() && r.is_none() {
        return None;
    }
    let compare = match op {
        "=" => Operator::Eq,
        "<>" => Operator::NotEq,
        "<" => Operator::Lt,
        "<=" => Operator::LtEq,
        ">" => Operator::Gt,
        ">=" => Operator::GtEq,
        "||" => return Some(concatenate(left, right)),
        "@>" | "<@" | "&&" => return Some(sets(op, left, right)),
        _ => return None,
    };
    // Arrays compare with arrays of the same type only.
    let ty = match (l, r) {
        (Some(a), Some(b)) if a == b => {
            if left.is_vector() {
                right
            } else {
                left
            }
        }
        (Some(_), None) if right == PgType::Unknown => left,
        (None, Some(_)) if left == PgType::Unknown => right,
        _ => return Some(Err(missing(op, left, right))),
    };
    Some(Ok(Resolved {
        name: op.into(),
        arg_types: vec![ty, ty],
        result: PgType::Bool,
        body: Form::Compare(compare),
    }))
}

fn missing(op: &str, left: PgType, right: PgType) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_FUNCTION, format!("operator does not exist: {left} {op} {right}")).hint(
        "No operator matches the given name and argument types. You might need to add explicit type casts.",
    )
}

/// The array type that both sides, arrays or elements, become.
fn common(op: &str, left: PgType, right: PgType) -> Result<PgType> {
    let element = |ty: PgType| ty.element().unwrap_or(ty);
    let ty = common_type("ARRAY", &[element(left), element(right)]).map_err(|_| missing(op, left, right))?;
    ty.array().ok_or_else(|| missing(op, left, right))
}

fn concatenate(left: PgType, right: PgType) -> Result<Resolved> {
    let array = common("||", left, right)?;
    let element = array.element().unwrap_or(PgType::Text);
    // An untyped literal beside an array is an array.
    let whole = |ty: PgType| ty.element().is_some() || ty == PgType::Unknown;
    Ok(match (whole(left), whole(right)) {
        (true, true) => simple("array_cat", vec![array, array], array, false, |args| Ok(joined(args))),
        (true, false) => simple("array_append", vec![array, element], array, false, |args| {
            Ok(Datum::Array([items(&args[0]), &args[1..]].concat()))
        }),
        _ => simple("array_prepend", vec![element, array], array, false, |args| {
            Ok(Datum::Array([&args[..1], items(&args[1])].concat()))
        }),
    })
}

/// A null side adds nothing.
pub(super) fn joined(args: &[Datum]) -> Datum {
    match args {
        [Datum::Null, other] | [other, Datum::Null] => other.clone(),
        args => Datum::Array(args.iter().flat_map(|a| items(a).to_vec()).collect()),
    }
}

fn sets(op: &str, left: PgType, right: PgType) -> Result<Resolved> {
    let array = match (left.element(), right.element()) {
        (Some(a), Some(b)) if a == b => a.array().ok_or_else(|| missing(op, left, right))?,
        (Some(_), None) if right == PgType::Unknown => left,
        (None, Some(_)) if left == PgType::Unknown => right,
        _ => return Err(missing(op, left, right)),
    };
    let element = array.element().unwrap_or(PgType::Text);
    let name = match op {
        "@>" => "arraycontains",
        "<@" => "arraycontained",
        _ => "arrayoverlap",
    };
    // A null is in no array.
    let has =
        move |set: &[Datum], item: &Datum| !item.is_null() && set.iter().any(|s| same(s, item, element));
    Ok(simple(name, vec![array, array], PgType::Bool, true, move |args| {
        let (a, b) = (items(&args[0]), items(&args[1]));
        Ok(Datum::Bool(match name {
            "arraycontains" => b.iter().all(|item| has(a, item)),
            "arraycontained" => a.iter().all(|item| has(b, item)),
            _ => a.iter().any(|item| has(b, item)),
        }))
    }))
}
