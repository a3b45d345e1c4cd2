//! What one request costs a server, without a stopwatch: allocations, and instructions in user
//! space, both the same on a busy machine as on a quiet one.
//!
//! ```text
//! cargo bench -p pomelo-benches --bench requests
//! ```
//!
//! Beside each figure is its ratio to the one that was last written down here; with `-- --test` more
//! allocations than those are a failure.
//!
//! A whole server and one client share a thread and talk over loopback; the client writes bytes
//! made beforehand and costs next to nothing. Instructions are counted by valgrind's callgrind and
//! left out where it is not installed: this program runs itself under it, once with few and once
//! with many requests, and takes the difference.

use std::io;
use std::process::{Command, Stdio};

use allocation_counter::measure;
use pomelo_benches::{Echo, Echoed, echo};
use pomelo_protocol::{CodecError, MessageHead, PackageKind, RequestId, write_package};
use pomelo_server::{
    App, Body, Config, Error, Hybrid, Json, Msg, RateLimit, RequestSession, Running, filters,
};
use serde::Serialize;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const CASES: [Case; 7] = [
    Case {
        name: "typed JSON",
        route: "connector.entryHandler.echo",
        depth: 16,
        baseline: (1.2, 3_710),
    },
    Case {
        name: "raw body",
        route: "connector.entryHandler.raw",
        depth: 16,
        baseline: (0.2, 2_120),
    },
    Case {
        name: WEBSOCKET,
        route: "connector.entryHandler.echo",
        depth: 16,
        baseline: (2.1, 4_460),
    },
    Case {
        name: "waits once",
        route: "connector.entryHandler.waits",
        depth: 16,
        baseline: (4.3, 5_850),
    },
    Case {
        name: "two local filters",
        route: "filtered.entryHandler.echo",
        depth: 16,
        baseline: (10.2, 9_020),
    },
    Case {
        name: "serial and time",
        route: "timed.entryHandler.echo",
        depth: 16,
        baseline: (12.2, 9_900),
    },
    Case {
        name: "typed JSON",
        route: "connector.entryHandler.echo",
        depth: 1,
        baseline: (3.0, 9_070),
    },
];

/// The case that is typed JSON, too, but in WebSocket frames.
const WEBSOCKET: &str = "on WebSocket";

/// Between which the instructions of a request are measured.
const FEW: u32 = 800;
const MANY: u32 = 4_000;

struct Case {
    name: &'static str,
    route: &'static str,
    /// Requests in one write of the client.
    depth: u32,
    /// Allocations and instructions of a request when this was last written down, on x86-64.
    baseline: (f64, u32),
}

fn main() {
    let mut args = std::env::args().skip(1);
    match (args.next().as_deref(), args.next(), args.next()) {
        (Some("--run"), Some(case), Some(requests)) => {
            let case = case.parse().ok().and_then(|case: usize| CASES.get(case));
            let case = case.expect("the parent gives an index of CASES");
            let requests = requests.parse().expect("the parent gives a number");
            Pair::new(case).allocations(requests);
        }
        (Some("--test"), ..) => {
            for case in &CASES {
                let mut pair = Pair::new(case);
                // The first ones make what is kept.
                pair.allocations(FEW);
                let allocations = per_request(pair.allocations(FEW).count_total, FEW);
                assert!(
                    allocations < case.baseline.0 + 0.2,
                    "{}: {allocations}",
                    case.name
                );
            }
        }
        _ => report(),
    }
}

fn report() {
    println!("per request        depth  allocations  (now/baseline)  instructions  (now/baseline)");
    for (index, case) in CASES.iter().enumerate() {
        let mut pair = Pair::new(case);
        pair.allocations(FEW);
        let allocations = per_request(pair.allocations(MANY).count_total, MANY);
        let (allocations_then, instructions_then) = case.baseline;
        let instructions = match (instructions(index, FEW), instructions(index, MANY)) {
            (Some(few), Some(many)) => {
                let now = per_request(many - few, MANY - FEW);
                format!("{now:>12.0}  {:>14.2}", now / f64::from(instructions_then))
            }
            _ => "without valgrind not counted".to_owned(),
        };
        println!(
            "{:<18} {:>5}  {allocations:>11.1}  {:>14.2}  {instructions}",
            case.name,
            case.depth,
            allocations / allocations_then,
        );
    }
}

fn per_request(count: u64, requests: u32) -> f64 {
    count as f64 / f64::from(requests)
}

/// All that this program executes for so many requests, by callgrind.
fn instructions(case: usize, requests: u32) -> Option<u64> {
    let own = std::env::current_exe().ok()?;
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(own)
        .args(["--run", &case.to_string(), &requests.to_string()])
        .stdout(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&out.stderr);
    let (_, collected) = text.split_once("Collected : ")?;
    collected.split_whitespace().next()?.parse().ok()
}

/// A server and its client.
struct Pair {
    runtime: tokio::runtime::Runtime,
    client: TcpStream,
    /// What the client writes at once, and how long the answers to it are.
    requests: Vec<u8>,
    answers: Vec<u8>,
    depth: u32,
    _running: Running,
}

impl Pair {
    fn new(case: &Case) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let (running, client) = runtime.block_on(connect(case)).expect("loopback works");
        let text = "x".repeat(64);
        let mut requests = Vec::new();
        let mut expected = 0;
        for id in 1..=case.depth {
            let body = json!({"msg": text}).to_string();
            let mut package = Vec::new();
            write_package(&mut package, PackageKind::Data, |out| {
                let head = MessageHead::Request {
                    id: RequestId::new(id.into()),
                    route: case.route.into(),
                };
                head.write(out, false)?;
                out.extend_from_slice(body.as_bytes());
                Ok::<_, CodecError>(())
            })
            .expect("the message is short");
            case.put(&mut requests, &package);
            let answer = match case.name {
                "raw body" => json!({"code": 200}).to_string(),
                _ => json!({"code": 200, "msg": text}).to_string(),
            };
            // Head of the package, flag, id of one group.
            expected += 4 + 1 + 1 + answer.len();
            if case.name == WEBSOCKET {
                // A head without a mask.
                expected += 2;
            }
        }
        Self {
            runtime,
            client,
            requests,
            answers: vec![0; expected],
            depth: case.depth,
            _running: running,
        }
    }

    fn allocations(&mut self, requests: u32) -> allocation_counter::AllocationInfo {
        let Self {
            runtime, client, ..
        } = self;
        let rounds = requests / self.depth;
        measure(|| {
            runtime
                .block_on(async {
                    for _ in 0..rounds {
                        client.write_all(&self.requests).await?;
                        client.read_exact(&mut self.answers).await?;
                        assert_eq!(self.answers.last(), Some(&b'}'));
                    }
                    Ok::<_, io::Error>(())
                })
                .expect("the server answers");
        })
    }
}

/// To a frontend of the type that the route asks for.
async fn connect(case: &Case) -> Result<(Running, TcpStream), Error> {
    let server_type = case.route.split('.').next().unwrap_or_default();
    let servers = json!({"bench": {
        "connector": [
            {"id": "connector", "host": "127.0.0.1", "clientPort": 0, "frontend": true}
        ],
        "filtered": [
            {"id": "filtered", "host": "127.0.0.1", "clientPort": 0, "frontend": true}
        ],
        "timed": [
            {"id": "timed", "host": "127.0.0.1", "clientPort": 0, "frontend": true}
        ],
    }});
    let hybrid = Hybrid::new().rate_limit(None::<RateLimit>);
    let running = App::builder()
        .env("bench")
        .config(Config::from_servers(&servers, "bench")?)
        .configure("all", "connector|filtered|timed", move |server| {
            server.connector(hybrid.clone())
        })
        .configure("all", "filtered", |server| {
            server
                .filter(filters::Serial::default())
                .before(async |session: RequestSession| drop(session.uid()))
        })
        .configure("all", "timed", |server| {
            server
                .filter(filters::Serial::default())
                .filter(filters::Time::new())
        })
        .handler("connector.entryHandler.echo", echo)
        .handler("connector.entryHandler.raw", raw)
        .handler("connector.entryHandler.waits", waits)
        .handler("filtered.entryHandler.echo", echo)
        .handler("timed.entryHandler.echo", echo)
        .start()
        .await?;
    let addresses = running.addresses();
    let port = addresses
        .get(server_type)
        .ok_or_else(|| Error::new("no such frontend"))?
        .port();
    let mut client = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut first = Vec::new();
    if case.name == WEBSOCKET {
        let upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        client.write_all(upgrade).await?;
        while !first.ends_with(b"\r\n\r\n") {
            first.push(client.read_u8().await?);
        }
        first.clear();
    }
    case.put(&mut first, b"\x01\0\0\x0a{\"sys\":{}}");
    client.write_all(&first).await?;
    if case.name == WEBSOCKET {
        client.read_u16().await?;
    }
    let mut head = [0; 4];
    client.read_exact(&mut head).await?;
    let [_, a, b, c] = head;
    let mut body = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    client.read_exact(&mut body).await?;
    first.clear();
    case.put(&mut first, b"\x02\0\0\0");
    client.write_all(&first).await?;
    Ok((running, client))
}

impl Case {
    /// Appends what carries a package of the client.
    fn put(&self, out: &mut Vec<u8>, package: &[u8]) {
        if self.name == WEBSOCKET {
            let len = u8::try_from(package.len()).expect("a package is short");
            assert!(len < 126, "a head of two bytes");
            // The last frame of a binary message, and a mask that leaves all as it is.
            out.extend_from_slice(&[0x82, 0x80 | len, 0, 0, 0, 0]);
        }
        out.extend_from_slice(package);
    }
}

async fn waits(message: Msg<Echo>) -> Json<Echoed> {
    tokio::task::yield_now().await;
    echo(message).await
}

#[derive(Serialize)]
struct Done {
    code: u16,
}

async fn raw(_: Body) -> Json<Done> {
    Json(Done { code: 200 })
}
