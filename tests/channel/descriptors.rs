//! Descriptors over a pipe in IPC mode, below messages.

#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;

use blacklight::prelude::*;
use blacklight::{DescriptorKind, Error};

use crate::support::process::{new_loop, run, skip};
use crate::support::{isolated, open_fds};

fn numbered(count: usize) -> Vec<OwnedFd> {
    // Each is told from the others by what can be read from it.
    (0..count)
        .map(|number| {
            let (reader, mut writer) = std::io::pipe().unwrap();
            std::io::Write::write_all(&mut writer, &(number as u32).to_ne_bytes()).unwrap();
            reader.into()
        })
        .collect()
}

fn number_of(descriptor: OwnedFd) -> u32 {
    let mut bytes = [0; 4];
    std::io::Read::read_exact(&mut std::fs::File::from(descriptor), &mut bytes).unwrap();
    u32::from_ne_bytes(bytes)
}

fn is_close_on_exec(descriptor: &OwnedFd) -> bool {
    // SAFETY: no pointers.
    unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_GETFD) & libc::FD_CLOEXEC != 0 }
}

#[test]
fn as_many_as_a_message_can_bring_arrive_in_order_and_close_on_exec() {
    isolated(|| {
        let before = open_fds().len();
        {
            let lp = new_loop();
            let (one, other) = Pipe::ipc_pair(&lp).unwrap();
            let too_many = one.write_with_descriptors("x", numbered(254), |_, _| {});
            assert_eq!(too_many, Err(Error::EINVAL));
            let none = one.write_with_descriptors("", numbered(1), |_, _| {});
            assert_eq!(none, Err(Error::EINVAL), "descriptors need a byte to travel with");
            one.write_with_descriptors("x", numbered(253), |_, _| {}).unwrap();
            one.write_with_descriptors("y", numbered(2), |one, _| one.close()).unwrap();
            let seen: Rc<RefCell<Vec<u32>>> = Rc::default();
            let s = seen.clone();
            other
                .read_start(move |other, read| match read {
                    Read::Data(_) => {
                        while other.pending_count() > 0 {
                            assert_eq!(other.pending_kind(), Some(DescriptorKind::Pipe));
                            let descriptor = other.accept_descriptor().unwrap();
                            assert!(is_close_on_exec(&descriptor));
                            s.borrow_mut().push(number_of(descriptor));
                        }
                        assert_eq!(other.accept_descriptor().err(), Some(Error::EAGAIN));
                    }
                    Read::Eof => other.close(),
                    Read::Error(error) => panic!("{error}"),
                })
                .unwrap();
            run(&lp);
            let expected: Vec<u32> = (0..253).chain(0..2).collect();
            assert_eq!(*seen.borrow(), expected);
        }
        assert_eq!(open_fds().len(), before);
    });
}

#[test]
fn kinds_are_told_and_what_nobody_accepts_is_closed_with_the_pipe() {
    isolated(|| {
        let before = open_fds().len();
        {
            let lp = new_loop();
            let (one, other) = Pipe::ipc_pair(&lp).unwrap();
            let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            let (unix, _other_end) = std::os::unix::net::UnixStream::pair().unwrap();
            let datagrams = std::os::unix::net::UnixDatagram::unbound().unwrap();
            let file = std::fs::File::open("/proc/self/status").unwrap();
            let directory = std::fs::File::open("/").unwrap();
            let all: Vec<OwnedFd> = vec![
                tcp.into(),
                udp.into(),
                unix.into(),
                file.into(),
                directory.into(),
                datagrams.into(),
                numbered(1).remove(0),
            ];
            one.write_with_descriptors("x", all, |one, _| one.close()).unwrap();
            let kinds: Rc<RefCell<Vec<DescriptorKind>>> = Rc::default();
            let k = kinds.clone();
            other
                .read_start(move |other, read| match read {
                    Read::Data(_) => {
                        assert_eq!(other.pending_count(), 7);
                        for _ in 0..6 {
                            k.borrow_mut().push(other.pending_kind().unwrap());
                            drop(other.accept_descriptor().unwrap());
                        }
                    }
                    Read::Eof | Read::Error(_) => other.close(),
                })
                .unwrap();
            run(&lp);
            let names: Vec<String> =
                kinds.borrow().iter().map(|kind| format!("{kind:?}")).collect();
            assert_eq!(names, ["Tcp", "Udp", "Pipe", "File", "Unknown", "Unknown"]);
        }
        assert_eq!(open_fds().len(), before);
    });
}

#[test]
fn a_partial_write_carries_its_descriptors_once() {
    isolated(|| {
        let before = open_fds().len();
        {
            let lp = new_loop();
            let (one, other) = Pipe::ipc_pair(&lp).unwrap();
            let filled = crate::tools::fill(&one);
            let size = 1 << 20;
            for _ in 0..3 {
                one.write_with_descriptors(vec![b'd'; size], numbered(3), move |_, written| {
                    crate::tools::all_written(written, size);
                })
                .unwrap();
            }
            one.shutdown(|one, _| one.close()).unwrap();
            let (bytes, places) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(Vec::new())));
            let (b, p) = (bytes.clone(), places.clone());
            other
                .read_start(move |other, read| match read {
                    Read::Data(data) => {
                        b.set(b.get() + data.len());
                        while let Ok(descriptor) = other.accept_descriptor() {
                            p.borrow_mut().push((number_of(descriptor), b.get() - data.len()));
                        }
                    }
                    Read::Eof | Read::Error(_) => other.close(),
                })
                .unwrap();
            run(&lp);
            assert_eq!(bytes.get(), filled + 3 * size);
            let numbers: Vec<u32> = places.borrow().iter().map(|(number, _)| *number).collect();
            assert_eq!(numbers, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
            for (i, (_, at)) in places.borrow().iter().enumerate() {
                // The read that brings them began no later than the first byte they are with.
                let first = filled + i / 3 * size;
                assert!(*at <= first && first < at + (64 << 10), "{at} for {first}");
            }
        }
        assert_eq!(open_fds().len(), before);
    });
}

#[test]
fn nothing_is_lost_when_the_sender_hangs_up_behind_many_descriptors() {
    isolated(|| {
        let lp = new_loop();
        let (one, other) = Pipe::ipc_pair(&lp).unwrap();
        for _ in 0..40 {
            one.write_with_descriptors("ab", numbered(1), |_, _| {}).unwrap();
        }
        one.write_and_forget("the end").unwrap();
        one.close();
        // The other end is hung up before it is read for the first time.
        lp.run(RunMode::NoWait).unwrap();
        let (text, count) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Cell::new(0)));
        let (t, c) = (text.clone(), count.clone());
        other
            .read_start(move |other, read| match read {
                Read::Data(bytes) => {
                    t.borrow_mut().extend_from_slice(bytes);
                    while other.accept_descriptor().is_ok() {
                        c.set(c.get() + 1);
                    }
                }
                Read::Eof => other.close(),
                Read::Error(error) => panic!("{error}"),
            })
            .unwrap();
        run(&lp);
        assert_eq!(count.get(), 40);
        assert_eq!(*text.borrow(), [b"ab".repeat(40), b"the end".to_vec()].concat());
    });
}

/// Sets the number of descriptors this process may have.
fn limit_descriptors(most: u64) -> libc::rlimit {
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limits outlive the calls.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut old), 0);
        let new = libc::rlimit { rlim_cur: most, rlim_max: old.rlim_max };
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const new), 0);
    }
    old
}

#[test]
fn a_receiver_without_room_is_told_loudly() {
    isolated(|| {
        let lp = new_loop();
        let (one, other) = Pipe::ipc_pair(&lp).unwrap();
        one.write_with_descriptors("x", numbered(20), |_, _| {}).unwrap();
        let errors: Rc<RefCell<Vec<Error>>> = Rc::default();
        let e = errors.clone();
        other
            .read_start(move |other, read| match read {
                Read::Error(error) => {
                    e.borrow_mut().push(error);
                    other.close();
                }
                other => panic!("{other:?}"),
            })
            .unwrap();
        one.close();
        // Four numbers are left, if those above them are not counted.
        let lowest = std::fs::File::open("/dev/null").unwrap().as_raw_fd() as u64;
        let old = limit_descriptors(lowest + 4);
        run(&lp);
        limit_descriptors(old.rlim_cur);
        assert_eq!(*errors.borrow(), [Error::EMFILE]);
    });
}

#[test]
fn a_large_write_keeps_its_descriptor_and_credentials_are_told_on_request() {
    isolated(|| {
        let lp = new_loop();
        let (one, other) = Pipe::ipc_pair(&lp).unwrap();
        assert_eq!(Pipe::new(&lp).unwrap().pass_credentials(true), Err(Error::EINVAL));
        assert_eq!(other.peer_credentials(), None);
        other.pass_credentials(true).unwrap();
        let size = 3 << 20;
        one.write_with_descriptors(vec![7; size], numbered(1), |one, _| one.close()).unwrap();
        let (bytes, count) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let (b, c) = (bytes.clone(), count.clone());
        other
            .read_start(move |other, read| match read {
                Read::Data(data) => {
                    b.set(b.get() + data.len());
                    c.set(other.pending_count());
                    let sender = other.peer_credentials().unwrap();
                    assert_eq!(sender.pid, std::process::id() as i32);
                }
                Read::Eof => other.close(),
                Read::Error(error) => panic!("{error}"),
            })
            .unwrap();
        run(&lp);
        assert_eq!((bytes.get(), count.get()), (size, 1));
    });
}

#[test]
fn too_many_in_flight_fail_their_own_write_only() {
    isolated(|| {
        if !crate::support::process::is_root() {
            skip("only root can become a user whose descriptors are counted");
            return;
        }
        let lp = new_loop();
        let (one, other) = Pipe::ipc_pair(&lp).unwrap();
        // What a user may have in flight is bounded by the limit of open files; root may have more.
        let old = limit_descriptors(80);
        // SAFETY: no pointers. The saved user id stays root's.
        unsafe { assert_eq!(libc::setresuid(65534, 65534, 0), 0) };
        let results: Rc<RefCell<Vec<_>>> = Rc::default();
        for _ in 0..3 {
            let r = results.clone();
            let null = std::fs::File::open("/dev/null").unwrap();
            let copies: Vec<OwnedFd> =
                (0..30).map(|_| null.as_fd().try_clone_to_owned().unwrap()).collect();
            one.write_with_descriptors("abc", copies, move |_, written| {
                r.borrow_mut().push(written.result);
            })
            .unwrap();
        }
        let r = results.clone();
        let null: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
        // One more while they are in flight fails as well; bytes alone do not.
        let more: Vec<OwnedFd> = (0..30).map(|_| null.try_clone().unwrap()).collect();
        one.write_with_descriptors("abc", more, move |_, written| {
            r.borrow_mut().push(written.result);
        })
        .unwrap();
        let r = results.clone();
        one.write("bytes", move |one, written| {
            r.borrow_mut().push(written.result);
            one.close();
        })
        .unwrap();
        // Each was tried at once; to read them there must be room.
        // SAFETY: no pointers.
        unsafe { assert_eq!(libc::setresuid(0, 0, 0), 0) };
        limit_descriptors(old.rlim_cur);
        let text = crate::tools::collect(&other);
        run(&lp);
        let results = results.borrow();
        let failed = results.iter().filter(|r| **r == Err(Error::ETOOMANYREFS)).count();
        let written = results.iter().filter(|r| r.is_ok()).count();
        assert_eq!(failed + written, 5, "{results:?}");
        assert!(failed > 0, "{results:?}");
        assert_eq!(results.last(), Some(&Ok(())));
        assert_eq!(text.borrow().len(), (written - 1) * 3 + 5);
    });
}

/// libuv's `uv_try_write2`, which its documentation describes as `uv_try_write` with a handle.
#[test]
fn a_write_that_is_tried_carries_its_descriptors_or_nothing() {
    isolated(|| {
        let lp = new_loop();
        let (one, other) = Pipe::ipc_pair(&lp).unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let both = [reader.as_fd(), writer.as_fd()];
        assert_eq!(one.try_write_with_descriptors(b"two", &both), Ok(3));
        // The caller's own are still its own.
        std::io::Write::write_all(&mut &writer, b"through").unwrap();
        let plain = Pipe::pair(&lp).unwrap().0;
        assert_eq!(plain.try_write_with_descriptors(b"x", &both), Err(Error::EINVAL));
        assert_eq!(one.try_write_with_descriptors(b"", &both), Err(Error::EINVAL));
        let many = vec![reader.as_fd(); 254];
        assert_eq!(one.try_write_with_descriptors(b"x", &many), Err(Error::EINVAL));
        // Nothing overtakes what is queued.
        one.write_and_forget(vec![b'.'; 1 << 20]).unwrap();
        assert!(one.write_queue_size() > 0);
        assert_eq!(one.try_write_with_descriptors(b"x", &both), Err(Error::EAGAIN));
        let seen = Rc::new(Cell::new(0));
        let count = seen.clone();
        other
            .read_start(move |other, read| match read {
                Read::Data(bytes) => count.set(count.get() + bytes.len()),
                Read::Eof => other.read_stop(),
                Read::Error(error) => panic!("{error}"),
            })
            .unwrap();
        one.shutdown(|one, result| {
            result.unwrap();
            assert_eq!(one.try_write_with_descriptors(b"x", &[]), Err(Error::EPIPE));
        })
        .unwrap();
        run(&lp);
        assert_eq!((seen.get(), other.pending_count()), (3 + (1 << 20), 2));
        let mut first = std::fs::File::from(other.accept_descriptor().unwrap());
        let mut bytes = [0; 7];
        std::io::Read::read_exact(&mut first, &mut bytes).unwrap();
        assert_eq!(&bytes, b"through");
    });
}
