//! The server under test, as a child process.
//!
//! Each [`Server`] has a data directory of its own that disappears with it, and
//! ports that the system chose. Dropping it terminates the process and waits for
//! it, so a failing test leaves nothing running.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long a server may take to say that it is ready, and to end when told to.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a server is started with, beside its defaults.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// Worker threads; `None`: the server's default.
    pub threads: Option<usize>,
    /// Rows per source batch; `None`: the server's default.
    pub batch_rows: Option<usize>,
    /// Between checkpoints, as `200ms`; `None`: the server's default.
    pub checkpoint_interval: Option<&'static str>,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    options: ServerOptions,
    /// Holds the data directory while the server lives.
    directory: tempfile::TempDir,
}

/// A server did not start, or not properly.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0} does not exist; build the server first or set TIDEMILL_BIN")]
    NoBinary(PathBuf),
    #[error("cannot start the server: {0}")]
    Io(#[from] std::io::Error),
    #[error("the server ended or said nothing before it was ready; its log:\n{0}")]
    NotReady(String),
}

/// The server's binary: `TIDEMILL_BIN`, or `tidemill` beside the test's own
/// target directory.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("TIDEMILL_BIN") {
        return PathBuf::from(path);
    }
    // target/debug/deps/<this test>
    let own = std::env::current_exe().unwrap_or_default();
    let profile = own.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    profile.join("tidemill")
}

/// Where the tests' input files are.
#[must_use]
pub fn data_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data")
}

impl Server {
    /// Starts a server and waits until it says that it is ready.
    ///
    /// # Errors
    /// When there is no binary, it cannot be run, or it does not get ready.
    pub fn start(options: &ServerOptions) -> Result<Server, StartError> {
        let directory = tempfile::tempdir()?;
        let (child, address) = spawn(options, directory.path())?;
        Ok(Server { child, address, options: options.clone(), directory })
    }

    /// SIGKILL: it gets no chance to put anything in order.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again over its data, after it has ended.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn restart(&mut self, threads: usize) -> Result<(), StartError> {
        self.options.threads = Some(threads);
        (self.child, self.address) = spawn(&self.options, self.directory.path())?;
        Ok(())
    }

    /// Where it listens for PostgreSQL clients.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether the process still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

fn spawn(options: &ServerOptions, directory: &Path) -> Result<(Child, SocketAddr), StartError> {
    let binary = binary();
    if !binary.exists() {
        return Err(StartError::NoBinary(binary));
    }
    let log_path = directory.join("server.log");
    let log = std::fs::OpenOptions::new().create(true).append(true).open(&log_path)?;
    let mut command = Command::new(&binary);
    command
        .arg("start")
        .args(["--pg-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"])
        .arg("--data-dir")
        .arg(directory.join("data"))
        .arg("--file-roots")
        .arg(data_directory())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log);
    if let Some(threads) = options.threads {
        command.args(["--threads", &threads.to_string()]);
    }
    if let Some(rows) = options.batch_rows {
        command.args(["--batch-rows", &rows.to_string()]);
    }
    if let Some(interval) = options.checkpoint_interval {
        command.args(["--checkpoint-interval", interval]);
    }
    let mut child = command.spawn()?;
    match wait_until_ready(&mut child) {
        Some(address) => Ok((child, address)),
        None => {
            stop(&mut child);
            Err(StartError::NotReady(std::fs::read_to_string(&log_path).unwrap_or_default()))
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        stop(&mut self.child);
    }
}

/// Reads standard output up to the line `ready: psql -h HOST -p PORT ...` and answers
/// its address; a thread goes on reading so that the server never blocks on a full
/// pipe.
fn wait_until_ready(child: &mut Child) -> Option<SocketAddr> {
    let output = child.stdout.take()?;
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if line.starts_with("ready:") {
                // The receiver is gone after the first one; that is no error.
                let _ = sender.send(line);
            }
        }
    });
    let line = receiver.recv_timeout(PATIENCE).ok()?;
    let after = |flag| line.split_whitespace().skip_while(|word| *word != flag).nth(1);
    Some(SocketAddr::new(after("-h")?.parse().ok()?, after("-p")?.parse().ok()?))
}

/// SIGTERM, patience, SIGKILL.
fn stop(child: &mut Child) {
    if matches!(child.try_wait(), Ok(Some(_))) {
        return;
    }
    // The standard library can only kill; `kill` sends what asks a server to end.
    let asked = Command::new("kill").arg(child.id().to_string()).status();
    let deadline = Instant::now() + PATIENCE;
    while asked.as_ref().is_ok_and(std::process::ExitStatus::success) && Instant::now() < deadline {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
}
