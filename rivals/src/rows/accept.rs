//! Accepting: connections wait in the kernel's queue, and each becomes a handle. Everybody listens on
//! a socket of their own, bound as their users would.

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Instant;

use blacklight::{EventLoop, Handle, Options, RunMode, Stream, Tcp};
use libuv_sys2::{
    sockaddr, uv_accept, uv_listen, uv_run_mode_UV_RUN_NOWAIT, uv_stream_t, uv_tcp_bind,
    uv_tcp_getsockname, uv_tcp_init, uv_tcp_t,
};

use super::tokio_runtime;
use crate::poll::Epoll;
use crate::row::{Goal, Group, Row, Who, each};
use crate::sockets::{connect_briefly, listener};
use crate::uv;

/// A round's connections fit into the queue.
const BACKLOG: i32 = 512;

pub(super) fn rows() -> Vec<Row> {
    let row = Row::new(Group::Streams, "accept")
        .units(400)
        .rounds(101)
        .goal(Goal::Against(Who::Libuv, 0.9))
        .entry(Who::Blacklight, in_blacklight)
        .entry(Who::Libuv, in_libuv)
        .entry(Who::Tokio, in_tokio)
        .entry(Who::Floor, in_system_calls);
    vec![row]
}

/// A port that the kernel chooses.
const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

fn waiting(address: SocketAddr, units: u64) -> Vec<TcpStream> {
    (0..units).map(|_| connect_briefly(address)).collect()
}

fn in_blacklight() -> impl FnMut(u64) -> f64 {
    let lp = EventLoop::with_options(Options::default()).expect("a loop");
    let server = Tcp::new(&lp).expect("a handle");
    server.bind(ANY.into()).expect("a free port");
    let accepted: Rc<RefCell<Vec<Tcp>>> = Rc::default();
    let (all, left) = (accepted.clone(), Rc::new(Cell::new(0)));
    let count = left.clone();
    let call = move |server: &Tcp, result: blacklight::Result<()>| {
        result.expect("a connection");
        all.borrow_mut().push(server.accept().expect("a connection"));
        count.set(count.get() - 1);
        if count.get() == 0 {
            server.event_loop().stop();
        }
    };
    server.listen(BACKLOG, call).expect("it listens");
    let address = server.local_address().expect("it is bound");
    move |units| {
        let _alive = &server;
        accepted.borrow_mut().reserve(units as usize);
        let clients = waiting(address, units);
        left.set(units);
        let begun = Instant::now();
        lp.run(RunMode::Default).expect("the loop runs");
        let each = each(begun, units);
        drop(clients);
        for tcp in accepted.borrow_mut().drain(..) {
            tcp.close();
        }
        lp.run(RunMode::NoWait).expect("a turn");
        each
    }
}

fn in_libuv() -> impl FnMut(u64) -> f64 {
    #[derive(Default)]
    struct State {
        left: Cell<u64>,
        accepted: RefCell<Vec<*mut uv_tcp_t>>,
    }
    struct Server {
        lp: uv::Loop,
        server: *mut uv_tcp_t,
        state: Rc<State>,
    }
    impl Drop for Server {
        fn drop(&mut self) {
            // SAFETY: it is open, and closed once.
            unsafe { uv::close(self.server) };
            self.lp.run_until_done();
        }
    }
    unsafe extern "C" fn connection(server: *mut uv_stream_t, status: c_int) {
        uv::check(status);
        let client = uv::allocate::<uv_tcp_t>();
        // SAFETY: the row keeps the state while the loop runs; the client lives until closed.
        unsafe {
            let state = uv::state::<State>((*server).data);
            uv::check(uv_tcp_init((*server).loop_, client));
            uv::check(uv_accept(server, client.cast()));
            state.accepted.borrow_mut().push(client);
            state.left.set(state.left.get() - 1);
            if state.left.get() == 0 {
                uv::stop_loop_of(server);
            }
        }
    }
    let (lp, state) = (uv::Loop::new(), Rc::new(State::default()));
    let server = uv::allocate::<uv_tcp_t>();
    // SAFETY: zeros are a value of this plain structure.
    let mut at: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    at.sin_family = libc::AF_INET as libc::sa_family_t;
    at.sin_addr.s_addr = u32::from(Ipv4Addr::LOCALHOST).to_be();
    let raw = (&raw mut at).cast::<sockaddr>();
    // SAFETY: the loop is open; the handle lives until closed; the address outlives the calls.
    unsafe {
        uv::check(uv_tcp_init(lp.get(), server));
        (*server).data = uv::data(&state);
        uv::check(uv_tcp_bind(server, raw, 0));
        uv::check(uv_listen(server.cast(), BACKLOG, Some(connection)));
        let mut length = size_of::<libc::sockaddr_in>() as c_int;
        uv::check(uv_tcp_getsockname(server, raw, &raw mut length));
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, u16::from_be(at.sin_port)));
    let server = Server { lp, server, state };
    move |units| {
        server.state.accepted.borrow_mut().reserve(units as usize);
        let clients = waiting(address, units);
        server.state.left.set(units);
        let begun = Instant::now();
        server.lp.run_until_done();
        let each = each(begun, units);
        drop(clients);
        for tcp in server.state.accepted.borrow_mut().drain(..) {
            // SAFETY: it is open, and closed once.
            unsafe { uv::close(tcp) };
        }
        server.lp.run(uv_run_mode_UV_RUN_NOWAIT);
        each
    }
}

fn in_tokio() -> impl FnMut(u64) -> f64 {
    let runtime = tokio_runtime();
    let server = {
        let _context = runtime.enter();
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(ANY.into()).expect("a free port");
        socket.listen(BACKLOG as u32).expect("it listens")
    };
    let address = server.local_addr().expect("it is bound");
    move |units| {
        let mut accepted = Vec::with_capacity(units as usize);
        let clients = waiting(address, units);
        let each = runtime.block_on(async {
            let begun = Instant::now();
            for _ in 0..units {
                accepted.push(server.accept().await.expect("a connection").0);
            }
            each(begun, units)
        });
        drop(clients);
        each
    }
}

fn in_system_calls() -> impl FnMut(u64) -> f64 {
    let target = listener(BACKLOG);
    let address = target.local_addr().expect("it is bound");
    let mut epoll = Epoll::new();
    epoll.watch(target.as_fd(), libc::EPOLLIN);
    move |units| {
        let mut accepted = Vec::with_capacity(units as usize);
        let clients = waiting(address, units);
        let begun = Instant::now();
        while accepted.len() < units as usize {
            for (fd, _) in epoll.wait(-1) {
                let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
                let (address, length) = (std::ptr::null_mut(), std::ptr::null_mut());
                loop {
                    // SAFETY: no address is asked for.
                    let client = unsafe { libc::accept4(fd, address, length, flags) };
                    if client < 0 {
                        break;
                    }
                    // SAFETY: the kernel just made it for us.
                    accepted.push(unsafe { OwnedFd::from_raw_fd(client) });
                }
            }
        }
        let each = each(begun, units);
        let _open = &target;
        drop(clients);
        each
    }
}
