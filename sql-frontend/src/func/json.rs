//! Functions that build JSON from values of any types.

use super::casts::zone_arg;
use super::catalog::Options;
use super::context::ContextValue;
use super::kind::{Arg, Body, column_of};
use super::made::{called, made};
use super::resolve::Resolved;
use super::scalar::Variadic;
use crate::types::{Datum, PgType, TimeZone, datum_at, json};
use crate::{Result, SqlError, SqlState};
use std::sync::Arc;

/// What becomes of one row's arguments.
type Build = fn(&[(Datum, PgType)], &TimeZone) -> Result<String>;

const BUILDERS: [(&str, Build); 3] =
    [("json_build_object", object), ("json_build_array", array), ("to_json", plain)];

pub(crate) fn exists(name: &str) -> bool {
    BUILDERS.iter().any(|(known, _)| *known == name)
}

pub(crate) fn resolve(name: &str, args: &[PgType]) -> Option<Result<Resolved>> {
    let (_, build) = BUILDERS.iter().find(|(known, _)| *known == name)?;
    if name == "to_json" {
        match args {
            [PgType::Unknown] => {
                let text = "could not determine polymorphic type because input has type unknown";
                return Some(Err(SqlError::new(SqlState::DATATYPE_MISMATCH, text)));
            }
            [_] => {}
            _ => return None,
        }
    }
    let types: Vec<PgType> =
        args.iter().map(|ty| if *ty == PgType::Unknown { PgType::Text } else { *ty }).collect();
    let options = Options {
        strict: name == "to_json",
        variadic: Variadic::Any,
        ..Options::hidden([ContextValue::TimeZone])
    };
    let made = made(name, &types, PgType::Json, options, || body(types.clone(), name == "to_json", *build));
    Some(Ok(called(name, types, PgType::Json, made)))
}

/// The session's zone follows the arguments.
fn body(types: Vec<PgType>, strict: bool, build: Build) -> Body {
    Arc::new(move |args: &[Arg], rows| {
        let zone = args.last().map_or(Ok(TimeZone::UTC), zone_arg)?;
        column_of(PgType::Json, rows, |row| {
            let values = args
                .iter()
                .zip(&types)
                .map(|(arg, ty)| datum_at(arg.array.as_ref(), arg.row(row), *ty).map(|value| (value, *ty)));
            let values = values.collect::<Result<Vec<_>>>()?;
            let null = strict && values.iter().any(|(value, _)| value.is_null());
            Ok(if null { Datum::Null } else { Datum::Text(build(&values, &zone)?) })
        })
    })
}

fn plain(args: &[(Datum, PgType)], zone: &TimeZone) -> Result<String> {
    let mut out = String::new();
    for (value, ty) in args {
        json::write(value, *ty, zone, &mut out);
    }
    Ok(out)
}

fn array(args: &[(Datum, PgType)], zone: &TimeZone) -> Result<String> {
    let mut out = String::from("[");
    for (at, (value, ty)) in args.iter().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        json::write(value, *ty, zone, &mut out);
    }
    Ok(out + "]")
}

fn object(args: &[(Datum, PgType)], zone: &TimeZone) -> Result<String> {
    if !args.len().is_multiple_of(2) {
        return Err(wrong("argument list must have even number of elements")
            .hint("The arguments of json_build_object() must consist of alternating keys and values."));
    }
    let mut out = String::from("{");
    for (at, pair) in args.chunks_exact(2).enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        let [(key, key_type), (value, ty)] = pair else { continue };
        if key.is_null() {
            let text = format!("argument {} cannot be null", 2 * at + 1);
            return Err(wrong(&text).hint("Object keys should be text."));
        }
        if *key_type == PgType::Json || key_type.element().is_some() {
            return Err(wrong("key value must be scalar, not array, composite, or json"));
        }
        json::write_string(&key.to_text(*key_type, zone), &mut out);
        out.push_str(" : ");
        json::write(value, *ty, zone, &mut out);
    }
    Ok(out + "}")
}

fn wrong(text: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, text)
}
