//! copyfile and sendfile, by each way that the kernel offers.

use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;

use blacklight::fs::{self, CopyFlags, File, OpenFlags};
use blacklight::{Error, EventLoop, Facilities, Options};

use crate::support::process::Scratch;
use crate::tools::noise;
use crate::{both_ways, on_loop};

const PLAIN: CopyFlags = CopyFlags::empty();

fn set_mode(path: &std::path::Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_copy_has_the_content_and_the_permissions() {
    let scratch = Scratch::new();
    let (from, to) = (scratch.join("from"), scratch.join("to"));
    let bytes = noise(3_000_001);
    std::fs::write(&from, &bytes).unwrap();
    set_mode(&from, 0o4751);
    both_ways!(done => {
        done!(fs::copyfile(&from, &to, PLAIN)).unwrap();
        assert!(std::fs::read(&to).unwrap() == bytes);
        assert_eq!(std::fs::metadata(&to).unwrap().mode() & 0o7777, 0o4751);
        // Over something longer.
        std::fs::write(&to, vec![1; 5_000_000]).unwrap();
        done!(fs::copyfile(&from, &to, CopyFlags::CLONE)).unwrap();
        assert!(std::fs::read(&to).unwrap() == bytes);
        assert_eq!(done!(fs::copyfile(&from, &to, CopyFlags::EXCLUSIVE)), Err(Error::EEXIST));
        assert!(std::fs::read(&to).unwrap() == bytes, "left alone");
        std::fs::remove_file(&to).unwrap();
        done!(fs::copyfile(&from, &to, CopyFlags::EXCLUSIVE)).unwrap();
        assert!(std::fs::read(&to).unwrap() == bytes);
        std::fs::remove_file(&to).unwrap();
    });
}

/// libuv: copyfile onto itself returns 0 and does nothing.
#[test]
fn a_file_copied_onto_itself_stays_what_it_is() {
    let scratch = Scratch::new();
    let (file, link, name) = (scratch.join("file"), scratch.join("link"), scratch.join("name"));
    std::fs::write(&file, "text").unwrap();
    std::os::unix::fs::symlink("file", &link).unwrap();
    std::fs::hard_link(&file, &name).unwrap();
    both_ways!(done => {
        for to in [&file, &link, &name] {
            for flags in [PLAIN, CopyFlags::CLONE, CopyFlags::CLONE_FORCE] {
                done!(fs::copyfile(&file, to, flags)).unwrap();
                assert_eq!(std::fs::read(&file).unwrap(), b"text");
            }
        }
        assert_eq!(done!(fs::copyfile(&file, &file, CopyFlags::EXCLUSIVE)), Err(Error::EEXIST));
        assert_eq!(std::fs::read(&file).unwrap(), b"text");
    });
}

#[test]
fn what_cannot_be_copied_leaves_no_target() {
    let scratch = Scratch::new();
    let (file, to) = (scratch.join("file"), scratch.join("to"));
    std::fs::write(&file, "text").unwrap();
    both_ways!(done => {
        assert_eq!(done!(fs::copyfile(scratch.join("no"), &to, PLAIN)), Err(Error::ENOENT));
        assert_eq!(done!(fs::copyfile(scratch.path(), &to, PLAIN)), Err(Error::EISDIR));
        assert!(!to.exists());
        assert_eq!(done!(fs::copyfile(&file, scratch.path(), PLAIN)), Err(Error::EISDIR));
        assert_eq!(done!(fs::copyfile(&file, scratch.join("no/to"), PLAIN)), Err(Error::ENOENT));
        let strange = CopyFlags::from_bits_retain(8);
        assert_eq!(fs::copyfile(&file, &to, strange).run(), Err(Error::EINVAL));
        // A file of /proc cannot share its blocks.
        let forced = done!(fs::copyfile("/proc/self/status", &to, CopyFlags::CLONE_FORCE));
        assert!(matches!(
            forced,
            Err(Error::EXDEV | Error::ENOTSUP | Error::EINVAL | Error::ENOTTY | Error::ENOSYS)
        ));
        assert!(!to.exists(), "what was begun is removed");
    });
}

#[test]
fn where_blocks_can_be_shared_they_are() {
    let scratch = Scratch::new();
    let (from, to) = (scratch.join("from"), scratch.join("to"));
    std::fs::write(&from, noise(100_000)).unwrap();
    match fs::copyfile(&from, &to, CopyFlags::CLONE_FORCE).run() {
        Ok(()) => assert!(std::fs::read(&to).unwrap() == noise(100_000)),
        Err(error) => {
            assert!(matches!(error, Error::ENOTSUP | Error::EINVAL | Error::ENOTTY), "{error}");
            crate::support::process::skip("this file system cannot share blocks");
        }
    }
}

#[test]
fn a_file_without_a_size_is_copied_up_to_its_end() {
    let scratch = Scratch::new();
    both_ways!(done => {
        let to = scratch.join("version");
        done!(fs::copyfile("/proc/version", &to, PLAIN)).unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), std::fs::read("/proc/version").unwrap());
        std::fs::write(scratch.join("empty"), "").unwrap();
        done!(fs::copyfile(scratch.join("empty"), &to, PLAIN)).unwrap();
        assert_eq!(std::fs::metadata(&to).unwrap().len(), 0);
    });
}

#[test]
fn sixty_four_mebibytes_with_holes_arrive_by_each_way() {
    const SIZE: u64 = 64 << 20;
    let scratch = Scratch::new();
    let (from, to) = (scratch.join("from"), scratch.join("to"));
    let mut file = std::fs::File::create_new(&from).unwrap();
    let chunk = noise(1 << 20);
    for mebibyte in (0..64u64).step_by(3) {
        file.seek(std::io::SeekFrom::Start(mebibyte << 20)).unwrap();
        file.write_all(&chunk).unwrap();
    }
    file.set_len(SIZE).unwrap();
    drop(file);
    let same = |a: &std::path::Path, b: &std::path::Path| {
        let (mut a, mut b) = (std::fs::File::open(a).unwrap(), std::fs::File::open(b).unwrap());
        let (mut one, mut other) = (vec![0; 1 << 20], vec![0; 1 << 20]);
        for _ in 0..64 {
            a.read_exact(&mut one).unwrap();
            b.read_exact(&mut other).unwrap();
            assert!(one == other);
        }
        assert_eq!((a.read(&mut one).unwrap(), b.read(&mut other).unwrap()), (0, 0));
    };
    for facilities in [Facilities::all(), Facilities::all() - Facilities::COPY_FILE_RANGE] {
        let options = Options { facilities, ..Options::from_env().unwrap() };
        let lp = EventLoop::with_options(options).unwrap();
        on_loop(&lp, fs::copyfile(&from, &to, PLAIN)).unwrap();
        same(&from, &to);
        std::fs::remove_file(&to).unwrap();
    }
}

#[test]
fn sendfile_keeps_to_offset_and_length() {
    let scratch = Scratch::new();
    let (from, to) = (scratch.join("from"), scratch.join("to"));
    std::fs::write(&from, "0123456789").unwrap();
    both_ways!(done => {
        let source = fs::open(&from, OpenFlags::READ_ONLY, 0).run().unwrap();
        let flags = OpenFlags::WRITE_ONLY | OpenFlags::CREATE | OpenFlags::TRUNCATE;
        let target = fs::open(&to, flags, 0o600).run().unwrap();
        assert_eq!(done!(fs::sendfile(&source, &target, 2, 3)), Ok(3));
        assert_eq!(done!(fs::sendfile(&source, &target, 8, 100)), Ok(2));
        assert_eq!(done!(fs::sendfile(&source, &target, 10, 100)), Ok(0));
        assert_eq!(done!(fs::sendfile(&source, &target, 0, 0)), Ok(0));
        assert_eq!(std::fs::read(&to).unwrap(), b"23489");
        // The source's own position is not touched.
        assert_eq!(source.read(vec![0; 2], None).run().into_bytes().unwrap(), b"01");
        assert_eq!(done!(fs::sendfile(&target, &source, 0, 5)), Err(Error::EBADF));
        assert_eq!(fs::sendfile(&source, &target, u64::MAX, 5).run(), Err(Error::EINVAL));
    });
}

#[test]
fn sendfile_reaches_sockets_pipes_and_files_that_grow_and_takes_from_pipes() {
    let scratch = Scratch::new();
    let (from, to) = (scratch.join("from"), scratch.join("to"));
    let bytes = noise(10_000);
    std::fs::write(&from, &bytes).unwrap();
    both_ways!(done => {
        let source = fs::open(&from, OpenFlags::READ_ONLY, 0).run().unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let socket = File::from(OwnedFd::from(ours));
        assert_eq!(done!(fs::sendfile(&source, &socket, 1, 9_999)), Ok(9_999));
        let mut got = vec![0; 9_999];
        theirs.read_exact(&mut got).unwrap();
        assert!(got == bytes[1..]);

        let (mut reader, writer) = std::io::pipe().unwrap();
        let pipe = File::from(OwnedFd::from(writer));
        assert_eq!(done!(fs::sendfile(&source, &pipe, 0, 10_000)), Ok(10_000));
        pipe.close().run().unwrap();
        let mut got = Vec::new();
        reader.read_to_end(&mut got).unwrap();
        assert!(got == bytes);

        // Neither copy_file_range nor sendfile writes to a file that is open for appending.
        let flags = OpenFlags::WRITE_ONLY | OpenFlags::CREATE | OpenFlags::APPEND;
        let _fresh = std::fs::remove_file(&to);
        let target = fs::open(&to, flags, 0o600).run().unwrap();
        assert_eq!(done!(fs::sendfile(&source, &target, 0, 10_000)), Ok(10_000));
        assert!(std::fs::read(&to).unwrap() == bytes);

        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"through a pipe").unwrap();
        drop(writer);
        let pipe = File::from(OwnedFd::from(reader));
        assert_eq!(done!(fs::sendfile(&pipe, &target, 0, 100)), Ok(14));
        assert!(std::fs::read(&to).unwrap().ends_with(b"through a pipe"));
    });
}
