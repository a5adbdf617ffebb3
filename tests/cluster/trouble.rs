//! Callbacks that panic, workers that do not get what they are sent, a loop that is dropped.

use std::cell::Cell;
use std::rc::Rc;

use blacklight::child_process::cluster::{ClusterEvent, ClusterOptions, Primary};
use blacklight::{Command, RunMode};

use crate::bench::Bench;
use crate::program::{ARGUMENTS, own_worker};
use crate::support::process::{new_loop, until};
use crate::support::{children, isolated, open_fds};
use crate::tools::run_panics;

const TCP: &str = "tcp 127.0.0.1:0";

fn bench() -> Bench {
    Bench::new(ClusterOptions::new(own_worker()))
}

#[test]
fn a_panic_in_a_callback_of_the_primary_stops_that_callback_alone() {
    isolated(|| {
        let bench = bench();
        let workers = bench.serve(2, TCP);
        let (primary, worker) = (&bench.primary, &workers[0]);
        worker.on_message(|_, _| panic!("about a message"));
        worker.send(&"keep".into()).unwrap();
        run_panics(&bench.lp, RunMode::Default, "about a message");
        assert!(worker.is_connected());
        // Its next message is an event of the primary's again.
        worker.send(&"keep".into()).unwrap();
        bench.until_logged("1: keep");
        primary.on_event(|_, _, _| panic!("about an event"));
        worker.send(&"refuse".into()).unwrap();
        run_panics(&bench.lp, RunMode::Default, "about an event");
        // Nobody listens, and connections go to the workers as before.
        for _ in 0..3 {
            assert_eq!(bench.ask(), "worker 2");
        }
        // The end of one is told to whoever listens by then, and others are forked.
        let ends = Rc::new(Cell::new(0));
        let e = ends.clone();
        primary.on_event(move |_, _, event| {
            if matches!(event, ClusterEvent::Exited(_)) {
                e.set(e.get() + 1);
            }
        });
        worker.kill(libc::SIGKILL).unwrap();
        bench.until(|| ends.get() == 1);
        bench.end();
        assert_eq!(ends.get(), 2);
    });
}

#[test]
fn a_panic_in_a_callback_of_a_worker_closes_that_server_alone() {
    isolated(|| {
        let bench = bench();
        let worker = bench.serve(1, TCP).remove(0);
        worker.send(&"panic connection".into()).unwrap();
        // The connection was in the hands of the one who panicked.
        let answer = bench.ask();
        assert!(["", "ECONNRESET"].contains(&&*answer), "{answer}");
        bench.until_logged("1: panic: connection");
        // The worker is still the primary's: it can serve another address, and take leave.
        worker.send(&"panic".into()).unwrap();
        worker.send(&TCP.into()).unwrap();
        bench.until(|| bench.log_of(1).iter().filter(|line| *line == "listening").count() == 2);
        assert_eq!(bench.ask(), "worker 1");
        bench.end();
    });
}

#[test]
fn a_worker_whose_callbacks_panic_at_the_end_ends_all_the_same() {
    isolated(|| {
        let bench = bench();
        let worker = bench.serve(1, TCP).remove(0);
        for _ in 0..2 {
            worker.send(&"tcp 127.0.0.1:0".into()).unwrap();
        }
        bench.until(|| bench.log_of(1).iter().filter(|line| *line == "listening").count() == 3);
        worker.send(&"panic closed".into()).unwrap();
        bench.primary.disconnect(|_| {});
        assert!(!bench.lp.run(RunMode::Default).unwrap());
        let log = bench.log_of(1);
        // Each of the three servers was told, one after the other.
        assert_eq!(log.iter().filter(|line| *line == "panic: closed").count(), 3, "{log:?}");
        assert_eq!(log.last().map(String::as_str), Some("exit code 0"));
        bench.check_clean();
    });
}

/// The first worker reads with read(2), so that the kernel drops what comes along, and says that it
/// has got no handle; the others are as always.
fn deaf_worker() -> Command {
    let script = "[ $NODE_UNIQUE_ID = 1 ] || exec \"$0\" \"$@\"
        say() { echo \"{\\\"cmd\\\":\\\"NODE_CLUSTER\\\",$1}\" >&3; }
        address='\"index\":0,\"data\":null,\"address\":\"127.0.0.1\",\"addressType\":4,\"port\"'
        say '\"act\":\"online\",\"seq\":0'
        say '\"act\":\"queryServer\",'$address':0,\"flags\":0,\"backlog\":0,\"seq\":1'
        while read -r line <&3; do case $line in
            *NODE_HANDLE*) echo '{\"cmd\":\"NODE_HANDLE_NACK\"}' >&3; echo '\"nothing came\"' >&3;;
            *'\"ack\":1'*) port=${line##*port\\\":}
                say '\"act\":\"listening\",'$address:${port%%\\}*}',\"seq\":2';;
            *disconnect*) exit 0;;
        esac; done";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(std::env::current_exe().unwrap()).args(ARGUMENTS);
    command
}

#[test]
fn a_connection_that_did_not_reach_its_worker_goes_to_another() {
    isolated(|| {
        let bench = Bench::new(ClusterOptions::new(deaf_worker()));
        bench.serve(1, "");
        // It is alone, and is offered the connection again and again.
        let answer = bench.begin();
        let times = || bench.log_of(1).iter().filter(|line| *line == "nothing came").count();
        bench.until(|| times() >= 3);
        assert!(!answer.is_done());
        bench.serve(1, TCP);
        bench.until(|| answer.is_done());
        assert_eq!(answer.text(), "worker 2");
        let before = times();
        for _ in 0..4 {
            assert_eq!(bench.ask(), "worker 2");
        }
        assert!(times() > before, "it is as free as the other");
        bench.end();
    });
}

#[test]
fn a_loop_that_is_dropped_leaves_no_worker_and_no_descriptor() {
    isolated(|| {
        blacklight::reserve_descriptors().unwrap();
        let before = open_fds();
        let lp = new_loop();
        let primary = Primary::new(&lp, ClusterOptions::new(own_worker()));
        let online = Rc::new(Cell::new(0));
        let o = online.clone();
        primary.on_event(move |primary, _, event| {
            if matches!(event, ClusterEvent::Online) {
                o.set(o.get() + 1);
            }
            assert!(primary.workers().len() == 2);
        });
        let workers = [primary.fork().unwrap(), primary.fork().unwrap()];
        while online.get() < 2 {
            lp.run(RunMode::Once).unwrap();
        }
        for worker in &workers {
            worker.send(&TCP.into()).unwrap();
        }
        drop(lp);
        // The values live, but what they stand for does not.
        assert!(!open_fds().iter().any(|(_, what)| what.starts_with("socket:")));
        drop((primary, workers));
        // The workers see that the primary has gone, end, and are waited for.
        until(|| children().is_empty() && open_fds() == before);
    });
}
