//! Cancel, timeout, hang-up, shutdown, panic and clients that do not read.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::client::{Client, TestServer, bind, execute, parse, shape, sync};

const CANCEL: i32 = 80_877_102;

async fn cancel(server: &TestServer, (pid, secret): (i32, i32)) {
    let mut request = Client::connect(server.address).await;
    let body = [pid.to_be_bytes(), secret.to_be_bytes()].concat();
    request.packet(CANCEL, &body).await;
    assert_eq!(request.receive().await, None);
}

async fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(10), "waited for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel_stops_a_statement_and_a_stream() {
    let server = TestServer::start().await;
    let mut client = Client::start(server.address).await;
    let running = &server.journal.running;
    for query in ["sleep", "endless", "rows_then_wait"] {
        client.query(query).await;
        wait_until("the statement", || running.load(Ordering::SeqCst) == 1).await;
        let (pid, secret) = client.key;
        cancel(&server, (pid, secret.wrapping_add(1))).await;
        cancel(&server, (pid, secret)).await;
        let asked = Instant::now();
        let messages = client.until_ready().await;
        assert!(asked.elapsed() < Duration::from_secs(1), "{query}: {:?}", asked.elapsed());
        let error = &messages[messages.len() - 2];
        assert_eq!(error.state(), "57014");
        assert!(error.field(b'M').unwrap().ends_with("due to user request"));
        assert_eq!(running.load(Ordering::SeqCst), 0, "{query} goes on");
    }
    // One that comes too late does not hit the next statement.
    cancel(&server, client.key).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    client.query("rows 1").await;
    assert_eq!(client.tags().await, "TDCZ");
}

#[tokio::test]
async fn statement_timeout_stops_statements_and_streams() {
    let server = TestServer::start().await;
    let mut client = Client::start(server.address).await;
    client.query("set timeout 80").await;
    assert_eq!(client.tags().await, "CZ");
    client.query("sleep").await;
    let messages = client.until_ready().await;
    assert!(messages[0].field(b'M').unwrap().ends_with("due to statement timeout"));
    client.raw(&[parse("", "rows_then_wait"), bind("", ""), execute("", 0), sync()].concat()).await;
    let messages = client.until_ready().await;
    assert_eq!(shape(&messages), "12DEZ");
    assert_eq!(messages[messages.len() - 2].state(), "57014");
    assert_eq!(server.journal.running.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn rows_of_a_slow_stream_arrive_before_its_end() {
    let server = TestServer::start().await;
    let mut client = Client::start(server.address).await;
    client.query("rows_then_wait").await;
    let mut tags = String::new();
    for _ in 0..4 {
        tags.push(client.receive().await.unwrap().tag);
    }
    assert_eq!(tags, "TDDD");
}

#[tokio::test]
async fn a_client_that_hangs_up_stops_its_work() {
    let server = TestServer::start().await;
    for query in ["sleep", "endless"] {
        let mut client = Client::start(server.address).await;
        client.query(query).await;
        let running = &server.journal.running;
        wait_until("the statement", || running.load(Ordering::SeqCst) == 1).await;
        drop(client);
        wait_until("the statement's end", || running.load(Ordering::SeqCst) == 0).await;
        wait_until("the connection's end", || server.metrics.connections() == 0).await;
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_stops_the_query_from_producing() {
    let server = TestServer::start().await;
    let mut client = Client::start(server.address).await;
    client.query("endless").await;
    let batches = || server.journal.batches.load(Ordering::SeqCst);
    // Sockets buffer some; then nothing moves any more.
    let mut before = usize::MAX;
    while before != batches() {
        before = batches();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(before > 0);
    // And goes on when the client reads.
    for _ in 0..100 * super::scripted::BATCH {
        client.receive().await.unwrap();
    }
    wait_until("more rows", || batches() > before).await;
}

#[tokio::test]
async fn many_rows_arrive_whole() {
    const ROWS: usize = 300_000;
    let server = TestServer::start().await;
    let mut client = Client::start(server.address).await;
    client.query(&format!("rows {ROWS}")).await;
    let messages = client.until_ready().await;
    assert_eq!(shape(&messages), "TDCZ");
    assert_eq!(messages.iter().filter(|m| m.tag == 'D').count(), ROWS);
    let last = &messages[ROWS].body;
    assert_eq!(last[..], *b"\0\x02\0\0\0\x06299999\0\0\0\x0arow 299999");
}

#[tokio::test]
async fn a_panic_ends_its_connection_only() {
    let server = TestServer::start().await;
    let mut other = Client::start(server.address).await;
    let mut client = Client::start(server.address).await;
    client.query("panic").await;
    assert_eq!(client.last_words().await.state(), "XX000");
    other.query("rows 1").await;
    assert_eq!(other.tags().await, "TDCZ");
}

#[tokio::test]
async fn shutdown_ends_idle_and_busy_connections() {
    let mut server = TestServer::start().await;
    let mut idle = Client::start(server.address).await;
    let mut busy = Client::start(server.address).await;
    busy.query("sleep").await;
    let mut waiting = Client::connect(server.address).await;
    let running = &server.journal.running;
    wait_until("the statement", || running.load(Ordering::SeqCst) == 1).await;
    server.shutdown.cancel();
    assert_eq!(idle.last_words().await.state(), "57P01");
    assert_eq!(busy.last_words().await.state(), "57P01");
    assert_eq!(waiting.last_words().await.state(), "57P01");
    drop((idle, busy, waiting));
    (&mut server.serving).await.unwrap();
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err());
}
