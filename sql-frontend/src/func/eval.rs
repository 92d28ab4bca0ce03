//! One call on single values, outside of any plan.

use super::StatementContext;
use super::kind::Arg;
use super::scalar::Function;
use crate::Result;
use crate::types::{Datum, PgType, datum_at, to_array};

fn arg(value: &Datum, ty: PgType) -> Result<Arg> {
    Ok(Arg { array: to_array([value], ty)?, constant: true })
}

/// Calls `function` on values of its work types; variadic arguments are given as text.
pub(crate) fn function(function: &Function, args: &[Datum], context: &StatementContext) -> Result<Datum> {
    if function.strict && args.iter().any(Datum::is_null) {
        return Ok(Datum::Null);
    }
    let mut list = Vec::with_capacity(args.len() + function.hidden.len());
    for (i, value) in args.iter().enumerate() {
        list.push(arg(value, function.work.get(i).copied().unwrap_or(PgType::Text))?);
    }
    for hidden in &function.hidden {
        list.push(arg(&context.value(*hidden), hidden.ty())?);
    }
    let array = (function.body)(&list, 1)?;
    datum_at(array.as_ref(), 0, function.result)
}
