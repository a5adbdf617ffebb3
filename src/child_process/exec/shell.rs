//! The command line that a shell is given: [`Shell`].
//!
//! Invariant: the text is what errors name as the command, so it stays beside the `Command` that
//! carries it out, whose program is the shell.

use std::ffi::{OsStr, OsString};

use crate::Command;

/// A command line and the shell that carries it out: `/bin/sh -c` unless another is named.
///
/// It is what [`exec`](super::exec) and [`exec_sync`](super::exec_sync) take, made of a string where
/// nothing else is wanted. With [`Shell::command`] it is what Node's option `shell` does to
/// `spawn` and `spawnSync`.
///
/// ```
/// use blacklight::child_process::{Shell, SyncOptions, exec_sync, spawn_sync};
///
/// let mut pwd = Shell::new("pwd; echo $GREETING");
/// pwd.command().current_dir("/").env("GREETING", "hello");
/// assert_eq!(exec_sync(&pwd, &SyncOptions::new())?, b"/\nhello\n");
///
/// let result = spawn_sync(pwd.command(), &SyncOptions::new());
/// assert_eq!(result.stdout(), Some(b"/\nhello\n".as_slice()));
/// # Ok::<(), blacklight::child_process::ExecSyncError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Shell {
    text: OsString,
    command: Command,
}

impl Shell {
    /// A command line for `/bin/sh`.
    #[must_use]
    pub fn new(text: impl AsRef<OsStr>) -> Shell {
        Shell::with("/bin/sh", text)
    }

    /// A command line for another shell, which must understand `-c`.
    #[must_use]
    pub fn with(shell: impl AsRef<OsStr>, text: impl AsRef<OsStr>) -> Shell {
        let text = text.as_ref();
        let mut command = Command::new(shell);
        command.arg("-c").arg(text);
        Shell { text: text.to_owned(), command }
    }

    /// What the shell will be spawned with: for its directory, environment, user and the rest.
    /// Arguments that are added are the shell's `$0`, `$1` and so on.
    pub fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// As [`Shell::command`], to look at or to spawn.
    #[must_use]
    pub fn as_command(&self) -> &Command {
        &self.command
    }

    /// The command line.
    #[must_use]
    pub fn text(&self) -> &OsStr {
        &self.text
    }
}

impl From<&Shell> for Shell {
    fn from(shell: &Shell) -> Shell {
        shell.clone()
    }
}

macro_rules! from_text {
    ($($text:ty)*) => {$(
        impl From<$text> for Shell {
            fn from(text: $text) -> Shell {
                Shell::new(text)
            }
        }
    )*};
}

from_text! { &str String &String &OsStr OsString &OsString }
