//! The six fields of a cron time, and the next moment that fits them (cronTrigger.js of
//! pomelo-scheduler 0.3.9).

use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};

/// What a field may hold. Months count from 0 and hour 24 is midnight, as in the original.
const FIELDS: [Field; 6] = [
    Field::new("second", 0, 59),
    Field::new("minute", 0, 59),
    Field::new("hour", 0, 24),
    Field::new("day of month", 1, 31),
    Field::new("month", 0, 11),
    Field::new("day of week", 0, 6),
];

/// Like the original, nothing further away is looked for.
const LAST_YEAR: i16 = 2999;

#[derive(Debug, Clone, Copy)]
struct Field {
    name: &'static str,
    min: u8,
    max: u8,
}

impl Field {
    const fn new(name: &'static str, min: u8, max: u8) -> Self {
        Self { name, min, max }
    }
}

/// Why a text is no cron time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CronTimeError {
    /// Not six fields.
    #[error(
        "must have six fields (second, minute, hour, day of month, month, day of week), not {0}"
    )]
    Fields(usize),
    /// A part of a field is neither `*` nor `n`, `a-b` or `a/n`.
    #[error("{field} {part:?} must be *, or a list of n, a-b and a/n")]
    Part {
        /// Which field.
        field: &'static str,
        /// The part.
        part: String,
    },
    /// A number is out of the field's range, or a range holds nothing.
    #[error("{field} {part:?} must lie within {min} to {max}")]
    Range {
        /// Which field.
        field: &'static str,
        /// The part.
        part: String,
        /// The smallest number of the field.
        min: u8,
        /// The largest.
        max: u8,
    },
}

/// When a job runs: `second minute hour day-of-month month day-of-week`.
///
/// Each field is `*`, or a list of numbers `n`, ranges `a-b` and steps `a/n` (every value whose
/// remainder by `n` is `a`, so every five is `0/5`). Months count from 0 for January, days of the
/// week from 0 for Sunday. A moment must fit all fields, both kinds of day included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronTime {
    second: Set,
    minute: Set,
    hour: Set,
    day: Set,
    month: Set,
    weekday: Set,
}

/// Numbers up to 63 as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Set {
    bits: u64,
    /// Written as `*`.
    all: bool,
}

impl Set {
    fn has(self, value: i8) -> bool {
        u32::try_from(value).is_ok_and(|value| self.bits >> value & 1 == 1)
    }

    /// The first number that is not below `from`.
    fn first_from(self, from: i8) -> Option<i8> {
        let above = self.bits & u64::MAX.checked_shl(u32::try_from(from).ok()?)?;
        // Nothing above: 64 zeros, which no field holds.
        i8::try_from(above.trailing_zeros())
            .ok()
            .filter(|first| *first < 64)
    }

    fn parse(text: &str, field: Field) -> Result<Self, CronTimeError> {
        let (min, max) = (u16::from(field.min), u16::from(field.max));
        if text == "*" {
            let bits = bits_of(min..=max);
            return Ok(Self { bits, all: true });
        }
        let mut bits = 0;
        for part in text.split(',') {
            let number = |text: &str| {
                let plain = text.bytes().all(|byte| byte.is_ascii_digit());
                let number = text.parse::<u16>().ok().filter(|_| plain);
                number.ok_or_else(|| CronTimeError::Part {
                    field: field.name,
                    part: part.to_owned(),
                })
            };
            let within = |value: &u16| (min..=max).contains(value);
            let these = if let Some((first, last)) = part.split_once('-') {
                let (first, last) = (number(first)?, number(last)?);
                if within(&first) && within(&last) {
                    bits_of(first..=last)
                } else {
                    0
                }
            } else if let Some((rest, step)) = part.split_once('/') {
                let (rest, step) = (number(rest)?, number(step)?);
                bits_of((min..=max).filter(|value| value.checked_rem(step) == Some(rest)))
            } else {
                bits_of(Some(number(part)?).filter(within))
            };
            if these == 0 {
                return Err(CronTimeError::Range {
                    field: field.name,
                    part: part.to_owned(),
                    min: field.min,
                    max: field.max,
                });
            }
            bits |= these;
        }
        Ok(Self { bits, all: false })
    }
}

/// Values below 64 as bits.
fn bits_of(values: impl IntoIterator<Item = u16>) -> u64 {
    values
        .into_iter()
        .filter_map(|value| 1_u64.checked_shl(value.into()))
        .fold(0, |bits, bit| bits | bit)
}

impl FromStr for CronTime {
    type Err = CronTimeError;

    fn from_str(text: &str) -> Result<Self, CronTimeError> {
        let parts: Vec<&str> = text.split_whitespace().collect();
        let &[second, minute, hour, day, month, weekday] = parts.as_slice() else {
            return Err(CronTimeError::Fields(parts.len()));
        };
        let [seconds, minutes, hours, days, months, weekdays] = FIELDS;
        let mut hour = Set::parse(hour, hours)?;
        if !hour.all && hour.has(24) {
            hour.bits |= 1;
        }
        Ok(Self {
            second: Set::parse(second, seconds)?,
            minute: Set::parse(minute, minutes)?,
            hour,
            day: Set::parse(day, days)?,
            month: Set::parse(month, months)?,
            weekday: Set::parse(weekday, weekdays)?,
        })
    }
}

impl CronTime {
    /// The first moment after `after` that fits.
    ///
    /// Where the clocks are put forward, a job of a time that is left out runs as much later;
    /// where they are put back, it runs once. Jobs of every hour follow the real time.
    pub(super) fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        if self.hour.all {
            return self.next_of_every_hour(after, zone);
        }
        let mut from = second_after(zone.to_datetime(after))?;
        loop {
            let fitting = self.first_from(from)?;
            let moment = zone.to_timestamp(fitting).ok()?;
            if moment > after {
                return Some(moment);
            }
            from = second_after(fitting)?;
        }
    }

    fn next_of_every_hour(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let whole = Timestamp::from_second(after.as_second()).ok()?;
        let mut from = whole.checked_add(SignedDuration::from_secs(1)).ok()?;
        loop {
            let offset: Offset = zone.to_offset(from);
            let fitting = self.first_from(offset.to_datetime(from))?;
            let moment = offset.to_timestamp(fitting).ok()?;
            match zone.following(from).next() {
                Some(change) if change.timestamp() <= moment => from = change.timestamp(),
                _ => return Some(moment),
            }
        }
    }

    /// The first whole second from `from` on that fits.
    fn first_from(&self, from: DateTime) -> Option<DateTime> {
        let mut date = from.date();
        let mut time = from.time();
        while date.year() <= LAST_YEAR {
            let next: Option<Date> = if !self.month.has(date.month() - 1) {
                let next = date.first_of_month().checked_add(1.month());
                next.ok()
            } else {
                let weekday = date.weekday().to_sunday_zero_offset();
                if self.day.has(date.day())
                    && self.weekday.has(weekday)
                    && let Some(time) = self.time_from(time)
                {
                    return Some(date.to_datetime(time));
                }
                date.tomorrow().ok()
            };
            date = next?;
            time = Time::midnight();
        }
        None
    }

    /// The first time of a day from `from` on that fits.
    fn time_from(&self, from: Time) -> Option<Time> {
        let (mut hour, mut minute, mut second) = (from.hour(), from.minute(), from.second());
        loop {
            let fitting = self.hour.first_from(hour).filter(|hour| *hour < 24)?;
            if fitting > hour {
                (hour, minute, second) = (fitting, 0, 0);
            }
            let Some(fitting) = self.minute.first_from(minute) else {
                (hour, minute, second) = (hour + 1, 0, 0);
                continue;
            };
            if fitting > minute {
                (minute, second) = (fitting, 0);
            }
            let Some(second) = self.second.first_from(second) else {
                (minute, second) = (minute + 1, 0);
                continue;
            };
            return Time::new(hour, minute, second, 0).ok();
        }
    }
}

fn second_after(moment: DateTime) -> Option<DateTime> {
    let whole = moment.with().subsec_nanosecond(0).build().ok()?;
    whole.checked_add(SignedDuration::from_secs(1)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(time: &str, after: &str, zone: &str) -> String {
        let zone = TimeZone::get(zone).unwrap();
        let after: Timestamp = zone
            .to_timestamp(after.parse::<DateTime>().unwrap())
            .unwrap();
        let time: CronTime = time.parse().unwrap();
        time.next(after, &zone).map_or_else(
            || "never".to_owned(),
            |moment| {
                let zoned = moment.to_zoned(zone);
                format!("{} {}", zoned.datetime(), zoned.offset())
            },
        )
    }

    /// Made by `tests/golden/cron.cjs` with pomelo-scheduler 0.3.9.
    #[test]
    fn moments_are_those_of_the_original() {
        let golden = include_str!("../../tests/golden/cron.txt");
        let mut seen = 0;
        for line in golden.lines() {
            let [time, after, expected] = *line.split(" | ").collect::<Vec<_>>() else {
                panic!("{line}");
            };
            let found = next(time, after, "Asia/Shanghai");
            assert_eq!(found, format!("{expected} +08"), "{line}");
            seen += 1;
        }
        assert!(seen > 200);
    }

    #[test]
    fn clocks_that_are_put_forward_and_back_skip_and_repeat_nothing() {
        // 2026-03-29 02:00 becomes 03:00, 2026-10-25 03:00 becomes 02:00.
        let zone = "Europe/Berlin";
        for (time, after, expected) in [
            // A time that the night leaves out comes as much later.
            (
                "0 30 2 * * *",
                "2026-03-28T12:00:00",
                "2026-03-29T03:30:00 +02",
            ),
            (
                "0 30 2 * * *",
                "2026-03-29T03:30:00",
                "2026-03-30T02:30:00 +02",
            ),
            (
                "0 0/30 2,3 * * *",
                "2026-03-29T01:59:59",
                "2026-03-29T03:00:00 +02",
            ),
            // A time that the night has twice comes once.
            (
                "0 30 2 * * *",
                "2026-10-24T12:00:00",
                "2026-10-25T02:30:00 +02",
            ),
            (
                "0 30 2 * * *",
                "2026-10-25T02:30:00",
                "2026-10-26T02:30:00 +01",
            ),
            // Every hour is every hour.
            (
                "0 30 * * * *",
                "2026-10-25T01:30:00",
                "2026-10-25T02:30:00 +02",
            ),
            (
                "0 30 * * * *",
                "2026-10-25T02:30:00",
                "2026-10-25T02:30:00 +01",
            ),
            (
                "0 0/20 * * * *",
                "2026-10-25T02:40:00",
                "2026-10-25T02:00:00 +01",
            ),
            (
                "0 30 * * * *",
                "2026-03-29T01:30:00",
                "2026-03-29T03:30:00 +02",
            ),
            (
                "0 0 * 1 6 *",
                "2026-03-01T00:00:00",
                "2026-07-01T00:00:00 +02",
            ),
        ] {
            assert_eq!(next(time, after, zone), expected, "{time} after {after}");
        }
    }

    #[test]
    fn what_never_comes_is_not_looked_for_forever() {
        for time in ["0 0 0 30 1 *", "0 0 * 31 1,3,5 *", "0 0 0 31 3,5,8,10 0"] {
            assert_eq!(next(time, "2026-01-01T00:00:00", "Asia/Shanghai"), "never");
        }
        let leap = next("0 0 0 29 1 *", "2026-01-01T00:00:00", "Asia/Shanghai");
        assert_eq!(leap, "2028-02-29T00:00:00 +08");
        // What pomelo calls 24 o'clock is midnight.
        let midnight = next("0 0 24 * * *", "2026-01-01T12:00:00", "Asia/Shanghai");
        assert_eq!(midnight, "2026-01-02T00:00:00 +08");
        let part = next("0 0 0 * * *", "2026-01-01T23:59:59", "Asia/Shanghai");
        assert_eq!(part, "2026-01-02T00:00:00 +08");
    }

    #[test]
    fn what_is_no_cron_time_is_refused_with_its_field() {
        for (time, expected) in [
            (
                "",
                "must have six fields (second, minute, hour, day of month, month, day of week), not 0",
            ),
            (
                "* * * * *",
                "must have six fields (second, minute, hour, day of month, month, day of week), not 5",
            ),
            (
                "x * * * * *",
                "second \"x\" must be *, or a list of n, a-b and a/n",
            ),
            (
                "1, * * * * *",
                "second \"\" must be *, or a list of n, a-b and a/n",
            ),
            (
                "* */5 * * * *",
                "minute \"*/5\" must be *, or a list of n, a-b and a/n",
            ),
            (
                "* 1.5 * * * *",
                "minute \"1.5\" must be *, or a list of n, a-b and a/n",
            ),
            (
                "* +1 * * * *",
                "minute \"+1\" must be *, or a list of n, a-b and a/n",
            ),
            ("60 * * * * *", "second \"60\" must lie within 0 to 59"),
            ("* 5-1 * * * *", "minute \"5-1\" must lie within 0 to 59"),
            ("* * 1,25 * * *", "hour \"25\" must lie within 0 to 24"),
            ("* * 0/0 * * *", "hour \"0/0\" must lie within 0 to 24"),
            ("* * * 0 * *", "day of month \"0\" must lie within 1 to 31"),
            ("* * * * 12 *", "month \"12\" must lie within 0 to 11"),
            ("* * * * * 7", "day of week \"7\" must lie within 0 to 6"),
            (
                "* * * * * 70000",
                "day of week \"70000\" must be *, or a list of n, a-b and a/n",
            ),
        ] {
            let error = time.parse::<CronTime>().unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }
}
