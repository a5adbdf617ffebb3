//! What `concurrently` shows on a terminal, which script(1) makes for it.

use std::path::Path;

use super::program::{Folder, Program, path_of};

const CYAN: &str = "\x1b[36m";
const ERASE: &str = "\r\x1b[K";

/// Runs the tool on a terminal; `None` if there is no script(1) to make one.
fn on_a_terminal(setting: (&str, &str), args: &str) -> Option<(Option<i32>, String)> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|folder| Path::new(&folder).join("script").exists()) {
        eprintln!("not tested: script(1) is not installed");
        return None;
    }
    let tool = format!("'{}' {args}", path_of("concurrently").display());
    let program = Program::new(blacklight::Command::new("script")).env(setting.0, setting.1);
    let ended = program.args(["-qec", &tool, "/dev/null"]).run();
    Some((ended.code(), ended.text()))
}

#[test]
fn a_terminal_gets_colours_and_a_status_line() {
    let folder = Folder::new("terminal");
    let pid = folder.join("pid");
    // The first ends when the second has been waited for.
    let first = format!(
        "echo hello; until [ -e {pid} ]; do sleep 0.01; done; \
         while kill -0 $(cat {pid}) 2>&-; do sleep 0.01; done"
    );
    let second = format!("echo $$ > {pid}.new; mv {pid}.new {pid}; exit 3");
    let args = format!("--names a,b '{first}' '{second}'");
    let Some((code, text)) = on_a_terminal(("NO_COLOR", ""), &args) else { return };
    assert_eq!(code, Some(3));
    assert!(text.contains(&format!("{CYAN}a |\x1b[0m hello\r\n")), "{text:?}");
    assert!(text.contains("2 running, 0 done, 0 failed, 0 waiting, "), "{text:?}");
    assert!(text.contains("1 running, 0 done, 1 failed, 0 waiting, "), "{text:?}");
    // Whatever follows a status line begins with its end.
    for part in text.split(" waiting, ").skip(1) {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        assert!(rest.starts_with(&format!(" s{ERASE}")), "{text:?}");
    }
}

#[test]
fn colours_can_be_turned_off() {
    let cases =
        [(("NO_COLOR", "1"), "'echo hello'"), (("NO_COLOR", ""), "--no-color 'echo hello'")];
    for (setting, args) in cases {
        let Some((_, text)) = on_a_terminal(setting, args) else { return };
        assert!(text.contains("echo | hello\r\n"), "{text:?}");
        assert!(!text.contains("\x1b[3"), "{text:?}");
    }
}

#[test]
fn what_is_no_terminal_gets_neither() {
    let ended = Program::example("concurrently").args(["echo hello"]).run();
    assert_eq!(ended.text(), "echo | hello\n");
    assert!(
        !ended.stderr.contains("running") && !ended.stderr.contains('\x1b'),
        "{}",
        ended.stderr
    );
}
