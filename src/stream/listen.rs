//! Servers: listening, and the connections that wait to be accepted.
//!
//! Invariant: at most one accepted connection waits for its user; while it waits, the server is not
//! watched, so that no connection is lost and the loop does not spin.

use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::node::{Flags, StreamNode};
use super::tcp;
use crate::error::{Error, Result};
use crate::handle::{Again, HandleKind, OnUnwind, Slot};
use crate::sys::{fd, unix_socket};

type Callback = dyn FnMut(&Rc<StreamNode>, Result<()>);

/// Connections accepted and closed at once when descriptors have run out, per event: those that
/// wait may be many, and the loop has other work.
const TURNED_AWAY_PER_EVENT: u32 = 64;

/// Connections announced per event where nobody else waits for them.
const SIMULTANEOUS: u32 = 32;

/// What a stream has that is a server.
pub(crate) struct Listening {
    callback: Slot<Callback>,
    connection: RefCell<Option<OwnedFd>>,
    /// Given up for a moment when descriptors have run out, to turn connections away.
    spare: RefCell<Option<OwnedFd>>,
    /// The path to remove when the server is closed.
    path: Cell<Option<Vec<u8>>>,
    /// Whether more than one connection is announced per event, if that was said.
    simultaneous: Cell<Option<bool>>,
    again: Again,
}

impl Listening {
    fn new() -> Listening {
        Listening {
            callback: Slot::empty(),
            connection: RefCell::new(None),
            spare: RefCell::new(None),
            path: Cell::new(None),
            simultaneous: Cell::new(None),
            again: Again::default(),
        }
    }

    pub(super) fn has_connection(&self) -> bool {
        self.connection.borrow().is_some()
    }

    /// Closes descriptors and removes the path; libuv does so in `uv_close` too.
    pub(super) fn close(&self) {
        drop(self.connection.take());
        drop(self.spare.take());
        if let Some(path) = self.path.take() {
            use std::os::unix::ffi::OsStrExt;
            // Somebody else may have removed it, which is as well.
            let _gone = std::fs::remove_file(std::ffi::OsStr::from_bytes(&path));
        }
    }

    /// Leaves the path to whoever has the socket now.
    pub(super) fn forget_path(&self) {
        drop(self.path.take());
    }

    pub(super) fn drop_closure(&self) {
        drop(self.callback.clear());
    }
}

fn listening(node: &StreamNode) -> &Listening {
    node.rare().listening.get_or_init(Listening::new)
}

pub(super) fn set_simultaneous(node: &StreamNode, on: bool) {
    listening(node).simultaneous.set(Some(on));
}

/// Connections announced per event. More than one would starve others who have the same socket
/// (libuv#3696); nobody else can have one that was made here and never lent.
fn limit(node: &StreamNode, listening: &Listening) -> u32 {
    let many = listening.simultaneous.get().unwrap_or_else(|| !node.has(Flags::SHARED));
    if many { SIMULTANEOUS } else { 1 }
}

/// Remembers the path that the stream was bound to.
pub(super) fn remember_path(node: &StreamNode, path: &[u8]) {
    listening(node).path.set(Some(path.to_vec()));
}

pub(super) fn start(node: &Rc<StreamNode>, backlog: i32, callback: Box<Callback>) -> Result<()> {
    if node.base.is_closing() {
        return Err(Error::EINVAL);
    }
    node.base.lp().inner().usable()?;
    if node.has(Flags::IN_USE) {
        return Err(Error::EADDRINUSE);
    }
    if !node.is_open() {
        // Nothing was bound: there is no socket yet.
        if node.kind_of_handle() != HandleKind::Tcp {
            return Err(Error::EINVAL);
        }
        tcp::open_to_listen(node)?;
    }
    if !node.has(Flags::BOUND) || node.has(Flags::READING) {
        return Err(Error::EINVAL);
    }
    let listening = listening(node);
    if listening.spare.borrow().is_none() {
        let spare = node.with_fd(fd::duplicate)?;
        listening.spare.replace(Some(spare));
    }
    node.with_fd(|fd| unix_socket::listen(fd, backlog))?;
    node.put(Flags::LISTENING, true);
    if let Err(error) = node.watch() {
        node.put(Flags::LISTENING, false);
        return Err(error);
    }
    node.base.activate();
    drop(listening.callback.set(callback));
    Ok(())
}

/// A connection waits, or the server has failed.
pub(super) fn ready(node: &Rc<StreamNode>) {
    let Some(listening) = node.listening() else { return };
    if listening.has_connection() {
        // The user was told and has not taken it.
        node.watch_less();
        return;
    }
    for count in 0..limit(node, listening) {
        if count == 1 && !listening.again.pays() {
            return;
        }
        let goes_on = announce(node, listening);
        if count == 1 {
            listening.again.was(goes_on);
        }
        if listening.has_connection() {
            node.watch_less();
            return;
        }
        if !goes_on || !node.has(Flags::LISTENING) || node.base.lp().inner().is_halted() {
            return;
        }
    }
}

/// Accepts one connection and tells; whether there may be more.
fn announce(node: &Rc<StreamNode>, listening: &Listening) -> bool {
    let accepted = node.accept();
    let result = match accepted {
        Ok(connection) => {
            listening.connection.replace(Some(connection));
            Ok(())
        }
        // The peer has gone, or another process was faster.
        Err(Error::EAGAIN | Error::ECONNABORTED) => return false,
        Err(error @ (Error::EMFILE | Error::ENFILE)) => {
            turn_away(node, listening);
            Err(error)
        }
        Err(error) => Err(error),
    };
    node.base.lp().inner().counters.callback();
    let stopping = OnUnwind::new(|| {
        node.put(Flags::LISTENING, false);
        node.watch_less();
        node.base.deactivate();
        drop(listening.callback.clear());
    });
    listening.callback.call(|callback| callback(node, result));
    stopping.passed();
    result.is_ok()
}

/// With no descriptor left, connections would wait for ever and wake the loop all the time: the
/// spare one makes room to accept and close them.
fn turn_away(node: &StreamNode, listening: &Listening) {
    drop(listening.spare.take());
    for _ in 0..TURNED_AWAY_PER_EVENT {
        if node.accept().is_err() {
            break;
        }
    }
    // Another thread may have taken the room; then there is no spare until next time.
    listening.spare.replace(node.with_fd(fd::duplicate).ok());
}

pub(super) fn accept_into(server: &StreamNode, client: &StreamNode) -> Result<()> {
    if !server.listening().is_some_and(|listening| listening.has_connection()) {
        return Err(Error::EAGAIN);
    }
    client.may_open()?;
    client.attach(take(server)?, true, true, false)
}

/// The connection that waits; the server goes on to the next.
pub(super) fn take(server: &StreamNode) -> Result<OwnedFd> {
    let listening = server.listening().ok_or(Error::EAGAIN)?;
    let connection = listening.connection.take().ok_or(Error::EAGAIN)?;
    if server.has(Flags::LISTENING) {
        server.watch()?;
    }
    Ok(connection)
}
