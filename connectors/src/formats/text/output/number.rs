//! Integers, decimals and floating-point numbers.

use std::fmt::{Display, LowerExp};
use std::io::Write;

/// Exponents of a double precision number that is written without one.
const DOUBLE_FIXED: std::ops::Range<i32> = -4..15;
/// Those of a real number.
const REAL_FIXED: std::ops::Range<i32> = -4..6;

pub(super) fn integer(value: i64, out: &mut Vec<u8>) {
    put(&value, out);
}

/// Writing to memory does not fail.
fn put(value: &impl Display, out: &mut Vec<u8>) {
    write!(out, "{value}").ok();
}

/// `unscaled` with its last `scale` digits behind the point; a negative scale
/// stands for zeros before it.
pub(super) fn decimal(unscaled: &impl Display, scale: i8, out: &mut Vec<u8>) {
    let start = out.len();
    put(unscaled, out);
    let first = start + usize::from(out[start] == b'-');
    match usize::try_from(scale) {
        Ok(0) => {}
        Ok(behind) => {
            let digits = out.len() - first;
            // At least one digit stands before the point.
            let missing = (behind + 1).saturating_sub(digits);
            out.splice(first..first, std::iter::repeat_n(b'0', missing));
            out.insert(out.len() - behind, b'.');
        }
        Err(_) if out[first..] == *b"0" => {}
        Err(_) => out.extend(std::iter::repeat_n(b'0', usize::from(scale.unsigned_abs()))),
    }
}

pub(super) fn double(value: f64, out: &mut Vec<u8>) {
    if value.is_finite() {
        finite(&value, DOUBLE_FIXED, out);
    } else {
        out.extend_from_slice(not_finite(value));
    }
}

pub(super) fn real(value: f32, out: &mut Vec<u8>) {
    if value.is_finite() {
        finite(&value, REAL_FIXED, out);
    } else {
        out.extend_from_slice(not_finite(value.into()));
    }
}

fn not_finite(value: f64) -> &'static [u8] {
    if value.is_nan() {
        b"NaN"
    } else if value > 0.0 {
        b"Infinity"
    } else {
        b"-Infinity"
    }
}

/// The shortest digits that read back as the same number, with an exponent only
/// where it is not in `fixed`.
fn finite(value: &impl LowerExp, fixed: std::ops::Range<i32>, out: &mut Vec<u8>) {
    // A sign, one digit, a point, sixteen digits, an exponent of three with its sign.
    let mut buffer = [0_u8; 32];
    let mut rest = &mut buffer[..];
    write!(rest, "{value:e}").ok();
    let unused = rest.len();
    let text = &buffer[..buffer.len() - unused];
    let text = std::str::from_utf8(text).unwrap_or_default();
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |text| (true, text));
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (first, behind) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if negative {
        out.push(b'-');
    }
    if !fixed.contains(&exponent) {
        out.extend_from_slice(mantissa.as_bytes());
        write!(out, "e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()).ok();
        return;
    }
    let zeros = |count: usize| std::iter::repeat_n(b'0', count);
    match usize::try_from(exponent) {
        Ok(exponent) => {
            let (whole, fraction) = behind.split_at(exponent.min(behind.len()));
            out.extend_from_slice(first.as_bytes());
            out.extend_from_slice(whole.as_bytes());
            out.extend(zeros(exponent - whole.len()));
            if !fraction.is_empty() {
                out.push(b'.');
                out.extend_from_slice(fraction.as_bytes());
            }
        }
        Err(_) => {
            out.extend_from_slice(b"0.");
            out.extend(zeros(exponent.unsigned_abs() as usize - 1));
            out.extend_from_slice(first.as_bytes());
            out.extend_from_slice(behind.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::i256;

    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = b"x".to_vec();
        write(&mut out);
        String::from_utf8(out.split_off(1)).unwrap()
    }

    /// Expected texts are those of `SELECT x::float8`, `x::float4` in PostgreSQL.
    #[test]
    fn floats() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (0.0001, "0.0001"),
            (0.000_012_5, "1.25e-05"),
            (123_456_789_012_345.0, "123456789012345"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (1.5e300, "1.5e+300"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(text(|out| double(value, out)), expected);
        }
        for (value, expected) in
            [(100_000.0, "100000"), (1e6, "1e+06"), (0.1, "0.1"), (-2.5, "-2.5")]
        {
            assert_eq!(text(|out| real(value, out)), expected);
        }
    }

    #[test]
    fn decimals() {
        for (value, scale, expected) in [
            (0_i128, 0, "0"),
            (0, 2, "0.00"),
            (5, 2, "0.05"),
            (-5, 2, "-0.05"),
            (-123, 2, "-1.23"),
            (12_300, 2, "123.00"),
            (7, -3, "7000"),
            (0, -3, "0"),
            (i128::MIN, 10, "-17014118346046923173168730371.5884105728"),
        ] {
            assert_eq!(text(|out| decimal(&value, scale, out)), expected);
            let wide = i256::from_i128(value);
            assert_eq!(text(|out| decimal(&wide, scale, out)), expected);
        }
    }
}
