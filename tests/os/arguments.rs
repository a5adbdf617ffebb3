//! The arguments, and the title that takes their place.

use std::process::Command;

use blacklight::{Error, os};

use crate::{isolated, node, output, tool};

fn command_line() -> Vec<u8> {
    std::fs::read("/proc/self/cmdline").unwrap()
}

#[test]
fn arguments_are_those_of_the_command_line() {
    let line = command_line();
    let ours: Vec<u8> =
        os::args().iter().flat_map(|arg| [arg.as_encoded_bytes(), b"\0"].concat()).collect();
    assert_eq!(ours, line);
    assert_eq!(os::argv0(), os::args()[0]);
    assert_eq!(os::exec_path().unwrap(), std::env::current_exe().unwrap());
}

#[test]
fn the_title_takes_the_place_of_the_arguments_and_of_nothing_else() {
    isolated(|| {
        let (args, room) = (os::args(), command_line().len());
        let environment = std::fs::read("/proc/self/environ").unwrap();
        assert_eq!(os::title(), os::argv0());

        assert_eq!(os::set_title("blue light"), Ok(10));
        assert_eq!(os::title(), "blue light");
        let mut expected = b"blue light".to_vec();
        expected.resize(room, 0);
        assert_eq!(command_line(), expected);
        let pid = os::pid().to_string();
        if let Some(shown) = tool("ps", &["-o", "args=", "-p", &pid]) {
            assert_eq!(shown.trim_end(), "blue light");
        }
        assert_eq!(std::fs::read_to_string("/proc/self/comm").unwrap(), "blue light\n");
        assert_eq!(os::args(), args, "copied before");

        // Longer than there is room for.
        let long = "x".repeat(room + 1000);
        assert_eq!(os::set_title(&long), Ok(room - 1));
        assert_eq!(os::title(), long[..room - 1]);
        assert_eq!(command_line(), [&long.as_bytes()[..room - 1], b"\0"].concat());
        assert_eq!(std::fs::read_to_string("/proc/self/comm").unwrap(), "xxxxxxxxxxxxxxx\n");
        assert_eq!(std::fs::read("/proc/self/environ").unwrap(), environment);

        assert_eq!(os::set_title("a\0b"), Err(Error::EINVAL));
        assert_eq!(os::set_title(""), Ok(0));
        assert_eq!((os::title(), command_line()), ("".into(), vec![0; room]));
        assert_eq!(std::fs::read_to_string("/proc/self/comm").unwrap(), "\n");
        // The standard library's own reading stays inside the area.
        assert!(std::env::args_os().all(|arg| arg.is_empty()));
    });
}

#[test]
fn a_title_is_cut_where_node_cuts_it() {
    let script = "process.title = 'x'.repeat(5000); process.title.length";
    let Some(length) = node(script) else { return };
    // As much as the arguments `node -p <script>` have room for, with their NULs, but for the last.
    let room: usize = ["node", "-p", script].iter().map(|arg| arg.len() + 1).sum();
    assert_eq!(length, (room - 1).to_string());
}

#[test]
fn a_thread_titles_the_process_and_not_itself() {
    isolated(|| {
        let named = std::thread::Builder::new().name("thread".into()).spawn(|| {
            os::set_title("process").unwrap();
            std::fs::read_to_string("/proc/thread-self/comm").unwrap()
        });
        assert_eq!(named.unwrap().join().unwrap(), "thread\n");
        assert_eq!(std::fs::read_to_string("/proc/self/comm").unwrap(), "process\n");
    });
}

#[test]
fn titles_set_by_many_threads_are_never_mixed() {
    isolated(|| {
        std::thread::scope(|scope| {
            for letter in ["a", "b", "c"] {
                scope.spawn(move || {
                    for n in 1..200 {
                        os::set_title(letter.repeat(n % 30 + 1)).unwrap();
                        let title = os::title().into_string().unwrap();
                        let first = title.chars().next().unwrap();
                        assert!(title.chars().all(|letter| letter == first), "{title}");
                        // Reading the overwritten arguments is harmless.
                        let _ = std::env::args_os().count();
                    }
                });
            }
        });
    });
}

#[test]
fn numbers_of_processes_are_the_shells() {
    assert_eq!(output("sh", &["-c", "echo $PPID"]), os::pid().to_string());
    let Some(parent) = tool("ps", &["-o", "ppid=", "-p", &os::pid().to_string()]) else { return };
    assert_eq!(parent.trim(), os::ppid().to_string());
}

#[test]
fn kill_is_here_too() {
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    assert_eq!(os::kill(pid, 0), Ok(()));
    os::kill(pid, blacklight::signal_number("SIGTERM").unwrap()).unwrap();
    assert!(!child.wait().unwrap().success());
}
