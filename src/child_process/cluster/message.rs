//! The messages of Node's cluster, as values.
//!
//! Invariant: `cmd` comes first and `seq` last, and a reply carries the `ack` of what it replies
//! to, exactly as node writes them.

use std::cell::Cell;

use super::super::value::Value;
use crate::Error;

const CLUSTER: &str = "NODE_CLUSTER";

/// Numbers the messages of one process, from 0; a primary's are shared over all its workers.
#[derive(Default)]
pub(super) struct Sequence(Cell<u32>);

impl Sequence {
    /// A message with the next number, and that number.
    pub(super) fn message(
        &self,
        fields: impl IntoIterator<Item = (&'static str, Value)>,
    ) -> (Value, u32) {
        let number = self.0.get();
        self.0.set(number.wrapping_add(1));
        let mut all = vec![("cmd", Value::from(CLUSTER))];
        all.extend(fields);
        all.push(("seq", Value::from(number)));
        (Value::object(all), number)
    }
}

/// Whether it is a message of the cluster's.
pub(super) fn is_cluster(message: &Value) -> bool {
    text(message, "cmd") == Some(CLUSTER)
}

/// A number that a message was given, or the one that it replies to.
pub(super) fn number(message: &Value, field: &str) -> Option<u32> {
    message.get(field)?.try_into().ok()
}

/// A field that is a text.
pub(super) fn text<'a>(message: &'a Value, field: &str) -> Option<&'a str> {
    message.get(field)?.as_str()
}

/// What a reply says: `null` and 0 stand for no error.
pub(super) fn errno(reply: &Value) -> Result<(), Error> {
    let number = match reply.get("errno") {
        None | Some(Value::Null | Value::Undefined) => return Ok(()),
        Some(number) => i32::try_from(number).unwrap_or(Error::EINVAL.code()),
    };
    if number == 0 { Ok(()) } else { Err(Error::from_code(number)) }
}

/// What JavaScript's string conversion gives for the fields that make up a key.
pub(super) fn as_text(field: Option<&Value>) -> String {
    match field {
        None | Some(Value::Undefined) => "undefined".to_owned(),
        Some(Value::Null) => "null".to_owned(),
        Some(Value::String(text)) => text.as_str().unwrap_or_default().to_owned(),
        // Whole numbers are all that these fields hold; they print as JavaScript prints them.
        Some(Value::Number(number)) => number.to_string(),
        Some(_) => "[object Object]".to_owned(),
    }
}
