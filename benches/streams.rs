//! Streams and datagrams, with criterion: 64 bytes there and back, 64 KiB in one direction, accepting,
//! and datagrams one by one and in batches.
//!
//! `cargo bench --bench streams`

#![allow(missing_docs, reason = "criterion's macros")]

use std::cell::{Cell, RefCell};
use std::io::IoSlice;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use blacklight::prelude::*;
use blacklight::{Outgoing, Written};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

static MESSAGE: [u8; 64] = [0; 64];
static BLOCK: [u8; 64 * 1024] = [0; 64 * 1024];

fn tcp_pair(lp: &LoopRef) -> (Tcp, Tcp) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("room");
    let (server, _) = listener.accept().expect("a connection");
    let open = |socket| {
        let tcp = Tcp::new(lp).expect("a handle");
        tcp.open(socket).expect("a socket");
        tcp.no_delay(true).expect("an option");
        tcp
    };
    (open(client), open(server))
}

fn ping_pong<S: Stream>(c: &mut Criterion, name: &str, pair: fn(&LoopRef) -> (S, S)) {
    c.bench_function(&format!("{name} ping-pong, 64 bytes"), |b| {
        let lp = EventLoop::new().expect("a loop");
        let (one, other) = pair(&lp);
        let send = |stream: &S| assert_eq!(stream.try_write(&MESSAGE), Ok(MESSAGE.len()));
        other.read_start(move |other, _| send(other)).expect("it reads");
        let left = Rc::new(Cell::new(0u64));
        let count = left.clone();
        one.read_start(move |one, _| {
            count.set(count.get() - 1);
            if count.get() == 0 {
                one.event_loop().stop();
            } else {
                send(one);
            }
        })
        .expect("it reads");
        b.iter_custom(|iterations| {
            left.set(iterations);
            let begun = Instant::now();
            send(&one);
            lp.run(RunMode::Default).expect("the loop runs");
            begun.elapsed()
        });
    });
}

/// One write is under way at a time; the next begins in its callback.
fn write_blocks<S: Stream>(stream: &S, blocks: u64) {
    if blocks > 0 {
        let next = move |stream: &S, written: Written| {
            written.result.expect("it is written");
            write_blocks(stream, blocks - 1);
        };
        stream.write(&BLOCK, next).expect("it is open");
    }
}

fn pump<S: Stream>(c: &mut Criterion, name: &str, pair: fn(&LoopRef) -> (S, S)) {
    let mut group = c.benchmark_group("pump");
    group.throughput(Throughput::Bytes(BLOCK.len() as u64));
    group.bench_function(format!("{name} pump, 64 KiB"), |b| {
        let lp = EventLoop::new().expect("a loop");
        let (reader, writer) = pair(&lp);
        let left = Rc::new(Cell::new(0));
        let count = left.clone();
        reader
            .read_start(move |reader, read| {
                if let Read::Data(bytes) = read {
                    count.set(count.get() - bytes.len());
                }
                if count.get() == 0 {
                    reader.event_loop().stop();
                }
            })
            .expect("it reads");
        b.iter_custom(|iterations| {
            left.set(iterations as usize * BLOCK.len());
            let begun = Instant::now();
            write_blocks(&writer, iterations);
            lp.run(RunMode::Default).expect("the loop runs");
            begun.elapsed()
        });
    });
    group.finish();
}

/// The connections are in the kernel's queue already; each becomes a handle.
fn accept(c: &mut Criterion) {
    const WAITING: u64 = 100;
    c.bench_function("accept", |b| {
        let lp = EventLoop::new().expect("a loop");
        let server = Tcp::new(&lp).expect("a handle");
        server.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        let accepted: Rc<RefCell<Vec<Tcp>>> = Rc::default();
        let wanted = Rc::new(Cell::new(0));
        let (all, enough) = (accepted.clone(), wanted.clone());
        let connection = move |server: &Tcp, result: blacklight::Result<()>| {
            result.expect("a connection");
            let mut all = all.borrow_mut();
            all.push(server.accept().expect("a connection"));
            if all.len() as u64 == enough.get() {
                server.event_loop().stop();
            }
        };
        server.listen(WAITING as i32, connection).expect("it listens");
        let address = server.local_address().expect("it is bound");
        b.iter_custom(|iterations| {
            let (mut left, mut taken) = (iterations, Duration::ZERO);
            while left > 0 {
                wanted.set(left.min(WAITING));
                let connect = |_| TcpStream::connect(address).expect("there is room");
                let clients: Vec<TcpStream> = (0..wanted.get()).map(connect).collect();
                let begun = Instant::now();
                lp.run(RunMode::Default).expect("the loop runs");
                taken += begun.elapsed();
                left -= wanted.get();
                for server_side in accepted.borrow_mut().drain(..) {
                    // Whoever closes first keeps the port for a while; a reset keeps nothing.
                    server_side.close_reset().expect("it is open");
                }
                lp.run(RunMode::NoWait).expect("a turn");
                drop(clients);
            }
            taken
        });
    });
}

/// A datagram of 64 bytes there and back.
fn datagram_ping_pong(c: &mut Criterion) {
    c.bench_function("UDP ping-pong, 64 bytes", |b| {
        let lp = EventLoop::new().expect("a loop");
        let pair = [(); 2].map(|()| {
            let udp = Udp::new(&lp).expect("a handle");
            udp.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
            udp
        });
        let [one, other] = &pair;
        one.connect(other.local_address().expect("it is bound")).expect("an address");
        other.connect(one.local_address().expect("it is bound")).expect("an address");
        let send = |udp: &Udp| assert_eq!(udp.try_send(&MESSAGE, None), Ok(MESSAGE.len()));
        other.recv_start(move |other, _| send(other)).expect("it receives");
        let left = Rc::new(Cell::new(0u64));
        let count = left.clone();
        one.recv_start(move |one, _| {
            count.set(count.get() - 1);
            if count.get() == 0 {
                one.event_loop().stop();
            } else {
                send(one);
            }
        })
        .expect("it receives");
        b.iter_custom(|iterations| {
            left.set(iterations);
            let begun = Instant::now();
            send(one);
            lp.run(RunMode::Default).expect("the loop runs");
            begun.elapsed()
        });
    });
}

/// Sixteen datagrams are sent with one call and received with one, then the next sixteen.
fn datagrams_in_batches(c: &mut Criterion) {
    const BATCH: u64 = 16;
    let mut group = c.benchmark_group("UDP");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("UDP in batches of 16, 64 bytes", |b| {
        let lp = EventLoop::new().expect("a loop");
        let receiver = Udp::new_with(&lp, None, true).expect("a handle");
        receiver.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        let transmit = receiver.local_address().expect("it is bound").into();
        let sender = Udp::new(&lp).expect("a handle");
        let send = move |sender: &Udp| {
            let slices = [IoSlice::new(&MESSAGE)];
            let batch = [Outgoing { slices: &slices, transmit }; BATCH as usize];
            assert_eq!(sender.try_send_batch(&batch), Ok(batch.len()));
        };
        let left = Rc::new(Cell::new(0u64));
        let (count, again) = (left.clone(), sender.clone());
        receiver
            .recv_start(move |receiver, _| {
                count.set(count.get() - 1);
                if count.get() == 0 {
                    receiver.event_loop().stop();
                } else if count.get() % BATCH == 0 {
                    send(&again);
                }
            })
            .expect("it receives");
        b.iter_custom(|iterations| {
            left.set(iterations * BATCH);
            let begun = Instant::now();
            send(&sender);
            lp.run(RunMode::Default).expect("the loop runs");
            begun.elapsed()
        });
    });
    group.finish();
}

fn streams(c: &mut Criterion) {
    ping_pong(c, "TCP", tcp_pair);
    ping_pong(c, "pipe", |lp| Pipe::pair(lp).expect("a pair"));
    pump(c, "TCP", tcp_pair);
    pump(c, "pipe", |lp| {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let pipes = (Pipe::new(lp).expect("a handle"), Pipe::new(lp).expect("a handle"));
        pipes.0.open(reader).expect("a pipe");
        pipes.1.open(writer).expect("a pipe");
        pipes
    });
    accept(c);
    datagram_ping_pong(c);
    datagrams_in_batches(c);
}

criterion_group!(benches, streams);
criterion_main!(benches);
