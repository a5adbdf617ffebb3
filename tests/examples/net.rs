//! The examples of sockets.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::program::{Ended, Program};

/// Runs `server`, an example that says where it listens; once it does, runs the program that `client`
/// makes of the address, and ends the server.
fn with_server(
    server: Program,
    client: impl Fn(&str) -> Program + 'static,
) -> (Ended, Rc<RefCell<Option<Ended>>>) {
    let ran = Rc::new(RefCell::new(None));
    let (place, begun) = (ran.clone(), Cell::new(false));
    let server = server.watch(move |server| {
        if !server.has_said("\n") || begun.replace(true) {
            return;
        }
        let said = server.text();
        let address = said.trim().rsplit(' ').next().unwrap_or_default();
        // The server runs on while this loop waits for another one.
        place.replace(Some(client(address).run()));
        server.process.kill(libc::SIGINT).unwrap();
    });
    (server, ran)
}

#[test]
fn lines_come_back_from_the_tcp_echo_server() {
    let input: String = (0..20_000).map(|n| format!("line {n}\n")).collect();
    let sent = input.clone();
    let (server, client) =
        with_server(Program::example("tcp_echo").args(["127.0.0.1:0"]), move |address| {
            Program::example("tcp_echo").args(["--client", address]).input(&sent)
        });
    let client = client.take().expect("it ran");
    assert_eq!((client.code(), client.stderr.as_str()), (Some(0), ""));
    assert!(client.text() == input, "{} bytes", client.stdout.len());
    assert_eq!((server.code(), server.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_tcp_client_without_a_server_says_so() {
    // A port that is bound and that nobody listens on.
    let holder = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    holder.bind(&any.into()).unwrap();
    let address = holder.local_addr().unwrap().as_socket().unwrap().to_string();
    let ended = Program::example("tcp_echo").args(["--client", &address]).run();
    assert!(ended.stderr.contains("ECONNREFUSED: connection refused"), "{}", ended.stderr);
}

#[test]
fn the_udp_sink_tells_what_it_gets_and_answers() {
    let (server, client) = with_server(Program::example("udp").args(["127.0.0.1:0"]), |address| {
        Program::example("udp").args(["--send", address, "hello"])
    });
    let client = client.take().expect("it ran");
    assert_eq!(client.code(), Some(0), "{}", client.stderr);
    assert!(client.text().starts_with("got 5 bytes\n"), "{}", client.text());
    let text = server.text();
    assert!(text.contains("1 to 127.0.0.1, Ect0: hello\n"), "{text}");
    assert!(text.contains("to 127.0.0.1, Ect1: "), "{text}");
    assert_eq!(server.code(), Some(0), "{}", server.stderr);
}

/// The load of connections, with fewer of them.
#[test]
fn a_thousand_connections_are_all_echoed() {
    let ended = Program::example("load_tcp").args(["1000", "2"]).run();
    assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""));
    let text = ended.text();
    assert!(text.contains("1000 connections in "), "{text}");
    assert!(text.contains(" s, 0 failed\n"), "{text}");
    assert!(text.contains("\n2000 echoes, "), "{text}");
}

/// The load of datagrams, with fewer of them.
#[test]
fn no_datagram_is_lost_in_any_way_of_sending() {
    let ended = Program::example("load_udp").args(["50000"]).run();
    assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""));
    for mode in ["OneByOne", "Batches", "Segments"] {
        let line = format!("{mode}: 50000 received, 0 lost, ");
        assert!(ended.text().contains(&line), "{}", ended.text());
    }
}
