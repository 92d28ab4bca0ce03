//! The corpus: every expression of `testdata/expressions.txt` must give PostgreSQL's type, text, SQLSTATE and message.

use super::*;
use crate::types::{Datum, InputContext, PgType, TimeZone};
use crate::{Result, SqlError};
use sqlparser::ast::{self, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, UnaryOperator, Value};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

type Typed = (PgType, Datum);

fn context() -> StatementContext {
    StatementContext::default()
}

fn input(ty: PgType, text: &str) -> Result<Datum> {
    Datum::input(ty, text, -1, &InputContext { zone: TimeZone::UTC, now: Some(0) })
}

fn coerce((from, value): Typed, to: PgType) -> Result<Datum> {
    match value {
        Datum::Null => Ok(Datum::Null),
        Datum::Text(text) if from == PgType::Unknown && to != PgType::Unknown => input(to, &text),
        value => cast(from, to, -1, CastContext::Implicit)
            .ok_or_else(|| SqlError::internal(format!("no implicit cast from {from} to {to}")))?
            .eval(&value, &context()),
    }
}

fn call(resolved: Resolved, args: Vec<Typed>) -> Result<Typed> {
    let values: Result<Vec<Datum>> =
        args.into_iter().zip(&resolved.arg_types).map(|(a, ty)| coerce(a, *ty)).collect();
    Ok((resolved.result, resolved.eval(&values?, &context())?))
}

fn number(text: &str) -> Result<Typed> {
    if let Ok(v) = text.parse::<i32>() {
        return Ok((PgType::Int4, Datum::Int4(v)));
    }
    if let Ok(v) = text.parse::<i64>() {
        return Ok((PgType::Int8, Datum::Int8(v)));
    }
    Ok((PgType::Numeric, input(PgType::Numeric, text)?))
}

fn type_of(data_type: &ast::DataType) -> (PgType, i32) {
    let text = data_type.to_string().to_lowercase();
    let (name, modifiers) = match text.split_once('(') {
        Some((name, rest)) => {
            let list = rest.trim_end_matches(')').split(',');
            (name.to_string(), list.map(|m| m.trim().parse::<i64>().unwrap()).collect())
        }
        None => (text.clone(), Vec::new()),
    };
    let ty = PgType::from_name(name.trim()).unwrap_or_else(|| panic!("type {text}"));
    (ty, ty.typmod(&modifiers).unwrap())
}

fn eval(expr: &Expr) -> Result<Typed> {
    match expr {
        Expr::Nested(inner) => eval(inner),
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => number(text),
            Value::SingleQuotedString(s) | Value::EscapedStringLiteral(s) => {
                Ok((PgType::Unknown, Datum::Text(s.clone())))
            }
            Value::Boolean(b) => Ok((PgType::Bool, Datum::Bool(*b))),
            Value::Null => Ok((PgType::Unknown, Datum::Null)),
            other => panic!("{other:?}"),
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } if matches!(&**expr, Expr::Value(v) if matches!(v.value, Value::Number(..))) =>
        {
            // The grammar makes one constant of the sign and the digits.
            number(&format!("-{expr}"))
        }
        Expr::UnaryOp { op, expr } => {
            let arg = eval(expr)?;
            let name = match op {
                UnaryOperator::PGAbs => "@".to_string(),
                other => other.to_string(),
            };
            call(resolve_unary_operator(&name, arg.0)?, vec![arg])
        }
        Expr::BinaryOp { left, op, right } => {
            let (left, right) = (eval(left)?, eval(right)?);
            call(resolve_binary_operator(&op.to_string(), left.0, right.0)?, vec![left, right])
        }
        Expr::IsNull(inner) => Ok((PgType::Bool, Datum::Bool(eval(inner)?.1.is_null()))),
        Expr::Cast { expr, data_type, .. } => {
            let ((from, value), (to, typmod)) = (eval(expr)?, type_of(data_type));
            let (from, value) = match (from, value) {
                (PgType::Unknown, Datum::Text(text)) => (to, input(to, &text)?),
                other => other,
            };
            let plan = cast(from, to, typmod, CastContext::Explicit).ok_or_else(|| cannot_cast(from, to))?;
            Ok((to, plan.eval(&value, &context())?))
        }
        Expr::Substring { expr, substring_from, substring_for, shorthand, .. } => {
            let mut args = vec![eval(expr)?];
            for part in [substring_from, substring_for].into_iter().flatten() {
                args.push(eval(part)?);
            }
            named(if *shorthand { "substr" } else { "substring" }, args)
        }
        Expr::Ceil { expr, .. } => named("ceil", vec![eval(expr)?]),
        Expr::Floor { expr, .. } => named("floor", vec![eval(expr)?]),
        Expr::Function(function) => {
            let name = function.name.to_string().replace('"', "").to_lowercase();
            let args = match &function.args {
                FunctionArguments::List(list) => &list.args[..],
                _ => &[],
            };
            let args: Result<Vec<Typed>> = args
                .iter()
                .map(|a| match a {
                    FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => eval(e),
                    other => panic!("{other}"),
                })
                .collect();
            named(&name, args?)
        }
        other => panic!("{other:?}"),
    }
}

fn named(name: &str, args: Vec<Typed>) -> Result<Typed> {
    let types: Vec<PgType> = args.iter().map(|a| a.0).collect();
    call(resolve_function(name, &types)?, args)
}

fn answer(text: &str) -> String {
    let parsed = Parser::new(&PostgreSqlDialect {}).try_with_sql(text).and_then(|mut p| p.parse_expr());
    let expr = match parsed {
        Ok(expr) => expr,
        Err(e) => return format!("!parser: {e}"),
    };
    match eval(&expr) {
        Ok((ty, value)) => {
            let shown = if value.is_null() { "NULL".into() } else { value.to_text(ty, &TimeZone::UTC) };
            // psql's unaligned output, with its line breaks and backslashes escaped.
            format!("{}|{}", ty.sql_name(), shown.replace('\\', "\\\\").replace('\n', "\\n"))
        }
        Err(e) => format!("!{}: {}", e.sqlstate, e.message),
    }
}

#[test]
fn answers_are_postgresqls() {
    let expressions = include_str!("../../testdata/expressions.txt");
    let expected = include_str!("../../testdata/expressions.expected");
    let expressions = expressions.lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
    let mut wrong = Vec::new();
    let mut count = 0;
    for (expression, expected) in expressions.zip(expected.lines()) {
        count += 1;
        let got = std::panic::catch_unwind(|| answer(expression)).unwrap_or_else(|_| "!panic".into());
        if got != expected {
            wrong.push(format!("{expression}\n   PostgreSQL {expected}\n   ours       {got}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {count} differ:\n{}", wrong.len(), wrong.join("\n"));
}
