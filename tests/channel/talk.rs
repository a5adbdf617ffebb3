//! A conversation over a channel, and programs of this crate to hold it with.

use std::cell::RefCell;
use std::rc::Rc;

use blacklight::child_process::{Channel, Message, Serialization, Value, fork, json};
use blacklight::prelude::*;

use crate::node_child::options;

/// One end, and what it has heard.
pub(crate) struct Talk {
    pub(crate) channel: Channel,
    _process: Process,
    pub(crate) heard: Heard,
}

#[derive(Clone, Default)]
pub(crate) struct Heard(Rc<RefCell<Vec<String>>>);

impl Heard {
    pub(crate) fn add(&self, line: impl Into<String>) {
        self.0.borrow_mut().push(line.into());
    }

    pub(crate) fn get(&self) -> Vec<String> {
        self.0.borrow().clone()
    }
}

pub(crate) fn text(value: &Value) -> String {
    json::stringify(value)
        .map_or_else(|_| format!("{value:?}"), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Forks, and writes down all that is told except messages.
pub(crate) fn quiet(lp: &EventLoop, command: &Command, serialization: Serialization) -> Talk {
    let heard = Heard::default();
    let h = heard.clone();
    let (process, channel) =
        fork(lp, command, options(serialization), move |_, exit| h.add(format!("exit {exit}")))
            .unwrap();
    let h = heard.clone();
    channel.on_disconnect(move |_| h.add("disconnect"));
    let h = heard.clone();
    channel.on_error(move |_, error| h.add(format!("error: {error}")));
    Talk { channel, _process: process, heard }
}

/// As [`quiet`], messages as well.
pub(crate) fn talk(lp: &EventLoop, command: &Command, serialization: Serialization) -> Talk {
    let talk = quiet(lp, command, serialization);
    let h = talk.heard.clone();
    talk.channel.on_message(move |_, message| h.add(text(&message.value)));
    talk
}

/// This test program in one of the roles below.
pub(crate) fn role(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "talk::a_program_of_this_crate", "--nocapture", "--test-threads=1"])
        .env("BLACKLIGHT_ROLE", name)
        .stdout(Stdio::null());
    command
}

/// A node script that forks this program in a role, as `child`.
pub(crate) fn node_parent(role: &str, advanced: bool, script: &str) -> Command {
    let mode = if advanced { "advanced" } else { "json" };
    let text = format!(
        "const net = require('net'), dgram = require('dgram'), fs = require('fs');\
         const child = require('child_process').spawn(process.env.ROLE_PROGRAM, \
         ['--exact', 'talk::a_program_of_this_crate', '--nocapture', '--test-threads=1'],\
         {{ stdio: ['ignore', 'ignore', 'inherit', 'ipc'], serialization: '{mode}', \
            env: {{ ...process.env, BLACKLIGHT_ROLE: '{role}' }} }});\
         {script}"
    );
    let mut command = crate::node_child::node(&text);
    command.env("ROLE_PROGRAM", std::env::current_exe().unwrap());
    command
}

/// Not a test: what [`role`] runs.
#[test]
fn a_program_of_this_crate() {
    let Ok(role) = std::env::var("BLACKLIGHT_ROLE") else { return };
    crate::support::process::watchdog();
    let lp = EventLoop::new().unwrap();
    // SAFETY: the only other thread waits for this one.
    #[allow(unsafe_code)]
    let channel = unsafe { Channel::from_env(&lp) }.unwrap().unwrap();
    act(&role, &lp, &channel);
    lp.run(RunMode::Default).unwrap();
    if let Some(code) = role.strip_prefix("leave with ") {
        std::process::exit(code.parse().unwrap());
    }
}

fn act(role: &str, lp: &EventLoop, channel: &Channel) {
    let echo = |channel: &Channel, message: Message| match message.handle {
        None => drop(channel.send(&message.value)),
        Some(handle) => {
            let kind = handle.kind.clone();
            let back = blacklight::child_process::SendHandle::new(kind, handle.descriptor);
            drop(channel.send_handle(&message.value, back, |_, _| {}));
        }
    };
    match role {
        "echo" => channel.on_message(echo),
        "environment" => {
            let names =
                ["NODE_CHANNEL_FD", "NODE_CHANNEL_SERIALIZATION_MODE", "BLACKLIGHT_CHANNEL"];
            let left = names.iter().filter(|name| std::env::var_os(name).is_some()).count();
            // The grandchild's descriptors: whether a socket is among them.
            let list = "for f in /proc/self/fd/*; do readlink $f; done | grep -c socket: || true";
            let output = std::process::Command::new("sh").args(["-c", list]).output().unwrap();
            let sockets = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            let said = Value::object([
                ("left", Value::from(left as u32)),
                ("sockets", Value::from(sockets)),
                ("us", Value::from(channel.peer_is_blacklight())),
            ]);
            channel.send(&said).unwrap();
        }
        "nothing" => {}
        "listen once" => channel.on_message(|channel, message| {
            channel.send(&message.value).unwrap();
            channel.ignore_messages();
        }),
        "listen unreferenced" => {
            channel.on_message(|_, _| {});
            channel.unreference();
        }
        "referenced" => {
            channel.reference();
            let channel = channel.clone();
            let timer = Timer::new(lp).unwrap();
            timer
                .start(20, 0, move |_| {
                    channel.send(&Value::from("still here")).unwrap();
                    channel.disconnect().unwrap();
                })
                .unwrap();
        }
        "flood" => {
            for number in 0..100_000 {
                channel.send(&Value::from(number)).unwrap();
            }
            let mut next = 0;
            channel.on_message(move |channel, message| {
                assert_eq!(message.value, Value::from(next));
                next += 1;
                if next == 100_000 {
                    channel.disconnect().unwrap();
                }
            });
        }
        "leave with 7" => {
            // Ten megabytes that nobody has read yet.
            for _ in 0..160 {
                channel.send(&Value::from("x".repeat(65536))).unwrap();
            }
            channel.send(&Value::from("last")).unwrap();
        }
        "disconnect behind a megabyte" => {
            channel.send(&Value::from("y".repeat(1 << 20))).unwrap();
            channel.send(&Value::from("last")).unwrap();
            channel.disconnect().unwrap();
        }
        other => panic!("unknown role {other}"),
    }
}
