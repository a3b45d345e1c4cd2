//! What the plots of `cargo xtask compare` and those of `cargo xtask load` have in common: a white
//! sheet with a title, and text that is no markup.

use std::fmt::{self, Write as _};

/// A drawing that has begun.
#[derive(Debug)]
pub struct Drawing {
    svg: String,
}

impl Drawing {
    /// A white sheet with a title; one unit is a pixel where it is shown in full size.
    #[must_use]
    pub fn new(width: f64, height: f64, title: &str) -> Self {
        let mut drawing = Self { svg: String::new() };
        drawing.draw(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n\
             <text x=\"12\" y=\"24\" font-size=\"14\">{}</text>\n",
            escape(title)
        ));
        drawing
    }

    /// Adds elements.
    pub fn draw(&mut self, elements: fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.svg.write_fmt(elements);
    }

    /// The whole file.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.svg.push_str("</svg>\n");
        self.svg
    }
}

/// Text for an element's content.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sheet_with_a_title() {
        let mut drawing = Drawing::new(720.0, 40.5, "a < b & c");
        drawing.draw(format_args!("<path d=\"M{} 1\"/>\n", 2));
        let svg = drawing.finish();
        assert!(svg.starts_with("<svg ") && svg.ends_with("<path d=\"M2 1\"/>\n</svg>\n"));
        assert!(svg.contains("viewBox=\"0 0 720 40.5\""));
        assert!(svg.contains(">a &lt; b &amp; c</text>"));
    }
}
