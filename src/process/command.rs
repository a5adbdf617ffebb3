//! The builder of a child: [`Command`], in the manner of `std::process::Command`.
//!
//! Everything in it is plain data. There is no hook that runs code of the user's in the child,
//! because that is what forces other crates onto slow and unsafe paths; what such hooks are used
//! for has a method here.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::attributes::{Groups, Resource};
use super::stdio::{Stdio, c_string};
use crate::error::{Error, Result};

/// The program to execute.
#[derive(Debug, Clone)]
pub(super) enum Program {
    Name(OsString),
    Descriptor(Arc<OwnedFd>),
}

/// Where the environment comes from: this process's with changes, or a block of strings.
#[derive(Debug, Clone, Default)]
struct Environment {
    /// Begins with nothing instead of this process's.
    clear: bool,
    /// `None` removes.
    changes: BTreeMap<OsString, Option<OsString>>,
    /// Taken as it is, instead of all the above.
    block: Option<Vec<CString>>,
}

/// Strings as the kernel takes them, made for the first spawn and kept for those that follow.
#[derive(Debug, Clone, Default)]
struct Strings {
    path: OnceCell<Arc<CStr>>,
    arguments: OnceCell<Arc<[CString]>>,
    /// Not one that begins with this process's, which may change.
    environment: OnceCell<Arc<[CString]>>,
}

/// A child to be spawned; the same command can be spawned any number of times.
///
/// Slots 0 to 2 are inherited unless something else is asked for, as with `std::process::Command`.
/// Beyond the slots that are listed, no descriptor reaches the child, whatever its flags
/// ([`Command::inherit_unlisted`] undoes that). Signals have their default actions in the child and
/// none is blocked. The child is executed from the `PATH` of *its* environment, in *its* directory
/// and with *its* rights.
///
/// ```
/// use blacklight::{Command, EventLoop, RunMode, Stdio};
///
/// let lp = EventLoop::new()?;
/// let process = Command::new("sh")
///     .args(["-c", "test \"$GREETING\" = hello && test \"$PWD\" = /"])
///     .env("GREETING", "hello")
///     .current_dir("/")
///     .stdin(Stdio::null())
///     .spawn(&lp, |_, exit| assert!(exit.success()))?;
/// assert!(process.pid() > 0);
/// lp.run(RunMode::Default)?;
/// # Ok::<(), blacklight::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Command {
    pub(super) program: Program,
    pub(super) arg0: Option<OsString>,
    pub(super) args: Vec<OsString>,
    environment: Environment,
    pub(super) current_dir: Option<PathBuf>,
    pub(super) slots: BTreeMap<u32, Stdio>,
    pub(super) inherit_unlisted: bool,
    pub(super) session: bool,
    pub(super) controlling_terminal: Option<u32>,
    pub(super) process_group: Option<i32>,
    pub(super) foreground: Option<Stdio>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) groups: Option<Groups>,
    pub(super) parent_death_signal: Option<i32>,
    pub(super) rlimits: Vec<(Resource, u64, u64)>,
    pub(super) nice: Option<i32>,
    pub(super) affinity: Option<Vec<usize>>,
    pub(super) umask: Option<u32>,
    pub(super) no_new_privs: bool,
    pub(super) busy_retries: Option<u32>,
    pub(super) cgroup: Option<Arc<OwnedFd>>,
    pub(super) reset_all_signals: bool,
    pub(super) blocked_signals: u64,
    strings: Strings,
}

impl Command {
    /// A command that executes `program`: a path, or a name without a slash, which is looked for in
    /// the child's `PATH`.
    #[must_use]
    pub fn new(program: impl AsRef<OsStr>) -> Command {
        Command::with_program(Program::Name(program.as_ref().to_owned()))
    }

    /// A command that executes an open file (execveat(2)), which the name of a path cannot be
    /// changed under. `arg0` is what the program sees as its name.
    ///
    /// A script cannot be executed so: its interpreter would have to open a descriptor that is
    /// closed by then, and the error is `ENOENT`.
    #[must_use]
    pub fn from_fd(program: impl Into<OwnedFd>, arg0: impl AsRef<OsStr>) -> Command {
        let mut command = Command::with_program(Program::Descriptor(Arc::new(program.into())));
        command.arg0(arg0);
        command
    }

    fn with_program(program: Program) -> Command {
        Command {
            program,
            arg0: None,
            args: Vec::new(),
            environment: Environment::default(),
            current_dir: None,
            slots: (0..3).map(|slot| (slot, Stdio::inherit())).collect(),
            inherit_unlisted: false,
            session: false,
            controlling_terminal: None,
            process_group: None,
            foreground: None,
            uid: None,
            gid: None,
            groups: None,
            parent_death_signal: None,
            rlimits: Vec::new(),
            nice: None,
            affinity: None,
            umask: None,
            no_new_privs: false,
            busy_retries: None,
            cgroup: None,
            reset_all_signals: false,
            blocked_signals: 0,
            strings: Strings::default(),
        }
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Command {
        self.args.push(arg.as_ref().to_owned());
        self.strings.arguments.take();
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Command {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self.strings.arguments.take();
        self
    }

    /// Sets the zeroth argument, which is the program's name unless it is set.
    pub fn arg0(&mut self, arg0: impl AsRef<OsStr>) -> &mut Command {
        self.arg0 = Some(arg0.as_ref().to_owned());
        self.strings.arguments.take();
        self
    }

    fn changes(&mut self) -> &mut BTreeMap<OsString, Option<OsString>> {
        self.strings.environment.take();
        self.environment.block = None;
        &mut self.environment.changes
    }

    /// Sets a variable of the child's environment.
    pub fn env(&mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Command {
        let value = Some(value.as_ref().to_owned());
        self.changes().insert(key.as_ref().to_owned(), value);
        self
    }

    /// Sets variables of the child's environment.
    pub fn envs(
        &mut self,
        variables: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
    ) -> &mut Command {
        for (key, value) in variables {
            self.env(key, value);
        }
        self
    }

    /// Removes a variable from the child's environment.
    pub fn env_remove(&mut self, key: impl AsRef<OsStr>) -> &mut Command {
        self.changes().insert(key.as_ref().to_owned(), None);
        self
    }

    /// Begins with an empty environment instead of this process's, and forgets what was set.
    pub fn env_clear(&mut self) -> &mut Command {
        self.strings.environment.take();
        self.environment = Environment { clear: true, ..Environment::default() };
        self
    }

    /// Gives the child exactly these strings as its environment, in this order, duplicates and
    /// strings without `=` included.
    pub fn env_block(&mut self, strings: impl IntoIterator<Item = CString>) -> &mut Command {
        self.environment.block = Some(strings.into_iter().collect());
        self.strings.environment.take();
        self
    }

    /// The strings given to [`Command::env_block`], if they are what the child will get.
    ///
    /// ```
    /// let mut command = blacklight::Command::new("env");
    /// assert_eq!(command.get_env_block(), None);
    /// command.env_block([c"A=1".to_owned()]);
    /// assert_eq!(command.get_env_block(), Some(&[c"A=1".to_owned()][..]));
    /// ```
    #[must_use]
    pub fn get_env_block(&self) -> Option<&[CString]> {
        self.environment.block.as_deref()
    }

    /// Sets the child's working directory. A relative path to the program is relative to it.
    pub fn current_dir(&mut self, dir: impl AsRef<Path>) -> &mut Command {
        self.current_dir = Some(dir.as_ref().to_owned());
        self
    }

    /// Fills slot 0.
    pub fn stdin(&mut self, stdio: impl Into<Stdio>) -> &mut Command {
        self.stdio(0, stdio)
    }

    /// Fills slot 1.
    pub fn stdout(&mut self, stdio: impl Into<Stdio>) -> &mut Command {
        self.stdio(1, stdio)
    }

    /// Fills slot 2.
    pub fn stderr(&mut self, stdio: impl Into<Stdio>) -> &mut Command {
        self.stdio(2, stdio)
    }

    /// Fills a slot: the descriptor that has this number in the child. There may be gaps.
    pub fn stdio(&mut self, slot: u32, stdio: impl Into<Stdio>) -> &mut Command {
        self.slots.insert(slot, stdio.into());
        self
    }

    /// Lets every descriptor of this process without close-on-exec reach the child, listed or not:
    /// what job servers and socket activation count on, and what libuv always does.
    ///
    /// The whole descriptor table is copied then, at about 75 ns for each open descriptor.
    pub fn inherit_unlisted(&mut self, on: bool) -> &mut Command {
        self.inherit_unlisted = on;
        self
    }

    /// The environment as the kernel takes it; `None` when it is this process's, unchanged.
    pub(super) fn environment_block(&self) -> Result<Option<Arc<[CString]>>> {
        let Environment { clear, changes, block } = &self.environment;
        if let Some(kept) = self.strings.environment.get() {
            return Ok(Some(kept.clone()));
        }
        if !clear && changes.is_empty() && block.is_none() {
            return Ok(None);
        }
        let made: Arc<[CString]> = match block {
            Some(block) => block.as_slice().into(),
            None => self.changed_environment()?.into(),
        };
        if *clear || block.is_some() {
            return Ok(Some(self.strings.environment.get_or_init(|| made).clone()));
        }
        Ok(Some(made))
    }

    fn changed_environment(&self) -> Result<Vec<CString>> {
        let Environment { clear, changes, .. } = &self.environment;
        let mut block = Vec::new();
        let mut push = |key: &OsStr, value: &OsStr| -> Result<()> {
            let key = key.as_bytes();
            // A name may begin with "=" (some shells use that), but not go on with one.
            if key.is_empty() || key[1..].contains(&b'=') {
                return Err(Error::EINVAL);
            }
            let string = [key, b"=", value.as_bytes()].concat();
            block.push(CString::new(string).map_err(|_| Error::EINVAL)?);
            Ok(())
        };
        if !clear {
            for (key, value) in std::env::vars_os().filter(|(key, _)| !changes.contains_key(key)) {
                push(&key, &value)?;
            }
        }
        for (key, value) in changes {
            if let Some(value) = value {
                push(key, value)?;
            }
        }
        Ok(block)
    }

    /// The program's name as the kernel takes it.
    pub(super) fn path(&self, name: &OsStr) -> Result<Arc<CStr>> {
        if let Some(kept) = self.strings.path.get() {
            return Ok(kept.clone());
        }
        let path = c_string(name)?.into();
        Ok(self.strings.path.get_or_init(|| path).clone())
    }

    /// The arguments from the zeroth on.
    pub(super) fn argument_vector(&self) -> Result<Arc<[CString]>> {
        if let Some(kept) = self.strings.arguments.get() {
            return Ok(kept.clone());
        }
        let arg0 = match (&self.arg0, &self.program) {
            (Some(arg0), _) => arg0.as_os_str(),
            (None, Program::Name(name)) => name.as_os_str(),
            (None, Program::Descriptor(_)) => OsStr::new(""),
        };
        let arguments = std::iter::once(arg0).chain(self.args.iter().map(OsString::as_os_str));
        let vector = arguments.map(c_string).collect::<Result<_>>()?;
        Ok(self.strings.arguments.get_or_init(|| vector).clone())
    }
}
