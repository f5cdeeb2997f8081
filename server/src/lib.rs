//! The Tidemill server process.
//!
//! ```text
//! pgwire -> session -> planner -> catalog, engine       a statement's path
//! views  -> serve   -> session -> pgwire                a row's path back
//! ```
//!
//! [`pgwire`] speaks the protocol, [`session`] runs statements, [`catalog`] is the
//! only writer of the catalog, [`durable`] keeps what outlives the process, [`serve`]
//! answers queries, [`http`] tells operators,
//! [`config`] and [`process`] make a process of it.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod catalog;
pub mod config;
pub mod durable;
pub mod http;
pub mod pgwire;
pub mod process;
pub mod serve;
pub mod session;
