//! Memory while both ends send as much as they can.

use std::cell::Cell;
use std::rc::Rc;

use blacklight::child_process::{Channel, Serialization, Value};

use crate::node_child::BOTH;
use crate::support::isolated;
use crate::support::process::{new_loop, run};
use crate::talk::{quiet, role};

/// Messages each way, and how long each is: 128 MiB together.
const MESSAGES: u32 = 8192;
const LENGTH: usize = 16 * 1024;

/// What one end may grow by meanwhile. It has the 128 KiB that it sends before it is asked to wait,
/// the 2 MiB that a turn reads at most, twice that in a buffer that grows by doubling and once more
/// in the loop's own; 32 MiB is several times that, and a quarter of what it would be if either
/// direction were kept.
const BOUND: u64 = 32 << 20;

/// Resident bytes of this process (proc(5)).
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    // SAFETY: sysconf(3) reads a number.
    #[allow(unsafe_code)]
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * page
}

/// One end of the exchange.
struct End {
    to_send: Cell<u32>,
    to_receive: Cell<u32>,
    before: u64,
    /// The most that this end has grown by.
    most: Cell<u64>,
    said: Cell<bool>,
    /// What the other end says that it has grown by.
    theirs: Cell<Option<u64>>,
}

impl End {
    /// Sends until it is asked to wait, and goes on when that is written.
    fn send(self: &Rc<Self>, channel: &Channel) {
        let message = Value::from("x".repeat(LENGTH));
        let mut more = true;
        while more && self.to_send.get() > 0 {
            self.to_send.set(self.to_send.get() - 1);
            let end = self.clone();
            let written = move |channel: &Channel, result: blacklight::Result<()>| {
                result.unwrap();
                if channel.queued_bytes() == 0 {
                    end.send(channel);
                }
            };
            more = channel.send_with(&message, written).unwrap();
        }
        self.look(channel);
    }

    fn receive(&self, channel: &Channel, message: &Value) {
        if let Some(theirs) = message.as_i64() {
            self.theirs.set(Some(theirs.unsigned_abs()));
        } else {
            self.to_receive.set(self.to_receive.get() - 1);
            if self.to_receive.get().is_multiple_of(64) {
                let grown = resident().saturating_sub(self.before);
                self.most.set(self.most.get().max(grown));
            }
        }
        self.look(channel);
    }

    /// When all is sent and received, says by how much it has grown; when both have, it is over.
    fn look(&self, channel: &Channel) {
        let over = self.to_send.get() == 0 && self.to_receive.get() == 0;
        if over && channel.is_connected() && !self.said.replace(true) {
            channel.send(&Value::from(self.most.get() as f64)).unwrap();
        }
        if self.said.get() && self.theirs.get().is_some() {
            let _the_other_was_first = channel.disconnect();
        }
    }
}

fn begin(channel: &Channel) -> Rc<End> {
    let end = Rc::new(End {
        to_send: Cell::new(MESSAGES),
        to_receive: Cell::new(MESSAGES),
        before: resident(),
        most: Cell::new(0),
        said: Cell::new(false),
        theirs: Cell::new(None),
    });
    let e = end.clone();
    channel.on_message(move |channel, message| e.receive(channel, &message.value));
    end.send(channel);
    end
}

/// What the child does.
pub(crate) fn exchange(channel: &Channel) {
    begin(channel);
}

#[test]
fn a_flood_from_both_ends_at_once_is_delivered_in_bounded_memory() {
    isolated(|| {
        for serialization in BOTH {
            check(serialization);
        }
    });
}

fn check(serialization: Serialization) {
    let lp = new_loop();
    let talk = quiet(&lp, &role("megabytes"), serialization);
    let end = begin(&talk.channel);
    run(&lp);
    let (ours, theirs) = (end.most.get(), end.theirs.get().unwrap());
    assert!(ours < BOUND && theirs < BOUND, "{ours} and {theirs}, {serialization:?}");
    assert_eq!((end.to_send.get(), end.to_receive.get()), (0, 0));
}
