//! Bars: a group for each figure, scaled to its longest, since figures differ by factors of ten.

use pomelo_svg::{Drawing, escape};

use super::figures::Summary;

/// One figure.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) title: String,
    pub(crate) bars: Vec<Bar>,
}

/// One server.
#[derive(Debug)]
pub(crate) struct Bar {
    pub(crate) title: String,
    pub(crate) label: String,
    pub(crate) summary: Summary,
    pub(crate) ours: bool,
    /// No framework, but what a framework is measured by.
    pub(crate) limit: bool,
}

const WIDTH: f64 = 760.0;
const LEFT: f64 = 150.0;
/// For the number behind the longest bar.
const RIGHT: f64 = 90.0;
const TOP: f64 = 44.0;
const BAR: f64 = 16.0;
const HEAD: f64 = 20.0;
const GAP: f64 = 14.0;

const OURS: &str = "#06c";
const LIMIT: &str = "#aaa";
const PEER: &str = "#d95f02";

/// The range of all rounds is a line on the bar, whose end is the median.
pub(crate) fn svg(title: &str, groups: &[Group]) -> String {
    let height = groups.iter().fold(TOP, |height, group| {
        height + HEAD + group.bars.iter().map(|_| BAR).sum::<f64>() + GAP
    });
    let mut drawing = Drawing::new(WIDTH, height, title);
    let mut y = TOP;
    for group in groups {
        drawing.draw(format_args!(
            "<text x=\"12\" y=\"{:.0}\" font-weight=\"bold\">{}</text>\n",
            y + 12.0,
            escape(&group.title)
        ));
        y += HEAD;
        let longest = group
            .bars
            .iter()
            .map(|bar| bar.summary.most)
            .fold(f64::MIN_POSITIVE, f64::max);
        let x = |value: f64| LEFT + value / longest * (WIDTH - LEFT - RIGHT);
        for bar in &group.bars {
            let Summary {
                median,
                least,
                most,
            } = bar.summary;
            let color = match (bar.ours, bar.limit) {
                (true, _) => OURS,
                (false, true) => LIMIT,
                (false, false) => PEER,
            };
            let (middle, base) = (y + BAR / 2.0, y + 12.0);
            drawing.draw(format_args!(
                "<text x=\"{:.0}\" y=\"{base:.0}\" text-anchor=\"end\">{}</text>\
                 <rect x=\"{LEFT}\" y=\"{:.0}\" width=\"{:.1}\" height=\"{:.0}\" fill=\"{color}\"/>\
                 <path d=\"M{:.1} {middle:.1}H{:.1}\" stroke=\"#333\"/>\
                 <text x=\"{:.1}\" y=\"{base:.0}\">{}</text>\n",
                LEFT - 6.0,
                escape(&bar.title),
                y + 2.0,
                x(median) - LEFT,
                BAR - 4.0,
                x(least),
                x(most),
                x(most) + 6.0,
                escape(&bar.label)
            ));
            y += BAR;
        }
        y += GAP;
    }
    drawing.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_fills_the_width() {
        let bar = |title: &str, median: f64| Bar {
            title: title.to_owned(),
            label: format!("<{median}"),
            summary: Summary {
                median,
                least: median,
                most: median,
            },
            ours: title == "ours",
            limit: false,
        };
        let groups = [Group {
            title: "echo & push".to_owned(),
            bars: vec![bar("ours", 50.0), bar("theirs", 100.0)],
        }];
        let svg = svg("t", &groups);
        assert!(svg.contains("echo &amp; push") && svg.contains("&lt;50"));
        let full = WIDTH - LEFT - RIGHT;
        assert!(svg.contains(&format!(
            "width=\"{full:.1}\" height=\"12\" fill=\"{PEER}\""
        )));
        assert!(svg.contains(&format!(
            "width=\"{:.1}\" height=\"12\" fill=\"{OURS}\"",
            full / 2.0
        )));
    }

    #[test]
    fn nothing_to_draw_is_drawn_too() {
        assert!(svg("", &[]).ends_with("</svg>\n"));
    }
}
