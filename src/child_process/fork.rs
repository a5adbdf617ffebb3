//! `fork`: a child with a channel to it.
//!
//! Invariant: the child's exit is told after everything it had sent, and after the disconnection;
//! where a grandchild holds the channel open, after everything that was there when it ended.

use std::ffi::CString;
use std::rc::Rc;

use super::channel::{Channel, ChannelOptions, FD_VARIABLE, MODE_VARIABLE, PEER_VARIABLE};
use crate::{Command, Exit, LoopRef, Pipe, Process, SpawnError, SpawnStep, Stdio};

/// How [`fork`] sets the channel up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForkOptions {
    /// The channel's options.
    pub channel: ChannelOptions,
    /// The child's descriptor for the channel: 3 as in Node, unless another is asked for.
    pub slot: u32,
}

impl Default for ForkOptions {
    fn default() -> ForkOptions {
        ForkOptions { channel: ChannelOptions::default(), slot: 3 }
    }
}

/// Puts the channel's variables into the child's environment, in place of any that are there.
fn set_variables(command: &mut Command, options: &ForkOptions) {
    let slot = options.slot.to_string();
    let process = std::process::id().to_string();
    let mode = options.channel.serialization.name();
    let variables = [(FD_VARIABLE, &*slot), (MODE_VARIABLE, mode), (PEER_VARIABLE, &*process)];
    let Some(block) = command.get_env_block() else {
        command.envs(variables);
        return;
    };
    let is_ours = |string: &CString| {
        let name = string.to_bytes().split(|byte| *byte == b'=').next();
        variables.iter().any(|(variable, _)| name == Some(variable.as_bytes()))
    };
    let mut block: Vec<CString> = block.iter().filter(|string| !is_ours(string)).cloned().collect();
    // None of these texts has a NUL in it.
    block.extend(
        variables.iter().filter_map(|(n, value)| CString::new(format!("{n}={value}")).ok()),
    );
    command.env_block(block);
}

/// Spawns a command with an IPC channel to it: a node script, or a program that calls
/// [`Channel::from_env`].
///
/// The child's environment gets `NODE_CHANNEL_FD` and `NODE_CHANNEL_SERIALIZATION_MODE`, in place of
/// any that are there. `on_exit` is called after all messages that the child had sent, and after
/// the channel's disconnection: nothing that was sent before an exit is lost.
///
/// ```
/// use blacklight::child_process::{ForkOptions, Value, fork};
/// use blacklight::{Command, EventLoop, RunMode};
///
/// let lp = EventLoop::new()?;
/// let mut command = Command::new("sh");
/// command.args(["-c", "echo '{\"hello\":1}' >&3"]);
/// let (_process, channel) = fork(&lp, &command, ForkOptions::default(), |_, exit| {
///     assert!(exit.success());
/// })?;
/// channel.on_message(|_, message| {
///     assert_eq!(message.value.get("hello"), Some(&Value::from(1)));
/// });
/// lp.run(RunMode::Default)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`Command::spawn`].
pub fn fork(
    lp: &LoopRef,
    command: &Command,
    options: ForkOptions,
    on_exit: impl FnOnce(&Process, Exit) + 'static,
) -> Result<(Process, Channel), SpawnError> {
    let in_open = |error| SpawnError::new(SpawnStep::Open(options.slot), error);
    let pipe = Pipe::new_ipc(lp).map_err(in_open)?;
    let mut command = command.clone();
    command.stdio(options.slot, Stdio::pipe(&pipe).duplex());
    set_variables(&mut command, &options);
    // The channel is made before the child is known to run, so its exit can find it.
    let channel: Rc<std::cell::OnceCell<Channel>> = Rc::default();
    let told = channel.clone();
    let process = command.spawn(lp, move |process, exit| {
        let process = process.clone();
        let tell = move || on_exit(&process, exit);
        match told.get() {
            Some(channel) => channel.state().when_all_is_delivered(Box::new(tell)),
            None => tell(),
        }
    })?;
    let made = Channel::over(pipe, options.channel).map_err(in_open)?;
    let _first = channel.set(made.clone());
    Ok((process, made))
}
