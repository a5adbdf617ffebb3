//! UDP in batches: sixteen datagrams of 64 bytes are sent with one call and received with one, where
//! the implementation can; then the next sixteen. Both sockets are on one loop.

use std::cell::Cell;
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, RawFd};
use std::rc::Rc;
use std::time::Instant;

use blacklight::{EventLoop, Handle, Options, Outgoing, RunMode, Transmit, Udp, UdpRead};
use libuv_sys2::{
    sockaddr, uv_buf_t, uv_handle_t, uv_udp_flags_UV_UDP_RECVMMSG, uv_udp_init_ex, uv_udp_open,
    uv_udp_recv_start, uv_udp_t, uv_udp_try_send2,
};

use super::tokio_runtime;
use crate::poll::{Epoll, check};
use crate::row::{Goal, Group, Row, Who, each};
use crate::uv;

const BATCH: usize = 16;

static MESSAGE: [u8; 64] = [b'x'; 64];

/// The size of a chunk of libuv's buffer, and how many it takes with one call at most.
const CHUNK: usize = 64 * 1024;
const CHUNKS: usize = 20;

pub(super) fn rows() -> Vec<Row> {
    let row = Row::new(Group::Streams, "UDP in batches of 16, 64 bytes, each")
        .units(32_000)
        .goal(Goal::Against(Who::Libuv, 0.9))
        .entry(Who::Blacklight, in_blacklight)
        .entry(Who::Libuv, in_libuv)
        .entry(Who::Tokio, in_tokio)
        .entry(Who::Floor, in_system_calls);
    vec![row]
}

/// Who sends, who receives, and where that is.
fn sockets() -> (UdpSocket, UdpSocket, SocketAddr) {
    let socket = || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        socket.set_nonblocking(true).expect("a flag");
        socket
    };
    let receiver = socket();
    let address = receiver.local_addr().expect("its address");
    (socket(), receiver, address)
}

/// What is left of the work, in datagrams.
#[derive(Default)]
struct Left {
    to_receive: Cell<u64>,
    in_batch: Cell<usize>,
}

enum Next {
    Wait,
    Send,
    Stop,
}

impl Left {
    fn begin(&self, units: u64) {
        assert_eq!(units % BATCH as u64, 0);
        self.to_receive.set(units);
        self.in_batch.set(BATCH);
    }

    fn received(&self, length: usize) -> Next {
        assert_eq!(length, MESSAGE.len());
        self.to_receive.set(self.to_receive.get() - 1);
        self.in_batch.set(self.in_batch.get() - 1);
        if self.in_batch.get() > 0 {
            return Next::Wait;
        }
        self.in_batch.set(BATCH);
        if self.to_receive.get() > 0 { Next::Send } else { Next::Stop }
    }
}

fn in_blacklight() -> impl FnMut(u64) -> f64 {
    fn send(sender: &Udp, address: SocketAddr) {
        let slices = [IoSlice::new(&MESSAGE)];
        let batch: [Outgoing<'_>; BATCH] =
            std::array::from_fn(|_| Outgoing { slices: &slices, transmit: Transmit::to(address) });
        assert_eq!(sender.try_send_batch(&batch), Ok(BATCH));
    }
    let lp = EventLoop::with_options(Options::default()).expect("a loop");
    let (from, to, address) = sockets();
    let sender = Udp::new(&lp).expect("a handle");
    sender.open(from).expect("a socket");
    let receiver = Udp::new_with(&lp, None, true).expect("a handle");
    receiver.open(to).expect("a socket");
    let left = Rc::new(Left::default());
    let (seen, again) = (left.clone(), sender.clone());
    let call = move |receiver: &Udp, read: UdpRead<'_>| match read {
        UdpRead::Data(bytes, _) => match seen.received(bytes.len()) {
            Next::Wait => {}
            Next::Send => send(&again, address),
            Next::Stop => receiver.event_loop().stop(),
        },
        end => panic!("{end:?}"),
    };
    receiver.recv_start(call).expect("it receives");
    move |units| {
        let _alive = &receiver;
        left.begin(units);
        let begun = Instant::now();
        send(&sender, address);
        lp.run(RunMode::Default).expect("the loop runs");
        each(begun, units)
    }
}

/// What the callback of libuv's row reaches, and what is to be closed.
struct Libuv {
    left: Left,
    address: libc::sockaddr_in,
    sender: Cell<*mut uv_udp_t>,
}

impl Libuv {
    fn send(&self) {
        let mut buffer = uv::buffer(&MESSAGE);
        let mut bufs = [&raw mut buffer; BATCH];
        let mut counts = [1; BATCH];
        let mut addresses = [(&raw const self.address).cast_mut().cast::<sockaddr>(); BATCH];
        // SAFETY: the handle is open; everything outlives the call, which writes to none of it.
        let sent = unsafe {
            let (bufs, counts) = (bufs.as_mut_ptr(), counts.as_mut_ptr());
            let to = addresses.as_mut_ptr();
            uv_udp_try_send2(self.sender.get(), BATCH as u32, bufs, counts, to, 0)
        };
        assert_eq!(sent, BATCH as i32);
    }
}

fn in_libuv() -> impl FnMut(u64) -> f64 {
    unsafe extern "C" fn lend(_: *mut uv_handle_t, _: usize, buffer: *mut uv_buf_t) {
        thread_local! {
            static LENT: *mut u8 =
                Box::leak(vec![0; CHUNK * CHUNKS].into_boxed_slice()).as_mut_ptr();
        }
        // SAFETY: libuv gives a place for the answer. One callback at a time uses the bytes.
        unsafe { *buffer = uv_buf_t { base: LENT.with(|at| at.cast()), len: CHUNK * CHUNKS } };
    }
    unsafe extern "C" fn received(
        handle: *mut uv_udp_t,
        read: isize,
        _: *const uv_buf_t,
        from: *const sockaddr,
        _: u32,
    ) {
        // The end of a batch, and a wake-up that finds nothing.
        if from.is_null() && read == 0 {
            return;
        }
        // SAFETY: the row keeps its state for longer than the loop; the handle is open.
        unsafe {
            let state = uv::state::<Libuv>((*handle).data);
            match state.left.received(usize::try_from(read).expect("it receives")) {
                Next::Wait => {}
                Next::Send => state.send(),
                Next::Stop => uv::stop_loop_of(handle),
            }
        }
    }
    struct Ends {
        lp: uv::Loop,
        handles: [*mut uv_udp_t; 2],
    }
    impl Drop for Ends {
        fn drop(&mut self) {
            for handle in self.handles {
                // SAFETY: it is open, and closed once.
                unsafe { uv::close(handle) };
            }
            self.lp.run_until_done();
        }
    }
    let lp = uv::Loop::new();
    let (from, to, address) = sockets();
    let SocketAddr::V4(address) = address else { panic!("bound to IPv4") };
    // SAFETY: zeros are a value of this plain structure.
    let mut target: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    target.sin_family = libc::AF_INET as libc::sa_family_t;
    target.sin_port = address.port().to_be();
    target.sin_addr.s_addr = u32::from(*address.ip()).to_be();
    let sender = Cell::new(std::ptr::null_mut());
    let state = Rc::new(Libuv { left: Left::default(), address: target, sender });
    let flags = libc::AF_UNSPEC as u32 | uv_udp_flags_UV_UDP_RECVMMSG;
    let handles = [from, to].map(|socket| {
        let handle = uv::allocate::<uv_udp_t>();
        // SAFETY: the loop is open; the handle lives until closed and owns the socket.
        unsafe {
            uv::check(uv_udp_init_ex(lp.get(), handle, flags));
            uv::check(uv_udp_open(handle, socket.into_raw_fd()));
            (*handle).data = uv::data(&state);
        }
        handle
    });
    state.sender.set(handles[0]);
    let ends = Ends { lp, handles };
    // SAFETY: it is open.
    uv::check(unsafe { uv_udp_recv_start(handles[1], Some(lend), Some(received)) });
    move |units| {
        state.left.begin(units);
        let begun = Instant::now();
        state.send();
        ends.lp.run_until_done();
        each(begun, units)
    }
}

fn in_tokio() -> impl FnMut(u64) -> f64 {
    let runtime = tokio_runtime();
    let (from, to, address) = sockets();
    let (sender, receiver) = {
        let _context = runtime.enter();
        let tokio = |socket| tokio::net::UdpSocket::from_std(socket).expect("a socket");
        (tokio(from), tokio(to))
    };
    let mut buffer = vec![0; CHUNK];
    move |units| {
        let left = Left::default();
        left.begin(units);
        runtime.block_on(async {
            let begun = Instant::now();
            'batches: loop {
                for _ in 0..BATCH {
                    let sent = sender.send_to(&MESSAGE, address).await.expect("there is room");
                    assert_eq!(sent, MESSAGE.len());
                }
                loop {
                    let (length, _) = receiver.recv_from(&mut buffer).await.expect("a datagram");
                    match left.received(length) {
                        Next::Wait => {}
                        Next::Send => break,
                        Next::Stop => break 'batches,
                    }
                }
            }
            each(begun, units)
        })
    }
}

/// sendmmsg(2) and recvmmsg(2).
fn in_system_calls() -> impl FnMut(u64) -> f64 {
    /// Calls `transfer` with as many headers as fit, each with a piece of `buffer`.
    fn with_headers(
        buffer: &mut [u8],
        each: usize,
        transfer: impl FnOnce(*mut libc::mmsghdr, u32) -> i32,
    ) -> Vec<usize> {
        let mut slices: Vec<libc::iovec> = buffer
            .chunks_mut(each)
            .map(|chunk| libc::iovec { iov_base: chunk.as_mut_ptr().cast(), iov_len: chunk.len() })
            .collect();
        let header = |slice: &mut libc::iovec| {
            // SAFETY: zeros are a value of this plain structure.
            let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_iov = slice;
            header.msg_hdr.msg_iovlen = 1;
            header
        };
        let mut headers: Vec<libc::mmsghdr> = slices.iter_mut().map(header).collect();
        let count = check(transfer(headers.as_mut_ptr(), headers.len() as u32)) as usize;
        headers[..count].iter().map(|header| header.msg_len as usize).collect()
    }
    fn send(fd: RawFd, bytes: &mut [u8]) {
        let sent = with_headers(bytes, MESSAGE.len(), |headers, count| {
            // SAFETY: the headers and what they point to outlive the call.
            unsafe { libc::sendmmsg(fd, headers, count, 0) }
        });
        assert_eq!(sent.len(), BATCH);
    }
    let (sender, receiver, address) = sockets();
    sender.connect(address).expect("an address");
    let mut epoll = Epoll::new();
    epoll.watch(receiver.as_fd(), libc::EPOLLIN);
    let mut outgoing = MESSAGE.repeat(BATCH);
    let mut incoming = vec![0; CHUNK * CHUNKS];
    move |units| {
        let left = Left::default();
        left.begin(units);
        let begun = Instant::now();
        send(sender.as_raw_fd(), &mut outgoing);
        let mut done = false;
        while !done {
            for (fd, _) in epoll.wait(-1) {
                let received = with_headers(&mut incoming, CHUNK, |headers, count| {
                    let forever = std::ptr::null_mut();
                    // SAFETY: as above.
                    unsafe { libc::recvmmsg(fd, headers, count, 0, forever) }
                });
                for length in received {
                    match left.received(length) {
                        Next::Wait => {}
                        Next::Send => send(sender.as_raw_fd(), &mut outgoing),
                        Next::Stop => done = true,
                    }
                }
            }
        }
        let each = each(begun, units);
        let _open = receiver.as_raw_fd();
        each
    }
}
