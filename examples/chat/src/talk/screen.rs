//! The chat on a terminal.

use std::io;
use std::thread;

use crossterm::event::{
    self, DisableBracketedPaste, EnableBracketedPaste, Event, KeyCode, KeyEvent, KeyEventKind,
    KeyModifiers,
};
use crossterm::execute;
use ratatui::DefaultTerminal;
use tokio::sync::mpsc;

use super::command::Command;
use super::editor::Span;
use super::session::{News, Session};
use super::state::{Room, State};
use super::{Error, asked_to_end, view};

/// Keys read ahead; the thread that reads waits when nobody takes them.
const READ_AHEAD: usize = 64;

/// Chats until the user leaves. When the connection ends, the reason stays on the screen until then.
pub(super) async fn run(mut session: Session) -> Result<(), Error> {
    let mut state = State::new(Room::of(&session));
    let ended = {
        let mut screen = Screen::open().map_err(Error::Terminal)?;
        chat(&mut screen, &mut session, &mut state).await
    };
    session.leave().await;
    ended?;
    match state.closed() {
        Some(reason) => Err(Error::Lost(reason.clone())),
        None => Ok(()),
    }
}

async fn chat(screen: &mut Screen, session: &mut Session, state: &mut State) -> Result<(), Error> {
    let mut input = read_events();
    let mut end = std::pin::pin!(asked_to_end());
    loop {
        screen
            .terminal
            .draw(|frame| view::draw(frame, state))
            .map_err(Error::Terminal)?;
        let wish = tokio::select! {
            news = session.news(), if state.closed().is_none() => {
                hear_all(session, state, news);
                Wish::Stay
            }
            event = input.recv() => match event {
                Some(Ok(event)) => handle(state, event),
                Some(Err(error)) => return Err(Error::Terminal(error)),
                None => Wish::Leave,
            },
            () = &mut end => Wish::Leave,
        };
        match wish {
            Wish::Stay => {}
            Wish::Leave => return Ok(()),
            Wish::Say { target, text } => session.say(target, text).await,
        }
    }
}

/// A burst is drawn once.
fn hear_all(session: &mut Session, state: &mut State, first: News) {
    state.hear(first);
    if state.closed().is_none() {
        for news in session.rest() {
            state.hear(news);
        }
    }
}

/// What an event asks for beyond a change of the state.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wish {
    Stay,
    Leave,
    Say {
        target: Option<String>,
        text: String,
    },
}

fn handle(state: &mut State, event: Event) -> Wish {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => press(state, key),
        Event::Paste(text) => {
            state.editor.insert(&text);
            Wish::Stay
        }
        // A new size needs nothing but drawing.
        Event::Key(_)
        | Event::Resize(..)
        | Event::FocusGained
        | Event::FocusLost
        | Event::Mouse(_) => Wish::Stay,
    }
}

fn press(state: &mut State, key: KeyEvent) -> Wish {
    let editor = &mut state.editor;
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    let span = if control { Span::Word } else { Span::Character };
    match key.code {
        KeyCode::Char('c') if control => return Wish::Leave,
        // As in a shell, it deletes unless there is nothing.
        KeyCode::Char('d') if control && editor.is_empty() => return Wish::Leave,
        KeyCode::Char('d') if control => editor.delete_right(Span::Character),
        KeyCode::Char('a') if control => editor.left(Span::Line),
        KeyCode::Char('e') if control => editor.right(Span::Line),
        KeyCode::Char('u') if control => editor.delete_left(Span::Line),
        KeyCode::Char('k') if control => editor.delete_right(Span::Line),
        KeyCode::Char('w') if control => editor.delete_left(Span::Word),
        // Alt Gr is told as both by some terminals, and makes ordinary characters.
        KeyCode::Char(c) if !control || key.modifiers.contains(KeyModifiers::ALT) => {
            editor.insert(c.encode_utf8(&mut [0; 4]));
        }
        KeyCode::Left => editor.left(span),
        KeyCode::Right => editor.right(span),
        KeyCode::Home => editor.left(Span::Line),
        KeyCode::End => editor.right(Span::Line),
        KeyCode::Backspace => editor.delete_left(span),
        KeyCode::Delete => editor.delete_right(span),
        KeyCode::PageUp => state.page_up(),
        KeyCode::PageDown => state.page_down(),
        KeyCode::Up => state.scroll_up(1),
        KeyCode::Down => state.scroll_down(1),
        KeyCode::Enter if state.closed().is_some() => return Wish::Leave,
        KeyCode::Enter => match state.enter() {
            Command::Nothing | Command::Wrong(_) => {}
            Command::Quit => return Wish::Leave,
            Command::Say { target, text } => return Wish::Say { target, text },
        },
        _ => {}
    }
    Wish::Stay
}

/// A thread of its own, because a runtime would wait for a read that nobody ends.
fn read_events() -> mpsc::Receiver<io::Result<Event>> {
    let (events, input) = mpsc::channel(READ_AHEAD);
    thread::spawn(move || {
        loop {
            let event = event::read();
            let failed = event.is_err();
            if events.blocking_send(event).is_err() || failed {
                return;
            }
        }
    });
    input
}

/// The terminal in raw mode on its second screen; dropped, it is as before. A panic restores it before
/// its message is printed, by ratatui's hook.
#[derive(Debug)]
struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    fn open() -> io::Result<Self> {
        let screen = Self {
            terminal: ratatui::try_init()?,
        };
        // Without it, each line of a pasted text would be sent at once.
        execute!(io::stdout(), EnableBracketedPaste)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is nobody left to tell about a terminal that is gone.
        let _ = execute!(io::stdout(), DisableBracketedPaste);
        ratatui::restore();
    }
}

#[cfg(test)]
mod tests {
    use pomelo_client::CloseReason;

    use super::*;

    fn key(state: &mut State, code: KeyCode, modifiers: KeyModifiers) -> Wish {
        handle(state, Event::Key(KeyEvent::new(code, modifiers)))
    }

    fn state() -> State {
        State::new(Room::new(
            "ann",
            "lobby",
            &["ann".to_owned(), "bob".to_owned()],
        ))
    }

    #[test]
    fn typed_and_pasted_text_is_said() {
        let mut state = state();
        for c in "@bob 你".chars() {
            assert_eq!(
                key(&mut state, KeyCode::Char(c), KeyModifiers::NONE),
                Wish::Stay
            );
        }
        assert_eq!(
            handle(&mut state, Event::Paste("好\nall".into())),
            Wish::Stay
        );
        assert_eq!(
            key(&mut state, KeyCode::Enter, KeyModifiers::NONE),
            Wish::Say {
                target: Some("bob".into()),
                text: "你好 all".into()
            }
        );
        assert!(state.editor.is_empty());
    }

    #[test]
    fn ways_to_leave() {
        let mut state = state();
        assert_eq!(
            key(&mut state, KeyCode::Char('d'), KeyModifiers::CONTROL),
            Wish::Leave
        );
        state.editor.insert("/quit");
        assert_eq!(
            key(&mut state, KeyCode::Char('d'), KeyModifiers::CONTROL),
            Wish::Stay
        );
        assert_eq!(
            key(&mut state, KeyCode::Enter, KeyModifiers::NONE),
            Wish::Leave
        );
        state.editor.insert("unsent");
        assert_eq!(
            key(&mut state, KeyCode::Char('c'), KeyModifiers::CONTROL),
            Wish::Leave
        );
    }

    #[test]
    fn after_the_end_enter_leaves() {
        let mut state = state();
        state.hear(News::Closed(CloseReason::Peer));
        state.editor.insert("too late");
        assert_eq!(
            key(&mut state, KeyCode::Enter, KeyModifiers::NONE),
            Wish::Leave
        );
    }
}
