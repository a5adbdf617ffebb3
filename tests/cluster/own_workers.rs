//! Primary and workers of this crate.

use blacklight::child_process::Value;
use blacklight::child_process::cluster::{ClusterOptions, Policy, RestartLimit, WorkerState};
use std::collections::BTreeSet;
use std::time::Duration;

use crate::bench::{Bench, stop};
use crate::program::own_worker;
use crate::support::isolated;
use crate::support::process::Scratch;

const TCP: &str = "tcp 127.0.0.1:0";

fn options(policy: Policy) -> ClusterOptions {
    let mut options = ClusterOptions::new(own_worker());
    options.policy = policy;
    options
}

fn bench(policy: Policy) -> Bench {
    Bench::new(options(policy))
}

#[test]
fn a_worker_goes_from_started_to_dead_and_every_step_is_told() {
    isolated(|| {
        let bench = bench(Policy::RoundRobin);
        let worker = bench.fork(1, TCP).remove(0);
        assert_eq!((worker.id(), worker.state()), (1, WorkerState::Started));
        bench.until_logged("1: listening at true");
        assert_eq!(worker.state(), WorkerState::Listening);
        worker.disconnect().unwrap();
        bench.until(|| worker.state() == WorkerState::Dead);
        assert!(worker.exited_after_disconnect());
        let log = bench.log_of(1);
        let whole = ["online", "listening", "listening at true", "disconnected", "exit code 0"];
        assert_eq!(log, whole);
        bench.end();
    });
}

#[test]
fn round_robin_goes_round() {
    isolated(|| {
        let bench = bench(Policy::RoundRobin);
        bench.serve(3, TCP);
        let answers: Vec<String> = (0..9).map(|_| bench.ask()).collect();
        for turn in answers.chunks(3) {
            assert_eq!(turn.iter().collect::<BTreeSet<_>>().len(), 3, "{answers:?}");
        }
        bench.end();
    });
}

#[test]
fn a_shared_socket_is_served_by_whoever_is_there() {
    isolated(|| {
        let bench = bench(Policy::Shared);
        let workers = bench.serve(2, TCP);
        for _ in 0..10 {
            assert!(bench.ask().starts_with("worker "));
        }
        workers[0].disconnect().unwrap();
        bench.until_logged("1: exit code 0");
        assert_eq!(bench.ask(), "worker 2");
        bench.end();
    });
}

#[test]
fn a_path_is_served_under_both_policies_and_removed_in_the_end() {
    isolated(|| {
        for policy in [Policy::RoundRobin, Policy::Shared] {
            let folder = Scratch::new();
            let path = folder.join("socket").to_str().unwrap().to_owned();
            let bench = bench(policy);
            bench.serve(2, &format!("path {path}"));
            for _ in 0..4 {
                assert!(bench.ask_path(&path).starts_with("worker "));
            }
            bench.end();
            assert!(!std::path::Path::new(&path).exists());
        }
    });
}

#[test]
fn datagrams_go_to_the_workers_under_both_policies() {
    isolated(|| {
        for policy in [Policy::RoundRobin, Policy::Shared] {
            let bench = bench(policy);
            bench.serve(2, "udp 127.0.0.1:0");
            assert!(bench.ask_udp().starts_with("worker "));
            bench.end();
        }
    });
}

#[test]
fn an_address_in_use_is_an_error_and_can_be_had_later() {
    isolated(|| {
        for policy in [Policy::RoundRobin, Policy::Shared] {
            let bench = bench(policy);
            let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let order = format!("tcp {}", taken.local_addr().unwrap());
            let worker = bench.fork(1, &order).remove(0);
            bench.until_logged("1: failed EADDRINUSE");
            drop(taken);
            worker.send(&Value::from(order.as_str())).unwrap();
            bench.until_logged("1: listening");
            assert_eq!(bench.ask(), "worker 1");
            bench.end();
        }
    });
}

#[test]
fn a_refused_connection_goes_to_another_worker() {
    isolated(|| {
        let bench = bench(Policy::RoundRobin);
        let workers = bench.serve(2, TCP);
        workers[0].send(&Value::from("refuse")).unwrap();
        bench.until_logged("1: refuse");
        for _ in 0..4 {
            assert_eq!(bench.ask(), "worker 2");
        }
        bench.end();
    });
}

#[test]
fn a_connection_that_all_refuse_waits_until_one_takes_it() {
    isolated(|| {
        let bench = bench(Policy::RoundRobin);
        let workers = bench.serve(2, TCP);
        for worker in &workers {
            worker.send(&Value::from("refuse")).unwrap();
            bench.until_logged(&format!("{}: refuse", worker.id()));
        }
        let answers: Vec<_> = (0..300).map(|_| bench.begin()).collect();
        workers[1].send(&Value::from("accept")).unwrap();
        bench.until(|| answers.iter().all(|answer| answer.is_done()));
        assert!(answers.iter().all(|answer| answer.text() == "worker 2"));
        bench.end();
    });
}

#[test]
fn nothing_is_lost_with_more_connections_than_the_primary_keeps() {
    isolated(|| {
        for policy in [Policy::RoundRobin, Policy::Shared] {
            let bench = bench(policy);
            bench.serve(2, TCP);
            let answers: Vec<_> = (0..500).map(|_| bench.begin()).collect();
            bench.until(|| answers.iter().all(|answer| answer.is_done()));
            assert!(answers.iter().all(|answer| answer.text().starts_with("worker ")));
            bench.end();
        }
    });
}

#[test]
fn a_worker_that_stopped_and_died_does_not_take_its_connection_with_it() {
    isolated(|| {
        let bench = bench(Policy::RoundRobin);
        let workers = bench.serve(2, TCP);
        stop(&workers[0]);
        let answers: Vec<_> = (0..6).map(|_| bench.begin()).collect();
        let done = || answers.iter().filter(|answer| answer.is_done()).count();
        bench.until(|| done() == 5);
        workers[0].kill(libc::SIGKILL).unwrap();
        bench.until(|| done() == 6);
        assert!(answers.iter().all(|answer| answer.text() == "worker 2"));
        bench.end();
    });
}

#[test]
fn what_one_refused_is_offered_to_it_again_when_the_other_has_died() {
    isolated(|| {
        let bench = bench(Policy::RoundRobin);
        let workers = bench.serve(2, TCP);
        workers[0].send(&Value::from("refuse")).unwrap();
        bench.until_logged("1: refuse");
        workers[1].send(&Value::from("keep")).unwrap();
        bench.until_logged("2: keep");
        // Worker 2 has one and is stopped amid the next, for which the others wait.
        let answers: Vec<_> = (0..4).map(|_| bench.begin()).collect();
        bench.until_logged("2: kept");
        stop(&workers[1]);
        workers[1].kill(libc::SIGKILL).unwrap();
        bench.until(|| workers[1].state() == WorkerState::Dead);
        workers[0].send(&Value::from("accept")).unwrap();
        bench.until(|| answers.iter().all(|answer| answer.is_done()));
        bench.end();
    });
}

#[test]
fn every_connection_ends_and_nothing_is_left_when_workers_die_at_any_point() {
    isolated(|| {
        let mut options = options(Policy::RoundRobin);
        let limit = RestartLimit { most: 1000, ..RestartLimit::default() };
        options.restart = Some(limit);
        let bench = Bench::new(options);
        bench.serve(3, TCP);
        let mut told: BTreeSet<u32> = (1..=3).collect();
        let mut tell_new_ones = || {
            for worker in bench.primary.workers() {
                if told.insert(worker.id()) {
                    worker.send(&Value::from(TCP)).unwrap();
                }
            }
        };
        let mut answered = 0;
        for round in 0..20 {
            let answers: Vec<_> = (0..20).map(|_| bench.begin()).collect();
            let done = || answers.iter().filter(|answer| answer.is_done()).count();
            // At another point each time.
            bench.until(|| {
                tell_new_ones();
                done() >= round
            });
            let workers = bench.primary.workers();
            let _dead_already = workers[round % workers.len()].kill(libc::SIGKILL);
            bench.until(|| {
                tell_new_ones();
                done() == answers.len()
            });
            let good = |answer: &&crate::bench::Answer| answer.text().starts_with("worker ");
            answered += answers.iter().filter(good).count();
        }
        // A connection can only be lost with the worker that had taken it.
        assert!(answered >= 200, "{answered} of 400");
        bench.end();
    });
}

#[test]
fn connections_are_closed_when_nobody_is_left_to_take_them() {
    isolated(|| {
        let bench = bench(Policy::RoundRobin);
        let worker = bench.serve(1, TCP).remove(0);
        worker.send(&Value::from("keep")).unwrap();
        bench.until_logged("1: keep");
        let taken = bench.begin();
        bench.until_logged("1: kept");
        stop(&worker);
        let waiting: Vec<_> = (0..10).map(|_| bench.begin()).collect();
        worker.kill(libc::SIGKILL).unwrap();
        bench.until(|| taken.is_done() && waiting.iter().all(|answer| answer.is_done()));
        bench.end();
    });
}

#[test]
fn dead_workers_are_replaced_as_often_as_the_limit_allows() {
    isolated(|| {
        let mut options = options(Policy::RoundRobin);
        let within = Duration::from_millis(300);
        options.restart = Some(RestartLimit { most: 2, within });
        let bench = Bench::new(options);
        bench.fork(1, "abort");
        let begun = bench.lp.now_duration();
        for id in 1..=3 {
            bench.until_logged(&format!("{id}: replaced by {}", id + 1));
            bench.primary.worker(id + 1).unwrap().send(&Value::from("abort")).unwrap();
        }
        assert!(bench.lp.now_duration() - begun >= within, "the third one waits");
        assert!(
            bench.log_of(1).iter().any(|line| line.contains("SIGABRT")),
            "{:?}",
            bench.log_of(1)
        );
        bench.end();
    });
}

#[test]
fn a_worker_that_takes_leave_is_not_replaced() {
    isolated(|| {
        let mut options = options(Policy::RoundRobin);
        options.restart = Some(RestartLimit::default());
        let bench = Bench::new(options);
        let worker = bench.serve(1, TCP).remove(0);
        worker.send(&Value::from("leave")).unwrap();
        assert!(!bench.lp.run(blacklight::RunMode::Default).unwrap());
        assert!(worker.exited_after_disconnect());
        assert_eq!(bench.log_of(1).last().map(String::as_str), Some("exit code 0"));
        assert!(!bench.has_logged("1: replaced by 2"));
        bench.check_clean();
    });
}

#[test]
fn a_worker_learns_that_its_primary_has_gone_without_a_word() {
    isolated(|| {
        let bench = bench(Policy::RoundRobin);
        let worker = bench.serve(1, TCP).remove(0);
        worker.channel().disconnect().unwrap();
        bench.until_logged("1: exit code 7");
        bench.end();
    });
}

#[test]
fn a_closed_server_is_the_others_alone() {
    isolated(|| {
        let bench = bench(Policy::RoundRobin);
        let workers = bench.serve(2, TCP);
        workers[1].send(&Value::from("close")).unwrap();
        bench.until_logged("2: close");
        for _ in 0..3 {
            assert_eq!(bench.ask(), "worker 1");
        }
        workers[0].send(&Value::from("close")).unwrap();
        bench.until_logged("1: close");
        assert_eq!(bench.ask(), "ECONNREFUSED");
        bench.end();
    });
}

#[test]
fn a_primary_without_workers_says_at_once_that_all_are_gone() {
    isolated(|| {
        let bench = bench(Policy::RoundRobin);
        bench.end();
    });
}
