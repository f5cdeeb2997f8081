//! Runs the `.slt` files of a directory on one server.
//!
//! Each file has a schema of its own (`slt_<name>`), so files run beside each
//! other and none sees another's objects. With `UPDATE_SLT=explain` the files whose
//! name contains `explain` are rewritten to what the server says, to be read before
//! they are committed; rows that the oracle computes are rewritten by
//! `oracle/expect.py`, not here.

use std::path::{Path, PathBuf};

use futures::stream::{self, StreamExt};
use sqllogictest::{Runner, default_column_validator, default_normalizer, default_validator};

use crate::disturb::{Disturber, Mode};
use crate::driver::Driver;
use crate::server::{Server, ServerOptions};

/// How many files run at a time.
const PARALLEL_FILES: usize = 4;

/// The `.slt` files in `slt/<directory>`, sorted.
///
/// # Panics
/// When the directory cannot be read.
#[must_use]
pub fn files(directory: &str) -> Vec<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("slt").join(directory);
    let entries = std::fs::read_dir(&path).expect("the directory of .slt files is in the checkout");
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "slt"))
        .collect();
    files.sort();
    files
}

/// Starts a server with `options`, runs `files` on it and stops it.
///
/// # Errors
/// All files that failed, each with its first difference.
pub async fn run(files: Vec<PathBuf>, options: &ServerOptions) -> Result<(), String> {
    let mut server = Server::start(options).map_err(|e| e.to_string())?;
    let address = server.address();
    let failures: Vec<String> = stream::iter(files)
        .map(|file| async move {
            run_file(&file, address).await.map_err(|e| format!("{}:\n{e}", file.display()))
        })
        .buffer_unordered(PARALLEL_FILES)
        .filter_map(|outcome| async move { outcome.err() })
        .collect()
        .await;
    if !server.is_alive() {
        return Err(format!("the server has ended\n{}", failures.join("\n")));
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

/// Runs each of `files` on a server of its own, which is disturbed between
/// statements. The seed is `TIDEMILL_SLT_SEED`, or one of the clock's; a failure
/// names it.
///
/// # Errors
/// The files that failed.
pub async fn run_disturbed(
    files: Vec<PathBuf>,
    options: &ServerOptions,
    mode: Mode,
) -> Result<(), String> {
    let of_clock = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0, |d| u64::from(d.subsec_nanos()))
    };
    let given = std::env::var("TIDEMILL_SLT_SEED").ok().and_then(|s| s.parse().ok());
    let seed: u64 = given.unwrap_or_else(of_clock);
    let failures: Vec<String> = stream::iter(files)
        .map(|file| async move {
            let outcome = run_file_disturbed(&file, options, mode, seed).await;
            let named = |e| format!("{} (TIDEMILL_SLT_SEED={seed}):\n{e}", file.display());
            outcome.map_err(named)
        })
        .buffer_unordered(2)
        .filter_map(|outcome| async move { outcome.err() })
        .collect()
        .await;
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

async fn run_file_disturbed(
    file: &Path,
    options: &ServerOptions,
    mode: Mode,
    seed: u64,
) -> Result<(), String> {
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let schema = format!("slt_{name}");
    let server = Server::start(options).map_err(|e| e.to_string())?;
    let disturber = Disturber::new(server, mode, seed);
    let address = disturber.server.lock().await.address();
    let setup = Driver::connect(address, "public").await.map_err(|e| e.to_string())?;
    setup.create_schema(&schema).await.map_err(|e| e.to_string())?;
    drop(setup);
    let mut runner = Runner::new(|| Driver::connect_disturbed(disturber.clone(), &schema));
    let outcome = runner.run_file_async(file).await.map_err(|e| e.display(false).to_string());
    runner.shutdown_async().await;
    outcome
}

async fn run_file(file: &Path, address: std::net::SocketAddr) -> Result<(), String> {
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let schema = format!("slt_{name}");
    let setup = Driver::connect(address, "public").await.map_err(|e| e.to_string())?;
    setup.create_schema(&schema).await.map_err(|e| e.to_string())?;
    let mut runner = Runner::new(|| Driver::connect(address, &schema));
    let rewrite = std::env::var("UPDATE_SLT").is_ok_and(|part| name.contains(&part));
    let outcome = if rewrite {
        runner
            .update_test_file(
                file,
                " ",
                default_validator,
                default_normalizer,
                default_column_validator,
            )
            .await
            .map_err(|e| e.to_string())
    } else {
        runner.run_file_async(file).await.map_err(|e| e.display(false).to_string())
    };
    runner.shutdown_async().await;
    outcome
}
