//! Delivering what has come, in order: messages behind the read that brought them, everything else in
//! the check phase.
//!
//! That is when Node delivers them too, and a hook that is started and stopped for each message would
//! be a tenth of what the message costs. Invariants: one callback at a time, so that one that panics
//! leaves the rest to the next turn; a message that nobody listens for holds up other messages, but
//! nothing else; the disconnection is told after the last message, once.

use std::rc::Rc;

use super::state::{Incoming, Message, State};
use super::{Channel, incoming, outbox};
use crate::handle::OnUnwind;
use crate::{Check, Handle, Idle};

/// Turns that a dead child's messages may take: more than a socket's buffer can hold, in the
/// smallest pieces. Whoever talks longer is somebody else.
const MOST_TURNS: u32 = 256;

/// What brings a delivery about. The idle hook keeps the loop from waiting for anything else.
#[derive(Default)]
pub(super) struct Hooks(Option<(Check, Idle)>);

impl Drop for Hooks {
    fn drop(&mut self) {
        if let Some((check, idle)) = self.0.take() {
            check.close();
            idle.close();
        }
    }
}

impl State {
    /// Whether something can be delivered now.
    fn is_deliverable(&self) -> bool {
        !self.incoming.borrow().is_empty()
            || (self.on_message.is_set() && !self.kept.borrow().is_empty())
            || (self.undecoded.get() && !self.is_overfull())
            || (self.is_over() && !self.told.get())
    }

    /// Whether the channel has ended and nothing that it brought is left.
    fn is_over(&self) -> bool {
        self.ended.get() && !self.undecoded.get()
    }

    /// Has the check phase deliver what there is, unless a delivery is under way.
    pub(super) fn deliver_soon(self: &Rc<Self>) {
        if !self.delivering.get() && self.is_deliverable() {
            self.schedule();
        }
    }

    fn schedule(self: &Rc<Self>) {
        if self.scheduled.get() {
            return;
        }
        let lp = self.pipe.event_loop();
        let mut hooks = self.hooks.borrow_mut();
        if hooks.0.is_none() {
            let (Ok(check), Ok(idle)) = (Check::new(lp), Idle::new(lp)) else { return };
            hooks.0 = Some((check, idle));
        }
        let Some((check, idle)) = &hooks.0 else { return };
        let state = self.clone();
        let delivering = check.start(move |_| state.deliver());
        self.scheduled.set(delivering.is_ok() && idle.start(|_| {}).is_ok());
    }

    /// Ends what [`State::schedule`] has begun.
    fn unschedule(&self) {
        if !self.scheduled.replace(false) {
            return;
        }
        if let Some((check, idle)) = &self.hooks.borrow().0 {
            check.stop();
            idle.stop();
        }
    }

    /// Delivers what a read has brought, inside the callback of the pipe.
    pub(super) fn deliver_read(self: &Rc<Self>) {
        let reading_on = OnUnwind::new(|| {
            // The pipe stops reading for what has unwound through its callback, and begins again
            // after the delivery that comes next.
            self.paused.set(true);
            self.schedule();
        });
        self.deliver();
        reading_on.passed();
    }

    fn deliver(self: &Rc<Self>) {
        let again = OnUnwind::new(|| {
            // A hook whose closure panicked is over, and so are those that go with it.
            drop(self.hooks.take());
            self.scheduled.set(false);
            self.delivering.set(false);
            outbox::flush(self);
            self.deliver_soon();
        });
        self.delivering.set(true);
        let channel = Channel::from_state(self.clone());
        while !channel.event_loop().is_halted() {
            if self.on_message.is_set() {
                let kept = self.kept.borrow_mut().pop_front();
                if let Some(message) = kept {
                    self.tell(&channel, message);
                    continue;
                }
            }
            let filed = self.incoming.borrow_mut().pop_front();
            let next = match filed {
                Some(filed) => filed,
                None => match incoming::next(self) {
                    Some(Some(next)) => next,
                    Some(None) => continue,
                    None if !self.incoming.borrow().is_empty() => continue,
                    None if self.is_over() && !self.told.get() => {
                        self.tell_end(&channel);
                        continue;
                    }
                    None => break,
                },
            };
            match next {
                Incoming::Message(message) if self.on_message.is_set() => {
                    self.tell(&channel, message);
                }
                Incoming::Message(message) => self.kept.borrow_mut().push_back(message),
                Incoming::Internal(message) => {
                    let stop = OnUnwind::new(|| drop(self.on_internal.clear()));
                    self.on_internal.call(|callback| callback(&channel, message));
                    stop.passed();
                }
                Incoming::Error(error) => {
                    let stop = OnUnwind::new(|| drop(self.on_error.clear()));
                    self.on_error.call(|callback| callback(&channel, error));
                    stop.passed();
                }
                Incoming::Sent(callback, result) => callback(&channel, result),
            }
        }
        self.delivering.set(false);
        again.passed();
        outbox::flush(self);
        self.unschedule();
        if channel.event_loop().is_halted() && self.undecoded.get() {
            // Whoever halts after each message must not be sent more than it takes.
            incoming::pause(self);
        } else {
            incoming::resume(self);
        }
        // What the flush has completed.
        self.deliver_soon();
    }

    /// Gives a message to whoever listens.
    fn tell(&self, channel: &Channel, message: Message) {
        let stop = OnUnwind::new(|| drop(self.on_message.clear()));
        self.on_message.call(|callback| callback(channel, message));
        stop.passed();
    }

    fn tell_end(&self, channel: &Channel) {
        self.told.set(true);
        // As in Node, what nobody listened for in time is lost.
        self.kept.take();
        let after_all = self.after_all.take();
        let telling = OnUnwind::new(|| drop(self.on_disconnect.clear()));
        // The exit is told even if this panics, in the next turn.
        let after_all = std::cell::Cell::new(after_all);
        let put_back = OnUnwind::new(|| self.after_all.set(after_all.take()));
        self.on_disconnect.call(|callback| callback(channel));
        put_back.passed();
        telling.passed();
        // Nothing is to be heard any more; closures often hold the channel itself.
        drop(self.on_message.clear());
        drop(self.on_internal.clear());
        drop(self.on_disconnect.clear());
        drop(self.on_error.clear());
        if let Some(after_all) = after_all.take() {
            after_all();
        }
    }

    /// Calls `then` once everything that was sent by the other side has been delivered: at the
    /// channel's end, or, where somebody else holds the other end open, as soon as a turn has
    /// brought nothing new.
    pub(crate) fn when_all_is_delivered(self: &Rc<Self>, then: Box<dyn FnOnce()>) {
        if self.told.get() {
            then();
            return;
        }
        self.after_all.set(Some(then));
        self.heard.set(true);
        self.watch_silence();
    }

    /// Looks in every turn whether the other side has fallen silent, without letting the loop wait.
    fn watch_silence(self: &Rc<Self>) {
        let lp = self.pipe.event_loop().clone();
        let (Ok(idle), Ok(check)) = (Idle::new(&lp), Check::new(&lp)) else {
            if let Some(after_all) = self.after_all.take() {
                after_all();
            }
            return;
        };
        let state = self.clone();
        let mut turns = 0;
        // An idle handle keeps the loop from waiting; that is all it is for.
        let _started = idle.start(|_| {});
        let _started = check.start(move |check| {
            turns += 1;
            let quiet = !state.heard.replace(false) && !state.is_deliverable();
            if quiet || state.told.get() || turns > MOST_TURNS {
                idle.close();
                check.close();
                if let Some(after_all) = state.after_all.take() {
                    after_all();
                }
            }
        });
    }
}
