//! What has no counterpart in Node, or shows only from here.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use blacklight::child_process::{
    ExecCause, ExecOptions, ExecOutcome, Executing, Shell, exec, exec_file,
};
use blacklight::prelude::*;
use blacklight::{Error, SpawnError, SpawnStep};

use crate::descriptors_at_rest;
use crate::support::process::{new_loop, run};
use crate::support::{Log, children, isolated, open_fds};

/// Outcomes in the order of their callbacks.
#[derive(Clone, Default)]
struct Outcomes(Rc<RefCell<Vec<ExecOutcome>>>);

impl Outcomes {
    fn note(&self) -> impl FnOnce(ExecOutcome) + 'static {
        let list = self.0.clone();
        move |outcome| list.borrow_mut().push(outcome)
    }

    /// The only one.
    fn one(&self) -> ExecOutcome {
        let list = self.0.borrow();
        assert_eq!(list.len(), 1, "one callback: {list:?}");
        list[0].clone()
    }
}

fn start(lp: &EventLoop, text: &str, options: &ExecOptions) -> (Executing, Outcomes) {
    let outcomes = Outcomes::default();
    (exec(lp, text, options, outcomes.note()).unwrap(), outcomes)
}

#[test]
fn the_callback_is_called_from_run_only() {
    isolated(|| {
        let lp = new_loop();
        let (executing, outcomes) = start(&lp, "true", &ExecOptions::new());
        assert!(executing.pid() > 0 && outcomes.0.borrow().is_empty());
        let (missing, refused) = (Command::new("/no/such"), Outcomes::default());
        let not = exec_file(&lp, &missing, &ExecOptions::new(), refused.note()).unwrap();
        assert!(refused.0.borrow().is_empty());
        assert_eq!((not.pid(), not.process().is_none()), (0, true));
        run(&lp);
        assert_eq!(outcomes.one().error, None);
        let error = refused.one().error.unwrap();
        let cause = SpawnError::new(SpawnStep::Exec, Error::ENOENT);
        assert_eq!(error.cause, ExecCause::Spawn(cause));
        assert_eq!(error.to_string(), "spawn /no/such ENOENT");
    });
}

#[test]
fn a_kill_signal_that_is_none_is_refused() {
    isolated(|| {
        let lp = new_loop();
        for nothing in [0, 65, -1] {
            let outcomes = Outcomes::default();
            let options = ExecOptions::new().kill_signal(nothing).clone();
            let refused = exec(&lp, "true", &options, outcomes.note());
            assert_eq!(refused.unwrap_err(), Error::EINVAL);
            run(&lp);
            assert!(outcomes.0.borrow().is_empty(), "an error is told once");
        }
        assert_eq!(children(), []);
    });
}

#[test]
fn dropping_the_handle_ends_the_childs_input() {
    isolated(|| {
        let lp = new_loop();
        let (executing, outcomes) = start(&lp, "cat", &ExecOptions::new());
        let text = "x".repeat(900_000);
        executing.stdin().write_and_forget(text.clone()).unwrap();
        drop(executing.clone());
        drop(executing);
        run(&lp);
        let outcome = outcomes.one();
        assert_eq!((outcome.error, outcome.stdout), (None, text.into_bytes()));
    });
}

#[test]
fn the_child_reads_while_the_handle_is_kept() {
    isolated(|| {
        let lp = new_loop();
        let (executing, outcomes) = start(&lp, "read a; read b; echo $b $a", &ExecOptions::new());
        let timer = Timer::new(&lp).unwrap();
        executing.stdin().write_and_forget("first\n").unwrap();
        timer
            .start(20, 0, move |_| executing.stdin().write_and_forget("second\n").unwrap())
            .unwrap();
        run(&lp);
        assert_eq!(outcomes.one().stdout, b"second first\n");
    });
}

#[test]
fn aborting_calls_back_without_waiting_and_the_loop_reaps() {
    isolated(|| {
        let lp = new_loop();
        let before = descriptors_at_rest(&lp);
        let ready = Pipe::new(&lp).unwrap();
        let mut shell = Shell::new("trap '' TERM; echo up >&5; exec 5>&-; read x");
        shell.command().stdio(5, Stdio::pipe(&ready));
        let outcomes = Outcomes::default();
        let executing = exec(&lp, &shell, &ExecOptions::new(), outcomes.note()).unwrap();
        let log = Log::new();
        let (aborting, said) = (executing.clone(), log.clone());
        let checking = Idle::new(&lp).unwrap();
        let watched = outcomes.clone();
        // Twice, and again when it is over: only the first counts.
        ready
            .read_start(move |ready, read| match read {
                Read::Data(bytes) => {
                    assert_eq!(bytes, b"up\n");
                    aborting.abort();
                    aborting.abort();
                    assert!(watched.0.borrow().is_empty());
                }
                Read::Eof | Read::Error(_) => ready.close(),
            })
            .unwrap();
        let watched = outcomes.clone();
        checking
            .start(move |idle| {
                if !watched.0.borrow().is_empty() {
                    // It has survived the signal, and ends with its input.
                    said.add(format!("{} alive", children().len()));
                    executing.abort();
                    executing.stdin().close();
                    idle.stop();
                }
            })
            .unwrap();
        run(&lp);
        let outcome = outcomes.one();
        let error = outcome.error.unwrap();
        assert_eq!((error.cause, error.code()), (ExecCause::Aborted, Some("ABORT_ERR")));
        assert_eq!((error.killed, error.status), (true, None));
        assert_eq!(log.take(), ["1 alive"]);
        assert_eq!(children(), []);
        assert_eq!(open_fds(), before);
    });
}

#[test]
fn aborting_after_the_end_does_nothing() {
    isolated(|| {
        let lp = new_loop();
        let (executing, outcomes) = start(&lp, "exit 4", &ExecOptions::new());
        run(&lp);
        executing.abort();
        run(&lp);
        let error = outcomes.one().error.unwrap();
        assert_eq!((error.cause, error.status), (ExecCause::Failed, Some(4)));
    });
}

/// Not in the table that node is asked for: node v20 then signals a process whose number it has never
/// set, which may be 0, its own group.
#[test]
fn aborting_what_could_not_be_started_signals_nobody() {
    isolated(|| {
        let lp = new_loop();
        let outcomes = Outcomes::default();
        let nothing = Command::new("/no/such");
        let executing = exec_file(&lp, &nothing, &ExecOptions::new(), outcomes.note()).unwrap();
        executing.abort();
        run(&lp);
        let error = outcomes.one().error.unwrap();
        assert!(!error.killed && error.status.is_none() && error.signal.is_none(), "{error:?}");
    });
}

#[test]
fn a_limit_tells_how_the_child_ended_too() {
    isolated(|| {
        let lp = new_loop();
        let options = ExecOptions::new().max_buffer(3).clone();
        let (executing, outcomes) = start(&lp, "echo err >&2; printf 1234; read x", &options);
        run(&lp);
        drop(executing);
        let outcome = outcomes.one();
        assert_eq!(outcome.stdout.len().max(outcome.stderr.len()), 3);
        let error = outcome.error.unwrap();
        assert!(matches!(error.cause, ExecCause::MaxBuffer(_)));
        assert_eq!((error.killed, error.status, error.signal), (true, None, Some(libc::SIGTERM)));
        assert_eq!(error.cmd, "echo err >&2; printf 1234; read x");
    });
}

#[test]
fn many_run_side_by_side_and_one_from_the_callback_of_another() {
    isolated(|| {
        let lp = new_loop();
        let before = descriptors_at_rest(&lp);
        let count = Rc::new(Cell::new(0));
        for code in 0..20 {
            let count = count.clone();
            let lp_ref: &LoopRef = &lp;
            let again = lp_ref.clone();
            let callback = move |outcome: ExecOutcome| {
                assert_eq!(outcome.stdout, format!("{code}\n").into_bytes());
                let callback = move |outcome: ExecOutcome| {
                    assert_eq!(outcome.stdout, b"inner\n");
                    count.set(count.get() + 1);
                };
                exec(&again, "echo inner", &ExecOptions::new(), callback).unwrap();
            };
            exec(&lp, format!("echo {code}; exit {code}"), &ExecOptions::new(), callback).unwrap();
        }
        run(&lp);
        assert_eq!(count.get(), 20);
        assert_eq!(children(), []);
        assert_eq!(open_fds(), before);
    });
}

#[test]
fn a_loop_that_is_dropped_drops_the_callback_uncalled() {
    isolated(|| {
        let lp = new_loop();
        let token = Rc::new(());
        let kept = token.clone();
        let callback = move |_| panic!("nobody runs the loop: {kept:?}");
        let executing = exec(&lp, "cat", &ExecOptions::new(), callback).unwrap();
        lp.run(RunMode::NoWait).unwrap();
        drop(lp);
        executing.abort();
        drop(executing);
        assert_eq!(Rc::strong_count(&token), 1);
    });
}

#[test]
fn a_shell_takes_whatever_a_command_has() {
    isolated(|| {
        let lp = new_loop();
        let mut shell = Shell::new("echo $A $0 $1; pwd; umask; cat <&5");
        let five = Stdio::read_file("/proc/sys/kernel/ostype");
        shell.command().env("A", "b").current_dir("/usr").umask(0o27).args(["zero", "one"]);
        shell.command().stdio(5, five);
        let outcomes = Outcomes::default();
        exec(&lp, &shell, &ExecOptions::new(), outcomes.note()).unwrap();
        run(&lp);
        let text = String::from_utf8(outcomes.one().stdout).unwrap();
        assert_eq!(text, "b zero one\n/usr\n0027\nLinux\n");
    });
}
