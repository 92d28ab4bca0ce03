//! Functions of arrays by name.

use super::super::resolve::{Resolved, common_type, no_function};
use super::operators::joined;
use super::{by_row, called};
use super::{items, made, needs_zone, same, simple};
use crate::func::catalog::Options;
use crate::types::{Datum, PgType, TimeZone};
use crate::{Result, SqlError, SqlState};

const NAMES: &[&str] = &[
    "array_append",
    "array_cat",
    "array_length",
    "array_lower",
    "array_ndims",
    "array_position",
    "array_positions",
    "array_prepend",
    "array_remove",
    "array_replace",
    "array_to_string",
    "array_upper",
    "cardinality",
    "string_to_array",
];

pub(crate) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// `None` when no function of arrays has the name.
pub(crate) fn resolve(name: &str, args: &[PgType]) -> Option<Result<Resolved>> {
    exists(name).then(|| resolve_known(name, args))
}

fn resolve_known(name: &str, args: &[PgType]) -> Result<Resolved> {
    let wrong = || no_function(name, args);
    if name == "string_to_array" {
        return string_to_array(args).ok_or_else(wrong);
    }
    // Which argument is the array, and which are elements.
    let (at, elements): (usize, &[usize]) = match (name, args.len()) {
        ("array_prepend", 2) => (1, &[0]),
        ("array_append" | "array_position" | "array_positions" | "array_remove", 2) => (0, &[1]),
        ("array_replace", 3) => (0, &[1, 2]),
        ("array_position", 3) => (0, &[1]),
        ("array_cat", 2) => return cat(args, name),
        ("array_length" | "array_lower" | "array_upper" | "array_to_string", 2)
        | ("array_to_string", 3)
        | ("array_ndims" | "cardinality", 1) => (0, &[]),
        _ => return Err(wrong()),
    };
    let mut types = vec![args[at].element().unwrap_or(args[at])];
    types.extend(elements.iter().map(|i| args[*i]));
    if args[at].element().is_none() && args[at] != PgType::Unknown {
        return Err(wrong());
    }
    if types.iter().all(|ty| *ty == PgType::Unknown) {
        return Err(undetermined());
    }
    let element = common_type("ARRAY", &types).map_err(|_| wrong())?;
    let keep = elements.is_empty() && args[at].element().is_some();
    let array = if keep { args[at] } else { element.array().ok_or_else(wrong)? };
    Ok(match name {
        "array_to_string" => to_string(array, element, args.len() == 3),
        "array_append" => simple(name, vec![array, element], array, false, |args| {
            Ok(Datum::Array([items(&args[0]), &args[1..]].concat()))
        }),
        "array_prepend" => simple(name, vec![element, array], array, false, |args| {
            Ok(Datum::Array([&args[..1], items(&args[1])].concat()))
        }),
        "array_remove" | "array_replace" | "array_position" | "array_positions" => {
            search(name, array, element, args.len())
        }
        _ => measure(name, array),
    })
}

fn undetermined() -> SqlError {
    SqlError::new(
        SqlState::INDETERMINATE_DATATYPE,
        "could not determine polymorphic type because input has type unknown",
    )
}

fn cat(args: &[PgType], name: &str) -> Result<Resolved> {
    let types: Vec<PgType> = args.iter().map(|ty| ty.element().unwrap_or(*ty)).collect();
    if args.iter().any(|ty| ty.element().is_none() && *ty != PgType::Unknown) {
        return Err(no_function(name, args));
    }
    if types.iter().all(|ty| *ty == PgType::Unknown) {
        return Err(undetermined());
    }
    let array = common_type("ARRAY", &types)?.array().ok_or_else(|| no_function(name, args))?;
    Ok(simple(name, vec![array, array], array, false, |args| Ok(joined(args))))
}

fn measure(name: &str, array: PgType) -> Resolved {
    let first = i32::from(!array.is_vector());
    let int = |v: usize| i32::try_from(v).unwrap_or(i32::MAX);
    if matches!(name, "cardinality" | "array_ndims") {
        let cardinality = name == "cardinality";
        return simple(name, vec![array], PgType::Int4, true, move |args| {
            let count = int(items(&args[0]).len());
            Ok(match (cardinality, count) {
                (true, count) => Datum::Int4(count),
                (false, 0) => Datum::Null,
                (false, _) => Datum::Int4(1),
            })
        });
    }
    let what = name.to_string();
    simple(name, vec![array, PgType::Int4], PgType::Int4, true, move |args| {
        let count = int(items(&args[0]).len());
        if count == 0 || args[1] != Datum::Int4(1) {
            return Ok(Datum::Null);
        }
        Ok(Datum::Int4(match what.as_str() {
            "array_lower" => first,
            "array_upper" => first + count - 1,
            _ => count,
        }))
    })
}

fn search(name: &str, array: PgType, element: PgType, count: usize) -> Resolved {
    let first = i32::from(!array.is_vector());
    let place = move |at: usize| Datum::Int4(i32::try_from(at).unwrap_or(i32::MAX).saturating_add(first));
    match name {
        "array_remove" => simple(name, vec![array, element], array, false, move |args| {
            if args[0].is_null() {
                return Ok(Datum::Null);
            }
            let kept = items(&args[0]).iter().filter(|item| !same(item, &args[1], element));
            Ok(Datum::Array(kept.cloned().collect()))
        }),
        "array_replace" => simple(name, vec![array, element, element], array, false, move |args| {
            if args[0].is_null() {
                return Ok(Datum::Null);
            }
            let new =
                |item: &Datum| if same(item, &args[1], element) { args[2].clone() } else { item.clone() };
            Ok(Datum::Array(items(&args[0]).iter().map(new).collect()))
        }),
        "array_positions" => {
            let result = PgType::Int4.array().unwrap_or(array);
            simple(name, vec![array, element], result, false, move |args| {
                if args[0].is_null() {
                    return Ok(Datum::Null);
                }
                let all =
                    items(&args[0]).iter().enumerate().filter(|(_, item)| same(item, &args[1], element));
                Ok(Datum::Array(all.map(|(at, _)| place(at)).collect()))
            })
        }
        _ => {
            let mut params = vec![array, element];
            params.extend((count == 3).then_some(PgType::Int4));
            simple(name, params, PgType::Int4, false, move |args| {
                let from = match args.get(2) {
                    None => 0,
                    Some(Datum::Int4(from)) => {
                        usize::try_from(i64::from(*from) - i64::from(first)).unwrap_or(0)
                    }
                    Some(_) => {
                        return Err(SqlError::new(
                            SqlState::NULL_VALUE_NOT_ALLOWED,
                            "initial position must not be null",
                        ));
                    }
                };
                let mut rest = items(&args[0]).iter().enumerate().skip(from);
                Ok(rest
                    .find(|(_, item)| same(item, &args[1], element))
                    .map_or(Datum::Null, |(at, _)| place(at)))
            })
        }
    }
}

/// `array_to_string(array, delimiter [, text for nulls])`.
fn to_string(array: PgType, element: PgType, with_null: bool) -> Resolved {
    let mut params = vec![array, PgType::Text];
    params.extend(with_null.then_some(PgType::Text));
    let hidden = if element == PgType::Timestamptz { needs_zone(element) } else { vec![] };
    let zoned = !hidden.is_empty();
    let options = Options { strict: false, hidden, ..Options::default() };
    let made = made("array_to_string", &params.clone(), PgType::Text, options, || {
        let mut all = params.clone();
        all.extend(zoned.then_some([PgType::Text, PgType::Timestamptz]).into_iter().flatten());
        by_row(all, PgType::Text, false, move |args| {
            let (Datum::Array(items), Datum::Text(delimiter)) = (&args[0], &args[1]) else {
                return Ok(Datum::Null);
            };
            let nulls = match args.get(2) {
                Some(Datum::Text(text)) if with_null => Some(text.as_str()),
                _ => None,
            };
            let zone = match args.len().checked_sub(2).and_then(|at| args.get(at)) {
                Some(Datum::Text(name)) if zoned => TimeZone::parse(name)?,
                _ => TimeZone::UTC,
            };
            let shown = items.iter().filter_map(|item| match item {
                Datum::Null => nulls.map(str::to_string),
                item => Some(item.to_text(element, &zone)),
            });
            Ok(Datum::Text(shown.collect::<Vec<_>>().join(delimiter)))
        })
    });
    called("array_to_string", params, PgType::Text, made)
}

/// `string_to_array(text, delimiter [, text of a null])`.
fn string_to_array(args: &[PgType]) -> Option<Resolved> {
    let text = |ty: &PgType| ty.is_string() || *ty == PgType::Unknown;
    if !(2..=3).contains(&args.len()) || !args.iter().all(text) {
        return None;
    }
    let result = PgType::Text.array()?;
    Some(simple("string_to_array", vec![PgType::Text; args.len()], result, false, |args| {
        let Datum::Text(text) = &args[0] else { return Ok(Datum::Null) };
        let parts: Vec<String> = match &args[1] {
            _ if text.is_empty() => vec![],
            Datum::Text(delimiter) if delimiter.is_empty() => vec![text.clone()],
            Datum::Text(delimiter) => text.split(delimiter.as_str()).map(str::to_string).collect(),
            _ => text.chars().map(String::from).collect(),
        };
        let null = args.get(2);
        let item = |part: String| {
            if matches!(null, Some(Datum::Text(n)) if *n == part) { Datum::Null } else { Datum::Text(part) }
        };
        Ok(Datum::Array(parts.into_iter().map(item).collect()))
    }))
}
