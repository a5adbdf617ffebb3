//! As much HTTP/1.1 as it takes to answer simple requests correctly (RFC 9112).
//!
//! Invariant: a response says how long it is; the connection is kept where both sides can go on, and
//! closed, after the response, where a request has a body that nobody here reads.

use blacklight::prelude::*;

/// Bytes of a request's head; a longer one is answered with 431, and the connection closed.
const MOST_HEAD: usize = 16 * 1024;

/// Answers the requests of a connection with `body`.
pub(crate) fn serve(connection: &Tcp, body: String) {
    let mut pending = Vec::new();
    let reading = connection.read_start(move |connection, read| match read {
        Read::Data(bytes) => {
            pending.extend_from_slice(bytes);
            while let Some(end) = end_of_head(&pending) {
                let head: Vec<u8> = pending.drain(..end).collect();
                let keep = answer(connection, &String::from_utf8_lossy(&head), &body);
                if !keep {
                    finish(connection);
                    return;
                }
            }
            if pending.len() > MOST_HEAD {
                respond(connection, "431 Request Header Fields Too Large", "", true, false);
                finish(connection);
            }
        }
        Read::Eof => finish(connection),
        Read::Error(_) => connection.close(),
    });
    if reading.is_err() {
        connection.close();
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// Answers one request; whether another may follow.
fn answer(connection: &Tcp, head: &str, body: &str) -> bool {
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (method, _target, version) = (words.next(), words.next(), words.next());
    let header = |name: &str| {
        let mut fields = lines.clone().filter_map(|line| line.split_once(':'));
        fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    let asked = header("connection").unwrap_or_default().to_ascii_lowercase();
    let persistent = match version {
        Some("HTTP/1.1") => !asked.contains("close"),
        Some("HTTP/1.0") => asked.contains("keep-alive"),
        _ => {
            respond(connection, "400 Bad Request", "", true, false);
            return false;
        }
    };
    let has_body = header("transfer-encoding").is_some()
        || header("content-length").is_some_and(|length| length != "0");
    let keep = persistent && !has_body;
    match method {
        Some("GET") => respond(connection, "200 OK", body, true, keep),
        Some("HEAD") => respond(connection, "200 OK", body, false, keep),
        _ => respond(connection, "501 Not Implemented", "", true, keep),
    }
    keep
}

fn respond(connection: &Tcp, status: &str, body: &str, with_body: bool, keep: bool) {
    let length = body.len();
    let connection_is = if keep { "keep-alive" } else { "close" };
    let shown = if with_body { body } else { "" };
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
         Connection: {connection_is}\r\n\r\n{shown}"
    );
    // A client that has gone needs no answer; reading tells.
    let _gone = connection.write_and_forget(text);
}

/// Closes a connection when everything has been written.
fn finish(connection: &Tcp) {
    connection.read_stop();
    if connection.shutdown(|connection, _| connection.close()).is_err() {
        connection.close();
    }
}

/// Closes all connections, each when what it was sent is written.
pub(crate) fn finish_all(lp: &LoopRef) {
    lp.walk(|handle| {
        if let Some(connection) = handle.downcast::<Tcp>()
            && !connection.is_closing()
        {
            finish(&connection);
        }
    });
}
