//! One case of the table: a call that can be made here and, told as JSON, in Node.
//!
//! The same description makes both calls, and both outcomes take the same shape, so that a
//! difference is one of behaviour.

use std::ffi::OsStr;
use std::os::fd::{BorrowedFd, RawFd};

use blacklight::child_process::{Shell, SyncOptions, SyncResult, SyncStdio, spawn_sync};
use blacklight::{Command, Stdio, signal_name};
use serde_json::{Value, json};

/// What fills a slot, in the words that both sides have.
#[derive(Clone, Copy, PartialEq)]
pub enum Slot {
    Pipe,
    Ignore,
    Inherit,
    /// A descriptor of the calling process by its number.
    Number(RawFd),
}

/// How outcomes may differ.
#[derive(Clone, Copy, PartialEq)]
pub enum Same {
    /// In nothing.
    All,
    /// In how much of the output was read before the child was killed.
    AllButLengths,
    /// Node throws this before it spawns; here it is an error of the spawn with that name.
    Thrown(&'static str, &'static str),
}

#[derive(Clone)]
pub struct Case {
    pub name: &'static str,
    pub same: Same,
    file: String,
    args: Vec<String>,
    argv0: Option<&'static str>,
    input: Option<Vec<u8>>,
    timeout: Option<u64>,
    kill_signal: Option<i32>,
    max_buffer: Option<usize>,
    stdio: Option<Vec<Slot>>,
    cwd: Option<String>,
    env: Option<Vec<(&'static str, String)>>,
    ids: [Option<u32>; 2],
    detached: bool,
    shell: Option<&'static str>,
}

impl Case {
    pub fn new(name: &'static str, file: impl Into<String>, args: &[&str]) -> Case {
        Case {
            name,
            same: Same::All,
            file: file.into(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            argv0: None,
            input: None,
            timeout: None,
            kill_signal: None,
            max_buffer: None,
            stdio: None,
            cwd: None,
            env: None,
            ids: [None, None],
            detached: false,
            shell: None,
        }
    }

    pub fn sh(name: &'static str, script: &str) -> Case {
        Case::new(name, "sh", &["-c", script])
    }

    /// The text in a shell; an empty name is the default one.
    pub fn in_shell(name: &'static str, shell: &'static str, text: &str) -> Case {
        Case { shell: Some(shell), ..Case::new(name, text, &[]) }
    }

    pub fn same(self, same: Same) -> Case {
        Case { same, ..self }
    }

    pub fn argv0(self, argv0: &'static str) -> Case {
        Case { argv0: Some(argv0), ..self }
    }

    pub fn input(self, input: impl Into<Vec<u8>>) -> Case {
        Case { input: Some(input.into()), ..self }
    }

    pub fn timeout(self, milliseconds: u64) -> Case {
        Case { timeout: Some(milliseconds), ..self }
    }

    pub fn kill_signal(self, signum: i32) -> Case {
        Case { kill_signal: Some(signum), ..self }
    }

    pub fn max_buffer(self, bytes: usize) -> Case {
        Case { max_buffer: Some(bytes), ..self }
    }

    pub fn stdio(self, slots: &[Slot]) -> Case {
        Case { stdio: Some(slots.to_vec()), ..self }
    }

    pub fn cwd(self, dir: impl Into<String>) -> Case {
        Case { cwd: Some(dir.into()), ..self }
    }

    pub fn env(self, variables: &[(&'static str, &str)]) -> Case {
        let owned = |(key, value): &(&'static str, &str)| (*key, (*value).to_owned());
        Case { env: Some(variables.iter().map(owned).collect()), ..self }
    }

    pub fn uid(self, uid: u32) -> Case {
        Case { ids: [Some(uid), self.ids[1]], ..self }
    }

    pub fn gid(self, gid: u32) -> Case {
        Case { ids: [self.ids[0], Some(gid)], ..self }
    }

    pub fn detached(self) -> Case {
        Case { detached: true, ..self }
    }

    /// The call as Node's script reads it.
    pub fn to_json(&self) -> Value {
        let mut options = serde_json::Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            value.map(|value| options.insert(name.to_owned(), value));
        };
        put("argv0", self.argv0.map(Value::from));
        put("timeout", self.timeout.map(Value::from));
        put("killSignal", self.kill_signal.and_then(signal_name).map(Value::from));
        put("maxBuffer", self.max_buffer.map(Value::from));
        put("cwd", self.cwd.clone().map(Value::from));
        let [uid, gid] = self.ids.map(|id| id.map(|id| Value::from(id as i32)));
        put("uid", uid);
        put("gid", gid);
        put("detached", self.detached.then_some(Value::from(true)));
        put(
            "shell",
            self.shell.map(|shell| match shell {
                "" => Value::from(true),
                named => Value::from(named),
            }),
        );
        put(
            "env",
            self.env.as_ref().map(|env| {
                env.iter()
                    .map(|(key, value)| ((*key).to_owned(), Value::from(value.clone())))
                    .collect()
            }),
        );
        let word = |slot: &Slot| match slot {
            Slot::Pipe => Value::from("pipe"),
            Slot::Ignore => Value::from("ignore"),
            Slot::Inherit => Value::from("inherit"),
            Slot::Number(number) => Value::from(*number),
        };
        put("stdio", self.stdio.as_ref().map(|slots| slots.iter().map(word).collect()));
        let input = self.input.as_deref().map(in_short);
        json!({ "file": self.file, "args": self.args, "input": input, "options": options })
    }

    fn command(&self) -> Command {
        let mut command = match self.shell {
            None => Command::new(&self.file),
            Some("") => Shell::new(&self.file).as_command().clone(),
            Some(shell) => Shell::with(shell, &self.file).as_command().clone(),
        };
        command.args(&self.args);
        if let Some(argv0) = self.argv0 {
            command.arg0(argv0);
        }
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        if let Some(env) = &self.env {
            command.env_clear().envs(env.iter().map(|(key, value)| (key, OsStr::new(value))));
        }
        if let Some(uid) = self.ids[0] {
            command.uid(uid);
        }
        if let Some(gid) = self.ids[1] {
            command.gid(gid);
        }
        command.detached(self.detached);
        command
    }

    fn options(&self) -> SyncOptions {
        let mut options = SyncOptions::new();
        if let Some(input) = &self.input {
            options.input(input);
        }
        if let Some(milliseconds) = self.timeout {
            options.timeout(milliseconds);
        }
        if let Some(signum) = self.kill_signal {
            options.kill_signal(signum);
        }
        if let Some(bytes) = self.max_buffer {
            options.max_buffer(bytes);
        }
        for (number, slot) in (0..).zip(self.stdio.iter().flatten()) {
            options.stdio(
                number,
                match slot {
                    Slot::Pipe => SyncStdio::Pipe,
                    Slot::Ignore => SyncStdio::Ignore,
                    Slot::Inherit => SyncStdio::Inherit,
                    Slot::Number(raw) => SyncStdio::Stdio(by_number(*raw)),
                },
            );
        }
        options
    }

    /// Makes the call here.
    pub fn run(&self) -> SyncResult {
        spawn_sync(&self.command(), &self.options())
    }
}

#[allow(unsafe_code)]
fn by_number(raw: RawFd) -> Stdio {
    // SAFETY: 0 to 2 stay open, and other numbers in the table are meant not to be open.
    unsafe {
        match raw {
            0..=2 => Stdio::from_fd(BorrowedFd::borrow_raw(raw)).unwrap(),
            other => Stdio::from_raw_number(other),
        }
    }
}

/// The bytes as a list, or as the one byte that they all are and how many.
fn in_short(bytes: &[u8]) -> Value {
    match bytes {
        [first, rest @ ..] if rest.iter().all(|byte| byte == first) => {
            json!({ "byte": first, "times": bytes.len() })
        }
        _ => bytes.into(),
    }
}

/// A result in the shape that Node's script prints.
pub fn in_nodes_words(result: &SyncResult) -> Value {
    let was_spawned = result.pid != 0;
    let output: Vec<Value> =
        result.output.iter().map(|bytes| bytes.as_deref().map_or(Value::Null, digest)).collect();
    let error = result.error.as_ref().map(|error| {
        let text = |text: &OsStr| text.to_string_lossy().into_owned();
        let args: Vec<String> = error.spawnargs.iter().map(|arg| text(arg)).collect();
        json!({
            "code": error.code.name(),
            "errno": error.code.code(),
            "syscall": error.syscall(),
            "path": text(&error.path),
            "spawnargs": args,
            "message": error.to_string(),
        })
    });
    json!({
        "threw": null,
        "pid": was_spawned,
        "status": result.status,
        "signal": result.signal.map(|signum| signal_name(signum).unwrap_or("")),
        "output": was_spawned.then_some(output),
        "error": error,
    })
}

/// Length, sum and beginning of an output.
fn digest(bytes: &[u8]) -> Value {
    let sum = bytes.iter().fold(7u32, |sum, byte| sum.wrapping_mul(31) ^ u32::from(*byte));
    let head: Vec<u8> = bytes.iter().copied().take(200).collect();
    json!({ "length": bytes.len(), "sum": sum, "head": head })
}
