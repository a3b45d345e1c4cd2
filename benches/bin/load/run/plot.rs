//! The latency distribution as an SVG.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use pomelo_svg::Drawing;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 36.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;

/// Points of the curve for each factor of ten between 100 % and the percentile.
const POINTS_PER_NINE: u32 = 20;

/// Percentiles on a scale where each further nine is as wide as the last, latencies on a
/// logarithmic one: the slow few are what one looks for.
pub(crate) fn svg(title: &str, times: &Histogram<u64>) -> String {
    let nines = nines(times.len());
    let lowest = decade(times.min(), f64::floor);
    let highest = decade(times.max(), f64::ceil).max(lowest + 1.0);
    let x = |nine: f64| LEFT + nine / f64::from(nines) * (WIDTH - LEFT - RIGHT);
    let y = |decade: f64| {
        HEIGHT - BOTTOM - (decade - lowest) / (highest - lowest) * (HEIGHT - TOP - BOTTOM)
    };
    let mut drawing = Drawing::new(WIDTH, HEIGHT, title);
    for nine in 0..=nines {
        let (x, bottom) = (x(f64::from(nine)), HEIGHT - BOTTOM);
        drawing.draw(format_args!(
            "<path d=\"M{x:.1} {TOP}V{bottom}\" stroke=\"#ddd\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
            bottom + 18.0,
            percent(nine)
        ));
    }
    let mut tick = lowest;
    while tick <= highest {
        let (y, right) = (y(tick), WIDTH - RIGHT);
        drawing.draw(format_args!(
            "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
            LEFT - 6.0,
            y + 4.0,
            duration(tick)
        ));
        tick += 1.0;
    }
    let mut points = String::new();
    for step in 0..=nines * POINTS_PER_NINE {
        let nine = f64::from(step) / f64::from(POINTS_PER_NINE);
        let value = times.value_at_quantile(1.0 - 10_f64.powf(-nine)).max(1);
        let _ = write!(points, "{:.1},{:.1} ", x(nine), y((value as f64).log10()));
    }
    drawing.draw(format_args!(
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#06c\" stroke-width=\"2\"/>\n\
         <text x=\"{}\" y=\"{}\" text-anchor=\"end\">percentile</text>\n",
        points.trim_end(),
        WIDTH - RIGHT,
        HEIGHT - 10.0
    ));
    drawing.finish()
}

/// As many nines as there are samples to tell them.
fn nines(samples: u64) -> u32 {
    samples.max(10).ilog10().clamp(1, 6)
}

/// Of a time in nanoseconds, the power of ten below or above.
fn decade(nanos: u64, round: fn(f64) -> f64) -> f64 {
    round((nanos.max(1) as f64).log10())
}

fn percent(nines: u32) -> String {
    match nines {
        0 => "0 %".to_owned(),
        1 => "90 %".to_owned(),
        2 => "99 %".to_owned(),
        more => format!("99.{} %", "9".repeat(more as usize - 2)),
    }
}

fn duration(decade: f64) -> String {
    let nanos = 10_f64.powf(decade);
    if nanos >= 1e9 {
        format!("{} s", nanos / 1e9)
    } else if nanos >= 1e6 {
        format!("{} ms", nanos / 1e6)
    } else if nanos >= 1e3 {
        format!("{} us", nanos / 1e3)
    } else {
        format!("{nanos} ns")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_rises_to_the_slowest() {
        let mut times = Histogram::new(3).unwrap();
        for micros in 1..=1000_u64 {
            times.record(micros * 1000).unwrap();
        }
        let svg = svg("echo <64 B>", &times);
        assert!(svg.contains("echo &lt;64 B>"));
        assert!(svg.contains("99.9 %") && !svg.contains("99.99 %"));
        assert!(svg.contains(">1 us<") && svg.contains(">1 ms<"));
        let (_, points) = svg.split_once("points=\"").unwrap();
        let (points, _) = points.split_once('"').unwrap();
        let heights: Vec<f64> = points
            .split(' ')
            .map(|point| point.split_once(',').unwrap().1.parse().unwrap())
            .collect();
        assert!(heights.is_sorted_by(|a, b| a >= b));
        assert!(heights[0] > heights[heights.len() - 1]);
    }

    #[test]
    fn an_empty_histogram_is_drawn_too() {
        assert!(svg("", &Histogram::new(3).unwrap()).ends_with("</svg>\n"));
    }
}
