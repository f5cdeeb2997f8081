//! A server with scripted sessions, and a client that speaks in bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::scripted::{Factory, Journal};
use crate::http::metrics::ServerMetrics;
use crate::pgwire::{Wire, WireOptions, serve};

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct TestServer {
    pub address: SocketAddr,
    pub journal: Arc<Journal>,
    pub metrics: Arc<ServerMetrics>,
    pub shutdown: CancellationToken,
    pub serving: JoinHandle<()>,
}

impl TestServer {
    pub async fn start() -> Self {
        Self::with(WireOptions::default()).await
    }

    pub async fn with(options: WireOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let factory = Factory::default();
        let journal = factory.0.clone();
        let metrics = Arc::new(ServerMetrics::new().unwrap());
        let shutdown = CancellationToken::new();
        let wire = Wire::new(options, Arc::new(factory), metrics.clone(), shutdown.clone());
        let serving = tokio::spawn(serve(listener, Arc::new(wire)));
        TestServer { address, journal, metrics, shutdown, serving }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// A message from the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    pub tag: char,
    pub body: Bytes,
}

impl Message {
    /// A field of an error or notice.
    pub fn field(&self, code: u8) -> Option<String> {
        assert!(matches!(self.tag, 'E' | 'N'), "{self:?}");
        let field = self.body.split(|b| *b == 0).find(|field| field.first() == Some(&code))?;
        Some(String::from_utf8(field[1..].to_vec()).unwrap())
    }

    pub fn state(&self) -> String {
        self.field(b'C').unwrap()
    }
}

pub struct Client {
    pub io: TcpStream,
    buffer: BytesMut,
    /// From BackendKeyData.
    pub key: (i32, i32),
}

impl Client {
    /// Connects without a word.
    pub async fn connect(address: SocketAddr) -> Self {
        let io = TcpStream::connect(address).await.unwrap();
        Client { io, buffer: BytesMut::new(), key: (0, 0) }
    }

    /// Connects and waits until the server is ready.
    pub async fn start(address: SocketAddr) -> Self {
        let mut client = Self::connect(address).await;
        client.startup("user\0test\0\0").await;
        for message in client.until_ready().await {
            if message.tag == 'K' {
                let mut body = message.body;
                client.key = (body.get_i32(), body.get_i32());
            }
        }
        client
    }

    pub async fn startup(&mut self, parameters: &str) {
        self.packet(196_608, parameters.as_bytes()).await;
    }

    /// A packet without a type byte.
    pub async fn packet(&mut self, code: i32, body: &[u8]) {
        let mut packet = BytesMut::new();
        packet.put_i32(8 + body.len() as i32);
        packet.put_i32(code);
        packet.extend_from_slice(body);
        self.raw(&packet).await;
    }

    pub async fn raw(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.unwrap();
    }

    pub async fn send(&mut self, tag: char, body: &[u8]) {
        let message = message(tag, body);
        self.raw(&message).await;
    }

    pub async fn query(&mut self, query: &str) {
        self.send('Q', &[query.as_bytes(), b"\0"].concat()).await;
    }

    /// The next message; `None`: the server has closed the connection.
    pub async fn receive(&mut self) -> Option<Message> {
        tokio::time::timeout(PATIENCE, self.receive_patiently()).await.expect("an answer in time")
    }

    async fn receive_patiently(&mut self) -> Option<Message> {
        while self.buffer.len() < 5 || self.buffer.len() < 1 + self.stated_length() {
            if self.io.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                assert!(self.buffer.is_empty(), "half a message: {:?}", self.buffer);
                return None;
            }
        }
        let length = self.stated_length();
        let mut message = self.buffer.split_to(1 + length);
        let tag = char::from(message.get_u8());
        message.advance(4);
        Some(Message { tag, body: message.freeze() })
    }

    fn stated_length(&self) -> usize {
        (&self.buffer[1..5]).get_i32() as usize
    }

    /// A single byte, the answer to an encryption request.
    pub async fn byte(&mut self) -> u8 {
        self.io.read_u8().await.unwrap()
    }

    /// All messages up to ReadyForQuery.
    pub async fn until_ready(&mut self) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            let message = self.receive().await.expect("ReadyForQuery");
            let ready = message.tag == 'Z';
            messages.push(message);
            if ready {
                return messages;
            }
        }
    }

    /// Their types, rows in a row counted once.
    pub async fn tags(&mut self) -> String {
        shape(&self.until_ready().await)
    }

    /// The error that ends the connection, and its end.
    pub async fn last_words(&mut self) -> Message {
        let mut last = self.receive().await.expect("last words");
        while let Some(message) = self.receive().await {
            last = message;
        }
        assert_eq!(last.field(b'S').unwrap(), "FATAL");
        last
    }
}

pub fn shape(messages: &[Message]) -> String {
    let mut tags: Vec<char> = messages.iter().map(|m| m.tag).collect();
    tags.dedup_by(|a, b| *a == 'D' && *b == 'D');
    tags.into_iter().collect()
}

pub fn message(tag: char, body: &[u8]) -> Vec<u8> {
    let length = (4 + body.len() as i32).to_be_bytes();
    [&[tag as u8], &length[..], body].concat()
}

/// Parse of an unnamed or named statement.
pub fn parse(name: &str, query: &str) -> Vec<u8> {
    message('P', format!("{name}\0{query}\0\0\0").as_bytes())
}

/// Bind without parameters, results as text.
pub fn bind(portal: &str, statement: &str) -> Vec<u8> {
    message('B', format!("{portal}\0{statement}\0\0\0\0\0\0\0").as_bytes())
}

pub fn execute(portal: &str, rows_max: i32) -> Vec<u8> {
    let body = [portal.as_bytes(), b"\0", &rows_max.to_be_bytes()].concat();
    message('E', &body)
}

pub fn sync() -> Vec<u8> {
    message('S', b"")
}
