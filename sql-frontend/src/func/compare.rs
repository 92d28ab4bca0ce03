//! Comparison operators: which pairs of types have them, and the type both sides are compared in.

use super::catalog::Catalog;
use crate::types::PgType as T;
use datafusion::logical_expr::Operator;

const OPERATORS: [(&str, Operator); 7] = [
    ("=", Operator::Eq),
    ("<>", Operator::NotEq),
    ("<", Operator::Lt),
    ("<=", Operator::LtEq),
    (">", Operator::Gt),
    (">=", Operator::GtEq),
    ("!=", Operator::NotEq),
];

pub(super) fn register(c: &mut Catalog) {
    let same = [
        T::Bool,
        T::Int2,
        T::Int4,
        T::Int8,
        T::Float4,
        T::Float8,
        T::Numeric,
        T::Text,
        T::Bpchar,
        T::Name,
        T::Char,
        T::Bytea,
        T::Uuid,
        T::Date,
        T::Time,
        T::Timestamp,
        T::Timestamptz,
        T::Interval,
        T::Oid,
    ];
    // Across types, as pg_operator has them, with the type that holds both sides.
    let across = [
        (T::Int2, T::Int4, T::Int4),
        (T::Int2, T::Int8, T::Int8),
        (T::Int4, T::Int8, T::Int8),
        (T::Float4, T::Float8, T::Float8),
        (T::Date, T::Timestamp, T::Timestamp),
        (T::Date, T::Timestamptz, T::Timestamptz),
        (T::Timestamp, T::Timestamptz, T::Timestamptz),
        (T::Name, T::Text, T::Text),
    ];
    for (name, op) in OPERATORS {
        for ty in same {
            c.compare(name, op, [ty, ty], ty);
        }
        for (a, b, work) in across {
            c.compare(name, op, [a, b], work);
            c.compare(name, op, [b, a], work);
        }
    }
}
