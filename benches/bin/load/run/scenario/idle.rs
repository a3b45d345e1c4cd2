//! Idle connections: all are bound and then send nothing but heartbeats.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::run::Error;
use crate::run::args::Options;
use crate::run::fleet::{Fleet, Happening};
use crate::run::process::{Kernel, Meter, kernel, resident};

use super::{Outcome, connect};

/// Before memory is measured, the kernel is looked at this often, until it has freed nothing so many
/// times; and no more than so many times.
const GLANCE: Duration = Duration::from_millis(100);
const QUIET: u32 = 3;
const SETTLING: u32 = 30;

/// Resident memory of the server in bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) before: u64,
    pub(crate) after: u64,
    pub(crate) per_connection: u64,
    /// For the server's socket: what each socket on the machine that came meanwhile is to the kernel.
    /// `None`: unknown to all but root, and when many others went.
    pub(crate) kernel_per_connection: Option<u64>,
}

pub(super) fn run(fleet: &mut Fleet, options: &Options, pids: &[u32]) -> Result<Outcome, Error> {
    let kernel_before = settled(fleet)?;
    let before = resident(pids)?;
    connect(fleet, options)?;
    let mut lost = 0;
    let settled = Instant::now() + options.warmup;
    let end = settled + options.measured;
    let mut hold = |fleet: &mut Fleet, until: Instant| {
        while Instant::now() < until {
            fleet.turn(until, |_, _, happening| {
                lost += u64::from(matches!(happening, Happening::Lost(_)));
                Ok(())
            })?;
        }
        Ok::<_, Error>(())
    };
    hold(fleet, settled)?;
    let meter = Meter::start(pids)?;
    let beats = fleet.heartbeats();
    hold(fleet, end)?;
    let window = meter.stop()?;
    let connections = options.connections as u64;
    let held = kernel_before.zip(kernel());
    let memory = before.zip(resident(pids)?).map(|(before, after)| Memory {
        before,
        after,
        per_connection: after.saturating_sub(before) / connections,
        kernel_per_connection: held
            .and_then(|(before, after)| after.per_socket(before, connections)),
    });
    Ok(Outcome {
        memory,
        lost,
        ..Outcome::new("heartbeats", fleet.heartbeats() - beats, window)
    })
}

/// What the kernel holds once it has freed the sockets of an earlier run, which it does after a while
/// and after their server has closed them.
fn settled(fleet: &mut Fleet) -> Result<Option<Kernel>, Error> {
    let mut least = kernel();
    let mut quiet = 0;
    for _ in 0..SETTLING {
        fleet.turn(Instant::now() + GLANCE, |_, _, _| Ok(()))?;
        let now = kernel();
        if now.map(|now| now.bytes) < least.map(|least| least.bytes) {
            (quiet, least) = (0, now);
        } else {
            quiet += 1;
        }
        if quiet == QUIET {
            break;
        }
    }
    Ok(least)
}
