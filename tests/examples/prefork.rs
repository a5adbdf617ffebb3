//! The example `prefork`.

use std::cell::Cell;

use super::program::Program;

#[test]
fn prefork_spreads_its_requests_over_its_workers() {
    let ended = Program::example("prefork").args(["--self-test", "--workers", "3"]).run();
    let text = ended.text();
    assert_eq!(ended.code(), Some(0), "{text}{}", ended.stderr);
    assert_eq!(ended.stderr, "");
    for worker in 1..=3 {
        assert!(text.contains(&format!("worker {worker}: ")), "{text}");
    }
    assert!(text.contains("360 requests, 0 failures"), "{text}");
}

#[test]
fn prefork_lets_its_workers_finish_when_it_is_told_to_end() {
    let told = Cell::new(false);
    let program = Program::example("prefork").args(["--workers", "2", "--port", "0"]);
    let ended = program.watch(move |program| {
        if program.has_said("worker 1 serves")
            && program.has_said("worker 2 serves")
            && !told.replace(true)
        {
            program.process.kill(libc::SIGTERM).unwrap();
        }
    });
    let text = ended.text();
    assert_eq!(ended.code(), Some(0), "{text}{}", ended.stderr);
    for line in ["worker 1 ended: exit code 0", "worker 2 ended: exit code 0"] {
        assert!(text.contains(line), "{text}");
    }
    assert!(text.ends_with("all workers have ended\n"), "{text}");
}
