//! Waiting for a commit, which goes on when nobody waits for it any more.

use super::{stop::Stop, tx::OpenTx};
use quorate_env::Env;
use quorate_proto::KvError;
use quorate_txn::{Committed, TxnError};
use std::time::Duration;
use tokio::task::coop::unconstrained;

/// A commit that is to be waited for no longer has this long yet: whoever knows its outcome is better off than in time.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Commits. If the statement's timeout or a cancel request comes before the outcome, that is unknown; the locks which the
/// transaction has taken stay until it is not.
pub async fn awaited(env: &Env, open: &OpenTx, stop: &Stop) -> Result<Committed, TxnError> {
    let txn = open.txn.clone();
    let mut commit = Box::pin(async move { txn.commit().await });
    let told = tokio::select! {
        biased;
        result = &mut commit => return result,
        told = unconstrained(stop.reached()) => told,
    };
    if let Ok(result) = env.timeout(LAST_WAIT, &mut commit).await {
        return result;
    }
    quorate_env::count!("quorate_sql_commits_left_total");
    let kept = open.locks.keep_for_commit();
    let behind = async move {
        // Nobody is there to be told.
        let _ = commit.await;
        drop(kept);
    };
    env.spawn("sql.commit_left", behind).detach();
    let id = open.txn.id();
    Err(TxnError::new(id, KvError::Ambiguous { why: format!("transaction {id}: {}", told.message) }))
}
