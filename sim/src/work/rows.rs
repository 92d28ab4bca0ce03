//! Rows of which workloads make theirs: numbers, one after the other.

use quorate_proto::Value;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        assert_eq!(decode(&encode(&[1, u64::MAX])), Some(vec![1, u64::MAX]));
        assert_eq!(decode(&[]), Some(Vec::new()));
        assert_eq!(decode(&[1, 2, 3]), None);
        assert_eq!((number(&encode(&[7, 8])), number(&[])), (Some(7), None));
    }
}
