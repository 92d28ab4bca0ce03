//! Row values: `(a, b)` and `ROW(a, b)`. They exist in comparisons and tests only, column by column.

use super::Binder;
use super::expr::strip;
use super::position::At;
use super::typed::Typed;
use crate::error::{SqlError, SqlState};
use datafusion::logical_expr::{Expr, Operator};
use sqlparser::ast::{
    self, BinaryOperator, Function, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectNamePart,
};

/// The values of a row, if this is one.
pub(super) fn items(expr: &ast::Expr) -> Option<Vec<&ast::Expr>> {
    match strip(expr) {
        ast::Expr::Tuple(items) => Some(items.iter().collect()),
        ast::Expr::Function(function) if is_row(function) => {
            let FunctionArguments::List(list) = &function.args else { return None };
            list.args.iter().map(value).collect()
        }
        _ => None,
    }
}

fn value(arg: &FunctionArg) -> Option<&ast::Expr> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(value),
        _ => None,
    }
}

/// `row` is a reserved word before a parenthesis.
fn is_row(function: &Function) -> bool {
    match &function.name.0[..] {
        [ObjectNamePart::Identifier(name)] => {
            name.quote_style.is_none() && name.value.eq_ignore_ascii_case("row")
        }
        _ => false,
    }
}

pub(super) fn alone<T>() -> Result<T, SqlError> {
    Err(SqlError::unsupported("a row value outside of a comparison"))
}

impl Binder<'_> {
    /// `IS NULL` and `IS NOT NULL`: of a row, all of its values are or are not.
    pub(super) fn null_test(
        &mut self,
        expr: &ast::Expr,
        test: fn(Box<Expr>) -> Expr,
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        let Some(items) = items(expr) else {
            return Ok(Typed::bool(test(Box::new(self.any_expr(expr)?)), pos));
        };
        let mut tests = Vec::with_capacity(items.len());
        for item in items {
            if self::items(item).is_some() {
                return alone().at(self.positions.of(item));
            }
            tests.push(test(Box::new(self.any_expr(item)?)));
        }
        self.all(Operator::And, tests, pos)
    }

    /// `IS [NOT] DISTINCT FROM`.
    pub(super) fn distinct_test(
        &mut self,
        left: &ast::Expr,
        right: &ast::Expr,
        negated: bool,
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        let name = if negated { "IS NOT DISTINCT FROM" } else { "IS DISTINCT FROM" };
        let (Some(lefts), Some(rights)) = (items(left), items(right)) else {
            return self.operator(name, left, right, pos);
        };
        same_length(&lefts, &rights).at(pos)?;
        let mut tests = Vec::with_capacity(lefts.len());
        for (l, r) in lefts.into_iter().zip(rights) {
            tests.push(self.operator(name, l, r, pos)?.expr);
        }
        self.all(if negated { Operator::And } else { Operator::Or }, tests, pos)
    }

    fn all(&mut self, op: Operator, tests: Vec<Expr>, pos: Option<u32>) -> Result<Typed, SqlError> {
        if tests.is_empty() {
            return Err(SqlError::unsupported("an empty row")).at(pos);
        }
        Ok(Typed::bool(self.chain(op, tests)?, pos))
    }

    /// `row BETWEEN row AND row`.
    pub(super) fn between_rows(
        &mut self,
        row: &[&ast::Expr],
        negated: bool,
        low: &ast::Expr,
        high: &ast::Expr,
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        let (Some(low), Some(high)) = (items(low), items(high)) else { return alone().at(pos) };
        let (from, to, op) = match negated {
            false => (BinaryOperator::GtEq, BinaryOperator::LtEq, Operator::And),
            true => (BinaryOperator::Lt, BinaryOperator::Gt, Operator::Or),
        };
        let lower = self.compare_rows(row, &from, &low, pos)?.expr;
        let upper = self.compare_rows(row, &to, &high, pos)?.expr;
        self.all(op, vec![lower, upper], pos)
    }
}

pub(super) fn same_length(left: &[&ast::Expr], right: &[&ast::Expr]) -> Result<(), SqlError> {
    if left.len() == right.len() {
        return Ok(());
    }
    Err(SqlError::new(SqlState::SYNTAX_ERROR, "unequal number of entries in row expressions"))
}
