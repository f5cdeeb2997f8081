//! Casts whose result differs from Arrow's.
//!
//! | from | to | rule |
//! |---|---|---|
//! | numeric | integers | rounded, half away from zero |
//! | real, double precision | integers | rounded, half to even |
//! | a wider integer | a narrower one | as it is |
//! | text | date, time, timestamp, timestamptz, interval | PostgreSQL's spellings |
//!
//! What does not fit is 22003, 22008 or 22015; text that is no time 22007. After
//! types are final, such a cast becomes a call of a function, one per target.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, PrimitiveBuilder, StringViewArray,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Field, FieldRef, Float32Type,
    Float64Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, i256,
};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, DataFusionError, Result, internal_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility, cast,
};
use tidemill_types::text::{Fault, datetime, interval};
use tidemill_types::{Diagnostic, SqlState};

use crate::types_sql::{pg_type_name, timestamp};

const PREFIX: &str = "_tm_cast_";
const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// A type that has a function of its own, its name behind [`PREFIX`] and
/// PostgreSQL's name in messages.
struct Target {
    name: &'static str,
    data_type: DataType,
    shown: &'static str,
}

static FUNCTIONS: LazyLock<Vec<Arc<ScalarUDF>>> = LazyLock::new(|| {
    [
        ("_tm_cast_int2", DataType::Int16, "smallint"),
        ("_tm_cast_int4", DataType::Int32, "integer"),
        ("_tm_cast_int8", DataType::Int64, "bigint"),
        ("_tm_cast_date", DataType::Date32, "date"),
        ("_tm_cast_time", DataType::Time64(TimeUnit::Microsecond), "time"),
        ("_tm_cast_timestamp", timestamp(false), "timestamp"),
        ("_tm_cast_timestamptz", timestamp(true), "timestamp with time zone"),
        ("_tm_cast_interval", INTERVAL, "interval"),
    ]
    .into_iter()
    .map(|(name, data_type, shown)| {
        debug_assert!(name.starts_with(PREFIX));
        let signature = Signature::user_defined(Volatility::Immutable);
        Arc::new(ScalarUDF::from(CastTo { target: Target { name, data_type, shown }, signature }))
    })
    .collect()
});

/// The functions that stand for casts.
pub(super) fn functions() -> impl Iterator<Item = Arc<ScalarUDF>> {
    FUNCTIONS.iter().cloned()
}

/// The type that the function of this name casts to.
pub(super) fn cast_of(function: &str) -> Option<DataType> {
    if !function.starts_with(PREFIX) {
        return None;
    }
    FUNCTIONS.iter().find(|f| f.name() == function)?.return_type(&[]).ok()
}

fn function_to(data_type: &DataType) -> Option<Arc<ScalarUDF>> {
    FUNCTIONS.iter().find(|f| f.return_type(&[]).is_ok_and(|t| t == *data_type)).cloned()
}

/// Replaces a cast.
pub(super) fn check(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::Cast(inner) = &expr else { return Ok(Transformed::no(expr)) };
    let wanted = inner.field.data_type().clone();
    // DataFusion compares text with a timestamp in nanoseconds.
    let target = match &wanted {
        DataType::Timestamp(_, zone) => timestamp(zone.is_some()),
        other => other.clone(),
    };
    let Some(function) = function_to(&target) else { return Ok(Transformed::no(expr)) };
    // An integer constant stays one: some functions' types depend on it.
    if let Expr::Literal(constant, _) = inner.expr.as_ref()
        && constant.data_type().is_integer()
        && wanted.is_integer()
        && let Ok(narrow) = constant.cast_to(&wanted)
    {
        return Ok(Transformed::yes(Expr::Literal(narrow, None)));
    }
    match inner.expr.get_type(schema) {
        Ok(given) if is_ours(&given, &target) => {}
        _ => return Ok(Transformed::no(expr)),
    }
    let argument = inner.expr.as_ref().clone();
    let call = Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![argument]));
    Ok(Transformed::yes(if target == wanted { call } else { cast(call, wanted) }))
}

fn is_ours(from: &DataType, to: &DataType) -> bool {
    let text = matches!(from, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    if !to.is_signed_integer() {
        return text;
    }
    match from {
        DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => true,
        from if from.is_signed_integer() => from.primitive_width() > to.primitive_width(),
        _ => false,
    }
}

struct CastTo {
    target: Target,
    signature: Signature,
}

impl std::fmt::Debug for CastTo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.target.name)
    }
}

impl PartialEq for CastTo {
    fn eq(&self, other: &Self) -> bool {
        self.target.name == other.target.name
    }
}

impl Eq for CastTo {}

impl std::hash::Hash for CastTo {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.target.name.hash(state);
    }
}

impl ScalarUDFImpl for CastTo {
    fn name(&self) -> &str {
        self.target.name
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [argument] => {
                Ok(format!("CAST({argument} AS {})", pg_type_name(&self.target.data_type)))
            }
            _ => internal_err!("{} of {} arguments", self.name(), args.len()),
        }
    }

    /// As that of a cast: its operand's.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [argument] => Ok(argument.schema_name().to_string()),
            _ => internal_err!("{} of {} arguments", self.name(), args.len()),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(arg_types.to_vec())
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(self.target.data_type.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|f| f.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.target.data_type.clone(), nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        super::over_arrays(&args.args, |arrays| match arrays {
            [array] => self.cast(array),
            _ => internal_err!("{} of {} arguments", self.name(), arrays.len()),
        })
    }
}

impl CastTo {
    fn cast(&self, array: &ArrayRef) -> Result<ArrayRef> {
        match &self.target.data_type {
            DataType::Int16 => self.to_integers::<Int16Type>(array),
            DataType::Int32 => self.to_integers::<Int32Type>(array),
            DataType::Int64 => self.to_integers::<Int64Type>(array),
            DataType::Date32 => self.read::<Date32Type>(array, datetime::date),
            DataType::Time64(_) => self.read::<Time64MicrosecondType>(array, datetime::time),
            DataType::Timestamp(_, None) => {
                self.read::<TimestampMicrosecondType>(array, datetime::timestamp)
            }
            DataType::Timestamp(_, Some(_)) => {
                self.read::<TimestampMicrosecondType>(array, datetime::timestamptz)
            }
            DataType::Interval(_) => self.read::<IntervalMonthDayNanoType>(array, read_interval),
            other => internal_err!("a cast to {other}"),
        }
    }

    fn read<T: ArrowPrimitiveType>(
        &self,
        array: &ArrayRef,
        read: fn(&[u8]) -> Result<T::Native, Fault>,
    ) -> Result<ArrayRef> {
        let texts = arrow::compute::cast(array, &DataType::Utf8View)?;
        let texts: &StringViewArray = texts.as_string_view();
        let mut values = PrimitiveBuilder::<T>::with_capacity(texts.len())
            .with_data_type(self.target.data_type.clone());
        for text in texts {
            match text {
                Some(text) => values.append_value(
                    read(text.as_bytes())
                        .map_err(|fault| thrown(fault.diagnostic(text, self.target.shown)))?,
                ),
                None => values.append_null(),
            }
        }
        Ok(Arc::new(values.finish()))
    }

    fn to_integers<T>(&self, array: &ArrayRef) -> Result<ArrayRef>
    where
        T: ArrowPrimitiveType<Native: TryFrom<i64>>,
    {
        let integers: PrimitiveArray<T> = match array.data_type() {
            DataType::Int32 => self.convert(array.as_primitive::<Int32Type>(), |v| Some(v.into())),
            DataType::Int64 => self.convert(array.as_primitive::<Int64Type>(), Some),
            DataType::Float32 => {
                self.convert(array.as_primitive::<Float32Type>(), |v| float_to_i64(v.into()))
            }
            DataType::Float64 => self.convert(array.as_primitive::<Float64Type>(), float_to_i64),
            DataType::Decimal128(_, scale) => self
                .convert(array.as_primitive::<Decimal128Type>(), |v| decimal128_to_i64(v, *scale)),
            DataType::Decimal256(_, scale) => self
                .convert(array.as_primitive::<Decimal256Type>(), |v| decimal256_to_i64(v, *scale)),
            other => internal_err!("a cast of {other}"),
        }?;
        Ok(Arc::new(integers))
    }

    fn convert<F: ArrowPrimitiveType, T: ArrowPrimitiveType<Native: TryFrom<i64>>>(
        &self,
        array: &PrimitiveArray<F>,
        wide: impl Fn(F::Native) -> Option<i64>,
    ) -> Result<PrimitiveArray<T>> {
        array.try_unary(|value| {
            wide(value).and_then(|v| v.try_into().ok()).ok_or_else(|| {
                thrown(Diagnostic::new(
                    SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
                    format!("{} out of range", self.target.shown),
                ))
            })
        })
    }
}

fn thrown(diagnostic: Diagnostic) -> DataFusionError {
    DataFusionError::External(Box::new(diagnostic))
}

fn read_interval(
    text: &[u8],
) -> Result<<IntervalMonthDayNanoType as ArrowPrimitiveType>::Native, Fault> {
    let text = std::str::from_utf8(text).map_err(|_| Fault::Syntax)?;
    let read = interval::interval(text, None)?;
    let nanoseconds = read.micros.checked_mul(1_000).ok_or(Fault::Range)?;
    Ok(IntervalMonthDayNanoType::make_value(read.months, read.days, nanoseconds))
}

/// Rounded half to even; `None`: NaN or too large.
fn float_to_i64(value: f64) -> Option<i64> {
    let rounded = value.round_ties_even();
    // -2^63 is a double, 2^63 - 1 is not.
    let least = i64::MIN as f64;
    (rounded >= least && rounded < -least).then_some(rounded as i64)
}

/// Rounded half away from zero.
fn decimal128_to_i64(value: i128, scale: i8) -> Option<i64> {
    let unit = 10i128.checked_pow(u32::from(scale.unsigned_abs()))?;
    if scale < 0 {
        return value.checked_mul(unit)?.try_into().ok();
    }
    let (whole, rest) = (value / unit, value % unit);
    let away = if rest.abs() >= unit - rest.abs() { rest.signum() } else { 0 };
    (whole + away).try_into().ok()
}

fn decimal256_to_i64(value: i256, scale: i8) -> Option<i64> {
    let unit = i256::from_i128(10).checked_pow(u32::from(scale.unsigned_abs()))?;
    if scale < 0 {
        return value.checked_mul(unit)?.to_i128()?.try_into().ok();
    }
    let (whole, rest) = (value.checked_div(unit)?, value.checked_rem(unit)?);
    let size = if rest.is_negative() { rest.wrapping_neg() } else { rest };
    let away = match (size >= unit.wrapping_sub(size), rest.is_negative()) {
        (false, _) => 0,
        (true, true) => -1,
        (true, false) => 1,
    };
    (whole.to_i128()? + away).try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding() {
        for (value, expected) in [(25, 3), (-25, -3), (24, 2), (-24, -2), (35, 4), (0, 0), (5, 1)] {
            assert_eq!(decimal128_to_i64(value, 1), Some(expected), "{value}");
            assert_eq!(decimal256_to_i64(i256::from_i128(value), 1), Some(expected), "{value}");
        }
        assert_eq!(decimal128_to_i64(i128::MAX, 38), Some(2));
        assert_eq!(decimal128_to_i64(i128::MAX, 0), None);
        assert_eq!(decimal128_to_i64(7, -2), Some(700));
        for (value, expected) in [(2.5, 2), (-2.5, -2), (3.5, 4), (-0.5, 0), (2.6, 3)] {
            assert_eq!(float_to_i64(value), Some(expected), "{value}");
        }
        assert_eq!(float_to_i64(-9_223_372_036_854_775_808.0), Some(i64::MIN));
        for value in [9_223_372_036_854_775_808.0, f64::NAN, f64::INFINITY, -1e19] {
            assert_eq!(float_to_i64(value), None, "{value}");
        }
    }
}
