//! Numbers as the page has them.

use super::figures::Summary;
use super::scenarios::Unit;

/// The median and, in parentheses, the range.
pub(crate) fn cell_of(value: Summary, unit: Unit) -> String {
    let Summary {
        median,
        least,
        most,
    } = value;
    range([median, least, most].map(|value| number(value, unit)))
}

/// The same of ratios.
pub(crate) fn ratio_of(value: Summary) -> String {
    let Summary {
        median,
        least,
        most,
    } = value;
    range([median, least, most].map(ratio))
}

pub(crate) fn ratio(value: f64) -> String {
    if value < 10.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.1}")
    }
}

fn range([median, least, most]: [String; 3]) -> String {
    if least == most {
        median
    } else {
        format!("{median} ({least}–{most})")
    }
}

/// With as many digits as mean something.
pub(crate) fn number(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Rate => grouped(three_digits(value)),
        Unit::Bytes => grouped(value.round()),
        Unit::Micros | Unit::Millis | Unit::Mebibytes if value < 100.0 => format!("{value:.1}"),
        Unit::Micros | Unit::Millis | Unit::Mebibytes => grouped(three_digits(value)),
        Unit::Percent => format!("{value:.0} %"),
    }
}

pub(crate) fn with_unit(value: f64, unit: Unit) -> String {
    let value = match unit {
        Unit::Rate | Unit::Bytes => grouped(value),
        Unit::Micros | Unit::Millis | Unit::Mebibytes | Unit::Percent => value.to_string(),
    };
    let unit = match unit {
        Unit::Rate => "",
        Unit::Micros => " us",
        Unit::Millis => " ms",
        Unit::Bytes => " bytes",
        Unit::Mebibytes => " MiB",
        Unit::Percent => " %",
    };
    format!("{value}{unit}")
}

fn three_digits(value: f64) -> f64 {
    if value < 1000.0 {
        return value.round();
    }
    let step = 10_f64.powf(value.log10().floor() - 2.0);
    (value / step).round() * step
}

/// A whole number with commas.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(number(197_511.3, Unit::Rate), "198,000");
        assert_eq!(number(1_903_712.0, Unit::Rate), "1,900,000");
        assert_eq!(number(41.0, Unit::Bytes), "41");
        assert_eq!(number(10_431.4, Unit::Bytes), "10,431");
        assert_eq!(number(4.46, Unit::Micros), "4.5");
        assert_eq!(number(2376.0, Unit::Micros), "2,380");
        assert_eq!(number(14.52, Unit::Percent), "15 %");
        assert_eq!(with_unit(1536.0, Unit::Bytes), "1,536 bytes");
    }
}
