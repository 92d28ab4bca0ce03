//! One function of ours as DataFusion sees it.

use super::context::ContextValue;
use super::kind::{Arg, Body};
use crate::types::PgType;
use datafusion::arrow::array::Array;
use datafusion::arrow::compute;
use datafusion::arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A parameter list's tail that takes any number of arguments (at least one).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variadic {
    No,
    /// Any type each: `VARIADIC "any"`.
    Any,
    /// One argument of any type.
    One,
}

/// A function of the catalog, or the work behind an operator or a cast.
pub(crate) struct Function {
    /// Unique in the process: equality and hash in DataFusion's plans.
    pub id: u32,
    pub name: String,
    /// Types by which it is found.
    pub params: Vec<PgType>,
    /// Types its work is done in; where they differ from `params`, the caller casts.
    pub work: Vec<PgType>,
    pub variadic: Variadic,
    pub result: PgType,
    pub strict: bool,
    pub volatility: Volatility,
    pub hidden: Vec<ContextValue>,
    pub body: Body,
}

/// DataFusion's handle of a [`Function`].
pub(crate) struct PgFunction {
    pub function: Arc<Function>,
    signature: Signature,
}

impl PgFunction {
    pub(crate) fn udf(function: &Arc<Function>) -> Arc<ScalarUDF> {
        let count = function.work.len() + function.hidden.len();
        let signature = match (function.variadic, count) {
            (Variadic::Any | Variadic::One, _) => Signature::variadic_any(function.volatility),
            (Variadic::No, 0) => Signature::nullary(function.volatility),
            (Variadic::No, n) => Signature::any(n, function.volatility),
        };
        Arc::new(ScalarUDF::new_from_impl(PgFunction { function: function.clone(), signature }))
    }
}

impl fmt::Debug for PgFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.function.name, self.function.id)
    }
}

impl PartialEq for PgFunction {
    fn eq(&self, other: &Self) -> bool {
        self.function.id == other.function.id
    }
}

impl Eq for PgFunction {}

impl Hash for PgFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.id.hash(state);
    }
}

impl ScalarUDFImpl for PgFunction {
    fn name(&self) -> &str {
        &self.function.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(self.function.result.arrow())
    }

    fn is_strict(&self) -> bool {
        self.function.strict
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = self.function.volatility != Volatility::Volatile
            && args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let args = args.args.iter().map(argument).collect::<Result<Vec<_>>>()?;
        let array = (self.function.body)(&args, rows).map_err(DataFusionError::from)?;
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}

/// Views and large forms, should an operator produce them, come down to the plain ones that [`PgType::arrow`] names.
fn argument(value: &ColumnarValue) -> Result<Arg> {
    let (array, constant) = match value {
        ColumnarValue::Array(array) => (array.clone(), false),
        ColumnarValue::Scalar(scalar) => (scalar.to_array()?, true),
    };
    let plain = match array.data_type() {
        DataType::Utf8View | DataType::LargeUtf8 => Some(DataType::Utf8),
        DataType::BinaryView | DataType::LargeBinary => Some(DataType::Binary),
        DataType::Dictionary(_, value) => Some(value.as_ref().clone()),
        _ => None,
    };
    let array = match plain {
        Some(ty) => compute::cast(&array, &ty)?,
        None => array,
    };
    Ok(Arg { array, constant })
}
