//! The length coercion of each type: what a type modifier does to a value.

use super::datetime::{calendar, round_micros};
use super::typmod::{chars, seconds};
use super::{Datum, PgType};
use crate::{Result, SqlError, SqlState};

/// Fits a value to its type modifier. Where text is too long, an explicit cast cuts it; otherwise only blanks may go (22001).
pub(crate) fn coerce(value: Datum, ty: PgType, typmod: i32, explicit: bool) -> Result<Datum> {
    if typmod < 0 {
        return Ok(value);
    }
    Ok(match value {
        Datum::Numeric(n) => Datum::Numeric(n.with_typmod(typmod)?),
        Datum::Text(s) if matches!(ty, PgType::Varchar | PgType::Bpchar) => match chars(typmod) {
            Some(n) => Datum::Text(fit(s, n, ty, explicit)?),
            None => Datum::Text(s),
        },
        Datum::Time(t) => Datum::Time(seconds(typmod).map_or(t, |p| round_micros(t, p))),
        Datum::Timestamp(t) => Datum::Timestamp(fit_timestamp(t, typmod)?),
        Datum::Timestamptz(t) => Datum::Timestamptz(fit_timestamp(t, typmod)?),
        Datum::Interval(i) => Datum::Interval(seconds(typmod).map_or(i, |p| i.with_precision(p))),
        other => other,
    })
}

/// A timestamp rounded to the modifier's digits.
pub(crate) fn fit_timestamp(micros: i64, typmod: i32) -> Result<i64> {
    match seconds(typmod) {
        Some(p) if !matches!(micros, i64::MIN | i64::MAX) => {
            calendar::check_timestamp(i128::from(round_micros(micros, p)))
        }
        _ => Ok(micros),
    }
}

/// Text fitted to `n` characters; bpchar is padded with blanks.
pub(crate) fn fit(text: String, n: usize, ty: PgType, explicit: bool) -> Result<String> {
    // Bytes bound characters from above, so most values need no counting.
    let count = if text.len() <= n && text.is_ascii() { text.len() } else { text.chars().count() };
    if count <= n {
        let mut text = text;
        if ty == PgType::Bpchar {
            text.extend(std::iter::repeat_n(' ', n - count));
        }
        return Ok(text);
    }
    let cut = text.char_indices().nth(n).map_or(text.len(), |(at, _)| at);
    if !explicit && text[cut..].bytes().any(|b| b != b' ') {
        return Err(SqlError::new(
            SqlState::STRING_DATA_RIGHT_TRUNCATION,
            format!("value too long for type {}({n})", ty.sql_name()),
        ));
    }
    let mut text = text;
    text.truncate(cut);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::TimeZone;

    #[test]
    fn assignments_refuse_and_casts_cut() {
        let typmod = PgType::Varchar.typmod(&[3]).unwrap();
        let assign = |s| Datum::from_text(PgType::Varchar, s, typmod, &TimeZone::UTC);
        assert_eq!(assign("abc  ").unwrap(), Datum::from("abc"));
        let refused = assign("abcd").unwrap_err();
        assert_eq!(
            (refused.sqlstate.0, refused.message.as_str()),
            ("22001", "value too long for type character varying(3)")
        );
        assert_eq!(coerce("äöüß".into(), PgType::Varchar, typmod, true).unwrap(), "äöü".into());
        assert_eq!(coerce("a".into(), PgType::Bpchar, typmod, false).unwrap(), "a  ".into());
        assert_eq!(
            coerce(Datum::Timestamp(1_234_567), PgType::Timestamp, 3, false).unwrap(),
            Datum::Timestamp(1_235_000)
        );
    }
}
