//! Workers of this crate under a real node primary.

use std::process::Command;

use crate::bench::has_node;
use crate::program::ARGUMENTS;
use crate::support::isolated;
use crate::support::process::{Scratch, watchdog};

/// Runs a node primary whose workers are the program of these tests, and gives what it prints.
fn primary(folder: &Scratch, policy: &str, script: &str) -> String {
    watchdog();
    let [exec, args @ ..] = ARGUMENTS;
    let program = std::env::current_exe().unwrap();
    let prelude = format!(
        "const cluster = require('cluster'), net = require('net'), dgram = require('dgram');
         process.execPath = {program:?};
         cluster.schedulingPolicy = cluster.{policy};
         cluster.setupPrimary({{ exec: {exec:?}, args: {args:?}, execArgv: [] }});
         cluster.on('exit', (w, code, signal) =>
             console.log('exit', w.id, code, signal, w.exitedAfterDisconnect));
         const ask = (port) => new Promise(done => {{
             let text = '';
             const s = net.connect(port, '127.0.0.1');
             s.on('data', d => text += d).on('error', e => done(e.code)).on('end', () => done(text));
         }});
         const event = (w, name) => new Promise(done => w.once(name, done));
         const said = (w, text) => new Promise(done =>
             w.on('message', m => {{ if (m === text) done(); }}));
         (async () => {{"
    );
    let path = folder.join("primary.js");
    std::fs::write(&path, format!("{prelude}\n{script}\n}})();")).unwrap();
    let output = Command::new("node").arg(path).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{errors}", output.status);
    // The workers share its output, and are test programs.
    let text = String::from_utf8_lossy(&output.stdout);
    let noise =
        |line: &str| line.is_empty() || line.starts_with("running") || line.contains("... ");
    text.lines().filter(|line| !noise(line)).collect::<Vec<_>>().join("\n")
}

#[test]
fn workers_share_connections_in_turn_and_are_disconnected_by_a_node() {
    isolated(|| {
        if !has_node() {
            return;
        }
        let folder = Scratch::new();
        let script = "
            const ws = [];
            let port;
            for (let i = 0; i < 2; i++) {
                const w = cluster.fork();
                ws.push(w);
                await event(w, 'online');
                w.send('tcp 127.0.0.1:0');
                const a = await event(w, 'listening');
                console.log(a.address, a.addressType, a.port > 0);
                port = a.port;
            }
            const all = [];
            for (let i = 0; i < 4; i++) all.push(await ask(port));
            console.log(all.sort().join());
            cluster.disconnect(() => console.log('all gone'));";
        let text = primary(&folder, "SCHED_RR", script);
        let mut lines: Vec<&str> = text.lines().collect();
        lines[3..].sort_unstable();
        assert_eq!(
            lines,
            [
                "127.0.0.1 4 true",
                "127.0.0.1 4 true",
                "worker 1,worker 1,worker 2,worker 2",
                "all gone",
                "exit 1 0 null true",
                "exit 2 0 null true",
            ]
        );
    });
}

#[test]
fn a_node_gives_what_one_worker_refuses_to_the_other() {
    isolated(|| {
        if !has_node() {
            return;
        }
        let folder = Scratch::new();
        let script = "
            const ws = [];
            let port;
            for (let i = 0; i < 2; i++) {
                const w = cluster.fork();
                ws.push(w);
                await event(w, 'online');
                w.send('tcp 127.0.0.1:0');
                port = (await event(w, 'listening')).port;
            }
            ws[0].send('refuse');
            await said(ws[0], 'refuse');
            for (let i = 0; i < 3; i++) console.log(await ask(port));
            ws[0].send('accept');
            ws[1].send('refuse');
            await said(ws[1], 'refuse');
            console.log(await ask(port));
            ws.forEach(w => w.send('leave'));";
        let text = primary(&folder, "SCHED_RR", script);
        let mut lines: Vec<&str> = text.lines().collect();
        lines[4..].sort_unstable();
        let exits = ["exit 1 0 null true", "exit 2 0 null true"];
        assert_eq!(lines[..4], ["worker 2", "worker 2", "worker 2", "worker 1"]);
        assert_eq!(lines[4..], exits);
    });
}

#[test]
fn workers_accept_themselves_where_a_node_shares_the_socket() {
    isolated(|| {
        if !has_node() {
            return;
        }
        let folder = Scratch::new();
        let script = "
            const w = cluster.fork();
            await event(w, 'online');
            w.send('tcp 127.0.0.1:0');
            const { port } = await event(w, 'listening');
            for (let i = 0; i < 3; i++) console.log(await ask(port));
            w.disconnect();";
        let text = primary(&folder, "SCHED_NONE", script);
        assert_eq!(text, "worker 1\nworker 1\nworker 1\nexit 1 0 null true");
    });
}

#[test]
fn a_node_says_that_an_address_is_in_use() {
    isolated(|| {
        if !has_node() {
            return;
        }
        for policy in ["SCHED_RR", "SCHED_NONE"] {
            let folder = Scratch::new();
            let script = "
                const taken = net.createServer().listen(0, '127.0.0.1');
                await event(taken, 'listening');
                const w = cluster.fork();
                await event(w, 'online');
                w.send('tcp 127.0.0.1:' + taken.address().port);
                await said(w, 'failed EADDRINUSE');
                console.log('in use');
                taken.close();
                w.disconnect();";
            let text = primary(&folder, policy, script);
            assert_eq!(text, "in use\nexit 1 0 null true", "{policy}");
        }
    });
}

#[test]
fn workers_serve_a_path_under_a_node() {
    isolated(|| {
        if !has_node() {
            return;
        }
        for policy in ["SCHED_RR", "SCHED_NONE"] {
            let folder = Scratch::new();
            let path = folder.join("socket").to_str().unwrap().to_owned();
            let script = format!(
                "const w = cluster.fork();
                 await event(w, 'online');
                 w.send('path {path}');
                 const a = await event(w, 'listening');
                 console.log(a.address === '{path}', a.addressType);
                 let text = '';
                 const s = net.connect('{path}');
                 s.on('data', d => text += d);
                 await event(s, 'end');
                 console.log(text);
                 w.disconnect();"
            );
            let text = primary(&folder, policy, &script);
            assert_eq!(text, "true -1\nworker 1\nexit 1 0 null true", "{policy}");
        }
    });
}

#[test]
fn workers_get_datagrams_under_a_node() {
    isolated(|| {
        if !has_node() {
            return;
        }
        let folder = Scratch::new();
        let script = "
            const w = cluster.fork();
            await event(w, 'online');
            w.send('udp 127.0.0.1:0');
            const a = await event(w, 'listening');
            const s = dgram.createSocket('udp4');
            s.send('?', a.port, '127.0.0.1');
            console.log(a.addressType, String(await event(s, 'message')));
            s.close();
            w.disconnect();";
        let text = primary(&folder, "SCHED_RR", script);
        assert_eq!(text, "udp4 worker 1\nexit 1 0 null true");
    });
}

#[test]
fn a_worker_tells_a_loss_of_its_node_from_a_disconnection() {
    isolated(|| {
        if !has_node() {
            return;
        }
        let folder = Scratch::new();
        let script = "
            const w = cluster.fork();
            await event(w, 'online');
            w.process.disconnect();";
        assert_eq!(primary(&folder, "SCHED_RR", script), "exit 1 7 null false");
    });
}
