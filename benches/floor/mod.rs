//! What the kernel itself takes: the smallest program, and vfork, exec and wait with nothing
//! around them.

#![allow(unsafe_code, dead_code, unreachable_pub, reason = "each benchmark uses a part of it")]

use std::ffi::{CStr, CString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A static executable of a few system calls, written to a temporary file that is removed at the
/// end: what is measured is the spawn, not the program.
pub struct Program {
    path: PathBuf,
    c_path: CString,
}

/// What a [`Program`] does.
#[derive(Clone, Copy)]
pub enum Does {
    /// `exit(0)`.
    Exit,
    /// `pause()` until a signal ends it, or the end of its parent.
    Sleep,
    /// `write(1, …, 64)`, its own ELF header, then exit.
    Print,
}

impl Does {
    const fn name(self) -> &'static str {
        match self {
            Does::Exit => "exit",
            Does::Sleep => "sleep",
            Does::Print => "print",
        }
    }

    const fn code(self) -> &'static [u8] {
        match self {
            Does::Exit => &[],
            // mov eax, 157 (prctl); mov edi, 1 (PR_SET_PDEATHSIG); mov esi, 9; syscall;
            // mov eax, 34 (pause); syscall
            Does::Sleep => &[
                0xb8, 157, 0, 0, 0, 0xbf, 1, 0, 0, 0, 0xbe, 9, 0, 0, 0, 0x0f, 0x05, 0xb8, 34, 0, 0,
                0, 0x0f, 0x05,
            ],
            // mov edi, 1; mov esi, BASE; mov edx, 64; mov eax, 1 (write); syscall
            Does::Print => &[
                0xbf, 1, 0, 0, 0, 0xbe, 0, 0, 0x40, 0, 0xba, 64, 0, 0, 0, 0xb8, 1, 0, 0, 0, 0x0f,
                0x05,
            ],
        }
    }
}

impl Program {
    pub fn write() -> std::io::Result<Program> {
        Program::that(Does::Exit)
    }

    pub fn that(does: Does) -> std::io::Result<Program> {
        static WRITTEN: AtomicUsize = AtomicUsize::new(0);
        let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
        let name = format!("blacklight-{}-{}-{number}", does.name(), std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.create(true).truncate(true).write(true).mode(0o755).open(&path)?;
        file.write_all(&elf(does.code()))?;
        drop(file);
        let c_path = CString::new(path.as_os_str().as_bytes())?;
        Ok(Program { path, c_path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn c_path(&self) -> &CStr {
        &self.c_path
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _left = std::fs::remove_file(&self.path);
    }
}

/// An ELF header, one program header, the code and `exit(0)` for x86-64 (elf(5)).
fn elf(code: &[u8]) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    // xor edi, edi; mov eax, 60 (exit); syscall
    let code = [code, &[0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05]].concat();
    let size = HEADERS + code.len() as u64;
    let mut elf = Vec::new();
    elf.extend([0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    // ET_EXEC, EM_X86_64, EV_CURRENT
    elf.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [BASE + HEADERS, 64, 0] {
        elf.extend(word.to_le_bytes());
    }
    // No flags; 64 bytes of header, one program header of 56, no section headers.
    elf.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 64, 0, 0, 0, 0, 0]);
    // PT_LOAD, readable and executable.
    elf.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [0, BASE, BASE, size, size, 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code);
    elf
}

/// vfork(2), execve(2), waitpid(2), as bare system calls; the exit status.
pub fn vfork_exec_wait(program: &Program) -> i32 {
    wait(vfork_exec(program))
}

/// waitpid(2); the exit status.
pub fn wait(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: the status outlives the call, and the child is ours.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid);
    status
}

/// vfork(2) and execve(2) with no arguments but the name and no environment; the child's number.
#[cfg(target_arch = "x86_64")]
pub fn vfork_exec(program: &Program) -> i32 {
    let path = program.c_path.as_ptr();
    let argv = [path, std::ptr::null()];
    let envp = [std::ptr::null::<libc::c_char>()];
    let pid: i64;
    // SAFETY: the child runs on the parent's stack but touches none of it: it goes from vfork to
    // execve with values in registers alone, and to exit if that fails. The kernel keeps rbx, r12
    // and r13; the arrays outlive the call, during which this thread is suspended.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov eax, 59",
            "mov rdi, r12",
            "mov rsi, r13",
            "mov rdx, r14",
            "syscall",
            "mov eax, 60",
            "mov edi, 127",
            "syscall",
            "2:",
            inlateout("rax") 58i64 => pid,
            in("r12") path,
            in("r13") argv.as_ptr(),
            in("r14") envp.as_ptr(),
            out("rcx") _,
            out("r11") _,
            out("rdi") _,
            out("rsi") _,
            out("rdx") _,
        );
    }
    assert!(pid > 0, "vfork: {pid}");
    pid as i32
}
