//! Both encodings against Arrow's own comparisons, on random rows of every type.

use std::cmp::Ordering;

use arrow::array::make_comparator;
use arrow::array::{Array, ArrayRef, AsArray, Float32Array, Float64Array};
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::samples::{choose, column, key_types, value_types};
use super::*;

fn columns(rng: &mut StdRng, types: &[DataType], rows: usize) -> Vec<ArrayRef> {
    types.iter().map(|t| column(rng, t, rows)).collect()
}

/// What a key keeps of a column: one zero, one NaN.
fn canonical(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Float32 => {
            let floats = column.as_primitive::<Float32Type>();
            let one = |v: f32| if v.is_nan() { f32::NAN } else { v + 0.0 };
            std::sync::Arc::new(floats.unary::<_, Float32Type>(one)) as ArrayRef
        }
        DataType::Float64 => {
            let floats = column.as_primitive::<Float64Type>();
            let one = |v: f64| if v.is_nan() { f64::NAN } else { v + 0.0 };
            std::sync::Arc::new(floats.unary::<_, Float64Type>(one)) as ArrayRef
        }
        _ => ArrayRef::clone(column),
    }
}

fn same(left: &[ArrayRef], right: &[ArrayRef]) {
    assert_eq!(left.len(), right.len());
    for (left, right) in left.iter().zip(right) {
        assert_eq!(left.data_type(), right.data_type());
        assert_eq!(left.to_data(), right.to_data());
        right.to_data().validate_full().unwrap();
    }
}

/// Floats as bits, so that every NaN counts.
fn bits(columns: &[ArrayRef]) -> Vec<String> {
    let of = |c: &ArrayRef| match c.data_type() {
        DataType::Float32 => {
            format!(
                "{:?}",
                c.as_primitive::<Float32Type>()
                    .iter()
                    .map(|v| v.map(f32::to_bits))
                    .collect::<Vec<_>>()
            )
        }
        DataType::Float64 => {
            format!(
                "{:?}",
                c.as_primitive::<Float64Type>()
                    .iter()
                    .map(|v| v.map(f64::to_bits))
                    .collect::<Vec<_>>()
            )
        }
        _ => String::new(),
    };
    columns.iter().map(of).collect()
}

#[test]
fn keys_sort_as_rows_and_come_back() {
    let all = key_types();
    for seed in 0..300 {
        let mut rng = StdRng::seed_from_u64(seed);
        let types = if seed < all.len() as u64 {
            vec![all[seed as usize].clone()]
        } else {
            choose(&mut rng, &all, 0..5)
        };
        let rows = rng.random_range(0..40);
        let columns = columns(&mut rng, &types, rows);
        let codec = KeyCodec::new(&types).unwrap();
        let mut encoded = EncodedRows::default();
        codec.encode(&columns, rows, &mut encoded).unwrap();
        assert_eq!(encoded.len(), rows);

        let canonical: Vec<_> = columns.iter().map(canonical).collect();
        let options = SortOptions { descending: false, nulls_first: true };
        let comparators: Vec<_> =
            canonical.iter().map(|c| make_comparator(c, c, options).unwrap()).collect();
        for i in 0..rows {
            for j in 0..rows {
                let order = comparators.iter().map(|c| c(i, j)).find(|o| o.is_ne());
                let order = order.unwrap_or(Ordering::Equal);
                let (left, right) = (encoded.row(i), encoded.row(j));
                assert_eq!(left.cmp(right), order, "seed {seed}, rows {i} and {j} of {types:?}");
                assert!(order.is_eq() || !left.starts_with(right), "seed {seed}");
            }
        }
        let slices: Vec<_> = encoded.iter().collect();
        let decoded = codec.decode(&slices).unwrap();
        same(&decoded, &canonical);
        assert_eq!(bits(&decoded), bits(&canonical));
    }
}

#[test]
fn values_come_back() {
    let all = value_types();
    for seed in 0..400 {
        let mut rng = StdRng::seed_from_u64(seed);
        let types = if seed < all.len() as u64 {
            vec![all[seed as usize].clone()]
        } else {
            choose(&mut rng, &all, 0..20)
        };
        let rows = rng.random_range(0..50);
        let columns = columns(&mut rng, &types, rows);
        let codec = ValueCodec::new(&types).unwrap();
        let mut encoded = EncodedRows::default();
        codec.encode(&columns, rows, &mut encoded).unwrap();
        let slices: Vec<_> = encoded.iter().collect();
        let decoded = codec.decode(&slices).unwrap();
        same(&decoded, &columns);
        assert_eq!(bits(&decoded), bits(&columns));
    }
}

/// Damage gives an error or other values, and those can be encoded again.
#[test]
fn damaged_bytes_do_no_harm() {
    for seed in 0..600 {
        let mut rng = StdRng::seed_from_u64(seed);
        let key = seed % 2 == 0;
        let types = choose(&mut rng, &if key { key_types() } else { value_types() }, 0..5);
        let columns = columns(&mut rng, &types, 5);
        let mut encoded = EncodedRows::default();
        let (keys, values) = (KeyCodec::new(&types), ValueCodec::new(&types).unwrap());
        match &keys {
            Ok(codec) if key => codec.encode(&columns, 5, &mut encoded).unwrap(),
            _ => values.encode(&columns, 5, &mut encoded).unwrap(),
        }
        for _ in 0..50 {
            let mut damaged: Vec<Vec<u8>> = encoded.iter().map(<[u8]>::to_vec).collect();
            for row in &mut damaged {
                match rng.random_range(0..4) {
                    0 => row.truncate(rng.random_range(0..=row.len())),
                    1 => row.extend((0..rng.random_range(0..4)).map(|_| rng.random::<u8>())),
                    2 => {
                        let at = rng.random_range(0..row.len());
                        row[at] = rng.random();
                    }
                    _ => {}
                }
            }
            let slices: Vec<_> = damaged.iter().map(Vec::as_slice).collect();
            let decoded = match &keys {
                Ok(codec) if key => codec.decode(&slices),
                _ => values.decode(&slices),
            };
            if let Ok(columns) = decoded {
                assert_eq!(columns.len(), types.len());
                values.encode(&columns, 5, &mut EncodedRows::default()).unwrap();
            }
        }
    }
}

#[test]
fn versions_are_checked() {
    let (keys, values) = (KeyCodec::new(&[]).unwrap(), ValueCodec::new(&[]).unwrap());
    assert_eq!(keys.decode(&[&[1], &[1]]).unwrap().len(), 0);
    for damaged in [&[][..], &[0], &[2], &[1, 0]] {
        assert!(matches!(keys.decode(&[damaged]), Err(StateError::Damaged(_))));
        assert!(matches!(values.decode(&[damaged]), Err(StateError::Damaged(_))));
    }
}

#[test]
fn wrong_columns_and_types_are_errors() {
    let codec = KeyCodec::new(&[DataType::Float64]).unwrap();
    let narrow: ArrayRef = std::sync::Arc::new(Float32Array::from(vec![1.0]));
    let wide: ArrayRef = std::sync::Arc::new(Float64Array::from(vec![1.0]));
    let mut out = EncodedRows::default();
    for columns in [vec![], vec![narrow], vec![ArrayRef::clone(&wide), wide]] {
        let error = codec.encode(&columns, 1, &mut out).unwrap_err();
        assert!(matches!(error, StateError::Columns { .. }));
    }
    let list = DataType::new_list(DataType::Int64, true);
    for unsupported in [DataType::UInt64, DataType::Date64, list.clone(), DataType::Null] {
        assert!(KeyCodec::new(std::slice::from_ref(&unsupported)).is_err());
        let error = ValueCodec::new(std::slice::from_ref(&unsupported));
        assert_eq!(error.is_err(), unsupported != list);
    }
    assert!(
        ValueCodec::new(&[DataType::Struct(Vec::<arrow::datatypes::Field>::new().into())]).is_err()
    );
}
