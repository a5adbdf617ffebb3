//! Handles with messages: to node, from node, between programs of this crate.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;

use blacklight::child_process::{
    Channel, ChannelOptions, HandleType, SendHandle, Serialization, Value,
};
use blacklight::prelude::*;

use crate::errors::listening;
use crate::node_child::{BOTH, has_node, node};
use crate::support::process::{new_loop, run, says};
use crate::support::{isolated, open_fds};
use crate::talk::{Heard, node_parent, quiet, role, talk, text};

/// A connection over the loopback, both ends.
fn connection(server: &TcpListener) -> (TcpStream, TcpStream) {
    let one = TcpStream::connect(server.local_addr().unwrap()).unwrap();
    (one, server.accept().unwrap().0)
}

#[test]
fn node_takes_servers_sockets_and_datagram_sockets() {
    isolated(|| {
        if !has_node() {
            return;
        }
        let before = open_fds().len();
        for serialization in BOTH {
            let script = "process.on('message', (m, h) => { \
                const what = h && h.constructor.name; \
                const done = text => { process.send(m + ' ' + what + ' ' + text); }; \
                if (what === 'Server') h.close(() => done('')); \
                else if (what === 'Socket' && h.bind) { h.close(); done(h.type); } \
                else if (what === 'Socket') h.end('hi', () => { h.destroy(); done(''); }); \
                else { if (h && h.close) h.close(); done(''); } });";
            let lp = new_loop();
            let ours = quiet(&lp, &node(script), serialization);
            let server = TcpListener::bind("127.0.0.1:0").unwrap();
            let (mut tcp, theirs) = connection(&server);
            let (mut unix, unix_theirs) = UnixStream::pair().unwrap();
            let scratch = crate::support::process::Scratch::new();
            let unix_server = UnixListener::bind(scratch.join("socket")).unwrap();
            let native = server.try_clone().unwrap();
            let handles = [
                ("tcp", SendHandle::from(theirs)),
                ("unix", SendHandle::new(HandleType::Socket, unix_theirs)),
                ("server", SendHandle::from(server)),
                ("unix server", SendHandle::new(HandleType::Server, unix_server)),
                ("udp4", SendHandle::from(UdpSocket::bind("127.0.0.1:0").unwrap())),
                ("udp6", SendHandle::from(UdpSocket::bind("[::1]:0").unwrap())),
                ("native", SendHandle::descriptor(native)),
                ("native pipe", SendHandle::descriptor(std::io::pipe().unwrap().0)),
                ("native udp", SendHandle::descriptor(UdpSocket::bind("127.0.0.1:0").unwrap())),
            ];
            let count = handles.len();
            let said = Heard::default();
            let s = said.clone();
            ours.channel.on_message(move |channel, message| {
                s.add(message.value.as_str().unwrap().trim_end());
                if s.get().len() == count {
                    channel.disconnect().unwrap();
                }
            });
            for (name, handle) in handles {
                let sent = ours.channel.send_handle(&Value::from(name), handle, |_, result| {
                    assert_eq!(result, Ok(()));
                });
                sent.unwrap();
            }
            run(&lp);
            let mut said = said.get();
            said.sort();
            let expected = [
                "native TCP",
                "native pipe Pipe",
                "native udp UDP",
                "server Server",
                "tcp Socket",
                "udp4 Socket udp4",
                "udp6 Socket udp6",
                "unix Socket",
                "unix server Server",
            ];
            assert_eq!(said, expected);
            // Nobody here holds the connections any more: their ends are told.
            for stream in [&mut tcp as &mut dyn std::io::Read, &mut unix] {
                let mut text = String::new();
                stream.read_to_string(&mut text).unwrap();
                assert_eq!(text, "hi");
            }
            assert_eq!(ours.heard.get(), ["disconnect", "exit exit code 0"]);
        }
        assert!(open_fds().len() <= before + 12, "what spawning keeps, and no more");
    });
}

#[test]
fn node_sends_servers_sockets_and_datagram_sockets_and_counts_its_sockets() {
    isolated(|| {
        if !has_node() {
            return;
        }
        // The echo sends each handle back.
        let script = "const server = net.createServer(); \
            const udp = dgram.createSocket('udp4'); let got = []; \
            child.on('message', (m, h) => { got.push(m + ':' + (h ? h.constructor.name : h)); \
              if (m === 'udp') udp.close(); \
              if (h && h.destroy) h.destroy(); else if (h && h.close) h.close(); \
              if (got.length === 3) { \
                server.getConnections((e, n) => { console.log(got.sort().join(' '), e, n); \
                  server.close(() => { console.log('closed'); child.disconnect(); }); }); } }); \
            child.on('exit', code => console.log('exit', code)); \
            server.on('connection', s => { child.send('socket', s); child.send('server', server); \
              udp.bind(0, '127.0.0.1', () => { child.send('udp', udp); }); }); \
            server.listen(0, '127.0.0.1', () => net.connect(server.address().port).on('error', () => {}).resume());";
        for advanced in [false, true] {
            let said = says(&mut node_parent("echo", advanced, script));
            let first = "server:Server socket:Socket udp:Socket null 0";
            assert_eq!(said.lines().collect::<Vec<_>>(), [first, "closed", "exit 0"]);
        }
    });
}

#[test]
fn the_end_of_the_last_connection_of_a_key_is_told_when_it_was_asked_for() {
    let lp = EventLoop::new().unwrap();
    let (receiver, theirs, heard) = listening(&lp, ChannelOptions::default());
    let sender = Channel::open(&lp, theirs, ChannelOptions::default()).unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let tokens = Rc::new(RefCell::new(Vec::new()));
    let t = tokens.clone();
    receiver.on_message(move |_, message| t.borrow_mut().push(message.handle.unwrap()));
    let ask = |cmd: &str| Value::object([("cmd", cmd), ("key", "K")]);
    for _ in 0..2 {
        let handle = SendHandle::from(connection(&server).1).with_key("K");
        sender.send_handle(&Value::Null, handle, |_, _| {}).unwrap();
    }
    sender.send(&ask("NODE_SOCKET_GET_COUNT")).unwrap();
    sender.send(&ask("NODE_SOCKET_NOTIFY_CLOSE")).unwrap();
    let (h, t) = (heard.clone(), tokens);
    sender.on_internal_message(move |channel, message| {
        h.add(text(&message.value));
        if h.get().len() == 1 {
            t.borrow_mut().clear();
        } else {
            channel.disconnect().unwrap();
        }
    });
    run(&lp);
    assert_eq!(
        heard.get(),
        [
            r#"{"cmd":"NODE_SOCKET_COUNT","key":"K","count":2}"#,
            r#"{"cmd":"NODE_SOCKET_ALL_CLOSED","key":"K"}"#,
            "disconnect",
        ]
    );
}

/// Passes a thousand connections to an echo and takes them back, with messages in between.
fn a_thousand(serialization: Serialization, command: &blacklight::Command) {
    let lp = new_loop();
    let ours = quiet(&lp, command, serialization);
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let ends: Rc<RefCell<VecDeque<TcpStream>>> = Rc::default();
    let (sent, plain) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let (e, s) = (ends.clone(), sent.clone());
    let send_one = move |channel: &Channel| {
        if s.get() == 1000 {
            return;
        }
        let (one, other) = connection(&server);
        e.borrow_mut().push_back(one);
        channel.send_handle(&Value::from(s.get()), other.into(), |_, _| {}).unwrap();
        channel.send(&Value::from("between")).unwrap();
        s.set(s.get() + 1);
    };
    (0..32).for_each(|_| send_one(&ours.channel));
    let (back, p) = (Rc::new(Cell::new(0)), plain.clone());
    let b = back.clone();
    ours.channel.on_message(move |channel, message| {
        match message.handle {
            Some(handle) => {
                assert_eq!(message.value, Value::from(b.get()));
                // It is still the connection it was.
                let stream = TcpStream::from(handle.descriptor);
                let one = ends.borrow_mut().pop_front().unwrap();
                assert_eq!(stream.peer_addr().unwrap(), one.local_addr().unwrap());
                b.set(b.get() + 1);
                send_one(channel);
            }
            None => p.set(p.get() + 1),
        }
        if b.get() == 1000 && p.get() == 1000 {
            channel.disconnect().unwrap();
        }
    });
    run(&lp);
    assert_eq!((back.get(), plain.get()), (1000, 1000));
    assert_eq!(ours.heard.get(), ["disconnect", "exit exit code 0"]);
}

#[test]
fn a_thousand_sockets_go_each_way_while_messages_flow_and_none_is_left() {
    isolated(|| {
        // The first time, what spawning keeps for the process is opened.
        let lp = new_loop();
        let first = talk(&lp, &role("nothing"), Serialization::Json);
        run(&lp);
        drop((first, lp));
        let before = open_fds();
        for serialization in BOTH {
            a_thousand(serialization, &role("echo"));
            if has_node() {
                let script = "process.on('message', (m, h) => process.send(m, h));";
                a_thousand(serialization, &node(script));
            }
        }
        assert_eq!(open_fds(), before);
    });
}

#[test]
fn any_descriptor_goes_between_programs_of_this_crate() {
    isolated(|| {
        let lp = new_loop();
        let ours = quiet(&lp, &role("echo"), Serialization::Json);
        let seen = Heard::default();
        let s = seen.clone();
        ours.channel.on_message(move |channel, message| match message.handle {
            // Its first word came before this, so it is known by now.
            None => {
                assert!(channel.peer_is_blacklight());
                let (reader, mut writer) = std::io::pipe().unwrap();
                writer.write_all(b"piped").unwrap();
                let file = std::fs::File::open("/proc/self/comm").unwrap();
                for descriptor in [OwnedFd::from(reader), file.into()] {
                    let handle = SendHandle::descriptor(descriptor);
                    channel.send_handle(&Value::from("any"), handle, |_, _| {}).unwrap();
                }
            }
            Some(handle) => {
                assert_eq!(handle.kind, HandleType::Descriptor);
                let mut text = [0; 5];
                std::fs::File::from(handle.descriptor).read_exact(&mut text).unwrap();
                s.add(String::from_utf8_lossy(&text));
                if s.get().len() == 2 {
                    channel.disconnect().unwrap();
                }
            }
        });
        ours.channel.send(&Value::from("who are you?")).unwrap();
        run(&lp);
        assert_eq!(seen.get()[0], "piped");
        assert_eq!(ours.heard.get(), ["disconnect", "exit exit code 0"]);
    });
}

/// Two channels with a man in the middle, who loses the first descriptors on the way.
#[test]
fn a_connection_that_is_lost_on_the_way_is_sent_again_and_delivered_once() {
    for losses in [1, 3, 4] {
        let lp = EventLoop::new().unwrap();
        let (receiver, far, heard) = listening(&lp, ChannelOptions::default());
        let (near, mine) = UnixStream::pair().unwrap();
        let sender = Channel::open(&lp, near, ChannelOptions::default()).unwrap();
        let middle = [mine, far].map(|socket| {
            let pipe = Pipe::new_ipc(&lp).unwrap();
            pipe.open(socket).unwrap();
            pipe
        });
        let lost = Rc::new(Cell::new(0));
        for (from, to) in [(0, 1), (1, 0)] {
            let (to, lost) = (middle[to].clone(), lost.clone());
            let read = move |pipe: &Pipe, read: Read<'_>| match read {
                Read::Data(bytes) => {
                    let mut descriptors = Vec::new();
                    while let Ok(descriptor) = pipe.accept_descriptor() {
                        descriptors.push(descriptor);
                    }
                    if lost.get() < losses && !descriptors.is_empty() {
                        descriptors.clear();
                        lost.set(lost.get() + 1);
                    }
                    let bytes = bytes.to_vec();
                    let _sent = to.write_with_descriptors(bytes.clone(), descriptors, |_, _| {});
                    if _sent.is_err() {
                        to.write_and_forget(bytes).unwrap();
                    }
                }
                Read::Eof | Read::Error(_) => {
                    pipe.close();
                    to.close();
                }
            };
            middle[from].read_start(read).unwrap();
        }
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let h = heard.clone();
        receiver.on_message(move |channel, message| {
            let with = if message.handle.is_some() { " with a handle" } else { "" };
            h.add(format!("{}{with}", text(&message.value)));
            if message.value == Value::from(2) {
                channel.disconnect().unwrap();
            }
        });
        let calls = Rc::new(Cell::new(0));
        let c = calls.clone();
        let handle = SendHandle::from(connection(&server).1);
        sender.send_handle(&Value::from(1), handle, move |_, _| c.set(c.get() + 1)).unwrap();
        sender.send(&Value::from(2)).unwrap();
        run(&lp);
        let given_up = losses == 4;
        let expected = ["1 with a handle", "2", "disconnect"];
        assert_eq!(heard.get(), expected[usize::from(given_up)..], "{losses} lost");
        assert_eq!(calls.get(), 1);
    }
}

#[test]
fn what_a_node_wraps_twice_is_delivered_once_and_answered_once() {
    let lp = EventLoop::new().unwrap();
    let (_channel, theirs, heard) = listening(&lp, ChannelOptions::default());
    let pipe = Pipe::new_ipc(&lp).unwrap();
    pipe.open(theirs.as_fd().try_clone_to_owned().unwrap()).unwrap();
    let frame = "{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":{\"cmd\":\"NODE_HANDLE\",\
        \"type\":\"net.Socket\",\"msg\":\"inside\",\"key\":\"k\"}}\n";
    let (one, _other) = UnixStream::pair().unwrap();
    pipe.write_with_descriptors(frame, [one.into()], |pipe, _| {
        pipe.shutdown(|pipe, _| pipe.close()).unwrap();
    })
    .unwrap();
    run(&lp);
    let mut answers = String::new();
    (&theirs).read_to_string(&mut answers).unwrap();
    assert_eq!(answers, "{\"cmd\":\"NODE_HANDLE_ACK\"}\n");
    assert_eq!(heard.get(), ["\"inside\"", "disconnect"]);
}
