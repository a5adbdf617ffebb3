//! Bad input gives an error value that says what was wrong; nothing panics, aborts or is lost.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests panic")]

mod support;
#[path = "support/tools.rs"]
mod tools;

use std::time::Duration;

use blacklight::prelude::*;
use blacklight::{Error, ReadInto, WriteId};
use proptest::prelude::*;
use tools::finish;

#[test]
fn errors_name_what_was_wrong() {
    let lp = EventLoop::new().unwrap();
    let pipe = Pipe::new(&lp).unwrap();
    let error = pipe.bind([b'x'; 4096]).unwrap_err();
    assert_eq!((error.name(), error.errno()), ("ENAMETOOLONG", Some(libc::ENAMETOOLONG)));
    assert_eq!(error.to_string(), "ENAMETOOLONG: name too long");
    let io: std::io::Error = error.into();
    assert_eq!(io.raw_os_error(), Some(libc::ENAMETOOLONG));
}

#[test]
fn operations_on_a_stream_that_is_not_open() {
    let lp = EventLoop::new().unwrap();
    let pipe = Pipe::new(&lp).unwrap();
    assert_eq!(pipe.read_start(|_, _| {}), Err(Error::ENOTCONN));
    let into = pipe.read_start_into(|_, _| [0; 8], |_, _: ReadInto<[u8; 8]>| {});
    assert_eq!(into, Err(Error::ENOTCONN));
    assert_eq!(pipe.write("x", |_, _| panic!()), Err(Error::EBADF));
    assert_eq!(pipe.write_vectored(vec![], |_, _| panic!()), Err(Error::EBADF));
    assert_eq!(pipe.write_and_forget("x"), Err(Error::EBADF));
    assert_eq!(pipe.try_write(b"x"), Err(Error::EBADF));
    assert_eq!(pipe.try_write_vectored(&[]), Err(Error::EBADF));
    assert_eq!(pipe.shutdown(|_, _| panic!()), Err(Error::EBADF));
    assert_eq!(pipe.cancel_write(WriteId::from_u64(0)), Err(Error::ENOENT));
    assert_eq!(pipe.listen(1, |_, _| panic!()), Err(Error::EINVAL));
    assert!(matches!(pipe.accept(), Err(Error::EAGAIN)));
    assert_eq!(pipe.take_fd().map(drop), Err(Error::EBADF));
    assert_eq!(pipe.fileno(), Err(Error::EBADF));
    assert_eq!(pipe.local_name(), Err(Error::EBADF));
    assert_eq!(pipe.peer_name(), Err(Error::EBADF));
    assert_eq!(pipe.chmod(true, true), Err(Error::EBADF));
    assert_eq!((pipe.write_queue_size(), pipe.bytes_written(WriteId::from_u64(0))), (0, None));
    assert_eq!((pipe.take_write_error(), pipe.wants_drain()), (None, false));
    pipe.read_stop();
    assert!(!lp.is_alive());
    finish(&lp);
}

#[test]
fn operations_in_the_wrong_direction() {
    let lp = EventLoop::new().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let (input, output) = (Pipe::new(&lp).unwrap(), Pipe::new(&lp).unwrap());
    input.open(reader).unwrap();
    output.open(writer).unwrap();
    assert_eq!(input.write("x", |_, _| panic!()), Err(Error::EPIPE));
    assert_eq!(input.try_write(b"x"), Err(Error::EPIPE));
    assert_eq!(input.shutdown(|_, _| panic!()), Err(Error::ENOTCONN));
    assert_eq!(output.read_start(|_, _| panic!()), Err(Error::ENOTCONN));
    assert_eq!(input.connect("/x", |_, _| panic!()), Err(Error::EISCONN));
    assert_eq!(input.bind(""), Err(Error::EINVAL));
    let server = Pipe::new(&lp).unwrap();
    server.bind("").unwrap();
    server.listen(-1, |_, _| {}).unwrap();
    assert_eq!(server.write("x", |_, _| panic!()), Err(Error::EPIPE));
    assert_eq!(server.try_write(b"x"), Err(Error::EPIPE));
    server.unreference();
    finish(&lp);
}

#[test]
fn handles_of_another_loop_may_be_used_beside_each_other() {
    let (one, other) = (EventLoop::new().unwrap(), EventLoop::new().unwrap());
    let server = Pipe::new(&one).unwrap();
    server.bind("").unwrap();
    let elsewhere = Pipe::new(&other).unwrap();
    server
        .listen(1, move |server, _| {
            // Into a handle of the other loop, which serves it from then on.
            server.accept_into(&elsewhere).unwrap();
            elsewhere.write_and_forget("from the other loop").unwrap();
            elsewhere.close();
            server.close();
        })
        .unwrap();
    let client = Pipe::new(&one).unwrap();
    client.connect(server.local_name().unwrap(), |_, result| result.unwrap()).unwrap();
    let bytes = std::rc::Rc::new(std::cell::Cell::new(0));
    lp_reads(&client, bytes.clone());
    tools::run_until(&one, || server.is_closed());
    finish(&other);
    finish(&one);
    assert_eq!(bytes.get(), 19);
}

fn lp_reads(client: &Pipe, bytes: std::rc::Rc<std::cell::Cell<usize>>) {
    client
        .read_start(move |client, read| match read {
            Read::Data(data) => bytes.set(bytes.get() + data.len()),
            _ => client.close(),
        })
        .unwrap();
}

/// Everything that can be done with a pair of streams, in any order.
#[derive(Debug, Clone)]
enum Step {
    Read(bool),
    ReadInto(bool, usize),
    ReadStop(bool),
    Write(bool, usize),
    Forget(bool, usize),
    Try(bool, usize),
    Cancel(bool, u64),
    Shutdown(bool),
    Mark(bool, usize),
    Listen(bool),
    Connect(bool),
    Take(bool),
    Open(bool),
    Unreference(bool),
    Close(bool),
    Fork,
    Turn,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let side = any::<bool>;
    let size = || prop_oneof![Just(0usize), 1..100usize, Just(300_000usize)];
    let step = prop_oneof![
        3 => side().prop_map(Step::Read),
        2 => (side(), prop_oneof![Just(0usize), 1..5usize, Just(70_000usize)])
            .prop_map(|(side, size)| Step::ReadInto(side, size)),
        2 => side().prop_map(Step::ReadStop),
        4 => (side(), size()).prop_map(|(side, size)| Step::Write(side, size)),
        2 => (side(), size()).prop_map(|(side, size)| Step::Forget(side, size)),
        2 => (side(), size()).prop_map(|(side, size)| Step::Try(side, size)),
        2 => (side(), 0..20u64).prop_map(|(side, id)| Step::Cancel(side, id)),
        1 => side().prop_map(Step::Shutdown),
        1 => (side(), size()).prop_map(|(side, size)| Step::Mark(side, size)),
        1 => side().prop_map(Step::Listen),
        1 => side().prop_map(Step::Connect),
        1 => side().prop_map(Step::Take),
        1 => side().prop_map(Step::Open),
        1 => side().prop_map(Step::Unreference),
        1 => side().prop_map(Step::Close),
        1 => Just(Step::Fork),
        6 => Just(Step::Turn),
    ];
    prop::collection::vec(step, 1..60)
}

/// The step may be refused; that it comes to no harm is what counts.
fn either_way<T>(_outcome: T) {}

/// Whatever the order: nothing panics, what was accepted is called back exactly once, and at the
/// end the loop is empty.
fn run_steps(steps: &[Step]) {
    let lp = EventLoop::new().unwrap();
    let (one, other) = Pipe::pair(&lp).unwrap();
    let pick = |side: bool| if side { &one } else { &other };
    let owed = std::rc::Rc::new(std::cell::Cell::new(0i32));
    let owe = || {
        owed.set(owed.get() + 1);
        let owed = owed.clone();
        move || owed.set(owed.get() - 1)
    };
    let accept = |accepted: bool| {
        if !accepted {
            owed.set(owed.get() - 1);
        }
    };
    for step in steps {
        match *step {
            Step::Read(side) => either_way(pick(side).read_start(|_, _| {})),
            Step::ReadInto(side, size) => {
                either_way(pick(side).read_start_into(move |_, _| vec![0; size], |_, _| {}));
            }
            Step::ReadStop(side) => pick(side).read_stop(),
            Step::Write(side, size) => {
                let paid = owe();
                accept(pick(side).write(vec![0; size], move |_, _| paid()).is_ok());
            }
            Step::Forget(side, size) => either_way(pick(side).write_and_forget(vec![0; size])),
            Step::Try(side, size) => either_way(pick(side).try_write(&vec![0; size])),
            Step::Cancel(side, id) => either_way(pick(side).cancel_write(WriteId::from_u64(id))),
            Step::Shutdown(side) => {
                let paid = owe();
                accept(pick(side).shutdown(move |_, _| paid()).is_ok());
            }
            Step::Mark(side, size) => {
                pick(side).set_high_water_mark(size);
                either_way(pick(side).on_drain(|_| {}));
            }
            Step::Listen(side) => either_way(pick(side).listen(1, |_, _| {})),
            Step::Connect(side) => {
                let paid = owe();
                accept(pick(side).connect("/nonexistent", move |_, _| paid()).is_ok());
            }
            Step::Take(side) => either_way(pick(side).take_fd()),
            Step::Open(side) => {
                let (reader, writer) = std::io::pipe().unwrap();
                either_way(if side { one.open(reader) } else { other.open(writer) });
            }
            Step::Unreference(side) => pick(side).unreference(),
            Step::Close(side) => pick(side).close(),
            Step::Fork => lp.after_fork().unwrap(),
            Step::Turn => either_way(lp.run(RunMode::NoWait).unwrap()),
        }
        let waits = one.write_queue_size() + other.write_queue_size();
        assert!(waits == 0 || lp.is_alive());
    }
    one.close();
    other.close();
    finish(&lp);
    assert_eq!(owed.get(), 0, "a callback that never came, or came twice");
    assert_eq!(one.write_queue_size() + other.write_queue_size(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_of_a_pair_of_streams_comes_to_its_end(steps in steps()) {
        run_steps(&steps);
    }

    #[test]
    fn any_name_is_bound_or_refused(name in prop::collection::vec(any::<u8>(), 0..130)) {
        let lp = EventLoop::new().unwrap();
        let (pipe, client) = (Pipe::new(&lp).unwrap(), Pipe::new(&lp).unwrap());
        // Nowhere but in the abstract name space, where nothing is left behind.
        let name = [&[0][..], &name].concat();
        let bound = pipe.bind(&name);
        prop_assert!(bound == Ok(()) || name.len() > 108 || bound == Err(Error::EADDRINUSE));
        if bound.is_ok() {
            prop_assert_eq!(pipe.local_name(), Ok(name.clone()));
        }
        let _refused = client.connect(&name, |_, _| {});
        finish(&lp);
    }

    #[test]
    fn any_duration_is_taken(ms in any::<u64>(), repeat in any::<u64>(), ns in any::<u64>()) {
        let lp = EventLoop::new().unwrap();
        let timer = Timer::new(&lp).unwrap();
        timer.start(ms, repeat, |_| {}).unwrap();
        timer.start_duration(Duration::from_nanos(ns), Duration::MAX, |_| {}).unwrap();
        timer.set_repeat(repeat);
        timer.set_repeat_duration(Duration::MAX);
        timer.again().unwrap();
        let _left = (timer.due_in(), timer.due_in_duration(), timer.repeat(), lp.backend_timeout());
        lp.run(RunMode::NoWait).unwrap();
    }
}
