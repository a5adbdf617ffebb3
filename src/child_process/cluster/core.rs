//! What a primary knows, and how it answers its workers.
//!
//! `handing` has the part about connections. Invariant: no borrow is live while a callback of the
//! user's runs.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::super::channel::{ChannelError, Message, SendHandle};
use super::super::fork::{ForkOptions, fork};
use super::super::value::Value;
use super::address::ListenAddress;
use super::handing::HandedOut;
use super::message::{Sequence, as_text, is_cluster, number, text};
use super::primary::{ClusterEvent, ClusterOptions, Policy, Primary};
use super::server::Server;
use super::worker::{Worker, WorkerState};
use crate::handle::{OnUnwind, Slot};
use crate::{Error, Exit, Handle, LoopRef, Result, SpawnError, Timer};

/// Addresses that one cluster serves; each costs a descriptor, and workers choose how many.
const MOST_SERVERS: usize = 1024;

type EventCallback = dyn FnMut(&Primary, &Worker, ClusterEvent);

pub(super) struct Core {
    pub(super) lp: LoopRef,
    options: ClusterOptions,
    pub(super) sequence: Sequence,
    last_id: Cell<u32>,
    workers: RefCell<BTreeMap<u32, Worker>>,
    pub(super) servers: RefCell<HashMap<String, Server>>,
    pub(super) handed_out: RefCell<HashMap<u32, HandedOut>>,
    on_event: Slot<EventCallback>,
    when_all_are_gone: RefCell<Vec<Box<dyn FnOnce(&Primary)>>>,
    /// Told to disconnect: nobody is replaced any more.
    ending: Cell<bool>,
    /// When workers were replaced, in the time that the limit looks back.
    replaced_at: RefCell<VecDeque<Duration>>,
    /// Replacements that wait for the limit.
    replacements: RefCell<Vec<Timer>>,
    pub(super) offering_again: RefCell<Option<Timer>>,
}

impl Core {
    pub(super) fn new(lp: &LoopRef, options: ClusterOptions) -> Rc<Core> {
        Rc::new(Core {
            lp: lp.clone(),
            options,
            sequence: Sequence::default(),
            last_id: Cell::new(0),
            workers: RefCell::default(),
            servers: RefCell::default(),
            handed_out: RefCell::default(),
            on_event: Slot::empty(),
            when_all_are_gone: RefCell::default(),
            ending: Cell::new(false),
            replaced_at: RefCell::default(),
            replacements: RefCell::default(),
            offering_again: RefCell::default(),
        })
    }

    pub(super) fn workers(&self) -> Vec<Worker> {
        self.workers.borrow().values().cloned().collect()
    }

    pub(super) fn worker(&self, id: u32) -> Option<Worker> {
        self.workers.borrow().get(&id).cloned()
    }

    pub(super) fn listen(&self, callback: Box<EventCallback>) {
        drop(self.on_event.set(callback));
    }

    fn emit(self: &Rc<Self>, worker: &Worker, event: ClusterEvent) {
        let stop = OnUnwind::new(|| {
            drop(self.on_event.clear());
            let _closed = worker.channel().disconnect();
        });
        let primary = Primary::from_core(self.clone());
        self.on_event.call(|callback| callback(&primary, worker, event));
        stop.passed();
    }

    pub(super) fn fork(self: &Rc<Self>) -> std::result::Result<Worker, SpawnError> {
        let id = self.last_id.get() + 1;
        let mut command = self.options.command.clone();
        command.env(super::own::ID_VARIABLE, id.to_string());
        let options = ForkOptions { channel: self.options.channel, ..ForkOptions::default() };
        let core = self.clone();
        let on_exit = move |_: &crate::Process, exit| core.exited(id, exit);
        let (process, channel) = fork(&self.lp, &command, options, on_exit)?;
        self.last_id.set(id);
        let worker = Worker::new(id, process, channel, Rc::downgrade(self));
        self.workers.borrow_mut().insert(id, worker.clone());
        let channel = worker.channel();
        let (core, of) = (self.clone(), worker.clone());
        channel.on_internal_message(move |_, message| core.internal(&of, &message.value));
        let (core, of) = (self.clone(), worker.clone());
        channel.on_message(move |_, message| core.message(&of, message));
        let (core, of) = (self.clone(), worker.clone());
        channel.on_error(move |_, error| core.emit(&of, ClusterEvent::Error(error)));
        let (core, of) = (self.clone(), worker.clone());
        channel.on_disconnect(move |_| core.disconnected(&of));
        Ok(worker)
    }

    fn message(self: &Rc<Self>, worker: &Worker, message: Message) {
        if let Some(message) = worker.deliver(message) {
            self.emit(worker, ClusterEvent::Message(message));
        }
    }

    fn internal(self: &Rc<Self>, worker: &Worker, message: &Value) {
        if !is_cluster(message) {
            return;
        }
        if let Some(ack) = number(message, "ack") {
            self.answered(worker, ack, message.get("accepted") == Some(&Value::Bool(true)));
            return;
        }
        match text(message, "act") {
            Some("online") => {
                worker.reach(WorkerState::Online);
                self.emit(worker, ClusterEvent::Online);
            }
            Some("queryServer") => self.query(worker, message),
            Some("listening") => {
                worker.reach(WorkerState::Listening);
                if let Ok(address) = ListenAddress::from_query(message) {
                    self.emit(worker, ClusterEvent::Listening(address));
                }
            }
            Some("close") => {
                if let Some(key) = text(message, "key") {
                    self.remove(worker.id(), key);
                    self.distribute(key);
                }
            }
            Some("exitedAfterDisconnect") => {
                worker.leaves();
                if let Some(ack) = number(message, "seq") {
                    self.send(worker, [("ack", Value::from(ack))]);
                }
            }
            _ => {}
        }
    }

    /// Sends what need not arrive: if the channel is closed, the worker needs it no more.
    fn send(&self, worker: &Worker, fields: impl IntoIterator<Item = (&'static str, Value)>) {
        let _closed = worker.send(&self.sequence.message(fields).0);
    }

    fn query(self: &Rc<Self>, worker: &Worker, query: &Value) {
        // It leaves already.
        if worker.exited_after_disconnect() {
            return;
        }
        let field = |name: &str| as_text(query.get(name));
        let [address, port, kind, fd, index] =
            ["address", "port", "addressType", "fd", "index"].map(field);
        let key = format!("{address}:{port}:{kind}:{fd}:{index}");
        let ack = query.get("seq").cloned().unwrap_or_default();
        let outcome = self.serve(worker, &key, query);
        let data = self.servers.borrow().get(&key).map(|server| server.data.clone());
        let data = data.or_else(|| query.get("data").cloned()).unwrap_or(Value::Null);
        let start = |errno: Value| {
            vec![("errno", errno), ("key", key.as_str().into()), ("ack", ack), ("data", data)]
        };
        match outcome {
            Err(error) => self.send(worker, start(Value::from(error.code()))),
            Ok(Reply::Shared(handle)) => {
                let (message, _) = self.sequence.message(start(Value::from(0)));
                let _closed = worker.send_handle(&message, handle, |_, _| {});
            }
            Ok(Reply::RoundRobin(local)) => {
                let mut fields = start(Value::Null);
                if let Some(local) = local {
                    fields.push(("sockname", socket_name(local)));
                }
                self.send(worker, fields);
                self.distribute(&key);
            }
        }
    }

    /// Makes the worker one of those that serve the address.
    fn serve(self: &Rc<Self>, worker: &Worker, key: &str, query: &Value) -> Result<Reply> {
        let is_new = !self.servers.borrow().contains_key(key);
        if is_new {
            if self.servers.borrow().len() >= MOST_SERVERS {
                return Err(Error::EMFILE);
            }
            let address = ListenAddress::from_query(query)?;
            let round_robin = self.options.policy == Policy::RoundRobin && !address.is_udp();
            let weak: Weak<Core> = Rc::downgrade(self);
            let server = Server::start(&weak, &self.lp, &address, key, round_robin)?;
            self.servers.borrow_mut().insert(key.to_owned(), server);
        }
        let mut servers = self.servers.borrow_mut();
        let server = servers.get_mut(key).ok_or(Error::EINVAL)?;
        if server.data.is_null() {
            server.data = query.get("data").cloned().unwrap_or(Value::Null);
        }
        let reply = if server.round_robin {
            Ok(Reply::RoundRobin(server.bound.local_address()))
        } else {
            let handle = server.bound.duplicate();
            handle.map(|copy| Reply::Shared(SendHandle::new(server.bound.handle_type(), copy)))
        };
        match &reply {
            Ok(_) => server.add(worker.id()),
            Err(_) if is_new => drop(servers.remove(key)),
            Err(_) => {}
        }
        reply
    }

    /// A worker does not serve the address any more.
    fn remove(&self, worker: u32, key: &str) {
        let mut servers = self.servers.borrow_mut();
        if servers.get_mut(key).is_some_and(|server| server.remove(worker)) {
            servers.remove(key);
        }
    }

    pub(super) fn remove_everywhere(&self, worker: u32) {
        self.servers.borrow_mut().retain(|_, server| !server.remove(worker));
    }

    fn disconnected(self: &Rc<Self>, worker: &Worker) {
        worker.reach(WorkerState::Disconnected);
        self.release(worker);
        self.emit(worker, ClusterEvent::Disconnected);
    }

    fn exited(self: &Rc<Self>, id: u32, exit: Exit) {
        let Some(worker) = self.workers.borrow_mut().remove(&id) else { return };
        worker.reach(WorkerState::Dead);
        self.release(&worker);
        // A process that it has left behind may hold the other end open, but nobody answers there.
        let _closed = worker.channel().disconnect();
        // Even if the callback panics, what follows happens, but not amid the unwinding.
        let goes_on = OnUnwind::new(|| {
            let (core, worker) = (self.clone(), worker.clone());
            self.soon(move || core.after_exit(&worker));
        });
        self.emit(&worker, ClusterEvent::Exited(exit));
        goes_on.passed();
        self.after_exit(&worker);
    }

    fn after_exit(self: &Rc<Self>, worker: &Worker) {
        worker.is_over();
        if !worker.exited_after_disconnect() && !self.ending.get() {
            self.replace(worker);
        }
        self.tell_if_all_are_gone();
    }

    /// Puts another worker in the place of one that died, now or when the limit allows it.
    fn replace(self: &Rc<Self>, worker: &Worker) {
        let Some(limit) = self.options.restart else { return };
        let now = self.lp.now_duration();
        let mut replaced_at = self.replaced_at.borrow_mut();
        while replaced_at.front().is_some_and(|at| *at + limit.within <= now) {
            replaced_at.pop_front();
        }
        if replaced_at.len() >= limit.most as usize {
            let until = replaced_at.front().map_or(limit.within, |at| *at + limit.within - now);
            drop(replaced_at);
            self.replace_later(worker, until);
            return;
        }
        replaced_at.push_back(now);
        drop(replaced_at);
        match self.fork() {
            Ok(another) => self.emit(worker, ClusterEvent::Replaced(another)),
            Err(error) => {
                self.replace_later(worker, limit.within);
                self.emit(worker, ClusterEvent::RestartFailed(error));
            }
        }
    }

    fn replace_later(self: &Rc<Self>, worker: &Worker, after: Duration) {
        let Ok(timer) = Timer::new(&self.lp) else { return };
        let (core, worker) = (self.clone(), worker.clone());
        let started = timer.start_duration(after, Duration::ZERO, move |timer| {
            timer.close();
            core.replacements.borrow_mut().retain(|other| !other.is_closing());
            core.replace(&worker);
        });
        if started.is_ok() {
            self.replacements.borrow_mut().push(timer);
        }
    }

    pub(super) fn disconnect_one(
        self: &Rc<Self>,
        worker: &Worker,
    ) -> std::result::Result<(), ChannelError> {
        let (message, _) = self.sequence.message([("act", Value::from("disconnect"))]);
        worker.send(&message)?;
        worker.leaves();
        // What it has been sent before, it answers for.
        self.remove_everywhere(worker.id());
        self.distribute_everywhere();
        Ok(())
    }

    pub(super) fn disconnect(self: &Rc<Self>, callback: Box<dyn FnOnce(&Primary)>) {
        self.ending.set(true);
        self.when_all_are_gone.borrow_mut().push(callback);
        for waiting in self.replacements.take() {
            waiting.close();
        }
        for worker in self.workers() {
            let _disconnected_already = self.disconnect_one(&worker);
        }
        if self.workers.borrow().is_empty() {
            // Callbacks are called from `run` only.
            let core = self.clone();
            self.soon(move || core.tell_if_all_are_gone());
        }
    }

    /// Does something in the next turn.
    fn soon(&self, mut what: impl FnMut() + 'static) {
        let Ok(timer) = Timer::new(&self.lp) else { return };
        let _started = timer.start(0, 0, move |timer| {
            timer.close();
            what();
        });
    }

    fn tell_if_all_are_gone(self: &Rc<Self>) {
        if !self.workers.borrow().is_empty() {
            return;
        }
        let primary = Primary::from_core(self.clone());
        loop {
            let next = self.when_all_are_gone.borrow_mut().pop();
            let Some(callback) = next else { break };
            callback(&primary);
        }
    }
}

/// What a worker gets that asks for a server.
enum Reply {
    RoundRobin(Option<std::net::SocketAddr>),
    Shared(SendHandle),
}

/// An address as Node's `getsockname` describes it.
fn socket_name(address: std::net::SocketAddr) -> Value {
    Value::object([
        ("address", Value::from(address.ip().to_string())),
        ("family", Value::from(if address.is_ipv6() { "IPv6" } else { "IPv4" })),
        ("port", Value::from(address.port())),
    ])
}
