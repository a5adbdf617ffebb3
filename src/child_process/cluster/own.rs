//! A worker's own end: how it finds its primary, asks it to listen, and takes its leave.
//!
//! Invariant: what a worker has not said it takes, it has closed; the primary gives it to another.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use super::super::channel::{Channel, ChannelError, Message, ReceivedHandle};
use super::super::value::Value;
use super::address::ListenAddress;
use super::message::{Sequence, as_text, errno, is_cluster, number, text};
use super::serving::{ClusterServer, Connection, ServerEvent};
use crate::handle::{OnUnwind, Slot};
use crate::{Error, Handle, LoopRef, Result, Timer};

/// Where a worker finds its id.
pub(super) const ID_VARIABLE: &str = "NODE_UNIQUE_ID";

/// What waits for a reply of the primary's.
enum Awaiting {
    Server(ClusterServer),
    Leave,
}

/// Numbers the servers of one address.
#[derive(Default)]
struct Index {
    next: u32,
    open: u32,
}

pub(super) struct Own {
    id: u32,
    channel: Channel,
    sequence: Sequence,
    awaiting: RefCell<HashMap<u32, Awaiting>>,
    /// By the key that the primary gave them.
    servers: RefCell<HashMap<String, ClusterServer>>,
    indexes: RefCell<HashMap<String, Index>>,
    /// The end of the channel will be no surprise.
    leaving: Cell<bool>,
    on_disconnect: Slot<dyn FnMut(&ClusterWorker, bool)>,
}

/// This process as a worker of a cluster, under a [`Primary`](super::Primary) or under a node.
///
/// The value is a reference. As in Node, the loop runs on until the worker is disconnected.
///
/// ```
/// use blacklight::EventLoop;
/// use blacklight::child_process::cluster::{ClusterWorker, ListenAddress, ServerEvent};
///
/// let lp = EventLoop::new()?;
/// // SAFETY: the program has no other thread yet.
/// if let Some(worker) = unsafe { ClusterWorker::from_env(&lp) }? {
///     worker.listen(ListenAddress::tcp("127.0.0.1:8000".parse()?), |_, event| {
///         if let ServerEvent::Connection(connection) = event {
///             println!("serve {connection:?}");
///         }
///     })?;
/// } else {
///     println!("this process is nobody's worker");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct ClusterWorker(Rc<Own>);

impl ClusterWorker {
    /// This process's end, if a primary has forked it: takes `NODE_UNIQUE_ID` out of the environment,
    /// and the channel as [`Channel::from_env`] does, and tells the primary that it is online.
    /// `None` when there is no such variable, or no channel.
    ///
    /// # Safety
    /// As [`Channel::from_env`].
    ///
    /// # Errors
    /// `EINVAL` when the id is no number, and as [`Channel::from_env`].
    #[allow(unsafe_code)]
    pub unsafe fn from_env(lp: &LoopRef) -> Result<Option<ClusterWorker>> {
        let Ok(id) = std::env::var(ID_VARIABLE) else { return Ok(None) };
        // SAFETY: the caller keeps other threads from the environment.
        unsafe { std::env::remove_var(ID_VARIABLE) };
        let id = id.parse().map_err(|_| Error::EINVAL)?;
        // SAFETY: the caller's promise is that of the function called.
        let channel = unsafe { Channel::from_env(lp) }?;
        Ok(channel.map(|channel| ClusterWorker::over(channel, id)))
    }

    /// As [`ClusterWorker::from_env`], with a channel and an id that are known.
    #[must_use]
    pub fn over(channel: Channel, id: u32) -> ClusterWorker {
        let own = Rc::new(Own {
            id,
            channel,
            sequence: Sequence::default(),
            awaiting: RefCell::default(),
            servers: RefCell::default(),
            indexes: RefCell::default(),
            leaving: Cell::new(false),
            on_disconnect: Slot::empty(),
        });
        let listening = own.clone();
        own.channel.on_internal_message(move |_, message| listening.internal(message));
        let listening = own.clone();
        own.channel.on_disconnect(move |_| listening.disconnected());
        own.send([("act", Value::from("online"))]);
        ClusterWorker(own)
    }

    /// Its number, from 1.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id
    }

    /// The channel to the primary. The cluster listens to its internal messages and to its end;
    /// [`Channel::on_message`] and [`Channel::on_error`] are free.
    #[must_use]
    pub fn channel(&self) -> &Channel {
        &self.0.channel
    }

    /// Sends the primary a message.
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub fn send(&self, message: &Value) -> std::result::Result<bool, ChannelError> {
        self.0.channel.send(message)
    }

    /// Has `callback` called once, when the channel has closed; with `true` if that was asked for
    /// by either side, with `false` if the primary has gone without a word, upon which a node
    /// worker ends its process at once, with code 0. Here that is the callback's to decide.
    ///
    /// The servers have closed by then; connections that were taken go on.
    pub fn on_disconnect(&self, callback: impl FnMut(&ClusterWorker, bool) + 'static) {
        drop(self.0.on_disconnect.set(Box::new(callback)));
    }

    /// Asks the primary to listen, and calls `callback` with what comes of it.
    ///
    /// # Errors
    /// `ENOTCONN` when the worker is disconnected or about to be; whatever the primary says is for
    /// the callback ([`ServerEvent::Failed`]).
    pub fn listen(
        &self,
        address: ListenAddress,
        callback: impl FnMut(&ClusterServer, ServerEvent) + 'static,
    ) -> Result<ClusterServer> {
        let own = &self.0;
        if own.leaving.get() || !own.channel.is_connected() {
            return Err(Error::ENOTCONN);
        }
        let name = name_of(&address);
        let index = {
            let mut indexes = own.indexes.borrow_mut();
            let index = indexes.entry(name).or_default();
            (index.next, index.open) = (index.next + 1, index.open + 1);
            index.next - 1
        };
        let mut fields = vec![("act", Value::from("queryServer"))];
        fields.extend(address.fields(index));
        let server = ClusterServer::new(Rc::downgrade(own), address, index, Box::new(callback));
        let number = own.send(fields);
        own.awaiting.borrow_mut().insert(number, Awaiting::Server(server.clone()));
        Ok(server)
    }

    /// The servers that are open.
    #[must_use]
    pub fn servers(&self) -> Vec<ClusterServer> {
        self.0.servers.borrow().values().cloned().collect()
    }

    /// Takes leave: closes all servers, tells the primary that the end will be no accident, and
    /// closes the channel when it has been heard. The worker is not replaced then.
    ///
    /// # Errors
    /// [`ChannelError::Closed`] when it is disconnected, or about to be.
    pub fn disconnect(&self) -> std::result::Result<(), ChannelError> {
        let own = &self.0;
        if own.leaving.get() || !own.channel.is_connected() {
            return Err(ChannelError::Closed);
        }
        own.leaving.set(true);
        self.servers().iter().for_each(ClusterServer::close);
        let number = own.send([("act", Value::from("exitedAfterDisconnect"))]);
        own.awaiting.borrow_mut().insert(number, Awaiting::Leave);
        Ok(())
    }
}

impl fmt::Debug for ClusterWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterWorker")
            .field("id", &self.0.id)
            .field("servers", &self.0.servers.borrow().len())
            .finish_non_exhaustive()
    }
}

/// What the indexes of servers are counted by: the fields that tell one address from another.
fn name_of(address: &ListenAddress) -> String {
    let query = Value::object(address.fields(0));
    ["address", "port", "addressType"].map(|name| as_text(query.get(name))).join(":")
}

impl Own {
    /// Sends a message and gives its number. If the channel has closed, that will be told.
    fn send(&self, fields: impl IntoIterator<Item = (&'static str, Value)>) -> u32 {
        let (message, number) = self.sequence.message(fields);
        let _closed = self.channel.send(&message);
        number
    }

    pub(super) fn event_loop(&self) -> &LoopRef {
        self.channel.event_loop()
    }

    /// Does something in the next turn.
    pub(super) fn soon(&self, what: impl FnOnce() + 'static) {
        let mut what = Some(what);
        let Ok(timer) = Timer::new(self.event_loop()) else { return };
        let _started = timer.start(0, 0, move |timer| {
            timer.close();
            if let Some(what) = what.take() {
                what();
            }
        });
    }

    fn internal(self: &Rc<Self>, message: Message) {
        let Message { value, handle } = message;
        if !is_cluster(&value) {
            return;
        }
        if let Some(ack) = number(&value, "ack") {
            let awaiting = self.awaiting.borrow_mut().remove(&ack);
            match awaiting {
                Some(Awaiting::Server(server)) => self.opened(&server, &value, handle),
                Some(Awaiting::Leave) => self.close_channel(),
                None => {}
            }
            return;
        }
        match text(&value, "act") {
            Some("newconn") => self.connection(&value, handle),
            Some("disconnect") => {
                self.leaving.set(true);
                self.close_servers();
                self.close_channel();
            }
            _ => {}
        }
    }

    fn close_channel(&self) {
        // Closed already is as well.
        let _closed = self.channel.disconnect();
    }

    /// The primary has answered a request to listen.
    fn opened(
        self: &Rc<Self>,
        server: &ClusterServer,
        reply: &Value,
        handle: Option<ReceivedHandle>,
    ) {
        let key = text(reply, "key").unwrap_or_default().to_owned();
        if let Err(error) = errno(reply) {
            self.forget(server);
            server.fail(error);
            return;
        }
        if self.leaving.get() && !server.is_closed() {
            server.shut();
            server.tell_closed();
        }
        if server.is_closed() {
            // It was closed before it was open.
            self.send([("act", Value::from("close")), ("key", Value::from(key))]);
            self.forget(server);
            return;
        }
        let port = reply.get("sockname").and_then(|name| name.get("port"));
        let port = port.and_then(|port| u32::try_from(port).ok()?.try_into().ok());
        server.set_key(&key);
        self.servers.borrow_mut().insert(key, server.clone());
        match server.open(self.event_loop(), handle, port) {
            Ok(found) => {
                let found = server.address().clone().at_port(found.unwrap_or(0));
                let mut fields = vec![("act", Value::from("listening"))];
                fields.extend(found.fields(server.index()));
                self.send(fields);
                server.is_listening(found);
            }
            Err(error) => {
                server.shut();
                server.fail(error);
            }
        }
    }

    /// A server is over: its number may be given again when no other of its address is left.
    fn forget(&self, server: &ClusterServer) {
        let mut indexes = self.indexes.borrow_mut();
        let name = name_of(server.address());
        if let Some(index) = indexes.get_mut(&name) {
            index.open = index.open.saturating_sub(1);
            if index.open == 0 {
                indexes.remove(&name);
            }
        }
    }

    /// A server has been closed.
    pub(super) fn closed(&self, server: &ClusterServer, key: &str) {
        self.servers.borrow_mut().remove(key);
        self.forget(server);
        self.send([("act", Value::from("close")), ("key", Value::from(key))]);
    }

    fn close_servers(&self) {
        loop {
            let next = self.servers.borrow().values().next().cloned();
            let Some(server) = next else { break };
            server.shut();
            server.tell_closed();
        }
    }

    /// The primary hands a connection out: says whether it is taken, then takes it.
    fn connection(self: &Rc<Self>, message: &Value, handle: Option<ReceivedHandle>) {
        let Some(seq) = message.get("seq") else { return };
        let server = text(message, "key").and_then(|key| self.servers.borrow().get(key).cloned());
        let server = server.filter(ClusterServer::accepts);
        let taken = server.and_then(|server| {
            let connection = Connection::new(handle?, self.event_loop()).ok()?;
            Some((server, connection))
        });
        let accepted = Value::from(taken.is_some());
        let (answer, _) = self.sequence.message([("ack", seq.clone()), ("accepted", accepted)]);
        let answered = self.channel.send(&answer);
        match taken {
            Some((server, connection)) if answered.is_ok() => {
                server.tell(ServerEvent::Connection(connection));
            }
            // The primary cannot know that it was taken, and gives it to another.
            Some((_, connection)) => connection.close(),
            None => {}
        }
    }

    fn disconnected(self: &Rc<Self>) {
        let expected = self.leaving.replace(true);
        self.close_servers();
        for (_, awaiting) in self.awaiting.take() {
            if let Awaiting::Server(server) = awaiting {
                server.fail(Error::ENOTCONN);
            }
        }
        let worker = ClusterWorker(self.clone());
        let over = OnUnwind::new(|| drop(self.on_disconnect.clear()));
        self.on_disconnect.call(|callback| callback(&worker, expected));
        over.passed();
        drop(self.on_disconnect.clear());
    }
}
