//! Peers gone wrong: each is an error value and the end of the channel.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use blacklight::child_process::{
    Channel, ChannelError, ChannelOptions, Limits, SendHandle, Serialization, Value,
};
use blacklight::prelude::*;
use blacklight::{Buf, Error};

use crate::node_child::BOTH;
use crate::support::process::{new_loop, run};
use crate::support::{isolated, open_fds};
use crate::talk::{Heard, text};

pub(crate) fn listening(lp: &EventLoop, options: ChannelOptions) -> (Channel, UnixStream, Heard) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let channel = Channel::open(lp, ours, options).unwrap();
    let heard = Heard::default();
    let h = heard.clone();
    channel.on_message(move |_, message| h.add(text(&message.value)));
    let h = heard.clone();
    channel.on_disconnect(move |_| h.add("disconnect"));
    let h = heard.clone();
    channel.on_error(move |_, error| {
        h.add(match error {
            ChannelError::Message(_) => "bad message".to_owned(),
            other => format!("{other:?}"),
        });
    });
    (channel, theirs, heard)
}

#[test]
fn what_cannot_be_read_is_an_error_behind_what_could() {
    let json: [&[u8]; 5] = [b"\n", b"{oops}\n", b"\xef\xbb\xbf1\n", b"1 2\n", b"\"123456789\"\n"];
    let advanced: [&[u8]; 5] =
        [&[0; 4], &[0xff; 8], b"\0\0\0\x02\xff\x0f", b"\0\0\0\x04\xff\x0f^\x01", b"\0\0\0\x0b"];
    for serialization in BOTH {
        let (good, bad): (&[u8], _) = match serialization {
            Serialization::Json => (b"7\n", json),
            Serialization::Advanced => (b"\0\0\0\x04\xff\x0fI\x0e", advanced),
        };
        for bytes in bad {
            let lp = EventLoop::new().unwrap();
            let limits = Limits::default().message(10);
            let (channel, mut theirs, heard) =
                listening(&lp, ChannelOptions { serialization, limits });
            theirs.write_all(good).unwrap();
            theirs.write_all(bytes).unwrap();
            theirs.write_all(good).unwrap();
            run(&lp);
            assert_eq!(heard.get(), ["7", "bad message", "disconnect"], "{bytes:?}");
            assert_eq!(channel.send(&Value::Null), Err(ChannelError::Closed));
            assert_eq!(channel.disconnect(), Err(ChannelError::Closed));
        }
    }
}

#[test]
fn bytes_that_are_no_text_are_replaced_and_the_end_of_half_a_message_is_silent() {
    let lp = EventLoop::new().unwrap();
    let (_channel, mut theirs, heard) = listening(&lp, ChannelOptions::default());
    theirs.write_all(b"\"a\xffb\"\n[1,").unwrap();
    drop(theirs);
    run(&lp);
    assert_eq!(heard.get(), ["\"a\u{fffd}b\"", "disconnect"]);
}

fn send_descriptors(lp: &EventLoop, socket: UnixStream, bytes: &str, count: usize) -> Pipe {
    let pipe = Pipe::new_ipc(lp).unwrap();
    pipe.open(socket).unwrap();
    let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let descriptors: Vec<OwnedFd> = (0..count).map(|_| null()).collect();
    pipe.write_with_descriptors(Buf::from(bytes.to_owned()), descriptors, |_, _| {}).unwrap();
    pipe
}

#[test]
fn descriptors_that_nobody_announced_end_the_channel_and_are_closed() {
    isolated(|| {
        let before = open_fds().len();
        for (bytes, count, first) in [("1\n", 1, "1"), ("[1,", 253, ""), ("2\n", 3, "2")] {
            let lp = new_loop();
            let (_channel, theirs, heard) = listening(&lp, ChannelOptions::default());
            let pipe = send_descriptors(&lp, theirs, bytes, count);
            if first.is_empty() {
                // As many again, and still no message.
                let null: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
                pipe.write_with_descriptors("2,", [null], |_, _| {}).unwrap();
            }
            run(&lp);
            let mut expected = vec![first, "UnannouncedHandle", "disconnect"];
            expected.retain(|line| !line.is_empty());
            assert_eq!(heard.get(), expected);
        }
        assert_eq!(open_fds().len(), before);
    });
}

#[test]
fn answers_that_nobody_asked_for_are_ignored() {
    let lp = EventLoop::new().unwrap();
    let (_channel, mut theirs, heard) = listening(&lp, ChannelOptions::default());
    theirs
        .write_all(b"{\"cmd\":\"NODE_HANDLE_ACK\"}\n{\"cmd\":\"NODE_HANDLE_NACK\"}\n1\n")
        .unwrap();
    drop(theirs);
    run(&lp);
    assert_eq!(heard.get(), ["1", "disconnect"]);
}

#[test]
fn a_handle_that_would_end_a_node_is_refused() {
    let lp = EventLoop::new().unwrap();
    let (channel, theirs, heard) = listening(&lp, ChannelOptions::default());
    let (connection, _other) = UnixStream::pair().unwrap();
    let datagrams = std::os::unix::net::UnixDatagram::unbound().unwrap();
    let server = blacklight::child_process::HandleType::Server;
    let bad = [
        SendHandle::descriptor(std::fs::File::open("/dev/null").unwrap()),
        SendHandle::descriptor(std::fs::File::open("/proc/self/status").unwrap()),
        SendHandle::descriptor(std::fs::File::open("/").unwrap()),
        SendHandle::descriptor(datagrams),
        SendHandle::new(server.clone(), connection),
        SendHandle::new(server, std::io::pipe().unwrap().0),
    ];
    for handle in bad {
        let kind = format!("{handle:?}");
        let refused = channel.send_handle(&Value::Null, handle, |_, _| {});
        assert_eq!(refused, Err(ChannelError::Handle(Error::EINVAL)), "{kind}");
    }
    assert!(channel.is_connected());
    drop(theirs);
    run(&lp);
    assert_eq!(heard.get(), ["disconnect"]);
}

#[test]
fn values_that_cannot_be_sent_are_refused_and_the_channel_goes_on() {
    let lp = EventLoop::new().unwrap();
    let limits = Limits::default().message(10);
    let (channel, mut theirs, heard) =
        listening(&lp, ChannelOptions { limits, ..ChannelOptions::default() });
    let long = channel.send(&Value::from("x".repeat(20)));
    assert!(matches!(long, Err(ChannelError::Value(_))), "{long:?}");
    assert_eq!(channel.send(&Value::from(1)), Ok(true));
    channel.disconnect().unwrap();
    run(&lp);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut theirs, &mut text).unwrap();
    assert_eq!(text, "1\n");
    assert_eq!(heard.get(), ["disconnect"]);
}
