//! The chat without a terminal: lines in, lines out.

use std::io::{self, BufRead as _, Write};
use std::thread;

use tokio::sync::mpsc;

use super::command::{self, Command};
use super::editor::MAX_LINE;
use super::line::Line;
use super::session::{News, Session};
use super::state::Room;
use super::{Error, asked_to_end};

/// Lines read ahead; the thread that reads waits when nobody takes them.
const READ_AHEAD: usize = 16;

/// Reads lines until the end of the input or `/quit`, then waits for the answers to what was said. Ends
/// quietly when nobody reads the output any more.
pub(super) async fn run(mut session: Session) -> Result<(), Error> {
    let ended = chat(&mut session).await;
    session.leave().await;
    match ended {
        Err(Error::Terminal(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        ended => ended,
    }
}

async fn chat(session: &mut Session) -> Result<(), Error> {
    let mut output = io::stdout();
    let mut room = Room::of(session);
    print(&mut output, &room.greeting())?;
    let mut input = read_lines();
    let mut end = std::pin::pin!(asked_to_end());
    loop {
        tokio::select! {
            news = session.news() => {
                if let News::Closed(reason) = news {
                    return Err(Error::Lost(reason));
                }
                if let Some(line) = room.hear(news) {
                    print(&mut output, &line)?;
                }
            }
            line = input.recv() => match line.transpose().map_err(Error::Terminal)? {
                None => break,
                Some(line) => match meaning(&line, room.members()) {
                    Command::Nothing => {}
                    Command::Quit => break,
                    Command::Wrong(why) => print(&mut output, &Line::Problem(why))?,
                    Command::Say { target, text } => session.say(target, text).await,
                },
            },
            () = &mut end => return Ok(()),
        }
    }
    let flushed = tokio::select! {
        flushed = session.flush() => flushed,
        () = &mut end => Ok(()),
    };
    for news in session.rest() {
        if let Some(line) = room.hear(news) {
            print(&mut output, &line)?;
        }
    }
    flushed.map_err(Error::Lost)
}

/// Bytes that are no UTF-8 become U+FFFD, rather than ending the chat.
fn meaning(line: &[u8], members: &[String]) -> Command {
    if line.len() > MAX_LINE {
        return Command::Wrong(format!(
            "a line of {} bytes is too long and not sent, {MAX_LINE} are allowed",
            line.len()
        ));
    }
    command::read(&String::from_utf8_lossy(line), members)
}

fn print(output: &mut impl Write, line: &Line) -> Result<(), Error> {
    writeln!(output, "{line}")
        .and_then(|()| output.flush())
        .map_err(Error::Terminal)
}

/// A thread of its own, because a runtime would wait for a read that nobody ends.
fn read_lines() -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (lines, input) = mpsc::channel(READ_AHEAD);
    thread::spawn(move || {
        for line in io::stdin().lock().split(b'\n') {
            let failed = line.is_err();
            if lines.blocking_send(line).is_err() || failed {
                return;
            }
        }
    });
    input
}
