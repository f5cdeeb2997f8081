//! The extended protocol, message by message.

use super::client::{Client, TestServer, bind, execute, message, parse, shape, sync};

async fn answer(client: &mut Client, messages: &[Vec<u8>]) -> String {
    client.raw(&messages.concat()).await;
    client.tags().await
}

#[tokio::test]
async fn a_statement_is_parsed_described_bound_and_executed() {
    let server = TestServer::start().await;
    let mut client = Client::start(server.address).await;
    // Describe before Bind, as psycopg does.
    let steps = [
        parse("s", "rows 2"),
        message('D', b"Ss\0"),
        bind("", "s"),
        message('D', b"P\0"),
        execute("", 0),
        sync(),
    ];
    client.raw(&steps.concat()).await;
    let messages = client.until_ready().await;
    assert_eq!(shape(&messages), "1tT2TDCZ");
    assert_eq!(messages[1].body[..], [0, 0]);
    let description = b"\0\x02n\0\0\0\0\0\0\0\0\0\0\x14\0\x08\xff\xff\xff\xff\0\0\
        t\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0";
    assert_eq!(messages[2].body[..], *description);
    // A statement without rows, and one without text.
    let commands = [parse("", "set x"), message('D', b"S\0"), bind("", ""), execute("", 0), sync()];
    assert_eq!(answer(&mut client, &commands).await, "1tn2CZ");
    let empty = [parse("", " "), bind("", ""), message('D', b"P\0"), execute("", 0), sync()];
    assert_eq!(answer(&mut client, &empty).await, "12nIZ");
}

#[tokio::test]
async fn row_limits_suspend_a_portal() {
    let server = TestServer::start().await;
    let mut client = Client::start(server.address).await;
    let steps = [
        parse("", "rows 2500"),
        bind("p", ""),
        execute("p", 1),
        execute("p", 1200),
        execute("p", 0),
        execute("p", 0),
        sync(),
    ];
    client.raw(&steps.concat()).await;
    let messages = client.until_ready().await;
    assert_eq!(shape(&messages), "12DsDsDCCZ");
    let rows: Vec<usize> =
        messages.split(|m| m.tag != 'D').map(<[_]>::len).filter(|rows| *rows > 0).collect();
    assert_eq!(rows, [1, 1200, 1299]);
    let tags: Vec<_> = messages.iter().filter(|m| m.tag == 'C').map(|m| &m.body[..]).collect();
    assert_eq!(tags, [b"SELECT 1299\0", b"SELECT 0\0\0\0\0".get(..9).unwrap()]);
    // Rows go on where they stopped: 0, 1, ..., 2499.
    let numbers: Vec<String> = messages
        .iter()
        .filter(|m| m.tag == 'D')
        .map(|m| String::from_utf8(m.body[6..6 + usize::from(m.body[5])].to_vec()).unwrap())
        .collect();
    let expected: Vec<String> = (0..2500).map(|n| n.to_string()).collect();
    assert_eq!(numbers, expected);
}

#[tokio::test]
async fn portals_live_as_long_as_their_transaction() {
    let server = TestServer::start().await;
    let mut client = Client::start(server.address).await;
    let open = [parse("s", "rows 10"), bind("p", "s"), execute("p", 3), sync()];
    assert_eq!(answer(&mut client, &open).await, "12DsZ");
    assert_eq!(answer(&mut client, &[execute("p", 3), sync()]).await, "EZ");

    client.query("begin").await;
    client.until_ready().await;
    let open = [bind("p", "s"), execute("p", 3), sync()];
    assert_eq!(answer(&mut client, &open).await, "2DsZ");
    assert_eq!(answer(&mut client, &[execute("p", 100), sync()]).await, "DCZ");
    client.query("commit").await;
    client.until_ready().await;
    assert_eq!(answer(&mut client, &[execute("p", 3), sync()]).await, "EZ");
}

#[tokio::test]
async fn cursors_of_sql_are_described_and_closed_as_portals() {
    let server = TestServer::start().await;
    let mut client = Client::start(server.address).await;
    client.query("cursor c; cursor d binary").await;
    assert_eq!(client.tags().await, "CCZ");
    for (name, format) in [("c", 0), ("d", 1)] {
        client.raw(&[message('D', format!("P{name}\0").as_bytes()), sync()].concat()).await;
        let messages = client.until_ready().await;
        assert_eq!(shape(&messages), "TZ");
        assert_eq!(messages[0].body[messages[0].body.len() - 1], format);
    }
    for (step, state) in
        [(execute("c", 0), "0A000"), ([parse("", "rows 1"), bind("c", "")].concat(), "42P03")]
    {
        client.raw(&[step, sync()].concat()).await;
        let messages = client.until_ready().await;
        assert_eq!(messages.iter().find(|m| m.tag == 'E').unwrap().state(), state);
    }
    assert_eq!(answer(&mut client, &[message('C', b"Pc\0"), sync()]).await, "3Z");
    assert_eq!(answer(&mut client, &[message('D', b"Pc\0"), sync()]).await, "EZ");
}

#[tokio::test]
async fn everything_after_an_error_is_skipped_to_sync() {
    let server = TestServer::start().await;
    let mut client = Client::start(server.address).await;
    // The error comes without waiting for Sync.
    client.raw(&[parse("", "selec"), bind("", ""), execute("", 0)].concat()).await;
    let error = client.receive().await.unwrap();
    assert_eq!((error.tag, error.state().as_str()), ('E', "42601"));
    // Nothing else has an effect, a simple query included.
    client.query("rows 1").await;
    client.raw(&[parse("t", "rows 1"), sync()].concat()).await;
    assert_eq!(client.tags().await, "Z");
    assert_eq!(answer(&mut client, &[bind("", "t"), sync()]).await, "EZ");

    let failing = [
        parse("", "rows_then_fail"),
        bind("", ""),
        execute("", 0),
        parse("", "rows 1"),
        bind("", ""),
        execute("", 0),
        sync(),
        parse("", "rows 1"),
        bind("", ""),
        execute("", 0),
        sync(),
    ];
    assert_eq!(answer(&mut client, &failing).await, "12DEZ");
    assert_eq!(client.tags().await, "12DCZ");
}

#[tokio::test]
async fn names_are_checked() {
    let server = TestServer::start().await;
    let mut client = Client::start(server.address).await;
    let cases: [(&[Vec<u8>], &str); 7] = [
        (&[parse("s", "rows 1"), parse("s", "rows 1")], "42P05"),
        (&[bind("p", "s"), bind("p", "s")], "42P03"),
        (&[bind("", "missing")], "26000"),
        (&[message('D', b"Smissing\0")], "26000"),
        (&[execute("missing", 0)], "34000"),
        (&[message('D', b"Pmissing\0")], "34000"),
        (&[parse("", "rows 1; rows 2")], "42601"),
    ];
    for (steps, state) in cases {
        client.raw(&[steps.concat(), sync()].concat()).await;
        let messages = client.until_ready().await;
        let error = messages.iter().find(|m| m.tag == 'E').unwrap();
        assert_eq!(error.state(), state);
    }
    // The unnamed ones are replaced; closing what does not exist is no error.
    let steps = [
        parse("", "rows 1"),
        parse("", "rows 2"),
        bind("", ""),
        bind("", ""),
        message('C', b"Ss\0"),
        message('C', b"Smissing\0"),
        sync(),
    ];
    assert_eq!(answer(&mut client, &steps).await, "112233Z");
    assert_eq!(answer(&mut client, &[bind("", "s"), sync()]).await, "EZ");
}

#[tokio::test]
async fn parameters_are_described_and_decoded_in_both_formats() {
    let server = TestServer::start().await;
    let mut client = Client::start(server.address).await;
    let as_text = message('B', b"\0p\0\0\0\0\x01\0\0\0\x0242\0\x01\0\x01");
    let as_binary = message('B', b"\0p\0\0\x01\0\x01\0\x01\0\0\0\x08\0\0\0\0\0\0\0\x07\0\0");
    let steps = [
        parse("p", "param"),
        message('D', b"Sp\0"),
        as_text,
        execute("", 0),
        as_binary,
        execute("", 0),
        sync(),
    ];
    client.raw(&steps.concat()).await;
    let messages = client.until_ready().await;
    assert_eq!(shape(&messages), "1tT2DC2DCZ");
    assert_eq!(messages[1].body[..], *b"\0\x01\0\0\0\x14");
    let rows: Vec<_> = messages.iter().filter(|m| m.tag == 'D').map(|m| &m.body[..]).collect();
    assert_eq!(rows, [&b"\0\x01\0\0\0\x08\0\0\0\0\0\0\0\x2a"[..], b"\0\x01\0\0\0\x017"]);

    for (body, state) in [
        (&b"\0p\0\0\0\0\0\0\0"[..], "08P01"),
        (b"\0p\0\0\0\0\x01\0\0\0\x01x\0\0", "22P02"),
        (b"\0p\0\0\x01\0\x01\0\x01\0\0\0\x01x\0\0", "22P03"),
        (b"\0p\0\0\x01\0\x02\0\x01\0\0\0\x01x\0\0", "22023"),
        (b"\0p\0\0\0\0\x01\0\0\0\x011\0\x02\0\0\0\0", "08P01"),
    ] {
        client.raw(&[message('B', body), sync()].concat()).await;
        let messages = client.until_ready().await;
        assert_eq!((shape(&messages).as_str(), messages[0].state().as_str()), ("EZ", state));
    }
}
