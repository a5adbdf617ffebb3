//! What to execute: the candidates for the program's path and the vectors of pointers that exec
//! takes.
//!
//! Invariant: nothing is looked up here. The parent's directory, user and permissions are not the
//! child's, so the parent only lists the paths that `execvp` would try and the child tries them.
//! Every pointer points into the attributes, into this image or into strings that it holds, and is
//! used while they live.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::sync::Arc;

use super::attributes::{Attributes, Program};
use crate::error::Error;
use crate::process::{SpawnError, SpawnStep};

/// The path searched when the child's environment has no `PATH`: glibc's confstr(3), `_CS_PATH`.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";

/// The shell that gets a file the kernel does not know how to execute (execvp(3)).
pub(super) const SHELL: &CStr = c"/bin/sh";

pub(super) type Pointer = *const c_char;

/// The vectors for one child. Their buffers are reused for the next.
#[derive(Debug, Default)]
pub(super) struct Image {
    /// The candidates' text, each ended by a NUL.
    text: Vec<u8>,
    candidates: Vec<Pointer>,
    /// The shell's name, then the arguments, then null: from the second element on it is the
    /// program's argument vector, as a whole it becomes the shell's.
    arguments: Vec<Cell<Pointer>>,
    environment: Vec<Pointer>,
    inherited: bool,
    /// What the vectors were filled from, if that says all: the same strings make the same vectors.
    from: Option<From>,
}

/// Strings that the vectors point into; held, so that nothing else can come to lie where they are.
#[derive(Debug)]
struct From {
    path: Arc<CStr>,
    argv: Arc<[CString]>,
    envp: Option<Arc<[CString]>>,
}

impl From {
    /// `None` when the vectors depend on more than strings of the attributes: on the process's own
    /// `PATH`, or a descriptor.
    fn of(attributes: &Attributes) -> Option<From> {
        let (argv, envp) = (attributes.argv.clone(), attributes.envp.clone());
        match &attributes.program {
            Program::Path(path) if envp.is_some() || is_path(path) => {
                Some(From { path: path.clone(), argv, envp })
            }
            _ => None,
        }
    }

    fn is(&self, attributes: &Attributes) -> bool {
        let same_environment = match (&self.envp, &attributes.envp) {
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            (None, None) => true,
            _ => false,
        };
        same_environment
            && Arc::ptr_eq(&self.argv, &attributes.argv)
            && matches!(&attributes.program, Program::Path(path) if Arc::ptr_eq(&self.path, path))
    }
}

/// Whether a name is not to be looked for.
fn is_path(name: &CStr) -> bool {
    name.to_bytes().contains(&b'/')
}

// SAFETY: the pointers are dead between spawns; before any is read, `prepare` replaces all of them
// or finds that they point into strings that the image holds. Spawning needs the image exclusively.
unsafe impl Send for Image {}

impl Image {
    /// Fills the vectors for a child, unless they are still right.
    pub(super) fn prepare(&mut self, attributes: &Attributes) -> Result<(), SpawnError> {
        if self.from.as_ref().is_some_and(|from| from.is(attributes)) {
            if let Some(zeroth) = attributes.argv.first() {
                // A child that shared our memory may have executed the shell.
                self.restore_argv(zeroth);
            }
            return Ok(());
        }
        self.from = None;
        self.fill(attributes)?;
        self.from = From::of(attributes);
        Ok(())
    }

    #[inline(never)]
    fn fill(&mut self, attributes: &Attributes) -> Result<(), SpawnError> {
        if attributes.argv.is_empty() {
            return Err(SpawnError::new(SpawnStep::Arguments, Error::EINVAL));
        }
        self.arguments.clear();
        self.arguments.push(Cell::new(SHELL.as_ptr()));
        self.arguments.extend(attributes.argv.iter().map(|argument| Cell::new(argument.as_ptr())));
        self.arguments.push(Cell::new(ptr::null()));

        self.environment.clear();
        self.inherited = attributes.envp.is_none();
        if let Some(envp) = &attributes.envp {
            self.environment.extend(envp.iter().map(|entry| entry.as_ptr()));
            self.environment.push(ptr::null());
        }

        self.text.clear();
        self.candidates.clear();
        match &attributes.program {
            Program::Path(path) if path.is_empty() => {
                Err(SpawnError::new(SpawnStep::Exec, Error::ENOENT))
            }
            Program::Path(path) => {
                self.list_candidates(path, attributes.envp.as_deref());
                Ok(())
            }
            Program::Descriptor(_) => Ok(()),
        }
    }

    fn list_candidates(&mut self, path: &CStr, envp: Option<&[CString]>) {
        if is_path(path) {
            self.candidates.push(path.as_ptr());
            return;
        }
        let directories = match envp {
            Some(envp) => envp.iter().find_map(|entry| entry.as_bytes().strip_prefix(b"PATH=")),
            None => inherited_path(),
        };
        for directory in directories.unwrap_or(DEFAULT_PATH).split(|&byte| byte == b':') {
            self.text.extend_from_slice(directory);
            // An empty element is the current directory (execvp(3)).
            if !directory.is_empty() {
                self.text.push(b'/');
            }
            self.text.extend_from_slice(path.to_bytes_with_nul());
        }
        // The text has stopped growing, so its address is final.
        let ended = self.text.split_inclusive(|&byte| byte == 0);
        self.candidates.extend(ended.map(|candidate| candidate.as_ptr().cast::<c_char>()));
    }

    /// The paths to try, in order; empty when the program is a descriptor.
    pub(super) fn candidates(&self) -> &[Pointer] {
        &self.candidates
    }

    /// The program's argument vector.
    pub(super) fn argv(&self) -> *const Pointer {
        // `prepare` put the shell in front, so there is always a second element.
        self.arguments.as_ptr().cast::<Pointer>().wrapping_add(1)
    }

    /// The argument vector of a shell that runs `script`.
    pub(super) fn shell_argv(&self, script: Pointer) -> *const Pointer {
        if let Some(zeroth) = self.arguments.get(1) {
            zeroth.set(script);
        }
        self.arguments.as_ptr().cast::<Pointer>()
    }

    /// Undoes [`Image::shell_argv`].
    pub(super) fn restore_argv(&self, zeroth: &CStr) {
        if let Some(cell) = self.arguments.get(1) {
            cell.set(zeroth.as_ptr());
        }
    }

    /// The environment.
    pub(super) fn envp(&self) -> *const Pointer {
        if !self.inherited {
            return self.environment.as_ptr();
        }
        // SAFETY: reading the pointer itself; Attributes::envp states that nobody changes the
        // environment meanwhile.
        unsafe { libc::environ.cast_const().cast::<Pointer>() }
    }
}

/// The process's own `PATH`.
fn inherited_path() -> Option<&'static [u8]> {
    // SAFETY: a NUL-ended name; Attributes::envp states that nobody changes the environment while a
    // spawn with an inherited one runs, and the slice is used within that spawn only.
    unsafe {
        let path = libc::getenv(c"PATH".as_ptr());
        if path.is_null() { None } else { Some(CStr::from_ptr(path).to_bytes()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(program: &str, envp: Option<&[&str]>) -> Vec<String> {
        let program = CString::new(program).unwrap();
        let path = Program::Path(program.clone().into());
        let mut attributes = Attributes::new(path, [program].into());
        attributes.envp =
            envp.map(|envp| envp.iter().map(|entry| CString::new(*entry).unwrap()).collect());
        let mut image = Image::default();
        image.prepare(&attributes).unwrap();
        // SAFETY: the attributes and the image that the pointers point into are alive.
        let text = |&p: &Pointer| unsafe { CStr::from_ptr(p) }.to_str().unwrap().to_owned();
        image.candidates().iter().map(text).collect()
    }

    #[test]
    fn a_path_with_a_slash_is_the_only_candidate() {
        assert_eq!(candidates("./a", Some(&["PATH=/x"])), ["./a"]);
    }

    #[test]
    fn a_name_is_looked_for_in_the_childs_own_path() {
        assert_eq!(candidates("a", Some(&["P=1", "PATH=/x::/y/"])), ["/x/a", "a", "/y//a"]);
        assert_eq!(candidates("a", Some(&["PATH="])), ["a"]);
    }

    #[test]
    fn an_environment_without_path_gets_the_default_one() {
        assert_eq!(candidates("a", Some(&[])), ["/bin/a", "/usr/bin/a"]);
    }

    fn zeroth(image: &Image) -> String {
        // SAFETY: the strings that the image points into are alive.
        unsafe { CStr::from_ptr(*image.argv()) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn the_same_strings_are_not_laid_out_again_and_others_are() {
        let with = |path: &Arc<CStr>, argv: &Arc<[CString]>, envp: Option<&Arc<[CString]>>| {
            let mut attributes = Attributes::new(Program::Path(path.clone()), argv.clone());
            attributes.envp = envp.cloned();
            attributes
        };
        let (a, b): (Arc<CStr>, Arc<CStr>) = (c"./a".into(), c"b".into());
        let (one, two): (Arc<[CString]>, Arc<[CString]>) =
            ([c"one".to_owned()].into(), [c"two".to_owned()].into());
        let path: Arc<[CString]> = [c"PATH=/x".to_owned()].into();
        let mut image = Image::default();
        let mut try_with = |attributes: Attributes| {
            image.prepare(&attributes).unwrap();
            // SAFETY: as above.
            let first = unsafe { CStr::from_ptr(image.candidates()[0]) }.to_str().unwrap();
            let found = (first.to_owned(), zeroth(&image), image.inherited);
            image.prepare(&attributes).unwrap();
            // As a child does that executes a script, and never comes back.
            image.shell_argv(c"script".as_ptr());
            found
        };
        let expect = |path: &str, zeroth: &str, inherited| (path.into(), zeroth.into(), inherited);
        assert_eq!(try_with(with(&a, &one, None)), expect("./a", "one", true));
        assert_eq!(try_with(with(&a, &one, None)), expect("./a", "one", true));
        assert_eq!(try_with(with(&a, &two, None)), expect("./a", "two", true));
        assert_eq!(try_with(with(&a, &two, Some(&path))), expect("./a", "two", false));
        assert_eq!(try_with(with(&b, &two, Some(&path))), expect("/x/b", "two", false));
        assert_eq!(try_with(with(&b, &two, Some(&path))), expect("/x/b", "two", false));
    }

    #[test]
    fn no_arguments_and_no_name_are_errors() {
        let mut image = Image::default();
        let none = Attributes::new(Program::Path(c"/bin/true".into()), [].into());
        let error = image.prepare(&none).unwrap_err();
        assert_eq!((error.step(), error.error()), (SpawnStep::Arguments, Error::EINVAL));
        let empty = Attributes::new(Program::Path(c"".into()), [c"a".into()].into());
        let error = image.prepare(&empty).unwrap_err();
        assert_eq!((error.step(), error.error()), (SpawnStep::Exec, Error::ENOENT));
    }
}
