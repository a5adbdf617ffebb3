//! What becomes of a handle that was sent: its sender is told.

use std::cell::RefCell;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::rc::Rc;

use blacklight::child_process::{Channel, ChannelOptions, SendHandle, Serialization, Value};
use blacklight::prelude::*;
use blacklight::{Error, Result};

use crate::errors::listening;
use crate::node_child::{has_node, node};
use crate::support::process::{new_loop, run, says};
use crate::support::{isolated, open_fds};
use crate::talk::{node_parent, quiet};

type Told = Rc<RefCell<Vec<Result<()>>>>;

/// Sends a listening socket, which is not sent again when it was not received.
fn send_a_server(channel: &Channel) -> Told {
    let told = Told::default();
    let t = told.clone();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let answered = move |_: &Channel, result| t.borrow_mut().push(result);
    channel.send_handle(&Value::from("server"), SendHandle::from(server), answered).unwrap();
    told
}

#[test]
fn a_handle_that_was_not_received_is_an_error_for_its_sender() {
    isolated(|| {
        let before = open_fds();
        for (answer, result) in [("ACK", Ok(())), ("NACK", Err(Error::EREMOTEIO))] {
            let lp = new_loop();
            let (channel, mut theirs, heard) = listening(&lp, ChannelOptions::default());
            let told = send_a_server(&channel);
            channel.send(&Value::from("behind it")).unwrap();
            crate::tools::run_until(&lp, || {
                theirs.set_nonblocking(true).unwrap();
                theirs.read(&mut [0; 1000]).is_ok()
            });
            lp.run(RunMode::NoWait).unwrap();
            assert_eq!(*told.borrow(), [], "there is no answer yet");
            writeln!(theirs, "{{\"cmd\":\"NODE_HANDLE_{answer}\"}}").unwrap();
            crate::tools::run_until(&lp, || !told.borrow().is_empty());
            assert_eq!(*told.borrow(), [result]);
            let mut rest = [0; 100];
            let length = theirs.read(&mut rest).unwrap();
            assert_eq!(&rest[..length], b"\"behind it\"\n");
            drop(theirs);
            run(&lp);
            assert_eq!(heard.get(), ["disconnect"]);
        }
        assert_eq!(open_fds(), before);
    });
}

#[test]
fn a_handle_without_an_answer_is_an_error_when_the_channel_ends() {
    let lp = EventLoop::new().unwrap();
    let (channel, theirs, heard) = listening(&lp, ChannelOptions::default());
    let told = send_a_server(&channel);
    lp.run(RunMode::NoWait).unwrap();
    drop(theirs);
    run(&lp);
    assert_eq!(*told.borrow(), [Err(Error::EPIPE)]);
    assert_eq!(heard.get(), ["disconnect"]);
}

/// What the child has left behind holds the other end, and will neither answer nor read.
#[test]
fn a_disconnection_waits_for_nobody_after_the_exit() {
    isolated(|| {
        for early in [false, true] {
            let lp = new_loop();
            let mut command = Command::new("sh");
            command.args(["-c", "sleep 1000 >&- 2>&- & echo $! >&3; read line; exit 3"]);
            let gate = Pipe::new(&lp).unwrap();
            command.stdin(Stdio::pipe(&gate));
            let talk = quiet(&lp, &command, Serialization::Json);
            let pid = Rc::new(std::cell::Cell::new(0));
            let p = pid.clone();
            talk.channel.on_message(move |_, message| {
                p.set(message.value.as_i64().unwrap() as i32);
            });
            crate::tools::run_until(&lp, || pid.get() != 0);
            let told = send_a_server(&talk.channel);
            talk.channel.send(&Value::from("behind it")).unwrap();
            if early {
                talk.channel.disconnect().unwrap();
                for _ in 0..3 {
                    lp.run(RunMode::NoWait).unwrap();
                }
                assert_eq!(talk.heard.get(), [""; 0], "while the child lives there is hope");
            }
            gate.close();
            crate::tools::run_until(&lp, || talk.heard.get().contains(&"exit exit code 3".into()));
            if !early {
                assert_eq!(*told.borrow(), []);
                talk.channel.disconnect().unwrap();
            }
            run(&lp);
            assert_eq!(*told.borrow(), [Err(Error::EPIPE)]);
            let mut heard = talk.heard.get();
            heard.sort();
            assert_eq!(heard, ["disconnect", "exit exit code 3"]);
            blacklight::os::kill(pid.get(), libc::SIGKILL).unwrap();
        }
    });
}

/// NODE-IPC: a node that is told that its connection did not arrive sends it again, the message
/// wrapped a second time.
#[test]
fn what_a_real_node_sends_again_is_delivered_once_and_does_not_end_it() {
    isolated(|| {
        if !has_node() {
            return;
        }
        let script = "let got = []; \
            process.on('uncaughtException', e => { console.log('ended by', e.code); \
              process.exit(1); }); \
            child.on('message', m => { got.push(m); if (got.length === 2) child.disconnect(); }); \
            child.on('exit', code => { console.log(got.join(', '), 'exit', code); \
              process.exit(); }); \
            const server = net.createServer(s => { child.send({ n: 1 }, s); child.send(2); }); \
            server.listen(0, '127.0.0.1', () => \
              net.connect(server.address().port).on('error', () => {}).resume());";
        let said = says(&mut node_parent("echo, losing a handle", false, script));
        assert_eq!(said.trim(), r#"{"n":1} with net.Socket, 2 with nothing exit 0"#);
    });
}

/// A node never says that it has got nothing, except where it did: it answers what it has.
#[test]
fn a_real_node_answers_and_its_answer_is_told() {
    isolated(|| {
        if !has_node() {
            return;
        }
        let lp = new_loop();
        let script = "process.once('message', (m, server) => { server.close(); \
            process.disconnect(); });";
        let talk = quiet(&lp, &node(script), Serialization::Advanced);
        let told = send_a_server(&talk.channel);
        run(&lp);
        assert_eq!(*told.borrow(), [Ok(())]);
        assert_eq!(talk.heard.get(), ["disconnect", "exit exit code 0"]);
    });
}
