//! Other threads wake the loop: results come through a channel, and an `Async` says that they are
//! there.
//!
//! ```text
//! cargo run --example async_wake
//! ```
//!
//! It ends when all the threads have.

use std::sync::mpsc;
use std::thread;

use blacklight::Result;
use blacklight::prelude::*;

const THREADS: u64 = 4;

fn main() -> Result<()> {
    let lp = EventLoop::new()?;
    let (results, inbox) = mpsc::channel();

    let mut left = THREADS;
    let wake = Async::new(&lp, move |wake| {
        // One call may stand for several sends, so everything is taken that is there.
        for (thread, sum) in inbox.try_iter() {
            println!("thread {thread}: {sum}");
            left -= 1;
        }
        if left == 0 {
            wake.close();
        }
    })?;

    for thread in 1..=THREADS {
        let (results, sender) = (results.clone(), wake.sender()?);
        thread::spawn(move || {
            let sum: u64 = (1..=thread * 1000).sum();
            // Both fail only if the loop has ended, and then nobody wants to know.
            if results.send((thread, sum)).is_ok() {
                let _ended = sender.send();
            }
        });
    }

    lp.run(RunMode::Default)?;
    println!("all threads are done");
    Ok(())
}
