//! What a worker comes to: an exit code, or an error value, also for a panic.
//!
//! Invariant: an outcome may be handed to several who wait, so it is cheap to clone; the payload of
//! a panic, which cannot be cloned, goes to the one who takes it first.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex};

use super::lock;
use crate::error::Error;

/// What a worker comes to: its exit code, or why it has none.
pub type WorkerResult = std::result::Result<i32, WorkerError>;

/// Why a worker ended without an exit code.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum WorkerError {
    /// Its function returned this error.
    Failed(Error),
    /// Its function, a callback, or the drop of a closure panicked.
    Panicked(WorkerPanic),
}

impl fmt::Display for WorkerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorkerError::Failed(error) => write!(f, "worker failed: {error}"),
            WorkerError::Panicked(panic) => write!(f, "worker panicked: {}", panic.message()),
        }
    }
}

impl std::error::Error for WorkerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            WorkerError::Failed(error) => Some(error),
            WorkerError::Panicked(_) => None,
        }
    }
}

/// What a worker panicked with.
#[derive(Clone)]
pub struct WorkerPanic {
    message: Arc<str>,
    payload: Arc<Mutex<Option<Box<dyn Any + Send>>>>,
}

impl WorkerPanic {
    pub(crate) fn new(payload: Box<dyn Any + Send>) -> WorkerPanic {
        let text = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
            (Some(text), _) => text,
            (None, Some(text)) => text.as_str(),
            (None, None) => "a value that is no text",
        };
        WorkerPanic { message: text.into(), payload: Arc::new(Mutex::new(Some(payload))) }
    }

    /// The message, as the panic hook has printed it already.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The payload, for [`std::panic::resume_unwind`]; `None` when somebody has taken it before.
    #[must_use]
    pub fn take_payload(&self) -> Option<Box<dyn Any + Send>> {
        lock(&self.payload).take()
    }
}

impl fmt::Debug for WorkerPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WorkerPanic").field(&self.message).finish()
    }
}
