//! The servers: what they are, how they are built, started and ended.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;
use std::{env, fs};

use super::Error;
use super::machine;

pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A program that answers the load tool's routes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A binary of `pomelo-benches` and its arguments.
    Ours(&'static str, &'static [&'static str]),
    /// An application of `benches/peers` under the server's name.
    Go,
    /// An application of `benches/peers/node`.
    Node,
}

const ALL: &[Server] = &[
    server("bare-epoll", "bare epoll", Kind::Ours("bare-epoll", &[])),
    server(
        "bare-epoll-gather",
        "bare epoll, gathering",
        Kind::Ours("bare-epoll", &["--gather"]),
    ),
    server("bare-tokio", "bare Tokio", Kind::Ours("bare-tokio", &[])),
    server(OURS, "ours", Kind::Ours("bench-server", &[])),
    server("nano", "nano", Kind::Go),
    server("pitaya", "pitaya", Kind::Go),
    server("pinus", "pinus", Kind::Node),
    server("pomelo", "pomelo", Kind::Node),
];

pub(crate) const OURS: &str = "ours";

const fn server(name: &'static str, title: &'static str, kind: Kind) -> Server {
    Server { name, title, kind }
}

/// All there are, in the order of the tables.
pub(crate) const fn all() -> &'static [Server] {
    ALL
}

impl Server {
    /// Answers the route `raw`, which only ours and the bare ones have.
    pub(crate) const fn has_raw(&self) -> bool {
        matches!(self.kind, Kind::Ours(..))
    }

    /// Is measured in the runs for gathering servers only.
    pub(crate) fn gathers(&self) -> bool {
        matches!(self.kind, Kind::Ours(_, arguments) if !arguments.is_empty())
    }

    /// Needs a process of its own for WebSocket.
    const fn is_split(&self) -> bool {
        matches!(self.kind, Kind::Go)
    }

    fn command(&self, websocket: bool) -> Command {
        match self.kind {
            Kind::Ours(binary, arguments) => {
                let mut command = Command::new(target().join("release").join(binary));
                command.args(arguments);
                command
            }
            Kind::Go => {
                let mut command = Command::new(go_binary(self.name));
                command.args(websocket.then_some("--ws"));
                command
            }
            Kind::Node => {
                let mut command = Command::new("node");
                let script = Path::new(ROOT).join("benches/peers/node/run.cjs");
                command.arg(script).arg(self.name);
                command
            }
        }
    }
}

/// Who had to be left out, and why.
pub(crate) type LeftOut = Vec<(Server, String)>;

/// Builds what was asked for.
pub(crate) fn build(names: &[String]) -> Result<(Vec<Server>, LeftOut), Error> {
    if let Some(unknown) = names
        .iter()
        .find(|name| ALL.iter().all(|server| server.name != *name))
    {
        return Err(Error::Usage(format!("there is no server {unknown}")));
    }
    let wanted =
        |server: &&Server| names.is_empty() || names.iter().any(|name| name == server.name);
    let mut built = Vec::new();
    let mut left_out = Vec::new();
    build_ours()?;
    let work = target().join(WORK);
    fs::create_dir_all(&work).map_err(|error| Error::File { path: work, error })?;
    for server in ALL.iter().filter(wanted) {
        let missing = match server.kind {
            Kind::Ours(..) => None,
            Kind::Go => build_go(server.name).err(),
            Kind::Node => node_packages().err(),
        };
        match missing {
            None => built.push(*server),
            Some(why) => {
                eprintln!("{} is left out: {why}", server.title);
                left_out.push((*server, why));
            }
        }
    }
    Ok((built, left_out))
}

fn build_ours() -> Result<(), Error> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--quiet", "--release", "--locked", "--bins"])
        .args(["-p", "pomelo-benches"])
        .current_dir(ROOT);
    let what = "cargo build";
    let status = command
        .status()
        .map_err(|error| Error::Spawn { what, error })?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::Failed { what, status })
    }
}

fn build_go(name: &str) -> Result<(), String> {
    let mut command = Command::new("go");
    command.args(["build", "-C"]);
    command.arg(Path::new(ROOT).join("benches/peers").join(name));
    command.arg("-o").arg(go_binary(name)).arg(".");
    finish(&mut command, "Go")
}

/// pomelo and pinus are those of the interop tests.
fn node_packages() -> Result<(), String> {
    let interop = Path::new(ROOT).join("interop");
    if interop.join("node_modules/pomelo").is_dir() {
        return Ok(());
    }
    finish(
        Command::new("npm").arg("ci").current_dir(interop),
        "Node and npm",
    )
}

fn finish(command: &mut Command, tool: &str) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{program}` failed ({status})")),
        Err(error) => Err(format!(
            "`{program}` cannot be run ({error}): install {tool}"
        )),
    }
}

/// Where cargo builds.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| Path::new(ROOT).join("target"), PathBuf::from)
}

/// What a run leaves there.
pub(crate) const WORK: &str = "compare";

fn go_binary(name: &str) -> PathBuf {
    target().join(WORK).join(name)
}

/// A server that runs; dropped, it is ended.
#[derive(Debug)]
pub(crate) struct Instance {
    child: Child,
    /// A closed pipe would make the server's next line of output fail.
    output: BufReader<ChildStdout>,
    /// Has processes of its own to end, and files to remove.
    tidies: bool,
    pub(crate) port: u16,
    pub(crate) pid: u32,
    pub(crate) started_millis: f64,
}

impl Instance {
    pub(crate) fn start(server: &Server, websocket: bool, heartbeat: u32) -> io::Result<Self> {
        Self::start_with(server, websocket, heartbeat, &[])
    }

    pub(crate) fn start_with(
        server: &Server,
        websocket: bool,
        heartbeat: u32,
        more: &[&str],
    ) -> io::Result<Self> {
        let began = Instant::now();
        let mut child = server
            .command(websocket)
            .args(["--port", "0", "--heartbeat"])
            .arg(heartbeat.to_string())
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // pomelo and pinus tell about every connection that ends in the middle of something.
            .stderr(Stdio::null())
            .spawn()?;
        match announced(&mut child) {
            Ok((words, output)) => Ok(Self {
                pid: words.pid.unwrap_or_else(|| child.id()),
                child,
                output,
                tidies: server.kind == Kind::Node,
                port: words.port,
                started_millis: words
                    .millis
                    .unwrap_or_else(|| began.elapsed().as_secs_f64() * 1000.0),
            }),
            Err(error) => {
                end(&mut child);
                Err(error)
            }
        }
    }

    pub(crate) fn memory_mebibytes(&self) -> Option<f64> {
        machine::resident(self.pid).map(|bytes| bytes / f64::from(1 << 20))
    }
}

fn announced(child: &mut Child) -> io::Result<(Announcement, BufReader<ChildStdout>)> {
    let silent = || io::Error::other("it does not say where it listens");
    let mut output = BufReader::new(child.stdout.take().ok_or_else(silent)?);
    let mut line = String::new();
    output.read_line(&mut line)?;
    let words = Announcement::parse(&line).ok_or_else(silent)?;
    Ok((words, output))
}

impl Drop for Instance {
    fn drop(&mut self) {
        if self.tidies {
            // It ends when its input does; then its output ends.
            drop(self.child.stdin.take());
            drop(self.output.read_to_end(&mut Vec::new()));
        }
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    if let Err(error) = child.kill().and_then(|()| child.wait()) {
        eprintln!("a server cannot be ended: {error}");
    }
}

/// `listening on ADDRESS [pid N] [after N ms]`
#[derive(Debug, PartialEq)]
struct Announcement {
    port: u16,
    pid: Option<u32>,
    millis: Option<f64>,
}

impl Announcement {
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let behind = |word: &str| {
            let at = words.iter().position(|other| *other == word)?;
            words.get(at + 1).copied()
        };
        let (_, port) = behind("on")?.rsplit_once(':')?;
        Some(Self {
            port: port.parse().ok()?,
            pid: behind("pid").and_then(|pid| pid.parse().ok()),
            millis: behind("after").and_then(|millis| millis.parse().ok()),
        })
    }
}

/// The instances of a round: each server's, and where it needs one, another for WebSocket.
#[derive(Debug, Default)]
pub(crate) struct Running {
    instances: BTreeMap<(&'static str, bool), Instance>,
}

impl Running {
    /// The server's instance for the transport, started and warmed up if there is none.
    pub(crate) fn instance(
        &mut self,
        server: &Server,
        websocket: bool,
        warm_up: impl Fn(&Instance, bool) -> Result<(), String>,
    ) -> Result<&Instance, String> {
        let key = (server.name, websocket && server.is_split());
        Ok(match self.instances.entry(key) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(place) => {
                let instance = Instance::start(server, websocket, 30)
                    .map_err(|error| format!("does not start: {error}"))?;
                warm_up(&instance, websocket)?;
                place.insert(instance)
            }
        })
    }

    /// After a failure the next run gets a server that has seen nothing.
    pub(crate) fn forget(&mut self, server: &Server) {
        self.instances.retain(|(name, _), _| *name != server.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements() {
        let parse = |line| Announcement::parse(line).unwrap();
        assert_eq!(parse("listening on 127.0.0.1:3010\n").port, 3010);
        assert_eq!(parse("listening on [::]:3010").pid, None);
        let node = parse("listening on 127.0.0.1:3010 pid 77 after 204.9 ms\n");
        assert_eq!((node.pid, node.millis), (Some(77), Some(204.9)));
        assert_eq!(Announcement::parse(""), None);
        assert_eq!(Announcement::parse("error on line"), None);
    }
}
