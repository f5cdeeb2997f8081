//! SQL's type names and Arrow's types: the one mapping, both ways.
//!
//! Some SQL types share an Arrow type (text, varchar and json are all
//! `Utf8View`). What tells them apart is a field's metadata under [`SQL_TYPE`],
//! PostgreSQL's name of the type; a field without it has the plain type that
//! [`pg_type_name`] gives.
//!
//! Precision of times below microseconds is refused, above it is accepted and
//! has no effect: values keep their microseconds. A varchar's length is kept for
//! display and not enforced on decoded data.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use sqlparser::ast::{
    ArrayElemTypeDef, CharacterLength, DataType as SqlType, ExactNumberInfo, TimezoneInfo,
};
use sqlparser::tokenizer::Span;
use tidemill_types::SqlState;

use crate::error::PlanError;

/// The key of a field's metadata that names its SQL type where Arrow's does not.
pub const SQL_TYPE: &str = "tidemill.sql_type";

/// Precision and scale of `numeric` without either.
pub const BARE_NUMERIC: (u8, i8) = (38, 10);

/// The Arrow type of a SQL type.
///
/// # Errors
/// 42704 for a name that is no type, 0A000 for a type that Tidemill does not
/// have, 22023 for modifiers out of range. No error has a position: the caller
/// knows where the type stands.
pub fn arrow_type(sql: &SqlType) -> Result<DataType, PlanError> {
    let arrow = match sql {
        SqlType::Boolean | SqlType::Bool => DataType::Boolean,
        SqlType::SmallInt(_) | SqlType::Int2(_) | SqlType::Int16 => DataType::Int16,
        SqlType::Int(_) | SqlType::Integer(_) | SqlType::Int4(_) | SqlType::Int32 => {
            DataType::Int32
        }
        SqlType::BigInt(_) | SqlType::Int8(_) | SqlType::Int64 => DataType::Int64,
        SqlType::Real | SqlType::Float4 | SqlType::Float32 => DataType::Float32,
        SqlType::DoublePrecision | SqlType::Double(_) | SqlType::Float8 | SqlType::Float64 => {
            DataType::Float64
        }
        SqlType::Float(info) => float(info)?,
        SqlType::Numeric(info) | SqlType::Decimal(info) | SqlType::Dec(info) => numeric(info)?,
        SqlType::Text
        | SqlType::String(_)
        | SqlType::Varchar(_)
        | SqlType::CharacterVarying(_)
        | SqlType::CharVarying(_)
        | SqlType::JSON
        | SqlType::JSONB => DataType::Utf8View,
        SqlType::Bytea | SqlType::Bytes(_) | SqlType::Varbinary(_) => DataType::BinaryView,
        SqlType::Uuid => DataType::FixedSizeBinary(16),
        SqlType::Date => DataType::Date32,
        SqlType::Time(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            fraction(*precision)?;
            DataType::Time64(TimeUnit::Microsecond)
        }
        SqlType::Timestamp(precision, zone) => {
            fraction(*precision)?;
            timestamp(matches!(zone, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz))
        }
        SqlType::TimestampNtz(precision) => {
            fraction(*precision)?;
            timestamp(false)
        }
        SqlType::Interval { fields: None, precision } => {
            fraction(*precision)?;
            DataType::Interval(IntervalUnit::MonthDayNano)
        }
        SqlType::Array(
            ArrayElemTypeDef::SquareBracket(element, _)
            | ArrayElemTypeDef::AngleBracket(element)
            | ArrayElemTypeDef::Parenthesis(element),
        ) => DataType::List(Field::new_list_field(arrow_type(element)?, true).into()),
        SqlType::Custom(name, modifiers) => return custom(&name.to_string(), modifiers),
        SqlType::Char(_) | SqlType::Character(_) => {
            return Err(no_type(sql, "Use text or varchar: values are never padded."));
        }
        other => return Err(no_type(other, "SHOW and the reference list the types.")),
    };
    Ok(arrow)
}

/// A column of a SQL type, its name kept in the metadata where Arrow's type says
/// less.
///
/// # Errors
/// As [`arrow_type`]; also 0A000 for `oid`, which only casts know.
pub fn arrow_field(name: &str, sql: &SqlType, nullable: bool) -> Result<Field, PlanError> {
    if names_oid(sql) {
        return Err(no_type(sql, "Use bigint: an OID is a number of PostgreSQL's own."));
    }
    let field = Field::new(name, arrow_type(sql)?, nullable);
    let tag = match sql {
        SqlType::JSON => "json".to_owned(),
        SqlType::JSONB => "jsonb".to_owned(),
        SqlType::Varchar(length)
        | SqlType::CharacterVarying(length)
        | SqlType::CharVarying(length) => match length {
            Some(CharacterLength::IntegerLength { length, .. }) => {
                format!("character varying({length})")
            }
            _ => "character varying".to_owned(),
        },
        _ => return Ok(field),
    };
    Ok(field.with_metadata(HashMap::from([(SQL_TYPE.to_owned(), tag)])))
}

/// PostgreSQL's name of a column's type.
#[must_use]
pub fn pg_field_type_name(field: &Field) -> String {
    match field.metadata().get(SQL_TYPE) {
        Some(name) => name.clone(),
        None => pg_type_name(field.data_type()),
    }
}

/// PostgreSQL's name of a type, as `format_type` spells it.
#[must_use]
pub fn pg_type_name(arrow: &DataType) -> String {
    let name = match arrow {
        DataType::Null => "unknown",
        DataType::Boolean => "boolean",
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint",
        DataType::Int32 | DataType::UInt16 => "integer",
        DataType::Int64 | DataType::UInt32 => "bigint",
        DataType::UInt64 => "numeric(20,0)",
        DataType::Float16 | DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        DataType::Decimal128(p, s) if (*p, *s) == BARE_NUMERIC => "numeric",
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => return format!("numeric({p},{s})"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text",
        DataType::FixedSizeBinary(16) => "uuid",
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => "bytea",
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time without time zone",
        DataType::Timestamp(_, None) => "timestamp without time zone",
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone",
        DataType::Interval(_) | DataType::Duration(_) => "interval",
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::ListView(element)
        | DataType::LargeListView(element)
        | DataType::FixedSizeList(element, _) => {
            return format!("{}[]", pg_field_type_name(element));
        }
        DataType::Dictionary(_, values) => return pg_type_name(values),
        DataType::RunEndEncoded(_, values) => return pg_type_name(values.data_type()),
        DataType::Struct(_) | DataType::Map(..) | DataType::Union(..) => "record",
    };
    name.to_owned()
}

/// `timestamp` or `timestamptz`.
#[must_use]
pub fn timestamp(with_zone: bool) -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, with_zone.then(|| "UTC".into()))
}

fn no_type(sql: &SqlType, hint: &str) -> PlanError {
    PlanError::unsupported(
        format!("type {} is not supported", sql.to_string().to_lowercase()),
        Span::empty(),
    )
    .with_hint(hint)
}

fn out_of_range(message: String) -> PlanError {
    PlanError::invalid(SqlState::INVALID_PARAMETER_VALUE, message, Span::empty())
}

fn fraction(precision: Option<u64>) -> Result<(), PlanError> {
    match precision {
        Some(digits) if digits > 6 => Err(PlanError::unsupported(
            format!("precision {digits} of a time type is not supported"),
            Span::empty(),
        )
        .with_hint("Times have microseconds: at most 6 digits.")),
        _ => Ok(()),
    }
}

/// `float(p)`: up to 24 bits is real.
fn float(info: &ExactNumberInfo) -> Result<DataType, PlanError> {
    match info {
        ExactNumberInfo::None => Ok(DataType::Float64),
        ExactNumberInfo::Precision(1..=24) => Ok(DataType::Float32),
        ExactNumberInfo::Precision(25..=53) => Ok(DataType::Float64),
        _ => Err(out_of_range("precision for type float must be between 1 and 53 bits".into())),
    }
}

fn numeric(info: &ExactNumberInfo) -> Result<DataType, PlanError> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => {
            return Ok(DataType::Decimal128(BARE_NUMERIC.0, BARE_NUMERIC.1));
        }
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    let digits = match u8::try_from(precision) {
        Ok(digits @ 1..=76) => digits,
        Ok(0) | Err(_) if precision == 0 || precision > 1000 => {
            return Err(out_of_range(format!(
                "NUMERIC precision {precision} must be between 1 and 1000"
            )));
        }
        _ => {
            return Err(PlanError::unsupported(
                format!("numeric precision {precision} is not supported"),
                Span::empty(),
            )
            .with_hint("A numeric has at most 76 digits."));
        }
    };
    let scale = match i8::try_from(scale) {
        Ok(scale) if scale >= 0 && scale as u8 <= digits => scale,
        _ => {
            return Err(out_of_range(format!(
                "NUMERIC scale {scale} must be between 0 and precision {precision}"
            )));
        }
    };
    Ok(if digits <= 38 {
        DataType::Decimal128(digits, scale)
    } else {
        DataType::Decimal256(digits, scale)
    })
}

/// Whether a type is `oid` or an array of it.
fn names_oid(sql: &SqlType) -> bool {
    match sql {
        SqlType::Custom(name, _) => simple_name(&name.to_string()) == "oid",
        SqlType::Array(ArrayElemTypeDef::SquareBracket(element, _)) => names_oid(element),
        _ => false,
    }
}

/// A type's name without its schema, in lower case.
fn simple_name(name: &str) -> String {
    let lower = name.to_lowercase();
    lower.strip_prefix("pg_catalog.").unwrap_or(&lower).trim_matches('"').to_owned()
}

/// Types that sqlparser knows by name only.
fn custom(name: &str, modifiers: &[String]) -> Result<DataType, PlanError> {
    let simple = simple_name(name);
    if let Some(digits) = modifiers.first()
        && simple.starts_with("timestamp")
    {
        fraction(digits.parse().ok())?;
    }
    match simple.as_str() {
        "timestamp_ltz" | "timestamptz" => Ok(timestamp(true)),
        "timestamp" => Ok(timestamp(false)),
        "string" | "text" | "varchar" => Ok(DataType::Utf8View),
        "bytes" | "bytea" => Ok(DataType::BinaryView),
        "bool" => Ok(DataType::Boolean),
        "int2" => Ok(DataType::Int16),
        "int4" => Ok(DataType::Int32),
        "int8" | "oid" => Ok(DataType::Int64),
        "float4" => Ok(DataType::Float32),
        "float8" => Ok(DataType::Float64),
        "money" | "inet" | "cidr" | "macaddr" | "xml" | "point" | "hstore" | "row" | "struct"
        | "map" | "multiset" | "name" | "serial" | "bigserial" | "smallserial" | "timetz"
        | "tsvector" | "tsquery" => {
            Err(PlanError::unsupported(format!("type {simple} is not supported"), Span::empty())
                .with_hint("Use text, or leave the column out."))
        }
        _ => Err(PlanError::invalid(
            SqlState::UNDEFINED_OBJECT,
            format!("type \"{name}\" does not exist"),
            Span::empty(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlparser::dialect::PostgreSqlDialect;
    use sqlparser::parser::Parser;

    fn parse(text: &str) -> SqlType {
        Parser::new(&PostgreSqlDialect {}).try_with_sql(text).unwrap().parse_data_type().unwrap()
    }

    fn check(text: &str, expected: &str) {
        let shown = match arrow_field("c", &parse(text), true) {
            Ok(field) => format!("{} = {}", field.data_type(), pg_field_type_name(&field)),
            Err(error) => format!("{}: {error}", error.state()),
        };
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn every_type_maps_both_ways() {
        check("boolean", "Boolean = boolean");
        check("bool", "Boolean = boolean");
        check("smallint", "Int16 = smallint");
        check("int2", "Int16 = smallint");
        check("INT", "Int32 = integer");
        check("integer", "Int32 = integer");
        check("BIGINT", "Int64 = bigint");
        check("int8", "Int64 = bigint");
        check("real", "Float32 = real");
        check("float(24)", "Float32 = real");
        check("float", "Float64 = double precision");
        check("DOUBLE", "Float64 = double precision");
        check("double precision", "Float64 = double precision");
        check("numeric", "Decimal128(38, 10) = numeric");
        check("DECIMAL(10, 2)", "Decimal128(10, 2) = numeric(10,2)");
        check("numeric(5)", "Decimal128(5, 0) = numeric(5,0)");
        check("numeric(40, 3)", "Decimal256(40, 3) = numeric(40,3)");
        check("text", "Utf8View = text");
        check("STRING", "Utf8View = text");
        check("varchar", "Utf8View = character varying");
        check("varchar(20)", "Utf8View = character varying(20)");
        check("json", "Utf8View = json");
        check("jsonb", "Utf8View = jsonb");
        check("bytea", "BinaryView = bytea");
        check("uuid", "FixedSizeBinary(16) = uuid");
        check("date", "Date32 = date");
        check("time", "Time64(µs) = time without time zone");
        check("timestamp", "Timestamp(µs) = timestamp without time zone");
        check("TIMESTAMP(3)", "Timestamp(µs) = timestamp without time zone");
        check("timestamptz", "Timestamp(µs, \"UTC\") = timestamp with time zone");
        check("timestamp with time zone", "Timestamp(µs, \"UTC\") = timestamp with time zone");
        check("TIMESTAMP_LTZ(3)", "Timestamp(µs, \"UTC\") = timestamp with time zone");
        check("interval", "Interval(MonthDayNano) = interval");
        check("bigint[]", "List(Int64) = bigint[]");
    }

    #[test]
    fn what_is_no_type_of_ours_is_refused() {
        check("frob", "42704: type \"frob\" does not exist");
        check("char(3)", "0A000: type char(3) is not supported");
        check("oid", "0A000: type oid is not supported");
        check("pg_catalog.oid[]", "0A000: type pg_catalog.oid[] is not supported");
        check("time with time zone", "0A000: type time with time zone is not supported");
        check("TIMESTAMP(9)", "0A000: precision 9 of a time type is not supported");
        check("numeric(80)", "0A000: numeric precision 80 is not supported");
        check("numeric(0)", "22023: NUMERIC precision 0 must be between 1 and 1000");
        check("numeric(3, 5)", "22023: NUMERIC scale 5 must be between 0 and precision 3");
    }
}
