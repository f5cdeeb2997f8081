//! Startup in every legal way, and attacks on it, byte by byte.

use std::time::Duration;

use super::client::{Client, TestServer};
use crate::pgwire::WireOptions;

const SSL: i32 = 80_877_103;
const GSSENC: i32 = 80_877_104;
const CANCEL: i32 = 80_877_102;

#[tokio::test]
async fn the_greeting_is_complete() {
    let server = TestServer::start().await;
    let mut client = Client::connect(server.address).await;
    client.startup("user\0ann\0application_name\0a b\0\0").await;
    let messages = client.until_ready().await;
    let tags: String = messages.iter().map(|m| m.tag).collect();
    assert_eq!(tags, "RSSSSKZ");
    assert_eq!(messages[0].body[..], [0, 0, 0, 0]);
    assert!(messages.iter().any(|m| m.body[..] == *b"application_name\0a b\0"));
    assert_eq!(messages[6].body[..], *b"I");
    // The metrics know of it until it has ended.
    assert_eq!(server.metrics.connections(), 1);
    client.send('X', b"").await;
    assert_eq!(client.receive().await, None);
}

#[tokio::test]
async fn impossible_startup_lengths_are_refused_before_anything_is_read() {
    let server = TestServer::start().await;
    for length in [0, 1, 3, 4, 7, -1, i32::MIN, 10_001, i32::MAX] {
        let mut client = Client::connect(server.address).await;
        client.raw(&i32::to_be_bytes(length)).await;
        let error = client.last_words().await;
        assert_eq!(error.state(), "08P01", "length {length}");
        assert_eq!(error.field(b'M').unwrap(), "invalid length of startup packet");
    }
    Client::start(server.address).await;
}

#[tokio::test]
async fn a_startup_packet_of_the_largest_size_is_read() {
    let server = TestServer::start().await;
    let mut client = Client::connect(server.address).await;
    let rest = "user\0ann\0application_name\0";
    let value = "x".repeat(10_000 - 8 - rest.len() - 2);
    client.startup(&format!("{rest}{value}\0\0")).await;
    assert_eq!(client.tags().await, "RSSSSKZ");
}

#[tokio::test]
async fn encryption_is_refused_and_the_connection_goes_on() {
    let server = TestServer::start().await;
    let mut client = Client::connect(server.address).await;
    client.packet(GSSENC, b"").await;
    assert_eq!(client.byte().await, b'N');
    client.packet(SSL, b"").await;
    assert_eq!(client.byte().await, b'N');
    client.startup("user\0ann\0\0").await;
    assert_eq!(client.tags().await, "RSSSKZ");

    // Each may be asked for once.
    let mut client = Client::connect(server.address).await;
    client.packet(SSL, b"").await;
    assert_eq!(client.byte().await, b'N');
    client.packet(SSL, b"").await;
    assert_eq!(client.last_words().await.state(), "08P01");
}

#[tokio::test]
async fn bytes_behind_an_encryption_request_end_the_connection() {
    let server = TestServer::start().await;
    let mut client = Client::connect(server.address).await;
    let startup = b"\0\0\0\x13\0\x03\0\0user\0ann\0\0";
    let request = [&8_i32.to_be_bytes()[..], &SSL.to_be_bytes()[..], startup].concat();
    client.raw(&request).await;
    // The refusal must not be mistaken for an agreement.
    assert_eq!(client.last_words().await.state(), "08P01");
}

#[tokio::test]
async fn versions_and_options_are_negotiated() {
    let server = TestServer::start().await;
    let mut client = Client::connect(server.address).await;
    client.packet((3 << 16) + 2, b"user\0ann\0_pq_.x\0on\0\0").await;
    let messages = client.until_ready().await;
    assert_eq!(messages[0].tag, 'v');
    assert_eq!(messages[0].body[..], *b"\0\x03\0\0\0\0\0\x01_pq_.x\0");
    assert_eq!(messages[1].tag, 'R');

    for version in [2 << 16, 4 << 16, 0, -1] {
        let mut client = Client::connect(server.address).await;
        client.packet(version, b"user\0ann\0\0").await;
        assert_eq!(client.last_words().await.state(), "0A000", "{version}");
    }
}

#[tokio::test]
async fn a_refused_startup_says_why() {
    let server = TestServer::start().await;
    for (parameters, state) in [
        ("database\0d\0\0", "28000"),
        ("user\0nobody\0\0", "28000"),
        ("user\0ann\0options\0-c\0\0", "42601"),
        ("user\0ann\0replication\0true\0\0", "0A000"),
        ("user\0ann\0", "08P01"),
    ] {
        let mut client = Client::connect(server.address).await;
        client.startup(parameters).await;
        assert_eq!(client.last_words().await.state(), state, "{parameters:?}");
    }
}

#[tokio::test]
async fn who_does_not_finish_the_handshake_is_dropped() {
    let options =
        WireOptions { handshake_deadline: Duration::from_millis(100), ..WireOptions::default() };
    let server = TestServer::with(options).await;
    let mut silent = Client::connect(server.address).await;
    let mut slow = Client::connect(server.address).await;
    slow.raw(&100_i32.to_be_bytes()).await;
    assert_eq!(silent.receive().await, None);
    assert_eq!(slow.receive().await, None);
}

#[tokio::test]
async fn one_connection_too_many_is_refused_and_a_place_becomes_free() {
    let server =
        TestServer::with(WireOptions { connections_max: 1, ..WireOptions::default() }).await;
    let mut first = Client::start(server.address).await;
    let mut second = Client::connect(server.address).await;
    second.startup("user\0ann\0\0").await;
    assert_eq!(second.last_words().await.state(), "53300");
    // A cancel request needs no place.
    let mut request = Client::connect(server.address).await;
    request.packet(CANCEL, &[0; 8]).await;
    assert_eq!(request.receive().await, None);
    first.send('X', b"").await;
    assert_eq!(first.receive().await, None);
    while server.metrics.connections() > 0 {
        tokio::task::yield_now().await;
    }
    Client::start(server.address).await;
}

#[tokio::test]
async fn messages_beyond_their_limit_are_refused_unread() {
    let options = WireOptions { message_bytes_max: 1 << 20, ..WireOptions::default() };
    let server = TestServer::with(options).await;
    for (tag, length, state) in [
        ('Q', (1 << 20) + 1, "54000"),
        ('B', i32::MAX, "54000"),
        ('Q', 3, "08P01"),
        ('Q', -1, "08P01"),
        ('S', 10_001, "08P01"),
        ('E', i32::MAX, "08P01"),
        ('?', 4, "08P01"),
        ('p', 4, "08P01"),
    ] {
        let mut client = Client::start(server.address).await;
        client.raw(&[&[tag as u8], &i32::to_be_bytes(length)[..]].concat()).await;
        assert_eq!(client.last_words().await.state(), state, "{tag} of {length} bytes");
    }
    let mut client = Client::start(server.address).await;
    client.query(&" ".repeat((1 << 20) - 10)).await;
    assert_eq!(client.tags().await, "IZ");
}
