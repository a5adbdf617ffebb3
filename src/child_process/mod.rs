//! Node's `child_process` on the loop's handles.
//!
//! [`fork`] spawns a child with a [`Channel`] to it, over which [`Value`]s and handles travel, in
//! Node's protocol and with a real node on the other side if need be; [`json`] and [`v8`] are the two
//! ways in which messages are written. [`spawn_sync`] runs a child to its end and returns what it
//! said; [`exec`] and [`exec_file`] do so on a loop and call back; [`exec_sync`] and
//! [`exec_file_sync`] make a failure of the child an error; [`cluster`] shares servers among several
//! processes. The names and rules are Node's; each item says where it differs.

mod channel;
pub mod cluster;
mod exec;
mod fork;
mod spawn_sync;
mod value;

pub use channel::{
    Channel, ChannelError, ChannelOptions, HandleType, Message, ReceivedHandle, SendHandle,
    SocketToken,
};
pub use exec::{
    ExecCause, ExecError, ExecOptions, ExecOutcome, ExecSyncError, Executing, Shell, exec,
    exec_file, exec_file_sync, exec_sync,
};
pub use fork::{ForkOptions, fork};
pub use spawn_sync::{SyncError, SyncOptions, SyncResult, SyncStdio, spawn_sync};
pub use value::{
    Array, ArrayBuffer, BigInt, BigIntRange, CodecError, CycleId, Decoder, Encoder, ErrorName,
    ErrorObject, JsString, Kind, Limits, Map, Object, Properties, RegExp, RegExpFlags,
    Serialization, Set, Value, View, ViewKind, WrongType, json, v8,
};
