//! Kernels against sums and extremes done by hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    AsArray, Decimal128Array, Decimal256Array, Float32Array, Float64Array, Int32Array, Int64Array,
    StringViewArray,
};
use arrow::datatypes::i256;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::*;

fn call(function: AggregateFunction, input_type: DataType) -> AggregateCall {
    AggregateCall {
        function,
        argument: Some(0),
        filter: None,
        output_type: function.output_type(&input_type).unwrap(),
        input_type,
        output_name: "total".into(),
    }
}

/// An accumulator of one group that has taken `values`.
fn taken(function: AggregateFunction, values: ArrayRef) -> Box<dyn Accumulator> {
    try_take(function, values).unwrap()
}

fn try_take(
    function: AggregateFunction,
    values: ArrayRef,
) -> Result<Box<dyn Accumulator>, OperatorError> {
    let mut acc = accumulator(&call(function, values.data_type().clone())).unwrap();
    acc.resize(1);
    acc.update(Rows::all(&vec![0; values.len()]), Some(&values))?;
    Ok(acc)
}

fn result_f64(function: AggregateFunction, values: Vec<f64>) -> f64 {
    let acc = taken(function, Arc::new(Float64Array::from(values)));
    acc.result(&[0]).unwrap().as_primitive::<Float64Type>().value(0)
}

use AggregateFunction::{Avg, Count, Max, Min, Sum};

#[test]
fn a_sum_beyond_38_digits_is_out_of_range() {
    let largest = 10i128.pow(38) - 1;
    let states: Vec<ArrayRef> = vec![
        Arc::new(Decimal128Array::from(vec![largest, 1]).with_precision_and_scale(38, 0).unwrap()),
        Arc::new(Int64Array::from(vec![1, 1])),
    ];
    let mut acc = accumulator(&call(Sum, DataType::Int64)).unwrap();
    acc.resize(2);
    acc.merge(&[0, 1], &states).unwrap();
    let sums = acc.result(&[0, 1]).unwrap();
    assert_eq!(sums.as_primitive::<Decimal128Type>().values(), &[largest, 1]);
    acc.merge(&[0], &[states[0].slice(1, 1), states[1].slice(1, 1)]).unwrap();
    let error = acc.result(&[1, 0]).unwrap_err().diagnostic();
    assert_eq!(error.state, tidemill_types::SqlState::NUMERIC_VALUE_OUT_OF_RANGE);
    assert!(error.message.contains("\"total\""), "{}", error.message);
    assert_eq!(acc.result(&[1]).unwrap().len(), 1, "other groups still have their results");
}

#[test]
fn an_intermediate_excess_of_the_output_cancels() {
    let large = 10i128.pow(38) - 1;
    let values =
        Decimal128Array::from(vec![large, large, -large]).with_precision_and_scale(38, 0).unwrap();
    let acc = taken(Sum, Arc::new(values));
    assert_eq!(acc.result(&[0]).unwrap().as_primitive::<Decimal128Type>().value(0), large);
}

#[test]
fn a_sum_beyond_256_bits_is_out_of_range() {
    let large = i256::from_i128(10).wrapping_pow(76).wrapping_sub(i256::ONE);
    let values = Decimal256Array::from(vec![large; 6]).with_precision_and_scale(76, 0).unwrap();
    let error = try_take(Sum, Arc::new(values)).unwrap_err();
    assert!(matches!(error, OperatorError::OutOfRange { .. }));
}

#[test]
fn negative_rows_take_back() {
    let neg: BooleanBuffer = [false, false, true, false].into_iter().collect();
    let filter: BooleanBuffer = [true, true, true, false].into_iter().collect();
    let values: ArrayRef = Arc::new(Int32Array::from(vec![Some(7), None, Some(2), Some(100)]));
    let rows = Rows { slots: &[0, 0, 0, 0], filter: Some(&filter), neg: Some(&neg) };
    for (function, expected) in [(Sum, 5), (Count, 0)] {
        let mut acc = accumulator(&call(function, DataType::Int32)).unwrap();
        acc.resize(1);
        acc.update(rows, Some(&values)).unwrap();
        let mut state = Vec::new();
        acc.state(&[0], &mut state);
        assert_eq!(state[0].as_primitive::<Int64Type>().value(0), expected);
    }
    let mut count =
        accumulator(&AggregateCall { argument: None, ..call(Count, DataType::Int32) }).unwrap();
    count.resize(1);
    count.update(rows, None).unwrap();
    assert_eq!(count.result(&[0]).unwrap().as_primitive::<Int64Type>().value(0), 1);
    for function in [Min, Max] {
        let mut acc = accumulator(&call(function, DataType::Int32)).unwrap();
        acc.resize(1);
        assert!(matches!(acc.update(rows, Some(&values)), Err(OperatorError::Internal(_))));
    }
}

#[test]
fn float_sums_keep_what_rounding_loses() {
    assert_eq!(result_f64(Sum, vec![1.0, 1e100, 1.0, -1e100]), 2.0);
    let tenths = vec![0.1; 1_000_000];
    assert_eq!(result_f64(Sum, tenths), 100_000.0);
}

#[test]
fn infinity_is_a_result_only_if_it_was_an_input() {
    assert_eq!(result_f64(Sum, vec![1.0, f64::INFINITY, 2.0]), f64::INFINITY);
    assert!(result_f64(Sum, vec![f64::INFINITY, f64::NEG_INFINITY]).is_nan());
    assert!(result_f64(Avg, vec![f64::NAN, 1.0]).is_nan());
    let overflowing: ArrayRef = Arc::new(Float64Array::from(vec![f64::MAX, f64::MAX]));
    assert!(matches!(try_take(Sum, overflowing), Err(OperatorError::OutOfRange { .. })));
    let acc = taken(Sum, Arc::new(Float32Array::from(vec![f32::MAX, f32::MAX])));
    assert!(matches!(acc.result(&[0]), Err(OperatorError::OutOfRange { .. })));
}

#[test]
fn nan_is_the_largest_float() {
    let nan = -f64::NAN;
    assert!(result_f64(Max, vec![1.0, nan, f64::INFINITY]).is_nan());
    assert_eq!(result_f64(Min, vec![nan, 3.0, nan]), 3.0);
    assert_eq!(result_f64(Min, vec![0.0, -0.0]).to_bits(), (-0.0f64).to_bits());
    assert_eq!(result_f64(Max, vec![-0.0, 0.0]).to_bits(), 0);
}

#[test]
fn groups_without_values_are_null() {
    let nulls: ArrayRef = Arc::new(Int64Array::from(vec![None, None]));
    for function in [Sum, Avg, Min, Max] {
        let acc = taken(function, Arc::clone(&nulls));
        assert!(acc.result(&[0]).unwrap().is_null(0), "{function:?}");
    }
    let acc = taken(Count, nulls);
    assert_eq!(acc.result(&[0]).unwrap().as_primitive::<Int64Type>().value(0), 0);
}

/// Values of a type, from whole numbers.
fn column(input_type: &DataType, values: &[Option<i64>]) -> ArrayRef {
    let ints: ArrayRef = Arc::new(values.iter().copied().collect::<Int64Array>());
    match input_type {
        DataType::Utf8View => {
            let text = values.iter().map(|v| v.map(|v| format!("{v:020}")));
            Arc::new(text.collect::<StringViewArray>())
        }
        DataType::Int64 => ints,
        other => arrow::compute::cast(&ints, other).unwrap(),
    }
}

/// Random rows in random batches over several accumulators that are then merged,
/// against a map from slot to values.
#[test]
fn merged_partials_agree_with_a_map() {
    let types = [
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::Float32,
        DataType::Float64,
        DataType::Decimal128(12, 0),
        DataType::Decimal256(40, 0),
        DataType::Utf8View,
    ];
    for seed in 0..200u64 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let input_type = &types[(seed % 8) as usize];
        for function in [Count, Sum, Min, Max] {
            if function.output_type(input_type).is_none() {
                continue;
            }
            let call = call(function, input_type.clone());
            let mut twin: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
            let groups = rng.random_range(1..20u32);
            let mut whole = accumulator(&call).unwrap();
            whole.resize(groups as usize);
            let all: Vec<u32> = (0..groups).collect();
            for _ in 0..rng.random_range(0..5) {
                let mut part = accumulator(&call).unwrap();
                part.resize(groups as usize);
                let rows = rng.random_range(0..100);
                let slots: Vec<u32> = (0..rows).map(|_| rng.random_range(0..groups)).collect();
                let values: Vec<Option<i64>> = (0..rows)
                    .map(|_| rng.random_bool(0.9).then(|| rng.random_range(0..1000)))
                    .collect();
                for (slot, value) in slots.iter().zip(&values) {
                    twin.entry(*slot).or_default().extend(value);
                }
                part.update(Rows::all(&slots), Some(&column(input_type, &values))).unwrap();
                let mut states = Vec::new();
                part.state(&all, &mut states);
                whole.merge(&all, &states).unwrap();
            }
            let expected: Vec<Option<i64>> = all
                .iter()
                .map(|slot| {
                    let values = twin.get(slot).filter(|v| !v.is_empty());
                    match function {
                        Count => Some(values.map_or(0, |v| v.len() as i64)),
                        Sum => values.map(|v| v.iter().sum()),
                        Min => values.and_then(|v| v.iter().min().copied()),
                        _ => values.and_then(|v| v.iter().max().copied()),
                    }
                })
                .collect();
            let expected = column(&call.output_type, &expected);
            let got = whole.result(&all).unwrap();
            assert_eq!(&got, &expected, "seed {seed}, {function:?} of {input_type}");
        }
    }
}
