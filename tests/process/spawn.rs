//! What is executed: program, arguments, environment, directory.

use std::ffi::CString;
use std::fs::File;

use blacklight::prelude::*;
use blacklight::{Error, SpawnStep};

use crate::support::process::{Scratch, new_loop, output, run, says, shell};
use crate::support::{Log, children, isolated};

#[test]
fn the_program_of_the_design_works() {
    isolated(|| {
        let dir = Scratch::new();
        std::fs::write(dir.join("a file"), "content").unwrap();
        let lp = new_loop();
        let log = Log::new();
        let out = Pipe::new(&lp).unwrap();
        let ended = log.clone();
        let process = Command::new("ls")
            .arg("-l")
            .current_dir(dir.path())
            .stdout(Stdio::pipe(&out))
            .spawn(&lp, move |p, exit| ended.add(format!("{} ended: {exit}", p.pid())))
            .unwrap();
        let text = log.clone();
        out.read_start(move |out, read| match read {
            Read::Data(bytes) => text.add(String::from_utf8_lossy(bytes)),
            Read::Eof => out.close(),
            Read::Error(error) => panic!("{error}"),
        })
        .unwrap();
        assert!(log.take().is_empty(), "nothing is called before the loop runs");
        run(&lp);
        let lines = log.take();
        assert_eq!(lines.len(), 2, "{lines:?}");
        let ended = format!("{} ended: exit code 0", process.pid());
        assert!(lines.contains(&ended), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("a file")), "{lines:?}");
        assert!(!process.is_active() && !out.is_active());
        assert!(children().is_empty());
    });
}

#[test]
fn arguments_reach_the_program_as_they_are() {
    isolated(|| {
        let mut command = Command::new("printf");
        command.args(["[%s]", "", " two  words ", "$HOME", "a\nb", "'\"\\", "-n"]);
        assert_eq!(says(&mut command), "[][ two  words ][$HOME][a\nb]['\"\\][-n]");
    });
}

#[test]
fn bytes_that_are_not_utf8_survive() {
    isolated(|| {
        use std::os::unix::ffi::OsStrExt;
        let lp = new_loop();
        let odd = std::ffi::OsStr::from_bytes(&[0xff, 0x01, 0x80]);
        let out = Pipe::new(&lp).unwrap();
        let mut command = shell("printf %s \"$1\"; printf %s \"$ODD\"");
        command.args(["sh".as_ref(), odd]).env("ODD", odd).stdout(Stdio::pipe(&out));
        command.spawn(&lp, |_, exit| assert!(exit.success())).unwrap();
        let text = crate::support::process::collect(&out);
        run(&lp);
        assert_eq!(text.bytes(), [0xff, 0x01, 0x80, 0xff, 0x01, 0x80]);
    });
}

#[test]
fn the_zeroth_argument_is_the_name_unless_it_is_set() {
    isolated(|| {
        let name = says(&mut shell("tr '\\0' ' ' </proc/$$/cmdline"));
        assert!(name.starts_with("sh -c "), "{name}");
        let name = says(shell("tr '\\0' ' ' </proc/$$/cmdline").arg0("-another name"));
        assert!(name.starts_with("-another name -c "), "{name}");
    });
}

#[test]
fn the_environment_is_inherited_with_changes() {
    isolated(|| {
        // SAFETY: this process runs one test on one thread.
        #[allow(unsafe_code)]
        unsafe {
            std::env::set_var("KEPT", "kept");
            std::env::set_var("GONE", "gone");
            std::env::set_var("CHANGED", "before");
        }
        let script = "echo $KEPT ${GONE-nothing} $CHANGED $NEW";
        assert_eq!(says(&mut shell(script)), "kept gone before");
        let mut command = shell(script);
        command.env("CHANGED", "after").env_remove("GONE").envs([("NEW", "new"), ("NEW", "newer")]);
        assert_eq!(says(&mut command), "kept nothing after newer");
        // The command changes nothing here, and can be used again.
        assert_eq!(std::env::var("CHANGED").unwrap(), "before");
        assert_eq!(says(&mut command), "kept nothing after newer");
    });
}

#[test]
fn a_cleared_environment_holds_what_was_set_since() {
    isolated(|| {
        let mut command = Command::new("/usr/bin/env");
        command.env("BEFORE", "1").env_clear().env("B", "2").env("A", "1=1");
        assert_eq!(says(&mut command), "A=1=1\nB=2");
        assert_eq!(says(Command::new("/usr/bin/env").env_clear()), "");
        assert_eq!(says(Command::new("/usr/bin/env").env_clear().env("EMPTY", "")), "EMPTY=");
    });
}

#[test]
fn a_command_that_is_changed_after_a_spawn_is_spawned_as_changed() {
    isolated(|| {
        let lp = new_loop();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo $0 $*; env | grep -v PWD= | sort", "a"]).env_clear();
        let mut says = |change: fn(&mut Command) -> &mut Command| {
            change(&mut command);
            output(&lp, &mut command).0
        };
        let before = says(|command| command);
        assert!(before.starts_with("a\n") && !before.contains("A="), "{before}");
        assert_eq!(says(|command| command), before);
        assert!(says(|command| command.arg("b")).starts_with("a b\n"));
        assert!(says(|command| command.args(["c", "d"])).starts_with("a b c d\n"));
        assert!(says(|command| command.env("A", "1")).contains("A=1\n"));
        assert!(says(|command| command.env("A", "2")).contains("A=2\n"));
        assert!(!says(|command| command.env_remove("A")).contains("A="));
        assert!(says(|command| command.env_block([c"B=1".to_owned()])).contains("B=1\n"));
        assert!(says(|command| command.env_block([c"B=2".to_owned()])).contains("B=2\n"));
        assert!(!says(|command| command.env_clear()).contains("B="));
    });
}

#[test]
fn an_environment_block_is_handed_on_word_for_word() {
    isolated(|| {
        let strings = ["B=2", "A=1", "B=3", "no equals sign", "=odd", ""];
        let mut command = Command::new("/bin/cat");
        command.arg("/proc/self/environ");
        command.env_block(strings.map(|s| CString::new(s).unwrap()));
        let lp = new_loop();
        let (text, exit) = output(&lp, &mut command);
        assert!(exit.success());
        assert_eq!(text, strings.map(|s| format!("{s}\0")).concat());
        // Changes begin anew after a block.
        command.env("AFTER", "1");
        let (text, _) = output(&lp, &mut command);
        assert!(text.contains("AFTER=1\0") && text.contains("PATH=") && !text.contains("=odd"));
    });
}

#[test]
fn the_program_is_looked_for_in_the_path_of_the_childs_environment() {
    isolated(|| {
        let (one, other) = (Scratch::new(), Scratch::new());
        one.program("a-tool", "#!/bin/sh\necho one\n");
        other.program("a-tool", "#!/bin/sh\necho other\n");
        let path = format!("/nonexistent:{}:{}", other.path().display(), one.path().display());
        assert_eq!(says(Command::new("a-tool").env("PATH", path)), "other");
        // SAFETY: this process runs one test on one thread.
        #[allow(unsafe_code)]
        unsafe {
            std::env::set_var("PATH", one.path());
        }
        assert_eq!(says(&mut Command::new("a-tool")), "one", "its environment is ours by default");
        let lp = new_loop();
        let error = Command::new("a-tool").env("PATH", "/nonexistent").spawn(&lp, |_, _| {});
        let error = error.unwrap_err();
        assert_eq!((error.step(), error.error()), (SpawnStep::Exec, Error::ENOENT));
        // Without a PATH the child's default holds, not the PATH of this process.
        assert_eq!(says(Command::new("echo").arg("found").env_clear()), "found");
        assert!(Command::new("a-tool").env_clear().spawn(&lp, |_, _| {}).is_err());
    });
}

#[test]
fn the_working_directory_is_the_childs_alone() {
    isolated(|| {
        let dir = Scratch::new();
        let before = std::env::current_dir().unwrap();
        let mut command = Command::new("pwd");
        command.arg("-P").current_dir(dir.path());
        assert_eq!(says(&mut command), dir.path().to_str().unwrap());
        assert_eq!(std::env::current_dir().unwrap(), before);
    });
}

#[test]
fn a_relative_program_and_path_are_relative_to_the_childs_directory() {
    isolated(|| {
        let dir = Scratch::new();
        std::fs::create_dir(dir.join("bin")).unwrap();
        dir.program("bin/a-tool", "#!/bin/sh\necho \"$0\"\n");
        let mut command = Command::new("bin/a-tool");
        command.current_dir(dir.path());
        assert_eq!(says(&mut command), "bin/a-tool");
        let mut command = Command::new("a-tool");
        command.current_dir(dir.path()).env("PATH", "bin:/bin:/usr/bin");
        assert_eq!(says(&mut command), "bin/a-tool");
        // A file to read is opened by this process and so is relative to its directory.
        std::env::set_current_dir(dir.path()).unwrap();
        std::fs::write("input", "from here").unwrap();
        let mut command = Command::new("cat");
        command.current_dir("/").stdin(Stdio::read_file("input"));
        assert_eq!(says(&mut command), "from here");
    });
}

#[test]
fn an_open_file_can_be_the_program() {
    isolated(|| {
        let shell = File::open("/bin/sh").unwrap();
        let mut command = Command::from_fd(shell, "sh by number");
        // The descriptor of the program does not reach the child.
        command.args(["-c", "tr '\\0' ' ' </proc/$$/cmdline | cut -c 1-12; ls /proc/$$/fd"]);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        assert_eq!(says(&mut command), "sh by number\n0\n1\n2");
        assert!(says(&mut command).starts_with("sh by number"), "it can be spawned again");
    });
}

#[test]
fn a_script_by_descriptor_is_an_error_that_says_so() {
    isolated(|| {
        let dir = Scratch::new();
        let script = File::open(dir.program("script", "#!/bin/sh\ntrue\n")).unwrap();
        let error = Command::from_fd(script, "x").spawn(&new_loop(), |_, _| {}).unwrap_err();
        assert_eq!((error.step(), error.error()), (SpawnStep::Exec, Error::ENOENT));
    });
}

#[test]
fn a_script_without_an_interpreter_line_is_the_shells() {
    isolated(|| {
        let dir = Scratch::new();
        let path = dir.program("script", "echo \"$0 $1\"\n");
        let said = says(Command::new(&path).arg("argument"));
        assert_eq!(said, format!("{} argument", path.display()));
    });
}

#[test]
fn a_detached_child_leads_a_session() {
    isolated(|| {
        // proc_pid_stat(5): pid, name, state, parent, group, session.
        let script = "cut -d ' ' -f 1,5,6 /proc/$$/stat";
        let detached = says(shell(script).detached(true));
        let numbers: Vec<&str> = detached.split(' ').collect();
        assert!(numbers[0] == numbers[1] && numbers[1] == numbers[2], "{detached}");
        let plain = says(shell(script).detached(true).detached(false));
        let numbers: Vec<&str> = plain.split(' ').collect();
        assert!(numbers[0] != numbers[1] && numbers[0] != numbers[2], "{plain}");
    });
}

#[test]
fn one_command_can_be_spawned_many_times() {
    isolated(|| {
        let lp = new_loop();
        let exits = crate::support::process::Exits::new();
        let mut command = shell("exit 5");
        command.stdout(Stdio::null());
        let pids: Vec<i32> =
            (0..10).map(|_| command.spawn(&lp, exits.note()).unwrap().pid()).collect();
        run(&lp);
        let mut reported: Vec<i32> = exits.get().iter().map(|(pid, _)| *pid).collect();
        reported.sort_unstable();
        let mut expected = pids.clone();
        expected.sort_unstable();
        assert_eq!(reported, expected);
        assert!(exits.get().iter().all(|(_, exit)| exit.code() == Some(5)));
    });
}

#[test]
fn the_metrics_say_which_path_was_taken() {
    isolated(|| {
        let lp = new_loop();
        Command::new("true").spawn(&lp, |_, _| {}).unwrap();
        run(&lp);
        let metrics = lp.metrics();
        let by_path = [
            (blacklight::SpawnPath::SharedMemory, metrics.spawned_shared_memory),
            (blacklight::SpawnPath::VforkPage, metrics.spawned_vfork_page),
            (blacklight::SpawnPath::Fork, metrics.spawned_fork),
        ];
        assert_eq!(by_path.iter().map(|(_, count)| count).sum::<u64>(), 1);
        if let Some((_, count)) = by_path.iter().find(|(path, _)| *path == lp.options().spawn_path)
        {
            assert_eq!(*count, 1, "{metrics:?}");
        }
        let defaults = blacklight::Options::default();
        if lp.options() == defaults && crate::support::process::kernel_is(5, 9) {
            // Never a silent fall-back (DEMANDS 1.1).
            assert_eq!((metrics.spawned_shared_memory, metrics.spawn_fallbacks), (1, 0));
        }
    });
}
