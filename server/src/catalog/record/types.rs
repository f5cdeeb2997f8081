//! Types of columns as they are stored.
//!
//! Arrow's own serialized forms may change with its versions; this one is ours.
//! It has the types that columns of this server can have, and refuses others.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field as ArrowField, IntervalUnit, Schema, SchemaRef, TimeUnit};
use prost::{Enumeration, Message};

use super::RecordError;

#[derive(Clone, PartialEq, Message)]
pub struct Field {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub data_type: Option<Type>,
    #[prost(bool, tag = "3")]
    pub nullable: bool,
    #[prost(btree_map = "string, string", tag = "4")]
    pub metadata: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Type {
    #[prost(enumeration = "TypeKind", tag = "1")]
    pub kind: i32,
    /// Of decimals; the width of byte strings of fixed width.
    #[prost(uint32, tag = "2")]
    pub precision: u32,
    #[prost(sint32, tag = "3")]
    pub scale: i32,
    /// Of timestamps with a time zone.
    #[prost(string, optional, tag = "4")]
    pub zone: Option<String>,
    /// The element of a list, the fields of a struct.
    #[prost(message, repeated, tag = "5")]
    pub children: Vec<Field>,
}

/// Numbers are never reused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enumeration)]
#[repr(i32)]
pub enum TypeKind {
    Unspecified = 0,
    Null = 1,
    Boolean = 2,
    Int8 = 3,
    Int16 = 4,
    Int32 = 5,
    Int64 = 6,
    UInt8 = 7,
    UInt16 = 8,
    UInt32 = 9,
    UInt64 = 10,
    Float32 = 11,
    Float64 = 12,
    Decimal128 = 13,
    Decimal256 = 14,
    Utf8 = 15,
    Utf8View = 16,
    Binary = 17,
    BinaryView = 18,
    FixedSizeBinary = 19,
    Date = 20,
    /// Microseconds, as the following.
    Time = 21,
    Timestamp = 22,
    /// Months, days, nanoseconds.
    Interval = 23,
    List = 24,
    Struct = 25,
}

/// Types without parameters, both ways.
const PLAIN: &[(TypeKind, DataType)] = &[
    (TypeKind::Null, DataType::Null),
    (TypeKind::Boolean, DataType::Boolean),
    (TypeKind::Int8, DataType::Int8),
    (TypeKind::Int16, DataType::Int16),
    (TypeKind::Int32, DataType::Int32),
    (TypeKind::Int64, DataType::Int64),
    (TypeKind::UInt8, DataType::UInt8),
    (TypeKind::UInt16, DataType::UInt16),
    (TypeKind::UInt32, DataType::UInt32),
    (TypeKind::UInt64, DataType::UInt64),
    (TypeKind::Float32, DataType::Float32),
    (TypeKind::Float64, DataType::Float64),
    (TypeKind::Utf8, DataType::Utf8),
    (TypeKind::Utf8View, DataType::Utf8View),
    (TypeKind::Binary, DataType::Binary),
    (TypeKind::BinaryView, DataType::BinaryView),
    (TypeKind::Date, DataType::Date32),
    (TypeKind::Time, DataType::Time64(TimeUnit::Microsecond)),
    (TypeKind::Interval, DataType::Interval(IntervalUnit::MonthDayNano)),
];

/// Nested types go no deeper; damaged bytes must not exhaust the stack.
const DEPTH_MAX: usize = 32;

pub(super) fn fields(schema: &Schema) -> Result<Vec<Field>, RecordError> {
    schema.fields().iter().map(|f| field(f)).collect()
}

pub(super) fn field(field: &ArrowField) -> Result<Field, RecordError> {
    Ok(Field {
        name: field.name().clone(),
        data_type: Some(data_type(field.data_type())?),
        nullable: field.is_nullable(),
        metadata: field.metadata().iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
    })
}

pub(super) fn data_type(of: &DataType) -> Result<Type, RecordError> {
    if let Some((kind, _)) = PLAIN.iter().find(|(_, plain)| plain == of) {
        return Ok(Type { kind: *kind as i32, ..Type::default() });
    }
    let decimal = |kind: TypeKind, precision: u8, scale: i8| Type {
        kind: kind as i32,
        precision: u32::from(precision),
        scale: i32::from(scale),
        ..Type::default()
    };
    Ok(match of {
        DataType::Decimal128(p, s) => decimal(TypeKind::Decimal128, *p, *s),
        DataType::Decimal256(p, s) => decimal(TypeKind::Decimal256, *p, *s),
        DataType::FixedSizeBinary(width) if *width >= 0 => Type {
            kind: TypeKind::FixedSizeBinary as i32,
            precision: width.unsigned_abs(),
            ..Type::default()
        },
        DataType::Timestamp(TimeUnit::Microsecond, zone) => Type {
            kind: TypeKind::Timestamp as i32,
            zone: zone.as_ref().map(|z| z.as_ref().to_owned()),
            ..Type::default()
        },
        DataType::List(element) => {
            Type { kind: TypeKind::List as i32, children: vec![field(element)?], ..Type::default() }
        }
        DataType::Struct(fields) => Type {
            kind: TypeKind::Struct as i32,
            children: fields.iter().map(|f| field(f)).collect::<Result<_, _>>()?,
            ..Type::default()
        },
        other => return Err(RecordError::Unsupported(other.clone())),
    })
}

pub(super) fn to_schema(fields: Vec<Field>) -> Result<SchemaRef, RecordError> {
    let fields = fields.into_iter().map(to_field).collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(Schema::new(fields)))
}

pub(super) fn to_field(field: Field) -> Result<ArrowField, RecordError> {
    field_at(field, 0)
}

pub(super) fn to_type(data_type: Type) -> Result<DataType, RecordError> {
    type_at(data_type, 0)
}

fn field_at(field: Field, depth: usize) -> Result<ArrowField, RecordError> {
    let data_type = field.data_type.ok_or(RecordError::Invalid("a column without a type"))?;
    let data_type = type_at(data_type, depth)?;
    let metadata = field.metadata.into_iter().collect();
    Ok(ArrowField::new(field.name, data_type, field.nullable).with_metadata(metadata))
}

fn type_at(data_type: Type, depth: usize) -> Result<DataType, RecordError> {
    let invalid = RecordError::Invalid("a column's type");
    if depth > DEPTH_MAX {
        return Err(invalid);
    }
    let kind = TypeKind::try_from(data_type.kind)
        .map_err(|_| RecordError::Invalid("a column of an unknown type"))?;
    if let Some((_, plain)) = PLAIN.iter().find(|(known, _)| *known == kind) {
        return Ok(plain.clone());
    }
    let children = data_type.children.into_iter().map(|child| field_at(child, depth + 1));
    let mut children = children.collect::<Result<Vec<_>, _>>()?;
    let decimal = |precision_max: u8| {
        let precision = u8::try_from(data_type.precision).ok();
        let precision = precision.filter(|p| (1..=precision_max).contains(p));
        precision.zip(i8::try_from(data_type.scale).ok())
    };
    let found = match kind {
        TypeKind::Decimal128 => decimal(38).map(|(p, s)| DataType::Decimal128(p, s)),
        TypeKind::Decimal256 => decimal(76).map(|(p, s)| DataType::Decimal256(p, s)),
        TypeKind::FixedSizeBinary => {
            i32::try_from(data_type.precision).ok().map(DataType::FixedSizeBinary)
        }
        TypeKind::Timestamp => {
            let zone = data_type.zone.map(Arc::from);
            Some(DataType::Timestamp(TimeUnit::Microsecond, zone))
        }
        TypeKind::List if children.len() == 1 => {
            children.pop().map(|element| DataType::List(Arc::new(element)))
        }
        TypeKind::Struct => Some(DataType::Struct(children.into())),
        _ => None,
    };
    found.ok_or(invalid)
}
