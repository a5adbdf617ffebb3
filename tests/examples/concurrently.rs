//! What `concurrently` makes of the output of its commands, and in which order it runs them.

use super::program::{Ended, Folder, Program};
use blacklight::Stdio;

fn concurrently<'a>(args: impl IntoIterator<Item = &'a str>) -> Ended {
    Program::example("concurrently").args(args).run()
}

#[test]
fn each_line_has_the_name_of_its_command() {
    let commands = ["echo one; echo two", "echo three; echo four >&2"];
    let ended = concurrently(["--names", "a,bcd"].into_iter().chain(commands));
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert_eq!(ended.lines_of("a  "), ["| one", "| two"]);
    let mut lines = ended.lines_of("bcd");
    lines.sort();
    assert_eq!(lines, ["! four", "| three"]);
}

#[test]
fn names_come_from_the_commands_if_not_given() {
    let ended = concurrently(["/bin/echo 1", "echo 2", "printf 3", "  "]);
    for (name, line) in [("echo-1", "| 1"), ("echo-2", "| 2"), ("printf", "| 3")] {
        assert_eq!(ended.lines_of(name), [line]);
    }
    assert_eq!(ended.row("sh")[1], "0");
}

#[test]
fn a_line_is_not_torn_by_another_command_s() {
    let folder = Folder::new("torn");
    let (begun, between) = (folder.join("begun"), folder.join("between"));
    let fifos = Program::new(blacklight::Command::new("mkfifo")).args([&begun, &between]).run();
    assert!(fifos.exit.success());
    let first = format!("printf he; echo > {begun}; read go < {between}; echo llo");
    let second = format!("read go < {begun}; echo words; echo > {between}");
    let ended = concurrently(["--names", "a,b", &first, &second]);
    // Both may be there by the time that the tool looks; then the order is its own.
    let text = ended.text();
    assert!(["b | words\na | hello\n", "a | hello\nb | words\n"].contains(&&*text), "{text}");
}

#[test]
fn a_last_line_without_an_end_gets_one() {
    assert_eq!(concurrently(["printf 'a\\nb'"]).text(), "printf | a\nprintf | b\n");
}

#[test]
fn bytes_that_are_not_text_pass_unchanged() {
    let ended = concurrently(["printf '\\377\\000\\200\\r\\n'"]);
    assert_eq!(ended.stdout, b"printf | \xff\0\x80\r\n");
}

#[test]
fn a_very_long_line_is_passed_in_pieces() {
    let ended =
        concurrently(["--names", "x", "head -c 40000 /dev/zero | tr '\\0' y; echo; echo z"]);
    let pieces: Vec<_> = ended.lines_of("x").iter().map(|l| (l[..2].to_owned(), l.len())).collect();
    let expected = [("| ", 16386), ("+ ", 16386), ("+ ", 7234), ("| ", 3)];
    assert_eq!(pieces, expected.map(|(mark, length)| (mark.to_owned(), length)));
}

#[test]
fn ten_megabytes_arrive_intact() {
    let last = 1_450_000;
    let ended = concurrently(["--names", "n", &format!("seq 1 {last}")]);
    let expected: String = (1..=last).map(|n| format!("n | {n}\n")).collect();
    assert!(expected.len() > 10 << 20);
    assert!(ended.text() == expected, "{} bytes", ended.stdout.len());
}

#[test]
fn a_reader_that_is_slow_makes_commands_wait() {
    let (lines, text) = (64_000, "0123456789".repeat(100));
    let command = format!("yes {text} | head -n {lines}");
    let ended = Program::example("concurrently").args([&command]).read_after(300).run();
    let expected = format!("yes | {text}\n").into_bytes();
    assert_eq!(ended.stdout.len(), lines * expected.len());
    assert!(ended.stdout.chunks(expected.len()).all(|line| line == expected));
    let memory = ended.exit.usage.expect("we have waited for it").max_rss;
    assert!(memory < 24 << 20, "{memory} bytes for output that nobody had read yet");
}

#[test]
fn a_regular_file_takes_all_the_output() {
    let folder = Folder::new("file");
    let path = folder.join("out");
    let script = format!("{} 'seq 1 100000' > {path}", tool());
    let ended = Program::new(blacklight::Command::new("sh")).args(["-c", &script]).run();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text == (1..=100_000).map(|n| format!("seq | {n}\n")).collect::<String>());
}

#[test]
fn commands_run_one_at_a_time_in_their_order() {
    let folder = Folder::new("order");
    let lock = folder.join("lock");
    // Each of them fails if another one is there.
    let commands: Vec<_> =
        (1..=5).map(|n| format!("mkdir {lock} && echo {n} && rmdir {lock}")).collect();
    let ended = concurrently(
        ["-j", "1", "--names", "a,b,c,d,e"].into_iter().chain(commands.iter().map(String::as_str)),
    );
    assert_eq!(ended.text(), "a | 1\nb | 2\nc | 3\nd | 4\ne | 5\n");
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
}

#[test]
fn commands_run_together_unless_told_otherwise() {
    let folder = Folder::new("together");
    let fifo = folder.join("fifo");
    let made = Program::new(blacklight::Command::new("mkfifo")).args([&fifo]).run();
    assert!(made.exit.success());
    // Each waits for the other.
    let ended = concurrently([&*format!("echo hello > {fifo}"), &format!("cat {fifo}")]);
    assert_eq!(ended.text(), "cat  | hello\n");
}

#[test]
fn commands_have_nothing_to_read() {
    let mut command = blacklight::Command::new(super::program::path_of("concurrently"));
    command.stdin(Stdio::null());
    assert_eq!(
        Program::new(command).args(["cat; echo end"]).input("x").run().text(),
        "cat | end\n"
    );
}

#[test]
fn bad_arguments_are_explained() {
    let cases: [(&[&str], &str); 7] = [
        (&[], "no command"),
        (&["-j", "0", "true"], "\"0\" is no number of commands"),
        (&["--timeout"], "--timeout needs a value"),
        (&["--timeout", "soon", "true"], "\"soon\" is no number of seconds"),
        (&["--names", "a,b", "true"], "2 names for 1 commands"),
        (&["--no-color=x", "true"], "unknown option --no-color=x"),
        (&["--sideways", "true"], "unknown option --sideways"),
    ];
    for (args, message) in cases {
        let ended = concurrently(args.iter().copied());
        assert_eq!(ended.code(), Some(2), "{args:?}");
        assert!(ended.stderr.contains(message), "{args:?}: {}", ended.stderr);
    }
    assert!(concurrently(["--help"]).text().starts_with("usage: concurrently"));
}

fn tool() -> String {
    let path = super::program::path_of("concurrently");
    format!("'{}'", path.to_str().expect("a path in UTF-8"))
}
