//! Draws the state: history, members beside it where there is room, a status row, the prompt.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Row, Span};
use ratatui::widgets::{Block, Borders, Paragraph};
use unicode_width::UnicodeWidthStr as _;

use super::line::{EVERYBODY, Line, clean};
use super::state::State;
use super::text::cut;

const MEMBERS_WIDTH: u16 = 20;

/// Narrower than this, the history needs every column.
const MIN_WIDTH_WITH_MEMBERS: u16 = 60;

const PROMPT: &str = "> ";

pub(super) fn draw(frame: &mut Frame<'_>, state: &mut State) {
    let rows = [
        Constraint::Min(1),
        Constraint::Length(1),
        Constraint::Length(1),
    ];
    let [top, status, prompt] = Layout::vertical(rows).areas(frame.area());
    let beside = if top.width < MIN_WIDTH_WITH_MEMBERS {
        0
    } else {
        MEMBERS_WIDTH
    };
    let [history, members] =
        Layout::horizontal([Constraint::Min(1), Constraint::Length(beside)]).areas(top);

    draw_history(frame, state, history);
    draw_members(frame, state, members);
    draw_status(frame, state, status);
    draw_prompt(frame, state, prompt);
}

fn draw_history(frame: &mut Frame<'_>, state: &mut State, area: Rect) {
    let own_name = state.own_name().to_owned();
    let rows: Vec<Row<'_>> = state
        .visible(area.width.into(), area.height.into())
        .into_iter()
        .map(|(line, row, first)| style_row(line, row, first, &own_name))
        .collect();
    frame.render_widget(Paragraph::new(rows), area);
}

fn style_row(line: &Line, row: String, first: bool, own_name: &str) -> Row<'static> {
    let said = match line {
        Line::Notice(_) => return Row::styled(row, Color::DarkGray),
        Line::Problem(_) => return Row::styled(row, Color::Red),
        Line::Said(said) => said,
    };
    let text = if said.target == EVERYBODY {
        Style::new()
    } else {
        Style::new().fg(Color::Magenta)
    };
    let head = line.head();
    match row.strip_prefix(&head) {
        Some(rest) if first => {
            let name = Style::new().add_modifier(Modifier::BOLD);
            let name = if said.from == own_name {
                name.fg(Color::Green)
            } else {
                name.fg(Color::Cyan)
            };
            let rest = Span::styled(rest.to_owned(), text);
            Row::from(vec![Span::styled(head, name), rest])
        }
        Some(_) | None => Row::styled(row, text),
    }
}

fn draw_members(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let block = Block::new()
        .borders(Borders::LEFT | Borders::TOP)
        .title(format!(" {} here ", state.members().len()));
    let inner = block.inner(area);
    let (width, height) = (usize::from(inner.width), usize::from(inner.height));
    let members = state.members();
    let shown = if members.len() > height {
        height.saturating_sub(1)
    } else {
        members.len()
    };
    let mut rows: Vec<Row<'_>> = members
        .iter()
        .take(shown)
        .map(|name| {
            let style = if name == state.own_name() {
                Color::Green
            } else {
                Color::Cyan
            };
            Row::styled(cut(&clean(name), width), style)
        })
        .collect();
    if shown < members.len() {
        rows.push(Row::from(format!("… {} more", members.len() - shown)));
    }
    frame.render_widget(Paragraph::new(rows).block(block), area);
}

fn draw_status(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let text = match (state.closed(), state.rows_below()) {
        (Some(reason), _) => format!(" {reason} | Enter leaves"),
        (None, 0) => format!(
            " {} in {} | @name text: to one person | PgUp, PgDn: scroll | /quit: leave",
            state.own_name(),
            state.room_name()
        ),
        (None, below) => format!(" {below} rows below | PgDn: scroll down"),
    };
    let text = cut(&clean(&text), area.width.into());
    let style = Style::new().add_modifier(Modifier::REVERSED);
    frame.render_widget(Paragraph::new(text).style(style), area);
}

fn draw_prompt(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let room = usize::from(area.width).saturating_sub(PROMPT.width());
    let (text, column) = state.editor.window(room);
    frame.render_widget(Paragraph::new(format!("{PROMPT}{text}")), area);
    let column = u16::try_from(PROMPT.width() + column).unwrap_or(u16::MAX);
    let x = area
        .x
        .saturating_add(column)
        .min(area.right().saturating_sub(1));
    frame.set_cursor_position(Position::new(x, area.y));
}

#[cfg(test)]
mod tests {
    use pomelo_client::CloseReason;
    use pomelo_proto::chat::OnChat;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::session::News;
    use super::super::state::Room;
    use super::*;

    fn state() -> State {
        let members = ["bob", "小明"].map(str::to_owned);
        State::new(Room::new("小明", "大厅", &members))
    }

    fn said(msg: &str) -> News {
        News::Said(OnChat {
            msg: msg.into(),
            from: "bob".into(),
            target: "*".into(),
        })
    }

    /// What is on the screen, row by row, and where the cursor is.
    fn screen(state: &mut State, width: u16, height: u16) -> (Vec<String>, Position) {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state)).unwrap();
        let cursor = terminal.get_cursor_position().unwrap();
        let buffer = terminal.backend().buffer();
        let rows = (0..height).map(|y| {
            let mut row = String::new();
            let mut x = 0;
            while x < width {
                let symbol = buffer[(x, y)].symbol();
                row.push_str(symbol);
                x += u16::try_from(symbol.width().max(1)).unwrap();
            }
            row.trim_end().to_owned()
        });
        (rows.collect(), cursor)
    }

    #[test]
    fn wide_terminals_have_members_beside_the_history() {
        let mut state = state();
        state.hear(said("你好 🎉"));
        state.editor.insert("@bob 好");
        let (rows, cursor) = screen(&mut state, 60, 6);
        assert_eq!(
            rows,
            [
                "* 小明 entered 大厅; here are: bob, 小明┌ 2 here ───────────",
                "bob: 你好 🎉                            │bob",
                "                                        │小明",
                "                                        │",
                " 小明 in 大厅 | @name text: to one person | PgUp, PgDn: scr…",
                "> @bob 好",
            ]
        );
        assert_eq!(cursor, Position::new(9, 5));
    }

    #[test]
    fn narrow_and_tiny_terminals_still_draw() {
        let mut state = state();
        state.hear(said("一二三四五六七八九十"));
        let (rows, _) = screen(&mut state, 12, 5);
        assert_eq!(
            rows,
            ["bob: 一二三", "四五六七八九", "十", " 小明 in 大…", ">"]
        );
        for (width, height) in [(1, 1), (2, 3), (1, 9), (80, 1)] {
            screen(&mut state, width, height);
        }
    }

    #[test]
    fn many_members_are_counted() {
        let members: Vec<String> = (0..9).map(|n| format!("m{n}")).collect();
        let mut state = State::new(Room::new("m0", "r", &members));
        let (rows, _) = screen(&mut state, 60, 6);
        assert!(rows[0].ends_with("┌ 9 here ───────────"));
        assert!(rows[3].ends_with("│… 7 more"), "{rows:?}");
    }

    #[test]
    fn the_end_is_on_the_status_row() {
        let mut state = state();
        state.hear(News::Closed(CloseReason::Kicked(Some("bye".into()))));
        let (rows, _) = screen(&mut state, 40, 5);
        assert_eq!(rows[3], " kicked: bye | Enter leaves");
    }
}
