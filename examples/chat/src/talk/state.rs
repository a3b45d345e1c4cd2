//! What the chat shows, apart from any terminal.

use std::collections::VecDeque;

use pomelo_client::CloseReason;

use super::command::{self, Command};
use super::editor::Editor;
use super::line::Line;
use super::session::{News, Session};
use super::text::wrap;

/// Lines kept for scrolling back.
const MAX_HISTORY: usize = 2000;

/// A room and who is in it.
#[derive(Clone, Debug)]
pub(super) struct Room {
    own_name: String,
    name: String,
    members: Vec<String>,
}

impl Room {
    pub(super) fn new(own_name: &str, name: &str, members: &[String]) -> Self {
        Self {
            own_name: own_name.to_owned(),
            name: name.to_owned(),
            members: members.to_vec(),
        }
    }

    pub(super) fn of(session: &Session) -> Self {
        Self::new(session.name(), session.room(), session.users())
    }

    /// Names of those who are here, in the order they came.
    pub(super) fn members(&self) -> &[String] {
        &self.members
    }

    pub(super) fn greeting(&self) -> Line {
        Line::Notice(format!(
            "{} entered {}; here are: {}",
            self.own_name,
            self.name,
            self.members.join(", ")
        ))
    }

    /// Keeps the list of members; returns what there is to show.
    pub(super) fn hear(&mut self, news: News) -> Option<Line> {
        match news {
            // A member who came while we entered may be told twice.
            News::Entered(user) if self.members.contains(&user) => None,
            News::Entered(user) => {
                let line = Line::Notice(format!("{user} entered"));
                self.members.push(user);
                Some(line)
            }
            News::Left(user) => {
                let place = self.members.iter().position(|member| *member == user)?;
                self.members.remove(place);
                Some(Line::Notice(format!("{user} left")))
            }
            News::Said(said) => Some(Line::Said(said)),
            News::Problem(text) => Some(Line::Problem(text)),
            News::Missed(count) => Some(Line::Problem(format!(
                "{count} messages came too fast and are lost"
            ))),
            News::Closed(reason) => {
                Some(Line::Problem(format!("the connection is lost: {reason}")))
            }
        }
    }
}

/// Everything on the screen.
#[derive(Clone, Debug)]
pub(super) struct State {
    room: Room,
    history: VecDeque<Line>,
    /// Rows between the newest row and the bottom of what is shown.
    back: usize,
    /// Size of the history on the screen, as last drawn.
    size: (usize, usize),
    closed: Option<CloseReason>,
    pub(super) editor: Editor,
}

impl State {
    pub(super) fn new(room: Room) -> Self {
        let history = VecDeque::from([room.greeting()]);
        Self {
            room,
            history,
            back: 0,
            size: (1, 1),
            closed: None,
            editor: Editor::default(),
        }
    }

    pub(super) fn own_name(&self) -> &str {
        &self.room.own_name
    }

    pub(super) fn room_name(&self) -> &str {
        &self.room.name
    }

    pub(super) fn members(&self) -> &[String] {
        self.room.members()
    }

    /// Why the connection has ended, once it has.
    pub(super) fn closed(&self) -> Option<&CloseReason> {
        self.closed.as_ref()
    }

    /// Rows that are below what is shown.
    pub(super) fn rows_below(&self) -> usize {
        self.back
    }

    pub(super) fn hear(&mut self, news: News) {
        if let News::Closed(reason) = &news {
            self.closed = Some(reason.clone());
            self.room.members.clear();
        }
        if let Some(line) = self.room.hear(news) {
            self.add(line);
        }
    }

    pub(super) fn add(&mut self, line: Line) {
        // Who reads the past keeps it in view.
        if self.back > 0 {
            self.back += wrap(&line.to_string(), self.size.0).len();
        }
        self.history.push_back(line);
        if self.history.len() > MAX_HISTORY {
            self.history.pop_front();
        }
    }

    /// Takes the typed line as an order. Of a wrong one the reason is shown.
    pub(super) fn enter(&mut self) -> Command {
        let command = command::read(&self.editor.take(), self.room.members());
        self.back = 0;
        if let Command::Wrong(why) = &command {
            self.add(Line::Problem(why.clone()));
        }
        command
    }

    pub(super) fn page_up(&mut self) {
        self.scroll_up(self.page());
    }

    pub(super) fn page_down(&mut self) {
        self.scroll_down(self.page());
    }

    /// Drawing stops it at the oldest row.
    pub(super) fn scroll_up(&mut self, rows: usize) {
        self.back = self.back.saturating_add(rows);
    }

    pub(super) fn scroll_down(&mut self, rows: usize) {
        self.back = self.back.saturating_sub(rows);
    }

    /// One row of the page before stays in view.
    fn page(&self) -> usize {
        self.size.1.saturating_sub(1).max(1)
    }

    /// The rows of the history in view, from the top, each with its line and whether it is the first row
    /// of it. Lays out no more lines than are needed.
    pub(super) fn visible(&mut self, width: usize, height: usize) -> Vec<(&Line, String, bool)> {
        self.size = (width.max(1), height);
        let wanted = self.back.saturating_add(height);
        let mut upwards = Vec::new();
        for line in self.history.iter().rev() {
            if upwards.len() >= wanted {
                break;
            }
            let rows = wrap(&line.to_string(), self.size.0);
            let rows = rows.into_iter().enumerate().rev();
            upwards.extend(rows.map(|(n, row)| (line, row, n == 0)));
        }
        self.back = self.back.min(upwards.len().saturating_sub(height));
        let mut visible: Vec<_> = upwards.into_iter().skip(self.back).take(height).collect();
        visible.reverse();
        visible
    }
}

#[cfg(test)]
mod tests {
    use pomelo_proto::chat::OnChat;

    use super::*;

    fn state() -> State {
        State::new(Room::new(
            "ann",
            "lobby",
            &["bob".to_owned(), "ann".to_owned()],
        ))
    }

    fn rows(state: &mut State, height: usize) -> Vec<String> {
        state
            .visible(80, height)
            .into_iter()
            .map(|(_, row, _)| row)
            .collect()
    }

    fn said(text: impl ToString) -> News {
        News::Said(OnChat {
            msg: text.to_string(),
            from: "bob".into(),
            target: "*".into(),
        })
    }

    #[test]
    fn members_come_and_go() {
        let mut state = state();
        for news in [
            News::Entered("小明".into()),
            News::Entered("小明".into()),
            News::Left("bob".into()),
            News::Left("bob".into()),
        ] {
            state.hear(news);
        }
        assert_eq!(state.members(), ["ann", "小明"]);
        assert_eq!(
            rows(&mut state, 9),
            [
                "* ann entered lobby; here are: bob, ann",
                "* 小明 entered",
                "* bob left"
            ]
        );
    }

    #[test]
    fn the_past_stays_in_view_while_news_come() {
        let mut state = state();
        for n in 1..=10 {
            state.hear(said(n));
        }
        assert_eq!(rows(&mut state, 3), ["bob: 8", "bob: 9", "bob: 10"]);
        state.page_up();
        assert_eq!(rows(&mut state, 3), ["bob: 6", "bob: 7", "bob: 8"]);
        state.hear(said(11));
        assert_eq!(rows(&mut state, 3), ["bob: 6", "bob: 7", "bob: 8"]);
        assert_eq!(state.rows_below(), 3);
        state.scroll_up(usize::MAX);
        assert_eq!(
            rows(&mut state, 3),
            [
                "* ann entered lobby; here are: bob, ann",
                "bob: 1",
                "bob: 2"
            ]
        );
        state.page_down();
        assert_eq!(rows(&mut state, 3), ["bob: 2", "bob: 3", "bob: 4"]);
        state.editor.insert("hi");
        assert_eq!(
            state.enter(),
            Command::Say {
                target: None,
                text: "hi".into()
            }
        );
        assert_eq!(rows(&mut state, 1), ["bob: 11"]);
    }

    #[test]
    fn the_history_is_bounded() {
        let mut state = state();
        for n in 0..MAX_HISTORY + 5 {
            state.hear(said(n));
        }
        assert_eq!(rows(&mut state, usize::MAX).len(), MAX_HISTORY);
        assert_eq!(rows(&mut state, usize::MAX).first().unwrap(), "bob: 5");
    }

    #[test]
    fn a_kick_is_shown_with_its_reason() {
        let mut state = state();
        state.hear(News::Closed(CloseReason::Kicked(Some("spam".into()))));
        assert_eq!(
            rows(&mut state, 1),
            ["! the connection is lost: kicked: spam"]
        );
        assert_eq!(
            state.closed(),
            Some(&CloseReason::Kicked(Some("spam".into())))
        );
        assert!(state.members().is_empty());
    }
}
