//! Arrow types as the client sees them: OIDs, sizes, modifiers, formats.
//!
//! One table in each direction: [`field_oid`] for results, [`parameter_type`]
//! for what a client declares. A field's metadata distinguishes the types that
//! share a representation: json and jsonb under [`TYPE_KEY`], varchar(n) by its
//! length under [`VARCHAR_KEY`].

use arrow::datatypes::{DataType, Field, IntervalUnit, Schema, TimeUnit};
use pgwire::messages::data::{FieldDescription, RowDescription};
use tidemill_types::{Diagnostic, SqlState};

/// Metadata key of a field whose PostgreSQL type is not that of its Arrow type:
/// `json` or `jsonb`.
pub const TYPE_KEY: &str = "tidemill.type";

/// Metadata key of a varchar's length.
pub const VARCHAR_KEY: &str = "varchar";

/// OIDs of the types that results and parameters can have.
pub mod oid {
    pub const BOOL: u32 = 16;
    pub const BYTEA: u32 = 17;
    pub const NAME: u32 = 19;
    pub const INT8: u32 = 20;
    pub const INT2: u32 = 21;
    pub const INT4: u32 = 23;
    pub const TEXT: u32 = 25;
    pub const OID: u32 = 26;
    pub const JSON: u32 = 114;
    pub const FLOAT4: u32 = 700;
    pub const FLOAT8: u32 = 701;
    pub const UNKNOWN: u32 = 705;
    pub const BPCHAR: u32 = 1042;
    pub const VARCHAR: u32 = 1043;
    pub const DATE: u32 = 1082;
    pub const TIME: u32 = 1083;
    pub const TIMESTAMP: u32 = 1114;
    pub const TIMESTAMPTZ: u32 = 1184;
    pub const INTERVAL: u32 = 1186;
    pub const NUMERIC: u32 = 1700;
    pub const RECORD: u32 = 2249;
    pub const UUID: u32 = 2950;
    pub const JSONB: u32 = 3802;
}

/// Element and array type.
const ARRAYS: [(u32, u32); 22] = [
    (oid::BOOL, 1000),
    (oid::BYTEA, 1001),
    (oid::NAME, 1003),
    (oid::INT2, 1005),
    (oid::INT4, 1007),
    (oid::TEXT, 1009),
    (oid::BPCHAR, 1014),
    (oid::VARCHAR, 1015),
    (oid::INT8, 1016),
    (oid::FLOAT4, 1021),
    (oid::FLOAT8, 1022),
    (oid::OID, 1028),
    (oid::TIMESTAMP, 1115),
    (oid::DATE, 1182),
    (oid::TIME, 1183),
    (oid::TIMESTAMPTZ, 1185),
    (oid::INTERVAL, 1187),
    (oid::NUMERIC, 1231),
    (oid::JSON, 199),
    (oid::RECORD, 2287),
    (oid::UUID, 2951),
    (oid::JSONB, 3807),
];

/// How a value is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    #[default]
    Text,
    Binary,
}

impl Format {
    fn code(self) -> i16 {
        match self {
            Format::Text => 0,
            Format::Binary => 1,
        }
    }
}

/// Spreads format codes over `columns`: none is text for all, one is for all.
pub fn formats(codes: &[i16], columns: usize) -> Result<Vec<Format>, Diagnostic> {
    let format = |code: i16| match code {
        0 => Ok(Format::Text),
        1 => Ok(Format::Binary),
        other => Err(Diagnostic::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("unsupported format code: {other}"),
        )),
    };
    match codes {
        [] => Ok(vec![Format::Text; columns]),
        [code] => Ok(vec![format(*code)?; columns]),
        codes if codes.len() == columns => codes.iter().map(|code| format(*code)).collect(),
        codes => Err(Diagnostic::new(
            SqlState::PROTOCOL_VIOLATION,
            format!("bind message has {} format codes but {columns} values", codes.len()),
        )),
    }
}

/// The formats where the client has not said any.
#[must_use]
pub fn default_formats(columns: usize, binary: bool) -> Vec<Format> {
    vec![if binary { Format::Binary } else { Format::Text }; columns]
}

/// The array type of an element type.
#[must_use]
pub fn array_oid(element: u32) -> Option<u32> {
    ARRAYS.iter().find(|(e, _)| *e == element).map(|(_, array)| *array)
}

/// The element type of an array type.
#[must_use]
pub fn element_oid(array: u32) -> Option<u32> {
    ARRAYS.iter().find(|(_, a)| *a == array).map(|(element, _)| *element)
}

/// The type of a result column.
pub fn field_oid(field: &Field) -> Result<u32, Diagnostic> {
    match field.metadata().get(TYPE_KEY).map(String::as_str) {
        Some("json") => return Ok(oid::JSON),
        Some("jsonb") => return Ok(oid::JSONB),
        _ => {}
    }
    if field.metadata().contains_key(VARCHAR_KEY) {
        return Ok(oid::VARCHAR);
    }
    match field.data_type() {
        // Arrays of arrays have the type of an array in PostgreSQL.
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            let item = field_oid(item)?;
            let array = if element_oid(item).is_some() { Some(item) } else { array_oid(item) };
            array.ok_or_else(|| unsupported(field.data_type()))
        }
        data_type => data_type_oid(data_type),
    }
}

/// The type of a value whose field is not known.
pub fn data_type_oid(data_type: &DataType) -> Result<u32, Diagnostic> {
    Ok(match data_type {
        DataType::Boolean => oid::BOOL,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => oid::INT2,
        DataType::Int32 | DataType::UInt16 => oid::INT4,
        DataType::Int64 | DataType::UInt32 => oid::INT8,
        DataType::Float32 => oid::FLOAT4,
        DataType::Float64 => oid::FLOAT8,
        DataType::UInt64
        | DataType::Decimal32(_, _)
        | DataType::Decimal64(_, _)
        | DataType::Decimal128(_, _)
        | DataType::Decimal256(_, _) => oid::NUMERIC,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => oid::TEXT,
        DataType::FixedSizeBinary(16) => oid::UUID,
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => oid::BYTEA,
        DataType::Date32 | DataType::Date64 => oid::DATE,
        DataType::Time32(_) | DataType::Time64(_) => oid::TIME,
        DataType::Timestamp(_, None) => oid::TIMESTAMP,
        DataType::Timestamp(_, Some(_)) => oid::TIMESTAMPTZ,
        DataType::Interval(_) | DataType::Duration(_) => oid::INTERVAL,
        DataType::Dictionary(_, values) => data_type_oid(values)?,
        DataType::Struct(_) => oid::RECORD,
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _) => {
            field_oid(&Field::new("", data_type.clone(), true))?
        }
        other => return Err(unsupported(other)),
    })
}

/// Whether a client's declaration decides anything.
#[must_use]
pub fn is_declaration(declared: u32) -> bool {
    declared != 0 && declared != oid::UNKNOWN
}

/// The Arrow type of a parameter that the client declared; `None`: infer it.
pub fn parameter_type(declared: u32) -> Result<Option<DataType>, Diagnostic> {
    if !is_declaration(declared) {
        return Ok(None);
    }
    if let Some(element) = element_oid(declared) {
        let item = scalar_type(element)?;
        return Ok(Some(DataType::new_list(item, true)));
    }
    scalar_type(declared).map(Some)
}

/// The Arrow type of a type that is no array.
pub fn scalar_type(scalar: u32) -> Result<DataType, Diagnostic> {
    Ok(match scalar {
        oid::BOOL => DataType::Boolean,
        oid::INT2 => DataType::Int16,
        oid::INT4 => DataType::Int32,
        oid::INT8 | oid::OID => DataType::Int64,
        oid::FLOAT4 => DataType::Float32,
        oid::FLOAT8 => DataType::Float64,
        oid::NUMERIC => DataType::Decimal128(38, 10),
        oid::TEXT
        | oid::VARCHAR
        | oid::BPCHAR
        | oid::NAME
        | oid::JSON
        | oid::JSONB
        | oid::UNKNOWN => DataType::Utf8View,
        oid::BYTEA => DataType::BinaryView,
        oid::UUID => DataType::FixedSizeBinary(16),
        oid::DATE => DataType::Date32,
        oid::TIME => DataType::Time64(TimeUnit::Microsecond),
        oid::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        oid::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        oid::INTERVAL => DataType::Interval(IntervalUnit::MonthDayNano),
        other => {
            return Err(Diagnostic::unsupported(format!(
                "parameters of the type with OID {other} are not supported"
            ))
            .with_hint("Declare the parameter as text, or let the server infer its type."));
        }
    })
}

/// The columns of a result; `formats` are per column, or empty: text.
pub fn row_description(schema: &Schema, formats: &[Format]) -> Result<RowDescription, Diagnostic> {
    let describe = |(index, field): (usize, &std::sync::Arc<Field>)| {
        let type_id = field_oid(field)?;
        // A NUL would end the name, and with it the message, too early.
        let name = field.name().replace('\0', "");
        let format = formats.get(index).copied().unwrap_or_default().code();
        let (size, modifier) = (type_size(type_id), type_modifier(field));
        let field = FieldDescription::new(name, 0, 0, type_id, size, modifier, format);
        Ok::<_, Diagnostic>(field)
    };
    let fields = schema.fields().iter().enumerate().map(describe).collect::<Result<_, _>>()?;
    Ok(RowDescription::new(fields))
}

/// Bytes of a value; -1: they vary.
fn type_size(type_id: u32) -> i16 {
    match type_id {
        oid::BOOL => 1,
        oid::INT2 => 2,
        oid::INT4 | oid::FLOAT4 | oid::DATE | oid::OID => 4,
        oid::INT8 | oid::FLOAT8 | oid::TIME | oid::TIMESTAMP | oid::TIMESTAMPTZ => 8,
        oid::INTERVAL | oid::UUID => 16,
        _ => -1,
    }
}

/// The length of a varchar and the precision and scale of a numeric, coded as
/// PostgreSQL does; -1: there is none.
fn type_modifier(field: &Field) -> i32 {
    const HEADER: i32 = 4;
    if let Some(length) = field.metadata().get(VARCHAR_KEY) {
        return length.parse().map_or(-1, |length: i32| length.saturating_add(HEADER));
    }
    match field.data_type() {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            // The scale has eleven bits.
            ((i32::from(*precision) << 16) | (i32::from(*scale) & 0x7ff)) + HEADER
        }
        _ => -1,
    }
}

fn unsupported(data_type: &DataType) -> Diagnostic {
    Diagnostic::unsupported(format!("columns of type {data_type} cannot be sent to a client"))
        .with_hint("Cast the column to text.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn describes_numeric_and_varchar_with_their_modifiers() {
        let varchar = Field::new("v", DataType::Utf8View, true)
            .with_metadata([(VARCHAR_KEY.to_owned(), "10".to_owned())].into());
        let schema = Schema::new(vec![
            Field::new("n", DataType::Decimal128(12, 2), true),
            varchar,
            Field::new("l", DataType::new_list(DataType::Int64, true), true),
            Field::new("d\0", DataType::Date32, true),
        ]);
        let description = row_description(&schema, &[Format::Binary; 4]).unwrap();
        let of = |f: &FieldDescription| (f.type_id, f.type_size, f.type_modifier, f.format_code);
        let fields: Vec<_> = description.fields.iter().map(of).collect();
        // As PostgreSQL describes numeric(12,2), varchar(10), bigint[] and date.
        assert_eq!(
            fields,
            [(1700, -1, 786_438, 1), (1043, -1, 14, 1), (1016, -1, -1, 1), (1082, 4, -1, 1)]
        );
        assert_eq!(description.fields[3].name, "d");
    }

    #[test]
    fn parameters_are_inferred_or_declared() {
        assert_eq!(parameter_type(0).unwrap(), None);
        assert_eq!(parameter_type(705).unwrap(), None);
        assert_eq!(parameter_type(23).unwrap(), Some(DataType::Int32));
        let list = parameter_type(1016).unwrap();
        assert_eq!(list, Some(DataType::new_list(DataType::Int64, true)));
        let error = parameter_type(600).unwrap_err();
        assert_eq!(error.state, SqlState::FEATURE_NOT_SUPPORTED);
    }

    #[test]
    fn formats_spread_over_columns() {
        assert_eq!(formats(&[], 2).unwrap(), [Format::Text; 2]);
        assert_eq!(formats(&[1], 2).unwrap(), [Format::Binary; 2]);
        assert_eq!(formats(&[0, 1], 2).unwrap(), [Format::Text, Format::Binary]);
        assert!(formats(&[0, 1, 1], 2).is_err());
        assert!(formats(&[2], 1).is_err());
    }
}
