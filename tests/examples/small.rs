//! The small examples.

use std::cell::Cell;
use std::path::Path;

use super::program::{Folder, Program};

#[test]
fn timer_shows_each_kind_of_timer_and_ends() {
    let ended = Program::example("timer").run();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    let text = ended.text();
    for line in ["once, after 20 ms", "tick 3", "short, not early: true"] {
        assert!(text.lines().any(|l| l == line), "{text}");
    }
    assert!(!text.contains("hour"));
    assert!(text.ends_with("no timer is left\n"));
}

#[test]
fn async_wake_gets_the_result_of_each_thread() {
    let ended = Program::example("async_wake").run();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    let mut lines: Vec<_> = ended.text().lines().map(str::to_owned).collect();
    assert_eq!(lines.pop().as_deref(), Some("all threads are done"));
    lines.sort();
    assert_eq!(
        lines,
        ["thread 1: 500500", "thread 2: 2001000", "thread 3: 4501500", "thread 4: 8002000"]
    );
}

#[test]
fn signal_says_who_sent_it() {
    let me = std::process::id();
    let sent = Cell::new(0);
    let ended = Program::example("signal").watch(move |program| {
        let signals = [("I am", libc::SIGUSR1), ("SIGUSR1 from", libc::SIGTERM)];
        if let Some((line, signum)) = signals.get(sent.get())
            && program.has_said(line)
        {
            sent.set(sent.get() + 1);
            program.process.kill(*signum).unwrap();
        }
    });
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert!(ended.text().contains(&format!("SIGUSR1 from process {me} of user ")));
    assert!(ended.text().ends_with("ended by SIGTERM\nSIGUSR1 came 1 times\n"));
}

#[test]
fn what_is_sent_to_the_echo_server_comes_back_and_its_path_goes_with_it() {
    let folder = Folder::new("echo");
    let path = folder.join("socket");
    let input: String = (0..20_000).map(|n| format!("line {n}\n")).collect();
    let (socket, sent) = (path.clone(), input.clone());
    let done = Cell::new(false);
    let server = Program::example("echo_server").args([&path]).watch(move |server| {
        if server.has_said("listening") && !done.replace(true) {
            // The server runs on while this loop waits for another one.
            let client = Program::example("echo_client").args([&socket]).input(&sent).run();
            assert_eq!(client.code(), Some(0), "{}", client.stderr);
            assert!(client.text() == sent, "{} bytes", client.stdout.len());
            server.process.kill(libc::SIGINT).unwrap();
        }
    });
    assert_eq!(server.code(), Some(0), "{}", server.stderr);
    assert_eq!(server.stderr, "");
    assert!(!Path::new(&path).exists());
}

#[test]
fn an_echo_client_without_a_server_says_so() {
    let folder = Folder::new("alone");
    let ended = Program::example("echo_client").args([&folder.join("socket")]).run();
    assert_eq!(ended.code(), Some(1));
    assert!(ended.stderr.contains("ENOENT: no such file or directory"), "{}", ended.stderr);
}

#[test]
fn an_echo_server_does_not_take_a_path_that_is_taken() {
    let folder = Folder::new("taken");
    let path = folder.join("file");
    std::fs::write(&path, "precious").unwrap();
    let ended = Program::example("echo_server").args([&path]).run();
    assert_eq!(ended.code(), Some(1));
    assert!(ended.stderr.contains("EADDRINUSE"), "{}", ended.stderr);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}
