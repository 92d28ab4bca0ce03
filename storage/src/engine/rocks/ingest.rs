//! Bulk replacement through SST files: rows are written to files beside the database, then taken in with one call.
//!
//! The files of one ingest, in order: the ranges that go, the rows (each family rising, cut at [`FILE_SIZE`]), the batch.
//! Where files overlap, RocksDB gives later ones higher sequence numbers, so rows stand on the removed ranges and the
//! batch on the rows. Within a file a range deletion does not hide keys of that file.

use super::{Inner, failed, options, raw_end, raw_key};
use crate::engine::{Family, FamilyRange, Ingest};
use crate::{Result, StorageError, WriteBatch, WriteOp};
use quorate_env::planted;
use rocksdb::{IngestExternalFileOptions, SstFileWriter};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

const FILE_SIZE: u64 = 64 << 20;

pub(super) struct RocksIngest {
    inner: Arc<Inner>,
    open: [Option<SstFileWriter<'static>>; 4],
    last: [Option<Vec<u8>>; 4],
    /// Finished and unfinished files of rows.
    files: Vec<PathBuf>,
}

impl RocksIngest {
    pub fn new(inner: Arc<Inner>) -> Self {
        RocksIngest {
            inner,
            open: [None, None, None, None],
            last: [None, None, None, None],
            files: Vec::new(),
        }
    }

    fn start(&mut self) -> Result<SstFileWriter<'static>> {
        let path = self.inner.next_staged();
        self.files.push(path.clone());
        let writer = SstFileWriter::create(options::staged());
        writer.open(&path).map_err(|e| failed("stage a file", e))?;
        Ok(writer)
    }

    fn stage_ranges(&mut self, replace: &[FamilyRange]) -> Result<()> {
        let mut writer = None;
        for range in replace {
            let (start, end) =
                (raw_key(range.family, &range.start), raw_end(range.family, range.end.as_deref()));
            if start < end {
                let writer = match &mut writer {
                    Some(writer) => writer,
                    None => writer.insert(self.start()?),
                };
                writer.delete_range(start, end).map_err(|e| failed("stage a range", e))?;
            }
        }
        finish(writer)
    }

    fn stage_batch(&mut self, batch: &WriteBatch) -> Result<()> {
        let net = NetEffect::of(batch);
        if net.points.is_empty() && net.ranges.is_empty() {
            return Ok(());
        }
        let mut writer = self.start()?;
        for (start, end) in &net.ranges {
            writer.delete_range(start, end).map_err(|e| failed("stage a range", e))?;
        }
        for (key, value) in &net.points {
            let staged = match value {
                Some(value) => writer.put(key, value),
                None => writer.delete(key),
            };
            staged.map_err(|e| failed("stage a write", e))?;
        }
        finish(Some(writer))
    }
}

fn finish(writer: Option<SstFileWriter<'static>>) -> Result<()> {
    match writer {
        Some(mut writer) => writer.finish().map_err(|e| failed("finish a staged file", e)),
        None => Ok(()),
    }
}

/// What a batch comes to when all of it takes effect at once.
#[derive(Default)]
struct NetEffect {
    points: BTreeMap<Vec<u8>, Option<bytes::Bytes>>,
    ranges: Vec<(Vec<u8>, Vec<u8>)>,
}

impl NetEffect {
    fn of(batch: &WriteBatch) -> Self {
        let mut net = NetEffect::default();
        for op in &batch.ops {
            match op {
                WriteOp::Put(family, key, value) => {
                    net.points.insert(raw_key(*family, key), Some(value.clone()));
                }
                WriteOp::Delete(family, key) => {
                    net.points.insert(raw_key(*family, key), None);
                }
                WriteOp::DeleteRange(family, start, end) => {
                    let (start, end) = (raw_key(*family, start), raw_end(*family, end.as_deref()));
                    if start < end {
                        net.points.retain(|key, _| *key < start || *key >= end);
                        net.ranges.push((start, end));
                    }
                }
            }
        }
        net
    }
}

impl Ingest for RocksIngest {
    fn add(&mut self, family: Family, key: &[u8], value: &[u8]) -> Result<()> {
        let raw = raw_key(family, key);
        let at = family as usize;
        if self.last[at].as_ref().is_some_and(|last| raw <= *last) {
            return Err(StorageError::Misuse("ingested keys must rise".into()));
        }
        if self.open[at].as_ref().is_some_and(|writer| writer.file_size() >= FILE_SIZE) {
            finish(self.open[at].take())?;
        }
        if self.open[at].is_none() {
            self.open[at] = Some(self.start()?);
        }
        if let Some(writer) = &mut self.open[at] {
            writer.put(&raw, value).map_err(|e| failed("stage a row", e))?;
        }
        self.last[at] = Some(raw);
        Ok(())
    }

    fn seal(&mut self) -> Result<()> {
        for at in 0..self.open.len() {
            finish(self.open[at].take())?;
        }
        Ok(())
    }

    fn commit(mut self: Box<Self>, replace: &[FamilyRange], batch: &WriteBatch) -> Result<()> {
        self.seal()?;
        let inner = self.inner.clone();
        let rows = std::mem::take(&mut self.files);
        // What was staged for nothing, for lack of space, is removed with the rest; it is not taken in.
        let staged = inner.full.wait_out(|| {
            let before = self.files.len();
            if !planted!("storage.ingest_keeps_what_it_replaces") {
                self.stage_ranges(replace)?;
            }
            let ranges = self.files[before..].to_vec();
            self.stage_batch(batch)?;
            Ok((ranges.clone(), self.files[before + ranges.len()..].to_vec()))
        });
        self.files.extend(rows.iter().cloned());
        let (ranges, batch) = staged?;
        let files = [ranges, rows, batch].concat();
        inner.full.wait_out(|| {
            // Most of what is unflushed goes down before writers have to wait.
            inner.flush_before_ingest()?;
            let _order = inner.order.write();
            inner.flush_before_ingest()?;
            if files.is_empty() {
                return Ok(());
            }
            let mut how = IngestExternalFileOptions::default();
            how.set_move_files(true);
            inner.db.ingest_external_file_opts(&how, files.clone()).map_err(|e| failed("ingest", e))
        })
    }
}

impl Drop for RocksIngest {
    fn drop(&mut self) {
        for file in &self.files {
            // After an ingest the database has its own link; what cannot be removed goes at the next start.
            let _ = std::fs::remove_file(file);
        }
    }
}
