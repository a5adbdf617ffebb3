//! Workers: threads with a loop of their own that another thread can stop.
//!
//! A worker is made of public parts only: an [`EventLoop`] on a thread, its
//! [`Halter`](crate::Halter) for stopping, an [`Async`] on whatever loop wants to hear of its end.
//! Invariant: the outcome is filed once, by the worker's own thread, after its loop has been
//! dropped; whoever hears of the end finds no handle, closure or descriptor of it left. Messages
//! are the user's business: a channel, and an [`AsyncSender`] to wake the other side.

mod outcome;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::asynchronous::{Async, AsyncSender};
use crate::error::{Error, Result};
use crate::event_loop::{EventLoop, Halter, LoopRef, Options};
use crate::handle::Handle;
pub use outcome::{WorkerError, WorkerPanic, WorkerResult};

/// Nothing of the user's runs under any lock of this file, so what a poisoned one guards is sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the worker's thread and the others share.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The code of the first stop.
    stopped: Option<i32>,
    result: Option<WorkerResult>,
    /// Those to be told of the end.
    watchers: Vec<AsyncSender>,
}

impl Shared {
    /// The worker is over.
    fn file(&self, result: WorkerResult) {
        let watchers = {
            let mut state = lock(&self.state);
            state.result = Some(result);
            std::mem::take(&mut state.watchers)
        };
        for watcher in watchers {
            // A failure says that its loop is gone, or that nobody wants to know any more.
            let _unwanted = watcher.send();
        }
    }

    /// Has `sender` called at the end, which may have come already.
    fn watch(&self, sender: AsyncSender) {
        let mut state = lock(&self.state);
        if state.result.is_none() {
            state.watchers.push(sender);
            return;
        }
        drop(state);
        let _unwanted = sender.send();
    }

    fn result(&self) -> Option<WorkerResult> {
        lock(&self.state).result.clone()
    }
}

/// Refers to a worker from any thread, its own among them; see [`Worker::handle`].
///
/// It keeps nothing alive and may be used for as long as one likes.
#[derive(Clone)]
pub struct WorkerRef {
    shared: Arc<Shared>,
    halter: Halter,
}

impl WorkerRef {
    /// Stops the worker (`worker.terminate()` in Node); its exit code will be `exit_code`, unless
    /// it was stopped before.
    ///
    /// Called by the worker itself, in a callback or in its function, this is Node's
    /// `process.exit`. It returns, and the callback that runs goes on to its end; after that none
    /// is called any more, `run` returns, and every later `run` returns at once. A callback or
    /// function that never returns cannot be stopped: let it look at
    /// [`WorkerRef::is_stopping`].
    #[doc(alias = "exit")]
    #[doc(alias = "terminate")]
    pub fn stop(&self, exit_code: i32) {
        lock(&self.shared.state).stopped.get_or_insert(exit_code);
        self.halter.halt();
    }

    /// Whether the worker has been stopped.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.halter.is_halted()
    }

    /// What it came to; `None` while it runs.
    #[must_use]
    pub fn result(&self) -> Option<WorkerResult> {
        self.shared.result()
    }
}

impl fmt::Debug for WorkerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerRef").field("result", &self.result()).finish_non_exhaustive()
    }
}

/// How a worker is made: [`Worker::builder`].
#[derive(Debug, Clone, Default)]
#[must_use = "it does nothing until `spawn`"]
pub struct WorkerBuilder {
    name: Option<String>,
    stack_size: Option<usize>,
    options: Option<Options>,
}

impl WorkerBuilder {
    /// Names the thread; the kernel keeps the first 15 bytes.
    pub fn name(mut self, name: impl Into<String>) -> WorkerBuilder {
        self.name = Some(name.into());
        self
    }

    /// Sets the bytes of the thread's stack, rounded up by the system; otherwise the standard
    /// library decides (2 MiB, or `RUST_MIN_STACK`).
    pub fn stack_size(mut self, bytes: usize) -> WorkerBuilder {
        self.stack_size = Some(bytes);
        self
    }

    /// Sets the options of its loop; otherwise those of [`EventLoop::new`].
    pub fn loop_options(mut self, options: Options) -> WorkerBuilder {
        self.options = Some(options);
        self
    }

    /// Starts the thread, makes its loop, and calls `function` there.
    ///
    /// `function` sets up handles and runs the loop, as `main` would; what it returns is the exit
    /// code. When it has returned, the loop is dropped on that thread: every handle is closed and
    /// every closure dropped, and children that run are waited for by the crate.
    ///
    /// # Errors
    /// `EINVAL` for a name with a NUL, `EAGAIN` when there may be no more threads, and those of
    /// [`EventLoop::with_options`] and [`LoopRef::halter`]. The function is not called then.
    pub fn spawn<F>(self, function: F) -> Result<Worker>
    where
        F: FnOnce(&EventLoop, &WorkerRef) -> Result<i32> + Send + 'static,
    {
        let mut builder = std::thread::Builder::new();
        if let Some(name) = self.name {
            if name.contains('\0') {
                return Err(Error::EINVAL);
            }
            builder = builder.name(name);
        }
        if let Some(bytes) = self.stack_size {
            builder = builder.stack_size(bytes);
        }
        let shared = Arc::new(Shared::default());
        let (made, halter) = mpsc::sync_channel(1);
        let (theirs, options) = (shared.clone(), self.options);
        let thread = builder.spawn(move || {
            let (lp, halter) = match make_loop(options) {
                Ok(made) => made,
                Err(error) => {
                    // The spawner waits for this and for nothing else.
                    let _received = made.send(Err(error));
                    return;
                }
            };
            let _received = made.send(Ok(halter.clone()));
            drop(made);
            work(lp, WorkerRef { shared: theirs, halter }, function);
        })?;
        // The other end says something before it goes; unless making a loop panics, which is a bug.
        match halter.recv().unwrap_or(Err(Error::UNKNOWN)) {
            Ok(halter) => Ok(Worker { handle: WorkerRef { shared, halter }, thread }),
            Err(error) => {
                // Nothing of a worker that could not be made is left behind.
                let _ended = thread.join();
                Err(error)
            }
        }
    }
}

fn make_loop(options: Option<Options>) -> Result<(EventLoop, Halter)> {
    let lp = match options {
        Some(options) => EventLoop::with_options(options)?,
        None => EventLoop::new()?,
    };
    let halter = lp.halter()?;
    Ok((lp, halter))
}

/// The life of the thread.
fn work<F>(lp: EventLoop, own: WorkerRef, function: F)
where
    F: FnOnce(&EventLoop, &WorkerRef) -> Result<i32>,
{
    // Nothing that a panic may have left half done is looked at again: the function is consumed,
    // and the loop is only dropped, which is sound after a panic in a callback.
    let returned = catch_unwind(AssertUnwindSafe(|| function(&lp, &own)));
    let dropped = catch_unwind(AssertUnwindSafe(move || drop(lp)));
    let stopped = lock(&own.shared.state).stopped;
    let panicked = |payload| Err(WorkerError::Panicked(WorkerPanic::new(payload)));
    let result = match (returned, dropped) {
        (Err(first), second) => {
            // A payload may panic when it is dropped, and one panic is enough to report.
            std::mem::forget(second);
            panicked(first)
        }
        (Ok(_), Err(payload)) => panicked(payload),
        (Ok(returned), Ok(())) => match stopped {
            Some(code) => Ok(code),
            None => returned.map_err(WorkerError::Failed),
        },
    };
    own.shared.file(result);
}

/// A thread with an event loop of its own, which other threads can stop.
///
/// The exit code is that of the first [`WorkerRef::stop`], else what the function returned. A panic
/// on the thread is an error value in the result and ends nothing but the worker (in a program
/// built with `panic = "abort"` it ends the program, as ever).
///
/// **Dropped without [`Worker::join`], the worker is detached**, as a [`std::thread::JoinHandle`]
/// is: it goes on until its function returns or somebody stops it through a [`WorkerRef`]. Waiting
/// in a drop could wait for ever, and stopping what was only let go of would surprise. A process
/// that exits takes its workers with it wherever they are: stop and join them before, if they have
/// something to finish.
///
/// ```
/// use blacklight::{Async, EventLoop, RunMode, Worker};
///
/// let worker = Worker::spawn(|lp, own| {
///     let own = own.clone();
///     let request = Async::new(lp, move |_| own.stop(3))?;
///     request.send()?;
///     lp.run(RunMode::Default)?;
///     Ok(0)
/// })?;
///
/// // Its end is an event of this thread's loop.
/// let lp = EventLoop::new()?;
/// worker.on_exit(&lp, |result| println!("the worker ended: {result:?}"))?;
/// lp.run(RunMode::Default)?;
/// assert_eq!(worker.join().ok(), Some(3));
/// # Ok::<(), blacklight::Error>(())
/// ```
///
/// In the main thread, [`LoopRef::halt`] does what `stop` does here: a runtime's `process.exit`
/// halts the main loop, and `main`, back from `run`, stops and joins the workers and calls
/// [`std::process::exit`].
#[derive(Debug)]
pub struct Worker {
    handle: WorkerRef,
    thread: JoinHandle<()>,
}

impl Worker {
    /// Options for a worker to be: name, stack size, options of the loop.
    pub fn builder() -> WorkerBuilder {
        WorkerBuilder::default()
    }

    /// Starts a worker with no options; see [`WorkerBuilder::spawn`].
    ///
    /// # Errors
    /// Those of [`WorkerBuilder::spawn`].
    pub fn spawn<F>(function: F) -> Result<Worker>
    where
        F: FnOnce(&EventLoop, &WorkerRef) -> Result<i32> + Send + 'static,
    {
        Worker::builder().spawn(function)
    }

    /// A reference for other threads and for keeps.
    #[must_use]
    pub fn handle(&self) -> WorkerRef {
        self.handle.clone()
    }

    /// As [`WorkerRef::stop`].
    pub fn stop(&self, exit_code: i32) {
        self.handle.stop(exit_code);
    }

    /// What it came to; `None` while it runs. [`WorkerRef::result`] is the same.
    #[must_use]
    pub fn result(&self) -> Option<WorkerResult> {
        self.handle.result()
    }

    /// Waits for the worker's end and tells what it came to.
    ///
    /// Not for a thread whose loop has something to do meanwhile: that has [`Worker::on_exit`].
    ///
    /// # Errors
    /// [`WorkerError`], when it has no exit code.
    pub fn join(self) -> WorkerResult {
        let unfiled = self.thread.join();
        match (self.handle.result(), unfiled) {
            (Some(result), _) => result,
            // The thread catches what may panic; this is here so that nothing is ever lost.
            (None, Err(payload)) => Err(WorkerError::Panicked(WorkerPanic::new(payload))),
            (None, Ok(())) => Err(WorkerError::Failed(Error::UNKNOWN)),
        }
    }

    /// Has `callback` called on `lp` when the worker is over: its loop dropped, its thread about to
    /// end, so that [`Worker::join`] does not wait for anything.
    ///
    /// The handle returned keeps `lp` alive until then, as a child process would; unreference it if
    /// the loop should not stay for the worker, close it to forget the callback. Several loops may
    /// wait for one worker.
    ///
    /// # Errors
    /// Those of [`Async::new`].
    pub fn on_exit(
        &self,
        lp: &LoopRef,
        callback: impl FnOnce(WorkerResult) + 'static,
    ) -> Result<Async> {
        let shared = self.handle.shared.clone();
        let mut callback = Some(callback);
        let waiting = Async::new(lp, move |waiting| {
            // Whoever has the handle may send to it; that is not the end.
            let Some(result) = shared.result() else { return };
            waiting.close();
            if let Some(callback) = callback.take() {
                callback(result);
            }
        })?;
        self.handle.shared.watch(waiting.sender()?);
        Ok(waiting)
    }
}
