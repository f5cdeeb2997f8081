//! Integers, floats, decimals, bytes and UUIDs.

use arrow::datatypes::i256;

/// A decimal integer with an optional sign.
#[must_use]
#[inline]
pub fn integer(text: &[u8]) -> Option<i64> {
    let text = text.trim_ascii();
    let (negative, digits) = sign(text);
    if digits.is_empty() {
        return None;
    }
    // Eighteen digits cannot overflow: no check per digit for nearly all values.
    let fast = digits.len() <= 18;
    let mut value = 0i64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // Counted downwards, so that the least value fits as well.
        value = if fast {
            value * 10 - i64::from(digit)
        } else {
            value.checked_mul(10)?.checked_sub(i64::from(digit))?
        };
    }
    if negative { Some(value) } else { value.checked_neg() }
}

/// Whether the text begins with a minus, and what follows the sign.
fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text.first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    }
}

/// A double: `NaN`, `Infinity`, `-inf` in any case, decimals with exponent. What
/// overflows or vanishes is refused.
#[must_use]
pub fn double(text: &[u8]) -> Option<f64> {
    let text = text.trim_ascii();
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    in_range(text, value.is_finite(), value == 0.0).then_some(value)
}

/// A real, by the rules of [`double`].
#[must_use]
pub fn real(text: &[u8]) -> Option<f32> {
    let text = text.trim_ascii();
    let value: f32 = std::str::from_utf8(text).ok()?.parse().ok()?;
    in_range(text, value.is_finite(), value == 0.0).then_some(value)
}

/// Whether a parsed float is what its text says, not an overflow or underflow.
fn in_range(text: &[u8], finite: bool, zero: bool) -> bool {
    if !finite {
        return !text.iter().any(u8::is_ascii_digit);
    }
    if !zero {
        return true;
    }
    let mantissa = text.iter().take_while(|b| !matches!(b, b'e' | b'E'));
    !mantissa.into_iter().any(|b| matches!(b, b'1'..=b'9'))
}

/// A decimal of at most `precision` digits, `scale` of them after the point, in
/// units of the last one; more fraction digits are rounded half away from zero.
#[must_use]
pub fn decimal128(text: &[u8], precision: u8, scale: i8) -> Option<i128> {
    let mut digits = Digits::default();
    let negative = digits.read(text, precision, scale)?;
    let value = digits.0[..digits.1].iter().fold(0i128, |v, d| v * 10 + i128::from(*d));
    Some(if negative { -value } else { value })
}

/// As [`decimal128`], up to 76 digits.
#[must_use]
pub fn decimal256(text: &[u8], precision: u8, scale: i8) -> Option<i256> {
    let mut digits = Digits::default();
    let negative = digits.read(text, precision, scale)?;
    let ten = i256::from_i128(10);
    let value = digits.0[..digits.1].iter().fold(i256::ZERO, |value, digit| {
        value.wrapping_mul(ten).wrapping_add(i256::from_i128(i128::from(*digit)))
    });
    Some(if negative { value.wrapping_neg() } else { value })
}

/// The significant digits of a decimal and their number.
struct Digits([u8; 78], usize);

impl Default for Digits {
    fn default() -> Self {
        Digits([0; 78], 0)
    }
}

impl Digits {
    /// Reads `text` in units of `10^-scale`; whether it is negative.
    fn read(&mut self, text: &[u8], precision: u8, scale: i8) -> Option<bool> {
        let (negative, text) = sign(text.trim_ascii());
        let (mantissa, exponent) = match text.iter().position(|b| matches!(b, b'e' | b'E')) {
            Some(at) => (&text[..at], integer(&text[at + 1..]).filter(|_| text[at + 1] != b' ')?),
            None => (text, 0),
        };
        let point = mantissa.iter().position(|b| *b == b'.').unwrap_or(mantissa.len());
        if !mantissa.iter().any(u8::is_ascii_digit) {
            return None;
        }
        // The place of a digit is the power of ten, in units of the result, that it counts.
        let first_place = i64::try_from(point).ok()?.checked_add(exponent)? - 1 + i64::from(scale);
        let mut place = first_place;
        let mut round_up = false;
        for (i, byte) in mantissa.iter().enumerate() {
            if i == point {
                continue;
            }
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            if place >= 0 {
                self.push(digit, precision)?;
            } else if place == -1 {
                round_up = digit >= 5;
            }
            place = place.checked_sub(1)?;
        }
        while place >= 0 && self.1 > 0 {
            self.push(0, precision)?;
            place -= 1;
        }
        if round_up {
            self.increment();
        }
        (self.1 <= usize::from(precision)).then_some(negative)
    }

    /// Appends a digit; leading zeros do not count. `None`: too many.
    fn push(&mut self, digit: u8, precision: u8) -> Option<()> {
        if self.1 == 0 && digit == 0 {
            return Some(());
        }
        if self.1 >= usize::from(precision) {
            return None;
        }
        self.0[self.1] = digit;
        self.1 += 1;
        Some(())
    }

    /// Adds one in the last place; may need one digit more.
    fn increment(&mut self) {
        for digit in self.0[..self.1].iter_mut().rev() {
            if *digit < 9 {
                *digit += 1;
                return;
            }
            *digit = 0;
        }
        self.0.copy_within(..self.1, 1);
        self.0[0] = 1;
        self.1 += 1;
    }
}

/// `\x` and hexadecimal digits, blanks between pairs allowed, as `bytea` input.
/// Appends to `out`.
#[must_use]
pub fn hex_bytes(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut digits = text.strip_prefix(b"\\x")?.iter().filter(|b| !b.is_ascii_whitespace());
    while let Some(high) = digits.next() {
        let low = digits.next()?;
        out.push(hex(*high)? << 4 | hex(*low)?);
    }
    Some(())
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// A UUID of 32 hexadecimal digits, hyphens after any group of four, optionally
/// in braces.
#[must_use]
pub fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    let text = text.trim_ascii();
    let text = text.strip_prefix(b"{").map_or(Some(text), |t| t.strip_suffix(b"}"))?;
    let mut bytes = [0; 16];
    let mut count = 0;
    for (i, byte) in text.iter().enumerate() {
        if *byte == b'-' {
            if count == 0 || count % 4 != 0 || text[i - 1] == b'-' || i + 1 == text.len() {
                return None;
            }
            continue;
        }
        *bytes.get_mut(count / 2)? |= hex(*byte)? << (4 * (1 - count % 2));
        count += 1;
    }
    (count == 32).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        for (text, value) in [
            ("0", Some(0)),
            (" -12 ", Some(-12)),
            ("+7", Some(7)),
            ("007", Some(7)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("", None),
            ("-", None),
            ("1.0", None),
            ("1 2", None),
            ("0x10", None),
            ("--1", None),
        ] {
            assert_eq!(integer(text.as_bytes()), value, "{text}");
        }
    }

    #[test]
    fn floats() {
        for (text, value) in [
            ("1.5", Some(1.5)),
            (" -1e3 ", Some(-1000.0)),
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            ("Infinity", Some(f64::INFINITY)),
            ("-inf", Some(f64::NEG_INFINITY)),
            ("0e5", Some(0.0)),
            ("1e400", None),
            ("1e-400", None),
            ("", None),
            ("abc", None),
            ("1,5", None),
        ] {
            assert_eq!(double(text.as_bytes()), value, "{text}");
        }
        assert!(double(b"nan").is_some_and(f64::is_nan));
        assert_eq!(real(b"1e39"), None);
        assert_eq!(real(b"0.1"), Some(0.1));
    }

    #[test]
    fn decimals() {
        for (text, precision, scale, value) in [
            ("1.25", 10, 2, Some(125)),
            ("1.255", 10, 2, Some(126)),
            ("-1.255", 10, 2, Some(-126)),
            ("1.254", 10, 2, Some(125)),
            ("0.005", 10, 2, Some(1)),
            ("0.0049", 10, 2, Some(0)),
            ("9.995", 3, 2, None),
            ("9.994", 3, 2, Some(999)),
            ("1e2", 10, 2, Some(10_000)),
            ("125e-2", 10, 2, Some(125)),
            ("12345e-5", 10, 2, Some(12)),
            ("  7 ", 10, 0, Some(7)),
            ("00012.", 4, 2, Some(1200)),
            (".5", 4, 2, Some(50)),
            ("123", 4, 2, None),
            ("1e99999999999", 10, 2, None),
            ("0e99999999999", 10, 2, Some(0)),
            (".", 4, 2, None),
            ("1.2.3", 4, 2, None),
            ("", 4, 2, None),
            ("NaN", 4, 2, None),
            ("1e", 4, 2, None),
            ("1e 2", 4, 2, None),
        ] {
            assert_eq!(decimal128(text.as_bytes(), precision, scale), value, "{text}");
            let wide = decimal256(text.as_bytes(), precision, scale);
            assert_eq!(wide, value.map(i256::from_i128), "{text}");
        }
        let nines = "9".repeat(38);
        assert_eq!(decimal128(nines.as_bytes(), 38, 0), Some(10i128.pow(38) - 1));
        let wide = "1".repeat(76);
        assert_eq!(decimal256(wide.as_bytes(), 76, 0), i256::from_string(&wide));
    }

    #[test]
    fn bytes_and_uuids() {
        let mut out = Vec::new();
        assert_eq!(hex_bytes(b"\\xDEad 01", &mut out), Some(()));
        assert_eq!(out, [0xde, 0xad, 1]);
        assert_eq!(hex_bytes(b"\\xabc", &mut out), None);
        assert_eq!(hex_bytes(b"abcd", &mut out), None);
        let expected = Some([
            0xa0, 0xee, 0xbc, 0x99, 0x9c, 0xb, 0x4e, 0xf8, 0xbb, 0x6d, 0x6b, 0xb9, 0xbd, 0x38, 0xa,
            0x11,
        ]);
        for text in [
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
        ] {
            assert_eq!(uuid(text.as_bytes()), expected, "{text}");
        }
        for text in ["", "a0eebc99", "a0eebc99--9c0b4ef8bb6d6bb9bd380a11", "-", "{}"] {
            assert_eq!(uuid(text.as_bytes()), None, "{text}");
        }
    }
}
