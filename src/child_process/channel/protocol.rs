//! The internal messages of Node's protocol, as values.
//!
//! A message is internal when it is an object whose `cmd` is a string longer than its prefix
//! `NODE_`. Field order is that of Node, which a byte-wise reader may rely on.

use super::super::value::Value;
use super::handle::SendHandle;

const PREFIX: &str = "NODE_";

pub(super) const HANDLE: &str = "NODE_HANDLE";
pub(super) const ACK: &str = "NODE_HANDLE_ACK";
pub(super) const NACK: &str = "NODE_HANDLE_NACK";
pub(super) const NOTIFY_CLOSE: &str = "NODE_SOCKET_NOTIFY_CLOSE";
pub(super) const ALL_CLOSED: &str = "NODE_SOCKET_ALL_CLOSED";
pub(super) const GET_COUNT: &str = "NODE_SOCKET_GET_COUNT";
pub(super) const COUNT: &str = "NODE_SOCKET_COUNT";
/// Not Node's: says that this crate is at the other end. Node takes it for an internal message that
/// nobody listens for.
pub(super) const HELLO: &str = "NODE_BLACKLIGHT";

/// The command of an internal message; `None` for an ordinary one.
pub(super) fn command(message: &Value) -> Option<String> {
    let command = message.get("cmd")?.as_str()?;
    (command.len() > PREFIX.len() && command.starts_with(PREFIX)).then(|| command.to_owned())
}

/// A message of nothing but its command.
pub(super) fn bare(command: &str) -> Value {
    Value::object([("cmd", Value::from(command))])
}

/// The envelope of a message that a handle travels with.
pub(super) fn envelope(handle: &SendHandle, message: Value) -> Value {
    let kind = &handle.kind;
    let mut fields =
        vec![("cmd", Value::from(HANDLE)), ("type", Value::from(kind.name())), ("msg", message)];
    if let Some(key) = &handle.key {
        fields.push(("key", Value::from(key.as_str())));
    }
    if let Some(family) = kind.datagram_family() {
        fields.push(("dgramType", Value::from(family)));
    }
    Value::object(fields)
}

/// The answer to a question about the sockets of a server.
pub(super) fn about_sockets(command: &str, key: Value, count: Option<usize>) -> Value {
    let mut fields = vec![("cmd", Value::from(command)), ("key", key)];
    if let Some(count) = count {
        fields.push(("count", Value::from(count as f64)));
    }
    Value::object(fields)
}
