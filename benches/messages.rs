//! What does one message cost, decoded and encoded, beside copying its package?
//!
//! ```text
//! cargo bench -p pomelo-benches --bench messages
//! ```
//!
//! One row is one kind of message with a body of so many bytes; the figures are nanoseconds a
//! message, the least and the median of many short rounds:
//!
//! - *memcpy* copies the whole package into a reused buffer. Nothing that hands a message on can
//!   cost less, so this is what the other columns are read against.
//! - *decode* cuts the package, reads flag and id, and reads the route as text.
//! - *encode* writes head and body as a package into a reused buffer.
//! - *both* decodes a package and encodes what came out; in the row *turn* a request comes in and
//!   the response to it goes out, as at a server that answers with as many bytes as it got.
//! - *over* is *both* less *memcpy*: what the protocol costs. The goal is at most 20 ns with bodies
//!   of 64 and 1024 bytes, and the last line says whether it was met.
//!
//! The four operations take turns round by round, so that what else the machine does hits them
//! alike. Then the least is the cost of the code and the median that of the code on this machine;
//! when the two are far apart the machine was busy, and only the least is worth comparing.
//! When all columns, *memcpy* too, are half as much again as in another run, something else shared
//! the core all the time.
//! A difference of a nanosecond or two between two builds is the layout of the code and no news.

use std::hint::black_box;
use std::time::Instant;

use pomelo_protocol::{
    EncodeError, Message, MessageHead, PackageKind, PackageRef, RequestId, WireRoute, write_package,
};

const SIZES: [usize; 4] = [16, 64, 1024, 16 << 10];
const GOAL_SIZES: [usize; 2] = [64, 1024];
const GOAL_NANOS: f64 = 20.0;
const MAX_BODY: u32 = 1 << 20;

fn main() {
    // Cargo passes `--bench` to benches and nothing when it runs them as tests.
    let effort = if std::env::args().any(|arg| arg == "--bench") {
        Effort {
            rounds: 1000,
            round_bytes: 1 << 20,
        }
    } else {
        Effort {
            rounds: 1,
            round_bytes: 1,
        }
    };
    println!("nanoseconds, least / median of {} rounds", effort.rounds);
    println!(
        "{:>8} {:>6} {:>15} {:>15} {:>15} {:>15} {:>15}",
        "", "bytes", "memcpy", "decode", "encode", "both", "over"
    );
    let mut worst = f64::MIN;
    // One buffer for all rows, so large that it has pages of its own: where a small one happens to
    // lie, across two pages or not, is ten nanoseconds.
    let out = &mut Vec::with_capacity(1 << 20);
    for (name, head, answer) in rows() {
        for size in SIZES {
            let over = row(name, &head, answer.as_ref(), size, out, effort);
            if GOAL_SIZES.contains(&size) {
                worst = worst.max(over.least);
            }
        }
    }
    let met = if worst <= GOAL_NANOS { "met" } else { "missed" };
    println!(
        "goal, at most {GOAL_NANOS} ns over memcpy at 64 and 1024 bytes: {met}, at worst {worst:.1}"
    );
}

/// What comes in, and what goes out where that is something else.
fn rows() -> [(
    &'static str,
    MessageHead<'static>,
    Option<MessageHead<'static>>,
); 5] {
    let id = RequestId::new(300);
    let route = "chat.chatHandler.send".into();
    let request = MessageHead::Request { id, route };
    let response = MessageHead::Response { id, error: false };
    let push = MessageHead::Push {
        route: "onChat".into(),
    };
    [
        ("request", request, None),
        ("notify", MessageHead::Notify { route }, None),
        ("response", response, None),
        ("push", push, None),
        ("turn", request, Some(response)),
    ]
}

#[derive(Clone, Copy)]
struct Effort {
    rounds: usize,
    /// A round repeats its operation until about this many bytes have been handled.
    round_bytes: usize,
}

fn row(
    name: &str,
    head: &MessageHead<'_>,
    answer: Option<&MessageHead<'_>>,
    size: usize,
    out: &mut Vec<u8>,
    effort: Effort,
) -> Figure {
    let body = vec![b'x'; size];
    let mut package = Vec::new();
    encode(&mut package, head, &body);
    // Short packages are dominated by what does not grow with them.
    let repeat = 1 + effort.round_bytes / (package.len() + 128);
    let mut rounds: [Vec<f64>; 4] = Default::default();
    let [memcpy, decoding, encoding, both] = &mut rounds;
    for _ in 0..effort.rounds {
        memcpy.push(time(repeat, || {
            out.clear();
            out.extend_from_slice(black_box(&package));
            black_box(&mut *out);
        }));
        decoding.push(time(repeat, || {
            black_box(decode(black_box(&package)));
        }));
        encoding.push(time(repeat, || {
            encode(out, black_box(answer.unwrap_or(head)), black_box(&body));
            black_box(&mut *out);
        }));
        both.push(match answer {
            None => time(repeat, || {
                let message = decode(black_box(&package));
                encode(out, &message.head, message.body);
                black_box(&mut *out);
            }),
            Some(_) => time(repeat, || {
                let message = decode(black_box(&package));
                if let MessageHead::Request { id, .. } = message.head {
                    encode(
                        out,
                        &MessageHead::Response { id, error: false },
                        message.body,
                    );
                }
                black_box(&mut *out);
            }),
        });
    }
    let [memcpy, decoding, encoding, both] = rounds.map(Figure::of);
    let over = Figure {
        least: both.least - memcpy.least,
        median: both.median - memcpy.median,
    };
    println!("{name:>8} {size:>6} {memcpy} {decoding} {encoding} {both} {over}");
    over
}

fn encode(out: &mut Vec<u8>, head: &MessageHead<'_>, body: &[u8]) {
    out.clear();
    let written = write_package(out, PackageKind::Data, |out| {
        head.write(out, false)?;
        out.extend_from_slice(body);
        Ok::<_, EncodeError>(())
    });
    written.expect("bodies here are far below 16 MiB");
}

fn decode(mut package: &[u8]) -> Message<'_> {
    let package = PackageRef::split_from(&mut package, MAX_BODY)
        .expect("the bench wrote it")
        .expect("the bench wrote all of it");
    let message = Message::decode(package.body).expect("the bench wrote it");
    if let MessageHead::Request { route, .. }
    | MessageHead::Notify { route }
    | MessageHead::Push { route } = message.head
        && let WireRoute::Name(name) = route
    {
        black_box(name.to_str());
    }
    message
}

/// Nanoseconds for one of `repeat` calls.
fn time(repeat: usize, mut operation: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..repeat {
        operation();
    }
    start.elapsed().as_secs_f64() * 1e9 / repeat as f64
}

#[derive(Clone, Copy)]
struct Figure {
    least: f64,
    median: f64,
}

impl Figure {
    fn of(mut rounds: Vec<f64>) -> Self {
        rounds.sort_by(f64::total_cmp);
        Self {
            least: rounds.first().copied().unwrap_or(f64::NAN),
            median: rounds.get(rounds.len() / 2).copied().unwrap_or(f64::NAN),
        }
    }
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>7.1} /{:>6.1}", self.least, self.median)
    }
}
