//! Keeping errors where PostgreSQL has them.
//!
//! PostgreSQL stops evaluating `a AND b` at a false `a`; DataFusion may evaluate both sides on all rows, and its optimizer
//! may move conjuncts around. Where the right side can fail (`x <> 0 AND 1 / x > 2`), a `CASE` keeps it from being
//! evaluated on rows that the left side has decided. Columns, literals and comparisons of them cannot fail and stay plain,
//! so that they can be pushed to key spans.

use crate::exec::program::unkey;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, and, or};

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
                !std::ptr::eq(inner, other)
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

/// `left AND right` by three-valued logic, evaluated from the left.
pub(super) fn and_then(left: Expr, right: Expr) -> Expr {
    if !can_fail(&right) {
        return and(left, right);
    }
    let no = Expr::Literal(ScalarValue::from(false), None);
    let is_false = Expr::IsFalse(Box::new(left.clone()));
    case(is_false, no, and(left, right))
}

/// `left OR right`, likewise.
pub(super) fn or_else(left: Expr, right: Expr) -> Expr {
    if !can_fail(&right) {
        return or(left, right);
    }
    let yes = Expr::Literal(ScalarValue::from(true), None);
    let is_true = Expr::IsTrue(Box::new(left.clone()));
    case(is_true, yes, or(left, right))
}

/// Conjuncts of a filter, in the order they were written: a row passes when all are true. Those that can fail are evaluated
/// only where all before them are true.
pub(super) fn filters(conjuncts: Vec<Expr>) -> Vec<Expr> {
    let mut out: Vec<Expr> = Vec::with_capacity(conjuncts.len());
    let mut before: Option<Expr> = None;
    for conjunct in conjuncts {
        let guarded = match &before {
            Some(passed) if can_fail(&conjunct) => {
                let no = Expr::Literal(ScalarValue::from(false), None);
                case(passed.clone(), conjunct.clone(), no)
            }
            _ => conjunct.clone(),
        };
        out.push(guarded);
        before = Some(match before {
            Some(passed) => and_then(passed, conjunct),
            None => conjunct,
        });
    }
    out
}

fn case(when: Expr, then: Expr, otherwise: Expr) -> Expr {
    Expr::Case(Case {
        expr: None,
        when_then_expr: vec![(Box::new(when), Box::new(then))],
        else_expr: Some(Box::new(otherwise)),
    })
}
