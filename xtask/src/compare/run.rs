//! Rounds: each scenario goes over all servers in turn, so that what disturbs the machine disturbs
//! all of them.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use super::Options;
use super::figures::Figures;
use super::machine;
use super::scenarios::{EMPTY, Read, START, Scenario, Work};
use super::servers::{Instance, OURS, Running, Server, WORK, target};

/// Measures all there is to measure. A server that fails has no value for that, and the rest goes on.
/// Also tells how many rounds there was time for.
pub(crate) fn rounds(
    options: &Options,
    scenarios: &[Scenario],
    servers: &[Server],
) -> (Figures, usize) {
    let mut figures = Figures::default();
    let began = Instant::now();
    for round in 0..options.rounds {
        let round_began = Instant::now();
        let mut running = Running::default();
        let mut order: Vec<&Server> = servers.iter().collect();
        // Nobody is always the one who runs after a certain other.
        order.rotate_left(round % servers.len().max(1));
        for scenario in scenarios {
            eprintln!(
                "round {} of {}: {}",
                round + 1,
                options.rounds,
                scenario.name
            );
            let takes = repeats(scenario);
            for take in 0..takes {
                for server in order.iter().filter(|server| takes_part(server, scenario)) {
                    // What was measured one behind the other belongs together.
                    let turn = round * takes + take;
                    let done = measure(options, scenario, server, &mut running, turn, &mut figures);
                    if let Err(why) = done {
                        eprintln!("  {}: {why}", server.title);
                        figures.fail(scenario.name, server.name, why);
                        running.forget(server);
                    }
                }
            }
        }
        drop(running);
        let end_of_next = began.elapsed() + round_began.elapsed();
        if end_of_next.as_secs_f64() > options.minutes * 60.0 {
            return (figures, round + 1);
        }
    }
    (figures, options.rounds)
}

/// A machine that is not one's own stops now and then for milliseconds, and one stop in a second is a
/// 99th percentile; so of these there are more.
const fn repeats(scenario: &Scenario) -> usize {
    match scenario.work {
        Work::Paced(_) => 3,
        _ => 1,
    }
}

fn takes_part(server: &Server, scenario: &Scenario) -> bool {
    match scenario.work {
        Work::Gathering => true,
        Work::Raw | Work::Filtered => server.has_raw() && !server.gathers(),
        _ => !server.gathers(),
    }
}

fn measure(
    options: &Options,
    scenario: &Scenario,
    server: &Server,
    running: &mut Running,
    round: usize,
    figures: &mut Figures,
) -> Result<(), String> {
    let does_not_start = |error| format!("does not start: {error}");
    if scenario
        .figures
        .iter()
        .any(|figure| figure.read == Read::Start)
    {
        let instance = Instance::start(server, false, 30).map_err(does_not_start)?;
        figures.add(START.name, server.name, round, instance.started_millis);
        let memory = instance.memory_mebibytes().ok_or("ended")?;
        figures.add(EMPTY.name, server.name, round, memory);
        return Ok(());
    }
    let (own, shared);
    let instance = match started_alone(scenario, server) {
        Some((heartbeat, more)) => {
            let started = Instance::start_with(server, scenario.websocket, heartbeat, more);
            own = started.map_err(does_not_start)?;
            &own
        }
        None => {
            shared = running.instance(server, scenario.websocket, warm_up);
            shared?
        }
    };
    let realtime = match scenario.work {
        Work::Paced(_) => machine::Realtime::of(instance.pid),
        _ => None,
    };
    let report = load(
        scenario,
        instance,
        &times(options, scenario),
        realtime.is_some(),
    )?;
    drop(realtime);
    for figure in scenario.figures {
        let number = |pointer| report.pointer(pointer).and_then(Value::as_f64);
        let value = match figure.read {
            Read::Json(pointer) => number(pointer),
            Read::CpuOfWork => number("/server_cpu_seconds")
                .zip(number("/work"))
                .map(|(seconds, work)| seconds * 1e6 / work),
            Read::Share => number("/server_cpu_seconds")
                .zip(number("/work"))
                .zip(number("/rate"))
                .map(|((seconds, work), rate)| seconds / work * rate * 100.0),
            Read::Start => None,
        };
        let value = match value.filter(|value| value.is_finite()) {
            Some(value) => value,
            // Others on the machine can make it unknown what the kernel held for us.
            None if figure.goals.is_empty() => continue,
            None => return Err(format!("no {} in the report", figure.title)),
        };
        eprintln!("  {:24} {:>14.1} {}", server.title, value, figure.title);
        figures.add(figure.name, server.name, round, value);
    }
    Ok(())
}

/// Of a server that only this scenario gets, the interval of heartbeats and what else it is told.
fn started_alone(scenario: &Scenario, server: &Server) -> Option<(u32, &'static [&'static str])> {
    match scenario.work {
        Work::IdleMemory => Some((30, &[])),
        Work::Heartbeats => Some((2, &[])),
        Work::Filtered if server.name == OURS => Some((30, &["--filters"])),
        Work::Usual | Work::Gathering | Work::Raw | Work::Filtered | Work::Paced(_) => None,
    }
}

/// How long, and with how many.
fn times(options: &Options, scenario: &Scenario) -> Vec<String> {
    let extra = match scenario.work {
        Work::Usual | Work::Gathering | Work::Raw | Work::Filtered => 0.0,
        Work::Paced(seconds) => f64::from(seconds),
        Work::IdleMemory => return vec![format!("--connections={}", options.idle)],
        Work::Heartbeats => return Vec::new(),
    };
    let (seconds, warmup) = (options.seconds, options.warmup + extra);
    vec![format!("--seconds={seconds}"), format!("--warmup={warmup}")]
}

/// What compiles while it runs is slow at first, and that is not what is asked.
fn warm_up(instance: &Instance, websocket: bool) -> Result<(), String> {
    let arguments = ["--depth=4", "--seconds=1", "--warmup=0"].map(str::to_owned);
    run_load("requests", websocket, instance, &arguments, false)
}

/// Runs the load tool and gives its figures.
fn load(
    scenario: &Scenario,
    instance: &Instance,
    times: &[String],
    realtime: bool,
) -> Result<Value, String> {
    let json = target().join(WORK).join("load.json");
    let (name, more) = scenario.arguments.split_first().ok_or("no arguments")?;
    let mut arguments: Vec<String> = more.iter().map(|word| (*word).to_owned()).collect();
    arguments.extend_from_slice(times);
    arguments.push(format!("--json={}", json.display()));
    run_load(name, scenario.websocket, instance, &arguments, realtime)?;
    let text = fs::read_to_string(&json).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

fn run_load(
    name: &str,
    websocket: bool,
    instance: &Instance,
    arguments: &[String],
    realtime: bool,
) -> Result<(), String> {
    let scheme = if websocket { "ws" } else { "tcp" };
    let tool = target().join("release/load");
    let mut command = if realtime {
        machine::realtime(&tool)
    } else {
        Command::new(&tool)
    };
    let output = command
        .arg(name)
        .arg(format!("--url={scheme}://127.0.0.1:{}", instance.port))
        .arg(format!("--pid={}", instance.pid))
        .args(arguments)
        .args(realtime.then_some("--poll"))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("the load tool cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let reason = text.lines().next().unwrap_or("no reason given");
    Err(reason.trim_start_matches("error: ").to_owned())
}
