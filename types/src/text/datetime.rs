//! Dates, times and timestamps in ISO 8601 order.
//!
//! Timestamps are microseconds since 1970-01-01 00:00, dates are days. More than
//! six digits of a second's fraction are rounded half up, as PostgreSQL does.

use super::Fault;

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;
/// The last year that PostgreSQL's timestamps reach.
const YEAR_MAX: u32 = 294_275;

type Result<T> = std::result::Result<T, Fault>;

/// `2013-01-31` in days since 1970-01-01.
///
/// # Errors
/// The text is no date.
pub fn date(text: &[u8]) -> Result<i32> {
    let mut cursor = Cursor::new(text);
    if let Some(named) = cursor.named() {
        return named.map(|()| 0);
    }
    let days = cursor.date()?;
    // A time behind the date is read and dropped, as PostgreSQL does.
    if !cursor.at_end() {
        cursor.separator()?;
        cursor.time_of_day()?;
        cursor.zone()?;
    }
    cursor.end(days)
}

/// `23:59:59.999999` in microseconds since midnight; a zone is read and ignored.
///
/// # Errors
/// The text is no time of day. 24:00 is out of range: it is not a value of
/// Arrow's time type.
pub fn time(text: &[u8]) -> Result<i64> {
    let mut cursor = Cursor::new(text);
    let micros = cursor.time_of_day()?;
    cursor.zone()?;
    let micros = cursor.end(micros)?;
    if micros < MICROS_PER_DAY { Ok(micros) } else { Err(Fault::Range) }
}

/// A timestamp without time zone. A zone in the text is read and ignored.
///
/// # Errors
/// The text is no timestamp.
pub fn timestamp(text: &[u8]) -> Result<i64> {
    parse(text).map(|(micros, _)| micros)
}

/// A timestamp with time zone, UTC where the text has none.
///
/// # Errors
/// The text is no timestamp.
pub fn timestamptz(text: &[u8]) -> Result<i64> {
    let (micros, zone) = parse(text)?;
    micros.checked_sub(zone * MICROS_PER_SECOND).ok_or(Fault::Range)
}

/// Local microseconds and the zone's seconds east of UTC.
fn parse(text: &[u8]) -> Result<(i64, i64)> {
    let mut cursor = Cursor::new(text);
    if let Some(named) = cursor.named() {
        return named.map(|()| (0, 0));
    }
    let midnight = i64::from(cursor.date()?).checked_mul(MICROS_PER_DAY).ok_or(Fault::Range)?;
    if cursor.at_end() {
        return Ok((midnight, 0));
    }
    cursor.separator()?;
    let micros = cursor.time_of_day()?;
    let zone = cursor.zone()?;
    cursor.end((midnight.checked_add(micros).ok_or(Fault::Range)?, zone))
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar, counted
/// in years that begin in March, so that a leap day is the last of its year.
fn days_from_civil(year: u32, month: u32, day: u32) -> i32 {
    let year = i64::from(year) - i64::from(month <= 2);
    let (century_cycle, year_of_cycle) = (year.div_euclid(400), year.rem_euclid(400));
    let month = i64::from((month + 9) % 12);
    let day_of_year = (153 * month + 2) / 5 + i64::from(day) - 1;
    let day_of_cycle = year_of_cycle * 365 + year_of_cycle / 4 - year_of_cycle / 100 + day_of_year;
    (century_cycle * 146_097 + day_of_cycle - 719_468) as i32
}

fn days_in_month(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        _ => 31,
    }
}

/// Reads a text from left to right.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn new(text: &'a [u8]) -> Self {
        Cursor { rest: text.trim_ascii() }
    }

    fn at_end(&self) -> bool {
        self.rest.is_empty()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.rest.first() == Some(&byte);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    /// `value`, if everything has been read.
    fn end<T>(&self, value: T) -> Result<T> {
        if self.at_end() { Ok(value) } else { Err(Fault::Syntax) }
    }

    /// Whether the whole text is a name: `epoch`, or `infinity`, which is refused.
    fn named(&self) -> Option<Result<()>> {
        let unsigned = match self.rest {
            [b'-' | b'+', rest @ ..] => rest,
            rest => rest,
        };
        if self.rest.eq_ignore_ascii_case(b"epoch") {
            Some(Ok(()))
        } else if unsigned.eq_ignore_ascii_case(b"infinity") {
            Some(Err(Fault::Infinite))
        } else {
            None
        }
    }

    /// A number of `least` to `most` digits.
    #[inline]
    fn digits(&mut self, least: usize, most: usize) -> Result<u32> {
        let mut value = 0;
        let mut count = 0;
        while count < most {
            let digit = match self.rest.get(count) {
                Some(byte) if byte.is_ascii_digit() => byte - b'0',
                _ => break,
            };
            value = value * 10 + u32::from(digit);
            count += 1;
        }
        self.rest = &self.rest[count..];
        if count >= least { Ok(value) } else { Err(Fault::Syntax) }
    }

    /// What follows `mark`: a number of one or two digits.
    fn after(&mut self, mark: u8) -> Result<u32> {
        if self.take(mark) { self.digits(1, 2) } else { Err(Fault::Syntax) }
    }

    /// `2013-01-31`, `2013/01/31` or `20130131`.
    fn date(&mut self) -> Result<i32> {
        let run = self.rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let (year, month, day) = if run == 8 {
            (self.digits(4, 4)?, self.digits(2, 2)?, self.digits(2, 2)?)
        } else {
            let year = self.digits(4, 6)?;
            let mark = if self.rest.first() == Some(&b'/') { b'/' } else { b'-' };
            (year, self.after(mark)?, self.after(mark)?)
        };
        if self.rest.first().is_some_and(u8::is_ascii_digit) {
            return Err(Fault::Syntax);
        }
        let valid = (1..=YEAR_MAX).contains(&year)
            && (1..=12).contains(&month)
            && (1..=days_in_month(year, month)).contains(&day);
        if valid { Ok(days_from_civil(year, month, day)) } else { Err(Fault::Range) }
    }

    /// Between date and time: blanks or one `T`.
    fn separator(&mut self) -> Result<()> {
        if self.take(b'T') || self.take(b't') {
            return Ok(());
        }
        let blanks = self.rest.len() - self.rest.trim_ascii_start().len();
        self.rest = &self.rest[blanks..];
        if blanks > 0 { Ok(()) } else { Err(Fault::Syntax) }
    }

    /// Microseconds since midnight, up to and including 24:00:00.
    fn time_of_day(&mut self) -> Result<i64> {
        let hour = self.digits(1, 2)?;
        if !self.take(b':') {
            return Err(Fault::Syntax);
        }
        let minute = self.digits(2, 2)?;
        let mut second = 0;
        let mut fraction = 0;
        if self.take(b':') {
            second = self.digits(2, 2)?;
            if self.take(b'.') {
                fraction = self.fraction();
            }
        }
        if hour > 24 || minute > 59 || second > 60 {
            return Err(Fault::Range);
        }
        let seconds = i64::from(hour * 3600 + minute * 60 + second);
        let micros = seconds * MICROS_PER_SECOND + fraction;
        if micros <= MICROS_PER_DAY { Ok(micros) } else { Err(Fault::Range) }
    }

    /// Microseconds of the digits after the point, rounded.
    fn fraction(&mut self) -> i64 {
        let count = self.rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let digits = &self.rest[..count];
        self.rest = &self.rest[count..];
        let digit = |i: usize| digits.get(i).map_or(0, |b| i64::from(b - b'0'));
        (0..6).fold(0, |value, i| value * 10 + digit(i)) + i64::from(digit(6) >= 5)
    }

    /// Seconds east of UTC of an optional zone, blanks before it allowed.
    fn zone(&mut self) -> Result<i64> {
        self.rest = self.rest.trim_ascii_start();
        if self.at_end() {
            return Ok(0);
        }
        for name in ["Z", "UTC", "GMT"] {
            if self.rest.eq_ignore_ascii_case(name.as_bytes()) {
                self.rest = &[];
                return Ok(0);
            }
        }
        let sign = match (self.take(b'-'), self.take(b'+')) {
            (true, _) => -1,
            (_, true) => 1,
            _ => return Err(Fault::Syntax),
        };
        let hours = self.digits(1, 2)?;
        let minutes = if self.take(b':') || !self.at_end() { self.digits(2, 2)? } else { 0 };
        let seconds = if self.take(b':') { self.digits(2, 2)? } else { 0 };
        if hours > 15 || minutes > 59 || seconds > 59 {
            return Err(Fault::Range);
        }
        Ok(sign * i64::from(hours * 3600 + minutes * 60 + seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, Datelike, NaiveDate};

    #[test]
    fn every_day_of_eight_centuries_agrees_with_chrono() {
        let mut day = NaiveDate::from_ymd_opt(1600, 1, 1).unwrap();
        let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
        while day.year() < 2401 {
            let days = i32::try_from((day - epoch).num_days()).unwrap();
            assert_eq!(date(day.to_string().as_bytes()), Ok(days), "{day}");
            day = day.succ_opt().unwrap();
        }
    }

    fn rfc3339(text: &str) -> i64 {
        DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
    }

    #[test]
    fn timestamps() {
        let expected = rfc3339("2013-01-31T06:05:04.123456Z");
        for text in [
            "2013-01-31 06:05:04.123456",
            "2013-01-31T06:05:04.123456Z",
            " 2013-1-31   6:05:04.1234561 ",
            "2013-01-31 06:05:04.1234555",
        ] {
            assert_eq!(timestamp(text.as_bytes()), Ok(expected), "{text}");
        }
        assert_eq!(timestamp(b"2013-01-31"), Ok(rfc3339("2013-01-31T00:00:00Z")));
        assert_eq!(timestamp(b"2013-01-31 24:00"), Ok(rfc3339("2013-02-01T00:00:00Z")));
        assert_eq!(timestamp(b"2013-01-31 23:59:60"), Ok(rfc3339("2013-02-01T00:00:00Z")));
        assert_eq!(timestamp(b"1969-12-31 23:59:59.5"), Ok(-500_000));
    }

    #[test]
    fn zones() {
        let text = "2013-01-31 06:00:00 +05:30";
        assert_eq!(timestamp(text.as_bytes()), Ok(rfc3339("2013-01-31T06:00:00Z")));
        assert_eq!(timestamptz(text.as_bytes()), Ok(rfc3339("2013-01-31T06:00:00+05:30")));
        for (zone, rfc) in [("-08", "-08:00"), ("+0530", "+05:30"), ("Z", "Z"), (" utc", "Z")] {
            let text = format!("2013-01-31 06:00:00{zone}");
            let expected = rfc3339(&format!("2013-01-31T06:00:00{rfc}"));
            assert_eq!(timestamptz(text.as_bytes()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn other_spellings() {
        for text in ["  2024-01-01  ", "2024/1/1", "20240101", "2024-01-01T00:00", "20240101T00:00"]
        {
            assert_eq!(date(text.as_bytes()), Ok(19_723), "{text}");
            assert_eq!(timestamp(text.as_bytes()), Ok(19_723 * MICROS_PER_DAY), "{text}");
        }
        assert_eq!(date(b"epoch"), Ok(0));
        assert_eq!(timestamptz(b" Epoch "), Ok(0));
        assert_eq!(time(b"12:30"), Ok(45_000 * MICROS_PER_SECOND));
        assert_eq!(time(b"12:30:00+02"), Ok(45_000 * MICROS_PER_SECOND));
        assert_eq!(date(b"2012-02-29 12:00"), Ok(15_399));
    }

    #[test]
    fn what_is_no_timestamp() {
        for text in [
            "",
            "2013",
            "2013-01",
            "2013-01-31x",
            "2013-01-311",
            "2013-01-31 1",
            "2013/01-31",
            "31.01.2013",
            "2013-01-31 06:00 +5:3x",
            "2013-01-31T",
            "infinit",
        ] {
            assert_eq!(timestamp(text.as_bytes()), Err(Fault::Syntax), "{text}");
        }
        for text in [
            "2013-02-29",
            "2013-13-01",
            "2013-00-01",
            "2013-01-32",
            "0000-01-01",
            "2013-01-31 25:00",
            "2013-01-31 23:60",
            "2013-01-31 24:00:01",
            "2013-01-31 12:00+16",
            "294275-12-31 00:00",
            "999999-01-01",
        ] {
            assert_eq!(timestamp(text.as_bytes()), Err(Fault::Range), "{text}");
        }
        assert_eq!(timestamp(b"-infinity"), Err(Fault::Infinite));
        assert_eq!(date(b"Infinity"), Err(Fault::Infinite));
        assert_eq!(time(b"24:00"), Err(Fault::Range));
        assert_eq!(time(b"epoch"), Err(Fault::Syntax));
        assert_eq!(date(b"2012-02-29 noon"), Err(Fault::Syntax));
    }
}
