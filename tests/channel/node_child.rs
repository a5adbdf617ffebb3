//! This crate as the parent of node scripts.

use std::cell::RefCell;
use std::rc::Rc;

use blacklight::child_process::{ChannelOptions, ForkOptions, Serialization, Value, fork};
use blacklight::{Command, EventLoop, RunMode};

use crate::support::{Log, isolated};

/// Whether there is a node to talk to.
pub(crate) fn has_node() -> bool {
    let found = std::process::Command::new("node").arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: there is no node here");
    }
    found
}

pub(crate) fn node(script: &str) -> Command {
    let mut command = Command::new("node");
    command.args(["-e", script]);
    command
}

pub(crate) fn options(serialization: Serialization) -> ForkOptions {
    let channel = ChannelOptions { serialization, ..ChannelOptions::default() };
    ForkOptions { channel, ..ForkOptions::default() }
}

pub(crate) const BOTH: [Serialization; 2] = [Serialization::Json, Serialization::Advanced];

#[test]
fn messages_go_there_and_back_in_both_serializations() {
    isolated(|| {
        if !has_node() {
            return;
        }
        for serialization in BOTH {
            let lp = EventLoop::new().unwrap();
            let script = "process.on('message', m => { process.send({ echo: m }); \
                          if (m.last) process.disconnect(); });";
            let log = Log::new();
            let l = log.clone();
            let (_process, channel) =
                fork(&lp, &node(script), options(serialization), move |_, exit| {
                    l.add(format!("exit {exit}"));
                })
                .unwrap();
            let seen: Rc<RefCell<Vec<Value>>> = Rc::default();
            let s = seen.clone();
            channel.on_message(move |_, message| s.borrow_mut().push(message.value));
            let l = log.clone();
            channel.on_disconnect(move |_| l.add("disconnect"));
            let l = log.clone();
            channel.on_error(move |_, error| l.add(format!("error {error}")));
            channel.send(&Value::object([("n", 1)])).unwrap();
            channel.send(&Value::object([("last", true)])).unwrap();
            assert!(!lp.run(RunMode::Default).unwrap());
            assert_eq!(log.take(), ["disconnect", "exit exit code 0"]);
            assert_eq!(
                *seen.borrow(),
                [
                    Value::object([("echo", Value::object([("n", 1)]))]),
                    Value::object([("echo", Value::object([("last", true)]))]),
                ]
            );
        }
    });
}
