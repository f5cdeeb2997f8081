//! A connector's own columns against the columns that a user declares.
//!
//! A user may declare a wider or narrower number than the connector has, or a
//! timestamp with time zone (UTC) for one without. Nothing else is converted:
//! a declaration that needs a real conversion is a mistake or belongs in a query.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, StructArray,
};
use arrow::compute::{CastOptions, FilterBuilder, cast_with_options};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use arrow::error::ArrowError;

use tidemill_types::names;

/// Whether values of `own` can be delivered as `declared`; single values may still
/// be out of range.
#[must_use]
pub fn convertible(own: &DataType, declared: &DataType) -> bool {
    match (own, declared) {
        _ if own == declared => true,
        (DataType::Timestamp(_, _), DataType::Timestamp(TimeUnit::Microsecond, _)) => true,
        (DataType::Struct(own), DataType::Struct(declared)) => {
            own.len() == declared.len()
                && own.iter().zip(declared).all(|(own, declared)| {
                    names::same(own.name(), declared.name())
                        && declared.is_nullable()
                        && lossless(own.data_type(), declared.data_type())
                })
        }
        _ => own.is_numeric() && declared.is_numeric(),
    }
}

/// As [`convertible`], without values that could be out of range: within a
/// composite value there is no row to reject.
fn lossless(own: &DataType, declared: &DataType) -> bool {
    let wider = matches!(
        (own, declared),
        (DataType::Int32, DataType::Int64)
            | (DataType::Timestamp(..), DataType::Timestamp(TimeUnit::Microsecond, _))
    );
    own == declared || wider
}

/// Values as another type; a value that does not fit becomes null.
pub fn convert(array: &ArrayRef, target: &DataType) -> Result<ArrayRef, ArrowError> {
    if let (DataType::Struct(_), DataType::Struct(fields)) = (array.data_type(), target) {
        let own = array.as_struct();
        let children = own.columns().iter().zip(fields);
        let children = children.map(|(child, field)| convert(child, field.data_type()));
        let children = children.collect::<Result<Vec<_>, _>>()?;
        let nulls = own.nulls().cloned();
        let converted =
            StructArray::try_new_with_length(fields.clone(), children, nulls, own.len())?;
        return Ok(Arc::new(converted));
    }
    cast_with_options(array, target, &CastOptions { safe: true, ..CastOptions::default() })
}

/// A batch of `count` rows; only those that `keep` has set, where it is given. The
/// rows left out may break the schema's NOT NULL.
pub fn batch(
    schema: &SchemaRef,
    arrays: Vec<ArrayRef>,
    count: usize,
    keep: Option<BooleanArray>,
) -> Result<RecordBatch, ArrowError> {
    let (arrays, count) = match keep {
        None => (arrays, count),
        Some(keep) => {
            let predicate = FilterBuilder::new(&keep).optimize().build();
            let kept = arrays.iter().map(|array| predicate.filter(array));
            (kept.collect::<Result<_, _>>()?, predicate.count())
        }
    };
    let options = RecordBatchOptions::new().with_row_count(Some(count));
    RecordBatch::try_new_with_options(schema.clone(), arrays, &options)
}

/// A type as SQL spells it.
#[must_use]
pub fn sql_name(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::Boolean => "boolean",
        DataType::Int16 => "smallint",
        DataType::Int32 => "int",
        DataType::Int64 => "bigint",
        DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "bytea",
        DataType::FixedSizeBinary(16) => "uuid",
        DataType::Date32 => "date",
        DataType::Time64(_) => "time",
        DataType::Timestamp(_, None) => "timestamp",
        DataType::Timestamp(_, Some(_)) => "timestamptz",
        DataType::Interval(_) => "interval",
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            return format!("numeric({precision}, {scale})");
        }
        DataType::List(field) => return format!("{}[]", sql_name(field.data_type())),
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|f| format!("{} {}", f.name(), sql_name(f.data_type())));
            return format!("({})", fields.collect::<Vec<_>>().join(", "));
        }
        other => return other.to_string(),
    };
    name.to_string()
}
