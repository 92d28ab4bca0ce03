//! `BETWEEN`, `IN`, `LIKE`, and comparisons of rows.

use super::expr::operator_name;
use super::position::At;
use super::typed::Typed;
use super::{Binder, guard, row};
use crate::error::{SqlError, SqlState};
use crate::func::{array, key, resolve_binary_operator};
use crate::session::parse::SYMMETRIC;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Expr, Operator};
use sqlparser::ast::{self, BinaryOperator};

/// A bound of `BETWEEN`.
#[derive(Clone, Copy)]
enum Side {
    Low,
    High,
}

impl Binder<'_> {
    pub(super) fn between(
        &mut self,
        expr: &ast::Expr,
        negated: bool,
        low: &ast::Expr,
        high: &ast::Expr,
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        if let ast::Expr::Prefixed { prefix, value: low } = low
            && prefix.value == SYMMETRIC
        {
            return self.between_either(expr, negated, low, high, pos);
        }
        if let Some(row) = row::items(expr) {
            return self.between_rows(&row, negated, low, high, pos);
        }
        let at = self.positions.after(expr);
        let value = self.expr(expr)?;
        let low = self.expr(low)?;
        let again = self.again(&value)?;
        // A parameter in the lower bound has its type before the upper one is read.
        let lower = self.beyond(Side::Low, negated, again, low, at)?;
        let high = self.expr(high)?;
        let upper = self.beyond(Side::High, negated, value, high, at)?;
        self.within(negated, lower, upper, pos)
    }

    /// `BETWEEN SYMMETRIC`: whichever bound is the lower one.
    fn between_either(
        &mut self,
        expr: &ast::Expr,
        negated: bool,
        low: &ast::Expr,
        high: &ast::Expr,
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        if row::items(expr).is_some() {
            return Err(SqlError::unsupported("BETWEEN SYMMETRIC of rows"));
        }
        let at = self.positions.after(expr);
        let value = self.expr(expr)?;
        let (low, high) = (self.expr(low)?, self.expr(high)?);
        let (value2, low2, high2) = (self.again(&value)?, self.again(&low)?, self.again(&high)?);
        let one = self.between_bounds(value, negated, low, high, at, pos)?;
        let other = self.between_bounds(value2, negated, high2, low2, at, pos)?;
        let op = if negated { Operator::And } else { Operator::Or };
        Ok(Typed::bool(self.chain(op, vec![one.expr, other.expr])?, pos))
    }

    fn between_bounds(
        &mut self,
        value: Typed,
        negated: bool,
        low: Typed,
        high: Typed,
        at: Option<u32>,
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        let again = self.again(&value)?;
        let lower = self.beyond(Side::Low, negated, again, low, at)?;
        let upper = self.beyond(Side::High, negated, value, high, at)?;
        self.within(negated, lower, upper, pos)
    }

    /// On which side of a bound the value is.
    fn beyond(
        &mut self,
        side: Side,
        negated: bool,
        value: Typed,
        bound: Typed,
        at: Option<u32>,
    ) -> Result<Typed, SqlError> {
        let operator = match (side, negated) {
            (Side::Low, false) => ">=",
            (Side::Low, true) => "<",
            (Side::High, false) => "<=",
            (Side::High, true) => ">",
        };
        self.apply_operator(operator, value, bound, at)
    }

    /// A second use of a side.
    fn again(&mut self, side: &Typed) -> Result<Typed, SqlError> {
        Ok(Typed { expr: self.copy(&side.expr)?, ..side.clone() })
    }

    fn within(
        &mut self,
        negated: bool,
        lower: Typed,
        upper: Typed,
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        let op = if negated { Operator::Or } else { Operator::And };
        Ok(Typed::bool(self.chain(op, vec![lower.expr, upper.expr])?, pos))
    }

    pub(super) fn in_list(
        &mut self,
        expr: &ast::Expr,
        list: &[ast::Expr],
        negated: bool,
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        let at = self.positions.after(expr);
        if let Some(row) = row::items(expr) {
            let mut tests = Vec::with_capacity(list.len());
            for item in list {
                let Some(other) = row::items(item) else {
                    return Err(SqlError::unsupported("a row compared with a value"));
                };
                tests.push(self.compare_rows(&row, &BinaryOperator::Eq, &other, at)?.expr);
            }
            let any = self.chain(Operator::Or, tests)?;
            return Ok(Typed::bool(if negated { guard::negate(any) } else { any }, pos));
        }
        let mut items = vec![self.expr(expr)?];
        for item in list {
            items.push(self.expr(item)?);
        }
        if self.common("IN", &items).is_ok()
            && items.iter().skip(1).all(|item| array::is_listable(&item.expr))
        {
            let (mut items, ty) = self.unify("IN", items)?;
            // The operator must exist (and says 42883 if it does not).
            resolve_binary_operator("=", ty, ty).at(at)?;
            let value = key(ty, items.remove(0).expr);
            let list = items.into_iter().map(|i| key(ty, i.expr)).collect();
            return Ok(Typed::bool(Expr::InList(InList::new(Box::new(value), list, negated)), pos));
        }
        if items.len() > 2 && items[0].expr.is_volatile() {
            let any = self.equals_any(items, at)?;
            return Ok(Typed::bool(if negated { guard::negate(any) } else { any }, pos));
        }
        let value = items.remove(0);
        let mut tests = Vec::with_capacity(items.len());
        for item in items {
            let again = Typed { expr: self.copy(&value.expr)?, ..value.clone() };
            tests.push(self.apply_operator("=", again, item, at)?.expr);
        }
        let any = self.chain(Operator::Or, tests)?;
        Ok(Typed::bool(if negated { guard::negate(any) } else { any }, pos))
    }

    /// The first is among the others, each of them evaluated once.
    fn equals_any(&mut self, items: Vec<Typed>, at: Option<u32>) -> Result<Expr, SqlError> {
        let (items, ty) = self.unify("IN", items)?;
        let array = ty.array().ok_or_else(|| SqlError::unsupported(format!("an array of {ty}"))).at(at)?;
        let found = array::resolve_any("=", ty, array, false).at(at)?;
        let mut exprs: Vec<Expr> = items.into_iter().map(|i| i.expr).collect();
        let list = exprs.split_off(1);
        exprs.push(array::constructor(ty, array, list.len()).call(list));
        Ok(found.call(exprs))
    }

    pub(super) fn like(
        &mut self,
        op: &str,
        expr: &ast::Expr,
        pattern: &ast::Expr,
        escape: &Option<ast::ValueWithSpan>,
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        let at = self.positions.after(expr);
        let value = self.expr(expr)?;
        let mut pattern = self.expr(pattern)?;
        if let Some(escape) = escape {
            let escape = self.value(escape)?;
            let name = if op.ends_with("SIMILAR TO") { "similar_to_escape" } else { "like_escape" };
            pattern = self.call(name, vec![pattern, escape], pos).map_err(|e| {
                if e.sqlstate == SqlState::UNDEFINED_FUNCTION { SqlError::unsupported("ESCAPE") } else { e }
            })?;
        }
        self.apply_operator(op, value, pattern, at)
    }

    /// A comparison of two rows, column by column.
    pub(super) fn compare_rows(
        &mut self,
        left: &[&ast::Expr],
        op: &BinaryOperator,
        right: &[&ast::Expr],
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        row::same_length(left, right).at(pos)?;
        let mut pairs = Vec::with_capacity(left.len());
        for (l, r) in left.iter().zip(right) {
            pairs.push((self.expr(l)?, self.expr(r)?));
        }
        self.row_comparison(pairs, op, pos)
    }

    pub(super) fn row_comparison(
        &mut self,
        pairs: Vec<(Typed, Typed)>,
        op: &BinaryOperator,
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        let name = operator_name(op)?;
        let (strict, all) = match op {
            BinaryOperator::Eq => (None, true),
            BinaryOperator::NotEq => (None, false),
            BinaryOperator::Lt | BinaryOperator::LtEq => (Some("<"), true),
            BinaryOperator::Gt | BinaryOperator::GtEq => (Some(">"), true),
            other => return Err(SqlError::unsupported(format!("the operator {other} between rows"))).at(pos),
        };
        let Some(strict) = strict else {
            let mut tests = Vec::with_capacity(pairs.len());
            for (l, r) in pairs {
                tests.push(self.apply_operator(&name, l, r, pos)?.expr);
            }
            if tests.is_empty() {
                return Err(SqlError::unsupported("an empty row"));
            }
            let joined = self.chain(if all { Operator::And } else { Operator::Or }, tests)?;
            return Ok(Typed::bool(joined, pos));
        };
        // (a, b) < (c, d) is a < c OR (a = c AND b < d).
        let mut result: Option<Expr> = None;
        for (l, r) in pairs.into_iter().rev() {
            result = Some(match result {
                None => self.apply_operator(&name, l, r, pos)?.expr,
                Some(rest) => {
                    let again = |b: &mut Self, side: &Typed| {
                        Ok::<_, SqlError>(Typed { expr: b.copy(&side.expr)?, ..side.clone() })
                    };
                    let (left, right) = (again(self, &l)?, again(self, &r)?);
                    let less = self.apply_operator(strict, left, right, pos)?.expr;
                    let equal = self.apply_operator("=", l, r, pos)?.expr;
                    let equal = self.chain(Operator::And, vec![equal, rest])?;
                    self.chain(Operator::Or, vec![less, equal])?
                }
            });
        }
        let result = result.ok_or_else(|| SqlError::unsupported("an empty row"))?;
        Ok(Typed::bool(result, pos))
    }
}
