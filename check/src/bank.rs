//! Money moved between accounts: every sum that was read must be that of all openings, and a ledger that the transfers keep
//! must explain every balance. Pure.

use crate::{
    attempt::{Attempt, Outcome},
    finding::{Anomaly, Finding},
};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub id: i64,
    pub debit: i64,
    pub credit: i64,
    pub amount: i64,
}

#[derive(Clone, Debug)]
pub enum Did {
    Transfer(Transfer),
    /// All balances added up, as one transaction saw them.
    Audit {
        sum: i64,
    },
}

#[derive(Clone, Debug, Default)]
pub struct History {
    pub opening: i64,
    pub transactions: Vec<Attempt<Did>>,
    /// The accounts and the ledger in the end.
    pub balances: BTreeMap<i64, i64>,
    pub ledger: Vec<Transfer>,
}

pub fn judge(history: &History) -> Vec<Finding> {
    let mut findings = audits(history);
    findings.extend(ledger(history));
    findings.extend(balances(history));
    findings
}

fn total(history: &History) -> i64 {
    history.opening * history.balances.len() as i64
}

fn audits(history: &History) -> Vec<Finding> {
    let total = total(history);
    let tell = |(at, attempt): (usize, &Attempt<Did>)| match attempt.did {
        Did::Audit { sum } if attempt.outcome == Outcome::Committed && sum != total => {
            let story =
                format!("T{at} ({}) found {sum} in all accounts, and there is {total}", attempt.told());
            Some(Finding::new(Anomaly::WrongSum, vec![at], vec![story]))
        }
        _ => None,
    };
    history.transactions.iter().enumerate().filter_map(tell).collect()
}

/// The ledger has all that was acknowledged, nothing that failed, and nothing else.
fn ledger(history: &History) -> Vec<Finding> {
    let mut there: BTreeMap<i64, Vec<Transfer>> = BTreeMap::new();
    for transfer in &history.ledger {
        there.entry(transfer.id).or_default().push(*transfer);
    }
    let mut findings = Vec::new();
    for (at, attempt) in history.transactions.iter().enumerate() {
        let Did::Transfer(transfer) = &attempt.did else { continue };
        let found = there.remove(&transfer.id).unwrap_or_default();
        let wrong = match (attempt.outcome, found.as_slice()) {
            (Outcome::Committed, []) => Some(Anomaly::LostWrite),
            (Outcome::Failed, [_, ..]) => Some(Anomaly::AbortedRead),
            (_, [_, _, ..]) => Some(Anomaly::DuplicateWrite),
            (_, [one]) if one != transfer => Some(Anomaly::ValueFromNowhere),
            _ => None,
        };
        findings.extend(wrong.map(|anomaly| {
            let story = format!("T{at} ({}): {transfer:?}; in the ledger stands {found:?}", attempt.told());
            Finding::new(anomaly, vec![at], vec![story])
        }));
    }
    for stranger in there.into_values().flatten() {
        let story = format!("the ledger has {stranger:?}, which nobody asked for");
        findings.push(Finding::new(Anomaly::ValueFromNowhere, vec![], vec![story]));
    }
    findings
}

fn balances(history: &History) -> Vec<Finding> {
    let mut expected: BTreeMap<i64, i64> = history.balances.keys().map(|id| (*id, history.opening)).collect();
    for transfer in &history.ledger {
        *expected.entry(transfer.debit).or_default() -= transfer.amount;
        *expected.entry(transfer.credit).or_default() += transfer.amount;
    }
    let wrong = expected.iter().filter(|(id, balance)| history.balances.get(id) != Some(balance));
    let tell = |(id, balance): (&i64, &i64)| {
        let is = history.balances.get(id).copied().unwrap_or_default();
        let story = format!("account {id} holds {is}, and by the ledger {balance}");
        Finding::new(Anomaly::WrongBalance, vec![], vec![story])
    };
    wrong.map(tell).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn attempt(outcome: Outcome, did: Did) -> Attempt<Did> {
        Attempt { client: 1, begun: Duration::ZERO, ended: Duration::from_secs(1), outcome, did }
    }

    fn transfer(id: i64) -> Transfer {
        Transfer { id, debit: 1, credit: 2, amount: 10 }
    }

    fn sum(sum: i64) -> Attempt<Did> {
        attempt(Outcome::Committed, Did::Audit { sum })
    }

    /// Two accounts of 100, with transfers of 10 from the first to the second.
    fn history(transactions: Vec<Attempt<Did>>, ledger: &[i64]) -> History {
        let moved = 10 * ledger.len() as i64;
        History {
            opening: 100,
            transactions,
            balances: BTreeMap::from([(1, 100 - moved), (2, 100 + moved)]),
            ledger: ledger.iter().map(|id| transfer(*id)).collect(),
        }
    }

    fn found(history: &History) -> Vec<Anomaly> {
        judge(history).iter().map(|finding| finding.anomaly).collect()
    }

    fn transfers(outcomes: &[Outcome]) -> Vec<Attempt<Did>> {
        let numbered = outcomes.iter().zip(1..);
        numbered.map(|(outcome, id)| attempt(*outcome, Did::Transfer(transfer(id)))).collect()
    }

    #[test]
    fn a_clean_bank_is_clean() {
        let mut transactions =
            transfers(&[Outcome::Committed, Outcome::Failed, Outcome::Unknown, Outcome::Unknown]);
        transactions.push(sum(200));
        assert_eq!(found(&history(transactions, &[1, 4])), []);
    }

    #[test]
    fn each_thing_that_is_wrong_is_found() {
        assert_eq!(found(&history(vec![sum(190)], &[])), [Anomaly::WrongSum]);
        assert_eq!(found(&history(transfers(&[Outcome::Committed]), &[])), [Anomaly::LostWrite]);
        assert_eq!(found(&history(transfers(&[Outcome::Failed]), &[1])), [Anomaly::AbortedRead]);
        assert_eq!(found(&history(transfers(&[Outcome::Unknown]), &[1, 1])), [Anomaly::DuplicateWrite]);
        assert_eq!(found(&history(vec![], &[7])), [Anomaly::ValueFromNowhere]);
        let mut wrong = history(transfers(&[Outcome::Committed]), &[1]);
        wrong.balances.insert(1, 80);
        assert_eq!(found(&wrong), [Anomaly::WrongBalance]);
    }

    #[test]
    fn a_failed_audit_says_nothing() {
        let failed = attempt(Outcome::Failed, Did::Audit { sum: 0 });
        assert_eq!(found(&history(vec![failed], &[])), []);
    }
}
