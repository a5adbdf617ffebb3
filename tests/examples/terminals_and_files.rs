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
