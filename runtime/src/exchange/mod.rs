//! Moving rows between the instances of two fragments.
//!
//! Every producing instance has one ring to every consuming instance. A row goes
//! to the owner of its vnode; a barrier goes to all. The consumer reads a ring up
//! to its barrier and holds it there until all its rings have reached the same
//! one: what it has then seen is exactly the epoch.

pub mod receiver;
pub mod ring;
pub mod sender;

pub use receiver::ExchangeReceiver;
pub use ring::{Message, RingReceiver, RingSender, Waker, ring};
pub use sender::ExchangeSender;
