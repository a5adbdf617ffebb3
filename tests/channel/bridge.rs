//! The example that talks to a node script.

use crate::node_child::has_node;
use crate::support::isolated;
use crate::support::process::says;

#[test]
fn the_bridge_passes_a_server_to_node_and_is_served() {
    isolated(|| {
        if !has_node() {
            return;
        }
        // target/debug/deps/channel-0123 → target/debug/examples/node_bridge
        let test = std::env::current_exe().unwrap();
        let path =
            test.parent().and_then(|deps| deps.parent()).unwrap().join("examples/node_bridge");
        assert!(path.exists(), "{} is not built: run `cargo test`", path.display());
        let text = says(&mut blacklight::Command::new(path));
        let lines: Vec<&str> = text.lines().collect();
        for line in ["the server is on its way: Ok(())", "a client hears: served by node"] {
            assert!(lines.contains(&line), "{text}");
        }
        assert!(text.contains("from Rust"), "{text}");
        assert_eq!(lines[lines.len() - 2], "disconnected", "{text}");
        assert!(lines[lines.len() - 1].ends_with("ended: exit code 0"), "{text}");
    });
}
