//! A lot of bytes through a child, with both ends slow at times.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use blacklight::prelude::*;

use crate::support::isolated;
use crate::support::process::{Exits, new_loop, run};

const TOTAL: usize = 64 << 20;
const PIECE: usize = 192 * 1024;

/// The same bytes for whoever writes and whoever checks: no two pieces of them are alike.
struct Noise {
    state: u64,
    word: [u8; 8],
    at: usize,
}

impl Noise {
    fn new() -> Noise {
        Noise { state: 0x9e37_79b9_7f4a_7c15, word: [0; 8], at: 8 }
    }

    fn fill(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            if self.at == 8 {
                self.state ^= self.state << 13;
                self.state ^= self.state >> 7;
                self.state ^= self.state << 17;
                self.word = self.state.to_le_bytes();
                self.at = 0;
            }
            let n = bytes.len().min(8 - self.at);
            bytes[..n].copy_from_slice(&self.word[self.at..self.at + n]);
            self.at += n;
            bytes = &mut bytes[n..];
        }
    }
}

/// Writes the next piece when the last one is written, and ends the stream after the last.
fn feed(stdin: &Pipe, mut noise: Noise, left: usize, written: Rc<Cell<usize>>) {
    if left == 0 {
        stdin
            .shutdown(|stdin, result| {
                result.unwrap();
                stdin.close();
            })
            .unwrap();
        return;
    }
    let mut piece = vec![0; PIECE.min(left)];
    noise.fill(&mut piece);
    let length = piece.len();
    stdin
        .write(piece, move |stdin, done| {
            done.result.unwrap();
            written.set(written.get() + length);
            feed(stdin, noise, left - length, written);
        })
        .unwrap();
}

struct Sink {
    noise: Noise,
    expected: Vec<u8>,
    got: usize,
    pauses: usize,
}

/// Checks what arrives. Stops reading at every eighth of it until the child, and so the writer,
/// has come to a halt.
fn check(out: &Pipe, sink: Rc<RefCell<Sink>>, written: Rc<Cell<usize>>) {
    let again = sink.clone();
    out.read_start(move |out, read| match read {
        Read::Data(bytes) => {
            let mut state = sink.borrow_mut();
            let state = &mut *state;
            state.expected.resize(bytes.len(), 0);
            state.noise.fill(&mut state.expected);
            assert!(state.expected == bytes, "wrong after {} bytes", state.got);
            state.got += bytes.len();
            if state.got / (TOTAL / 8) > state.pauses {
                state.pauses += 1;
                out.read_stop();
                wait_for_a_halt(out, again.clone(), written.clone());
            }
        }
        Read::Eof => out.close(),
        Read::Error(error) => panic!("{error}"),
    })
    .unwrap();
}

fn wait_for_a_halt(out: &Pipe, sink: Rc<RefCell<Sink>>, written: Rc<Cell<usize>>) {
    let timer = Timer::new(out.event_loop()).unwrap();
    let (out, mut before) = (out.clone(), usize::MAX);
    timer
        .start(2, 2, move |timer| {
            if written.get() == before {
                // What has been written and not read lies in two pipes and in the child.
                // A piece counts when it is written as a whole.
                let under_way = written.get().saturating_sub(sink.borrow().got);
                assert!(under_way < 4 << 20, "{under_way} bytes: nothing holds the writer back");
                timer.close();
                check(&out, sink.clone(), written.clone());
            }
            before = written.get();
        })
        .unwrap();
}

fn through_cat(duplex: bool) {
    let lp = new_loop();
    let (stdin, out) = (Pipe::new(&lp).unwrap(), Pipe::new(&lp).unwrap());
    let exits = Exits::new();
    let of = |pipe| if duplex { Stdio::pipe(pipe).socket() } else { Stdio::pipe(pipe) };
    let mut command = Command::new("cat");
    command.stdin(of(&stdin)).stdout(of(&out));
    command.spawn(&lp, exits.note()).unwrap();
    let written = Rc::new(Cell::new(0));
    let sink = Sink { noise: Noise::new(), expected: Vec::new(), got: 0, pauses: 0 };
    let sink = Rc::new(RefCell::new(sink));
    check(&out, sink.clone(), written.clone());
    feed(&stdin, Noise::new(), TOTAL, written.clone());
    run(&lp);
    assert!(exits.one().success());
    assert_eq!((written.get(), sink.borrow().got), (TOTAL, TOTAL));
    assert!(sink.borrow().pauses >= 7);
}

#[test]
fn sixty_four_mebibytes_pass_through_pipes_byte_for_byte() {
    isolated(|| through_cat(false));
}

#[test]
fn sixty_four_mebibytes_pass_through_sockets_byte_for_byte() {
    isolated(|| through_cat(true));
}

#[test]
fn a_child_that_stops_reading_is_an_error_of_the_write() {
    isolated(|| {
        let lp = new_loop();
        let stdin = Pipe::new(&lp).unwrap();
        let exits = Exits::new();
        let mut command = Command::new("head");
        command.args(["-c", "1"]).stdin(Stdio::pipe(&stdin)).stdout(Stdio::null());
        command.spawn(&lp, exits.note()).unwrap();
        let result = Rc::new(Cell::new(None));
        let told = result.clone();
        stdin
            .write(vec![0; 4 << 20], move |stdin, done| {
                told.set(Some(done.result));
                stdin.close();
            })
            .unwrap();
        run(&lp);
        assert_eq!(result.get(), Some(Err(blacklight::Error::EPIPE)));
        assert!(exits.one().success());
    });
}
