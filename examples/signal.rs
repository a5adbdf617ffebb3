//! Signals as events, with who sent them.
//!
//! ```text
//! cargo run --example signal
//! ```
//!
//! It says which process it is and counts the SIGUSR1 that it is sent, until SIGINT (^C) or SIGTERM
//! ends it.

use std::cell::Cell;
use std::rc::Rc;

use blacklight::prelude::*;
use blacklight::{Result, signal_name};

fn main() -> Result<()> {
    let lp = EventLoop::new()?;
    let count = Rc::new(Cell::new(0));

    let counter = Signal::new(&lp)?;
    let seen = count.clone();
    counter.start(libc::SIGUSR1, move |_, event| {
        seen.set(seen.get() + 1);
        println!("SIGUSR1 from process {} of user {}", event.sender_pid, event.sender_uid);
    })?;

    for signum in [libc::SIGINT, libc::SIGTERM] {
        let end = Signal::new(&lp)?;
        end.start(signum, |end, event| {
            println!("ended by {}", signal_name(event.signum).unwrap_or("a signal"));
            end.event_loop().stop();
        })?;
    }

    println!("I am process {}", std::process::id());
    lp.run(RunMode::Default)?;
    println!("SIGUSR1 came {} times", count.get());
    Ok(())
}
