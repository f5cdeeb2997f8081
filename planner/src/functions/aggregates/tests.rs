//! Sums in groups against sums one by one, through partial states and at the
//! ends of the ranges.

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Decimal128Array, Float64Array, Int16Array, Int64Array,
};
use datafusion::logical_expr::EmitTo;

use super::*;

fn groups<T: number::Number>(function: AggregateFunction, input: &DataType) -> SumGroups<T> {
    SumGroups::new(function, input).unwrap()
}

#[test]
fn partial_states_merge_to_the_same_result() {
    let values: ArrayRef =
        Arc::new(Int64Array::from(vec![Some(7), None, Some(-2), Some(i64::MAX), Some(1), Some(1)]));
    let into = [0, 0, 1, 0, 2, 1];
    let filter =
        BooleanArray::from(vec![Some(true), Some(true), Some(true), Some(true), None, Some(true)]);
    for function in [AggregateFunction::Sum, AggregateFunction::Avg] {
        let new = || groups::<Int64Type>(function, &DataType::Int64);
        let mut whole = new();
        whole.update_batch(&[Arc::clone(&values)], &into, Some(&filter), 4).unwrap();
        let expected = whole.evaluate(EmitTo::All).unwrap();
        // Row by row as states, and in two halves.
        let states = new().convert_to_state(&[Arc::clone(&values)], Some(&filter)).unwrap();
        let mut merged = new();
        merged.merge_batch(&states, &into, 4).unwrap();
        assert_eq!(merged.evaluate(EmitTo::All).unwrap().as_ref(), expected.as_ref());
        // Group 2 had only a filtered row, group 3 none.
        assert!(expected.is_null(2) && expected.is_null(3));
    }
}

#[test]
fn averages_round_half_away_from_zero() {
    for (values, expected) in [(vec![1, 1, 0], 6_666_666_667), (vec![-1, -1, 0], -6_666_666_667)] {
        let mut avg = groups::<Int16Type>(AggregateFunction::Avg, &DataType::Int16);
        let values: ArrayRef = Arc::new(Int16Array::from(values));
        avg.update_batch(&[values], &[0, 0, 0], None, 1).unwrap();
        let result = avg.evaluate(EmitTo::All).unwrap();
        assert_eq!(result.as_primitive::<Decimal128Type>().value(0), expected);
    }
}

#[test]
fn float_sums_keep_what_would_be_lost() {
    let mut sum = groups::<Float64Type>(AggregateFunction::Sum, &DataType::Float64);
    let values: ArrayRef = Arc::new(Float64Array::from(vec![1e16, 1.0, 1.0, -1e16]));
    sum.update_batch(&[values], &[0; 4], None, 1).unwrap();
    let result = sum.evaluate(EmitTo::All).unwrap();
    assert_eq!(result.as_primitive::<Float64Type>().value(0), 2.0);
}

#[test]
fn a_sum_that_does_not_fit_is_an_error() {
    let type_ = DataType::Decimal128(38, 0);
    let mut sum = groups::<Decimal128Type>(AggregateFunction::Sum, &type_);
    let large = 9 * 10_i128.pow(37);
    let values: ArrayRef = Arc::new(
        Decimal128Array::from(vec![large, large]).with_precision_and_scale(38, 0).unwrap(),
    );
    // The running sum has room for it, and a later value may bring it back.
    sum.update_batch(&[Arc::clone(&values)], &[0, 0], None, 1).unwrap();
    let error = PlanError::from(sum.clone().evaluate(EmitTo::All).unwrap_err());
    assert_eq!(error.state().code(), "22003");
    let back: ArrayRef =
        Arc::new(Decimal128Array::from(vec![-large]).with_precision_and_scale(38, 0).unwrap());
    sum.update_batch(&[back], &[0], None, 1).unwrap();
    let result = sum.evaluate(EmitTo::All).unwrap();
    assert_eq!(result.as_primitive::<Decimal128Type>().value(0), large);
}
