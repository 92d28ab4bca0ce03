//! Reading the past: `AS OF SYSTEM TIME`, and `read_staleness`.
//!
//! A transaction that reads the past has one timestamp for all it reads (PROTOCOL 23), is read-only, and is answered by this
//! node's own replicas where they have closed that timestamp. A statement that names its time is a transaction of its own.
//! With `read_staleness` it is chosen: the freshest that all replicas here have closed, if that is not too old; within a
//! session it never goes back, nor before what the session has committed. Where a table was another one at that time, the
//! statement is of now.
//!
//! Statements are planned by the catalog of now. Whether that is right for the past, the tables' own descriptors say: as of
//! that time each must be what it is now. By the steps of schema changes, no row of that time was written by anybody more
//! than one step away.

use super::{
    Session,
    errors::from_txn,
    parse::AsOf,
    plan::{Body, Planned},
    tx::{OpenTx, Tx, options},
};
use crate::{
    catalog::{TableDescriptor, keys},
    error::{SqlError, SqlState},
    types::{Datum, Interval, PgType, TimeZone, datetime},
};
use quorate_proto::{Timestamp, hlc::EPOCH_UNIX_MICROS, rpc};
use quorate_txn::{Isolation, Txn, TxnOptions};
use std::{collections::BTreeMap, time::Duration};

/// The time that a transaction reads at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    pub at: Timestamp,
    /// Chosen under `read_staleness`, not named by the client.
    pub chosen: bool,
}

/// What a session remembers of its reads of the past.
#[derive(Default)]
pub struct PastReads {
    /// What was chosen under `read_staleness` last, or committed since: no later choice lies below.
    floor: Timestamp,
    /// Versions of tables, each with a time since which it has been the present one.
    since: BTreeMap<u64, (u64, Timestamp)>,
}

impl PastReads {
    /// The session knows of what was committed at this time.
    pub fn not_before(&mut self, ts: Timestamp) {
        if !quorate_env::planted!("sql.past_goes_back") {
            self.floor = self.floor.max(ts);
        }
    }
}

/// Without a replica here, others are asked at an age at which they have probably closed it.
const PROBABLY_CLOSED: Duration = Duration::from_secs(1);
/// Greater numbers are nanoseconds since 1970, as CockroachDB writes them; smaller ones ours.
const LEAST_NANOS: u64 = 100_000_000_000_000_000;

fn invalid(text: &str, why: &str) -> SqlError {
    let what = format!("AS OF SYSTEM TIME: {why}: \"{text}\"");
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, what).hint(
        "It takes a timestamp, a negative interval such as '-5s', or a decimal timestamp of this database.",
    )
}

impl Session {
    /// Before a statement runs: gives its transaction the time at which it reads.
    pub(super) async fn settle_time(&mut self, planned: &Planned, params: &[Datum]) -> Result<(), SqlError> {
        let asked = planned.as_of.as_ref().map(|as_of| self.time_of(as_of, params)).transpose()?;
        let stale = self.settings.read_staleness();
        let open = self.open()?;
        let reads = !planned.writes && !planned.tables.is_empty() && only_reads(&planned.body);
        let data = planned.writes || !planned.tables.is_empty();
        let may_choose = may_choose(open, reads);
        match (asked, open.past) {
            (Some(at), Some(past)) if past.at == at && !past.chosen => {}
            (Some(_), _) if open.explicit => {
                return Err(SqlError::new(
                    SqlState::ACTIVE_TRANSACTION,
                    "AS OF SYSTEM TIME of a statement inside a transaction block that does not read at this time",
                )
                .hint("Say BEGIN AS OF SYSTEM TIME."));
            }
            (Some(_), past)
                if open.queried
                    && past.is_none_or(|past| !past.chosen)
                    && !quorate_env::planted!("sql.past_beside_present") =>
            {
                return Err(not_alone());
            }
            (Some(at), _) => self.read_at(Past { at, chosen: false }),
            (None, Some(past)) if !open.explicit && !past.chosen && open.queried && data => {
                return Err(not_alone());
            }
            // Each statement by itself may be stale; this one must not.
            (None, Some(past)) if !open.explicit && past.chosen && !reads => self.read_now(),
            (None, _) if !stale.is_zero() && may_choose => {
                let at = self.stale_time(stale);
                self.read_at(Past { at, chosen: true });
                if self.other_schema(&planned.tables).await?.is_some() {
                    self.read_present();
                }
                return Ok(());
            }
            (None, _) => {}
        }
        self.other_schema(&planned.tables).await?.map_or(Ok(()), Err)
    }

    /// `BEGIN` and `SET TRANSACTION`, before anything was read.
    pub(super) fn begin_past(&mut self, as_of: &AsOf) -> Result<(), SqlError> {
        let at = self.time_of(as_of, &[])?;
        self.read_at(Past { at, chosen: false });
        Ok(())
    }

    fn read_at(&mut self, past: Past) {
        let (coordinator, pid) = (self.shared.coordinator.clone(), self.pid());
        if let Tx::Open(open) = &mut self.tx {
            let options = options(pid, open.level.isolation(), true);
            open.txn = coordinator.begin(TxnOptions { read_ts: Some(past.at), ..options });
            open.read_only = true;
            open.past = Some(past);
        }
    }

    fn read_now(&mut self) {
        self.begin_now(self.settings.flag("default_transaction_read_only"));
    }

    /// In place of a time that was chosen; what is chosen later lies above.
    fn read_present(&mut self) {
        quorate_env::probe!("sql.past_of_another_schema");
        let explicit = matches!(&self.tx, Tx::Open(open) if open.explicit);
        self.begin_now(explicit || self.settings.flag("default_transaction_read_only"));
        if let Tx::Open(open) = &mut self.tx {
            open.instead_of_past = true;
            self.past_reads.not_before(open.txn.read_ts());
        }
    }

    fn begin_now(&mut self, read_only: bool) {
        let (coordinator, pid) = (self.shared.coordinator.clone(), self.pid());
        if let Tx::Open(open) = &mut self.tx {
            open.txn = coordinator.begin(options(pid, open.level.isolation(), read_only));
            open.read_only = read_only;
            open.past = None;
        }
    }

    /// The freshest time not older than `most` that needs no other node, and not before what was chosen earlier.
    fn stale_time(&mut self, most: Duration) -> Timestamp {
        let now = self.shared.env.clock().physical();
        let oldest = now.minus(most);
        let closed = self.shared.cluster.closed().into_iter().map(|(_, closed)| closed);
        let here = closed.filter(|closed| *closed >= oldest).min();
        let chosen = here.unwrap_or_else(|| oldest.max(now.minus(PROBABLY_CLOSED))).min(now);
        self.past_reads.not_before(chosen);
        self.past_reads.floor.max(chosen)
    }

    fn time_of(&self, as_of: &AsOf, params: &[Datum]) -> Result<Timestamp, SqlError> {
        let started = self.open()?.started;
        let zone = self.settings.zone();
        let at = match as_of {
            AsOf::Text(text) => of_text(text, started, zone)?,
            AsOf::Parameter(n) => match params.get(n - 1) {
                Some(Datum::Text(text)) => of_text(text, started, zone)?,
                Some(time @ Datum::Timestamptz(micros)) => {
                    of_micros(*micros, &time.to_text(PgType::Timestamptz, zone))?
                }
                Some(Datum::Timestamp(_)) => {
                    return Err(invalid(&format!("${n}"), "a timestamp without time zone"));
                }
                Some(Datum::Interval(interval)) => before(interval, &format!("${n}"), started, zone)?,
                Some(number @ (Datum::Numeric(_) | Datum::Int8(_))) => {
                    let ty = if matches!(number, Datum::Int8(_)) { PgType::Int8 } else { PgType::Numeric };
                    of_text(&number.to_text(ty, zone), started, zone)?
                }
                Some(Datum::Null) => return Err(invalid(&format!("${n}"), "the parameter is null")),
                _ => return Err(invalid(&format!("${n}"), "a parameter of this type")),
            },
        };
        let clock = self.shared.env.clock();
        if at > clock.now() {
            let ahead = at.since(clock.physical());
            return Err(invalid(
                &at.to_string(),
                &format!("it lies {:.3} s in the future", ahead.as_secs_f64()),
            ));
        }
        Ok(at)
    }

    /// Says which table was something else at the time that is read.
    async fn other_schema(&mut self, tables: &[(u64, u64)]) -> Result<Option<SqlError>, SqlError> {
        let open = self.open()?;
        let Some(Past { at, .. }) = open.past else { return Ok(None) };
        let txn = open.txn.clone();
        for (id, version) in tables {
            let known = self.past_reads.since.get(id);
            if known.is_some_and(|(known, since)| known == version && at >= *since) {
                continue;
            }
            let then = table_then(&txn, *id).await?;
            let snapshot = self.snapshot();
            let name = snapshot.tables.get(id).map_or_else(|| id.to_string(), |table| table.name.clone());
            match then {
                Some(then) if then.version == *version => {
                    self.past_reads.since.insert(*id, (*version, at));
                }
                Some(_) => {
                    let what =
                        format!("reading table \"{name}\" as of a time before its latest schema change");
                    let hint = "Statements use the schema of now; ask for a time after the change.";
                    return Ok(Some(SqlError::unsupported(what).hint(hint)));
                }
                None => {
                    let text =
                        format!("table \"{name}\" did not exist at {}", shown(at, self.settings.zone()));
                    return Ok(Some(SqlError::new(SqlState::UNDEFINED_TABLE, text)));
                }
            }
        }
        Ok(None)
    }
}

/// Whether the next statement, if it only reads, is given a time: the first of a read-only transaction, or each under READ
/// COMMITTED; without a block, by itself.
fn may_choose(open: &OpenTx, reads: bool) -> bool {
    let named = open.past.is_some_and(|past| !past.chosen);
    if named || !open.savepoints.is_empty() {
        return false;
    }
    let each = open.txn.isolation() == Isolation::ReadCommitted && open.past.is_some();
    let free = !open.queried || each;
    free && reads && (open.read_only || !open.explicit)
}

/// Whether it does nothing beside reading. (`nextval` in a query does.)
fn only_reads(body: &Body) -> bool {
    match body {
        Body::Query(query) => !query.is_volatile(),
        Body::Explain { inner, .. } | Body::Declare(inner) => only_reads(&inner.body),
        _ => false,
    }
}

fn not_alone() -> SqlError {
    let text = "a statement AS OF SYSTEM TIME must be the only one of its implicit transaction";
    SqlError::new(SqlState::ACTIVE_TRANSACTION, text).hint("Say BEGIN AS OF SYSTEM TIME.")
}

async fn table_then(txn: &Txn, id: u64) -> Result<Option<TableDescriptor>, SqlError> {
    let raw = txn.get(&keys::table(id), None).await.map_err(from_txn)?;
    let decode = |raw: quorate_proto::Value| {
        rpc::decode(&raw).map_err(|e| SqlError::internal(format!("malformed descriptor of table {id}: {e}")))
    };
    raw.map(decode).transpose()
}

fn shown(at: Timestamp, zone: &TimeZone) -> String {
    Datum::Timestamptz(at.unix_micros() as i64).to_text(PgType::Timestamptz, zone)
}

/// A number, a timestamp, or a negative interval.
fn of_text(text: &str, started: i64, zone: &TimeZone) -> Result<Timestamp, SqlError> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return of_number(text);
    }
    match Datum::from_text(PgType::Timestamptz, text, -1, zone) {
        Ok(Datum::Timestamptz(micros)) => return of_micros(micros, text),
        Err(error) if !text.starts_with('-') && datetime::parse_interval(text).is_err() => return Err(error),
        _ => {}
    }
    let interval = datetime::parse_interval(text).map_err(|_| invalid(text, "it cannot be read"))?;
    before(&interval, text, started, zone)
}

/// An interval, given as `text`, is counted back from when the transaction began.
fn before(interval: &Interval, text: &str, started: i64, zone: &TimeZone) -> Result<Timestamp, SqlError> {
    let micros = datetime::add_to_timestamptz(started, interval, zone)?;
    if micros >= started {
        return Err(invalid(text, "it must be negative"));
    }
    of_micros(micros, text)
}

/// Microseconds since 1970, given as `text`.
fn of_micros(micros: i64, text: &str) -> Result<Timestamp, SqlError> {
    let micros = u64::try_from(micros).ok().filter(|micros| *micros > EPOCH_UNIX_MICROS && *micros < 1 << 62);
    // The last one of that microsecond: what was committed then is seen.
    let at = micros.map(|micros| Timestamp(Timestamp::from_unix_micros(micros + 1).0 - 1));
    at.ok_or_else(|| invalid(text, "it lies before this database or is infinite"))
}

/// `micros.logical` since 2020 as [`Timestamp`] prints itself, or nanoseconds since 1970 with ten digits of a counter.
fn of_number(text: &str) -> Result<Timestamp, SqlError> {
    let wrong = || invalid(text, "it is no timestamp of this database");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let digits = |most: usize| -> Result<u64, SqlError> {
        if fraction.len() > most || fraction.contains('.') {
            return Err(wrong());
        }
        format!("{fraction:0<most$}").parse().map_err(|_| wrong())
    };
    let (micros, logical) = if whole >= LEAST_NANOS {
        let micros = (whole / 1000).checked_sub(EPOCH_UNIX_MICROS).ok_or_else(wrong)?;
        (micros, digits(10)?)
    } else {
        (whole, digits(4)?)
    };
    let fits = micros < 1 << 51 && logical < 1 << 12;
    if fits { Ok(Timestamp(Timestamp::from_micros(micros).0 | logical)) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let started = 1_795_000_000_000_000;
        let read = |text: &str| of_text(text, started, &TimeZone::UTC);
        let now = Timestamp::from_unix_micros(started as u64);
        let close = |text: &str, back: u64| {
            let at = read(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
            assert_eq!(now.since(at), Duration::from_millis(back), "{text}");
        };
        close("-5s", 5000);
        close("-1.5s", 1500);
        close("-00:01:00", 60_000);
        close("-1 day", 86_400_000);
        let at = Timestamp(now.0 | 12);
        assert_eq!(read(&at.to_string()).unwrap(), at, "as it is printed");
        assert_eq!(read("1795000000000000000.0000000012").unwrap(), at, "as CockroachDB has it");
        let day = read("2026-11-21 10:00:00+02").unwrap();
        assert_eq!(shown(day, &TimeZone::UTC), "2026-11-21 08:00:00+00");
        for wrong in
            ["5s", "0s", "yesterdayish", "", "1999-01-01", "1.2.3", "infinity", "9999999999999999999999"]
        {
            let error = read(wrong).expect_err(wrong);
            assert!(error.message.ends_with(&format!("\"{wrong}\"")), "{error}");
        }
    }
}
