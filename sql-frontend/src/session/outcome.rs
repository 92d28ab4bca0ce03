//! Records of transactions under idempotency keys (PROTOCOL 17), and `quorate.transaction_outcome`, which reads them.
//!
//! A record counts for a limited time ([`super::expiry`]). It lies where its user and key alone lead:
//! [`prefix::IDEMPOTENCY`] ++ first 8 bytes of SHA-256(user, 0, key) ++ user ++ key, both order-preserving. The transaction writes it
//! like a row, on condition that there is none; so it is there if and only if the transaction has committed, and its version's
//! timestamp is the commit's. The value is [`Record`] in CBOR.

use super::expiry;
use super::functions::{Function, lenient, string, wait};
use super::view::SessionView;
use crate::{
    error::{SqlError, SqlState},
    server::Shared,
    session::errors::from_txn,
    types::{Datum, PgType},
};
use PgType::{Bool, Text};
use minicbor::{Decode, Encode};
use quorate_proto::{Key, KvError, Timestamp, TxnId, Value, key::prefix, ordered, rpc};
use quorate_txn::{Txn, TxnError, TxnOptions};
use sha2::{Digest, Sha256};

/// What became of the transactions under a key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Record {
    #[n(0)]
    Committed(#[n(0)] Done),
    /// None has committed, and as long as this counts none will.
    #[n(1)]
    Aborted(#[n(0)] Timestamp),
}

/// A transaction that has committed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Done {
    #[n(0)]
    pub txn: TxnId,
    /// What the client was answered, statement by statement; none where that was too much to keep.
    #[n(1)]
    pub answers: Option<Vec<Answer>>,
    /// When it began.
    #[n(2)]
    pub began: Timestamp,
}

/// The answer to one statement.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Answer {
    /// Of the statement and its parameters: the first 16 bytes of a SHA-256.
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub statement: [u8; 16],
    /// Messages of the protocol: the rows, and what was noticed on the way; without their description.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub rows: Vec<u8>,
    #[n(2)]
    pub tag: String,
    /// How the rows' columns are written, as a Bind message says it.
    #[n(3)]
    pub formats: Vec<i16>,
}

impl Record {
    pub fn encode(&self) -> Value {
        Value(rpc::encode(self))
    }

    pub fn decode(raw: &[u8]) -> Result<Self, SqlError> {
        minicbor::decode(raw)
            .map_err(|error| SqlError::internal(format!("an idempotency record cannot be read: {error}")))
    }

    /// When the transaction that wrote it began; none if it cannot be read.
    pub fn began(raw: &[u8]) -> Option<Timestamp> {
        match Record::decode(raw).ok()? {
            Record::Committed(done) => Some(done.began),
            Record::Aborted(began) => Some(began),
        }
    }
}

/// Where the record of a user's key lies.
pub fn place(user: &str, key: &str) -> Key {
    let digest = Sha256::new().chain_update(user).chain_update([0]).chain_update(key).finalize();
    let mut raw = vec![prefix::IDEMPOTENCY];
    raw.extend_from_slice(&digest[..8]);
    ordered::put_bytes(&mut raw, user.as_bytes());
    ordered::put_bytes(&mut raw, key.as_bytes());
    raw.into()
}

/// The record, and since when it is there.
pub async fn find(txn: &Txn, place: &Key) -> Result<Option<(Record, Timestamp)>, SqlError> {
    let found = txn.get_committed(place).await.map_err(from_txn)?;
    found.map(|(value, ts)| Record::decode(&value).map(|record| (record, ts))).transpose()
}

pub const FUNCTION: &str = "transaction_outcome";

/// What `FROM quorate.transaction_outcome(…)` stands for: the function itself returns its one row as an array.
pub fn as_query(arguments: &str) -> String {
    format!(
        "SELECT (o.r)[1] AS outcome, CAST((o.r)[2] AS timestamptz) AS committed_at, (o.r)[3] AS transaction_id \
         FROM (SELECT quorate.{FUNCTION}({arguments}) AS r) AS o"
    )
}

pub(super) static FUNCTIONS: &[Function] = &[
    lenient(FUNCTION, &[Text], PgType::TEXT_ARRAY, |view, args| outcome(view, &args[0], false)),
    lenient(FUNCTION, &[Text, Bool], PgType::TEXT_ARRAY, |view, args| {
        outcome(view, &args[0], args[1] == Datum::Bool(true))
    }),
];

fn outcome(view: &SessionView, key: &Datum, abort: bool) -> Result<Datum, SqlError> {
    let key = string(key);
    if key.is_empty() {
        return Err(SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            "an idempotency key is a text that is not empty",
        ));
    }
    if abort && view.txn.read_only() {
        return Err(SqlError::new(
            SqlState::READ_ONLY_TRANSACTION,
            format!("cannot abort with {FUNCTION}() in a read-only transaction"),
        ));
    }
    let place = place(&view.user, &key);
    let row = match wait(known(&view.shared, &place, abort))? {
        None => [Datum::Text("unknown".into()), Datum::Null, Datum::Null],
        Some((Record::Aborted(_), _)) => [Datum::Text("aborted".into()), Datum::Null, Datum::Null],
        Some((Record::Committed(done), ts)) => {
            let at = Datum::Timestamptz(ts.unix_micros() as i64);
            let at = at.to_text(PgType::Timestamptz, view.settings.now().zone());
            [Datum::Text("committed".into()), Datum::Text(at), Datum::Text(done.txn.to_string())]
        }
    };
    Ok(Datum::Array(row.into()))
}

/// As of now, whatever the session's transaction sees; with `abort` it will never be another.
async fn known(shared: &Shared, place: &Key, abort: bool) -> Result<Option<(Record, Timestamp)>, SqlError> {
    let horizon = expiry::horizon(shared);
    loop {
        let look = |txn: Txn| async move {
            let found = txn.get_committed(place).await?;
            let old = found.as_ref().is_some_and(|(_, at)| *at < horizon);
            let found = found.filter(|_| !old);
            if found.is_none() && abort {
                // An old one is written over, if it has not changed since.
                if !old {
                    txn.check_absent(place.clone());
                }
                txn.put(place.clone(), Record::Aborted(txn.started()).encode());
            }
            Ok::<_, TxnError>(found)
        };
        let options = TxnOptions { read_only: !abort, ..TxnOptions::default() };
        return match shared.coordinator.run(options, look).await {
            Ok((Some((value, ts)), _)) => Record::decode(&value).map(|record| Some((record, ts))),
            Ok((None, committed)) => Ok(abort.then_some((Record::Aborted(committed.ts), committed.ts))),
            // Somebody else's came first: it is there to be read.
            Err(TxnError { error: KvError::Exists { .. }, .. }) => continue,
            Err(error) => Err(from_txn(error)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_lie_apart_and_are_read_as_written() {
        let places = [place("a", "bc"), place("ab", "c"), place("a", "b"), place("root", "")];
        for (i, place) in places.iter().enumerate() {
            assert_eq!(places.iter().position(|other| other == place), Some(i));
        }
        let answer =
            Answer { statement: [7; 16], rows: vec![1, 2], tag: "UPDATE 1".into(), formats: vec![1] };
        for answers in [None, Some(vec![]), Some(vec![answer])] {
            let record = Record::Committed(Done { txn: TxnId(9), answers, began: Timestamp(4) });
            assert_eq!(Record::decode(&record.encode()).unwrap(), record);
            assert_eq!(Record::began(&record.encode()), Some(Timestamp(4)));
        }
        let aborted = Record::Aborted(Timestamp(5));
        assert_eq!(Record::decode(&aborted.encode()).unwrap(), aborted);
        assert_eq!(Record::began(&aborted.encode()), Some(Timestamp(5)));
        assert!(Record::decode(b"?").is_err() && Record::began(b"?").is_none());
    }
}
