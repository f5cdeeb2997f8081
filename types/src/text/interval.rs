//! Intervals: `1 year 2 mons -3 days +04:05:06.789`, `@ 90 minutes ago`, `1-2`,
//! `P1DT2H`.
//!
//! PostgreSQL reads such a text from its end, because what a number counts stands
//! behind it; and so does [`interval`]. A fraction of a month counts 30 days to
//! the month and a fraction of a day 24 hours to the day; a year's fraction is
//! rounded to whole months.
//!
//! PostgreSQL's alternative ISO form without unit letters (`P0001-02-03T04:05:06`)
//! is not read.

use super::Fault;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A length of time in PostgreSQL's three parts, none of which implies another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Interval {
    pub months: i32,
    pub days: i32,
    pub micros: i64,
}

/// A field that can stand behind an interval literal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum IntervalField {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
}

/// `INTERVAL '...' first TO last`; `precision` are digits of a second's fraction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IntervalFields {
    pub first: IntervalField,
    pub last: IntervalField,
    pub precision: Option<u32>,
}

/// Reads an interval. `fields` say what a number without a unit counts, and what
/// smaller parts are cut off.
///
/// # Errors
/// The text is no interval, or a part of it is too large.
pub fn interval(text: &str, fields: Option<IntervalFields>) -> Result<Interval, Fault> {
    let text = text.trim();
    let sum = match text.strip_prefix('P') {
        Some(rest) => iso(rest)?,
        None => traditional(&text.to_ascii_lowercase(), fields)?,
    };
    let mut interval = sum.finish()?;
    if let Some(fields) = fields {
        interval.restrict(fields);
    }
    Ok(interval)
}

impl Interval {
    /// Cuts off what is smaller than the last field.
    fn restrict(&mut self, fields: IntervalFields) {
        let unit = match fields.last {
            IntervalField::Year | IntervalField::Month => {
                if fields.last == IntervalField::Year {
                    self.months -= self.months % 12;
                }
                self.days = 0;
                self.micros = 0;
                return;
            }
            IntervalField::Day => DAY,
            IntervalField::Hour => HOUR,
            IntervalField::Minute => MINUTE,
            IntervalField::Second => {
                let digits = fields.precision.unwrap_or(6).min(6);
                let unit = 10i64.pow(6 - digits);
                let half = if self.micros < 0 { -unit / 2 } else { unit / 2 };
                self.micros = self.micros.saturating_add(half);
                self.micros -= self.micros % unit;
                return;
            }
        };
        match fields.last {
            IntervalField::Day => self.micros = 0,
            _ => self.micros -= self.micros % unit,
        }
    }
}

/// What a number counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Unit {
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Year,
    Decade,
    Century,
    Millennium,
}

impl Unit {
    /// By PostgreSQL's names and abbreviations, in lower case.
    fn named(word: &str) -> Option<Unit> {
        Some(match word {
            "us" | "usec" | "usecs" | "usecond" | "useconds" | "microsecond" | "microseconds" => {
                Unit::Microsecond
            }
            "ms" | "msec" | "msecs" | "msecond" | "mseconds" | "millisecond" | "milliseconds" => {
                Unit::Millisecond
            }
            "s" | "sec" | "secs" | "second" | "seconds" => Unit::Second,
            "m" | "min" | "mins" | "minute" | "minutes" => Unit::Minute,
            "h" | "hr" | "hrs" | "hour" | "hours" => Unit::Hour,
            "d" | "day" | "days" => Unit::Day,
            "w" | "week" | "weeks" => Unit::Week,
            "mon" | "mons" | "month" | "months" => Unit::Month,
            "y" | "yr" | "yrs" | "year" | "years" => Unit::Year,
            "dec" | "decs" | "decade" | "decades" => Unit::Decade,
            "c" | "cent" | "century" | "centuries" => Unit::Century,
            "mil" | "mils" | "millennium" | "millennia" => Unit::Millennium,
            _ => return None,
        })
    }

    fn of_field(field: IntervalField) -> Unit {
        match field {
            IntervalField::Year => Unit::Year,
            IntervalField::Month => Unit::Month,
            IntervalField::Day => Unit::Day,
            IntervalField::Hour => Unit::Hour,
            IntervalField::Minute => Unit::Minute,
            IntervalField::Second => Unit::Second,
        }
    }

    /// Its bit among the units that a text has used.
    fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// The units of `02:03:04`.
const CLOCK: u16 = 0b1_1111;
const SECONDS: u16 = 0b111;

/// The parts while they are added up; wide enough that sums of what was read
/// cannot overflow.
#[derive(Default)]
struct Sum {
    months: i128,
    days: i128,
    micros: i128,
    used: u16,
}

impl Sum {
    /// Adds `whole + fraction` of `unit`; a unit may be used once.
    fn add(&mut self, number: Number, unit: Unit) -> Result<(), Fault> {
        let Number { whole, fraction } = number;
        // `1 sec 500 ms` is two units, `1.5 sec 500 ms` says the fraction twice.
        self.mark(if unit == Unit::Second && fraction != 0.0 { SECONDS } else { unit.bit() })?;
        let count = i128::from(whole);
        match unit {
            Unit::Microsecond => self.clock(count, fraction, 1),
            Unit::Millisecond => self.clock(count, fraction, 1_000),
            Unit::Second => self.clock(count, fraction, SECOND),
            Unit::Minute => self.clock(count, fraction, MINUTE),
            Unit::Hour => self.clock(count, fraction, HOUR),
            Unit::Day => self.add_days(count, fraction),
            Unit::Week => self.add_days(count * 7, fraction * 7.0),
            Unit::Month => {
                self.months += count;
                self.add_days(0, fraction * 30.0);
            }
            Unit::Year => self.years(count, fraction, 1),
            Unit::Decade => self.years(count, fraction, 10),
            Unit::Century => self.years(count, fraction, 100),
            Unit::Millennium => self.years(count, fraction, 1_000),
        }
        Ok(())
    }

    fn mark(&mut self, units: u16) -> Result<(), Fault> {
        if self.used & units != 0 {
            return Err(Fault::Syntax);
        }
        self.used |= units;
        Ok(())
    }

    fn clock(&mut self, count: i128, fraction: f64, micros: i64) {
        self.micros += count * i128::from(micros) + nearest(fraction * micros as f64);
    }

    fn add_days(&mut self, count: i128, more: f64) {
        self.days += count + more.trunc() as i128;
        self.clock(0, more.fract(), DAY);
    }

    fn years(&mut self, count: i128, fraction: f64, years: i64) {
        let months = fraction * (years * 12) as f64;
        self.months += count * i128::from(years * 12) + months.round_ties_even() as i128;
    }

    fn negate(&mut self) {
        self.months = -self.months;
        self.days = -self.days;
        self.micros = -self.micros;
    }

    fn finish(self) -> Result<Interval, Fault> {
        if self.used == 0 {
            return Err(Fault::Syntax);
        }
        let too_large = |_| Fault::Range;
        Ok(Interval {
            months: i32::try_from(self.months).map_err(too_large)?,
            days: i32::try_from(self.days).map_err(too_large)?,
            micros: i64::try_from(self.micros).map_err(too_large)?,
        })
    }
}

/// Rounded, halves towards zero.
fn nearest(value: f64) -> i128 {
    let rest = value.fract();
    let away = if rest > 0.5 {
        1
    } else if rest < -0.5 {
        -1
    } else {
        0
    };
    value.trunc() as i128 + away
}

/// A number with its fraction; both have its sign.
#[derive(Clone, Copy)]
struct Number {
    whole: i64,
    fraction: f64,
}

impl Number {
    /// `12`, `-3.5`, `.5`.
    fn read(text: &str) -> Result<Number, Fault> {
        let (negative, digits) = sign(text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
        if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
            return Err(Fault::Syntax);
        }
        let whole: i64 = match whole {
            "" => 0,
            digits => digits.parse().map_err(|_| Fault::Range)?,
        };
        let fraction: f64 = format!("0.{fraction}0").parse().map_err(|_| Fault::Syntax)?;
        Ok(match negative {
            true => Number { whole: -whole, fraction: -fraction },
            false => Number { whole, fraction },
        })
    }
}

fn sign(text: &str) -> (bool, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    }
}

/// Cuts a text into words and numbers; a sign stands before its number.
fn tokens(text: &str) -> Result<Vec<String>, Fault> {
    let mut tokens = vec![];
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { return Ok(tokens) };
        let run = |accepted: fn(char) -> bool| rest.find(|c| !accepted(c)).unwrap_or(rest.len());
        match first {
            '0'..='9' | '.' => {
                let end = run(|c| c.is_ascii_digit() || matches!(c, '.' | ':' | '-'));
                tokens.push(rest[..end].to_owned());
                rest = &rest[end..];
            }
            '+' | '-' => {
                let number = rest[1..].trim_start();
                let accepted = |c: char| c.is_ascii_digit() || matches!(c, '.' | ':' | '-');
                let end = number.find(|c| !accepted(c)).unwrap_or(number.len());
                if end == 0 {
                    return Err(Fault::Syntax);
                }
                tokens.push(format!("{first}{}", &number[..end]));
                rest = &number[end..];
            }
            'a'..='z' => {
                let end = run(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
                tokens.push(rest[..end].to_owned());
                rest = &rest[end..];
            }
            // Other punctuation only separates.
            c if c.is_ascii_punctuation() => rest = &rest[1..],
            _ => return Err(Fault::Syntax),
        }
    }
}

fn traditional(text: &str, fields: Option<IntervalFields>) -> Result<Sum, Fault> {
    let mut sum = Sum::default();
    let mut unit: Option<Unit> = None;
    let mut ago = false;
    for token in tokens(text)?.iter().rev() {
        let first = token.as_bytes()[0];
        if first.is_ascii_lowercase() {
            match token.as_str() {
                "ago" => ago = true,
                word => unit = Some(Unit::named(word).ok_or(Fault::Syntax)?),
            }
            continue;
        }
        if token.contains(':') {
            sum.mark(CLOCK)?;
            sum.micros += i128::from(clock(token, fields)?);
            unit = Some(Unit::Day);
            continue;
        }
        let (negative, digits) = sign(token);
        if let Some((years, months)) = digits.split_once('-') {
            let (years, months) = (Number::read(years)?, Number::read(months)?);
            if months.whole > 11 {
                return Err(Fault::Range);
            }
            if years.fraction != 0.0 || months.fraction != 0.0 {
                return Err(Fault::Syntax);
            }
            let count = years.whole.checked_mul(12).ok_or(Fault::Range)? + months.whole;
            let whole = if negative { -count } else { count };
            sum.add(Number { whole, fraction: 0.0 }, Unit::Month)?;
            unit = Some(Unit::Month);
            continue;
        }
        let counted =
            unit.unwrap_or_else(|| fields.map_or(Unit::Second, |f| Unit::of_field(f.last)));
        sum.add(Number::read(token)?, counted)?;
        unit = Some(counted);
    }
    if ago {
        sum.negate();
    }
    Ok(sum)
}

/// Microseconds of `02:03`, `-02:03:04.5`; two parts are hours and minutes, or
/// minutes and seconds where the fields or a fraction say so.
fn clock(token: &str, fields: Option<IntervalFields>) -> Result<i64, Fault> {
    let (negative, text) = sign(token);
    let minutes =
        |f: IntervalFields| f.first == IntervalField::Minute && f.last == IntervalField::Second;
    let parts: Vec<&str> = text.split(':').collect();
    let (hours, minutes, seconds) = match parts.as_slice() {
        [m, s] if s.contains('.') || fields.is_some_and(minutes) => ("0", *m, *s),
        [h, m] => (*h, *m, "0"),
        [h, m, s] => (*h, *m, *s),
        _ => return Err(Fault::Syntax),
    };
    let number = |text: &str, most: Option<i64>| match Number::read(text) {
        Ok(n) if most.is_some_and(|most| n.whole > most) => Err(Fault::Range),
        other => other,
    };
    let hours = number(hours, None)?;
    let minutes = number(minutes, Some(59))?;
    let seconds = number(seconds, Some(60))?;
    if hours.fraction != 0.0 || minutes.fraction != 0.0 {
        return Err(Fault::Syntax);
    }
    let fraction = (seconds.fraction * SECOND as f64).round_ties_even() as i64;
    let micros = hours
        .whole
        .checked_mul(HOUR)
        .and_then(|h| h.checked_add(minutes.whole * MINUTE + seconds.whole * SECOND + fraction))
        .ok_or(Fault::Range)?;
    Ok(if negative { -micros } else { micros })
}

/// What stands behind the `P`: numbers, each with a letter behind it.
fn iso(text: &str) -> Result<Sum, Fault> {
    let mut sum = Sum::default();
    let mut rest = text;
    let mut timed = false;
    while let Some(first) = rest.chars().next() {
        if first == 'T' && !timed {
            timed = true;
            sum.used |= Unit::Second.bit();
            rest = &rest[1..];
            continue;
        }
        let end = rest.find(|c: char| c.is_ascii_uppercase()).ok_or(Fault::Syntax)?;
        let number = Number::read(&rest[..end])?;
        let unit = match (timed, &rest[end..=end]) {
            (false, "Y") => Unit::Year,
            (false, "M") => Unit::Month,
            (false, "W") => Unit::Week,
            (false, "D") => Unit::Day,
            (true, "H") => Unit::Hour,
            (true, "M") => Unit::Minute,
            (true, "S") => Unit::Second,
            _ => return Err(Fault::Syntax),
        };
        // Unlike words, letters may repeat.
        sum.used = 0;
        sum.add(number, unit)?;
        rest = &rest[end + 1..];
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(i32, i32, i64), Fault> {
        interval(text, None).map(|i| (i.months, i.days, i.micros))
    }

    /// Values of PostgreSQL 15.
    #[test]
    fn spellings() {
        for (text, expected) in [
            ("1 day 02:03:04", (0, 1, 7_384 * SECOND)),
            ("1 year 2 mons -3 days +04:05:06.789", (14, -3, 14_706_789_000)),
            ("@ 1 minute ago", (0, 0, -MINUTE)),
            ("  1   hour  ", (0, 0, HOUR)),
            ("02:03", (0, 0, 2 * HOUR + 3 * MINUTE)),
            ("-02:03", (0, 0, -2 * HOUR - 3 * MINUTE)),
            ("02:03.5", (0, 0, 2 * MINUTE + 3_500_000)),
            ("100:00:60", (0, 0, 100 * HOUR + MINUTE)),
            ("1-2", (14, 0, 0)),
            ("-1-2", (-14, 0, 0)),
            ("1-2 3 4:05:06", (14, 3, 14_706 * SECOND)),
            ("P1DT2H", (0, 1, 2 * HOUR)),
            ("P1Y2M3W4DT5H6M7.5S", (14, 25, 18_367_500_000)),
            ("PT-0.5S", (0, 0, -500_000)),
            ("1h", (0, 0, HOUR)),
            ("5 min", (0, 0, 5 * MINUTE)),
            ("10 SECS", (0, 0, 10 * SECOND)),
            ("2 weeks", (0, 14, 0)),
            ("1 decade 2 centuries 1 millennium", (14_520, 0, 0)),
            ("1.5 days", (0, 1, 12 * HOUR)),
            ("-1.5 days", (0, -1, -12 * HOUR)),
            ("1.5 weeks", (0, 10, 12 * HOUR)),
            ("1.5 months", (1, 15, 0)),
            ("1.5 years", (18, 0, 0)),
            ("0.1 year", (1, 0, 0)),
            (".5 hour", (0, 0, 30 * MINUTE)),
            ("1 sec 500 ms 7us", (0, 0, 1_500_007)),
            ("5", (0, 0, 5 * SECOND)),
            ("1 day -2 hours", (0, 1, -2 * HOUR)),
            ("1 day, 2 hours", (0, 1, 2 * HOUR)),
            ("1d 2hours", (0, 1, 2 * HOUR)),
            ("PT", (0, 0, 0)),
            ("- 1 day", (0, -1, 0)),
            ("1 day 2 hours ago", (0, -1, -2 * HOUR)),
        ] {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_refused() {
        for text in [
            "",
            "garbage",
            "1 parsec",
            "1 day 1 day",
            "1.5 sec 5 ms",
            "day",
            "ago",
            "P",
            "P1H",
            "1:2:3:4",
            "1.5.2 days",
            "- day",
            "p1d",
            "1 día",
            "P1",
            "1-x",
            "1day2hours",
            "infinity",
            "-infinity",
        ] {
            assert_eq!(read(text), Err(Fault::Syntax), "{text}");
        }
        for text in [
            "1-12",
            "02:60",
            "02:03:61",
            "3000000000 days",
            "300000000 years",
            "99999999999999999999 s",
        ] {
            assert_eq!(read(text), Err(Fault::Range), "{text}");
        }
    }

    #[test]
    fn fields_give_units_and_cut_off() {
        use IntervalField::*;
        let read = |text: &str, first, last, precision| {
            let fields = IntervalFields { first, last, precision };
            interval(text, Some(fields)).map(|i| (i.months, i.days, i.micros)).unwrap()
        };
        assert_eq!(read("5", Minute, Minute, None), (0, 0, 5 * MINUTE));
        assert_eq!(read("3", Day, Second, None), (0, 0, 3 * SECOND));
        assert_eq!(read("1-2", Year, Month, None), (14, 0, 0));
        assert_eq!(read("14 months 3 days", Year, Year, None), (12, 0, 0));
        assert_eq!(read("1 day 02:03:04", Hour, Hour, None), (0, 1, 2 * HOUR));
        assert_eq!(read("1 02:03:04", Day, Minute, None), (0, 1, 2 * HOUR + 3 * MINUTE));
        assert_eq!(read("1 day 02:03:04", Day, Day, None), (0, 1, 0));
        assert_eq!(read("2:03", Minute, Second, None), (0, 0, 2 * MINUTE + 3 * SECOND));
        assert_eq!(read("2:03", Hour, Minute, None), (0, 0, 2 * HOUR + 3 * MINUTE));
        assert_eq!(read("1.23456", Second, Second, Some(2)), (0, 0, 1_230_000));
        assert_eq!(read("-1.235", Second, Second, Some(2)), (0, 0, -1_240_000));
    }
}
