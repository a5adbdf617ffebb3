//! Spawning with Blacklight.

use std::cell::Cell;
use std::rc::Rc;

use blacklight::{Command, EventLoop, Groups, Options, RunMode};

use super::{Spawner, What};
use crate::clone::Attributes;

pub(super) struct Ours {
    lp: EventLoop,
    commands: Vec<Command>,
    live: Rc<Cell<usize>>,
}

impl Ours {
    pub(super) fn new(whats: &[What]) -> Ours {
        Ours {
            lp: EventLoop::with_options(Options::default()).expect("a loop"),
            commands: whats.iter().map(command).collect(),
            live: Rc::default(),
        }
    }
}

pub(super) fn command(what: &What) -> Command {
    let Attributes { uid_gid, groups, cwd, detached } = what.attributes;
    let mut command = Command::new(what.program.path());
    command.env_clear().detached(detached);
    if uid_gid {
        command.uid(Attributes::NOBODY).gid(Attributes::NOBODY);
    }
    if groups {
        command.groups(Groups::Set(vec![Attributes::NOBODY]));
    }
    if cwd {
        command.current_dir("/");
    }
    command
}

impl Spawner for Ours {
    fn start(&mut self, which: usize, count: usize, mut pids: Option<&mut Vec<i32>>) {
        for _ in 0..count {
            let live = self.live.clone();
            let process = self.commands[which]
                .spawn(&self.lp, move |_, exit| {
                    assert!(exit.code().is_none_or(|code| code == 0));
                    live.set(live.get() - 1);
                })
                .expect("the program is there");
            self.live.set(self.live.get() + 1);
            if let Some(pids) = &mut pids {
                pids.push(process.pid());
            }
        }
    }

    fn finish(&mut self, left: usize) {
        while self.live.get() > left {
            self.lp.run(RunMode::Once).expect("a turn");
        }
    }

    fn finish_any(&mut self, left: usize) {
        self.finish(left);
    }
}
