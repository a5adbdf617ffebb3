//! The `Idle`, `Prepare` and `Check` handles: one test body for the three of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::cell::RefCell;
use std::rc::Rc;

use blacklight::Error;
use blacklight::prelude::*;
use support::Log;
use tools::Tokens;

/// Writes a module of tests for each kind of hook. `NoWait` runs one turn.
macro_rules! for_each_hook {
    ($($module:ident: $hook:ident;)*) => {$(
        mod $module {
            use super::*;
            type Hook = $hook;

            #[test]
            fn the_one_started_last_is_called_first() {
                let lp = EventLoop::new().unwrap();
                let log = Log::new();
                let hooks: Vec<Hook> = ["a", "b", "c"]
                    .into_iter()
                    .map(|name| {
                        let (hook, l) = (Hook::new(&lp).unwrap(), log.clone());
                        hook.start(move |_| l.add(name)).unwrap();
                        hook
                    })
                    .collect();
                assert_eq!(lp.run(RunMode::NoWait), Ok(true));
                assert_eq!(log.take(), ["c", "b", "a"]);
                assert_eq!(lp.run(RunMode::NoWait), Ok(true));
                assert_eq!(log.take(), ["c", "b", "a"]);
                hooks[1].stop();
                assert_eq!(lp.run(RunMode::NoWait), Ok(true));
                assert_eq!(log.take(), ["c", "a"]);
                let l = log.clone();
                hooks[0].stop();
                hooks[0].start(move |_| l.add("a again")).unwrap();
                assert_eq!(lp.run(RunMode::NoWait), Ok(true));
                assert_eq!(log.take(), ["a again", "c"]);
            }

            #[test]
            fn starting_a_started_one_keeps_its_closure() {
                let lp = EventLoop::new().unwrap();
                let (log, tokens) = (Log::new(), Tokens::new());
                let hook = Hook::new(&lp).unwrap();
                let (l, token) = (log.clone(), tokens.one());
                hook.start(move |_| { token.keep(); l.add("first") }).unwrap();
                let token = tokens.one();
                hook.start(move |_| { token.keep(); panic!("never called") }).unwrap();
                assert_eq!(tokens.alive(), 1);
                lp.run(RunMode::NoWait).unwrap();
                assert_eq!(log.take(), ["first"]);
                hook.stop();
                hook.stop();
                assert_eq!(tokens.alive(), 0);
                assert_eq!(lp.run(RunMode::NoWait), Ok(false));
                assert_eq!(log.take(), [""; 0]);
            }

            #[test]
            fn one_started_in_the_same_phase_waits_for_the_next_turn() {
                let lp = EventLoop::new().unwrap();
                let log = Log::new();
                let (first, second) = (Hook::new(&lp).unwrap(), Hook::new(&lp).unwrap());
                let (l, other) = (log.clone(), second.clone());
                first
                    .start(move |first| {
                        l.add("first");
                        let l = l.clone();
                        // The same for itself: stopped and started, it is a new one.
                        other.start({ let l = l.clone(); move |_| l.add("second") }).unwrap();
                        first.stop();
                        first.start(move |_| l.add("first again")).unwrap();
                    })
                    .unwrap();
                lp.run(RunMode::NoWait).unwrap();
                assert_eq!(log.take(), ["first"]);
                lp.run(RunMode::NoWait).unwrap();
                assert_eq!(log.take(), ["first again", "second"]);
            }

            #[test]
            fn a_callback_may_stop_and_close_itself_and_all_others() {
                for close in [false, true] {
                    // Called second of four: one has been called, one is next, one is last.
                    for what in ["itself", "the next", "the last", "the one before", "all"] {
                        let lp = EventLoop::new().unwrap();
                        let log = Log::new();
                        let all: Rc<RefCell<Vec<Hook>>> = Rc::default();
                        for i in 0..4usize {
                            let (hook, l, a) = (Hook::new(&lp).unwrap(), log.clone(), all.clone());
                            hook.start(move |_| {
                                l.add(i.to_string());
                                // In the second turn there is nothing left to do it to.
                                if i != 2 || a.borrow().is_empty() {
                                    return;
                                }
                                let victims: Vec<usize> = match what {
                                    "itself" => vec![2],
                                    "the next" => vec![1],
                                    "the last" => vec![0],
                                    "the one before" => vec![3],
                                    _ => vec![0, 1, 2, 3],
                                };
                                for victim in victims {
                                    let hook = a.borrow()[victim].clone();
                                    if close { hook.close() } else { hook.stop() }
                                }
                                // And the references as well, those to itself among them.
                                a.borrow_mut().clear();
                            })
                            .unwrap();
                            all.borrow_mut().push(hook);
                        }
                        lp.run(RunMode::NoWait).unwrap();
                        let expected: &[&str] = match what {
                            "the next" => &["3", "2", "0"],
                            "the last" => &["3", "2", "1"],
                            "all" => &["3", "2"],
                            _ => &["3", "2", "1", "0"],
                        };
                        assert_eq!(log.take(), expected, "{what}, close: {close}");
                        lp.run(RunMode::NoWait).unwrap();
                        let expected: &[&str] = match what {
                            "itself" => &["3", "1", "0"],
                            "the next" => &["3", "2", "0"],
                            "the last" => &["3", "2", "1"],
                            "the one before" => &["2", "1", "0"],
                            _ => &[],
                        };
                        assert_eq!(log.take(), expected, "{what}, close: {close}, second turn");
                    }
                }
            }

            #[test]
            fn a_closing_one_cannot_be_started() {
                let lp = EventLoop::new().unwrap();
                let hook = Hook::new(&lp).unwrap();
                hook.close();
                assert_eq!(hook.start(|_| {}), Err(Error::EINVAL));
                lp.run(RunMode::Default).unwrap();
                assert_eq!(hook.start(|_| {}), Err(Error::EINVAL));
            }
        }
    )*};
}

for_each_hook! {
    idle: Idle;
    prepare: Prepare;
    check: Check;
}

#[test]
fn an_idle_hook_keeps_the_loop_from_waiting() {
    let lp = EventLoop::new().unwrap();
    let never = Timer::new(&lp).unwrap();
    never.start(u64::MAX, 0, |_| panic!("the end of time")).unwrap();
    let idle = Idle::new(&lp).unwrap();
    let mut turns = 0;
    idle.start(move |idle| {
        turns += 1;
        if turns == 5 {
            idle.event_loop().stop();
        }
    })
    .unwrap();
    assert_eq!(lp.run(RunMode::Default), Ok(true));
    assert_eq!(lp.metrics().turns, 5);
}
