//! Floating-point numbers as PostgreSQL writes them: the shortest digits that
//! read back as the same number, without an exponent where it is small.
//!
//! One difference is known: where the shortest digits lie exactly between two
//! numbers (1e23 is such a one) PostgreSQL prints a longer form; both read back
//! as the same number.

/// A number's decimal exponent from which on it is written with an exponent.
const DOUBLE_FIXED_BELOW: i32 = 15;
const SINGLE_FIXED_BELOW: i32 = 6;
/// And the one below which it is.
const FIXED_FROM: i32 = -4;

/// Appends a double precision number.
pub fn write_f64(value: f64, out: &mut Vec<u8>) {
    if value.is_finite() {
        write_finite(ryu::Buffer::new().format_finite(value), DOUBLE_FIXED_BELOW, out);
    } else {
        out.extend_from_slice(not_finite(value.is_nan(), value.is_sign_negative()));
    }
}

/// Appends a real number.
pub fn write_f32(value: f32, out: &mut Vec<u8>) {
    if value.is_finite() {
        write_finite(ryu::Buffer::new().format_finite(value), SINGLE_FIXED_BELOW, out);
    } else {
        out.extend_from_slice(not_finite(value.is_nan(), value.is_sign_negative()));
    }
}

fn not_finite(nan: bool, negative: bool) -> &'static [u8] {
    match (nan, negative) {
        (true, _) => b"NaN",
        (false, false) => b"Infinity",
        (false, true) => b"-Infinity",
    }
}

/// Rewrites shortest digits in any notation (`1.5e-7`, `120.0`) as PostgreSQL
/// has them.
fn write_finite(shortest: &str, fixed_below: i32, out: &mut Vec<u8>) {
    let unsigned = match shortest.strip_prefix('-') {
        Some(unsigned) => {
            out.push(b'-');
            unsigned
        }
        None => shortest,
    };
    let (mantissa, stated) = unsigned.split_once('e').unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));

    // 17 digits at most, and zeros around them.
    let mut buffer = [0_u8; 40];
    let mut length = 0;
    for digit in whole.bytes().chain(fraction.bytes()).take(buffer.len()) {
        buffer[length] = digit;
        length += 1;
    }
    let leading = buffer[..length].iter().take_while(|d| **d == b'0').count();
    let trailing = buffer[leading..length].iter().rev().take_while(|d| **d == b'0').count();
    let digits = &buffer[leading..length - trailing];
    if digits.is_empty() {
        out.push(b'0');
        return;
    }
    // Of the first digit.
    let exponent = stated.parse::<i32>().unwrap_or(0) + whole.len() as i32 - 1 - leading as i32;
    if (FIXED_FROM..fixed_below).contains(&exponent) {
        write_fixed(digits, exponent, out);
    } else {
        write_scientific(digits, exponent, out);
    }
}

fn write_fixed(digits: &[u8], exponent: i32, out: &mut Vec<u8>) {
    if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', (-exponent - 1) as usize));
        out.extend_from_slice(digits);
        return;
    }
    let whole = exponent as usize + 1;
    if digits.len() <= whole {
        out.extend_from_slice(digits);
        out.extend(std::iter::repeat_n(b'0', whole - digits.len()));
    } else {
        out.extend_from_slice(&digits[..whole]);
        out.push(b'.');
        out.extend_from_slice(&digits[whole..]);
    }
}

fn write_scientific(digits: &[u8], exponent: i32, out: &mut Vec<u8>) {
    out.push(digits[0]);
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    }
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    let magnitude = exponent.unsigned_abs();
    if magnitude < 10 {
        out.push(b'0');
    }
    out.extend_from_slice(itoa::Buffer::new().format(magnitude).as_bytes());
}
