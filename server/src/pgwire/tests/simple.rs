//! The simple protocol, message by message.

use super::client::{Client, TestServer, shape};

#[tokio::test]
async fn statements_run_one_after_another_until_one_fails() {
    let server = TestServer::start().await;
    let mut client = Client::start(server.address).await;
    client.query("rows 2; set x; rows 0").await;
    let messages = client.until_ready().await;
    assert_eq!(shape(&messages), "TDCCTCZ");
    let tag = |index: usize| messages.iter().filter(|m| m.tag == 'C').nth(index).unwrap();
    assert_eq!(tag(0).body[..], *b"SELECT 2\0");
    assert_eq!(tag(1).body[..], *b"SET X\0");
    assert_eq!(tag(2).body[..], *b"SELECT 0\0");
    let first = messages.iter().find(|m| m.tag == 'D').unwrap();
    assert_eq!(first.body[..], *b"\0\x02\0\0\0\x010\xff\xff\xff\xff");

    client.query("rows 1; fail; rows 1").await;
    assert_eq!(client.tags().await, "TDCEZ");
    client.query("rows_then_fail; rows 1").await;
    assert_eq!(client.tags().await, "TDEZ");
    client.query("selec").await;
    assert_eq!(client.tags().await, "EZ");
    client.query(" ; ;").await;
    assert_eq!(client.tags().await, "IZ");
    client.query("param").await;
    let messages = client.until_ready().await;
    assert_eq!(messages[0].state(), "42P02");
    let counts = (&server.journal.begun, &server.journal.ended);
    let counts = (
        counts.0.load(std::sync::atomic::Ordering::SeqCst),
        counts.1.load(std::sync::atomic::Ordering::SeqCst),
    );
    assert_eq!(counts, (5, 5));
}

#[tokio::test]
async fn a_binary_cursor_s_rows_are_binary() {
    let server = TestServer::start().await;
    let mut client = Client::start(server.address).await;
    client.query("rows 1 binary").await;
    let messages = client.until_ready().await;
    assert_eq!(shape(&messages), "TDCZ");
    assert_eq!(messages[0].body[messages[0].body.len() - 1], 1);
    assert_eq!(messages[1].body[..], *b"\0\x02\0\0\0\x08\0\0\0\0\0\0\0\0\xff\xff\xff\xff");
}

#[tokio::test]
async fn errors_and_notices_carry_all_their_fields() {
    let server = TestServer::start().await;
    let mut client = Client::start(server.address).await;
    client.query("fail").await;
    let error = client.until_ready().await.remove(0);
    let fields = [b'S', b'V', b'C', b'M', b'D', b'H', b'P'].map(|code| error.field(code).unwrap());
    let expected = ["ERROR", "ERROR", "42703", "no  column x", "a detail", "a hint", "8"];
    assert_eq!(fields, expected);

    client.query("notice").await;
    let messages = client.until_ready().await;
    assert_eq!(shape(&messages), "NNCZ");
    assert_eq!(messages[0].field(b'S').unwrap(), "WARNING");
    assert_eq!(messages[1].field(b'S').unwrap(), "NOTICE");
}

#[tokio::test]
async fn the_transaction_status_is_told() {
    let server = TestServer::start().await;
    let mut client = Client::start(server.address).await;
    for (query, status) in
        [("begin", b'T'), ("fail", b'E'), ("rows 1", b'E'), ("commit", b'I'), ("rows 1", b'I')]
    {
        client.query(query).await;
        let ready = client.until_ready().await.pop().unwrap();
        assert_eq!(ready.body[..], [status], "after {query}");
    }
}

#[tokio::test]
async fn bad_messages_leave_the_connection_usable() {
    let server = TestServer::start().await;
    let mut client = Client::start(server.address).await;
    client.send('Q', b"no end").await;
    let messages = client.until_ready().await;
    assert_eq!((shape(&messages).as_str(), messages[0].state().as_str()), ("EZ", "08P01"));
    client.send('Q', b"\xff\0").await;
    assert_eq!(client.until_ready().await[0].state(), "22021");
    client.send('F', b"\0\0\0\x01\0\0\0\0\0\0").await;
    assert_eq!(client.until_ready().await[0].state(), "08P01");
    // Left over from a COPY that failed: ignored.
    client.send('d', b"row").await;
    client.send('c', b"").await;
    client.query("rows 1").await;
    assert_eq!(client.tags().await, "TDCZ");
}
