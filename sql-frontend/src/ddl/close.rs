//! Closing a dropped table: from then on nobody can write to it, so that its rows may go.
//!
//! Transactions on other nodes that have used the table are waited for, as with every change of the schema. Those that do not
//! end are not waited for longer: the table is marked as closed, and a node that has read this commits no writes of
//! transactions that have used the table. Commits under way are still waited for.

use super::job;
use crate::{
    catalog::store,
    error::{SqlError, SqlState},
    server::Shared,
};
use std::sync::Arc;

pub async fn close(shared: &Arc<Shared>, tables: &[u64]) -> Result<(), SqlError> {
    match shared.catalog.settle().await {
        Err(error) if error.sqlstate == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE => {}
        result => return result,
    }
    job::transact(shared, |txn| async move {
        for &id in tables {
            if let Some(mut table) = store::lock_table(&txn, id).await?.filter(|table| !table.closed) {
                table.closed = true;
                table.version += 1;
                store::put_table(&txn, &table);
            }
        }
        store::raise_generation(&txn).await
    })
    .await?;
    shared.catalog.refresh().await?;
    shared.catalog.settle().await
}
