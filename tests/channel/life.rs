//! The life of a channel: orders of events, what is flushed, what callbacks may do, what is left.

use std::cell::Cell;
use std::rc::Rc;

use blacklight::child_process::{Channel, ChannelError, ChannelOptions, Serialization, Value};
use blacklight::prelude::*;

use crate::errors::listening;
use crate::node_child::{BOTH, has_node, node};
use crate::support::process::{new_loop, run, says};
use crate::support::{children, isolated, open_fds};
use crate::talk::{quiet, role, talk};

#[test]
fn events_come_in_the_order_that_node_prints() {
    isolated(|| {
        if !has_node() {
            return;
        }
        let scripts = [
            "for (let i = 0; i < 5; i++) process.send(i); process.disconnect(); process.exitCode = 3;",
            "process.send('a'); process.exit(4);",
            "process.send({ x: 'y' }, () => process.kill(process.pid, 'SIGKILL'));",
            "process.on('message', m => { process.send(m); process.disconnect(); });",
            "process.on('disconnect', () => process.exit(6)); process.send(1);",
            "",
        ];
        for (i, script) in scripts.iter().enumerate() {
            let lp = new_loop();
            let ours = talk(&lp, &node(script), Serialization::Json);
            let asks = i == 3 || i == 4;
            match i {
                3 => drop(ours.channel.send(&Value::from("question")).unwrap()),
                4 => {
                    let heard = ours.heard.clone();
                    ours.channel.on_message(move |channel, message| {
                        heard.add(crate::talk::text(&message.value));
                        channel.disconnect().unwrap();
                    });
                }
                _ => {}
            }
            run(&lp);
            let parent = "const c = require('child_process').spawn('node', ['-e', \
                process.env.SCRIPT], { stdio: ['inherit', 'inherit', 'inherit', 'ipc'] });\
                c.on('message', m => { console.log(JSON.stringify(m)); \
                  if (process.env.NUMBER === '4') c.disconnect(); });\
                c.on('disconnect', () => console.log('disconnect'));\
                c.on('exit', (code, signal) => console.log('exit', signal \
                  ? 'killed by ' + signal : 'exit code ' + code));\
                if (process.env.NUMBER === '3') c.send('question');";
            let theirs = says(node(parent).env("SCRIPT", script).env("NUMBER", i.to_string()));
            let theirs: Vec<&str> = theirs.lines().collect();
            let ours: Vec<String> = ours.heard.get();
            let simple = |line: &str| {
                if line.contains("SIGKILL") { "killed".into() } else { line.to_owned() }
            };
            let (ours, theirs): (Vec<_>, Vec<_>) = (
                ours.iter().map(|line| simple(line)).collect(),
                theirs.iter().map(|line| simple(line)).collect(),
            );
            assert_eq!(ours, theirs, "script {i}, asking: {asks}");
        }
    });
}

#[test]
fn nothing_that_was_sent_before_an_exit_is_lost() {
    isolated(|| {
        for serialization in BOTH {
            for (name, last, exit) in [
                ("leave with 7", 160 * 65536 + 4, "exit exit code 7"),
                ("disconnect behind a megabyte", (1 << 20) + 4, "exit exit code 0"),
            ] {
                let lp = new_loop();
                let talk = quiet(&lp, &role(name), serialization);
                let bytes = Rc::new(Cell::new(0));
                let b = bytes.clone();
                talk.channel.on_message(move |_, message| {
                    b.set(b.get() + message.value.as_str().unwrap().len());
                });
                run(&lp);
                assert_eq!(talk.heard.get(), ["disconnect", exit]);
                assert_eq!(bytes.get(), last);
            }
        }
        assert!(children().is_empty());
    });
}

#[test]
fn an_exit_is_told_though_a_grandchild_holds_the_channel() {
    isolated(|| {
        let lp = new_loop();
        let mut command = Command::new("sh");
        // The second one goes on talking until nobody listens.
        command.args(["-c", "echo 1 >&3; (while echo 2 >&3; do :; done) 2>&- & exit 5"]);
        let talk = quiet(&lp, &command, Serialization::Json);
        let (count, ends) = (Rc::new(Cell::new(0)), talk.heard.clone());
        let c = count.clone();
        talk.channel.on_message(move |channel, _| {
            c.set(c.get() + 1);
            if !ends.get().is_empty() {
                // Told, while the other one was still talking.
                let _again = channel.disconnect();
            }
        });
        run(&lp);
        assert_eq!(talk.heard.get(), ["exit exit code 5", "disconnect"]);
        assert!(count.get() > 0);
    });
}

#[test]
fn stale_variables_are_replaced_in_whatever_environment_is_given() {
    isolated(|| {
        if !has_node() {
            return;
        }
        let script = "process.send([process.env.A, process.env.NODE_CHANNEL_FD === undefined]);";
        let mut command = node(script);
        command.env("NODE_CHANNEL_FD", "99").env("A", "1");
        let mut block = node(script);
        let path = format!("PATH={}", std::env::var("PATH").unwrap());
        let strings = ["NODE_CHANNEL_FD=99", "A=1", "NODE_CHANNEL_SERIALIZATION_MODE=x", &path];
        block.env_block(strings.map(|string| std::ffi::CString::new(string).unwrap()));
        for command in [command, block] {
            let lp = new_loop();
            let talk = talk(&lp, &command, Serialization::Advanced);
            run(&lp);
            assert_eq!(talk.heard.get(), [r#"["1",true]"#, "disconnect", "exit exit code 0"]);
        }
    });
}

#[test]
fn garbage_in_the_environment_is_an_error_value() {
    isolated(|| {
        let lp = new_loop();
        // SAFETY: the runner's other thread waits for this one.
        #[allow(unsafe_code)]
        let try_with = |fd: &str, mode: &str| unsafe {
            std::env::set_var("NODE_CHANNEL_FD", fd);
            std::env::set_var("NODE_CHANNEL_SERIALIZATION_MODE", mode);
            let result = Channel::from_env(&lp);
            assert!(std::env::var_os("NODE_CHANNEL_FD").is_none());
            result.map(|channel| channel.is_some()).map_err(|error| format!("{error:?}"))
        };
        for (fd, mode) in [("abc", "json"), ("-1", "json"), ("999", "json"), ("0", "bogus")] {
            let result = try_with(fd, mode);
            assert!(result.is_err(), "{fd} {mode}: {result:?}");
        }
        assert_eq!(try_with("", "json"), Ok(false));
    });
}

#[test]
fn callbacks_may_panic_and_the_rest_is_delivered() {
    let lp = EventLoop::new().unwrap();
    let (channel, theirs, heard) = listening(&lp, ChannelOptions::default());
    std::io::Write::write_all(&mut &theirs, b"1\n2\n3\n").unwrap();
    let h = heard.clone();
    channel.on_message(move |_, message| {
        h.add(crate::talk::text(&message.value));
        panic!("on purpose");
    });
    crate::tools::run_panics(&lp, RunMode::Default, "on purpose");
    // The listener is over, the messages are kept for the next.
    let h = heard.clone();
    channel.on_message(move |channel, message| {
        h.add(format!("then {}", crate::talk::text(&message.value)));
        if message.value == Value::from(3) {
            // Sending and disconnecting inside a callback, and another listener.
            channel.send(&Value::from("bye")).unwrap();
            channel.disconnect().unwrap();
            assert_eq!(channel.send(&Value::Null), Err(ChannelError::Closed));
            channel.on_message(|_, _| {});
        }
    });
    run(&lp);
    assert_eq!(heard.get(), ["1", "then 2", "then 3", "disconnect"]);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut &theirs, &mut text).unwrap();
    assert_eq!(text, "\"bye\"\n");
}

/// Messages are delivered inside the callback of the channel's pipe, which stops reading when
/// something unwinds through it.
#[test]
fn a_channel_reads_on_after_a_callback_that_panicked() {
    let lp = EventLoop::new().unwrap();
    let (channel, theirs, heard) = listening(&lp, ChannelOptions::default());
    std::io::Write::write_all(&mut &theirs, b"1\n").unwrap();
    channel.on_message(|_, _| panic!("on purpose"));
    crate::tools::run_panics(&lp, RunMode::Default, "on purpose");
    let h = heard.clone();
    channel.on_message(move |_, message| h.add(crate::talk::text(&message.value)));
    std::io::Write::write_all(&mut &theirs, b"2\n").unwrap();
    drop(theirs);
    run(&lp);
    assert_eq!(heard.get(), ["2", "disconnect"]);
}

#[test]
fn callbacks_of_sends_come_in_order_and_exactly_once() {
    let lp = EventLoop::new().unwrap();
    let (channel, theirs, heard) = listening(&lp, ChannelOptions::default());
    for number in 0..100 {
        let h = heard.clone();
        let text = Value::from("x".repeat(4096));
        channel.send_with(&text, move |_, result| h.add(format!("{number} {result:?}"))).unwrap();
    }
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        std::io::Read::read_to_end(&mut &theirs, &mut all).unwrap();
        all.len()
    });
    channel.disconnect().unwrap();
    run(&lp);
    let mut expected: Vec<String> = (0..100).map(|number| format!("{number} Ok(())")).collect();
    expected.push("disconnect".to_owned());
    assert_eq!(heard.get(), expected);
    assert_eq!(reader.join().unwrap(), 100 * 4099);
}

#[test]
fn what_nobody_reads_is_called_back_when_the_other_side_goes() {
    let lp = EventLoop::new().unwrap();
    let (channel, theirs, heard) = listening(&lp, ChannelOptions::default());
    let mut full = false;
    for _ in 0..100 {
        full = !channel.send(&Value::from("x".repeat(16384))).unwrap();
    }
    assert!(full, "what is queued asks the sender to wait");
    let h = heard.clone();
    channel
        .send_with(&Value::Null, move |_, result| h.add(format!("{}", result.is_err())))
        .unwrap();
    drop(theirs);
    run(&lp);
    let mut heard = heard.get();
    heard.sort();
    assert_eq!(heard, ["disconnect", "true"]);
}

#[test]
fn a_listener_that_comes_late_wakes_the_loop() {
    let lp = EventLoop::new().unwrap();
    let (channel, theirs, heard) = listening(&lp, ChannelOptions::default());
    channel.ignore_messages();
    std::io::Write::write_all(&mut &theirs, b"1\n{\"cmd\":\"NODE_OTHER\"}\n").unwrap();
    let h = heard.clone();
    channel.on_internal_message(move |channel, _| {
        h.add("internal, past what nobody listens for");
        let (h, channel) = (h.clone(), channel.clone());
        let timer = Timer::new(channel.event_loop()).unwrap();
        timer
            .start(1, 0, move |_| {
                let h = h.clone();
                channel.on_message(move |channel, _| {
                    h.add("message");
                    channel.disconnect().unwrap();
                });
            })
            .unwrap();
    });
    run(&lp);
    assert_eq!(heard.get(), ["internal, past what nobody listens for", "message", "disconnect"]);
}

#[test]
fn nothing_is_left_when_a_loop_is_dropped_with_channels_alive() {
    isolated(|| {
        // What spawning keeps for the whole process, and children that live on, are not counted.
        let sockets = || {
            let all = open_fds().into_iter();
            all.filter(|(_, what)| what.starts_with("socket:")).collect::<Vec<_>>()
        };
        let before = sockets();
        {
            let lp = new_loop();
            let one = talk(&lp, &role("echo"), Serialization::Json);
            let other = talk(&lp, &role("echo"), Serialization::Advanced);
            let (first, second) = (one.heard.clone(), other.heard.clone());
            one.channel.send(&Value::from("to the first")).unwrap();
            other.channel.send(&Value::from("to the second")).unwrap();
            crate::tools::run_until(&lp, || first.get().len() + second.get().len() == 2);
            assert_eq!(first.get(), ["\"to the first\""]);
            assert_eq!(second.get(), ["\"to the second\""]);
            one.channel.send(&Value::from("never answered")).unwrap();
            drop(lp);
            // What is sent now goes nowhere, in whatever way.
            let _lost = one.channel.send(&Value::Null);
        }
        assert_eq!(sockets(), before);
    });
}

#[test]
fn reading_pauses_while_too_much_is_kept_and_goes_on_when_somebody_listens() {
    let lp = EventLoop::new().unwrap();
    let (channel, theirs, heard) = listening(&lp, ChannelOptions::default());
    channel.ignore_messages();
    let writer = std::thread::spawn(move || {
        let line = [b"\"".as_slice(), &[b'x'; 1000], b"\"\n"].concat();
        for _ in 0..5000 {
            std::io::Write::write_all(&mut &theirs, &line).unwrap();
        }
    });
    // What waits to be written here must not keep reading from going on.
    channel.send(&Value::from("z".repeat(1 << 20))).unwrap();
    for _ in 0..1000 {
        lp.run(RunMode::NoWait).unwrap();
    }
    assert!(!writer.is_finished(), "not all of it is taken in");
    let (count, h) = (Rc::new(Cell::new(0)), heard.clone());
    let c = count.clone();
    channel.on_message(move |_, _| {
        c.set(c.get() + 1);
        if c.get() == 5000 {
            h.add("all");
        }
    });
    run(&lp);
    writer.join().unwrap();
    assert_eq!(heard.get(), ["all", "disconnect"]);
}
