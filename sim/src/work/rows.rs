//! Rows of which workloads make theirs: numbers, one after the other.

use quorate_proto::Value;
use std::collections::BTreeMap;

pub fn encode(words: &[u64]) -> Value {
    words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>().into()
}

/// `None`: that is not a row of numbers.
pub fn decode(row: &[u8]) -> Option<Vec<u64>> {
    let words = row.chunks(8).map(|word| word.try_into().ok().map(u64::from_be_bytes));
    words.collect()
}

/// The first number.
pub fn number(row: &[u8]) -> Option<u64> {
    decode(row)?.first().copied()
}

/// Of the rows of these sorts that have numbers for keys: theirs, and their first numbers.
pub fn numbered(rows: &BTreeMap<Vec<u8>, Value>, sorts: &[u8]) -> BTreeMap<u64, u64> {
    let rows = rows.iter().filter(|(key, _)| sorts.contains(&key[0]));
    rows.filter_map(|(key, row)| Some((number(&key[1..])?, number(row)?))).collect()
}

/// Rows as workloads find them in the end: sort, number, what stands there.
#[cfg(test)]
pub fn table(rows: &[(u8, u64, u64)]) -> BTreeMap<Vec<u8>, Value> {
    let key = |sort: u8, number: u64| [&[sort], &number.to_be_bytes()[..]].concat();
    rows.iter().map(|(sort, number, value)| (key(*sort, *number), encode(&[*value]))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_rows_are_told_by_their_sorts() {
        let rows = table(&[(1, 7, 70), (2, 8, 80), (3, 9, 90)]);
        assert_eq!(numbered(&rows, &[1, 3]), BTreeMap::from([(7, 70), (9, 90)]));
    }

    #[test]
    fn numbers_come_back() {
        assert_eq!(decode(&encode(&[1, u64::MAX])), Some(vec![1, u64::MAX]));
        assert_eq!(decode(&[]), Some(Vec::new()));
        assert_eq!(decode(&[1, 2, 3]), None);
        assert_eq!((number(&encode(&[7, 8])), number(&[])), (Some(7), None));
    }
}
