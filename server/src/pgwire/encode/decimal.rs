//! Decimals as PostgreSQL's numeric, as text and in base 10,000.

use arrow::datatypes::i256;

/// The digits of the longest 256-bit integer.
const DIGITS_MAX: usize = 78;
const CHUNK_DIGITS: usize = 18;
const CHUNK: i128 = 1_000_000_000_000_000_000;

/// An integer as decimal digits, without leading zeros; zero has none.
pub struct Digits {
    buffer: [u8; DIGITS_MAX],
    start: usize,
    negative: bool,
}

impl std::fmt::Debug for Digits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        write!(f, "{sign}{}", String::from_utf8_lossy(self.digits()))
    }
}

impl From<i128> for Digits {
    fn from(value: i128) -> Self {
        let mut digits = Digits::zero(value < 0);
        if value != 0 {
            digits.prepend(itoa::Buffer::new().format(value.unsigned_abs()).as_bytes(), 0);
        }
        digits
    }
}

impl From<i256> for Digits {
    fn from(value: i256) -> Self {
        if let Some(value) = value.to_i128() {
            return value.into();
        }
        let mut digits = Digits::zero(value.is_negative());
        let chunk = i256::from_i128(CHUNK);
        let mut rest = value;
        while rest != i256::ZERO {
            // The remainder has the sign of the dividend, and its magnitude is
            // below the chunk. Taking it from negative numbers as they are
            // keeps the smallest one, which has no positive twin, right.
            let part = rest.wrapping_rem(chunk).to_i128().unwrap_or_default().unsigned_abs();
            rest = rest.wrapping_div(chunk);
            let width = if rest == i256::ZERO { 0 } else { CHUNK_DIGITS };
            digits.prepend(itoa::Buffer::new().format(part).as_bytes(), width);
        }
        digits
    }
}

impl Digits {
    fn zero(negative: bool) -> Self {
        Digits { buffer: [b'0'; DIGITS_MAX], start: DIGITS_MAX, negative }
    }

    /// Puts `digits` in front, filled with zeros to `width`.
    fn prepend(&mut self, digits: &[u8], width: usize) {
        let start = self.start - digits.len();
        self.buffer[start..self.start].copy_from_slice(digits);
        // The buffer holds zeros already.
        self.start -= digits.len().max(width);
    }

    fn digits(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Appends the number with `scale` digits behind the point; a negative
    /// scale stands for zeros before it.
    pub fn write_text(&self, scale: i8, out: &mut Vec<u8>) {
        if self.negative {
            out.push(b'-');
        }
        let digits = self.digits();
        let behind = usize::try_from(scale).unwrap_or(0);
        if digits.len() > behind {
            out.extend_from_slice(&digits[..digits.len() - behind]);
            let zeros = usize::from(scale.min(0).unsigned_abs());
            out.extend(std::iter::repeat_n(b'0', zeros));
        } else {
            out.push(b'0');
        }
        if behind > 0 {
            out.push(b'.');
            let fraction = &digits[digits.len().saturating_sub(behind)..];
            out.extend(std::iter::repeat_n(b'0', behind - fraction.len()));
            out.extend_from_slice(fraction);
        }
    }

    /// Appends PostgreSQL's binary numeric: the count of base-10,000 digits, the
    /// weight of the first, the sign, the count of decimals, the digits.
    pub fn write_binary(&self, scale: i8, out: &mut Vec<u8>) {
        const NEGATIVE: u16 = 0x4000;
        let (groups, weight) = self.groups(scale);
        let groups = groups.as_slice();
        let first = groups.iter().take_while(|g| **g == 0).count();
        let last = groups.iter().rposition(|g| *g != 0).map_or(first, |last| last + 1);
        let significant = &groups[first.min(last)..last];
        let weight = if significant.is_empty() { 0 } else { weight - first as i16 };
        let sign = if self.negative { NEGATIVE } else { 0 };
        out.extend_from_slice(&(significant.len() as u16).to_be_bytes());
        out.extend_from_slice(&weight.to_be_bytes());
        out.extend_from_slice(&sign.to_be_bytes());
        out.extend_from_slice(&u16::from(scale.max(0).unsigned_abs()).to_be_bytes());
        for group in significant {
            out.extend_from_slice(&group.to_be_bytes());
        }
    }

    /// Cuts the digits into groups of four from the decimal point outwards; the
    /// weight is the first group's power of 10,000.
    fn groups(&self, scale: i8) -> (smallvec::SmallVec<[u16; 32]>, i16) {
        let digits = self.digits();
        let whole = digits.len() as i32 - i32::from(scale);
        // The place of the first digit of the first group, before the point.
        let places = whole.div_euclid(4) + i32::from(whole.rem_euclid(4) != 0);
        let mut groups = smallvec::SmallVec::new();
        let mut place = whole - places * 4;
        let end = digits.len() as i32 + i32::from(scale.min(0).unsigned_abs());
        while place < end {
            let digit = |at: i32| usize::try_from(at).ok().and_then(|at| digits.get(at));
            let group = (place..place + 4)
                .fold(0_u16, |group, at| group * 10 + digit(at).map_or(0, |d| u16::from(d - b'0')));
            groups.push(group);
            place += 4;
        }
        (groups, places as i16 - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(digits: Digits, scale: i8) -> String {
        let mut out = Vec::new();
        digits.write_text(scale, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn writes_every_scale() {
        assert_eq!(text(0_i128.into(), 0), "0");
        assert_eq!(text(0_i128.into(), 2), "0.00");
        assert_eq!(text((-5_i128).into(), 2), "-0.05");
        assert_eq!(text(12345_i128.into(), 2), "123.45");
        assert_eq!(text(12_i128.into(), -3), "12000");
        assert_eq!(text(0_i128.into(), -3), "0");
        assert_eq!(text(i128::MIN.into(), 0), i128::MIN.to_string());
        assert_eq!(text(i256::MIN.into(), 0), i256::MIN.to_string());
        assert_eq!(text(i256::MAX.into(), 0), i256::MAX.to_string());
        let wide = i256::from_i128(CHUNK).wrapping_mul(i256::from_i128(CHUNK * 1000));
        assert_eq!(text(wide.into(), 0), wide.to_string());
    }
}
