//! Copies a file through the loop, in pieces, and compares it with a copy that the kernel made.
//!
//! ```text
//! cargo run --release --example copy_file -- FROM TO
//! cargo run --release --example copy_file -- --self-test 1024     # mebibytes, in the temporary directory
//! ```

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use blacklight::fs::{self, CopyFlags, File, OpenFlags};
use blacklight::{EventLoop, LoopRef, Result, RunMode};

/// Bytes of a piece, and pieces under way at a time.
const PIECE: usize = 1 << 20;
const AT_ONCE: u64 = 8;

/// A copy under way: each piece is read, written at the same place, and followed by the next.
struct Copy {
    from: File,
    to: File,
    size: u64,
    next: Cell<u64>,
    failed: RefCell<Option<blacklight::Error>>,
}

impl Copy {
    fn piece(self: &Rc<Copy>, lp: &LoopRef, buffer: Vec<u8>) {
        let offset = self.next.get();
        if offset >= self.size || self.failed.borrow().is_some() {
            return;
        }
        self.next.set(offset + PIECE as u64);
        self.read(lp, buffer, offset);
    }

    fn read(self: &Rc<Copy>, lp: &LoopRef, buffer: Vec<u8>, offset: u64) {
        let (copy, then) = (self.clone(), lp.clone());
        let read = self.from.read(buffer, Some(offset)).start(lp, move |read| {
            let (Ok(n), mut buffer) = (read.result, read.buffer) else {
                return copy.fail(read.result.err());
            };
            buffer.truncate(n);
            let (copy2, again) = (copy.clone(), then.clone());
            let write = copy.to.write(buffer, Some(offset)).start(&then, move |written| {
                copy2.fail(written.result.err());
                let mut buffer = written.buffer;
                buffer.resize(PIECE, 0);
                // A read may stop early; what follows is read again with the rest of its piece.
                let end = offset + n as u64;
                if n > 0 && n < PIECE && end < copy2.size {
                    return copy2.read(&again, buffer, end);
                }
                copy2.piece(&again, buffer);
            });
            copy.fail(write.err());
        });
        self.fail(read.err());
    }

    fn fail(&self, error: Option<blacklight::Error>) {
        if let Some(error) = error {
            self.failed.borrow_mut().get_or_insert(error);
        }
    }
}

fn copy(lp: &EventLoop, from: &Path, to: &Path) -> Result<()> {
    let from = fs::open(from, OpenFlags::READ_ONLY, 0).run()?;
    let flags = OpenFlags::WRITE_ONLY | OpenFlags::CREATE | OpenFlags::TRUNCATE;
    let to = fs::open(to, flags, 0o644).run()?;
    let size = from.stat().run()?.size;
    to.truncate(size).run()?;
    let copy = Rc::new(Copy { from, to, size, next: Cell::new(0), failed: RefCell::new(None) });
    for _ in 0..AT_ONCE {
        copy.piece(lp, vec![0; PIECE]);
    }
    lp.run(RunMode::Default)?;
    copy.to.close().run()?;
    let failed = copy.failed.take();
    failed.map_or(Ok(()), Err)
}

/// Whether two files have the same content.
fn same(one: &Path, other: &Path) -> Result<bool> {
    let open = |path: &Path| fs::open(path, OpenFlags::READ_ONLY, 0).run();
    let (one, other) = (open(one)?, open(other)?);
    let (mut a, mut b) = (vec![0; PIECE], vec![0; PIECE]);
    let mut offset = 0;
    loop {
        let (read_a, read_b) = (one.read(a, Some(offset)).run(), other.read(b, Some(offset)).run());
        let (n, m) = (read_a.result?, read_b.result?);
        (a, b) = (read_a.buffer, read_b.buffer);
        if n != m || a[..n] != b[..m] {
            return Ok(false);
        }
        if n == 0 {
            return Ok(true);
        }
        offset += n as u64;
    }
}

/// A file with random bytes in every third mebibyte and holes between them.
fn sparse_and_random(path: &Path, mebibytes: u64) -> Result<()> {
    let flags = OpenFlags::WRITE_ONLY | OpenFlags::CREATE | OpenFlags::TRUNCATE;
    let file = fs::open(path, flags, 0o600).run()?;
    for mebibyte in (0..mebibytes).step_by(3) {
        let filled = blacklight::random(vec![0; PIECE]).run();
        filled.result?;
        file.write(filled.buffer, Some(mebibyte << 20)).run().result?;
    }
    file.truncate(mebibytes << 20).run()?;
    file.close().run()
}

fn self_test(lp: &EventLoop, directory: &Path, mebibytes: u64) -> Result<bool> {
    let [source, ours, kernels] = ["source", "ours", "kernels"].map(|name| directory.join(name));
    sparse_and_random(&source, mebibytes)?;
    let begun = Instant::now();
    copy(lp, &source, &ours)?;
    println!("read and written through the loop: {:?}", begun.elapsed());
    let begun = Instant::now();
    fs::copyfile(&source, &kernels, CopyFlags::CLONE).run()?;
    println!("copyfile: {:?}", begun.elapsed());
    let all_same = same(&source, &ours)? && same(&source, &kernels)?;
    println!("{mebibytes} MiB: {}", if all_same { "the same" } else { "not the same" });
    for path in [source, ours, kernels] {
        fs::unlink(path).run()?;
    }
    Ok(all_same)
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let lp = EventLoop::new()?;
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    match args.as_slice() {
        [option, mebibytes] if option.as_os_str() == "--self-test" => {
            let mebibytes = mebibytes.to_string_lossy().parse()?;
            let directory = fs::mkdtemp(std::env::temp_dir().join("copy-XXXXXX")).run()?;
            let all_same = self_test(&lp, &directory, mebibytes);
            fs::rmdir(&directory).run()?;
            if !all_same? {
                return Err("the copies differ".into());
            }
        }
        [from, to] => copy(&lp, from, to)?,
        _ => return Err("usage: copy_file FROM TO | --self-test MEBIBYTES".into()),
    }
    Ok(())
}
