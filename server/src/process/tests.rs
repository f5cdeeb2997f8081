//! A whole server with scripted sessions: start, health, metrics, shutdown.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;

use super::{Backend, Server, StartError, start_with};
use crate::config::{Config, DataDirectory};
use crate::pgwire::tests::client::Client;
use crate::pgwire::tests::scripted::Factory;

fn start(config: &Config, stopped: &Arc<AtomicBool>) -> Result<Server, StartError> {
    let stopped = Arc::clone(stopped);
    let backend = Backend {
        sessions: Arc::new(Factory::default()),
        metrics: Arc::new(()),
        settle: Box::new(|| {}),
        stop: Box::new(move || stopped.store(true, Ordering::SeqCst)),
    };
    start_with(config, |_: &Config, _: &DataDirectory, _: &Handle| Ok::<_, std::io::Error>(backend))
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut io = TcpStream::connect(address).unwrap();
    write!(io, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    io.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_starts_answers_and_stops() {
    let directory = tempfile::tempdir().unwrap();
    let config = Config::embedded(directory.path().to_owned());
    let stopped = Arc::new(AtomicBool::new(false));
    let server = start(&config, &stopped).unwrap();
    let mut client = Client::start(server.pg_addr()).await;
    client.query("rows 3").await;
    assert_eq!(client.tags().await, "TDCZ");

    let health = get(server.http_addr(), "/health");
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    assert!(health.contains("\"status\":\"serving\""), "{health}");
    let metrics = get(server.http_addr(), "/metrics");
    assert!(metrics.contains("tidemill_statements_total{outcome=\"completed\"} 1"), "{metrics}");
    assert!(get(server.http_addr(), "/nothing").starts_with("HTTP/1.1 404"));

    // One server at a time for the directory and for the addresses.
    let error = start(&config, &stopped).unwrap_err();
    assert!(matches!(error, StartError::Directory(_)), "{error}");
    let other = tempfile::tempdir().unwrap();
    let same_port =
        Config { data_dir: other.path().to_owned(), pg_addr: server.pg_addr(), ..config.clone() };
    let error = start(&same_port, &stopped).unwrap_err();
    assert!(error.to_string().contains("--pg-addr"), "{error}");

    let pg_addr = server.pg_addr();
    let stopping = tokio::task::spawn_blocking(move || server.shutdown());
    assert_eq!(client.last_words().await.state(), "57P01");
    drop(client);
    stopping.await.unwrap();
    assert!(stopped.load(Ordering::SeqCst));
    assert!(TcpStream::connect(pg_addr).is_err());
    // The directory is free again.
    start(&config, &stopped).unwrap().shutdown();
}
