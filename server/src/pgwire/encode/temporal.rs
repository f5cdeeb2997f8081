//! Dates, times and intervals in PostgreSQL's text, styles ISO and postgres.
//!
//! All arithmetic is on days and microseconds of the proleptic Gregorian
//! calendar. PostgreSQL's infinities do not exist here.

use arrow::datatypes::TimeUnit;

/// Microseconds of a day.
const DAY_MICROS: i64 = 86_400_000_000;
/// Days between 1970-01-01 and PostgreSQL's day zero, 2000-01-01.
pub const EPOCH_DAYS: i32 = 10_957;
/// The same in microseconds.
pub const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * DAY_MICROS;

/// `value` of `unit` in microseconds.
#[must_use]
pub fn micros(unit: TimeUnit, value: i64) -> i64 {
    match unit {
        TimeUnit::Second => value.saturating_mul(1_000_000),
        TimeUnit::Millisecond => value.saturating_mul(1_000),
        TimeUnit::Microsecond => value,
        TimeUnit::Nanosecond => value.div_euclid(1_000),
    }
}

/// Appends a date, given in days since 1970-01-01.
pub fn write_date(days: i64, out: &mut Vec<u8>) {
    let year = write_day(days, out);
    write_era(year, out);
}

/// Appends a timestamp, given in microseconds since 1970-01-01 in its zone, whose
/// distance from UTC in seconds is shown if there is one.
pub fn write_timestamp(micros: i64, offset: Option<i32>, out: &mut Vec<u8>) {
    let year = write_day(micros.div_euclid(DAY_MICROS), out);
    out.push(b' ');
    write_time(micros.rem_euclid(DAY_MICROS), out);
    if let Some(offset) = offset {
        write_offset(offset, out);
    }
    write_era(year, out);
}

/// Appends a time of day, given in microseconds from midnight.
pub fn write_time(micros: i64, out: &mut Vec<u8>) {
    let (hours, rest) = (micros / 3_600_000_000, micros % 3_600_000_000);
    write_clock(hours as u64, rest as u64, out);
}

/// Appends an interval.
pub fn write_interval(months: i32, days: i32, micros: i64, out: &mut Vec<u8>) {
    let start = out.len();
    let mut after_negative = false;
    for (value, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if value == 0 {
            continue;
        }
        if out.len() > start {
            out.push(b' ');
        }
        // A sign that changes is shown in both directions.
        if after_negative && value > 0 {
            out.push(b'+');
        }
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        out.push(b' ');
        out.extend_from_slice(unit.as_bytes());
        if value != 1 {
            out.push(b's');
        }
        after_negative = value < 0;
    }
    if micros == 0 && out.len() > start {
        return;
    }
    if out.len() > start {
        out.push(b' ');
    }
    if micros < 0 {
        out.push(b'-');
    } else if after_negative {
        out.push(b'+');
    }
    let magnitude = micros.unsigned_abs();
    write_clock(magnitude / 3_600_000_000, magnitude % 3_600_000_000, out);
}

/// Appends `HH:MM:SS` and the fraction of a second without trailing zeros.
fn write_clock(hours: u64, rest: u64, out: &mut Vec<u8>) {
    write_padded(hours, 2, out);
    out.push(b':');
    write_padded(rest / 60_000_000, 2, out);
    out.push(b':');
    write_padded(rest / 1_000_000 % 60, 2, out);
    let fraction = rest % 1_000_000;
    if fraction != 0 {
        out.push(b'.');
        write_padded(fraction, 6, out);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

/// Appends `+HH[:MM[:SS]]`.
fn write_offset(seconds: i32, out: &mut Vec<u8>) {
    out.push(if seconds < 0 { b'-' } else { b'+' });
    let magnitude = u64::from(seconds.unsigned_abs());
    write_padded(magnitude / 3600, 2, out);
    if !magnitude.is_multiple_of(3600) {
        out.push(b':');
        write_padded(magnitude / 60 % 60, 2, out);
        if !magnitude.is_multiple_of(60) {
            out.push(b':');
            write_padded(magnitude % 60, 2, out);
        }
    }
}

/// Appends year, month and day without the era; gives the year.
fn write_day(days: i64, out: &mut Vec<u8>) -> i64 {
    let (year, month, day) = civil(days);
    // There is no year zero: 1 BC comes before 1 AD.
    let shown = if year > 0 { year } else { 1 - year };
    write_padded(shown.unsigned_abs(), 4, out);
    out.push(b'-');
    write_padded(month, 2, out);
    out.push(b'-');
    write_padded(day, 2, out);
    year
}

fn write_era(year: i64, out: &mut Vec<u8>) {
    if year <= 0 {
        out.extend_from_slice(b" BC");
    }
}

fn write_padded(value: u64, width: usize, out: &mut Vec<u8>) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value).as_bytes();
    out.extend(std::iter::repeat_n(b'0', width.saturating_sub(digits.len())));
    out.extend_from_slice(digits);
}

/// Year, month and day of a number of days since 1970-01-01.
///
/// Years are counted from March, so that the leap day is a year's last and a
/// month's first day is a linear function of its number; 400 years are a cycle.
fn civil(days: i64) -> (i64, u64, u64) {
    const CYCLE_DAYS: i64 = 146_097;
    const MARCH_OF_YEAR_0: i64 = 719_468;
    let from_cycle_zero = days + MARCH_OF_YEAR_0;
    let cycle = from_cycle_zero.div_euclid(CYCLE_DAYS);
    let day = from_cycle_zero.rem_euclid(CYCLE_DAYS);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = cycle * 400 + year + i64::from(month <= 2);
    (year, month.unsigned_abs(), day_of_month.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{Datelike, NaiveDate};

    #[test]
    fn the_calendar_is_that_of_chrono() {
        let start = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
        for days in (-1_000_000..1_000_000).step_by(13).chain(10_900..11_400) {
            let date = start + chrono::Duration::days(days);
            let expected = (i64::from(date.year()), u64::from(date.month()), u64::from(date.day()));
            assert_eq!(civil(days), expected, "{days}");
        }
    }
}
