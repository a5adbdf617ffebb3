//! The `Async` handle: how other threads and signal handlers wake a loop (`uv_async_t`).
//!
//! Invariant: the entries taken off the wake list belong to the loop until their callbacks are
//! called, so that a panic in one leaves the others to the next turn. The wake list, and with it
//! the eventfd, is made with the first handle.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use slab::Slab;

use crate::error::{Error, Result};
use crate::event_loop::{LoopInner, LoopRef, Target, WatcherKey};
use crate::handle::{Base, HandleKind, Node, OnUnwind, Slot, create, handle};
use crate::sys::epoll;
use crate::sys::wake::{Ready, WakeEntry, WakeList};

/// The loop's side of all its `Async` handles.
pub(crate) struct Asyncs {
    list: RefCell<Option<Rc<WakeList>>>,
    watcher: Cell<WatcherKey>,
    handles: RefCell<Slab<Weak<AsyncNode>>>,
    ready: RefCell<Ready>,
}

impl Default for Asyncs {
    fn default() -> Asyncs {
        Asyncs {
            list: RefCell::new(None),
            watcher: Cell::new(WatcherKey::NONE),
            handles: RefCell::default(),
            ready: RefCell::default(),
        }
    }
}

impl Asyncs {
    /// The wake list, made and watched at first use.
    pub(crate) fn list(&self, lp: &LoopInner) -> Result<Rc<WakeList>> {
        if let Some(list) = self.list_if_made() {
            return Ok(list);
        }
        let list = Rc::new(WakeList::new()?);
        // Edge-triggered, the eventfd need never be read: one system call less per wake-up.
        self.watcher.set(lp.watchers.add(list.fd(), epoll::IN | epoll::ET, Target::Wake)?);
        *self.list.borrow_mut() = Some(list.clone());
        Ok(list)
    }

    pub(crate) fn list_if_made(&self) -> Option<Rc<WakeList>> {
        self.list.borrow().clone()
    }

    /// Whether callbacks are due.
    pub(crate) fn is_woken(&self) -> bool {
        !self.ready.borrow().is_empty()
    }

    /// Takes over what was sent.
    pub(crate) fn collect(&self) {
        if let Some(list) = &*self.list.borrow() {
            list.take(&mut self.ready.borrow_mut());
        }
    }

    /// Calls the callbacks of what was sent, in the order sent.
    pub(crate) fn call_woken(&self, lp: &LoopInner) {
        while !lp.is_halted() {
            let key = self.ready.borrow_mut().next();
            let Some(key) = key else { break };
            let index = usize::try_from(key).unwrap_or(usize::MAX);
            let node = self.handles.borrow().get(index).and_then(Weak::upgrade);
            if let Some(node) = node {
                node.woken();
            }
        }
    }

    pub(crate) fn after_fork(&self) -> Result<()> {
        let Some(list) = self.list_if_made() else { return Ok(()) };
        list.after_fork()?;
        let nodes: Vec<_> =
            self.handles.borrow().iter().filter_map(|(_, node)| node.upgrade()).collect();
        let entries: Vec<_> = nodes.iter().filter_map(|node| node.entry.borrow().clone()).collect();
        list.adopt(&entries, &mut self.ready.borrow_mut());
        Ok(())
    }

    /// The loop is gone: sends fail from now on.
    pub(crate) fn discard(&self, lp: &LoopInner) {
        if let Some(list) = self.list.take() {
            list.close();
            lp.unwatch(&self.watcher);
        }
        drop(self.ready.take());
    }
}

type Callback = dyn FnMut(&Async);

pub(crate) struct AsyncNode {
    base: Base,
    key: Cell<usize>,
    /// Gone once the handle is closed: a sender that lives on keeps the eventfd, the handle not.
    entry: RefCell<Option<WakeEntry>>,
    callback: Slot<Callback>,
}

impl AsyncNode {
    fn close_entry(&self) {
        if let Some(entry) = self.entry.take() {
            entry.close();
        }
    }

    fn woken(self: Rc<Self>) {
        self.base.lp().inner().counters.callback();
        let handle = Async(self);
        let node = &handle.0;
        let stopping = OnUnwind::new(|| {
            node.stop();
            drop(node.callback.clear());
        });
        node.callback.call(|callback| callback(&handle));
        stopping.passed();
    }
}

impl Node for AsyncNode {
    fn base(&self) -> &Base {
        &self.base
    }

    fn kind(&self) -> HandleKind {
        HandleKind::Async
    }

    fn stop(&self) {
        self.close_entry();
        self.base.deactivate();
    }

    fn drop_closures(&self) {
        drop(self.callback.clear());
    }
}

impl Drop for AsyncNode {
    fn drop(&mut self) {
        self.close_entry();
        self.base.lp().inner().asyncs.handles.borrow_mut().try_remove(self.key.get());
    }
}

/// Calls back on the loop's thread when another thread asks for it.
///
/// It is active from its making until it is closed, and keeps the loop alive all that time unless
/// it is [unreferenced](crate::Handle::unreference).
///
/// ```
/// use blacklight::{Async, EventLoop, Handle, RunMode};
///
/// let lp = EventLoop::new()?;
/// let wake = Async::new(&lp, |wake| wake.close())?;
/// let sender = wake.sender()?;
/// let thread = std::thread::spawn(move || sender.send());
/// lp.run(RunMode::Default)?;
/// assert_eq!(thread.join().expect("no panic"), Ok(()));
/// # Ok::<(), blacklight::Error>(())
/// ```
#[derive(Clone)]
pub struct Async(Rc<AsyncNode>);

handle!(Async, AsyncNode, |_| true);

impl Async {
    /// Makes the handle; `callback` is called on the loop's thread after each [`AsyncSender::send`],
    /// once for all sends that come before it begins.
    ///
    /// # Errors
    /// `EINVAL` when the loop has been dropped, `ESTALE` in a forked child; with a loop's first
    /// handle `EMFILE`, `ENFILE` or `ENOMEM` from eventfd(2).
    pub fn new(lp: &LoopRef, callback: impl FnMut(&Async) + 'static) -> Result<Async> {
        let inner = lp.inner();
        inner.usable()?;
        let list = inner.asyncs.list(inner)?;
        let key = inner.asyncs.handles.borrow_mut().insert(Weak::new());
        let made = create(lp, |base| AsyncNode {
            base,
            key: Cell::new(key),
            entry: RefCell::new(Some(list.entry(key as u64))),
            callback: Slot::empty(),
        });
        let node = match made {
            Ok(node) => node,
            Err(error) => {
                inner.asyncs.handles.borrow_mut().remove(key);
                return Err(error);
            }
        };
        inner.asyncs.handles.borrow_mut()[key] = Rc::downgrade(&node);
        drop(node.callback.set(Box::new(callback)));
        node.base.activate();
        Ok(Async(node))
    }

    /// The end for other threads.
    ///
    /// # Errors
    /// `EINVAL` when the handle is closing.
    pub fn sender(&self) -> Result<AsyncSender> {
        self.0.entry.borrow().clone().map(AsyncSender).ok_or(Error::EINVAL)
    }

    /// As [`AsyncSender::send`], from the loop's own thread.
    ///
    /// # Errors
    /// `EINVAL` when the handle is closing.
    pub fn send(&self) -> Result<()> {
        self.0.entry.borrow().as_ref().ok_or(Error::EINVAL)?.send()
    }
}

/// Wakes the loop of an [`Async`] handle; may be cloned, sent to other threads and used there for
/// as long as one likes, also after the handle and the loop are gone.
#[derive(Clone)]
pub struct AsyncSender(WakeEntry);

impl AsyncSender {
    /// Has the handle's callback called soon (`uv_async_send`).
    ///
    /// One call of the callback stands for all sends since the last one began. This may be called
    /// from a signal handler: it takes no lock, allocates and frees nothing, and leaves errno as it
    /// was.
    ///
    /// # Errors
    /// `EINVAL` when the handle is closing or its loop is gone: nobody will be called.
    pub fn send(&self) -> Result<()> {
        self.0.send()
    }
}

impl std::fmt::Debug for AsyncSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AsyncSender")
    }
}
