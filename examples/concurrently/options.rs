//! What the arguments say.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;

pub(crate) const USAGE: &str = "\
usage: concurrently [OPTION...] COMMAND...

Runs each COMMAND with `sh -c`, all at once, and puts its name before each line it writes.

  -j, --jobs N       run N commands at a time
  --timeout SECONDS  end a command that runs longer: SIGTERM to its process group
  --grace SECONDS    and SIGKILL that much later (5)
  --names A,B,...    names of the commands, in their order
  --no-color         no colours, even on a terminal (as NO_COLOR does)
  -h, --help         this text";

/// The longest name that is made from a command; one that is given may be longer.
const LONGEST_NAME: usize = 16;

#[derive(Debug)]
pub(crate) struct Options {
    /// Commands that run at a time.
    pub(crate) jobs: usize,
    pub(crate) timeout: Option<Duration>,
    /// Time between SIGTERM and SIGKILL.
    pub(crate) grace: Duration,
    pub(crate) color: bool,
    /// Names and commands, at least one.
    pub(crate) commands: Vec<(String, OsString)>,
}

pub(crate) enum Parsed {
    Run(Options),
    Help,
}

impl Options {
    /// Reads the arguments; the error is a line for the user.
    pub(crate) fn parse(args: impl Iterator<Item = OsString>) -> Result<Parsed, String> {
        let mut args = args.peekable();
        let (mut jobs, mut timeout, mut names) = (usize::MAX, None, Vec::new());
        let mut grace = Duration::from_secs(5);
        let mut color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        // Options come before commands: what follows the first command is a command.
        while let Some(arg) = args.next_if(|arg| arg.as_encoded_bytes().starts_with(b"-")) {
            let text = arg.to_str().ok_or("an option that is not UTF-8")?;
            let (name, attached) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => match text.strip_prefix("-j").filter(|count| !count.is_empty()) {
                    Some(count) => ("-j", Some(count.to_owned())),
                    None => (text, None),
                },
            };
            if attached.is_some() && !TAKING_A_VALUE.contains(&name) {
                return Err(format!("unknown option {text}"));
            }
            let mut value = || {
                let next = || args.next().and_then(|value| value.into_string().ok());
                attached.clone().or_else(next).ok_or_else(|| format!("{name} needs a value"))
            };
            match name {
                "-j" | "--jobs" => jobs = count(&value()?)?,
                "--timeout" => timeout = Some(seconds(&value()?)?),
                "--grace" => grace = seconds(&value()?)?,
                "--names" => names = value()?.split(',').map(str::to_owned).collect(),
                "--no-color" => color = false,
                "-h" | "--help" => return Ok(Parsed::Help),
                "--" => break,
                _ => return Err(format!("unknown option {text}")),
            }
        }
        let commands: Vec<OsString> = args.collect();
        if commands.is_empty() {
            return Err("no command".to_owned());
        }
        if names.len() > commands.len() {
            let (names, commands) = (names.len(), commands.len());
            return Err(format!("{names} names for {commands} commands"));
        }
        let commands = name_all(names, commands);
        Ok(Parsed::Run(Options { jobs, timeout, grace, color, commands }))
    }
}

const TAKING_A_VALUE: [&str; 5] = ["-j", "--jobs", "--timeout", "--grace", "--names"];

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("{text:?} is no number of commands")),
        Ok(count) => Ok(count),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|value| Duration::try_from_secs_f64(value).ok());
    seconds.ok_or_else(|| format!("{text:?} is no number of seconds"))
}

/// Pairs commands with names. One that was not given is made from the command; if several commands
/// would have it, they are numbered.
fn name_all(given: Vec<String>, commands: Vec<OsString>) -> Vec<(String, OsString)> {
    let mut given = given.into_iter();
    let made: Vec<String> = commands.iter().map(|command| program_of(command)).collect();
    let mut named = Vec::with_capacity(commands.len());
    for (index, command) in commands.into_iter().enumerate() {
        let same = |names: &[String]| names.iter().filter(|name| **name == made[index]).count();
        let name = given.next().filter(|name| !name.is_empty()).unwrap_or_else(|| {
            if same(&made) == 1 {
                made[index].clone()
            } else {
                format!("{}-{}", made[index], same(&made[..=index]))
            }
        });
        named.push((name, command));
    }
    named
}

/// The name of the program that a shell command begins with, as far as one can tell.
fn program_of(command: &OsStr) -> String {
    let text = command.to_string_lossy();
    let separates = |c: char| c.is_whitespace() || ";&|()<>".contains(c);
    let first = text.split(separates).find(|word| !word.is_empty()).unwrap_or_default();
    let name = Path::new(first).file_name().map_or("sh".into(), OsStr::to_string_lossy);
    name.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect()
}
