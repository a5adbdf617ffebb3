//! Open files: reading, writing, positions, sizes, and the end of a descriptor.

use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;

use blacklight::fs::{self, File, OpenFlags, RawBuffer};
use blacklight::{Error, EventLoop};

use crate::support::process::{Scratch, until};
use crate::support::{isolated, open_fds};
use crate::tools::{finish, noise};
use crate::{both_ways, on_loop, warm_loop};

const NEW: OpenFlags = OpenFlags::READ_WRITE.union(OpenFlags::CREATE).union(OpenFlags::TRUNCATE);

#[test]
fn what_is_written_is_read_at_offsets_and_at_the_position() {
    let scratch = Scratch::new();
    let path = scratch.join("file");
    both_ways!(done => {
        let file = done!(fs::open(&path, NEW, 0o600)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let written = done!(file.write(b"0123456789", None));
        assert_eq!((written.result, written.buffer), (Ok(10), b"0123456789"));
        assert_eq!(done!(file.write(vec![b'x'; 2], Some(4))).result, Ok(2));
        // The position is where the first write left it.
        assert_eq!(done!(file.write(String::from("ab"), None)).result, Ok(2));
        let read = done!(file.read(vec![0; 100], Some(0)));
        assert_eq!(read.result, Ok(12));
        assert_eq!(read.into_bytes().unwrap(), b"0123xx6789ab");
        assert_eq!(done!(file.read(vec![0; 4], None)).result, Ok(0), "the end");
        assert_eq!(done!(file.read(vec![0; 3], Some(9))).into_bytes().unwrap(), b"9ab");
        assert_eq!(done!(file.read(vec![0; 3], Some(100))).result, Ok(0));
        assert_eq!(done!(file.read(Vec::new(), Some(0))).result, Ok(0));
        assert_eq!(done!(file.stat()).unwrap().size, 12);
        done!(file.close()).unwrap();
    });
}

#[test]
fn several_buffers_are_written_and_read_in_order() {
    let scratch = Scratch::new();
    let path = scratch.join("file");
    both_ways!(done => {
        let file = done!(fs::open(&path, NEW, 0o600)).unwrap();
        let parts: Vec<&'static [u8]> = vec![b"one", b"", b"two", b"three"];
        let written = done!(file.write_vectored(parts.clone(), None));
        assert_eq!((written.result, written.buffer), (Ok(11), parts));
        let arc: Arc<[u8]> = Arc::from(&b"ab"[..]);
        assert_eq!(done!(file.write_vectored(vec![arc; 3], Some(8))).result, Ok(6));
        let read = done!(file.read_vectored(vec![vec![0; 3], vec![], vec![0; 5], vec![0; 9]], Some(0)));
        assert_eq!(read.result, Ok(14));
        assert_eq!(read.buffer[..3], [b"one".to_vec(), vec![], b"twoth".to_vec()]);
        assert_eq!(&read.buffer[3][..6], b"ababab");
        assert_eq!(done!(file.write_vectored(vec![b"", b""], None)).result, Ok(0));
    });
}

/// libuv's note on `uv_fs_write` and `uv_fs_read`: more buffers than IOV_MAX are all written, but
/// only IOV_MAX of them are read into.
#[test]
fn more_buffers_than_one_call_takes_are_all_written_and_as_many_read() {
    let scratch = Scratch::new();
    let path = scratch.join("file");
    both_ways!(done => {
        let file = done!(fs::open(&path, NEW, 0o600)).unwrap();
        for offset in [None, Some(0)] {
            let parts: Vec<Vec<u8>> = (0..2500u32).map(|i| i.to_le_bytes().to_vec()).collect();
            assert_eq!(done!(file.write_vectored(parts, offset)).result, Ok(10_000));
            let bytes = std::fs::read(&path).unwrap();
            let expected: Vec<u8> = (0..2500u32).flat_map(u32::to_le_bytes).collect();
            assert!(bytes == expected);
        }
        let read = done!(file.read_vectored(vec![vec![0; 4]; 2500], Some(0)));
        assert_eq!(read.result, Ok(4096));
        assert_eq!(read.buffer[1023], 1023u32.to_le_bytes());
        assert_eq!(read.buffer[1024], [0; 4]);
    });
}

#[test]
fn appending_truncating_and_syncing_do_what_they_say() {
    let scratch = Scratch::new();
    let path = scratch.join("file");
    both_ways!(done => {
        std::fs::write(&path, "abc").unwrap();
        let append = OpenFlags::WRITE_ONLY | OpenFlags::APPEND;
        let file = done!(fs::open(&path, append, 0)).unwrap();
        done!(file.write("def", None)).result.unwrap();
        done!(file.sync()).unwrap();
        done!(file.sync_data()).unwrap();
        done!(file.truncate(5)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"abcde");
        done!(file.truncate(7)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"abcde\0\0");
        done!(file.chmod(0o640)).unwrap();
        let told = std::fs::metadata(&path).unwrap();
        assert_eq!(told.permissions().mode() & 0o7777, 0o640);
        done!(file.chown(u32::MAX, u32::MAX)).unwrap();
        done!(file.chown(told.uid(), told.gid())).unwrap();
    });
}

#[test]
fn a_pipe_is_read_without_an_offset_and_not_with_one() {
    both_ways!(done => {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let file = File::from(OwnedFd::from(reader));
        writer.write_all(b"xyz").unwrap();
        assert_eq!(done!(file.read(vec![0; 9], Some(0))).result, Err(Error::ESPIPE));
        assert_eq!(done!(file.read(vec![0; 9], None)).into_bytes().unwrap(), b"xyz");
        drop(writer);
        assert_eq!(done!(file.read(vec![0; 9], None)).result, Ok(0));
    });
}

#[test]
fn memory_of_a_c_interface_is_read_into_and_written_from() {
    let scratch = Scratch::new();
    let path = scratch.join("file");
    both_ways!(done => {
        let mut memory = *b"0123";
        let file = done!(fs::open(&path, NEW, 0o600)).unwrap();
        // SAFETY: the array outlives both operations, and nobody looks at it meanwhile.
        let raw = unsafe { RawBuffer::from_raw_parts(memory.as_mut_ptr(), 4) };
        let written = done!(file.write(raw, None));
        assert_eq!(written.result, Ok(4));
        file.write("9876", Some(0)).run().result.unwrap();
        assert_eq!(done!(file.read(written.buffer, Some(0))).result, Ok(4));
        assert_eq!(&memory, b"9876");
    });
}

#[test]
fn a_number_of_somebody_else_s_is_used_and_closed_only_on_request() {
    isolated(|| {
        let scratch = Scratch::new();
        let mut theirs = std::fs::File::create_new(scratch.join("file")).unwrap();
        both_ways!(done => {
            // SAFETY: `theirs` is open throughout, and agrees.
            let file = unsafe { File::from_raw(theirs.as_raw_fd()) };
            done!(file.write("abc", None)).result.unwrap();
            assert_eq!(file.fileno(), Ok(theirs.as_raw_fd()));
            drop(file);
            assert_eq!(theirs.stream_position().unwrap(), 3, "open still");
            theirs.rewind().unwrap();
            let copy = theirs.try_clone().unwrap();
            // SAFETY: the copy's number is given away for good.
            let file = unsafe { File::from_raw(std::os::fd::IntoRawFd::into_raw_fd(copy)) };
            done!(file.close()).unwrap();
            for number in [-1, -2, i32::MAX, 9999] {
                // SAFETY: no such descriptor is open, so it is nobody's.
                let file = unsafe { File::from_raw(number) };
                assert_eq!(done!(file.read(vec![0; 1], None)).result, Err(Error::EBADF));
                assert_eq!(done!(file.write("x", None)).result, Err(Error::EBADF));
                assert_eq!(done!(file.write("x", Some(0))).result, Err(Error::EBADF));
                assert_eq!(done!(file.stat()), Err(Error::EBADF));
                assert_eq!(done!(file.sync()), Err(Error::EBADF));
                assert_eq!(done!(file.close()), Err(Error::EBADF));
            }
        });
    });
}

#[test]
fn descriptors_come_and_go_as_they_are() {
    let scratch = Scratch::new();
    let path = scratch.join("file");
    std::fs::write(&path, "text").unwrap();
    let file = File::from(std::fs::File::open(&path).unwrap());
    let other = file.clone();
    assert_eq!(file.into_owned_fd().map(drop), Err(Error::EBUSY));
    let waiting = other.read(vec![0; 4], None);
    let file = other.clone();
    drop(other);
    assert_eq!(file.clone().into_owned_fd().map(drop), Err(Error::EBUSY));
    assert_eq!(waiting.run().result, Ok(4));
    let mut back = std::fs::File::from(file.into_owned_fd().unwrap());
    back.rewind().unwrap();
    let mut text = String::new();
    back.read_to_string(&mut text).unwrap();
    assert_eq!(text, "text");
    let closed = File::from(back);
    closed.close().run().unwrap();
    assert_eq!(closed.into_owned_fd().map(drop), Err(Error::EBADF));
}

#[test]
fn a_dropped_file_closes_its_descriptor_and_a_disowned_one_does_not() {
    isolated(|| {
        let before = open_fds();
        let lp = warm_loop();
        let with_loop = open_fds();
        let file = on_loop(&lp, fs::open("/dev/null", OpenFlags::READ_ONLY, 0)).unwrap();
        assert_eq!(open_fds().len(), with_loop.len() + 1);
        drop(file.clone());
        assert_eq!(open_fds().len(), with_loop.len() + 1);
        drop(file);
        assert_eq!(open_fds(), with_loop);
        // A file that nobody waits for any more.
        fs::open("/dev/null", OpenFlags::READ_ONLY, 0).start(&lp, drop).unwrap();
        finish(&lp);
        assert_eq!(open_fds(), with_loop);
        let file = fs::open("/dev/null", OpenFlags::READ_ONLY, 0).run().unwrap();
        let number = file.disown().unwrap();
        drop(file);
        assert_eq!(open_fds().len(), with_loop.len() + 1);
        // SAFETY: the number was given away by `disown`.
        unsafe { File::from_raw(number) }.close().run().unwrap();
        drop(lp);
        // The pool's thread may still be about to let go of what woke the loop.
        until(|| open_fds() == before);
    });
}

#[test]
fn opened_descriptors_are_close_on_exec() {
    let file = fs::open("/dev/null", OpenFlags::READ_ONLY, 0).run().unwrap();
    // SAFETY: no pointers.
    let flags = unsafe { libc::fcntl(file.fileno().unwrap(), libc::F_GETFD) };
    assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
}

#[test]
fn many_reads_of_one_file_at_once_do_not_disturb_each_other() {
    let scratch = Scratch::new();
    let path = scratch.join("file");
    let bytes = Arc::new(noise(1 << 20));
    std::fs::write(&path, &*bytes).unwrap();
    let file = fs::open(&path, OpenFlags::READ_ONLY, 0).run().unwrap();
    let lp = EventLoop::new().unwrap();
    let count = std::rc::Rc::new(std::cell::Cell::new(0));
    for i in 0..1024u64 {
        let (bytes, count) = (bytes.clone(), count.clone());
        let offset = i * 7919 % (1 << 20);
        file.read(vec![0; 1024], Some(offset))
            .start(&lp, move |read| {
                let read = read.into_bytes().unwrap();
                assert!(read == bytes[offset as usize..][..read.len()] && !read.is_empty());
                count.set(count.get() + 1);
            })
            .unwrap();
    }
    finish(&lp);
    assert_eq!(count.get(), 1024);
}
