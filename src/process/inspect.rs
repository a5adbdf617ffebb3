//! What a [`Command`] was given, for those who report about it: names as in
//! `std::process::Command`.
//!
//! Invariant: looking changes nothing, and what is shown is what the child will be given.

use std::ffi::{OsStr, OsString};

use super::command::{Command, Program};

impl Command {
    /// The program to execute; for one given as a descriptor, what it will see as its name.
    ///
    /// ```
    /// use blacklight::Command;
    ///
    /// assert_eq!(Command::new("ls").get_program(), "ls");
    /// ```
    #[must_use]
    pub fn get_program(&self) -> &OsStr {
        match (&self.program, &self.arg0) {
            (Program::Name(name), _) => name,
            (Program::Descriptor(_), Some(arg0)) => arg0,
            (Program::Descriptor(_), None) => OsStr::new(""),
        }
    }

    /// The arguments behind the zeroth.
    ///
    /// ```
    /// use blacklight::Command;
    ///
    /// let mut command = Command::new("ls");
    /// command.args(["-l", "/"]);
    /// assert!(command.get_args().eq(["-l", "/"]));
    /// ```
    pub fn get_args(&self) -> impl ExactSizeIterator<Item = &OsStr> {
        self.args.iter().map(OsString::as_os_str)
    }
}
