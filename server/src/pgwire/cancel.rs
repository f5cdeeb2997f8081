//! Who may cancel what: a connection's number and secret, as BackendKeyData told
//! them to its client.
//!
//! A request is answered by nothing, right or wrong. It interrupts what the
//! connection is doing at that moment; a connection that is idle forgets it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::Rng;
use tokio::sync::watch;

type Entries = HashMap<i32, (i32, watch::Sender<u64>)>;

/// The connections that can be cancelled.
#[derive(Clone, Debug, Default)]
pub struct CancelRegistry {
    entries: Arc<Mutex<Entries>>,
}

impl CancelRegistry {
    /// A new number and secret, both random, valid while the ticket lives.
    #[must_use]
    pub fn register(&self) -> CancelTicket {
        let (sender, requests) = watch::channel(0);
        let secret = rand::rng().random();
        let mut entries = self.entries.lock();
        let pid = loop {
            let pid = rand::rng().random_range(1..i32::MAX);
            if !entries.contains_key(&pid) {
                break pid;
            }
        };
        entries.insert(pid, (secret, sender));
        CancelTicket { pid, secret, requests, entries: self.entries.clone() }
    }

    /// Interrupts connection `pid` if `secret` is its secret.
    pub fn cancel(&self, pid: i32, secret: i32) {
        let entries = self.entries.lock();
        if let Some((_, sender)) = entries.get(&pid).filter(|(s, _)| *s == secret) {
            sender.send_modify(|requests| *requests += 1);
        }
    }
}

/// A connection's entry, removed when dropped.
#[derive(Debug)]
pub struct CancelTicket {
    pid: i32,
    secret: i32,
    requests: watch::Receiver<u64>,
    entries: Arc<Mutex<Entries>>,
}

impl CancelTicket {
    /// The connection's number.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// What a request must know.
    #[must_use]
    pub fn secret(&self) -> i32 {
        self.secret
    }

    /// Changes with every request.
    #[must_use]
    pub fn requests(&self) -> watch::Receiver<u64> {
        self.requests.clone()
    }
}

impl Drop for CancelTicket {
    fn drop(&mut self) {
        self.entries.lock().remove(&self.pid);
    }
}
