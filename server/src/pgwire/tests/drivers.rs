//! The wire as a real driver uses it: tokio-postgres, extended protocol, binary.

use futures::TryStreamExt;
use tokio_postgres::{Client, NoTls};

use super::client::TestServer;

async fn connect(server: &TestServer) -> Client {
    let address = server.address;
    let config = format!("host={} port={} user=test", address.ip(), address.port());
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn queries_with_parameters_and_binary_results() {
    let server = TestServer::start().await;
    let client = connect(&server).await;
    let row = client.query_one("param", &[&42_i64]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 42);
    let row = client.query_one("param", &[&None::<i64>]).await.unwrap();
    assert_eq!(row.get::<_, Option<i64>>(0), None);
    let rows = client.query("rows 25", &[]).await.unwrap();
    assert_eq!(rows.len(), 25);
    assert_eq!(rows[11].get::<_, i64>(0), 11);
    assert_eq!(rows[11].get::<_, Option<&str>>(1), Some("row 11"));
    assert_eq!(rows[10].get::<_, Option<&str>>(1), None);
    let error = client.execute("fail", &[]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42703");
    assert_eq!(client.batch_execute("rows 1; set x").await.ok(), Some(()));
}

#[tokio::test]
async fn a_portal_is_read_in_portions() {
    let server = TestServer::start().await;
    let mut client = connect(&server).await;
    let transaction = client.build_transaction().start().await;
    // The scripted session knows no `START TRANSACTION`; the driver does not mind.
    let transaction = transaction.unwrap();
    transaction.batch_execute("begin").await.unwrap();
    let portal = transaction.bind("rows 2500", &[]).await.unwrap();
    let mut read = Vec::new();
    loop {
        let portion = transaction.query_portal(&portal, 1000).await.unwrap();
        if portion.is_empty() {
            break;
        }
        read.push(portion.len());
    }
    assert_eq!(read, [1000, 1000, 500]);
}

#[tokio::test]
async fn the_driver_cancels_a_stream() {
    let server = TestServer::start().await;
    let client = connect(&server).await;
    let token = client.cancel_token();
    let rows = client.query_raw("endless", std::iter::empty::<i64>()).await.unwrap();
    let mut rows = std::pin::pin!(rows);
    let mut count = 0_usize;
    let error = loop {
        match rows.try_next().await {
            Ok(Some(_)) if count == 1000 => {
                token.cancel_query(NoTls).await.unwrap();
                count += 1;
            }
            Ok(Some(_)) => count += 1,
            Ok(None) => panic!("an endless stream has ended"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code().unwrap().code(), "57014");
    assert_eq!(client.query("rows 1", &[]).await.unwrap().len(), 1);
}
