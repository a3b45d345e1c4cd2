//! Text in terminal columns: a Chinese character or an emoji takes two.

use unicode_segmentation::UnicodeSegmentation as _;
use unicode_width::UnicodeWidthStr as _;

/// Breaks `text` into rows of at most `width` columns, after a space where there is
/// one. Nothing is left out, and what a reader sees as one character is never torn apart.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut rows = Vec::new();
    let mut row = String::new();
    for word in text.split_word_bounds() {
        // Spaces may stand beyond the edge, where they are not seen.
        if row.width() + word.trim_end().width() > width && !row.is_empty() {
            rows.push(std::mem::take(&mut row));
        }
        if word.width() <= width {
            row.push_str(word);
            continue;
        }
        for character in word.graphemes(true) {
            if row.width() + character.width() > width && !row.is_empty() {
                rows.push(std::mem::take(&mut row));
            }
            row.push_str(character);
        }
    }
    rows.push(row);
    rows
}

/// The beginning of `text` that fits, with an ellipsis if that is not all.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    for character in text.graphemes(true) {
        if kept.width() + character.width() + 1 > width {
            break;
        }
        kept.push_str(character);
    }
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_break_after_spaces_and_within_long_words() {
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap("ab cd ef", 5), ["ab cd ", "ef"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
    }

    #[test]
    fn wide_characters_stay_whole() {
        assert_eq!(wrap("你好世界", 5), ["你好", "世界"]);
        let family = "👩\u{200d}👩\u{200d}👧";
        assert_eq!(
            wrap(&family.repeat(3), 5),
            [family.repeat(2), family.to_owned()]
        );
        // Wider than the terminal: shown cut rather than never.
        assert_eq!(wrap("你好", 1), ["你", "好"]);
    }

    #[test]
    fn names_are_cut_to_columns() {
        assert_eq!(cut("小明", 4), "小明");
        assert_eq!(cut("小明明", 4), "小…");
    }
}
