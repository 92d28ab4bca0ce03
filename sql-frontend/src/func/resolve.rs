//! What the binder asks: names and types in, a call out.

use super::catalog::{CATALOG, CastMethod, Entry, Target};
use super::choose::{Choice, choose};
use super::scalar::Function;
use super::{CastContext, ContextValue, StatementContext, array, cast, cast::coercible, eval, json, special};
use crate::types::{Datum, PgType};
use crate::{Result, SqlError, SqlState};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, ScalarUDF, Volatility};
use std::sync::Arc;

/// A function or operator that was chosen.
#[derive(Clone)]
pub struct Resolved {
    /// The name it was asked for by: the default column name of a function call.
    pub name: String,
    /// What each argument must be cast to before the call, in order (one for each given argument).
    pub arg_types: Vec<PgType>,
    pub result: PgType,
    pub(crate) body: Form,
}

#[derive(Clone)]
pub(crate) enum Form {
    /// A call of one of ours; the hidden arguments follow the visible ones. Arguments that must arrive as text, whatever their type, go
    /// through their entry of `wrap` first.
    Call { function: Arc<Function>, udf: Arc<ScalarUDF>, negated: bool, wrap: Vec<Option<Step>> },
    /// DataFusion's own operator on the keys of both sides.
    Compare(Operator),
    /// DataFusion's AND, OR, NOT.
    Logic(Logic),
    /// The hidden value is the result: `now()`, `current_user`.
    Context(ContextValue),
    /// `coalesce`, `nullif`, `greatest`, `least`.
    Special(special::Special),
    /// The value of the call is known from the types: `pg_typeof`.
    Constant(Datum),
    /// A cast in a function's clothes: `int4(x)`.
    Cast(Box<super::CastPlan>),
    /// A function that is not of this catalog: the session's own.
    External(Arc<ScalarUDF>),
}

/// A conversion of one argument.
pub(crate) type Step = (Arc<Function>, Arc<ScalarUDF>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Logic {
    And,
    Or,
    Not,
}

impl std::fmt::Debug for Resolved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({:?}) -> {}", self.name, self.arg_types, self.result)
    }
}

impl Resolved {
    /// A call of a function from outside, without hidden arguments; volatile as it says itself.
    pub fn external(name: &str, arg_types: Vec<PgType>, result: PgType, udf: Arc<ScalarUDF>) -> Resolved {
        Resolved { name: name.into(), arg_types, result, body: Form::External(udf) }
    }

    /// The expression for arguments that already have `arg_types`; hidden arguments are placeholders, see [`ContextValue`].
    pub fn call(&self, args: Vec<Expr>) -> Expr {
        match &self.body {
            Form::Call { function, udf, negated, wrap } => {
                let mut args: Vec<Expr> = args
                    .into_iter()
                    .enumerate()
                    .map(|(i, arg)| match wrap.get(i) {
                        Some(Some(step)) => apply(step, arg),
                        _ => arg,
                    })
                    .collect();
                args.extend(function.hidden.iter().map(|h| h.placeholder()));
                let call = Expr::ScalarFunction(ScalarFunction::new_udf(udf.clone(), args));
                if *negated { Expr::Not(Box::new(call)) } else { call }
            }
            Form::Compare(op) => {
                let mut keys = args.into_iter().zip(&self.arg_types).map(|(arg, ty)| Box::new(key(*ty, arg)));
                match (keys.next(), keys.next()) {
                    (Some(left), Some(right)) => Expr::BinaryExpr(BinaryExpr::new(left, *op, right)),
                    _ => Expr::Literal(datafusion::scalar::ScalarValue::Boolean(None), None),
                }
            }
            Form::Logic(logic) => {
                let mut args = args.into_iter().map(Box::new);
                match (logic, args.next(), args.next()) {
                    (Logic::Not, Some(arg), _) => Expr::Not(arg),
                    (Logic::And, Some(a), Some(b)) => Expr::BinaryExpr(BinaryExpr::new(a, Operator::And, b)),
                    (_, Some(a), Some(b)) => Expr::BinaryExpr(BinaryExpr::new(a, Operator::Or, b)),
                    _ => Expr::Literal(datafusion::scalar::ScalarValue::Boolean(None), None),
                }
            }
            Form::Context(value) => value.placeholder(),
            Form::External(udf) => Expr::ScalarFunction(ScalarFunction::new_udf(udf.clone(), args)),
            Form::Special(special) => special.call(args, self.result),
            Form::Constant(value) => Expr::Literal(crate::types::to_scalar(value, self.result), None),
            Form::Cast(plan) => args.into_iter().next().map_or_else(
                || Expr::Literal(datafusion::scalar::ScalarValue::Null, None),
                |arg| plan.call(arg),
            ),
        }
    }

    /// Whether two calls with the same arguments in one statement may differ: `random()`.
    pub fn is_volatile(&self) -> bool {
        match &self.body {
            Form::Call { function, .. } => function.volatility == Volatility::Volatile,
            Form::External(udf) => udf.signature().volatility == Volatility::Volatile,
            _ => false,
        }
    }

    /// Whether a null argument always makes the result null.
    pub fn is_strict(&self) -> bool {
        match &self.body {
            Form::Call { function, .. } => function.strict,
            Form::Compare(op) => !matches!(op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom),
            Form::Cast(_) => true,
            Form::External(udf) => udf.is_strict(),
            _ => false,
        }
    }

    /// The same on single values (already of `arg_types`), for literals, defaults and the fast path.
    pub fn eval(&self, args: &[Datum], context: &StatementContext) -> Result<Datum> {
        match &self.body {
            Form::Call { function, negated, wrap, .. } => {
                let mut args = args.to_vec();
                for (arg, step) in args.iter_mut().zip(wrap) {
                    if let Some((convert, _)) = step
                        && !arg.is_null()
                    {
                        *arg = eval::function(convert, std::slice::from_ref(arg), context)?;
                    }
                }
                let value = eval::function(function, &args, context)?;
                Ok(match value {
                    Datum::Bool(b) => Datum::Bool(b != *negated),
                    other => other,
                })
            }
            Form::Compare(op) => {
                let [a, b] = args else { return Err(SqlError::internal("a comparison takes two values")) };
                Ok(compare(*op, a, b, self.arg_types[0]))
            }
            Form::Logic(logic) => Ok(special::logic(*logic, args)),
            Form::Context(value) => Ok(context.value(*value)),
            Form::Special(special) => special.eval(args, self.result, context),
            Form::Constant(value) => Ok(value.clone()),
            Form::External(udf) => eval::external(udf, args, &self.arg_types, self.result),
            Form::Cast(plan) => plan.eval(args.first().unwrap_or(&Datum::Null), context),
        }
    }
}

fn compare(op: Operator, a: &Datum, b: &Datum, ty: PgType) -> Datum {
    let order = a.compare(b, ty);
    match (op, order) {
        (Operator::IsDistinctFrom | Operator::IsNotDistinctFrom, order) => {
            let same = order.map_or(a.is_null() && b.is_null(), |o| o.is_eq());
            Datum::Bool(same == (op == Operator::IsNotDistinctFrom))
        }
        (_, None) => Datum::Null,
        (op, Some(order)) => Datum::Bool(match op {
            Operator::Eq => order.is_eq(),
            Operator::NotEq => order.is_ne(),
            Operator::Lt => order.is_lt(),
            Operator::LtEq => order.is_le(),
            Operator::Gt => order.is_gt(),
            _ => order.is_ge(),
        }),
    }
}

/// Whether any scalar, aggregate or window function has this name, whatever its arguments.
pub fn function_exists(name: &str) -> bool {
    CATALOG.functions.contains_key(name)
        || special::Special::by_name(name).is_some()
        || name == "pg_typeof"
        || REFUSED.contains(&name)
        || array::exists(name)
        || json::exists(name)
        || super::aggregate::exists(name)
        || super::window::exists(name)
}

/// Functions of PostgreSQL on types or features that are not here: refused by name, rather than as unknown.
const REFUSED: &[&str] = &[
    "to_char",
    "to_number",
    "to_date",
    "regexp_match",
    "regexp_matches",
    "regexp_split_to_array",
    "regexp_split_to_table",
    "string_to_table",
    "to_jsonb",
    "row_to_json",
    "array_to_json",
    "jsonb_build_object",
    "jsonb_build_array",
    "current_time",
    "setseed",
    "make_timestamptz",
    "normalize",
    "parse_ident",
    "to_tsvector",
    "to_tsquery",
    "timeofday",
];

fn type_list(args: &[PgType]) -> String {
    args.iter().map(|t| t.sql_name()).collect::<Vec<_>>().join(", ")
}

/// A scalar function by name (folded, without `pg_catalog.`). 42883 when none fits, 42725 when several do equally well. Aggregates and
/// window functions are not found here: ask for those first, by [`resolve_aggregate`].
/// `coalesce`, `greatest`, `least` and `nullif` are resolved here too.
pub fn resolve_function(name: &str, args: &[PgType]) -> Result<Resolved> {
    if let Some(special) = special::Special::by_name(name) {
        return special.resolve(name, args);
    }
    if let Some(found) = array::resolve(name, args) {
        return found;
    }
    if let Some(found) = json::resolve(name, args) {
        return found;
    }
    if REFUSED.contains(&name) {
        return Err(SqlError::unsupported(format!("the function {name}")));
    }
    if let ("pg_typeof", [ty]) = (name, args) {
        return Ok(Resolved {
            name: name.into(),
            arg_types: vec![*ty],
            result: PgType::Regtype,
            body: Form::Constant(Datum::Oid(ty.oid())),
        });
    }
    let entries: &[Entry] = CATALOG.functions.get(name).map_or(&[], Vec::as_slice);
    match choose(entries, args, false) {
        Choice::One(entry) => Ok(resolved(name, entry, args, false)),
        Choice::Ambiguous => Err(SqlError::new(
            SqlState::AMBIGUOUS_FUNCTION,
            format!("function {name}({}) is not unique", type_list(args)),
        )
        .hint("Could not choose a best candidate function. You might need to add explicit type casts.")),
        Choice::None => {
            // A call by a type's name is a cast.
            if let ([from], Some(to)) = (args, PgType::all().find(|t| t.name() == name))
                && !matches!(to, PgType::Unknown | PgType::Void)
                && let Some(plan) = cast(*from, to, -1, CastContext::Explicit)
            {
                return Ok(Resolved {
                    name: name.into(),
                    arg_types: vec![*from],
                    result: to,
                    body: Form::Cast(Box::new(plan)),
                });
            }
            Err(no_function(name, args))
        }
    }
}

pub(crate) fn no_function(name: &str, args: &[PgType]) -> SqlError {
    SqlError::new(
        SqlState::UNDEFINED_FUNCTION,
        format!("function {name}({}) does not exist", type_list(args)),
    )
    .hint("No function matches the given name and argument types. You might need to add explicit type casts.")
}

fn apply(step: &Step, arg: Expr) -> Expr {
    let mut args = vec![arg];
    args.extend(step.0.hidden.iter().map(|h| h.placeholder()));
    Expr::ScalarFunction(ScalarFunction::new_udf(step.1.clone(), args))
}

fn resolved(name: &str, entry: &Entry, args: &[PgType], negated: bool) -> Resolved {
    let mut arg_types = entry.work.clone();
    let mut wrap = Vec::new();
    // Variadic arguments keep their types and go through their output functions.
    for ty in args.iter().skip(arg_types.len()) {
        wrap.resize(arg_types.len(), None);
        wrap.push(CATALOG.outputs.get(ty).cloned());
        arg_types.push(if *ty == PgType::Unknown { PgType::Text } else { *ty });
    }
    let body = match &entry.target {
        Target::Udf(function, udf) => {
            Form::Call { function: function.clone(), udf: udf.clone(), negated, wrap }
        }
        Target::Compare(op) => Form::Compare(*op),
        Target::Context(value) => Form::Context(*value),
    };
    Resolved { name: name.to_string(), arg_types, result: entry.result, body }
}

/// `text || anything` and `anything || text`: the other side becomes text by its cast. `None` where the plain operators decide.
fn concatenation(left: PgType, right: PgType) -> Option<Resolved> {
    let stringy = |ty: PgType| ty.is_string() || ty == PgType::Unknown;
    let foreign = |ty: PgType| !stringy(ty) && !matches!(ty, PgType::Bytea | PgType::Void);
    let side = match (foreign(left), foreign(right)) {
        (true, false) if stringy(right) => 0,
        (false, true) if stringy(left) => 1,
        _ => return None,
    };
    let mut found = match choose(CATALOG.operators.get("||")?, &[PgType::Text, PgType::Text], true) {
        Choice::One(entry) => resolved("||", entry, &[PgType::Text, PgType::Text], false),
        _ => return None,
    };
    let other = if side == 0 { left } else { right };
    found.arg_types[side] = other;
    if let Form::Call { wrap, .. } = &mut found.body {
        wrap.resize(2, None);
        wrap[side] = match super::cast::step(other, PgType::Text, CastContext::Explicit)? {
            CastMethod::Udf(function, udf) => Some((function, udf)),
            CastMethod::Relabel => None,
        };
    }
    Some(found)
}

/// A binary operator by its PostgreSQL spelling: `+ - * / % ^ || = <> != < <= > >= ~ ~* !~ !~* ~~ ~~* !~~ !~~* & | # << >>`, and
/// the words `LIKE`, `NOT LIKE`, `ILIKE`, `NOT ILIKE`, `SIMILAR TO`, `NOT SIMILAR TO`, `IS DISTINCT FROM`, `IS NOT DISTINCT FROM`, `AND`, `OR`,
/// `AT TIME ZONE` (zone on the right).
pub fn resolve_binary_operator(op: &str, left: PgType, right: PgType) -> Result<Resolved> {
    let (symbol, negated) = match op {
        "AND" | "OR" => {
            let logic = if op == "AND" { Logic::And } else { Logic::Or };
            return logic_operator(op, logic, &[left, right]);
        }
        "AT TIME ZONE" => return resolve_function("timezone", &[right, left]).map(Resolved::swapped),
        "IS DISTINCT FROM" | "IS NOT DISTINCT FROM" => {
            let mut equal = resolve_binary_operator("=", left, right)?;
            equal.body = Form::Compare(if op == "IS DISTINCT FROM" {
                Operator::IsDistinctFrom
            } else {
                Operator::IsNotDistinctFrom
            });
            return Ok(equal);
        }
        "LIKE" | "~~" => ("~~", false),
        "NOT LIKE" | "!~~" => ("~~", true),
        "ILIKE" | "~~*" => ("~~*", false),
        "NOT ILIKE" | "!~~*" => ("~~*", true),
        "!~" => ("~", true),
        "!~*" => ("~*", true),
        "SIMILAR TO" => ("SIMILAR TO", false),
        "NOT SIMILAR TO" => ("SIMILAR TO", true),
        "!=" => ("<>", false),
        other => (other, false),
    };
    if let Some(found) = array::operator(symbol, left, right) {
        return found;
    }
    if symbol == "||"
        && let Some(found) = concatenation(left, right)
    {
        return Ok(found);
    }
    let entries: &[Entry] = CATALOG.operators.get(symbol).map_or(&[], Vec::as_slice);
    let args = [left, right];
    let shown = || format!("{left} {} {right}", shown_operator(op));
    match choose(entries, &args, true) {
        Choice::One(entry) => Ok(resolved(op, entry, &args, negated)),
        Choice::Ambiguous => {
            Err(SqlError::new(SqlState::AMBIGUOUS_FUNCTION, format!("operator is not unique: {}", shown()))
                .hint(
                    "Could not choose a best candidate operator. You might need to add explicit type casts.",
                ))
        }
        Choice::None => Err(no_operator(shown())),
    }
}

/// The words stand for operators in PostgreSQL's messages.
fn shown_operator(op: &str) -> &str {
    match op {
        "LIKE" => "~~",
        "NOT LIKE" => "!~~",
        "ILIKE" => "~~*",
        "NOT ILIKE" => "!~~*",
        "!=" => "<>",
        "SIMILAR TO" => "~",
        "NOT SIMILAR TO" => "!~",
        other => other,
    }
}

fn no_operator(shown: String) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_FUNCTION, format!("operator does not exist: {shown}")).hint(
        "No operator matches the given name and argument types. You might need to add explicit type casts.",
    )
}

fn logic_operator(op: &str, logic: Logic, args: &[PgType]) -> Result<Resolved> {
    for ty in args {
        if !coercible(*ty, PgType::Bool) {
            return Err(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!("argument of {op} must be type boolean, not type {ty}"),
            ));
        }
    }
    Ok(Resolved {
        name: op.into(),
        arg_types: vec![PgType::Bool; args.len()],
        result: PgType::Bool,
        body: Form::Logic(logic),
    })
}

/// `-`, `+`, `~`, `@`, `|/`, `||/`, `NOT`.
pub fn resolve_unary_operator(op: &str, arg: PgType) -> Result<Resolved> {
    if op == "NOT" {
        return logic_operator(op, Logic::Not, &[arg]);
    }
    let entries: &[Entry] = CATALOG.operators.get(op).map_or(&[], Vec::as_slice);
    match choose(entries, &[arg], true) {
        Choice::One(entry) => Ok(resolved(op, entry, &[arg], false)),
        Choice::Ambiguous => {
            Err(SqlError::new(SqlState::AMBIGUOUS_FUNCTION, format!("operator is not unique: {op} {arg}"))
                .hint(
                    "Could not choose a best candidate operator. You might need to add explicit type casts.",
                ))
        }
        Choice::None => Err(no_operator(format!("{op} {arg}"))),
    }
}

impl Resolved {
    /// For syntax that gives the arguments in the other order.
    fn swapped(mut self) -> Resolved {
        self.arg_types.reverse();
        if let Form::Call { function, udf, negated, .. } = self.body {
            self.body = Form::Special(special::Special::Swapped { function, udf, negated });
        }
        self
    }
}

/// The one type for the branches of `construct` (`CASE`, `UNION`, `VALUES`, `IN`, …): 42804 `… types … and … cannot be matched`. All unknown: text.
pub fn common_type(construct: &str, types: &[PgType]) -> Result<PgType> {
    let mut known = types.iter().copied().filter(|t| *t != PgType::Unknown);
    let Some(mut best) = known.next() else { return Ok(PgType::Text) };
    for ty in known {
        if ty == best {
            continue;
        }
        if ty.category() != best.category() {
            return Err(SqlError::new(
                SqlState::DATATYPE_MISMATCH,
                format!("{construct} types {best} and {ty} cannot be matched"),
            ));
        }
        // Take the new one if it is preferred, or if only the old one converts to it.
        if !best.is_preferred() && coercible(best, ty) && !coercible(ty, best) {
            best = ty;
        }
    }
    for ty in types {
        if !coercible(*ty, best) {
            return Err(SqlError::new(
                SqlState::CANNOT_COERCE,
                format!("{construct} could not convert type {ty} to {best}"),
            ));
        }
    }
    Ok(best)
}

/// What equality, order, hashing, grouping, joining and duplicate removal must be done on for an expression of type `ty`; the
/// expression itself where [`PgType::has_plain_equality`]. Sorting a key ascending sorts the values ascending, nulls stay null.
pub fn key(ty: PgType, expr: Expr) -> Expr {
    match CATALOG.keys.get(&ty) {
        Some(udf) => Expr::ScalarFunction(ScalarFunction::new_udf(udf.clone(), vec![expr])),
        None => expr,
    }
}

/// The expression under a [`key`], if this is one: for recognizing a column in a pushed-down filter.
pub fn key_argument(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::ScalarFunction(call) if CATALOG.keys.values().any(|udf| udf == &call.func) => call.args.first(),
        _ => None,
    }
}

/// What an integer was before it was widened, and the type it was widened to.
pub fn widening(expr: &Expr) -> Option<(&Expr, PgType)> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let to = widening_to(&call.func)?;
    call.args.first().map(|inner| (inner, to))
}

/// The result of a function that widens integers.
pub fn widening_to(func: &ScalarUDF) -> Option<PgType> {
    use PgType::{Int2, Int4, Int8};
    [(Int2, Int4), (Int2, Int8), (Int4, Int8)].into_iter().find_map(|(from, to)| {
        match CATALOG.casts.get(&(from, to)) {
            Some((_, CastMethod::Udf(_, udf))) if **udf == *func => Some(to),
            _ => None,
        }
    })
}

/// The Arrow type of [`key`] of a value.
pub fn key_type(ty: PgType) -> datafusion::arrow::datatypes::DataType {
    match ty {
        PgType::Bpchar => PgType::Text.arrow(),
        PgType::Interval => PgType::Bytea.arrow(),
        other => other.arrow(),
    }
}
