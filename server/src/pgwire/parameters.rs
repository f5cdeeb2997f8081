//! Decodes the parameters of a Bind, text and binary, into typed values.
//!
//! A value is read as the type that the client was told, then converted to the
//! statement's own type where the two differ (a declared `int4` for a `bigint`).
//! Every binary value must have exactly its type's length.

use arrow::array::{Array, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, TimeUnit, i256};
use arrow::util::display::FormatOptions;
use bytes::Bytes;
use datafusion::scalar::ScalarValue;
use tidemill_types::{Diagnostic, SqlState};

use super::encode::Style;
use super::encode::temporal::{EPOCH_DAYS, EPOCH_MICROS};
use super::types::{self, Format, oid};

/// Decodes `values` for a statement with parameters of `types`, which the client
/// knows as `oids`.
pub fn decode(
    types: &[DataType],
    oids: &[u32],
    format_codes: &[i16],
    values: &[Option<Bytes>],
    style: &Style,
) -> Result<Vec<ScalarValue>, Diagnostic> {
    if values.len() != types.len() || oids.len() != types.len() {
        return Err(Diagnostic::new(
            SqlState::PROTOCOL_VIOLATION,
            format!(
                "bind message supplies {} parameters, but the prepared statement requires {}",
                values.len(),
                types.len()
            ),
        ));
    }
    let formats = types::formats(format_codes, values.len())?;
    let decode_one = |index: usize| {
        let (data_type, format) = (&types[index], formats[index]);
        let value = match &values[index] {
            None => ScalarValue::try_from(data_type).map_err(|_| unsupported(data_type)),
            Some(bytes) => decode_value(data_type, oids[index], format, bytes, style),
        };
        value.map_err(|diagnostic| match diagnostic.detail {
            None => diagnostic.with_detail(format!("It is parameter ${}.", index + 1)),
            Some(_) => diagnostic,
        })
    };
    (0..values.len()).map(decode_one).collect()
}

fn decode_value(
    data_type: &DataType,
    type_oid: u32,
    format: Format,
    bytes: &[u8],
    style: &Style,
) -> Result<ScalarValue, Diagnostic> {
    let value = match format {
        Format::Text => {
            let text = std::str::from_utf8(bytes)
                .map_err(|e| super::message::not_utf8(&bytes[e.valid_up_to()..]))?;
            from_text(data_type, text, style)?
        }
        Format::Binary => from_binary(type_oid, data_type, bytes)?,
    };
    convert(value, data_type)
}

fn convert(value: ScalarValue, data_type: &DataType) -> Result<ScalarValue, Diagnostic> {
    if value.data_type() == *data_type {
        return Ok(value);
    }
    value.cast_to(data_type).map_err(|_| {
        Diagnostic::new(
            SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            format!("value is out of range for type {}", name(data_type)),
        )
    })
}

// ---- text

fn from_text(data_type: &DataType, text: &str, style: &Style) -> Result<ScalarValue, Diagnostic> {
    let invalid = || invalid_text(data_type, text);
    let trimmed = text.trim_matches(|c: char| c.is_ascii_whitespace());
    Ok(match data_type {
        DataType::Utf8View => ScalarValue::Utf8View(Some(text.to_owned())),
        DataType::Utf8 => ScalarValue::Utf8(Some(text.to_owned())),
        DataType::LargeUtf8 => ScalarValue::LargeUtf8(Some(text.to_owned())),
        DataType::Boolean => ScalarValue::Boolean(Some(boolean(trimmed).ok_or_else(invalid)?)),
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64 => {
            let number = trimmed.parse::<i128>().map_err(|_| invalid())?;
            let wide = ScalarValue::Decimal128(Some(number), 38, 0);
            wide.cast_to(data_type).map_err(|_| out_of_range(data_type, text))?
        }
        DataType::Float32 => {
            let number = float(data_type, trimmed)?;
            let narrow = number as f32;
            if narrow.is_infinite() && number.is_finite() {
                return Err(out_of_range(data_type, text));
            }
            ScalarValue::Float32(Some(narrow))
        }
        DataType::Float64 => ScalarValue::Float64(Some(float(data_type, trimmed)?)),
        DataType::Decimal128(precision, scale) => {
            let unscaled = decimal(trimmed, *scale).ok_or_else(invalid)?;
            let unscaled = within(unscaled, *precision).and_then(|u| u.to_i128());
            let unscaled = unscaled.ok_or_else(|| out_of_range(data_type, text))?;
            ScalarValue::Decimal128(Some(unscaled), *precision, *scale)
        }
        DataType::Decimal256(precision, scale) => {
            let unscaled = decimal(trimmed, *scale).ok_or_else(invalid)?;
            let unscaled = within(unscaled, *precision);
            let unscaled = unscaled.ok_or_else(|| out_of_range(data_type, text))?;
            ScalarValue::Decimal256(Some(unscaled), *precision, *scale)
        }
        DataType::BinaryView => ScalarValue::BinaryView(Some(bytea(text).ok_or_else(invalid)?)),
        DataType::Binary => ScalarValue::Binary(Some(bytea(text).ok_or_else(invalid)?)),
        DataType::FixedSizeBinary(16) => {
            ScalarValue::FixedSizeBinary(16, Some(uuid(trimmed).ok_or_else(invalid)?))
        }
        DataType::List(item) => {
            let elements = array_elements(trimmed).ok_or_else(invalid)?;
            let element = |text: &Option<String>| match text {
                Some(text) => convert(from_text(item.data_type(), text, style)?, item.data_type()),
                None => ScalarValue::try_from(item.data_type()).map_err(|_| unsupported(data_type)),
            };
            let values = elements.iter().map(element).collect::<Result<Vec<_>, _>>()?;
            ScalarValue::List(ScalarValue::new_list(&values, item.data_type(), true))
        }
        temporal => parse_temporal(temporal, trimmed, style).ok_or_else(|| Diagnostic {
            state: SqlState::INVALID_DATETIME_FORMAT,
            ..invalid_text(temporal, text)
        })?,
    })
}

/// Dates, times and intervals, by the same rules as a cast of a column.
fn parse_temporal(data_type: &DataType, text: &str, style: &Style) -> Option<ScalarValue> {
    // A timestamp that names no zone is meant in the session's.
    let target = match (data_type, &style.zone) {
        (DataType::Timestamp(unit, Some(_)), Some(zone)) => {
            DataType::Timestamp(*unit, Some(zone.to_string().into()))
        }
        _ => data_type.clone(),
    };
    let options = CastOptions { safe: false, format_options: FormatOptions::default() };
    let text = StringArray::from(vec![text]);
    let parsed = cast_with_options(&text, &target, &options).ok()?;
    if parsed.is_null(0) {
        return None;
    }
    let parsed = ScalarValue::try_from_array(&parsed, 0).ok()?;
    match (parsed, data_type) {
        (ScalarValue::TimestampMicrosecond(value, _), DataType::Timestamp(_, zone)) => {
            Some(ScalarValue::TimestampMicrosecond(value, zone.clone()))
        }
        (other, _) => Some(other),
    }
}

/// Any prefix of true, false, yes, no; on, off, 1, 0.
fn boolean(text: &str) -> Option<bool> {
    let text = text.to_ascii_lowercase();
    let abbreviates = |word: &str| !text.is_empty() && word.starts_with(&text);
    match text.as_str() {
        "on" | "1" => Some(true),
        "of" | "off" | "0" => Some(false),
        _ if abbreviates("true") || abbreviates("yes") => Some(true),
        _ if abbreviates("false") || abbreviates("no") => Some(false),
        _ => None,
    }
}

fn float(data_type: &DataType, text: &str) -> Result<f64, Diagnostic> {
    let number = text.parse::<f64>().map_err(|_| invalid_text(data_type, text))?;
    let spelled_out = text.bytes().any(|b| matches!(b, b'n' | b'N'));
    // Digits that overflow are no infinity.
    if number.is_infinite() && !spelled_out {
        return Err(out_of_range(data_type, text));
    }
    Ok(number)
}

/// The number times ten to the power of `scale`, rounded half away from zero.
fn decimal(text: &str, scale: i8) -> Option<i256> {
    let (negative, unsigned) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let exponent: i32 = exponent.parse().ok().filter(|e: &i32| e.abs() <= 10_000)?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits: String = [whole, fraction].concat();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // How many of the digits are left of the new point.
    let kept = whole.len() as i64 + i64::from(exponent) + i64::from(scale);
    let Ok(kept) = usize::try_from(kept) else { return Some(i256::ZERO) };
    let up = digits.as_bytes().get(kept).is_some_and(|digit| *digit >= b'5');
    if kept > digits.len() {
        let significant = digits.trim_start_matches('0').len();
        // Beyond what any precision holds: out of range, unless it is zero.
        if significant > 0 && significant + kept - digits.len() > 77 {
            return Some(if negative { i256::MIN } else { i256::MAX });
        }
        digits.extend(std::iter::repeat_n('0', kept - digits.len()));
    }
    let kept = digits[..kept].trim_start_matches('0');
    let number = match kept {
        "" => i256::ZERO,
        kept if kept.len() > 76 => i256::MAX,
        kept => i256::from_string(kept)?,
    };
    let number = if up { number.checked_add(i256::ONE)? } else { number };
    Some(if negative { number.wrapping_neg() } else { number })
}

/// The number if it has at most `precision` digits.
fn within(number: i256, precision: u8) -> Option<i256> {
    let limit = i256::from_i128(10).checked_pow(u32::from(precision))?;
    (number < limit && number > limit.wrapping_neg()).then_some(number)
}

/// `\x` and hexadecimal digits, or bytes with `\\` and `\ooo` for some.
fn bytea(text: &str) -> Option<Vec<u8>> {
    if let Some(digits) = text.strip_prefix("\\x") {
        let digits: Vec<u8> = digits.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        return hexadecimal(&digits);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'\\' {
            bytes.push(*first);
        } else if let Some(behind) = rest.strip_prefix(b"\\") {
            bytes.push(b'\\');
            rest = behind;
        } else {
            let octal = std::str::from_utf8(rest.get(..3)?).ok()?;
            bytes.push(u8::from_str_radix(octal, 8).ok()?);
            rest = &rest[3..];
        }
    }
    Some(bytes)
}

fn hexadecimal(digits: &[u8]) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|d| d as u8);
    digits.chunks(2).map(|pair| Some((digit(pair[0])? << 4) | digit(pair[1])?)).collect()
}

fn uuid(text: &str) -> Option<Vec<u8>> {
    let text = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
    hexadecimal(&digits).filter(|bytes| bytes.len() == 16)
}

/// The elements of `{a,"b c",NULL}`; `None`: it is no one-dimensional array.
fn array_elements(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    let mut elements = Vec::new();
    if inner.trim().is_empty() {
        return Some(elements);
    }
    let mut characters = inner.chars().peekable();
    loop {
        let (mut element, mut was_quoted) = (String::new(), false);
        while characters.peek().is_some_and(|c| c.is_ascii_whitespace()) {
            characters.next();
        }
        if characters.next_if_eq(&'"').is_some() {
            was_quoted = true;
            loop {
                match characters.next()? {
                    '"' => break,
                    '\\' => element.push(characters.next()?),
                    other => element.push(other),
                }
            }
            while characters.peek().is_some_and(|c| c.is_ascii_whitespace()) {
                characters.next();
            }
        } else {
            while let Some(next) = characters.next_if(|c| *c != ',') {
                match next {
                    '{' | '}' | '"' => return None,
                    '\\' => element.push(characters.next()?),
                    other => element.push(other),
                }
            }
            element.truncate(element.trim_end().len());
            if element.is_empty() {
                return None;
            }
        }
        let null = !was_quoted && element.eq_ignore_ascii_case("null");
        elements.push((!null).then_some(element));
        match characters.next() {
            None => return Some(elements),
            Some(',') => {}
            Some(_) => return None,
        }
    }
}

// ---- binary

fn from_binary(
    type_oid: u32,
    data_type: &DataType,
    bytes: &[u8],
) -> Result<ScalarValue, Diagnostic> {
    if types::element_oid(type_oid).is_some() {
        return array_binary(data_type, bytes);
    }
    Ok(match type_oid {
        oid::BOOL => ScalarValue::Boolean(Some(u8::from_be_bytes(exactly(bytes)?) != 0)),
        oid::INT2 => ScalarValue::Int16(Some(i16::from_be_bytes(exactly(bytes)?))),
        oid::INT4 => ScalarValue::Int32(Some(i32::from_be_bytes(exactly(bytes)?))),
        oid::INT8 => ScalarValue::Int64(Some(i64::from_be_bytes(exactly(bytes)?))),
        oid::OID => ScalarValue::Int64(Some(i64::from(u32::from_be_bytes(exactly(bytes)?)))),
        oid::FLOAT4 => ScalarValue::Float32(Some(f32::from_be_bytes(exactly(bytes)?))),
        oid::FLOAT8 => ScalarValue::Float64(Some(f64::from_be_bytes(exactly(bytes)?))),
        oid::NUMERIC => {
            let target = match data_type {
                DataType::Decimal128(_, _) | DataType::Decimal256(_, _) => data_type.clone(),
                _ => DataType::Decimal128(38, 10),
            };
            from_text(&target, &numeric_text(bytes)?, &Style::default())?
        }
        oid::JSONB => text(bytes.strip_prefix(&[1]).ok_or_else(invalid_binary)?)?,
        oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME | oid::JSON | oid::UNKNOWN => {
            text(bytes)?
        }
        oid::BYTEA => ScalarValue::BinaryView(Some(bytes.to_vec())),
        oid::UUID => ScalarValue::FixedSizeBinary(16, Some(exactly::<16>(bytes)?.to_vec())),
        oid::DATE => {
            let days = i32::from_be_bytes(exactly(bytes)?).checked_add(EPOCH_DAYS);
            ScalarValue::Date32(Some(days.ok_or_else(invalid_binary)?))
        }
        oid::TIME => ScalarValue::Time64Microsecond(Some(i64::from_be_bytes(exactly(bytes)?))),
        oid::TIMESTAMP | oid::TIMESTAMPTZ => {
            let micros = i64::from_be_bytes(exactly(bytes)?).checked_add(EPOCH_MICROS);
            let zone = match data_type {
                DataType::Timestamp(TimeUnit::Microsecond, zone) => zone.clone(),
                _ => None,
            };
            ScalarValue::TimestampMicrosecond(Some(micros.ok_or_else(invalid_binary)?), zone)
        }
        oid::INTERVAL => interval(exactly(bytes)?)?,
        _ => return Err(unsupported(data_type)),
    })
}

fn exactly<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Diagnostic> {
    bytes.try_into().map_err(|_| invalid_binary())
}

fn text(bytes: &[u8]) -> Result<ScalarValue, Diagnostic> {
    let text = std::str::from_utf8(bytes)
        .map_err(|e| super::message::not_utf8(&bytes[e.valid_up_to()..]))?;
    Ok(ScalarValue::Utf8View(Some(text.to_owned())))
}

/// Microseconds, days, months.
fn interval(bytes: [u8; 16]) -> Result<ScalarValue, Diagnostic> {
    use arrow::datatypes::IntervalMonthDayNano;
    let micros = i64::from_be_bytes(exactly(&bytes[..8])?);
    let days = i32::from_be_bytes(exactly(&bytes[8..12])?);
    let months = i32::from_be_bytes(exactly(&bytes[12..])?);
    let nanos = micros.checked_mul(1_000).ok_or_else(invalid_binary)?;
    Ok(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(months, days, nanos))))
}

/// A binary numeric, written out.
fn numeric_text(bytes: &[u8]) -> Result<String, Diagnostic> {
    const NEGATIVE: u16 = 0x4000;
    let (head, groups) = bytes.split_at_checked(8).ok_or_else(invalid_binary)?;
    let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let (count, weight, sign) = (usize::from(word(0)), i32::from(word(2) as i16), word(4));
    if groups.len() != count * 2 || (sign != 0 && sign != NEGATIVE) {
        let special = matches!(sign, 0xC000 | 0xD000 | 0xF000) && groups.is_empty();
        return Err(if special {
            Diagnostic::unsupported(
                "numeric values that are no number or infinite are not supported",
            )
        } else {
            invalid_binary()
        });
    }
    let mut text = String::from(if sign == NEGATIVE { "-0" } else { "0" });
    for group in groups.chunks_exact(2) {
        let group = u16::from_be_bytes([group[0], group[1]]);
        if group > 9_999 {
            return Err(invalid_binary());
        }
        text.push_str(&format!("{group:04}"));
    }
    // The digits stand for an integer times a power of 10,000.
    text.push_str(&format!("e{}", 4 * (weight + 1 - count as i32)));
    Ok(text)
}

fn array_binary(data_type: &DataType, bytes: &[u8]) -> Result<ScalarValue, Diagnostic> {
    let DataType::List(item) = data_type else { return Err(unsupported(data_type)) };
    let (mut words, mut rest) = ([0_i32; 3], bytes);
    for word in &mut words {
        *word = take_i32(&mut rest)?;
    }
    let [dimensions, _has_null, element_oid] = words;
    let count = match dimensions {
        0 => 0,
        1 => {
            let count = take_i32(&mut rest)?;
            let _lower_bound = take_i32(&mut rest)?;
            count
        }
        _ => return Err(unsupported(data_type)),
    };
    let mut values = Vec::new();
    for _ in 0..count {
        let length = take_i32(&mut rest)?;
        values.push(if length == -1 {
            ScalarValue::try_from(item.data_type()).map_err(|_| unsupported(data_type))?
        } else {
            let length = usize::try_from(length).map_err(|_| invalid_binary())?;
            let (value, behind) = rest.split_at_checked(length).ok_or_else(invalid_binary)?;
            rest = behind;
            let value = from_binary(element_oid as u32, item.data_type(), value)?;
            convert(value, item.data_type())?
        });
    }
    if !rest.is_empty() {
        return Err(invalid_binary());
    }
    Ok(ScalarValue::List(ScalarValue::new_list(&values, item.data_type(), true)))
}

fn take_i32(rest: &mut &[u8]) -> Result<i32, Diagnostic> {
    let (word, behind) = rest.split_first_chunk::<4>().ok_or_else(invalid_binary)?;
    *rest = behind;
    Ok(i32::from_be_bytes(*word))
}

// ---- errors

fn invalid_binary() -> Diagnostic {
    Diagnostic::new(
        SqlState::INVALID_BINARY_REPRESENTATION,
        "incorrect binary data format in bind parameter",
    )
}

fn invalid_text(data_type: &DataType, text: &str) -> Diagnostic {
    let shown: String = text.chars().take(80).collect();
    Diagnostic::new(
        SqlState::INVALID_TEXT_REPRESENTATION,
        format!("invalid input syntax for type {}: \"{shown}\"", name(data_type)),
    )
}

fn out_of_range(data_type: &DataType, text: &str) -> Diagnostic {
    let shown: String = text.chars().take(80).collect();
    Diagnostic::new(
        SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
        format!("value \"{shown}\" is out of range for type {}", name(data_type)),
    )
}

fn unsupported(data_type: &DataType) -> Diagnostic {
    Diagnostic::unsupported(format!("parameters of type {} are not supported", name(data_type)))
}

/// A type's name as SQL has it.
fn name(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::Boolean => "boolean",
        DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        DataType::Int64 => "bigint",
        DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        DataType::Decimal128(_, _) | DataType::Decimal256(_, _) => "numeric",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text",
        DataType::Binary | DataType::BinaryView => "bytea",
        DataType::FixedSizeBinary(16) => "uuid",
        DataType::Date32 => "date",
        DataType::Time64(_) => "time",
        DataType::Timestamp(_, None) => "timestamp",
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone",
        DataType::Interval(_) => "interval",
        DataType::List(_) => "array",
        other => return other.to_string(),
    };
    name.to_owned()
}
