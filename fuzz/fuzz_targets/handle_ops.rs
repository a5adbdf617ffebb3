//! Random programs on a loop: handles made, started, stopped, closed and dropped, from outside and
//! from inside callbacks. Whatever they do, nothing may crash, leak a closure, or call one that was
//! stopped.
//!
//! Each byte is an instruction; callbacks take theirs from the same tape, so that what happens in a
//! callback is as random as what happens outside.

#![no_main]

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use blacklight::prelude::*;
use libfuzzer_sys::fuzz_target;

/// Handles of each kind that a program has at most.
const MOST: usize = 8;

/// Instructions that one callback carries out at most.
const PER_CALLBACK: usize = 3;

struct Machine {
    tape: Vec<u8>,
    at: Cell<usize>,
    timers: RefCell<Vec<Timer>>,
    idles: RefCell<Vec<Idle>>,
    prepares: RefCell<Vec<Prepare>>,
    checks: RefCell<Vec<Check>>,
    asyncs: RefCell<Vec<Async>>,
    pipes: RefCell<Vec<Pipe>>,
    /// Closures that exist: each holds a share.
    alive: Rc<()>,
}

impl Machine {
    fn next(&self) -> Option<u8> {
        let at = self.at.get();
        self.at.set(at + 1);
        self.tape.get(at).copied()
    }

    fn pick<H: Clone>(&self, handles: &RefCell<Vec<H>>, number: u8) -> Option<H> {
        let handles = handles.borrow();
        (!handles.is_empty()).then(|| handles[usize::from(number) % handles.len()].clone())
    }

    fn put<H>(&self, handles: &RefCell<Vec<H>>, handle: H, number: u8) {
        // The one whose place is taken is dropped outside of the borrow: dropping runs closures'
        // destructors.
        let old = {
            let mut handles = handles.borrow_mut();
            if handles.len() < MOST {
                handles.push(handle);
                None
            } else {
                Some(std::mem::replace(&mut handles[usize::from(number) % MOST], handle))
            }
        };
        drop(old);
    }

    fn take<H>(&self, handles: &RefCell<Vec<H>>, number: u8) {
        let taken = {
            let mut handles = handles.borrow_mut();
            let place = usize::from(number) % MOST;
            (place < handles.len()).then(|| handles.swap_remove(place))
        };
        drop(taken);
    }

    fn step(self: &Rc<Self>, lp: &LoopRef) -> bool {
        let (Some(instruction), Some(number)) = (self.next(), self.next()) else { return false };
        let share = self.alive.clone();
        let this = self.clone();
        let inside = move |lp: &LoopRef| {
            let _share = &share;
            for _ in 0..PER_CALLBACK {
                if !this.step(lp) || number % 5 == 0 {
                    break;
                }
            }
        };
        match instruction % 32 {
            0 => self.put(&self.timers, Timer::new(lp).unwrap(), number),
            1 => self.put(&self.idles, Idle::new(lp).unwrap(), number),
            2 => self.put(&self.prepares, Prepare::new(lp).unwrap(), number),
            3 => self.put(&self.checks, Check::new(lp).unwrap(), number),
            4 => {
                let wake = Async::new(lp, move |wake| inside(wake.event_loop())).unwrap();
                self.put(&self.asyncs, wake, number);
            }
            5 => {
                if let Ok((one, other)) = Pipe::pair(lp) {
                    self.put(&self.pipes, one, number);
                    self.put(&self.pipes, other, number.wrapping_add(1));
                }
            }
            6 | 7 => {
                if let Some(timer) = self.pick(&self.timers, number) {
                    let (timeout, repeat) = (u64::from(number % 3), u64::from(number % 2));
                    let _closing = timer.start(timeout, repeat, move |t| inside(t.event_loop()));
                }
            }
            8 => drop(self.pick(&self.timers, number).map(|timer| timer.stop())),
            9 => drop(self.pick(&self.timers, number).map(|timer| timer.again())),
            10 => {
                if let Some(idle) = self.pick(&self.idles, number) {
                    let _closing = idle.start(move |idle| inside(idle.event_loop()));
                }
            }
            11 => drop(self.pick(&self.idles, number).map(|idle| idle.stop())),
            12 => {
                if let Some(prepare) = self.pick(&self.prepares, number) {
                    let _closing = prepare.start(move |prepare| inside(prepare.event_loop()));
                }
            }
            13 => drop(self.pick(&self.prepares, number).map(|prepare| prepare.stop())),
            14 => {
                if let Some(check) = self.pick(&self.checks, number) {
                    let _closing = check.start(move |check| inside(check.event_loop()));
                }
            }
            15 => drop(self.pick(&self.checks, number).map(|check| check.stop())),
            16 => drop(self.pick(&self.asyncs, number).map(|wake| wake.send())),
            17 => {
                if let Some(pipe) = self.pick(&self.pipes, number) {
                    let _refused = pipe.read_start(move |pipe, _| inside(pipe.event_loop()));
                }
            }
            18 => drop(self.pick(&self.pipes, number).map(|pipe| pipe.read_stop())),
            19 => {
                if let Some(pipe) = self.pick(&self.pipes, number) {
                    let buf = vec![number; usize::from(number) * 97];
                    let _refused = pipe.write(buf, move |pipe, _| inside(pipe.event_loop()));
                }
            }
            20 => {
                if let Some(pipe) = self.pick(&self.pipes, number) {
                    let _refused = pipe.write_and_forget(vec![number; usize::from(number) * 997]);
                }
            }
            21 => {
                if let Some(pipe) = self.pick(&self.pipes, number) {
                    let _refused = pipe.shutdown(move |pipe, _| inside(pipe.event_loop()));
                }
            }
            22 => drop(self.pick(&self.timers, number).map(|timer| timer.close())),
            23 => {
                if let Some(idle) = self.pick(&self.idles, number) {
                    let _again = idle.close_with(move |idle| inside(idle.event_loop()));
                }
            }
            24 => drop(self.pick(&self.checks, number).map(|check| check.close())),
            25 => drop(self.pick(&self.asyncs, number).map(|wake| wake.close())),
            26 => {
                if let Some(pipe) = self.pick(&self.pipes, number) {
                    let _again = pipe.close_with(move |pipe| inside(pipe.event_loop()));
                }
            }
            27 => match number % 6 {
                0 => self.take(&self.timers, number),
                1 => self.take(&self.idles, number),
                2 => self.take(&self.prepares, number),
                3 => self.take(&self.checks, number),
                4 => self.take(&self.asyncs, number),
                _ => self.take(&self.pipes, number),
            },
            28 => lp.stop(),
            29 => lp.walk(|handle| {
                if number % 7 == 0 {
                    handle.close();
                }
            }),
            30 => {
                if let Some(pipe) = self.pick(&self.pipes, number) {
                    let _open = pipe.on_drain(move |pipe| inside(pipe.event_loop()));
                    pipe.set_high_water_mark(usize::from(number));
                }
            }
            _ => {
                if let Some(timer) = self.pick(&self.timers, number) {
                    if number % 2 == 0 { timer.reference() } else { timer.unreference() }
                }
            }
        }
        true
    }
}

fuzz_target!(|tape: &[u8]| {
    let alive = Rc::new(());
    let machine = Rc::new(Machine {
        tape: tape.to_vec(),
        at: Cell::new(0),
        timers: RefCell::default(),
        idles: RefCell::default(),
        prepares: RefCell::default(),
        checks: RefCell::default(),
        asyncs: RefCell::default(),
        pipes: RefCell::default(),
        alive: alive.clone(),
    });
    let lp = EventLoop::new().unwrap();
    while machine.at.get() < machine.tape.len() {
        for _ in 0..4 {
            machine.step(&lp);
        }
        lp.run(RunMode::NoWait).unwrap();
    }
    drop(lp);
    assert_eq!(Rc::strong_count(&alive), 2, "a closure has outlived its loop");
});
