//! The hooks into a turn of the loop: `Idle`, `Prepare` and `Check`.
//!
//! They are one thing on three queues. Within a phase the one started last is called first, as in
//! libuv; one that is started in a callback of the same phase has to wait for the next turn.

use std::rc::Rc;

use crate::error::{Error, Result};
use crate::event_loop::{LoopInner, LoopRef};
use crate::handle::{Base, HandleKind, Node, OnUnwind, Slot, create, handle};

/// What a hook's closure is called with.
type Callback = dyn FnMut(&Rc<HookNode>);

pub(crate) struct HookNode {
    base: Base,
    kind: HandleKind,
    callback: Slot<Callback>,
}

impl HookNode {
    fn queue<'a>(&self, lp: &'a LoopInner) -> &'a crate::event_loop::Queue {
        match self.kind {
            HandleKind::Idle => &lp.idle,
            HandleKind::Prepare => &lp.prepare,
            _ => &lp.check,
        }
    }

    fn make(lp: &LoopRef, kind: HandleKind) -> Result<Rc<HookNode>> {
        create(lp, |base| HookNode { base, kind, callback: Slot::empty() })
    }

    /// An active one keeps the closure it has, as in libuv.
    fn start(&self, callback: Box<Callback>) -> Result<()> {
        if self.base.is_closing() {
            return Err(Error::EINVAL);
        }
        let lp = self.base.lp().inner();
        lp.usable()?;
        if self.base.is_active() {
            return Ok(());
        }
        self.base.activate();
        self.queue(lp).push_front(&self.base);
        drop(self.callback.set(callback));
        Ok(())
    }

    fn leave(&self) {
        if self.base.is_active() {
            if self.base.queued.is_linked() {
                self.queue(self.base.lp().inner()).remove(&self.base);
            }
            self.base.deactivate();
        }
    }

    fn stop_and_drop(&self) {
        self.leave();
        drop(self.callback.clear());
    }
}

impl Node for HookNode {
    fn base(&self) -> &Base {
        &self.base
    }

    fn kind(&self) -> HandleKind {
        self.kind
    }

    fn work(self: Rc<Self>) {
        self.base.lp().inner().counters.callback();
        let stopping = OnUnwind::new(|| self.stop_and_drop());
        self.callback.call(|callback| callback(&self));
        stopping.passed();
    }

    fn stop(&self) {
        self.leave();
    }

    fn drop_closures(&self) {
        drop(self.callback.clear());
    }
}

macro_rules! hook {
    ($(#[$doc:meta])* $hook:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $hook(Rc<HookNode>);

        handle!($hook, HookNode, |node| node.kind == HandleKind::$hook);

        impl $hook {
            /// Makes a hook that is not started.
            ///
            /// # Errors
            /// `EINVAL` when the loop has been dropped, `ESTALE` in a forked child.
            pub fn new(lp: &LoopRef) -> Result<$hook> {
                HookNode::make(lp, HandleKind::$hook).map($hook)
            }

            /// Has `callback` called in every turn. On a started hook this does nothing, and the
            /// closure that it has stays (libuv's rule).
            ///
            /// # Errors
            /// `EINVAL` when the hook is closing.
            pub fn start(&self, mut callback: impl FnMut(&$hook) + 'static) -> Result<()> {
                self.0.start(Box::new(move |node| callback(&$hook(node.clone()))))
            }

            /// Ends the calls and drops the closure. Stopping a stopped hook does nothing.
            pub fn stop(&self) {
                self.0.stop_and_drop();
            }
        }
    };
}

hook! {
    /// Called in every turn, before the prepare hooks; while one is started, the loop does not
    /// wait for events (`uv_idle_t`).
    ///
    /// ```
    /// use blacklight::{EventLoop, Idle, RunMode};
    ///
    /// let lp = EventLoop::new()?;
    /// let idle = Idle::new(&lp)?;
    /// idle.start(|idle| idle.stop())?;
    /// lp.run(RunMode::Default)?;
    /// # Ok::<(), blacklight::Error>(())
    /// ```
    Idle
}

hook! {
    /// Called in every turn, right before the loop waits for events (`uv_prepare_t`).
    ///
    /// ```
    /// use blacklight::{EventLoop, Prepare, RunMode};
    ///
    /// let lp = EventLoop::new()?;
    /// let prepare = Prepare::new(&lp)?;
    /// prepare.start(|prepare| prepare.stop())?;
    /// lp.run(RunMode::NoWait)?;
    /// # Ok::<(), blacklight::Error>(())
    /// ```
    Prepare
}

hook! {
    /// Called in every turn, right after the loop waited for events (`uv_check_t`).
    ///
    /// ```
    /// use blacklight::{Check, EventLoop, RunMode};
    ///
    /// let lp = EventLoop::new()?;
    /// let check = Check::new(&lp)?;
    /// check.start(|check| check.stop())?;
    /// lp.run(RunMode::NoWait)?;
    /// # Ok::<(), blacklight::Error>(())
    /// ```
    Check
}
