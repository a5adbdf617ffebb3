//! Handing connections out: to whom, and what becomes of one that is not taken.
//!
//! Invariant: a connection that was handed out is kept until its worker has answered for it, so that
//! it can go to another.

use std::rc::Rc;

use super::super::channel::{HandleType, SendHandle};
use super::super::value::Value;
use super::core::Core;
use super::server::{Server, Waiting};
use super::worker::Worker;
use crate::{Handle, Timer};

/// Milliseconds until a connection that every worker refused is offered again: often enough that
/// nobody notices, rarely enough that a full cluster is not kept busy refusing.
const OFFER_AGAIN: u64 = 10;

/// A connection that a worker has been sent and has not answered for.
pub(super) struct HandedOut {
    key: String,
    worker: u32,
    connection: Waiting,
}

impl Core {
    /// The server has a connection to be accepted.
    pub(super) fn connection_waits(self: &Rc<Self>, key: &str) {
        if let Some(server) = self.servers.borrow_mut().get_mut(key) {
            server.take();
        }
        self.distribute(key);
    }

    /// Gives connections that wait to workers that are free.
    pub(super) fn distribute(self: &Rc<Self>, key: &str) {
        loop {
            let next = self.servers.borrow_mut().get_mut(key).and_then(Server::next);
            let Some((worker, connection)) = next else { return };
            self.hand_out(key, worker, connection);
        }
    }

    fn hand_out(self: &Rc<Self>, key: &str, id: u32, connection: Waiting) {
        let Some(worker) = self.worker(id).filter(Worker::is_connected) else {
            // Its disconnection is about to be told, and takes it off; it is not free any more.
            self.give_back(key, connection);
            return;
        };
        let Ok(copy) = connection.descriptor.try_clone() else {
            // No descriptor is left: the connection is closed, which makes room.
            self.is_free(key, id);
            return;
        };
        let fields = [("act", Value::from("newconn")), ("key", Value::from(key))];
        let (message, number) = self.sequence.message(fields);
        let handed_out = HandedOut { key: key.to_owned(), worker: id, connection };
        self.handed_out.borrow_mut().insert(number, handed_out);
        let (core, of) = (Rc::downgrade(self), worker.clone());
        let handle = SendHandle::new(HandleType::Native, copy);
        let sent = worker.send_handle(&message, handle, move |_, result| {
            if let (Err(_), Some(core)) = (result, core.upgrade())
                && of.is_connected()
            {
                // It never left, and the reason (descriptors have run out) is none to try again
                // at once. The end of a channel is dealt with when it is told.
                core.lost(number);
            }
        });
        if sent.is_err() {
            self.lost(number);
        }
    }

    /// A connection could not be sent: it is closed.
    fn lost(self: &Rc<Self>, number: u32) {
        let lost = self.handed_out.borrow_mut().remove(&number);
        if let Some(lost) = lost {
            self.is_free(&lost.key, lost.worker);
        }
    }

    fn is_free(self: &Rc<Self>, key: &str, worker: u32) {
        if let Some(server) = self.servers.borrow_mut().get_mut(key) {
            server.is_free(worker);
        }
    }

    /// A worker says whether it has taken a connection.
    pub(super) fn answered(self: &Rc<Self>, worker: &Worker, number: u32, accepted: bool) {
        let mut all = self.handed_out.borrow_mut();
        if all.get(&number).is_none_or(|handed_out| handed_out.worker != worker.id()) {
            return;
        }
        let handed_out = all.remove(&number);
        drop(all);
        let Some(HandedOut { key, worker, mut connection }) = handed_out else { return };
        if !accepted {
            connection.refused_by.push(worker);
            self.give_back(&key, connection);
        }
        self.is_free(&key, worker);
        self.distribute(&key);
    }

    /// A connection is to go to another worker; if nobody serves its address, it is closed.
    fn give_back(self: &Rc<Self>, key: &str, connection: Waiting) {
        let mut servers = self.servers.borrow_mut();
        if servers.get_mut(key).is_some_and(|server| server.give_back(connection)) {
            drop(servers);
            self.offer_again_soon();
        }
    }

    fn offer_again_soon(self: &Rc<Self>) {
        if self.offering_again.borrow().is_some() {
            return;
        }
        let Ok(timer) = Timer::new(&self.lp) else { return };
        let core = Rc::downgrade(self);
        let started = timer.start(OFFER_AGAIN, 0, move |timer| {
            timer.close();
            if let Some(core) = core.upgrade() {
                core.offering_again.take();
                core.offer_again();
            }
        });
        if started.is_ok() {
            self.offering_again.replace(Some(timer));
        }
    }

    fn offer_again(self: &Rc<Self>) {
        self.servers.borrow_mut().values_mut().for_each(Server::offer_again);
        self.distribute_everywhere();
    }

    pub(super) fn distribute_everywhere(self: &Rc<Self>) {
        let keys: Vec<String> = self.servers.borrow().keys().cloned().collect();
        keys.iter().for_each(|key| self.distribute(key));
    }

    /// The worker will not answer any more: what it had goes to others.
    pub(super) fn release(self: &Rc<Self>, worker: &Worker) {
        self.remove_everywhere(worker.id());
        let theirs = |handed_out: &HandedOut| handed_out.worker == worker.id();
        let numbers: Vec<u32> = {
            let all = self.handed_out.borrow();
            all.iter().filter(|(_, one)| theirs(one)).map(|(number, _)| *number).collect()
        };
        for number in numbers {
            let unanswered = self.handed_out.borrow_mut().remove(&number);
            if let Some(unanswered) = unanswered {
                self.give_back(&unanswered.key, unanswered.connection);
            }
        }
        self.distribute_everywhere();
    }
}
