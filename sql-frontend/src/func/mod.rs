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

mod accumulate;
mod aggregate;
pub mod array;
mod bytes;
mod cast;
mod casts;
mod catalog;
mod choose;
mod compare;
mod context;
#[cfg(test)]
mod corpus;
mod datetime;
mod eval;
mod extract;
mod float;
mod hash;
mod integer;
mod json;
mod key;
mod kind;
mod like;
mod made;
mod numeric;
mod pace;
mod pattern;
mod positioned;
mod regex;
mod resolve;
mod scalar;
mod session;
mod special;
mod string;
mod window;

pub use aggregate::{Place, ResolvedAggregate, resolve_aggregate};
pub use cast::{CastContext, CastPlan, cannot_cast, cast};
pub use context::{ContextValue, StatementContext};
pub(crate) use key::KEY;
pub(crate) use kind::column_of;
pub(crate) use pace::{Ask, give_way, within, within_now};
pub use resolve::{
    Resolved, common_type, function_exists, key, key_argument, key_type, resolve_binary_operator,
    resolve_function, resolve_unary_operator, widening, widening_to,
};
pub(crate) use scalar::{Function, PgFunction};
pub use session::{VERSION, set_clock};
pub use window::{ResolvedWindow, WindowBody, requires_over, resolve_window};
