//! A primary of this crate with real node workers, which `require('cluster')`.

use std::collections::BTreeSet;

use blacklight::child_process::cluster::{ClusterOptions, Policy, RestartLimit};
use blacklight::child_process::{Serialization, Value};

use crate::bench::{Bench, has_node, node_worker, stop};
use crate::support::isolated;
use crate::support::process::Scratch;

const NET: &str = "net.createServer(s => s.resume().end('worker ' + id)).listen(0, '127.0.0.1');";
const HTTP: &str = "http.createServer((q, r) => r.end('worker ' + id)).listen(0, '127.0.0.1');";

fn bench(folder: &Scratch, policy: Policy) -> Bench {
    let mut options = ClusterOptions::new(node_worker(folder));
    options.policy = policy;
    Bench::new(options)
}

#[test]
fn several_node_workers_share_the_requests_in_turn_in_both_serializations() {
    isolated(|| {
        if !has_node() {
            return;
        }
        for serialization in [Serialization::Json, Serialization::Advanced] {
            let folder = Scratch::new();
            let mut options = ClusterOptions::new(node_worker(&folder));
            options.channel.serialization = serialization;
            let bench = Bench::new(options);
            bench.serve(3, HTTP);
            let answers: Vec<String> = (0..9).map(|_| bench.ask()).collect();
            for turn in answers.chunks(3) {
                assert_eq!(turn.iter().collect::<BTreeSet<_>>().len(), 3, "{answers:?}");
            }
            bench.end();
        }
    });
}

#[test]
fn a_node_worker_is_told_to_disconnect_and_ends() {
    isolated(|| {
        if !has_node() {
            return;
        }
        let folder = Scratch::new();
        let bench = bench(&folder, Policy::RoundRobin);
        let worker = bench.serve(1, NET).remove(0);
        worker.disconnect().unwrap();
        bench.until_logged("1: exit code 0");
        assert_eq!(bench.log_of(1), ["online", "listening", "disconnected", "exit code 0"]);
        bench.end();
    });
}

#[test]
fn a_node_worker_takes_leave_and_ends() {
    isolated(|| {
        if !has_node() {
            return;
        }
        for leave in ["cluster.worker.disconnect()", "cluster.worker.kill()"] {
            let folder = Scratch::new();
            let mut options = ClusterOptions::new(node_worker(&folder));
            options.restart = Some(RestartLimit::default());
            let bench = Bench::new(options);
            let worker = bench.serve(1, NET).remove(0);
            worker.send(&Value::from(leave)).unwrap();
            bench.until_logged("1: exit code 0");
            assert!(worker.exited_after_disconnect(), "{leave}");
            assert!(!bench.has_logged("1: replaced by 2"));
            bench.end();
        }
    });
}

#[test]
fn node_workers_serve_a_path_under_both_policies() {
    isolated(|| {
        if !has_node() {
            return;
        }
        for policy in [Policy::RoundRobin, Policy::Shared] {
            let folder = Scratch::new();
            let path = folder.join("socket").to_str().unwrap().to_owned();
            let bench = bench(&folder, policy);
            let code = format!(
                "net.createServer(s => s.resume().end('worker ' + id)).listen({{path: '{path}'}})"
            );
            bench.serve(2, &code);
            for _ in 0..4 {
                assert!(bench.ask_path(&path).starts_with("worker "));
            }
            bench.end();
            assert!(!std::path::Path::new(&path).exists());
        }
    });
}

#[test]
fn node_workers_accept_from_a_shared_socket() {
    isolated(|| {
        if !has_node() {
            return;
        }
        let folder = Scratch::new();
        let bench = bench(&folder, Policy::Shared);
        let workers = bench.serve(2, HTTP);
        for _ in 0..6 {
            assert!(bench.ask().starts_with("worker "));
        }
        workers[0].disconnect().unwrap();
        bench.until_logged("1: exit code 0");
        assert_eq!(bench.ask(), "worker 2");
        bench.end();
    });
}

#[test]
fn node_workers_get_datagrams() {
    isolated(|| {
        if !has_node() {
            return;
        }
        for policy in [Policy::RoundRobin, Policy::Shared] {
            let folder = Scratch::new();
            let bench = bench(&folder, policy);
            bench.serve(
                2,
                "const s = dgram.createSocket('udp4');
                 s.on('message', (m, r) => s.send('worker ' + id, r.port, r.address));
                 s.bind(0, '127.0.0.1');",
            );
            assert!(bench.ask_udp().starts_with("worker "));
            bench.end();
        }
    });
}

#[test]
fn a_node_worker_is_told_that_an_address_is_in_use() {
    isolated(|| {
        if !has_node() {
            return;
        }
        for policy in [Policy::RoundRobin, Policy::Shared] {
            let folder = Scratch::new();
            let bench = bench(&folder, policy);
            let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let port = taken.local_addr().unwrap().port();
            let code = format!(
                "net.createServer().on('error', e => process.send(e.code)).listen({port}, '127.0.0.1')"
            );
            let worker = bench.fork(1, &code).remove(0);
            bench.until_logged("1: EADDRINUSE");
            drop(taken);
            let code =
                format!("net.createServer(s => s.resume().end('ok')).listen({port}, '127.0.0.1')");
            worker.send(&Value::from(code)).unwrap();
            bench.until_logged("1: listening");
            assert_eq!(bench.ask(), "ok");
            bench.end();
        }
    });
}

#[test]
fn a_node_worker_listens_without_an_address() {
    isolated(|| {
        if !has_node() {
            return;
        }
        for policy in [Policy::RoundRobin, Policy::Shared] {
            let folder = Scratch::new();
            let bench = bench(&folder, policy);
            bench.serve(2, "net.createServer(s => s.resume().end('worker ' + id)).listen(0)");
            assert!(bench.ask().starts_with("worker "));
            bench.end();
        }
    });
}

#[test]
fn what_a_node_worker_at_its_limit_rejects_goes_to_another_or_waits() {
    isolated(|| {
        if !has_node() {
            return;
        }
        let folder = Scratch::new();
        let bench = bench(&folder, Policy::RoundRobin);
        // Each takes one connection, and holds it until it is told to let it go.
        let workers = bench.serve(
            2,
            "global.held = []; const server = net.createServer(s => {
                 held.push(s.resume()); process.send('took'); });
             server.maxConnections = 1; server.listen(0, '127.0.0.1');
             global.free = () => held.shift().end('worker ' + id);",
        );
        let answers: Vec<_> = (0..3).map(|_| bench.begin()).collect();
        bench.until_logged("1: took");
        bench.until_logged("2: took");
        assert!(answers.iter().all(|answer| !answer.is_done()));
        let count = |id: u32| bench.log_of(id).iter().filter(|line| *line == "took").count();
        workers[0].send(&Value::from("free()")).unwrap();
        bench.until(|| count(1) == 2);
        assert_eq!(count(2), 1);
        for worker in &workers {
            worker.send(&Value::from("free()")).unwrap();
        }
        bench.until(|| answers.iter().all(|answer| answer.is_done()));
        bench.end();
    });
}

#[test]
fn a_node_worker_that_crashes_amid_its_work_is_replaced() {
    isolated(|| {
        if !has_node() {
            return;
        }
        let folder = Scratch::new();
        let mut options = ClusterOptions::new(node_worker(&folder));
        options.restart = Some(RestartLimit::default());
        let bench = Bench::new(options);
        let workers = bench.serve(2, NET);
        stop(&workers[0]);
        let answers: Vec<_> = (0..4).map(|_| bench.begin()).collect();
        let done = || answers.iter().filter(|answer| answer.is_done()).count();
        bench.until(|| done() == 3);
        workers[0].kill(libc::SIGKILL).unwrap();
        bench.until_logged("1: replaced by 3");
        bench.until(|| done() == 4);
        assert!(answers.iter().all(|answer| answer.text() == "worker 2"));
        bench.primary.worker(3).unwrap().send(&Value::from(NET)).unwrap();
        bench.until_logged("3: listening");
        let answers: BTreeSet<String> = (0..4).map(|_| bench.ask()).collect();
        assert_eq!(answers.len(), 2, "{answers:?}");
        bench.end();
    });
}

#[test]
fn a_node_worker_whose_channel_closes_without_a_word_ends_at_once() {
    isolated(|| {
        if !has_node() {
            return;
        }
        let folder = Scratch::new();
        let bench = bench(&folder, Policy::RoundRobin);
        let worker = bench.serve(1, NET).remove(0);
        worker.channel().disconnect().unwrap();
        bench.until_logged("1: exit code 0");
        assert!(!worker.exited_after_disconnect());
        bench.end();
    });
}

#[test]
fn a_node_worker_sends_and_gets_messages() {
    isolated(|| {
        if !has_node() {
            return;
        }
        let folder = Scratch::new();
        let bench = bench(&folder, Policy::RoundRobin);
        bench.fork(1, "process.send('I am ' + id + ' ' + process.env.NODE_UNIQUE_ID)");
        bench.until_logged("1: I am 1 undefined");
        bench.end();
    });
}
