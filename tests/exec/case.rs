//! One case of the table: a call that can be made here and, told as JSON, in Node.

use std::cell::Cell;
use std::fs::File;
use std::process::Child;
use std::rc::Rc;

use blacklight::child_process::{
    ExecCause, ExecOptions, ExecOutcome, ExecSyncError, Shell, SyncOptions, SyncStdio, exec,
    exec_file, exec_file_sync, exec_sync,
};
use blacklight::prelude::*;
use blacklight::signal_name;
use serde_json::{Value, json};

use crate::support::process::{Scratch, run};

/// Which function is called.
#[derive(Clone, Copy, PartialEq)]
pub enum Form {
    Exec,
    ExecFile,
    ExecSync,
    ExecFileSync,
}

#[derive(Clone)]
pub struct Case {
    pub name: &'static str,
    form: Form,
    file: String,
    args: Vec<String>,
    input: &'static str,
    timeout: u64,
    kill_signal: Option<i32>,
    max_buffer: Option<usize>,
    cwd: Option<&'static str>,
    shell: Option<&'static str>,
    aborted: bool,
    stdin_stays_open: bool,
}

impl Case {
    pub fn new(name: &'static str, form: Form, file: impl Into<String>, args: &[&str]) -> Case {
        Case {
            name,
            form,
            file: file.into(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            input: "",
            timeout: 0,
            kill_signal: None,
            max_buffer: None,
            cwd: None,
            shell: None,
            aborted: false,
            stdin_stays_open: false,
        }
    }

    pub fn exec(name: &'static str, text: &str) -> Case {
        Case::new(name, Form::Exec, text, &[])
    }

    pub fn input(self, input: &'static str) -> Case {
        Case { input, ..self }
    }

    pub fn timeout(self, timeout: u64) -> Case {
        Case { timeout, ..self }
    }

    pub fn kill_signal(self, signum: i32) -> Case {
        Case { kill_signal: Some(signum), ..self }
    }

    pub fn max_buffer(self, bytes: usize) -> Case {
        Case { max_buffer: Some(bytes), ..self }
    }

    pub fn cwd(self, dir: &'static str) -> Case {
        Case { cwd: Some(dir), ..self }
    }

    pub fn shell(self, shell: &'static str) -> Case {
        Case { shell: Some(shell), ..self }
    }

    pub fn aborted(self) -> Case {
        Case { aborted: true, ..self }
    }

    /// The child may read its stdin for ever.
    pub fn with_stdin_open(self) -> Case {
        Case { stdin_stays_open: true, ..self }
    }

    fn is_sync(&self) -> bool {
        matches!(self.form, Form::ExecSync | Form::ExecFileSync)
    }

    fn to_json(&self) -> Value {
        let form = match self.form {
            Form::Exec => "exec",
            Form::ExecFile => "execFile",
            Form::ExecSync => "execSync",
            Form::ExecFileSync => "execFileSync",
        };
        let mut options = json!({ "timeout": self.timeout });
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                options[name] = value;
            }
        };
        put("killSignal", self.kill_signal.and_then(signal_name).map(Value::from));
        put("maxBuffer", self.max_buffer.map(Value::from));
        put("cwd", self.cwd.map(Value::from));
        put("shell", self.shell.map(Value::from));
        if self.is_sync() {
            put("stdio", Some(json!(["pipe", "pipe", "pipe"])));
            put("input", Some(Value::from(self.input)));
        } else {
            put("encoding", Some(Value::from("buffer")));
        }
        json!({
            "form": form, "file": self.file, "args": self.args, "input": self.input,
            "aborted": self.aborted, "open": self.stdin_stays_open, "options": options,
        })
    }

    fn shell_command(&self) -> Shell {
        let mut shell = match self.shell {
            Some(named) => Shell::with(named, &self.file),
            None => Shell::new(&self.file),
        };
        if let Some(dir) = self.cwd {
            shell.command().current_dir(dir);
        }
        shell
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.file);
        command.args(&self.args);
        if let Some(dir) = self.cwd {
            command.current_dir(dir);
        }
        command
    }

    /// Makes the call here, in Node's words.
    pub fn run(&self, lp: &EventLoop) -> Value {
        if self.is_sync() { self.run_sync() } else { self.run_on(lp) }
    }

    fn run_on(&self, lp: &EventLoop) -> Value {
        let mut options = ExecOptions::new();
        options.timeout(self.timeout);
        if let Some(signum) = self.kill_signal {
            options.kill_signal(signum);
        }
        if let Some(bytes) = self.max_buffer {
            options.max_buffer(bytes);
        }
        let came = Rc::new(Cell::new(None));
        let sink = came.clone();
        let callback = move |outcome| {
            assert!(sink.replace(Some(outcome)).is_none(), "called once");
        };
        let executing = match self.form {
            Form::Exec => exec(lp, self.shell_command(), &options, callback),
            _ => exec_file(lp, &self.command(), &options, callback),
        };
        let executing = executing.unwrap();
        if executing.pid() != 0 {
            executing.stdin().write_and_forget(self.input).unwrap();
        }
        if !self.stdin_stays_open {
            executing.stdin().close();
        }
        if self.aborted {
            executing.abort();
        }
        run(lp);
        in_nodes_words(&came.take().unwrap())
    }

    fn run_sync(&self) -> Value {
        let mut options = SyncOptions::new();
        options.input(self.input).timeout(self.timeout).stdio(2, SyncStdio::Pipe);
        if let Some(signum) = self.kill_signal {
            options.kill_signal(signum);
        }
        if let Some(bytes) = self.max_buffer {
            options.max_buffer(bytes);
        }
        let result = match self.form {
            Form::ExecSync => exec_sync(self.shell_command(), &options),
            _ => exec_file_sync(&self.command(), &options),
        };
        match result {
            Ok(stdout) => json!({ "stdout": digest(&stdout), "stderr": null, "error": null }),
            Err(error) => in_nodes_words_sync(&error),
        }
    }
}

fn name_of(signal: Option<i32>) -> Option<&'static str> {
    signal.map(|signum| signal_name(signum).unwrap_or(""))
}

fn in_nodes_words(outcome: &ExecOutcome) -> Value {
    let error = outcome.error.as_ref().map(|error| {
        let itself = error.cause == ExecCause::Failed;
        let code = match error.code() {
            Some(word) => Value::from(word),
            None => Value::from(error.status),
        };
        json!({
            "code": code,
            "killed": itself.then_some(error.killed),
            "signal": name_of(error.signal.filter(|_| itself)),
            "cmd": error.cmd.to_string_lossy(),
            "message": error.to_string(),
        })
    });
    json!({ "stdout": digest(&outcome.stdout), "stderr": digest(&outcome.stderr), "error": error })
}

fn in_nodes_words_sync(error: &ExecSyncError) -> Value {
    let result = error.result();
    json!({
        "stdout": result.stdout().map(digest),
        "stderr": result.stderr().map(digest),
        "error": {
            "code": result.error.as_ref().map(|error| error.code.name()),
            "status": result.status,
            "signal": name_of(result.signal),
            "message": error.to_string(),
        },
    })
}

fn digest(bytes: &[u8]) -> Value {
    let head: Vec<u8> = bytes.iter().copied().take(200).collect();
    json!({ "length": bytes.len(), "head": head })
}

/// Makes the calls of the file that it is given, one after the other.
const SCRIPT: &str = r"
const cp = require('child_process');
const fs = require('fs');
const digest = (bytes) => bytes == null ? null : { length: bytes.length, head: [...bytes.subarray(0, 200)] };
const orNull = (value) => value === undefined ? null : value;
const sync = ({ form, file, args, options }) => {
  try {
    const stdout = form === 'execSync' ? cp.execSync(file, options) : cp.execFileSync(file, args, options);
    return { stdout: digest(stdout), stderr: null, error: null };
  } catch (error) {
    const { stdout, stderr, code, status, signal, message } = error;
    return {
      stdout: digest(stdout), stderr: digest(stderr),
      error: { code: orNull(code), status: orNull(status), signal: orNull(signal), message },
    };
  }
};
const onLoop = ({ form, file, args, input, aborted, open, options }) => new Promise((resolve) => {
  const done = (error, stdout, stderr) => resolve({
    stdout: digest(stdout), stderr: digest(stderr),
    error: error && {
      code: orNull(error.code), killed: orNull(error.killed), signal: orNull(error.signal),
      cmd: error.cmd, message: error.message,
    },
  });
  const controller = new AbortController();
  options.signal = controller.signal;
  let child;
  try {
    child = form === 'exec' ? cp.exec(file, options, done) : cp.execFile(file, args, options, done);
  } catch (error) {
    // Some errors of spawn are thrown; here they all come to the callback.
    return resolve({ threw: error.code, message: error.message });
  }
  child.stdin.on('error', () => {});
  if (open) child.stdin.write(input); else child.stdin.end(input);
  if (aborted) controller.abort();
});
(async () => {
  const results = [];
  for (const call of JSON.parse(fs.readFileSync(process.argv[2]))) {
    results.push(call.form.endsWith('Sync') ? sync(call) : await onLoop(call));
  }
  fs.writeFileSync(process.argv[3], JSON.stringify(results));
})();
";

/// A node at work on the cases.
pub struct Node {
    child: Child,
    dir: Scratch,
}

/// Starts it; `None`, where there is no node.
pub fn start_node(cases: &[Case]) -> Option<Node> {
    let dir = Scratch::new();
    let calls: Vec<Value> = cases.iter().map(Case::to_json).collect();
    std::fs::write(dir.join("script.js"), SCRIPT).unwrap();
    std::fs::write(dir.join("cases"), Value::from(calls).to_string()).unwrap();
    let log = File::create(dir.join("log")).unwrap();
    let mut command = std::process::Command::new("node");
    command.arg(dir.join("script.js")).arg(dir.join("cases")).arg(dir.join("results"));
    command.stdin(std::process::Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    // A node that kills a child that it has not got signals the group that it is in.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    match command.spawn() {
        Ok(child) => Some(Node { child, dir }),
        // The test has said so.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => panic!("starting node: {error}"),
    }
}

impl Node {
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// What came of the cases, in their order.
    pub fn results(mut self) -> Vec<Value> {
        let status = self.child.wait().unwrap();
        let log = std::fs::read_to_string(self.dir.join("log")).unwrap();
        assert!(status.success(), "node: {status}: {log}");
        serde_json::from_slice(&std::fs::read(self.dir.join("results")).unwrap()).unwrap()
    }
}
