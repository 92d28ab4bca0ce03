//! Rows in memory as a transaction's reads.

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use quorate_proto::{Key, Value};
use quorate_sql::SqlError;
use quorate_sql::exec::{How, KvRead, Page, ScanRequest};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Small pages, so that several make a batch.
const PAGE: usize = 50;

#[derive(Clone, Default)]
pub struct Memory(pub Arc<Mutex<BTreeMap<Key, Value>>>);

#[async_trait]
impl KvRead for Memory {
    fn scan(&self, request: ScanRequest) -> BoxStream<'static, Result<Page, SqlError>> {
        let map = self.0.lock();
        let within =
            map.iter().filter(|(k, _)| request.span.contains(k)).map(|(k, v)| (k.clone(), v.clone()));
        let mut rows: Vec<(Key, Value)> = within.collect();
        if request.reverse {
            rows.reverse();
        }
        if let Some(limit) = request.limit {
            rows.truncate(limit as usize);
        }
        let pages: Vec<Result<Page, SqlError>> = rows.chunks(PAGE).map(|c| Ok(c.to_vec())).collect();
        futures::stream::iter(pages).boxed()
    }

    async fn get_many(&self, keys: &[Key], _: How) -> Result<Vec<Option<Value>>, SqlError> {
        let map = self.0.lock();
        Ok(keys.iter().map(|k| map.get(k).cloned()).collect())
    }
}
