//! Settings of RocksDB, with the memory caps of one node.

use crate::engine::{Family, VERSION_SUFFIX};
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DBCompressionType, LogLevel, LruCacheOptions, Options,
    SliceTransform, WriteBufferManager,
};
use std::sync::OnceLock;

/// Memory caps of one node's engine.
#[derive(Clone, Debug)]
pub struct RocksOptions {
    /// Bytes of the block cache, which also holds index and filter blocks.
    pub block_cache: usize,
    /// Bytes of all write buffers together, those on their way to disk included.
    pub write_buffers: usize,
    /// Threads for flushes and compactions.
    pub background_jobs: i32,
    /// Files kept open at most.
    pub open_files: i32,
}

impl Default for RocksOptions {
    fn default() -> Self {
        RocksOptions { block_cache: 64 << 20, write_buffers: 32 << 20, background_jobs: 2, open_files: 256 }
    }
}

/// What bloom filters know of a raw key: all of it, or in `Data` all but the timestamp. Scans across prefixes must ask
/// for total order.
fn prefix(raw: &[u8]) -> &[u8] {
    if raw.first() == Some(&(Family::Data as u8)) && raw.len() > VERSION_SUFFIX {
        &raw[..raw.len() - VERSION_SUFFIX]
    } else {
        raw
    }
}

/// Few shards: a block that is larger than its shard of the cache is read from the file again and again.
const CACHE_SHARD_BITS: i32 = 3;
/// Bytes of one piece of an index or a filter.
const PARTITION: usize = 8 << 10;

pub(super) fn database(caps: &RocksOptions) -> Options {
    let mut lru = LruCacheOptions::default();
    lru.set_capacity(caps.block_cache);
    lru.set_num_shard_bits(CACHE_SHARD_BITS);
    let cache = Cache::new_lru_cache_opts(&lru);
    let mut options = Options::default();
    options.create_if_missing(true);
    tables(&mut options, Some(&cache));
    options
        .set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager(caps.write_buffers, false));
    options.set_write_buffer_size(caps.write_buffers / 2);
    options.set_max_write_buffer_number(3);
    options.set_memtable_prefix_bloom_ratio(0.05);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_target_file_size_base(32 << 20);
    options.set_max_background_jobs(caps.background_jobs);
    options.set_max_open_files(caps.open_files);
    options.set_bytes_per_sync(1 << 20);
    // Its own chatter: errors and warnings, in few small files, and nothing by the clock.
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(4 << 20);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options
}

/// For files that are written to be ingested.
pub(super) fn staged() -> &'static Options {
    static STAGED: OnceLock<Options> = OnceLock::new();
    STAGED.get_or_init(|| {
        let mut options = Options::default();
        tables(&mut options, None);
        options
    })
}

fn tables(options: &mut Options, cache: Option<&Cache>) {
    let mut table = BlockBasedOptions::default();
    table.set_format_version(5);
    table.set_block_size(16 << 10);
    table.set_bloom_filter(10.0, false);
    table.set_whole_key_filtering(false);
    // In pieces: whole, those of a file with a million keys are larger than many a cache.
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_metadata_block_size(PARTITION);
    match cache {
        Some(cache) => {
            table.set_block_cache(cache);
            table.set_cache_index_and_filter_blocks(true);
            table.set_pin_l0_filter_and_index_blocks_in_cache(true);
            table.set_pin_top_level_index_and_filter(true);
        }
        None => table.disable_cache(),
    }
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_prefix_extractor(SliceTransform::create("quorate.user-key.v1", prefix, None));
}
