//! Users, groups, and the names of the system.

#![allow(unsafe_code, reason = "changing the environment is unsafe")]

use std::collections::HashSet;
use std::path::Path;

use blacklight::{Error, os};

use crate::{isolated, node, output};

#[test]
fn users_are_those_of_the_data_base() {
    let mut seen = HashSet::new();
    for line in output("getent", &["passwd"]).lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let uid: u32 = fields[2].parse().unwrap();
        // The first entry of a number counts.
        if !seen.insert(uid) {
            continue;
        }
        let user = os::user_info_of(uid).unwrap();
        assert_eq!(user.username, fields[0]);
        assert_eq!((user.uid, user.gid.to_string()), (uid, fields[3].to_owned()));
        assert_eq!((user.homedir, user.shell), (fields[5].into(), fields[6].into()));
    }
    assert!(!seen.is_empty());
    assert_eq!(os::user_info_of(3_999_999_999), Err(Error::ENOENT));
}

#[test]
fn groups_are_those_of_the_data_base() {
    let mut seen = HashSet::new();
    for line in output("getent", &["group"]).lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let gid: u32 = fields[2].parse().unwrap();
        if !seen.insert(gid) {
            continue;
        }
        let group = os::group_info(gid).unwrap();
        assert_eq!((group.name, group.gid), (fields[0].into(), gid));
        let members: Vec<&str> = fields[3].split(',').filter(|name| !name.is_empty()).collect();
        assert_eq!(group.members, members);
    }
    assert!(!seen.is_empty());
    assert_eq!(os::group_info(3_999_999_999), Err(Error::ENOENT));
}

#[test]
fn this_user_is_the_tools_and_nodes() {
    let user = os::user_info().unwrap();
    assert_eq!(user.uid.to_string(), output("id", &["-u"]));
    assert_eq!(user.username, *output("id", &["-un"]));
    let fields = "['uid','gid','username','homedir','shell'].map(k => os.userInfo()[k]).join('|')";
    let Some(theirs) = node(fields) else { return };
    let (home, shell) = (user.homedir.display(), user.shell.display());
    let ours = format!("{}|{}|{}|{home}|{shell}", user.uid, user.gid, user.username.display());
    assert_eq!(ours, theirs);
}

/// Sets a variable, or removes it.
fn put(key: &str, value: Option<&str>) {
    // SAFETY: each test that calls this is alone in its process.
    unsafe {
        match value {
            Some(value) => os::setenv(key, value).unwrap(),
            None => os::unsetenv(key).unwrap(),
        }
    }
}

#[test]
fn the_home_directory_is_what_home_says_else_the_data_bases() {
    isolated(|| {
        for home in [Some("/no/such/home"), Some(""), Some("/a/"), None] {
            put("HOME", home);
            let ours = os::homedir().unwrap();
            match home {
                Some(home) => assert_eq!(ours.as_os_str(), home),
                None => assert_eq!(ours, os::user_info().unwrap().homedir),
            }
            if let Some(theirs) = node("os.homedir()") {
                assert_eq!(ours.as_os_str(), theirs.as_str(), "{home:?}");
            }
        }
    });
}

#[test]
fn the_temporary_directory_is_the_first_that_is_named() {
    isolated(|| {
        let cases: [([Option<&str>; 4], &str); 8] = [
            ([None, None, None, None], "/tmp"),
            ([Some("/a/"), Some("/b"), None, None], "/a"),
            ([None, Some("/b"), Some("/c"), None], "/b"),
            ([None, None, Some("/c//"), None], "/c/"),
            ([Some("/"), None, None, None], "/"),
            ([Some(""), Some("/b"), None, None], "/b"),
            ([Some(""), Some(""), Some(""), Some("")], "/tmp"),
            // Node does not know the fourth.
            ([None, None, None, Some("/d")], "/d"),
        ];
        for (values, expected) in cases {
            for (key, value) in ["TMPDIR", "TMP", "TEMP", "TEMPDIR"].into_iter().zip(values) {
                put(key, value);
            }
            assert_eq!(os::tmpdir().as_os_str(), expected, "{values:?}");
            if expected != "/d"
                && let Some(theirs) = node("os.tmpdir()")
            {
                assert_eq!(os::tmpdir(), Path::new(&theirs), "{values:?}");
            }
        }
    });
}

#[test]
fn names_of_the_system_are_unames_and_nodes() {
    let names = os::uname().unwrap();
    let ours = [names.sysname, names.release, names.version, names.machine];
    let ours = ours.map(|name| name.into_string().unwrap());
    assert_eq!(ours, ["-s", "-r", "-v", "-m"].map(|option| output("uname", &[option])));
    let host = os::hostname().unwrap().into_string().unwrap();
    assert_eq!(host, output("uname", &["-n"]));
    let script = "[os.type(), os.release(), os.version(), os.machine(), os.hostname()].join('\\n')";
    let Some(theirs) = node(script) else { return };
    assert_eq!(format!("{}\n{host}", ours.join("\n")), theirs);
}
