//! Keys: values whose Arrow equality and order are SQL's.

use super::catalog::{Catalog, Options};
use super::kind::*;
use crate::row::ordered_bytes;
use crate::types::numeric::NumericBytes;
use crate::types::{Datum, PgType, datum_at};
use datafusion::arrow::array::BinaryBuilder;
use std::sync::Arc;

/// Name that EXPLAIN shows for the key of a value.
pub(crate) const KEY: &str = "key";

pub(super) fn register(c: &mut Catalog) {
    let mut key = |ty: PgType, result: PgType, body: Body| {
        let (_, udf) = c.make(KEY, &[ty], result, Options::default(), body);
        c.keys.insert(ty, udf);
    };
    key(
        PgType::Numeric,
        PgType::Bytea,
        Arc::new(|args, rows| {
            let encoded = Num::view(args[0].array.as_ref())?;
            let mut out = BinaryBuilder::with_capacity(rows, rows * 8);
            for row in 0..rows {
                if args[0].is_null(row) {
                    out.append_null();
                } else {
                    out.append_value(NumericBytes::key_of(encoded.value(args[0].row(row))));
                }
            }
            Ok(Arc::new(out.finish()))
        }),
    );
    // Arrow orders floats totally: one zero and one NaN (the positive, which is last) make that SQL's order.
    key(PgType::Float8, PgType::Float8, map1::<Float8, Float8>(|v| Ok(Some(plain_f64(v)))));
    key(PgType::Float4, PgType::Float4, map1::<Float4, Float4>(|v| Ok(Some(plain_f64(f64::from(v)) as f32))));
    key(
        PgType::Bpchar,
        PgType::Text,
        map1::<Bpchar, Text>(|v| Ok(Some(v.trim_end_matches(' ').to_string()))),
    );
    key(
        PgType::Interval,
        PgType::Bytea,
        map1::<Interval, Bytea>(|v| {
            let ordered = (v.comparison_value() as u128) ^ (1 << 127);
            Ok(Some(ordered.to_be_bytes().to_vec()))
        }),
    );
    for ty in PgType::all().chain(PgType::arrays()).filter(|ty| ty.element().is_some()) {
        key(
            ty,
            PgType::Bytea,
            Arc::new(move |args, rows| {
                let mut out = BinaryBuilder::new();
                for row in 0..rows {
                    match datum_at(args[0].array.as_ref(), args[0].row(row), ty)? {
                        Datum::Null => out.append_null(),
                        array => out.append_value(ordered_bytes(ty, &array)?),
                    }
                }
                Ok(Arc::new(out.finish()))
            }),
        );
    }
}

fn plain_f64(v: f64) -> f64 {
    if v.is_nan() {
        f64::NAN.abs()
    } else if v == 0.0 {
        0.0
    } else {
        v
    }
}
