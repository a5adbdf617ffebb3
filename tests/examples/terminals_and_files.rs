//! The examples `pty_shell` and `tee`.

use super::program::{Folder, Program};

#[test]
fn a_shell_in_a_terminal_of_its_own() {
    let script = "tty | sed 's/[0-9]*$/N/'; stty size; read line; echo \"<$line>\"; exit 5";
    let ended = Program::example("pty_shell")
        .env("SHELL", "/bin/sh")
        .args(["-c", script])
        .input("hello\n")
        .run();
    assert_eq!(ended.code(), Some(5), "{}", ended.stderr);
    let text = ended.text();
    // The echo of what was typed may come at any point before it is read.
    let lines: Vec<&str> = text.lines().filter(|line| *line != "hello").collect();
    assert_eq!(lines, ["/dev/pts/N", "24 80", "<hello>"], "{text:?}");
}

#[test]
fn the_end_of_the_input_is_the_end_of_the_shell() {
    let ended = Program::example("pty_shell")
        .env("SHELL", "/bin/sh")
        .args(["-c", "stty -echo; echo ready; cat; echo end"])
        .input("one\ntwo\n")
        .run();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert!(ended.text().ends_with("one\r\ntwo\r\nend\r\n"), "{:?}", ended.text());
}

#[test]
fn tee_copies_its_input_to_every_file() {
    let folder = Folder::new("tee");
    let (one, two) = (folder.join("one"), folder.join("two"));
    std::fs::write(&two, "before\n").unwrap();
    let input: String = (0..100_000).map(|n| format!("line {n}\n")).collect();
    let ended = Program::example("tee").args([&one]).input(&input).read_after(20).run();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert!(ended.text() == input, "{} bytes", ended.stdout.len());
    assert!(std::fs::read_to_string(&one).unwrap() == input);
    let ended = Program::example("tee").args(["-a", &*two, &*one]).input("after\n").run();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert_eq!(std::fs::read_to_string(&two).unwrap(), "before\nafter\n");
    assert!(std::fs::read_to_string(&one).unwrap().ends_with("line 99999\nafter\n"));
}

#[test]
fn tee_goes_on_without_a_file_that_it_cannot_write() {
    let folder = Folder::new("tee-fails");
    let (good, bad) = (folder.join("good"), folder.join("no/such"));
    let ended = Program::example("tee").args([&bad, "/dev/full", &good]).input("text").run();
    assert_eq!(ended.code(), Some(1));
    assert_eq!(ended.text(), "text");
    assert_eq!(std::fs::read_to_string(&good).unwrap(), "text");
    assert!(ended.stderr.contains(&bad) && ended.stderr.contains("/dev/full"), "{}", ended.stderr);
}

#[test]
fn tee_reads_files_and_writes_files() {
    let folder = Folder::new("tee-files");
    let (from, to, copy) = (folder.join("from"), folder.join("to"), folder.join("copy"));
    let text = "x".repeat(200_000);
    std::fs::write(&from, &text).unwrap();
    let script =
        format!("'{}' '{copy}' < '{from}' > '{to}'", super::program::path_of("tee").display());
    let mut command = blacklight::Command::new("sh");
    command.args(["-c", &script]);
    let ended = Program::new(command).run();
    assert_eq!((ended.code(), &*ended.stderr), (Some(0), ""));
    assert!(std::fs::read_to_string(&to).unwrap() == text);
    assert!(std::fs::read_to_string(&copy).unwrap() == text);
}

#[test]
fn watch_tells_of_changes_and_runs_a_command_once_they_have_come_to_rest() {
    let folder = Folder::new("watch");
    let path = folder.join("");
    let (made, ended) = (std::cell::Cell::new(false), std::cell::Cell::new(false));
    let program = Program::example("watch").args(["-r", &*path, "--", "echo", "built"]);
    let changed = path.clone();
    let result = program.watch(move |program| {
        if program.has_said("watching") && !made.replace(true) {
            std::fs::create_dir(format!("{changed}dir")).unwrap();
            std::fs::write(format!("{changed}dir/file"), "text").unwrap();
            std::fs::rename(format!("{changed}dir/file"), format!("{changed}name")).unwrap();
        }
        if program.has_said("built\nexit code 0\n") && !ended.replace(true) {
            program.process.kill(libc::SIGTERM).unwrap();
        }
    });
    assert_eq!(result.code(), Some(0), "{}", result.stderr);
    let text = result.text();
    assert!(text.contains("dir is new"), "{text}");
    // Whether the move is seen as one depends on when the directory was looked into.
    assert!(text.contains("name is new") || text.contains("dir/file is now name"), "{text}");
    assert_eq!(text.matches("built").count(), 1, "{text}");
}

#[test]
fn watch_ends_when_what_it_watches_is_gone() {
    let folder = Folder::new("watch-gone");
    let file = folder.join("file");
    std::fs::write(&file, "").unwrap();
    let (removed, path) = (std::cell::Cell::new(false), file.clone());
    let ended = Program::example("watch").args([&file]).watch(move |program| {
        if program.has_said("watching") && !removed.replace(true) {
            std::fs::remove_file(&path).unwrap();
        }
    });
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert!(ended.text().contains("file: Gone"), "{}", ended.text());
    let ended = Program::example("watch").args([&file]).run();
    assert_eq!(ended.code(), Some(1));
    assert!(ended.stderr.contains("ENOENT"), "{}", ended.stderr);
}
