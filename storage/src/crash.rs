//! Named points at which a test kills the process.
//!
//! Without the cargo feature `crash-points` a point is an empty function. With it,
//! `TIDEMILL_CRASH_POINT=name` aborts the process at the first pass of the point of
//! that name, `TIDEMILL_CRASH_POINT=name:3` at the third: no destructor runs and
//! nothing is flushed, as when the system kills it. [`POINTS`] lists the names.

/// Every point of this crate, in the order in which a commit passes them.
pub const POINTS: [&str; 16] = [
    "store.temp_written",
    "store.temp_synced",
    "store.linked",
    "store.dir_synced",
    "checkpoint.before_upload",
    "checkpoint.after_file",
    "checkpoint.after_uploads",
    "checkpoint.before_manifest",
    "checkpoint.after_manifest",
    "checkpoint.before_record",
    "checkpoint.after_record",
    "gc.after_mark",
    "gc.mid_delete",
    "gc.before_fold",
    "epochs.before_block",
    "epochs.after_block",
];

/// Passes the point `name`.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn point(_name: &'static str) {}

/// Passes the point `name`; aborts the process where the environment says so.
#[cfg(feature = "crash-points")]
pub fn point(name: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSES: AtomicU64 = AtomicU64::new(0);

    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("TIDEMILL_CRASH_POINT").ok()?;
        match text.split_once(':') {
            Some((name, nth)) => Some((name.to_owned(), nth.parse().ok()?)),
            None => Some((text, 1)),
        }
    });
    if let Some((wanted, nth)) = wanted
        && wanted == name
        && PASSES.fetch_add(1, Ordering::SeqCst) + 1 == *nth
    {
        std::process::abort();
    }
}
