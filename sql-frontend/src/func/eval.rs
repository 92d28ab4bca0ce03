//! One call on single values, outside of any plan.

use super::StatementContext;
use super::kind::Arg;
use super::scalar::Function;
use crate::types::{Datum, PgType, datum_at, from_scalar, to_array, to_scalar};
use crate::{Result, SqlError};
use datafusion::arrow::datatypes::Field;
use datafusion::config::ConfigOptions;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};
use std::sync::Arc;

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
        list.push(arg(
            value,
            function.work.get(i).or(function.work.last()).copied().unwrap_or(PgType::Text),
        )?);
    }
    for hidden in &function.hidden {
        list.push(arg(&context.value(*hidden), hidden.ty())?);
    }
    let array = (function.body)(&list, 1)?;
    datum_at(array.as_ref(), 0, function.result)
}

/// Calls a function that only DataFusion knows.
pub(crate) fn external(udf: &ScalarUDF, args: &[Datum], types: &[PgType], result: PgType) -> Result<Datum> {
    let field = |ty: PgType| Arc::new(Field::new("", ty.arrow(), true));
    let list = args.iter().zip(types).map(|(v, ty)| ColumnarValue::Scalar(to_scalar(v, *ty))).collect();
    let value = udf
        .invoke_with_args(ScalarFunctionArgs {
            args: list,
            arg_fields: types.iter().map(|ty| field(*ty) as _).collect(),
            number_rows: 1,
            return_field: field(result),
            config_options: Arc::new(ConfigOptions::default()),
        })
        .map_err(SqlError::from)?;
    match value {
        ColumnarValue::Scalar(scalar) => from_scalar(&scalar, result),
        ColumnarValue::Array(array) => datum_at(array.as_ref(), 0, result),
    }
}
