//! Scalar expressions.

use super::datatype::{bind_type, fold};
use super::position::At;
use super::typed::Typed;
use super::{Binder, guard, row};
use crate::error::{SqlError, SqlState};
use crate::func::{CastContext, resolve_binary_operator, resolve_function, resolve_unary_operator};
use crate::types::PgType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{Expr, Operator, not};
use sqlparser::ast::{
    self, BinaryOperator, CastKind, CeilFloorKind, DateTimeField, Interval, TrimWhereField, UnaryOperator,
    Value,
};

/// Nesting beyond this is refused with 54001 before the stack runs out. The parser bounds chains and nesting lower.
const MAX_DEPTH: usize = 2300;

impl Binder<'_> {
    pub(super) fn expr(&mut self, expr: &ast::Expr) -> Result<Typed, SqlError> {
        self.depth += 1;
        let result = if self.depth > MAX_DEPTH {
            Err(SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded")
                .hint("The statement nests its expressions too deeply."))
        } else {
            self.expr_inner(expr)
        };
        self.depth -= 1;
        result.at(self.positions.of(expr))
    }

    fn expr_inner(&mut self, expr: &ast::Expr) -> Result<Typed, SqlError> {
        let pos = self.positions.of(expr);
        match expr {
            ast::Expr::Identifier(ident) if is_function(ident) => self.call(&fold(ident), vec![], pos),
            ast::Expr::Identifier(ident) => self.bind_name(ident),
            ast::Expr::CompoundIdentifier(idents) => self.bind_compound(idents),
            ast::Expr::Nested(inner) => self.expr(inner),
            ast::Expr::Value(value) => self.value(value),
            ast::Expr::TypedString(t) => {
                let (ty, typmod) = bind_type(&t.data_type, Some(&self.positions))?;
                let value = self.value(&t.value)?;
                self.cast(value, ty, typmod, CastContext::Explicit)
            }
            ast::Expr::Interval(interval) => self.interval(interval, pos),
            ast::Expr::Cast {
                kind: kind @ (CastKind::Cast | CastKind::DoubleColon),
                expr,
                data_type,
                array: false,
                format: None,
            } => {
                let (ty, typmod) = bind_type(data_type, Some(&self.positions))?;
                if let (ast::Expr::Array(array), Some(element)) = (strip(expr), ty.element()) {
                    return self.array(&array.elem, Some(element), pos);
                }
                let value = self.expr(expr)?;
                // A literal that cannot be read is at fault itself; a missing cast is the cast's fault.
                let at = match (kind, &value.pending) {
                    (_, Some(_)) => value.pos,
                    (CastKind::DoubleColon, None) => self.positions.after(&**expr),
                    (_, None) => pos,
                };
                self.cast(Typed { pos: at, ..value }, ty, typmod, CastContext::Explicit)
            }
            ast::Expr::Array(array) => self.array(&array.elem, None, pos),
            ast::Expr::CompoundFieldAccess { root, access_chain } => self.subscripts(root, access_chain, pos),
            ast::Expr::BinaryOp { left, op, right } => self.binary_op(expr, left, op, right),
            ast::Expr::UnaryOp { op, expr } => self.unary_op(op, expr, pos),
            ast::Expr::IsNull(e) => self.null_test(e, Expr::IsNull, pos),
            ast::Expr::IsNotNull(e) => self.null_test(e, Expr::IsNotNull, pos),
            ast::Expr::IsTrue(e) => self.test(e, "IS TRUE", |e| truth(e, true), pos),
            ast::Expr::IsNotTrue(e) => self.test(e, "IS NOT TRUE", |e| truth(e, false), pos),
            ast::Expr::IsFalse(e) => self.test(e, "IS FALSE", |e| truth(Box::new(not(*e)), true), pos),
            ast::Expr::IsNotFalse(e) => {
                self.test(e, "IS NOT FALSE", |e| truth(Box::new(not(*e)), false), pos)
            }
            ast::Expr::IsUnknown(e) => self.test(e, "IS UNKNOWN", Expr::IsNull, pos),
            ast::Expr::IsNotUnknown(e) => self.test(e, "IS NOT UNKNOWN", Expr::IsNotNull, pos),
            ast::Expr::IsDistinctFrom(l, r) => self.distinct_test(l, r, false, pos),
            ast::Expr::IsNotDistinctFrom(l, r) => self.distinct_test(l, r, true, pos),
            ast::Expr::Between { expr, negated, low, high } => self.between(expr, *negated, low, high, pos),
            ast::Expr::InList { expr, list, negated } => self.in_list(expr, list, *negated, pos),
            ast::Expr::Like { negated, any: false, expr, pattern, escape_char } => {
                self.like(if *negated { "NOT LIKE" } else { "LIKE" }, expr, pattern, escape_char, pos)
            }
            ast::Expr::ILike { negated, any: false, expr, pattern, escape_char } => {
                self.like(if *negated { "NOT ILIKE" } else { "ILIKE" }, expr, pattern, escape_char, pos)
            }
            ast::Expr::Like { negated, any: true, expr, pattern, escape_char: None } => {
                let op = if *negated { BinaryOperator::PGNotLikeMatch } else { BinaryOperator::PGLikeMatch };
                self.quantified(expr, &op, pattern, false, pos)
            }
            ast::Expr::ILike { negated, any: true, expr, pattern, escape_char: None } => {
                let op =
                    if *negated { BinaryOperator::PGNotILikeMatch } else { BinaryOperator::PGILikeMatch };
                self.quantified(expr, &op, pattern, false, pos)
            }
            ast::Expr::SimilarTo { negated, expr, pattern, escape_char } => self.like(
                if *negated { "NOT SIMILAR TO" } else { "SIMILAR TO" },
                expr,
                pattern,
                escape_char,
                pos,
            ),
            ast::Expr::Case { operand, conditions, else_result, .. } => {
                let otherwise = else_result.as_deref();
                self.in_conditional("CASE", |b| b.case(operand.as_deref(), conditions, otherwise, pos))
            }
            ast::Expr::AtTimeZone { timestamp, time_zone } => {
                self.operator("AT TIME ZONE", timestamp, time_zone, pos)
            }
            ast::Expr::Extract { field, expr, .. } => {
                let field = Typed::unknown(&field_name(field), pos);
                let value = self.expr(expr)?;
                self.call("extract", vec![field, value], pos)
            }
            ast::Expr::Ceil { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                self.call_on("ceil", &[expr], pos)
            }
            ast::Expr::Floor { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                self.call_on("floor", &[expr], pos)
            }
            ast::Expr::Position { expr, r#in } => self.call_on("position", &[r#in, expr], pos),
            ast::Expr::Substring { expr, substring_from, substring_for, special: _, shorthand: _ } => {
                let mut args = vec![self.expr(expr)?];
                match (substring_from, substring_for) {
                    (Some(from), length) => {
                        args.push(self.expr(from)?);
                        if let Some(length) = length {
                            args.push(self.expr(length)?);
                        }
                    }
                    (None, Some(length)) => {
                        args.push(self.number("1", pos)?);
                        args.push(self.expr(length)?);
                    }
                    (None, None) => {}
                }
                self.call("substring", args, pos)
            }
            ast::Expr::Trim { trim_where, trim_what, expr, trim_characters } => {
                let name = match trim_where {
                    None | Some(TrimWhereField::Both) => "btrim",
                    Some(TrimWhereField::Leading) => "ltrim",
                    Some(TrimWhereField::Trailing) => "rtrim",
                };
                let mut args = vec![self.expr(expr)?];
                if let Some(what) = trim_what {
                    args.push(self.expr(what)?);
                }
                for what in trim_characters.iter().flatten() {
                    args.push(self.expr(what)?);
                }
                self.call(name, args, pos)
            }
            ast::Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
                let mut args = vec![self.expr(expr)?, self.expr(overlay_what)?, self.expr(overlay_from)?];
                if let Some(length) = overlay_for {
                    args.push(self.expr(length)?);
                }
                self.call("overlay", args, pos)
            }
            ast::Expr::Collate { expr, collation } => {
                let name = collation.to_string();
                if !matches!(
                    name.as_str(),
                    "\"C\""
                        | "pg_catalog.\"C\""
                        | "\"POSIX\""
                        | "\"default\""
                        | "pg_catalog.default"
                        | "pg_catalog.\"default\""
                ) {
                    return Err(SqlError::unsupported(format!("the collation {name}")));
                }
                let inner = self.expr(expr)?;
                let inner = self.settle(inner)?;
                if !inner.ty.is_string() {
                    return Err(SqlError::new(
                        SqlState::DATATYPE_MISMATCH,
                        format!("collations are not supported by type {}", inner.ty),
                    ));
                }
                Ok(inner)
            }
            ast::Expr::Function(_) if row::items(expr).is_some() => row::alone(),
            ast::Expr::Function(function) => self.function(function),
            ast::Expr::Exists { subquery, negated } => self.exists(subquery, *negated, pos),
            ast::Expr::Subquery(query) => self.scalar_subquery(query, pos),
            ast::Expr::InSubquery { expr, subquery, negated } => {
                self.in_subquery(expr, subquery, *negated, pos)
            }
            ast::Expr::AnyOp { left, compare_op, right, .. } => {
                self.quantified(left, compare_op, right, false, pos)
            }
            ast::Expr::AllOp { left, compare_op, right } => {
                self.quantified(left, compare_op, right, true, pos)
            }
            ast::Expr::Tuple(_) => row::alone(),
            ast::Expr::Prefixed { .. } | ast::Expr::Convert { .. } => {
                Err(SqlError::unsupported(format!("the expression {expr}")))
            }
            other => Err(SqlError::unsupported(format!("the expression {other}"))),
        }
    }

    /// For `IS NULL`, which takes any type; something still unknown is read as text.
    pub(super) fn any_expr(&mut self, expr: &ast::Expr) -> Result<Expr, SqlError> {
        let typed = self.expr(expr)?;
        Ok(self.settle(typed)?.expr)
    }

    fn test(
        &mut self,
        expr: &ast::Expr,
        what: &str,
        make: impl FnOnce(Box<Expr>) -> Expr,
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        let typed = self.expr(expr)?;
        let typed = self.condition(typed, what)?;
        Ok(Typed::bool(make(Box::new(typed.expr)), pos))
    }

    fn interval(&mut self, interval: &Interval, pos: Option<u32>) -> Result<Typed, SqlError> {
        let plain = interval.leading_precision.is_none()
            && interval.last_field.is_none()
            && interval.fractional_seconds_precision.is_none();
        let text = match &*interval.value {
            ast::Expr::Value(v) => match &v.value {
                Value::SingleQuotedString(text) if plain => text.clone(),
                _ => return Err(SqlError::unsupported("this form of interval")),
            },
            _ => return Err(SqlError::unsupported("this form of interval")),
        };
        let text = match &interval.leading_field {
            None => text,
            Some(field) if text.trim().parse::<f64>().is_ok() => {
                format!("{} {}", text.trim(), field_name(field))
            }
            Some(field) => return Err(SqlError::unsupported(format!("interval {}", field_name(field)))),
        };
        self.cast(Typed::unknown(&text, pos), PgType::Interval, -1, CastContext::Explicit)
    }

    fn binary_op(
        &mut self,
        whole: &ast::Expr,
        left: &ast::Expr,
        op: &BinaryOperator,
        right: &ast::Expr,
    ) -> Result<Typed, SqlError> {
        match op {
            BinaryOperator::And | BinaryOperator::Or => return self.logical(whole, op),
            _ => {}
        }
        let pos = self.positions.after(left).or_else(|| self.positions.of(whole));
        if let (Some(l), Some(r)) = (row::items(left), row::items(right)) {
            return self.compare_rows(&l, op, &r, pos);
        }
        let name = operator_name(op)?;
        self.operator(&name, left, right, pos)
    }

    /// A chain of one of `AND`, `OR`; chains of any length bind without nesting.
    fn logical(&mut self, whole: &ast::Expr, op: &BinaryOperator) -> Result<Typed, SqlError> {
        let mut parts = Vec::new();
        flatten(whole, op, &mut parts);
        let name = if *op == BinaryOperator::And { "AND" } else { "OR" };
        let mut exprs = Vec::with_capacity(parts.len());
        for part in parts {
            let typed = self.expr(part)?;
            exprs.push(self.condition(typed, name)?.expr);
        }
        let op = if *op == BinaryOperator::And { Operator::And } else { Operator::Or };
        Ok(Typed::bool(self.chain(op, exprs)?, self.positions.of(whole)))
    }

    pub(super) fn operator(
        &mut self,
        name: &str,
        left: &ast::Expr,
        right: &ast::Expr,
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        let left = self.expr(left)?;
        let right = self.expr(right)?;
        self.apply_operator(name, left, right, pos)
    }

    pub(super) fn apply_operator(
        &mut self,
        name: &str,
        left: Typed,
        right: Typed,
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        let resolved = resolve_binary_operator(name, left.ty, right.ty).at(pos)?;
        let [l, r] = resolved.arg_types[..] else {
            return Err(SqlError::internal("an operator of two sides"));
        };
        let start = left.pos;
        let args = vec![self.coerce(left, l)?.expr, self.coerce(right, r)?.expr];
        Ok(Typed::new(resolved.call(args), resolved.result, start))
    }

    fn unary_op(
        &mut self,
        op: &UnaryOperator,
        inner: &ast::Expr,
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        let name = match op {
            UnaryOperator::Not => {
                let typed = self.expr(inner)?;
                let typed = self.condition(typed, "NOT")?;
                return Ok(Typed::bool(guard::negate(typed.expr), pos));
            }
            UnaryOperator::Minus => {
                // `-2147483648` is one number, as PostgreSQL's grammar has it.
                if let ast::Expr::Value(v) = inner
                    && let Value::Number(text, _) = &v.value
                {
                    return self.number(&format!("-{text}"), pos);
                }
                "-"
            }
            UnaryOperator::Plus => "+",
            UnaryOperator::BitwiseNot => "~",
            UnaryOperator::PGAbs => "@",
            UnaryOperator::PGSquareRoot => "|/",
            UnaryOperator::PGCubeRoot => "||/",
            other => return Err(SqlError::unsupported(format!("the operator {other}"))),
        };
        let typed = self.expr(inner)?;
        let resolved = resolve_unary_operator(name, typed.ty).at(pos)?;
        let Some(ty) = resolved.arg_types.first() else {
            return Err(SqlError::internal("an operator of one side"));
        };
        let arg = self.coerce(typed, *ty)?;
        Ok(Typed::new(resolved.call(vec![arg.expr]), resolved.result, pos))
    }

    fn case(
        &mut self,
        operand: Option<&ast::Expr>,
        conditions: &[ast::CaseWhen],
        otherwise: Option<&ast::Expr>,
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        let operand = operand.map(|o| self.expr(o)).transpose()?;
        if operand.as_ref().is_some_and(|o| o.expr.is_volatile()) {
            return Err(SqlError::unsupported("CASE over a volatile expression"));
        }
        let mut whens = Vec::with_capacity(conditions.len());
        // The ELSE comes first, as PostgreSQL has it when it looks for the common type.
        let mut results = vec![match otherwise {
            Some(e) => self.expr(e)?,
            None => Typed::null(pos),
        }];
        for when in conditions {
            let at = self.positions.of(&when.condition);
            let condition = self.expr(&when.condition)?;
            whens.push(match &operand {
                Some(operand) => {
                    let again = Typed { expr: self.copy(&operand.expr)?, ..operand.clone() };
                    self.apply_operator("=", again, condition, at)?
                }
                None => self.condition(condition, "CASE/WHEN")?,
            });
            results.push(self.expr(&when.result)?);
        }
        let (mut results, ty) = self.unify("CASE", results)?;
        let otherwise = results.remove(0);
        let when_then_expr = whens
            .into_iter()
            .zip(results)
            .map(|(when, then)| (Box::new(when.expr), Box::new(then.expr)))
            .collect();
        let expr = Expr::Case(Case { expr: None, when_then_expr, else_expr: Some(Box::new(otherwise.expr)) });
        Ok(Typed::new(expr, ty, pos))
    }

    fn call_on(&mut self, name: &str, args: &[&ast::Expr], pos: Option<u32>) -> Result<Typed, SqlError> {
        let args = args.iter().map(|a| self.expr(a)).collect::<Result<Vec<_>, _>>()?;
        self.call(name, args, pos)
    }

    /// A built-in scalar function.
    pub(super) fn call(&mut self, name: &str, args: Vec<Typed>, pos: Option<u32>) -> Result<Typed, SqlError> {
        let types: Vec<PgType> = args.iter().map(|a| a.ty).collect();
        let resolved = resolve_function(name, &types).at(pos)?;
        self.finish_call(&resolved, args, pos)
    }

    pub(super) fn finish_call(
        &mut self,
        resolved: &crate::func::Resolved,
        args: Vec<Typed>,
        pos: Option<u32>,
    ) -> Result<Typed, SqlError> {
        let mut exprs = Vec::with_capacity(args.len());
        for (arg, ty) in args.into_iter().zip(&resolved.arg_types) {
            exprs.push(self.coerce(arg, *ty)?.expr);
        }
        Ok(Typed::new(resolved.call(exprs), resolved.result, pos))
    }
}

/// Whether a condition is true (or is not), which is never unknown. DataFusion's own test says so of itself but becomes a
/// comparison that does not, and where the two must agree (under `DISTINCT`, `UNION`, `GROUP BY`) it cannot be planned.
fn truth(condition: Box<Expr>, is: bool) -> Expr {
    let constant = |value| Box::new(Expr::Literal(ScalarValue::Boolean(Some(value)), None));
    Expr::Case(Case {
        expr: None,
        when_then_expr: vec![(condition, constant(is))],
        else_expr: Some(constant(!is)),
    })
}

/// Reserved words that are functions without parentheses; the parser knows the others of their kind.
fn is_function(ident: &ast::Ident) -> bool {
    ident.quote_style.is_none() && matches!(fold(ident).as_str(), "current_schema" | "current_role")
}

/// The operator as PostgreSQL spells it.
pub(super) fn operator_name(op: &BinaryOperator) -> Result<String, SqlError> {
    Ok(match op {
        BinaryOperator::Plus => "+",
        BinaryOperator::Minus => "-",
        BinaryOperator::Multiply => "*",
        BinaryOperator::Divide => "/",
        BinaryOperator::Modulo => "%",
        BinaryOperator::PGExp => "^",
        BinaryOperator::StringConcat => "||",
        BinaryOperator::Eq => "=",
        BinaryOperator::NotEq => "<>",
        BinaryOperator::Lt => "<",
        BinaryOperator::LtEq => "<=",
        BinaryOperator::Gt => ">",
        BinaryOperator::GtEq => ">=",
        BinaryOperator::BitwiseAnd => "&",
        BinaryOperator::BitwiseOr => "|",
        BinaryOperator::PGBitwiseXor => "#",
        BinaryOperator::PGBitwiseShiftLeft => "<<",
        BinaryOperator::PGBitwiseShiftRight => ">>",
        BinaryOperator::PGRegexMatch => "~",
        BinaryOperator::PGRegexIMatch => "~*",
        BinaryOperator::PGRegexNotMatch => "!~",
        BinaryOperator::PGRegexNotIMatch => "!~*",
        BinaryOperator::PGLikeMatch => "~~",
        BinaryOperator::PGILikeMatch => "~~*",
        BinaryOperator::PGNotLikeMatch => "!~~",
        BinaryOperator::PGNotILikeMatch => "!~~*",
        BinaryOperator::AtArrow => "@>",
        BinaryOperator::ArrowAt => "<@",
        BinaryOperator::PGOverlap => "&&",
        BinaryOperator::PGCustomBinaryOperator(parts) => match &parts[..] {
            [schema, op] if schema == "pg_catalog" => return Ok(op.clone()),
            [op] => return Ok(op.clone()),
            _ => return Err(SqlError::unsupported(format!("the operator {}", parts.join(".")))),
        },
        other => return Err(SqlError::unsupported(format!("the operator {other}"))),
    }
    .to_string())
}

/// Without its parentheses.
pub(super) fn strip(expr: &ast::Expr) -> &ast::Expr {
    match expr {
        ast::Expr::Nested(inner) => strip(inner),
        other => other,
    }
}

pub(super) fn flatten<'a>(expr: &'a ast::Expr, op: &BinaryOperator, out: &mut Vec<&'a ast::Expr>) {
    // The parser builds chains to the left, so only the left side is walked down.
    let mut rights = Vec::new();
    let mut at = expr;
    while let ast::Expr::BinaryOp { left, op: this, right } = strip(at) {
        if this != op {
            break;
        }
        rights.push(&**right);
        at = left;
    }
    out.push(at);
    out.extend(rights.into_iter().rev());
}

fn field_name(field: &DateTimeField) -> String {
    match field {
        DateTimeField::Custom(ident) => fold(ident),
        other => other.to_string().to_ascii_lowercase(),
    }
}
