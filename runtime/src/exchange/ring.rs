//! The bounded queue between one producing and one consuming fragment instance.
//!
//! Single producer, single consumer, no locks. Order is the only guarantee that
//! the rest relies on: data and barriers travel in one sequence. A full ring
//! blocks its producer (the message is handed back); a side that was waiting is
//! woken by the other.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;

use tidemill_types::ChangeBatch;

use crate::operators::Barrier;

/// Messages that a ring holds at most; a producer that meets a full ring stops.
pub const RING_CAPACITY: usize = 16;

/// What travels through a ring.
#[derive(Debug)]
pub enum Message {
    Batch(ChangeBatch),
    Barrier(Barrier),
}

/// Wakes a worker that has parked for want of work. Cheap when it is awake.
#[derive(Clone, Debug, Default)]
pub struct Waker(Arc<WakerState>);

#[derive(Debug, Default)]
struct WakerState {
    parked: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Waker {
    /// The worker runs on the calling thread from now on.
    pub fn bind_to_current_thread(&self) {
        let _ = self.0.thread.set(std::thread::current());
    }

    /// Announces that the worker is about to park. It must look for work once
    /// more before it does: what arrives after this call wakes it.
    pub fn about_to_park(&self) {
        self.0.parked.store(true, Ordering::SeqCst);
    }

    /// The worker is running.
    pub fn awake(&self) {
        self.0.parked.store(false, Ordering::SeqCst);
    }

    pub fn wake(&self) {
        if self.0.parked.swap(false, Ordering::SeqCst)
            && let Some(thread) = self.0.thread.get()
        {
            thread.unpark();
        }
    }
}

/// The producer's end.
#[derive(Debug)]
pub struct RingSender {
    queue: rtrb::Producer<Message>,
    consumer: Waker,
    blocked: Arc<AtomicBool>,
}

/// The consumer's end.
#[derive(Debug)]
pub struct RingReceiver {
    queue: rtrb::Consumer<Message>,
    producer: Waker,
    blocked: Arc<AtomicBool>,
}

/// A ring from the worker of `producer` to the worker of `consumer`.
#[must_use]
pub fn ring(producer: Waker, consumer: Waker) -> (RingSender, RingReceiver) {
    let (sender, receiver) = rtrb::RingBuffer::new(RING_CAPACITY);
    let blocked = Arc::new(AtomicBool::new(false));
    (
        RingSender { queue: sender, consumer, blocked: Arc::clone(&blocked) },
        RingReceiver { queue: receiver, producer, blocked },
    )
}

impl RingSender {
    /// Hands `message` back when the ring is full; the producer's worker is woken
    /// when there is room again.
    pub fn try_send(&mut self, message: Message) -> Result<(), Message> {
        let refused = match self.queue.push(message) {
            Ok(()) => None,
            Err(rtrb::PushError::Full(message)) => {
                // Raise the flag, then look again: the consumer may have made room
                // between the two without seeing the flag.
                self.blocked.store(true, Ordering::SeqCst);
                match self.queue.push(message) {
                    Ok(()) => None,
                    Err(rtrb::PushError::Full(message)) => Some(message),
                }
            }
        };
        match refused {
            None => {
                self.consumer.wake();
                Ok(())
            }
            Some(message) => Err(message),
        }
    }

    /// The consumer has taken everything: it would be idle without more.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.slots() == RING_CAPACITY
    }
}

impl RingReceiver {
    pub fn try_receive(&mut self) -> Option<Message> {
        let message = self.queue.pop().ok()?;
        if self.blocked.swap(false, Ordering::SeqCst) {
            self.producer.wake();
        }
        Some(message)
    }
}
