//! JSON, an object per line.

pub mod encode;
