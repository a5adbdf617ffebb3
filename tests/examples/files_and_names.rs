//! The examples of files and names.

use super::program::{Folder, Program};

#[test]
fn copy_file_makes_copies_that_are_the_same() {
    let ended = Program::example("copy_file").args(["--self-test", "16"]).run();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert!(ended.text().ends_with("16 MiB: the same\n"), "{}", ended.text());
    let folder = Folder::new("copy");
    let (from, to) = (folder.join("from"), folder.join("to"));
    std::fs::write(&from, vec![7; 2_500_000]).unwrap();
    let ended = Program::example("copy_file").args([&from, &to]).run();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert!(std::fs::read(&to).unwrap() == vec![7; 2_500_000]);
    let ended = Program::example("copy_file").args([&folder.join("no"), &to]).run();
    assert_ne!(ended.code(), Some(0));
    assert!(ended.stderr.contains("ENOENT"), "{}", ended.stderr);
}

#[test]
fn dns_lookup_tells_addresses_and_their_names() {
    let ended = Program::example("dns_lookup").args(["127.0.0.1", "no name at all"]).run();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert!(ended.text().starts_with("127.0.0.1\t127.0.0.1\t"), "{}", ended.text());
    assert!(ended.stderr.starts_with("no name at all: "), "{}", ended.stderr);
}
