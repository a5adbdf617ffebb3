//! A node script as the parent of a program of this crate.

use crate::node_child::has_node;
use crate::support::isolated;
use crate::support::process::says;
use crate::talk::node_parent;

fn lines(role: &str, advanced: bool, script: &str) -> Vec<String> {
    says(&mut node_parent(role, advanced, script)).lines().map(str::to_owned).collect()
}

#[test]
fn a_node_parent_hears_its_messages_echoed_in_both_serializations() {
    isolated(|| {
        if !has_node() {
            return;
        }
        for advanced in [false, true] {
            let script = "const all = [null, true, 1.5, 'tëxt \\u{1F600}', [1, [2]], { a: { b: null } }, ''];\
                let n = 0; child.on('message', m => { \
                  require('assert').deepStrictEqual(m, all[n++]); \
                  if (n === all.length) child.disconnect(); });\
                child.on('disconnect', () => console.log('disconnect', n));\
                child.on('exit', code => console.log('exit', code));\
                for (const m of all) child.send(m);";
            assert_eq!(lines("echo", advanced, script), ["disconnect 7", "exit 0"]);
        }
    });
}

#[test]
fn the_channel_is_taken_out_of_the_environment_and_not_inherited() {
    isolated(|| {
        if !has_node() {
            return;
        }
        // The parent of the node is not the one that made the channel, whatever it passes on.
        let script = "child.on('message', m => console.log(JSON.stringify(m)));";
        let mut command = node_parent("environment", false, script);
        command.env("BLACKLIGHT_CHANNEL", std::process::id().to_string());
        assert_eq!(says(&mut command), r#"{"left":0,"sockets":"0","us":false}"#);
    });
}

#[test]
fn a_child_keeps_its_loop_by_listening_only() {
    isolated(|| {
        if !has_node() {
            return;
        }
        let report = "child.on('message', m => console.log('message', m));\
            child.on('disconnect', () => console.log('disconnect'));\
            child.on('exit', code => console.log('exit', code));";
        assert_eq!(lines("nothing", false, report), ["disconnect", "exit 0"]);
        assert_eq!(lines("listen unreferenced", false, report), ["disconnect", "exit 0"]);
        let still = ["message still here", "disconnect", "exit 0"];
        assert_eq!(lines("referenced", false, report), still);
        let once = format!("{report} child.send('one');");
        assert_eq!(lines("listen once", false, &once), ["message one", "disconnect", "exit 0"]);
    });
}

#[test]
fn both_ends_may_flood_each_other() {
    isolated(|| {
        if !has_node() {
            return;
        }
        for advanced in [false, true] {
            let script = "let n = 0; child.on('message', m => { if (m !== n++) console.log('order', m); });\
                for (let i = 0; i < 100000; i++) child.send(i);\
                child.on('exit', code => console.log('exit', code, n));";
            assert_eq!(lines("flood", advanced, script), ["exit 0 100000"]);
        }
    });
}

#[test]
fn what_is_sent_before_an_exit_or_a_disconnection_arrives() {
    isolated(|| {
        if !has_node() {
            return;
        }
        let script = "let bytes = 0, last; child.on('message', m => { bytes += m.length; last = m; });\
            child.on('disconnect', () => console.log('disconnect', bytes, last));\
            child.on('exit', code => console.log('exit', code));";
        let all = 160 * 65536 + 4;
        let left = lines("leave with 7", true, script);
        assert_eq!(left, [format!("disconnect {all} last"), "exit 7".to_owned()]);
        let all = (1 << 20) + 4;
        let left = lines("disconnect behind a megabyte", false, script);
        assert_eq!(left, [format!("disconnect {all} last"), "exit 0".to_owned()]);
    });
}
