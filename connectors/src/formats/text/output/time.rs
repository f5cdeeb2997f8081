//! Dates, times, timestamps and intervals, in the styles ISO and postgres.

use std::io::Write;

use arrow::datatypes::IntervalMonthDayNano;

const MICROS_PER_DAY: i64 = 86_400_000_000;

pub(super) fn date(days: i32, out: &mut Vec<u8>) {
    let year = day(i64::from(days), out);
    era(year, out);
}

/// A time of day in microseconds since midnight.
pub(super) fn time(micros: i64, out: &mut Vec<u8>) {
    clock(micros.unsigned_abs(), out);
}

/// A timestamp in microseconds since 1970-01-01, with `between` its date and time
/// and `zone` behind.
pub(super) fn timestamp(micros: i64, between: u8, zone: &[u8], out: &mut Vec<u8>) {
    let year = day(micros.div_euclid(MICROS_PER_DAY), out);
    out.push(between);
    clock(micros.rem_euclid(MICROS_PER_DAY).unsigned_abs(), out);
    out.extend_from_slice(zone);
    era(year, out);
}

/// `1 year 2 mons -3 days +04:05:06`; zero is `00:00:00`.
pub(super) fn interval(value: IntervalMonthDayNano, out: &mut Vec<u8>) {
    let (months, micros) = (value.months, value.nanoseconds.div_euclid(1_000));
    let mut any = false;
    // Behind a negative part a positive one shows its sign.
    let mut negative_before = false;
    for (count, unit) in [(months / 12, "year"), (months % 12, "mon"), (value.days, "day")] {
        if count == 0 {
            continue;
        }
        let blank = if any { " " } else { "" };
        let sign = if negative_before && count > 0 { "+" } else { "" };
        let plural = if count == 1 { "" } else { "s" };
        // Writing to memory does not fail.
        write!(out, "{blank}{sign}{count} {unit}{plural}").ok();
        negative_before = count < 0;
        any = true;
    }
    if any && micros == 0 {
        return;
    }
    if any {
        out.push(b' ');
    }
    if micros < 0 {
        out.push(b'-');
    } else if negative_before {
        out.push(b'+');
    }
    clock(micros.unsigned_abs(), out);
}

/// `HH:MM:SS` and the fraction of a second without trailing zeros.
fn clock(micros: u64, out: &mut Vec<u8>) {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let (minutes, second) = (seconds / 60, seconds % 60);
    write!(out, "{:02}:{:02}:{second:02}", minutes / 60, minutes % 60).ok();
    if fraction != 0 {
        write!(out, ".{fraction:06}").ok();
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

/// Year, month and day; the year without its era, which is answered with its sign.
fn day(days: i64, out: &mut Vec<u8>) -> i64 {
    let (year, month, day) = civil(days);
    // The year before 1 AD is 1 BC.
    let shown = if year > 0 { year } else { 1 - year };
    write!(out, "{shown:04}-{month:02}-{day:02}").ok();
    year
}

fn era(year: i64, out: &mut Vec<u8>) {
    if year <= 0 {
        out.extend_from_slice(b" BC");
    }
}

/// The date of a number of days since 1970-01-01 in the proleptic Gregorian
/// calendar. Years are counted from March, so that a leap day is the last of its
/// year.
fn civil(days: i64) -> (i64, i64, i64) {
    const DAYS_PER_400_YEARS: i64 = 146_097;
    const FROM_MARCH_OF_YEAR_0: i64 = 719_468;
    let days = days + FROM_MARCH_OF_YEAR_0;
    let (cycle, day) = (days.div_euclid(DAYS_PER_400_YEARS), days.rem_euclid(DAYS_PER_400_YEARS));
    // Leap days so far, so that what remains has 365 days a year.
    let leap_days = day / 1_460 - day / 36_524 + day / 146_096;
    let year = (day - leap_days) / 365;
    let day_of_year = day - (year * 365 + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (cycle * 400 + year + next_year, month, day_of_month)
}

#[cfg(test)]
mod tests {
    use chrono::{Datelike, Days, NaiveDate};

    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_calendar_is_that_of_chrono() {
        let mut day = NaiveDate::from_ymd_opt(-400, 1, 1).unwrap();
        let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
        while day.year() < 2801 {
            let expected = (i64::from(day.year()), i64::from(day.month()), i64::from(day.day()));
            assert_eq!(civil((day - epoch).num_days()), expected);
            day = day.checked_add_days(Days::new(17)).unwrap();
        }
        for days in 10_900..12_000 {
            let day = epoch + chrono::Duration::days(days);
            assert_eq!(civil(days).2, i64::from(day.day()));
        }
    }

    #[test]
    fn times() {
        assert_eq!(text(|out| date(0, out)), "1970-01-01");
        assert_eq!(text(|out| date(-719_163, out)), "0001-12-31 BC");
        assert_eq!(text(|out| time(45_296_789_000, out)), "12:34:56.789");
        let micros = -500_000;
        assert_eq!(text(|out| timestamp(micros, b' ', b"", out)), "1969-12-31 23:59:59.5");
        assert_eq!(text(|out| timestamp(0, b'T', b"+00:00", out)), "1970-01-01T00:00:00+00:00");
    }

    /// Expected texts are those of PostgreSQL.
    #[test]
    fn intervals() {
        for ((months, days, micros), expected) in [
            ((0, 0, 0), "00:00:00"),
            ((14, 3, 0), "1 year 2 mons 3 days"),
            ((-13, 1, 0), "-1 years -1 mons +1 day"),
            ((0, -1, 7_200_000_000), "-1 days +02:00:00"),
            ((0, 1, -1_500_000), "1 day -00:00:01.5"),
            ((0, 0, 360_000_000_000), "100:00:00"),
        ] {
            let value = IntervalMonthDayNano::new(months, days, micros * 1_000);
            assert_eq!(text(|out| interval(value, out)), expected);
        }
    }
}
