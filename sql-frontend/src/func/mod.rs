//! Functions, operators, casts and aggregates, and how PostgreSQL chooses among them.
//!
//! The binder gives names and argument types and gets a [`Resolved`]: the types the arguments must be cast to, the
//! result's type, and how to build the expression. An untyped string literal or parameter has the type `Unknown`; when
//! a resolution decides on a type for it, the binder reads the literal by that type's input function
//! ([`crate::types::Datum::from_text`]) or gives the parameter that type.
//!
//! ```ignore
//! let r = resolve_binary_operator("+", left.ty, right.ty)?;
//! let args = [left.coerce(r.arg_types[0])?, right.coerce(r.arg_types[1])?]; // with `cast(.., Implicit)`
//! let expr = r.call(args.into());                                           // of type r.result
//! ```

mod cast;
mod context;
mod resolve;
mod scalar;

pub use cast::{CastContext, CastPlan, cast};
pub use context::{ContextValue, StatementContext};
pub use resolve::{
    Resolved, ResolvedAggregate, ResolvedWindow, WindowBody, common_type, function_exists, key,
    resolve_aggregate, resolve_binary_operator, resolve_function, resolve_unary_operator, resolve_window,
};
