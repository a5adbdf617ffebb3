//! The slots: what a child has under each number.

#![allow(unsafe_code)]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd, OwnedFd};

use blacklight::prelude::*;

use crate::support::process::{Exits, Scratch, collect, new_loop, pipe, run, says, shell};
use crate::support::{isolated, open_fds};

/// The files that a shell has open, by number.
///
/// The folder that the shell reads for `*` is among the names, and is gone when stat looks.
const LIST: &str = "cd /proc/$$/fd; stat -c %N * 2>/dev/null; true";

#[test]
fn the_child_has_the_slots_that_are_listed_and_no_others() {
    isolated(|| {
        let dir = Scratch::new();
        let path = dir.join("file");
        let mut command = shell(LIST);
        command
            .stdio(5, Stdio::write_file(&path))
            .stdio(9, Stdio::null())
            .stdio(7, Stdio::ignore());
        let text = says(command.stderr(Stdio::null()));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "'0' -> '/dev/null'");
        assert!(lines[1].starts_with("'1' -> 'pipe:"), "{text}");
        let file = format!("'5' -> '{}'", path.display());
        assert_eq!(lines[2..], ["'2' -> '/dev/null'", &file, "'9' -> '/dev/null'"]);
    });
}

#[test]
fn a_slot_far_up_is_filled_from_a_number_of_ours() {
    isolated(|| {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"through 63").unwrap();
        drop(writer);
        let reader = OwnedFd::from(reader);
        assert!(reader.as_raw_fd() < 63);
        let mut command = shell("cat /proc/$$/fd/63; echo; stat -c %n /proc/$$/fd/6*");
        let said = says(command.stdio(63, reader));
        assert!(said.starts_with("through 63\n/proc/") && said.ends_with("/fd/63"), "{said}");
    });
}

#[test]
fn descriptors_may_swap_places() {
    isolated(|| {
        // B14: a plan that puts one after the other overwrites a source.
        let dir = Scratch::new();
        let [first, second] = ["first", "second"].map(|name| {
            let file = File::create(dir.join(name)).unwrap();
            OwnedFd::from(file)
        });
        let (a, b) = (first.as_raw_fd(), second.as_raw_fd());
        let mut command = shell(&format!("readlink /proc/$$/fd/{a}; readlink /proc/$$/fd/{b}"));
        // SAFETY: both files stay open until the end of the test.
        unsafe {
            command.stdio(a as u32, Stdio::from_raw_number(b));
            command.stdio(b as u32, Stdio::from_raw_number(a));
        }
        let expected = format!("{}\n{}", dir.join("second").display(), dir.join("first").display());
        assert_eq!(says(&mut command), expected);
        // And the same one to its own number, although it is close-on-exec here.
        let mut command = shell(&format!("readlink /proc/$$/fd/{a}"));
        // SAFETY: as above.
        command.stdio(a as u32, unsafe { Stdio::from_raw_number(a) });
        assert_eq!(says(&mut command), dir.join("first").display().to_string());
        drop((first, second));
    });
}

#[test]
fn one_descriptor_may_fill_many_slots() {
    isolated(|| {
        let (reader, writer) = pipe();
        let mut command = shell("echo one >&1; echo two >&4; echo three >&8");
        command.stdout(Stdio::from_fd(&writer).unwrap());
        command.stdio(4, Stdio::from_fd(&writer).unwrap()).stdio(8, Stdio::same_as(4));
        let lp = new_loop();
        command.spawn(&lp, |_, exit| assert!(exit.success())).unwrap();
        drop((command, writer));
        run(&lp);
        let mut text = String::new();
        File::from(reader).read_to_string(&mut text).unwrap();
        assert_eq!(text, "one\ntwo\nthree\n");
    });
}

#[test]
fn stderr_can_be_the_same_as_stdout_and_keeps_the_order() {
    isolated(|| {
        // DEMANDS 1.25. References may be chained, and go up as well as down.
        let mut command = shell("echo 1; echo 2 >&2; echo 3; echo 4 >&3");
        command.stderr(Stdio::same_as(3)).stdio(3, Stdio::same_as(1));
        assert_eq!(says(&mut command), "1\n2\n3\n4");
    });
}

#[test]
fn ignored_standard_streams_are_the_null_device() {
    isolated(|| {
        let mut command = shell(&format!("exec 4>&1 1>&5; {LIST}"));
        let lp = new_loop();
        let out = Pipe::new(&lp).unwrap();
        command.stdin(Stdio::ignore()).stdout(Stdio::ignore()).stderr(Stdio::ignore());
        command.stdio(5, Stdio::pipe(&out)).spawn(&lp, |_, _| {}).unwrap();
        let text = collect(&out);
        run(&lp);
        let text = text.get();
        for slot in [0, 2, 4] {
            assert!(text.contains(&format!("'{slot}' -> '/dev/null'\n")), "{text}");
        }
    });
}

#[test]
fn null_can_be_read_and_written_in_any_slot() {
    isolated(|| {
        let mut command = shell("echo lost >&6; cat <&6; echo end");
        assert_eq!(says(command.stdio(6, Stdio::null())), "end");
    });
}

#[test]
fn files_are_read_written_and_appended_to() {
    isolated(|| {
        let dir = Scratch::new();
        let (input, out, log) = (dir.join("in"), dir.join("out"), dir.join("log"));
        std::fs::write(&input, "input").unwrap();
        std::fs::write(&out, "much longer than what follows").unwrap();
        std::fs::write(&log, "old ").unwrap();
        let lp = new_loop();
        let mut command = Command::new("sh");
        command.args(["-c", "cat; printf new >&2"]).stdin(Stdio::read_file(&input));
        command.stdout(Stdio::write_file(&out)).stderr(Stdio::append_file(&log));
        for _ in 0..2 {
            command.spawn(&lp, |_, exit| assert!(exit.success())).unwrap();
            run(&lp);
        }
        assert_eq!(std::fs::read_to_string(&out).unwrap(), "input");
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "old newnew");
    });
}

#[test]
fn a_file_may_be_opened_with_flags_of_ones_own() {
    isolated(|| {
        let dir = Scratch::new();
        let path = dir.join("new");
        let lp = new_loop();
        let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
        let mut command = shell("echo text >&4");
        command.stdio(4, Stdio::open(&path, flags, 0o600));
        command.spawn(&lp, |_, exit| assert!(exit.success())).unwrap();
        run(&lp);
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = command.spawn(&lp, |_, _| {}).unwrap_err();
        assert_eq!(error.to_string(), "open for slot 4: EEXIST: file already exists");
    });
}

#[test]
fn pipes_go_each_way_and_sockets_both() {
    isolated(|| {
        let lp = new_loop();
        let [stdin, out, up, both, socket] = [0; 5].map(|_| Pipe::new(&lp).unwrap());
        let script = "readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/4 /proc/$$/fd/5 \
                      /proc/$$/fd/6 | cut -d : -f 1; cat; cat <&4; read line <&5; echo $line >&5";
        let exits = Exits::new();
        Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::pipe(&stdin))
            .stdout(Stdio::pipe(&out))
            .stdio(4, Stdio::pipe(&up).child_reads())
            .stdio(5, Stdio::pipe(&both).duplex())
            .stdio(6, Stdio::pipe(&socket).socket())
            .spawn(&lp, exits.note())
            .unwrap();
        assert_eq!((stdin.is_readable(), stdin.is_writable()), (false, true));
        assert_eq!((out.is_readable(), out.is_writable()), (true, false));
        assert_eq!((up.is_readable(), up.is_writable()), (false, true));
        assert_eq!((both.is_readable(), both.is_writable()), (true, true));
        assert_eq!((socket.is_readable(), socket.is_writable()), (true, false));
        for (pipe, text) in [(&stdin, "to stdin\n"), (&up, "to four\n")] {
            pipe.write_and_forget(text).unwrap();
            pipe.shutdown(|pipe, _| pipe.close()).unwrap();
        }
        both.write_and_forget("there and back\n").unwrap();
        let texts = [&out, &both, &socket].map(collect);
        run(&lp);
        assert!(exits.one().success());
        let [out, both, socket] = texts.map(|text| text.get());
        assert_eq!(out, "pipe\npipe\npipe\nsocket\nsocket\nto stdin\nto four\n");
        assert_eq!((both.as_str(), socket.as_str()), ("there and back\n", ""));
    });
}

#[test]
fn a_stream_of_the_loop_can_be_inherited() {
    isolated(|| {
        let lp = new_loop();
        let (ours, theirs) = Pipe::pair(&lp).unwrap();
        let flags = |pipe: &Pipe| {
            // SAFETY: asks for flags of a number that the pipe keeps open.
            unsafe { libc::fcntl(pipe.fileno().unwrap(), libc::F_GETFL) }
        };
        let before = flags(&theirs);
        assert_ne!(before & libc::O_NONBLOCK, 0);
        let mut command = shell("grep flags: /proc/$$/fdinfo/4; echo hello >&4");
        command.stdio(4, Stdio::stream(&theirs));
        let (text, exit) = crate::support::process::output(&lp, &mut command);
        assert!(exit.success());
        // As it is: non-blocking here, and so there, since it is one description (B16).
        let told = i32::from_str_radix(text.trim().rsplit('\t').next().unwrap(), 8).unwrap();
        assert_ne!(told & libc::O_NONBLOCK, 0, "{text}");
        assert_eq!(flags(&theirs), before);
        // Blocking on request, which everyone sees.
        command.stdio(4, Stdio::stream(&theirs).blocking(true));
        let (text, _) = crate::support::process::output(&lp, &mut command);
        let told = i32::from_str_radix(text.trim().rsplit('\t').next().unwrap(), 8).unwrap();
        assert_eq!(told & libc::O_NONBLOCK, 0, "{text}");
        assert_eq!(flags(&theirs), before & !libc::O_NONBLOCK);
        theirs.close();
        let text = collect(&ours);
        run(&lp);
        assert_eq!(text.get(), "hello\nhello\n");
    });
}

#[test]
fn three_hundred_slots_are_filled() {
    isolated(|| {
        let lp = new_loop();
        let before = open_fds().len();
        let pipes: Vec<Pipe> = (0..300).map(|_| Pipe::new(&lp).unwrap()).collect();
        let mut command = Command::new("sh");
        let script = "i=1; while [ $i -lt 300 ]; do echo $i >/proc/$$/fd/$i; i=$((i+1)); done; cat";
        command.args(["-c", script]);
        for (slot, pipe) in (0..).zip(&pipes) {
            command.stdio(slot, Stdio::pipe(pipe));
        }
        let exits = Exits::new();
        command.spawn(&lp, exits.note()).unwrap();
        pipes[0].write_and_forget("last words\n").unwrap();
        pipes[0].close();
        let texts: Vec<_> = pipes[1..].iter().map(collect).collect();
        run(&lp);
        assert!(exits.one().success());
        for (slot, text) in (1..).zip(&texts) {
            let more = if slot == 1 { "last words\n" } else { "" };
            assert_eq!(text.get(), format!("{slot}\n{more}"));
        }
        // What the crate keeps for good is a handful, whatever was spawned.
        assert!(open_fds().len() <= before + 12, "{:?}", open_fds());
    });
}

#[test]
fn the_childs_end_is_closed_here_once_the_child_runs() {
    isolated(|| {
        // B15 and the end of file: if our copy stayed open, the pipe would never end.
        let lp = new_loop();
        let (out, done) = (Pipe::new(&lp).unwrap(), Pipe::new(&lp).unwrap());
        let mut command = shell("exec 1>&-; read line <&4; true");
        command.stdout(Stdio::pipe(&out)).stdio(4, Stdio::pipe(&done).child_reads());
        let exits = Exits::new();
        command.spawn(&lp, exits.note()).unwrap();
        out.read_start(move |out, read| {
            assert_eq!(read, Read::Eof);
            out.close();
            done.close();
        })
        .unwrap();
        run(&lp);
        assert!(exits.one().success());
    });
}
