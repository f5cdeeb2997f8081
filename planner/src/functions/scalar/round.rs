//! `round(x)` and `round(x, places)`.
//!
//! | argument | result | halves |
//! |---|---|---|
//! | integer, real, double precision | double precision | to even |
//! | numeric | numeric without fraction | away from zero |
//! | integer or numeric, places | numeric with so many digits | away from zero |
//! | real or double precision, places | double precision | away from zero |
//!
//! The last is not PostgreSQL's: queries from elsewhere have it. Negative places
//! round to tens. Where the places are not a constant, a numeric keeps its scale.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType,
    Decimal128Type, Decimal256Type, DecimalType, Field, FieldRef, Float64Type, Int64Type, i256,
};
use datafusion::common::{DataFusionError, Result, ScalarValue, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use tidemill_types::{Diagnostic, SqlState};

use crate::error::PlanError;
use crate::types_sql::pg_type_name;

/// More places than any type has; what is beyond rounds to nothing or not at all.
const PLACES_MAX: i64 = 1_000;

pub(super) fn round() -> ScalarUDF {
    ScalarUDF::from(Round {
        of_double: datafusion::functions::math::round(),
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Round {
    /// Rounds a double precision to places.
    of_double: Arc<ScalarUDF>,
    signature: Signature,
}

impl ScalarUDFImpl for Round {
    fn name(&self) -> &str {
        "round"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let undefined = || {
            let names: Vec<_> = arg_types.iter().map(pg_type_name).collect();
            DataFusionError::from(PlanError::UndefinedFunction {
                signature: format!("round({})", names.join(", ")),
                at: None,
                hint: Some("It needs a number, and perhaps an integer.".to_owned()),
            })
        };
        match arg_types {
            [x] => Ok(vec![single(x).ok_or_else(undefined)?]),
            [x, places] if places.is_integer() || places.is_null() => {
                let x = with_places(x).ok_or_else(undefined)?;
                // A constant must stay one for the result's type: it is not cast.
                let places = match (&x, places) {
                    (DataType::Decimal128(..) | DataType::Decimal256(..), p) if p.is_integer() => {
                        p.clone()
                    }
                    _ => DataType::Int32,
                };
                Ok(vec![x, places])
            }
            _ => Err(undefined()),
        }
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        internal_err!("round has a type for its arguments only")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let places = match args.scalar_arguments.get(1) {
            None => Some(0),
            Some(None) => None,
            Some(Some(constant)) => match constant.cast_to(&DataType::Int64)? {
                ScalarValue::Int64(places) => {
                    Some(places.unwrap_or(0).clamp(-PLACES_MAX, PLACES_MAX) as i32)
                }
                other => return internal_err!("round to {other} places"),
            },
        };
        let data_type = result_type(args.arg_fields[0].data_type(), places);
        let nullable = args.arg_fields.iter().any(|f| f.is_nullable());
        Ok(Arc::new(Field::new(self.name(), data_type, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let double = args.return_field.data_type() == &DataType::Float64;
        if double && args.args.len() == 2 {
            return self.of_double.invoke_with_args(args);
        }
        let constant = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let rounded = if double {
            let values = arrays[0].as_primitive::<Float64Type>();
            Arc::new(values.unary::<_, Float64Type>(f64::round_ties_even)) as ArrayRef
        } else {
            decimals(&arrays[0], arrays.get(1), args.return_field.data_type())?
        };
        Ok(match constant {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&rounded, 0)?),
            false => ColumnarValue::Array(rounded),
        })
    }
}

/// What `round(x)` reads its argument as.
fn single(given: &DataType) -> Option<DataType> {
    match given {
        DataType::Decimal128(..) | DataType::Decimal256(..) => Some(given.clone()),
        DataType::Null => Some(DataType::Float64),
        given if given.is_numeric() => Some(DataType::Float64),
        _ => None,
    }
}

/// What `round(x, places)` reads its first argument as.
fn with_places(given: &DataType) -> Option<DataType> {
    match given {
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => Some(DataType::Decimal128(5, 0)),
        DataType::Int32 | DataType::UInt16 => Some(DataType::Decimal128(10, 0)),
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 | DataType::Null => {
            Some(DataType::Decimal128(20, 0))
        }
        DataType::Decimal128(..) | DataType::Decimal256(..) => Some(given.clone()),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => Some(DataType::Float64),
        _ => None,
    }
}

/// `places`: unless it is not a constant.
fn result_type(argument: &DataType, places: Option<i32>) -> DataType {
    let (precision, scale, most) = match argument {
        DataType::Decimal128(p, s) => (*p, *s, DECIMAL128_MAX_PRECISION),
        DataType::Decimal256(p, s) => (*p, *s, DECIMAL256_MAX_PRECISION),
        _ => return DataType::Float64,
    };
    let scale_out = places.map_or(i32::from(scale), |n| n.clamp(0, i32::from(most)));
    // Rounding up may need one digit more: 9.9 is 10.
    let digits = (i32::from(precision) - i32::from(scale)).max(0) + 1 + scale_out;
    let (digits, scale_out) = (digits.clamp(1, i32::from(most)) as u8, scale_out as i8);
    match argument {
        DataType::Decimal256(..) => DataType::Decimal256(digits, scale_out),
        _ => DataType::Decimal128(digits, scale_out),
    }
}

fn decimals(values: &ArrayRef, places: Option<&ArrayRef>, to: &DataType) -> Result<ArrayRef> {
    let places = places.map(|p| cast(p, &DataType::Int64)).transpose()?;
    let places = places.as_ref().map(|p| p.as_primitive::<Int64Type>());
    match (values.data_type(), to) {
        (DataType::Decimal128(_, from), DataType::Decimal128(precision, scale)) => {
            let values = values.as_primitive::<Decimal128Type>();
            each(values, places, (*precision, *scale), |v, n| round_i128(v, *from, n, *scale))
        }
        (DataType::Decimal256(_, from), DataType::Decimal256(precision, scale)) => {
            let values = values.as_primitive::<Decimal256Type>();
            each(values, places, (*precision, *scale), |v, n| round_i256(v, *from, n, *scale))
        }
        (from, to) => internal_err!("round from {from} to {to}"),
    }
}

fn each<T: DecimalType + ArrowPrimitiveType>(
    values: &PrimitiveArray<T>,
    places: Option<&PrimitiveArray<Int64Type>>,
    (precision, scale): (u8, i8),
    round: impl Fn(T::Native, i32) -> Option<T::Native>,
) -> Result<ArrayRef> {
    let rounded = (0..values.len()).map(|i| {
        let n = match places {
            Some(places) if places.is_null(i) => return Ok(None),
            Some(places) => places.value(i).clamp(-PLACES_MAX, PLACES_MAX) as i32,
            None => 0,
        };
        if values.is_null(i) {
            return Ok(None);
        }
        round(values.value(i), n)
            .filter(|v| T::validate_decimal_precision(*v, precision, scale).is_ok())
            .map(Some)
            .ok_or_else(|| {
                let message = "numeric value out of range";
                let state = SqlState::NUMERIC_VALUE_OUT_OF_RANGE;
                DataFusionError::External(Box::new(Diagnostic::new(state, message)))
            })
    });
    let rounded = rounded.collect::<Result<PrimitiveArray<T>>>()?;
    Ok(Arc::new(rounded.with_precision_and_scale(precision, scale)?))
}

/// `value` in units of `10^-from`, rounded to `places`, in units of `10^-to`.
fn round_i128(value: i128, from: i8, places: i32, to: i8) -> Option<i128> {
    let drop = i32::from(from).saturating_sub(places);
    if drop <= 0 {
        return value.checked_mul(10i128.checked_pow(u32::try_from(to - from).ok()?)?);
    }
    let Some(unit) = 10i128.checked_pow(drop.unsigned_abs()) else { return Some(0) };
    let (whole, rest) = (value / unit, value % unit);
    let away = if rest.abs() >= unit - rest.abs() { rest.signum() } else { 0 };
    let scale_up = u32::try_from(i32::from(to).saturating_sub(places)).ok()?;
    match whole + away {
        0 => Some(0),
        rounded => rounded.checked_mul(10i128.checked_pow(scale_up)?),
    }
}

/// As [`round_i128`].
fn round_i256(value: i256, from: i8, places: i32, to: i8) -> Option<i256> {
    let ten = i256::from_i128(10);
    let drop = i32::from(from).saturating_sub(places);
    if drop <= 0 {
        return value.checked_mul(ten.checked_pow(u32::try_from(to - from).ok()?)?);
    }
    let Some(unit) = ten.checked_pow(drop.unsigned_abs()) else { return Some(i256::ZERO) };
    let (whole, rest) = (value.checked_div(unit)?, value.checked_rem(unit)?);
    let size = if rest.is_negative() { rest.wrapping_neg() } else { rest };
    let away = match (size >= unit.wrapping_sub(size), rest.is_negative()) {
        (false, _) => i256::ZERO,
        (true, true) => i256::MINUS_ONE,
        (true, false) => i256::ONE,
    };
    let scale_up = u32::try_from(i32::from(to).saturating_sub(places)).ok()?;
    match whole.wrapping_add(away) {
        i256::ZERO => Some(i256::ZERO),
        rounded => rounded.checked_mul(ten.checked_pow(scale_up)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_away_from_zero() {
        for (value, from, places, to, expected) in [
            (25, 1, 0, 0, 3),
            (-25, 1, 0, 0, -3),
            (249, 2, 1, 1, 25),
            (155, 1, -1, 0, 20),
            (15, 1, 3, 3, 1_500),
            (1_234, 2, 1, 2, 1_230),
            (7, 0, -5, 0, 0),
            (7, 0, -99, 0, 0),
        ] {
            assert_eq!(round_i128(value, from, places, to), Some(expected), "{value}");
            let wide = round_i256(i256::from_i128(value), from, places, to);
            assert_eq!(wide, Some(i256::from_i128(expected)), "{value}");
        }
        assert_eq!(round_i128(i128::MAX, 0, 3, 3), None);
    }
}
