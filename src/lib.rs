//! A single-threaded event loop for Linux with processes at its heart.

mod error;
mod sys;

pub use error::{Error, Result};
