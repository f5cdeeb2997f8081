//! Random settings and rows.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int16Array, Int32Array,
    Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use rand::Rng;
use rand::rngs::SmallRng;
use tidemill_types::plan::{
    Aggregate, AggregateCall, AggregateFunction as F, AggregateWindow, EmitMode,
};
use tidemill_types::{WindowSpec, hidden};

/// A row of the input, and what its split had promised before it.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) ts: Option<i64>,
    pub(super) watermark: i64,
    pub(super) k1: Option<i64>,
    pub(super) k2: Option<i64>,
    pub(super) v: Option<i64>,
    pub(super) filter: Option<bool>,
}

/// Positions of the input's columns.
pub(super) const TIME: usize = 0;
pub(super) const WATERMARK: usize = 1;
pub(super) const V16: usize = 2;
pub(super) const V32: usize = 3;
pub(super) const V64: usize = 4;
pub(super) const FLOAT: usize = 5;
pub(super) const NUMERIC: usize = 6;
pub(super) const TEXT: usize = 7;
pub(super) const FILTER: usize = 8;
/// Key columns, each of another type, made from `k1`; then one from `k2`.
pub(super) const KEYS: usize = 9;
pub(super) const KEY_TYPES: usize = 5;
pub(super) const KEY2: usize = KEYS + KEY_TYPES;

pub(super) fn batch(rows: &[Row]) -> RecordBatch {
    let v = || rows.iter().map(|r| r.v);
    let k = || rows.iter().map(|r| r.k1);
    let columns: Vec<(&str, ArrayRef)> = vec![
        (
            "ts",
            Arc::new(
                rows.iter()
                    .map(|r| r.ts)
                    .collect::<TimestampMicrosecondArray>()
                    .with_timezone("UTC"),
            ),
        ),
        (
            hidden::ROW_WATERMARK,
            Arc::new(rows.iter().map(|r| Some(r.watermark)).collect::<Int64Array>()),
        ),
        ("v16", Arc::new(v().map(|v| v.map(|v| v as i16)).collect::<Int16Array>())),
        ("v32", Arc::new(v().map(|v| v.map(|v| v as i32)).collect::<Int32Array>())),
        ("v64", Arc::new(v().map(|v| v.map(|v| v << 40)).collect::<Int64Array>())),
        ("float", Arc::new(v().map(|v| v.map(float)).collect::<Float64Array>())),
        ("numeric", Arc::new(numeric(v()))),
        ("text", Arc::new(v().map(|v| v.map(text)).collect::<StringViewArray>())),
        ("filter", Arc::new(rows.iter().map(|r| r.filter).collect::<BooleanArray>())),
        ("k_int", Arc::new(k().map(|k| k.map(|k| k as i32)).collect::<Int32Array>())),
        ("k_bigint", Arc::new(k().collect::<Int64Array>())),
        ("k_text", Arc::new(k().map(|k| k.map(text)).collect::<StringViewArray>())),
        ("k_float", Arc::new(k().map(|k| k.map(float)).collect::<Float64Array>())),
        ("k_numeric", Arc::new(numeric(k()))),
        ("k2", Arc::new(rows.iter().map(|r| r.k2).collect::<Int64Array>())),
    ];
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, column)| Field::new(*name, column.data_type().clone(), true))
        .collect();
    let columns = columns.into_iter().map(|(_, column)| column).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// Exact in binary, so that sums are the same in any order.
pub(super) fn float(v: i64) -> f64 {
    v as f64 * 0.25
}

pub(super) fn text(v: i64) -> String {
    format!("{}{v}", if v % 2 == 0 { "a text that is longer than twelve bytes " } else { "x" })
}

pub(super) fn numeric(values: impl Iterator<Item = Option<i64>>) -> Decimal128Array {
    values
        .map(|v| v.map(i128::from))
        .collect::<Decimal128Array>()
        .with_precision_and_scale(10, 2)
        .unwrap()
}

pub(super) fn call(function: F, argument: Option<usize>, filter: bool) -> AggregateCall {
    let schema = batch(&[]).schema();
    let input_type = argument.map_or(DataType::Null, |a| schema.field(a).data_type().clone());
    AggregateCall {
        function,
        argument,
        filter: filter.then_some(FILTER),
        output_type: function.output_type(&input_type).unwrap(),
        input_type,
        output_name: "out".into(),
    }
}

pub(super) fn calls() -> Vec<AggregateCall> {
    vec![
        call(F::Count, None, false),
        call(F::Count, Some(V16), true),
        call(F::Sum, Some(V16), false),
        call(F::Sum, Some(V64), true),
        call(F::Sum, Some(FLOAT), false),
        call(F::Sum, Some(NUMERIC), false),
        call(F::Avg, Some(V32), false),
        call(F::Avg, Some(FLOAT), true),
        call(F::Avg, Some(NUMERIC), false),
        call(F::Min, Some(V64), false),
        call(F::Max, Some(FLOAT), false),
        call(F::Min, Some(TEXT), true),
        call(F::Max, Some(NUMERIC), false),
        call(F::Max, Some(TIME), false),
    ]
}

/// One random setting.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) window: Option<WindowSpec>,
    pub(super) lateness: i64,
    pub(super) emit: EmitMode,
    pub(super) group: Vec<usize>,
    pub(super) workers: u32,
    pub(super) batch_rows: usize,
}

impl Setting {
    pub(super) fn local(&self) -> Aggregate {
        let columns = batch(&[]).num_columns();
        Aggregate {
            group: self.group.clone(),
            window: self.window.map(|spec| AggregateWindow {
                spec,
                slice_end_column: columns,
                first_window_end_column: columns + 1,
                time_type: DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                watermark_slot: 0,
                allowed_lateness: self.lateness,
            }),
            calls: calls(),
            emit: self.emit,
        }
    }
}

pub(super) fn random_setting(rng: &mut SmallRng) -> Setting {
    let windows = [(10, 10), (10, 5), (12, 3), (3, 10), (7, 2), (6, 4)];
    let window = (rng.random_range(0..4) > 0).then(|| {
        let (size, slide) = windows[rng.random_range(0..windows.len())];
        WindowSpec::hop(size, slide, rng.random_range(0..3))
    });
    let key = KEYS + rng.random_range(0..KEY_TYPES);
    let other = KEYS + rng.random_range(0..KEY_TYPES);
    let groups = [vec![], vec![key], vec![key], vec![key, KEY2], vec![KEY2, key, other]];
    Setting {
        emit: if window.is_some() && rng.random() {
            EmitMode::OnWindowClose
        } else {
            EmitMode::OnUpdate
        },
        window,
        lateness: [0, 0, 4][rng.random_range(0..3)],
        group: groups[rng.random_range(0..groups.len())].clone(),
        workers: rng.random_range(1..=3),
        batch_rows: [1, 3, 7, 64][rng.random_range(0..4)],
    }
}

/// A split's rows: time moves on with jumps back and, rarely, far ahead.
pub(super) struct Split {
    pub(super) now: i64,
    pub(super) delay: i64,
    pub(super) watermark: i64,
}

impl Split {
    pub(super) fn rows(&mut self, rng: &mut SmallRng, keys: i64) -> Vec<Row> {
        let count = rng.random_range(0..40);
        (0..count)
            .map(|_| {
                self.now += match rng.random_range(0..60) {
                    0 => 200,
                    1..20 => 1,
                    _ => 0,
                };
                let ts = (rng.random_range(0..40) > 0)
                    .then(|| self.now - rng.random_range(0..=self.delay * 2));
                let maybe = |rng: &mut SmallRng, v: i64| (rng.random_range(0..8) > 0).then_some(v);
                let k1 = rng.random_range(0..keys);
                let (k2, v) = (rng.random_range(0..3), rng.random_range(-500..500));
                let row = Row {
                    ts,
                    watermark: self.watermark,
                    k1: maybe(rng, k1),
                    k2: maybe(rng, k2),
                    v: maybe(rng, v),
                    filter: [Some(true), Some(false), None][rng.random_range(0..3)],
                };
                if let Some(ts) = ts {
                    self.watermark = self.watermark.max(ts - self.delay);
                }
                row
            })
            .collect()
    }
}
