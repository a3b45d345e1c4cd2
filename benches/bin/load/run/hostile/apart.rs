//! Keeps hostile peers from what is not the server's to defend: the processors of this machine.
//!
//! Real peers have processors of their own. Here they would take those of the server and of the
//! tool that measures, and a percentile would tell more of the scheduler than of the server.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::process::Command;

use rustix::process::setpriority_process;
use rustix::thread::{CpuSet, gettid, sched_getaffinity, sched_setaffinity};

use crate::run::Error;
use crate::run::process::BenchServer;

/// The last processor is the server's and the tool's, the others are the peers'. Were the server
/// alone on one, half of a latency would be the time that an idle processor takes to wake up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Apart {
    /// Where the peers run; `None`: there is one processor, or a choice is not allowed.
    others: Option<CpuSet>,
    /// Whether this thread comes before the server. The server itself has no such right: the kernel
    /// would take it away for 50 ms of a second in which somebody else wanted to run.
    realtime: bool,
}

impl Apart {
    /// Leaves this process the last of the processors it may run on. For the main thread, before
    /// there are others.
    pub(crate) fn new() -> Self {
        let apart = sched_getaffinity(None).ok().and_then(|all| divided(&all));
        let others = apart.and_then(|(last, others)| {
            sched_setaffinity(None, &last).ok()?;
            Some(others)
        });
        Self {
            others,
            realtime: false,
        }
    }

    /// Starts the bench server. Where that is allowed, it does not keep this thread waiting.
    pub(crate) fn start(&mut self, args: &[String]) -> Result<Placed, Error> {
        let server = BenchServer::start(args).map(Placed);
        self.realtime = chrt(&["--rr", "--pid", "1"]);
        server
    }

    /// For a thread of the peers: it has their processors, and runs when nobody else wants to. A low
    /// priority alone would let it finish a slice of some milliseconds.
    pub(crate) fn step_back(&self) {
        if let Some(others) = &self.others {
            // What this process may use its threads may use.
            let _ = sched_setaffinity(None, others);
        }
        if !chrt(&["--idle", "--pid", "0"])
            // Of this thread only, as Linux has it.
            && let Err(error) = setpriority_process(None, 19)
        {
            eprintln!("hostile peers keep their priority: {error}");
        }
    }
}

/// A bench server, and this thread as long as it runs.
#[derive(Debug)]
pub(crate) struct Placed(BenchServer);

impl Deref for Placed {
    type Target = BenchServer;

    fn deref(&self) -> &BenchServer {
        &self.0
    }
}

impl DerefMut for Placed {
    fn deref_mut(&mut self) -> &mut BenchServer {
        &mut self.0
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        // Before the server is ended: when the kernel takes a process apart it may wait, spinning,
        // for somebody whom a real-time thread keeps from going on.
        chrt(&["--other", "--pid", "0"]);
    }
}

impl fmt::Display for Apart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.others {
            Some(_) => "peers on processors of their own, server and tool on one",
            None => "server, tool and peers on the same processors",
        })?;
        f.write_str(if self.realtime {
            ", the tool in real time"
        } else {
            ", the tool not in real time"
        })
    }
}

/// The last one, and the others, if there are.
fn divided(all: &CpuSet) -> Option<(CpuSet, CpuSet)> {
    let last = (0..CpuSet::MAX_CPU).rev().find(|core| all.is_set(*core))?;
    let (mut only, mut others) = (CpuSet::new(), *all);
    only.set(last);
    others.unset(last);
    (others.count() > 0).then_some((only, others))
}

/// For this thread.
fn chrt(arguments: &[&str]) -> bool {
    let mut command = Command::new("chrt");
    command.args(arguments).arg(gettid().to_string());
    command.output().is_ok_and(|output| output.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(cores: &[usize]) -> CpuSet {
        let mut set = CpuSet::new();
        for core in cores {
            set.set(*core);
        }
        set
    }

    #[test]
    fn the_last_processor_is_kept_from_the_peers() {
        assert_eq!(divided(&set(&[3])), None);
        assert_eq!(divided(&set(&[0, 5])), Some((set(&[5]), set(&[0]))));
        assert_eq!(divided(&set(&[0, 1, 2])), Some((set(&[2]), set(&[0, 1]))));
    }
}
