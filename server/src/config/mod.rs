//! The options of `tidemill start`.
//!
//! An option is declared once, as a field of [`Config`]: its name is the flag
//! (`--pg-addr`), the key of the configuration file (`pg_addr`) and, in capitals
//! behind `TIDEMILL_`, the environment variable. A flag wins over the
//! environment, the environment over the file, the file over the default.
//!
//! Invariant: a [`Config`] that [`parse`] has given is consistent; nothing later
//! has to check a value again. What needs the outside world (is the directory
//! free? the port?) is checked when it is used.

mod directory;
mod file;
mod values;

pub use directory::{DataDirectory, DirectoryError};

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use values::{parse_bytes, parse_duration};

/// Tidemill: a streaming database that speaks PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "tidemill", version, about, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// The roles that a process can have.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a server that is everything in one process.
    #[command(
        after_help = "Every option is also an environment variable (--pg-addr is TIDEMILL_PG_ADDR) \
        and a key of the configuration file (pg_addr = \"127.0.0.1:7654\").\n\
        A flag wins over the environment, the environment over the file."
    )]
    Start(Box<Config>),
    /// Start the controller of a cluster (not available yet).
    Controller,
    /// Start a worker of a cluster (not available yet).
    Worker,
}

/// The form of a log line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// The options of a server.
#[derive(Clone, Debug, Args)]
pub struct Config {
    /// Configuration file, TOML.
    #[arg(long, value_name = "FILE", env = "TIDEMILL_CONFIG")]
    pub config: Option<PathBuf>,

    /// Directory for everything that the server keeps; created if missing, used by one server at a time.
    #[arg(long, value_name = "DIR", env = "TIDEMILL_DATA_DIR", default_value = "tidemill-data")]
    pub data_dir: PathBuf,

    /// Where the catalog and checkpoints are kept, `file:///path` [default: in the data directory].
    #[arg(long, value_name = "URL", env = "TIDEMILL_STORE", value_parser = parse_store)]
    pub store: Option<String>,

    /// Time between two checkpoints of a view or sink: what is read again after a crash.
    #[arg(long, value_name = "TIME", env = "TIDEMILL_CHECKPOINT_INTERVAL", default_value = "10s", value_parser = parse_checkpoint_interval)]
    pub checkpoint_interval: Duration,

    /// Checkpoints that are kept of a view or sink.
    #[arg(long, value_name = "N", env = "TIDEMILL_CHECKPOINTS_RETAINED", default_value = "3", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub checkpoints_retained: u16,

    /// Address for PostgreSQL clients; port 0 takes any free port.
    #[arg(long, value_name = "ADDR", env = "TIDEMILL_PG_ADDR", default_value = "127.0.0.1:7654", value_parser = parse_loopback)]
    pub pg_addr: SocketAddr,

    /// Address for health and metrics over HTTP.
    #[arg(long, value_name = "ADDR", env = "TIDEMILL_HTTP_ADDR", default_value = "127.0.0.1:7655", value_parser = parse_loopback)]
    pub http_addr: SocketAddr,

    /// Threads that run views and sinks [default: by the number of cores].
    #[arg(long, value_name = "N", env = "TIDEMILL_THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,

    /// Rows of a batch read from a source.
    #[arg(long, value_name = "N", env = "TIDEMILL_BATCH_ROWS", default_value = "8192", value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub batch_rows: u32,

    /// Interval at which results become visible.
    #[arg(long, value_name = "TIME", env = "TIDEMILL_TICK", default_value = "100ms", value_parser = parse_tick)]
    pub tick: Duration,

    /// Directories that file sources may read, separated by commas; none: file sources are off.
    #[arg(long, value_name = "DIR,...", env = "TIDEMILL_FILE_ROOTS", value_delimiter = ',')]
    pub file_roots: Vec<PathBuf>,

    /// Memory of all running queries together.
    #[arg(long, value_name = "SIZE", env = "TIDEMILL_QUERY_MEMORY", default_value = "1GiB", value_parser = parse_bytes)]
    pub query_memory: usize,

    /// Sessions at the same time.
    #[arg(long, value_name = "N", env = "TIDEMILL_MAX_CONNECTIONS", default_value = "100", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub max_connections: u16,

    /// Longest message of a client: a statement with its parameters.
    #[arg(long, value_name = "SIZE", env = "TIDEMILL_MAX_MESSAGE_SIZE", default_value = "16MiB", value_parser = parse_message_size)]
    pub max_message_size: usize,

    /// What is logged to standard error: a level, or a level per target.
    #[arg(long, value_name = "FILTER", env = "TIDEMILL_LOG", default_value = "info")]
    pub log: String,

    /// How it is logged.
    #[arg(long, value_name = "FORMAT", env = "TIDEMILL_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

impl Config {
    /// The worker threads: all cores up to 4, all but one up to 16, and of more
    /// cores one in sixteen stays free.
    #[must_use]
    pub fn worker_threads(&self) -> usize {
        self.threads.map_or_else(|| default_threads(cores()), usize::from)
    }

    /// A server for tests and for embedding: the defaults, whatever the
    /// environment says, on any free ports of loopback.
    #[must_use]
    pub fn embedded(data_dir: PathBuf) -> Config {
        let command = Config::augment_args(clap::Command::new("embedded"))
            .mut_args(|argument| argument.env(clap::builder::Resettable::Reset));
        let matches = command.try_get_matches_from(["embedded"]);
        let config = matches.and_then(|matches| Config::from_arg_matches(&matches));
        let config = config.expect("the defaults are valid options");
        let any_port = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Config { data_dir, pg_addr: any_port, http_addr: any_port, ..config }
    }
}

/// Reads command line, environment and configuration file. The error is ready to
/// be shown: [`clap::Error::exit`] also serves `--help`.
pub fn parse<I, T>(arguments: I) -> Result<Cli, clap::Error>
where
    I: IntoIterator<Item = T>,
    T: Into<std::ffi::OsString> + Clone,
{
    let arguments: Vec<std::ffi::OsString> = arguments.into_iter().map(Into::into).collect();
    let cli = Cli::try_parse_from(&arguments)?;
    let Command::Start(config) = &cli.command else { return Ok(cli) };
    let Some(path) = &config.config else { return Ok(cli) };
    let command = file::with_file(Cli::command(), path)?;
    Cli::from_arg_matches(&command.try_get_matches_from(&arguments)?)
}

/// Cores that this process may use.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn default_threads(cores: usize) -> usize {
    match cores {
        0..=4 => cores.max(1),
        5..=16 => cores - 1,
        _ => cores - cores / 16,
    }
}

fn parse_store(text: &str) -> Result<String, String> {
    match text.strip_prefix("file://") {
        Some(path) if path.starts_with('/') => Ok(text.to_owned()),
        Some(_) => Err("expected an absolute path: file:///path".to_owned()),
        None => Err("only directories are supported: file:///path [0A000]".to_owned()),
    }
}

fn parse_checkpoint_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text)?;
    let allowed = Duration::from_millis(100)..=Duration::from_secs(86_400);
    if allowed.contains(&interval) {
        Ok(interval)
    } else {
        Err("must be from 100ms to 24h".to_owned())
    }
}

fn parse_loopback(text: &str) -> Result<SocketAddr, String> {
    let text =
        text.strip_prefix("localhost:").map_or(text.to_owned(), |p| format!("127.0.0.1:{p}"));
    let address: SocketAddr =
        text.parse().map_err(|_| "expected an address and a port: 127.0.0.1:7654".to_owned())?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    Err(format!(
        "{} can be reached from other machines, and there is no authentication yet; \
         use a loopback address such as 127.0.0.1:{}",
        address.ip(),
        address.port()
    ))
}

fn parse_tick(text: &str) -> Result<Duration, String> {
    let tick = parse_duration(text)?;
    let allowed = Duration::from_millis(1)..=Duration::from_secs(60);
    if allowed.contains(&tick) { Ok(tick) } else { Err("must be from 1ms to 60s".to_owned()) }
}

fn parse_message_size(text: &str) -> Result<usize, String> {
    let bytes = parse_bytes(text)?;
    let allowed = (64 << 10)..=(1 << 30);
    if allowed.contains(&bytes) { Ok(bytes) } else { Err("must be from 64KiB to 1GiB".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(arguments: &[&str]) -> Result<Config, String> {
        let arguments = ["tidemill", "start"].iter().chain(arguments);
        match parse(arguments).map_err(|e| e.to_string())?.command {
            Command::Start(config) => Ok(*config),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_declaration_is_consistent() {
        Cli::command().debug_assert();
        for argument in Cli::command().find_subcommand("start").unwrap().get_arguments() {
            let id = argument.get_id().as_str();
            if id != "help" {
                let variable = format!("TIDEMILL_{}", id.to_uppercase());
                assert_eq!(argument.get_env().and_then(|e| e.to_str()), Some(variable.as_str()));
                assert_eq!(argument.get_long(), Some(id.replace('_', "-").as_str()));
            }
        }
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "tick = \"50ms\"\nmax_connections = 7\nfile_roots = [\"/a\", \"/b\"]\n";
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().to_str().unwrap();
        let config = start(&["--config", path, "--tick", "1s"]).unwrap();
        assert_eq!(config.tick, Duration::from_secs(1));
        assert_eq!(config.max_connections, 7);
        assert_eq!(config.file_roots, [PathBuf::from("/a"), PathBuf::from("/b")]);
        assert_eq!(config.batch_rows, 8192);
    }

    #[test]
    fn a_wrong_key_names_the_nearest_and_a_wrong_value_its_key() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        for (text, expected) in [
            ("max_conections = 7", "did you mean `max_connections`?"),
            ("tick = \"50 parsecs\"", "key `tick`"),
            ("batch_rows = 0", "key `batch_rows`"),
            ("[pg_addr]\nx = 1", "key `pg_addr`"),
            ("tick = ", "TOML parse error"),
        ] {
            std::fs::write(file.path(), text).unwrap();
            let error = start(&["--config", path]).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(error.contains(path), "{text}: {error}");
        }
        assert!(start(&["--config", "/no/such/file"]).unwrap_err().contains("/no/such/file"));
    }

    #[test]
    fn addresses_beyond_loopback_are_refused() {
        for address in ["0.0.0.0:7654", "192.168.1.2:1", "[::]:7654"] {
            let error = start(&["--pg-addr", address]).unwrap_err();
            assert!(error.contains("no authentication yet"), "{error}");
            assert!(start(&["--http-addr", address]).is_err());
        }
        assert!(start(&["--pg-addr", "[::1]:7654"]).is_ok());
        assert!(start(&["--pg-addr", "localhost:0"]).is_ok());
    }

    #[test]
    fn durability_is_configured() {
        let config = start(&[]).unwrap();
        assert_eq!((config.store, config.checkpoints_retained), (None, 3));
        assert_eq!(config.checkpoint_interval, Duration::from_secs(10));
        let config = start(&["--store", "file:///tmp/x", "--checkpoint-interval", "1s"]).unwrap();
        assert_eq!(config.store.as_deref(), Some("file:///tmp/x"));
        assert_eq!(config.checkpoint_interval, Duration::from_secs(1));
        assert!(start(&["--store", "s3://bucket"]).unwrap_err().contains("0A000"));
        assert!(start(&["--store", "file://x"]).unwrap_err().contains("absolute"));
        assert!(start(&["--checkpoint-interval", "1ms"]).is_err());
        assert!(start(&["--checkpoints-retained", "0"]).is_err());
    }

    #[test]
    fn threads_follow_the_cores() {
        let threads: Vec<usize> = [1, 2, 4, 5, 16, 32, 64].map(default_threads).to_vec();
        assert_eq!(threads, [1, 2, 4, 4, 15, 30, 60]);
    }
}
