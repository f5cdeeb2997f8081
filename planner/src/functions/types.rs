//! SQL type names to Arrow types, for casts and literals in queries: the same
//! mapping as for declared columns; and back into the mapping where a function of
//! DataFusion's leaves it.

use arrow::datatypes::{DataType as ArrowType, Field, FieldRef, IntervalUnit, TimeUnit};
use datafusion::common::Result;
use datafusion::logical_expr::planner::TypePlanner;
use sqlparser::ast::DataType;

/// Answers DataFusion's binder from [`crate::types_sql`].
#[derive(Debug, Default)]
pub struct SqlTypePlanner;

impl TypePlanner for SqlTypePlanner {
    fn plan_type_field(&self, sql_type: &DataType) -> Result<Option<FieldRef>> {
        let data_type = crate::types_sql::arrow_type(sql_type)?;
        Ok(Some(Field::new("", data_type, true).into()))
    }
}

/// The type of the mapping that stands for an Arrow type outside of it; `None`:
/// it is inside, or has no counterpart.
#[must_use]
pub fn canonical_type(data_type: &ArrowType) -> Option<ArrowType> {
    Some(match data_type {
        ArrowType::Utf8 | ArrowType::LargeUtf8 | ArrowType::Null => ArrowType::Utf8View,
        ArrowType::Binary | ArrowType::LargeBinary => ArrowType::BinaryView,
        ArrowType::Int8 | ArrowType::UInt8 => ArrowType::Int16,
        ArrowType::UInt16 => ArrowType::Int32,
        ArrowType::UInt32 | ArrowType::UInt64 => ArrowType::Int64,
        ArrowType::Float16 => ArrowType::Float32,
        ArrowType::Decimal32(p, s) | ArrowType::Decimal64(p, s) => ArrowType::Decimal128(*p, *s),
        ArrowType::Timestamp(TimeUnit::Microsecond, None) => return None,
        ArrowType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == "UTC" => {
            return None;
        }
        ArrowType::Timestamp(_, zone) => {
            ArrowType::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| "UTC".into()))
        }
        ArrowType::Date64 => ArrowType::Timestamp(TimeUnit::Microsecond, None),
        ArrowType::Time32(_) | ArrowType::Time64(TimeUnit::Nanosecond) => {
            ArrowType::Time64(TimeUnit::Microsecond)
        }
        ArrowType::Duration(_)
        | ArrowType::Interval(IntervalUnit::YearMonth | IntervalUnit::DayTime) => {
            ArrowType::Interval(IntervalUnit::MonthDayNano)
        }
        ArrowType::Dictionary(_, values) => {
            canonical_type(values).unwrap_or_else(|| values.as_ref().clone())
        }
        _ => return None,
    })
}
