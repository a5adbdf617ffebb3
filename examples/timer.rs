//! Timers: once, again and again, and shorter than a millisecond.
//!
//! ```text
//! cargo run --example timer
//! ```
//!
//! It ends by itself when no timer is left.

use std::time::Duration;

use blacklight::Result;
use blacklight::prelude::*;

fn main() -> Result<()> {
    let lp = EventLoop::new()?;

    let once = Timer::new(&lp)?;
    once.start(20, 0, |_| println!("once, after 20 ms"))?;

    let again = Timer::new(&lp)?;
    let mut ticks = 0;
    again.start(5, 10, move |again| {
        ticks += 1;
        println!("tick {ticks}");
        if ticks == 3 {
            again.stop();
        }
    })?;

    // Deadlines are kept in nanoseconds, and a timer is never early.
    let short = Timer::new(&lp)?;
    let begun = lp.now_duration();
    let wait = Duration::from_micros(250);
    short.start_duration(wait, Duration::ZERO, move |short| {
        let waited = short.event_loop().now_duration() - begun;
        println!("short, not early: {}", waited >= wait);
    })?;

    // An unreferenced timer does not keep the loop alive.
    let never = Timer::new(&lp)?;
    never.start(3_600_000, 0, |_| println!("an hour is not what we wait for"))?;
    never.unreference();

    lp.run(RunMode::Default)?;
    println!("no timer is left");
    Ok(())
}
