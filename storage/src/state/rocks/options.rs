//! How the database is set up, in one place.

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DBCompactionStyle, DBCompressionType,
    DataBlockIndexType, Env, LogLevel, Options,
};

use super::Family;

/// What a node decides about its database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RocksConfig {
    /// Bytes of the block cache, which all families share; indexes and filters
    /// live in it too.
    pub cache_bytes: usize,
    /// Threads that compact, 1 to 4; other numbers count as the nearest of these.
    pub background_jobs: u8,
}

impl RocksConfig {
    /// One compacting thread for eight cores.
    #[must_use]
    pub fn for_cores(cores: usize, cache_bytes: usize) -> Self {
        RocksConfig { cache_bytes, background_jobs: (cores / 8).clamp(1, 4) as u8 }
    }
}

/// Bytes of a block before compression: larger ones make smaller indexes, smaller
/// ones make cheaper point reads.
const BLOCK_BYTES: usize = 16 << 10;

/// False positives of filters: about 1 in 100.
const FILTER_BITS_PER_KEY: f64 = 10.0;

/// Open files; beyond it the least used is closed.
const OPEN_FILES: i32 = 4096;

/// Memtables take range deletions only.
const MEMTABLE_BYTES: usize = 1 << 20;

/// Bytes of one of RocksDB's own log files, and how many are kept.
const LOG_BYTES: usize = 4 << 20;
const LOG_FILES: usize = 2;

/// Options that can only be set by name: every file that compaction writes is read
/// once more before it replaces others.
pub(super) const CHANGED_WHEN_OPEN: [(&str, &str); 1] = [("paranoid_file_checks", "true")];

/// The cache of all families.
pub(super) fn cache(config: RocksConfig) -> Cache {
    Cache::new_lru_cache(config.cache_bytes)
}

/// Options of the database.
pub(super) fn database(config: RocksConfig) -> Result<Options, rocksdb::Error> {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_error_if_exists(true);
    options.set_paranoid_checks(true);
    options.set_max_background_jobs(i32::from(config.background_jobs.clamp(1, 4)));
    options.set_max_open_files(OPEN_FILES);
    options.set_log_level(LogLevel::Warn);
    options.set_max_log_file_size(LOG_BYTES);
    options.set_keep_log_file_num(LOG_FILES);
    // Compaction waits for workers, never the other way round.
    let mut env = Env::new()?;
    env.lower_thread_pool_cpu_priority();
    options.set_env(&env);
    Ok(options)
}

/// Options of a column family.
pub(super) fn family(family: Family, cache: &Cache) -> Options {
    let mut options = Options::default();
    options.set_write_buffer_size(MEMTABLE_BYTES);
    options.set_compression_type(DBCompressionType::Lz4);
    if family == Family::Window {
        // Slices are dropped whole before they have been rewritten often.
        options.set_compaction_style(DBCompactionStyle::Universal);
    } else {
        options.set_level_compaction_dynamic_level_bytes(true);
    }
    let mut blocks = blocks();
    blocks.set_block_cache(cache);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks.set_pin_top_level_index_and_filter(true);
    blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    blocks.set_partition_filters(true);
    // Most keys are in the lower levels, where a filter is built seldom and should
    // be small; the top level's is built often.
    blocks.set_hybrid_ribbon_filter(FILTER_BITS_PER_KEY, 1);
    if family == Family::Aggregate {
        blocks.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    }
    options.set_block_based_table_factory(&blocks);
    options
}

/// Options of the files that are written outside the database: quick to write,
/// since compaction rewrites them.
pub(super) fn run_file() -> Options {
    let mut options = Options::default();
    options.set_compression_type(DBCompressionType::Lz4);
    let mut blocks = blocks();
    blocks.set_bloom_filter(FILTER_BITS_PER_KEY, false);
    options.set_block_based_table_factory(&blocks);
    options
}

fn blocks() -> BlockBasedOptions {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_size(BLOCK_BYTES);
    blocks.set_format_version(FORMAT_VERSION);
    blocks
}

/// RocksDB's number of the table format, part of what is stored: read by RocksDB
/// 8.6 and later.
const FORMAT_VERSION: i32 = 6;
