//! What a callback may do in the middle of a batch of messages that came together.

use std::io::Write as _;
use std::rc::Rc;

use blacklight::child_process::{Channel, ChannelError, ChannelOptions, Message, Value};
use blacklight::prelude::*;

use crate::errors::listening;
use crate::support::process::{new_loop, run};
use crate::support::{isolated, open_fds};
use crate::talk::{Heard, text};
use crate::tools::Tokens;

/// A channel that five messages have come to, and does something in the callback of the second.
fn five(
    lp: &EventLoop,
    what: impl Fn(&Channel) + 'static,
) -> (Channel, std::os::unix::net::UnixStream, Heard) {
    let (channel, mut theirs, heard) = listening(lp, ChannelOptions::default());
    theirs.write_all(b"1\n2\n3\n4\n5\n").unwrap();
    let h = heard.clone();
    channel.on_message(move |channel, message| {
        h.add(text(&message.value));
        if message.value == Value::from(2) {
            what(channel);
        }
    });
    (channel, theirs, heard)
}

#[test]
fn a_loop_that_is_halted_calls_nobody_any_more() {
    let lp = EventLoop::new().unwrap();
    let tokens = Tokens::new();
    let token = tokens.one();
    let (channel, _theirs, heard) = five(&lp, move |channel| {
        token.keep();
        channel.send_with(&Value::Null, |_, _| unreachable!()).unwrap();
        channel.event_loop().halt();
    });
    for _ in 0..2 {
        lp.run(RunMode::Default).unwrap();
        assert_eq!(heard.get(), ["1", "2"]);
    }
    drop(channel);
    drop(lp);
    assert_eq!(tokens.alive(), 0, "the closure went with the loop");
}

#[test]
fn a_disconnection_lets_what_has_come_be_heard() {
    let lp = EventLoop::new().unwrap();
    let (channel, _theirs, heard) = five(&lp, |channel| {
        channel.disconnect().unwrap();
        assert_eq!(channel.disconnect(), Err(ChannelError::Closed));
        assert_eq!(channel.send(&Value::Null), Err(ChannelError::Closed));
    });
    run(&lp);
    assert_eq!(heard.get(), ["1", "2", "3", "4", "5", "disconnect"]);
    assert!(!channel.is_connected());
}

#[test]
fn a_listener_that_goes_away_leaves_the_rest_for_the_next() {
    let lp = EventLoop::new().unwrap();
    let (channel, theirs, heard) = five(&lp, Channel::ignore_messages);
    for _ in 0..3 {
        lp.run(RunMode::NoWait).unwrap();
    }
    assert_eq!(heard.get(), ["1", "2"]);
    let h = heard.clone();
    channel.on_message(move |_, message: Message| h.add(format!("then {}", text(&message.value))));
    drop(theirs);
    run(&lp);
    assert_eq!(heard.get(), ["1", "2", "then 3", "then 4", "then 5", "disconnect"]);
}

/// A program that ends closes every handle of its loop, those of the channel among them.
#[test]
fn closing_every_handle_of_the_loop_ends_the_channel_without_a_word() {
    isolated(|| {
        let before = open_fds();
        let lp = new_loop();
        let tokens = Tokens::new();
        let token = tokens.one();
        let (channel, theirs, heard) = five(&lp, move |channel| {
            token.keep();
            channel.event_loop().walk(|handle| handle.close());
        });
        run(&lp);
        assert_eq!(heard.get()[..2], ["1", "2"]);
        // Sending goes nowhere, but harms nobody.
        let _lost = channel.send(&Value::Null);
        let _ended = channel.disconnect();
        lp.run(RunMode::Default).unwrap();
        drop((channel, theirs, lp));
        assert_eq!(tokens.alive(), 0);
        assert_eq!(open_fds(), before);
    });
}

#[test]
fn the_channel_may_be_dropped_in_its_own_callback() {
    let lp = EventLoop::new().unwrap();
    let place: Rc<std::cell::RefCell<Option<Channel>>> = Rc::default();
    let p = place.clone();
    let (channel, theirs, heard) = five(&lp, move |_| drop(p.take()));
    place.replace(Some(channel));
    drop(theirs);
    run(&lp);
    assert_eq!(heard.get(), ["1", "2", "3", "4", "5", "disconnect"]);
}

/// A panic interrupts a phase, whose rest is the next turn's: what begins to wait for that phase
/// must not be taken for done.
#[test]
fn a_panic_in_somebody_elses_check_hook_does_not_hold_a_message_up() {
    isolated(|| {
        let lp = new_loop();
        let (channel, mut theirs, heard) = listening(&lp, ChannelOptions::default());
        let check = Check::new(&lp).unwrap();
        check.start(|_| panic!("on purpose")).unwrap();
        crate::tools::run_panics(&lp, RunMode::NoWait, "on purpose");
        theirs.write_all(b"1\n").unwrap();
        crate::tools::run_until(&lp, || heard.get() == ["1"]);
        drop(channel);
    });
}
