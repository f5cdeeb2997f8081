//! The `tidemill` command.
//!
//! Exit codes: 0 after a shutdown that was asked for, 1 if the server cannot
//! start, 2 for a wrong command line and for roles that do not exist yet.

use std::io::Write;
use std::process::ExitCode;

use tidemill_server::config::{self, Command, Config};
use tidemill_server::process::{self, logging};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match config::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    match cli.command {
        Command::Start(config) => run(&config),
        Command::Controller => not_available("controller"),
        Command::Worker => not_available("worker"),
    }
}

fn not_available(role: &str) -> ExitCode {
    complain(&format!(
        "`tidemill {role}` is not available yet: one process is the whole server, \
         see `tidemill start --help`"
    ));
    ExitCode::from(2)
}

fn run(config: &Config) -> ExitCode {
    if let Err(error) = logging::init(config) {
        complain(&format!("--log: {error}"));
        return ExitCode::from(2);
    }
    let server = match process::start(config) {
        Ok(server) => server,
        Err(error) => {
            complain(&error.to_string());
            return ExitCode::FAILURE;
        }
    };
    let (pg, http) = (server.pg_addr(), server.http_addr());
    // Whoever waits for this line may have gone; the server serves all the same.
    let mut stdout = std::io::stdout();
    let _ = writeln!(stdout, "ready: psql -h {} -p {} -U tidemill tidemill", pg.ip(), pg.port());
    let _ = stdout.flush();
    tracing::info!(%pg, %http, "serving");
    if let Err(error) = server.wait_for_signal() {
        tracing::error!(%error, "cannot wait for signals");
    }
    tracing::info!("shutting down");
    server.shutdown();
    tracing::info!("stopped");
    ExitCode::SUCCESS
}

fn complain(message: &str) {
    let _ = writeln!(std::io::stderr(), "tidemill: {message}");
}
