//! Keeping errors where PostgreSQL has them.
//!
//! PostgreSQL stops evaluating `a AND b` at a false `a`; DataFusion may evaluate both sides on all rows, and its optimizer
//! may move conjuncts around. Where an operand can fail (`x <> 0 AND 1 / x > 2`), a `CASE` keeps it from being
//! evaluated on rows that the operands before it have decided. Columns, literals and comparisons of them cannot fail and
//! stay plain, so that they can be pushed to key spans.
//!
//! A `CASE` has two outcomes for a condition and SQL has three, so a guarded expression is a pair of two-valued ones:
//! whether it is true ([`Lenses::sure`]) and whether it is not false ([`Lenses::possible`]). `AND`, `OR` and `NOT` work on
//! either by itself, so each operand occurs once in each however deep they nest; a chain is one flat `CASE`.

use super::Binder;
use crate::error::{SqlError, SqlState};
use crate::exec::program::unkey;
use crate::func::widening;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::{Alias, Case};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, and, not, or};
use std::collections::BTreeSet;

/// What marks a guarded expression: no statement can write an alias inside an expression.
const MARK: &str = "?guarded";

/// Nodes of expressions that binding one statement may duplicate.
const MAX_COPIED: usize = 1_000_000;

/// Whether evaluating it may raise an error.
pub(super) fn can_fail(expr: &Expr) -> bool {
    let mut fails = false;
    let walked = expr.apply(|e| {
        let safe = match e {
            Expr::Column(_)
            | Expr::Literal(..)
            | Expr::Placeholder(_)
            | Expr::Not(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsTrue(_)
            | Expr::IsFalse(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNotFalse(_)
            | Expr::IsNotUnknown(_)
            | Expr::InList(_)
            | Expr::Case(_)
            | Expr::Alias(_) => true,
            Expr::BinaryExpr(BinaryExpr { op, .. }) => is_safe_operator(*op),
            other => {
                let inner = unkey(other);
                !std::ptr::eq(inner, other) || widening(other).is_some()
            }
        };
        fails |= !safe;
        Ok(if fails { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    fails || walked.is_err()
}

fn is_safe_operator(op: Operator) -> bool {
    use Operator::*;
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | And | Or | IsDistinctFrom | IsNotDistinctFrom)
}

/// A condition of three values as two of two.
struct Lenses {
    /// It is true. (Null means no.)
    sure: Expr,
    /// It is not false; never null.
    possible: Expr,
}

impl Lenses {
    fn into_expr(self) -> Expr {
        let unknown = Expr::Alias(Alias::new(constant(None), None::<&str>, MARK));
        Expr::Case(Case {
            expr: None,
            when_then_expr: vec![
                (Box::new(self.sure), Box::new(constant(Some(true)))),
                (Box::new(not(self.possible)), Box::new(constant(Some(false)))),
            ],
            else_expr: Some(Box::new(unknown)),
        })
    }
}

fn constant(value: Option<bool>) -> Expr {
    Expr::Literal(ScalarValue::Boolean(value), None)
}

fn is_guarded(expr: &Expr) -> bool {
    matches!(expr, Expr::Case(Case { else_expr: Some(e), .. }) if matches!(&**e, Expr::Alias(a) if a.name == MARK))
}

/// Where null counts as false, less is left to evaluate.
fn condition(expr: Expr) -> Expr {
    match expr {
        Expr::Case(mut case) if is_guarded(&Expr::Case(case.clone())) => {
            *case.when_then_expr.swap_remove(0).0
        }
        other => other,
    }
}

/// `NOT expr`.
pub(super) fn negate(expr: Expr) -> Expr {
    if !is_guarded(&expr) {
        return not(expr);
    }
    match take_lenses(expr) {
        Ok(Lenses { sure, possible }) => {
            Lenses { sure: not(possible), possible: Expr::IsNotTrue(Box::new(sure)) }.into_expr()
        }
        Err(expr) => not(expr),
    }
}

fn take_lenses(expr: Expr) -> Result<Lenses, Expr> {
    if !is_guarded(&expr) {
        return Err(expr);
    }
    let Expr::Case(case) = expr else { return Err(expr) };
    let mut whens = case.when_then_expr.into_iter().map(|(when, _)| *when);
    match (whens.next(), whens.next()) {
        (Some(sure), Some(Expr::Not(possible))) => Ok(Lenses { sure, possible: *possible }),
        _ => unreachable!("a guarded expression has two branches"),
    }
}

fn plain(op: Operator, left: Expr, right: Expr) -> Expr {
    if op == Operator::And { and(left, right) } else { or(left, right) }
}

/// A chain without guards, as a tree that is not deep.
fn balanced(op: Operator, mut operands: Vec<Expr>) -> Expr {
    match operands.len() {
        0 => constant(Some(op == Operator::And)),
        1 => operands.remove(0),
        n => {
            let right = operands.split_off(n / 2);
            plain(op, balanced(op, operands), balanced(op, right))
        }
    }
}

/// Neighbours that cannot fail become one.
fn grouped(op: Operator, operands: Vec<Expr>) -> Vec<Expr> {
    let mut groups = Vec::new();
    let mut run = Vec::new();
    for operand in operands {
        if can_fail(&operand) {
            if !run.is_empty() {
                groups.push(balanced(op, std::mem::take(&mut run)));
            }
            groups.push(operand);
        } else {
            run.push(operand);
        }
    }
    if !run.is_empty() {
        groups.push(balanced(op, run));
    }
    groups
}

/// The last operand decides when none before it has: `stop` tells whether one has.
fn flat(op: Operator, mut operands: Vec<Expr>, stop: impl Fn(Expr) -> Expr) -> Expr {
    let Some(last) = operands.pop() else { return constant(Some(op == Operator::And)) };
    if operands.is_empty() {
        return last;
    }
    let decided = constant(Some(op == Operator::Or));
    let whens = operands.into_iter().map(|e| (Box::new(stop(e)), Box::new(decided.clone()))).collect();
    Expr::Case(Case { expr: None, when_then_expr: whens, else_expr: Some(Box::new(last)) })
}

/// Conjuncts by which a row passes when all are true, evaluated from the first.
fn all_true(operands: Vec<Expr>) -> Expr {
    let operands = grouped(Operator::And, operands).into_iter().map(condition).collect();
    flat(Operator::And, operands, |e| Expr::IsNotTrue(Box::new(e)))
}

impl Binder<'_> {
    /// A second use of an expression. 54001 when a statement duplicates too much: nested, that grows exponentially.
    pub(super) fn copy(&mut self, expr: &Expr) -> Result<Expr, SqlError> {
        let mut nodes = 0;
        expr.apply(|_| {
            nodes += 1;
            Ok(TreeNodeRecursion::Continue)
        })?;
        self.copied += nodes;
        if self.copied > MAX_COPIED {
            return Err(SqlError::new(SqlState::STATEMENT_TOO_COMPLEX, "statement too complex")
                .hint("Its conditions nest in a way that multiplies their parts."));
        }
        Ok(expr.clone())
    }

    /// `a AND b AND …` or `a OR b OR …` by three-valued logic, evaluated from the left.
    pub(super) fn chain(&mut self, op: Operator, operands: Vec<Expr>) -> Result<Expr, SqlError> {
        let guards = operands.iter().any(is_guarded) || operands.iter().skip(1).any(can_fail);
        // What is volatile must not be evaluated twice.
        if !guards || operands.iter().any(Expr::is_volatile) {
            return Ok(balanced(op, operands));
        }
        let (mut sure, mut possible) = (vec![], vec![]);
        for operand in grouped(op, operands) {
            let lenses = match take_lenses(operand) {
                Ok(lenses) => lenses,
                Err(plain) => {
                    let again = self.copy(&plain)?;
                    Lenses { sure: plain, possible: Expr::IsNotFalse(Box::new(again)) }
                }
            };
            sure.push(lenses.sure);
            possible.push(lenses.possible);
        }
        let lenses = if op == Operator::And {
            Lenses {
                sure: flat(op, sure, |e| Expr::IsNotTrue(Box::new(e))),
                possible: flat(op, possible, not),
            }
        } else {
            Lenses { sure: flat(op, sure, |e| e), possible: flat(op, possible, |e| e) }
        };
        Ok(lenses.into_expr())
    }

    /// Conjuncts of a filter, in the order they were written: a row passes when all are true. Those that can fail are
    /// evaluated only where those before them are true that need no other relations, so that each can still be moved
    /// to where its rows come from; PostgreSQL does so too.
    pub(super) fn filters(&mut self, conjuncts: Vec<Expr>) -> Result<Vec<Expr>, SqlError> {
        let used: Vec<BTreeSet<String>> = conjuncts.iter().map(relations).collect();
        let fails: Vec<bool> = conjuncts.iter().map(can_fail).collect();
        let mut out = Vec::with_capacity(conjuncts.len());
        let mut done = BTreeSet::new();
        for (at, conjunct) in conjuncts.iter().enumerate() {
            if !fails[at] || conjunct.is_volatile() {
                out.push(condition(self.copy(conjunct)?));
                continue;
            }
            if !done.insert(&used[at]) {
                continue;
            }
            // All of the same relations go into one.
            let last = (at..conjuncts.len()).rev().find(|i| fails[*i] && used[*i] == used[at]).unwrap_or(at);
            let mut chain = Vec::new();
            for i in (0..=last).filter(|i| used[*i].is_subset(&used[at]) && !conjuncts[*i].is_volatile()) {
                chain.push(self.copy(&conjuncts[i])?);
            }
            out.push(all_true(chain));
        }
        Ok(out)
    }
}

/// The relations that an expression needs; what a subquery answers is one by itself.
fn relations(expr: &Expr) -> BTreeSet<String> {
    expr.column_refs()
        .into_iter()
        .map(|c| c.relation.as_ref().map_or_else(|| format!(".{}", c.name), ToString::to_string))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::{col, lit};

    fn size(expr: &Expr) -> usize {
        let mut nodes = 0;
        expr.apply(|_| {
            nodes += 1;
            Ok(TreeNodeRecursion::Continue)
        })
        .unwrap();
        nodes
    }

    #[test]
    fn a_chain_of_guarded_conditions_is_negated_without_growing() {
        let lenses = Lenses { sure: col("a"), possible: col("b") };
        let once = lenses.into_expr();
        let twice = negate(negate(once.clone()));
        assert!(is_guarded(&twice) && size(&twice) < size(&once) + 5);
        assert_eq!(condition(once), col("a"));
        assert_eq!(negate(lit(true)), not(lit(true)));
    }

    #[test]
    fn neighbours_that_cannot_fail_stand_together() {
        let divided = col("x") / lit(2);
        let groups = grouped(Operator::And, vec![col("a"), col("b"), divided.clone(), col("c")]);
        assert_eq!(groups, vec![and(col("a"), col("b")), divided, col("c")]);
    }
}
