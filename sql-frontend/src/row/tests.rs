//! Order and round trips of keys, values and whole rows.

use super::{entry::row_key_of_entry, key::split_prefix, *};
use crate::{
    catalog::*,
    types::{Datum, Interval, Numeric, PgType},
};
use proptest::prelude::*;
use std::cmp::Ordering;

fn datum(ty: PgType) -> BoxedStrategy<Datum> {
    let value = match ty {
        PgType::Bool => any::<bool>().prop_map(Datum::Bool).boxed(),
        PgType::Int2 => any::<i16>().prop_map(Datum::Int2).boxed(),
        PgType::Int4 => any::<i32>().prop_map(Datum::Int4).boxed(),
        PgType::Int8 => any::<i64>().prop_map(Datum::Int8).boxed(),
        PgType::Float4 => any::<f32>().prop_map(Datum::Float4).boxed(),
        PgType::Float8 => any::<f64>().prop_map(Datum::Float8).boxed(),
        PgType::Numeric => {
            (any::<i64>(), 0u32..12).prop_map(|(d, s)| Datum::Numeric(Numeric::new(d, s))).boxed()
        }
        PgType::Bytea => any::<Vec<u8>>().prop_map(Datum::Bytea).boxed(),
        PgType::Uuid => any::<[u8; 16]>().prop_map(Datum::Uuid).boxed(),
        PgType::Date => any::<i32>().prop_map(Datum::Date).boxed(),
        PgType::Time => any::<i64>().prop_map(Datum::Time).boxed(),
        PgType::Timestamp => any::<i64>().prop_map(Datum::Timestamp).boxed(),
        PgType::Timestamptz => any::<i64>().prop_map(Datum::Timestamptz).boxed(),
        PgType::Interval => (-1000i32..1000, -1000i32..1000, any::<i32>())
            .prop_map(|(months, days, micros)| {
                Datum::Interval(Interval { months, days, micros: i64::from(micros) * 1000 })
            })
            .boxed(),
        PgType::Oid => any::<u32>().prop_map(Datum::Oid).boxed(),
        _ => "[a-c\\x00-\\x03 ]{0,6}".prop_map(Datum::Text).boxed(),
    };
    prop_oneof![1 => Just(Datum::Null), 6 => value].boxed()
}

const TYPES: [PgType; 17] = [
    PgType::Bool,
    PgType::Int2,
    PgType::Int4,
    PgType::Int8,
    PgType::Float4,
    PgType::Float8,
    PgType::Numeric,
    PgType::Text,
    PgType::Varchar,
    PgType::Bytea,
    PgType::Uuid,
    PgType::Date,
    PgType::Time,
    PgType::Timestamp,
    PgType::Timestamptz,
    PgType::Interval,
    PgType::Oid,
];

fn pair() -> impl Strategy<Value = (PgType, Datum, Datum)> {
    prop::sample::select(TYPES.to_vec()).prop_flat_map(|ty| (Just(ty), datum(ty), datum(ty)))
}

fn ordered(a: &Datum, b: &Datum, ty: PgType) -> Ordering {
    match (a.is_null(), b.is_null()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        _ => a.compare(b, ty).unwrap(),
    }
}

fn same(a: &Datum, b: &Datum) -> bool {
    match (a, b) {
        (Datum::Float4(a), Datum::Float4(b)) => a.to_bits() == b.to_bits(),
        (Datum::Float8(a), Datum::Float8(b)) => a.to_bits() == b.to_bits(),
        _ => a == b,
    }
}

fn column(id: u32, name: &str, ty: PgType) -> ColumnDescriptor {
    ColumnDescriptor {
        id,
        name: name.into(),
        ty,
        nullable: true,
        default: None,
        hidden: false,
        sequence: None,
        missing: None,
        typmod: -1,
        leaving: false,
    }
}

fn index(id: u32, columns: &[(u32, bool)], unique: bool) -> IndexDescriptor {
    IndexDescriptor {
        id,
        name: format!("i{id}"),
        columns: columns.iter().map(|&(column, descending)| IndexColumn { column, descending }).collect(),
        unique,
        state: IndexState::Public,
        plain: false,
    }
}

fn table() -> TableDescriptor {
    TableDescriptor {
        id: 7,
        schema: "public".into(),
        name: "t".into(),
        columns: TYPES.iter().enumerate().map(|(i, &ty)| column(i as u32 + 1, ty.name(), ty)).collect(),
        primary: index(1, &[(4, true), (7, false), (8, false)], true),
        indexes: vec![index(2, &[(8, true), (2, false)], false), index(3, &[(3, false)], true)],
        version: 1,
        next_column_id: 20,
        next_index_id: 4,
        state: TableState::Public,
        checks: vec![],
        closed: false,
    }
}

fn row() -> impl Strategy<Value = Vec<Datum>> {
    TYPES.iter().map(|&ty| datum(ty)).collect::<Vec<_>>()
}

proptest! {
    #[test]
    fn keys_keep_order((ty, a, b) in pair(), descending: bool) {
        let key = |d: &Datum| {
            let mut out = Vec::new();
            column_to_key(&mut out, ty, d, descending).unwrap();
            out
        };
        let (x, y) = (key(&a), key(&b));
        let order = ordered(&a, &b, ty);
        prop_assert_eq!(if descending { order.reverse() } else { order }, x.cmp(&y));
        let mut followed = x.clone();
        followed.extend_from_slice(&[0, 0xff, 1]);
        let mut rest = &followed[..];
        let back = column_from_key(&mut rest, ty, descending).unwrap();
        prop_assert_eq!(rest, &[0, 0xff, 1][..]);
        prop_assert_eq!(ordered(&back, &a, ty), Ordering::Equal);
        if is_exact_in_key(ty) {
            prop_assert_eq!(&back, &a);
        }
        let mut rest = &followed[..];
        key::skip_column(&mut rest, ty, descending).unwrap();
        prop_assert_eq!(rest.len(), 3);
    }

    #[test]
    fn rows_come_back(row in row()) {
        let table = table();
        let (key, value) = encode_row(&table, &row).unwrap();
        prop_assert_eq!(split_prefix(&key).map(|(t, i, _)| (t, i)), Some((7, 1)));
        prop_assert!(index_span(7, 1).contains(&key) && table_span(7).contains(&key));
        let all: Vec<usize> = (0..TYPES.len()).collect();
        let mut out = Vec::new();
        RowDecoder::for_rows(&table, &all).unwrap().decode(&key, &value, &mut out).unwrap();
        for (a, b) in row.iter().zip(&out) {
            prop_assert!(same(a, b), "{:?} {:?}", a, b);
        }
        RowDecoder::for_rows(&table, &[9, 3]).unwrap().decode(&key, &value, &mut out).unwrap();
        prop_assert!(out[0] == row[9] && out[1] == row[3]);
        for index in &table.indexes {
            let entry = index_entry(&table, index, &row).unwrap();
            prop_assert_eq!(row_key_of_entry(&table, index, &entry.key, &entry.value).unwrap(), key.clone());
        }
        let entry = index_entry(&table, &table.indexes[0], &row).unwrap();
        let covering = RowDecoder::for_index(&table, &table.indexes[0], &[3, 1, 7]).unwrap().unwrap();
        covering.decode(&entry.key, &entry.value, &mut out).unwrap();
        prop_assert!(out[0] == row[3] && out[1] == row[1] && out[2] == row[7]);
        let unique = index_entry(&table, &table.indexes[1], &row).unwrap();
        prop_assert_eq!(unique.exclusive, !row[2].is_null());
    }

    #[test]
    fn malformed_rows_are_errors(key: Vec<u8>, value: Vec<u8>) {
        let table = table();
        let all: Vec<usize> = (0..TYPES.len()).collect();
        let mut out = Vec::new();
        let mut full = index_prefix(7, 1);
        full.extend_from_slice(&key);
        let _ = RowDecoder::for_rows(&table, &all).unwrap().decode(&full, &value, &mut out);
        let _ = row_key_of_entry(&table, &table.indexes[0], &full, &[]);
    }
}

#[test]
fn a_column_added_later_has_its_missing_value() {
    let mut table = table();
    let all: Vec<usize> = (0..TYPES.len()).collect();
    let row: Vec<Datum> = TYPES.iter().map(|_| Datum::Null).collect();
    let (key, value) = encode_row(&table, &row).unwrap();
    let mut added = column(19, "added", PgType::Int4);
    added.missing = Some(value::encode_missing(&Datum::Int4(5)));
    table.columns.push(added);
    let wanted: Vec<usize> = all.into_iter().chain([TYPES.len()]).collect();
    let mut out = Vec::new();
    let decoder = RowDecoder::for_rows(&table, &wanted).unwrap();
    decoder.decode(&key, &value, &mut out).unwrap();
    assert_eq!(out[TYPES.len()], Datum::Int4(5));
    let (key, value) = encode_row(&table, &out.iter().map(|_| Datum::Null).collect::<Vec<_>>()).unwrap();
    decoder.decode(&key, &value, &mut out).unwrap();
    assert_eq!(out[TYPES.len()], Datum::Null);
}
