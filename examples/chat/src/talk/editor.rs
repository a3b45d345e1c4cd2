//! The line that is being typed.

use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthStr as _;

use super::line::clean;

/// The longest line in bytes. Far more than anybody types, and what a pasted file is cut to.
pub(super) const MAX_LINE: usize = 4096;

/// A text in two parts; the cursor is between them, never inside of what is seen as one character.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Editor {
    before: String,
    after: String,
}

/// Where the cursor goes, or what is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    Character,
    Word,
    Line,
}

impl Editor {
    /// Types or pastes at the cursor; line ends become spaces. What would be too long is left out.
    pub(super) fn insert(&mut self, text: &str) {
        for character in clean(text).graphemes(true) {
            if self.before.len() + self.after.len() + character.len() > MAX_LINE {
                return;
            }
            self.before.push_str(character);
        }
    }

    pub(super) fn left(&mut self, span: Span) {
        let moved = self.before.split_off(back(&self.before, span));
        self.after.insert_str(0, &moved);
    }

    pub(super) fn right(&mut self, span: Span) {
        let rest = self.after.split_off(forth(&self.after, span));
        self.before
            .push_str(&std::mem::replace(&mut self.after, rest));
    }

    pub(super) fn delete_left(&mut self, span: Span) {
        self.before.truncate(back(&self.before, span));
    }

    pub(super) fn delete_right(&mut self, span: Span) {
        self.after = self.after.split_off(forth(&self.after, span));
    }

    /// The whole line; nothing is left.
    pub(super) fn take(&mut self) -> String {
        let Self { before, after } = std::mem::take(self);
        before + &after
    }

    pub(super) fn is_empty(&self) -> bool {
        self.before.is_empty() && self.after.is_empty()
    }

    /// The part of the line to show in `width` columns, and the column of the cursor in it.
    pub(super) fn window(&self, width: usize) -> (String, usize) {
        let mut shown = self.before.as_str();
        // The cursor itself takes a column.
        while shown.width() >= width.max(1) {
            let Some(first) = shown.graphemes(true).next() else {
                break;
            };
            shown = shown.get(first.len()..).unwrap_or_default();
        }
        (format!("{shown}{}", self.after), shown.width())
    }
}

fn back(text: &str, span: Span) -> usize {
    match span {
        Span::Character => text
            .grapheme_indices(true)
            .next_back()
            .map_or(0, |(at, _)| at),
        Span::Word => text
            .unicode_word_indices()
            .next_back()
            .map_or(0, |(at, _)| at),
        Span::Line => 0,
    }
}

fn forth(text: &str, span: Span) -> usize {
    match span {
        Span::Character => text.graphemes(true).next().map_or(0, str::len),
        Span::Word => text
            .unicode_word_indices()
            .next()
            .map_or(text.len(), |(at, word)| at + word.len()),
        Span::Line => text.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_steps_over_whole_characters() {
        let mut editor = Editor::default();
        editor.insert("你👩\u{200d}👩\u{200d}👧x");
        editor.left(Span::Character);
        editor.delete_left(Span::Character);
        editor.left(Span::Character);
        editor.insert("a\nb");
        editor.right(Span::Line);
        editor.insert("!");
        assert_eq!(editor.take(), "a b你x!");
        assert!(editor.is_empty());
    }

    #[test]
    fn words_and_lines_go_at_once() {
        let mut editor = Editor::default();
        editor.insert("one two  three");
        editor.delete_left(Span::Word);
        assert_eq!(editor.window(80), ("one two  ".to_owned(), 9));
        editor.left(Span::Word);
        editor.delete_right(Span::Word);
        assert_eq!(editor.window(80), ("one   ".to_owned(), 4));
        editor.delete_left(Span::Line);
        assert_eq!(editor.take(), "  ");
    }

    #[test]
    fn the_window_follows_the_cursor() {
        let mut editor = Editor::default();
        editor.insert("ab你好");
        assert_eq!(editor.window(6), ("b你好".to_owned(), 5));
        editor.left(Span::Line);
        assert_eq!(editor.window(6), ("ab你好".to_owned(), 0));
    }

    #[test]
    fn a_line_has_an_end() {
        let mut editor = Editor::default();
        editor.insert(&"你".repeat(MAX_LINE));
        let line = editor.take();
        assert!(line.len() <= MAX_LINE && line.len() > MAX_LINE - 3);
    }
}
