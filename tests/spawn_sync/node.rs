//! The other side of the comparison: one `node` that makes all calls and prints what came of them.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::process::Scratch;

/// Makes the calls of the file that it is given, one after the other.
const SCRIPT: &str = r"
const { spawnSync } = require('child_process');
const digest = (bytes) => {
  let sum = 7;
  for (const byte of bytes) sum = (Math.imul(sum, 31) ^ byte) >>> 0;
  return { length: bytes.length, sum, head: [...bytes.subarray(0, 200)] };
};
const call = ({ file, args, input, options }) => {
  if (input) {
    options.input = 'byte' in input ? Buffer.alloc(input.times, input.byte) : Buffer.from(input);
  }
  let result;
  try {
    result = options.shell ? spawnSync(file, options) : spawnSync(file, args, options);
  } catch (error) {
    return { threw: error.code };
  }
  const { pid, status, signal, output, error } = result;
  return {
    threw: null, pid: pid > 0, status, signal,
    output: output && output.map((bytes) => bytes && digest(bytes)),
    error: error ? {
      code: error.code, errno: error.errno, syscall: error.syscall,
      path: error.path, spawnargs: error.spawnargs, message: error.message,
    } : null,
  };
};
const fs = require('fs');
fs.writeFileSync(process.argv[3], JSON.stringify(JSON.parse(fs.readFileSync(process.argv[2])).map(call)));
";

/// A node at work on the cases.
pub struct Node {
    child: Child,
    dir: Scratch,
}

/// Starts it; `None`, where there is no node.
pub fn start(cases: &[Value]) -> Option<Node> {
    let dir = Scratch::new();
    std::fs::write(dir.join("script.js"), SCRIPT).unwrap();
    std::fs::write(dir.join("cases"), Value::from(cases).to_string()).unwrap();
    // What children inherit is a file, so that none of them holds anything of the test runner's.
    let log = File::create(dir.join("log")).unwrap();
    let mut command = Command::new("node");
    command.arg(dir.join("script.js")).arg(dir.join("cases")).arg(dir.join("results"));
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
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
        let text = std::fs::read(self.dir.join("results")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }
}
