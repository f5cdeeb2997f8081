//! The slow twin: keeps every row, looks at every window, computes every result
//! from scratch.

use std::collections::BTreeMap;

use arrow::array::{Array, Decimal128Array, Float64Array, TimestampMicrosecondArray};
use arrow::util::display::array_value_to_string;
use tidemill_types::plan::EmitMode;
use tidemill_types::{WATERMARK_NONE, WindowSpec};

use super::super::super::Counters;
use super::rows::{Row, Setting, batch, float, text};

/// Results by (window end, key): what a view over the pipeline would hold.
pub(super) type View = BTreeMap<(i64, Vec<String>), Vec<String>>;

/// What the calls above give for rows, as text.
pub(super) fn twin_results(rows: &[&Row]) -> Vec<String> {
    let all: Vec<i64> = rows.iter().filter_map(|r| r.v).collect();
    let filtered: Vec<i64> =
        rows.iter().filter(|r| r.filter == Some(true)).filter_map(|r| r.v).collect();
    let or_null = |empty: bool, text: String| if empty { String::new() } else { text };
    let (n, nf) = (all.is_empty(), filtered.is_empty());
    let sum: i64 = all.iter().sum();
    let sum_filtered: i64 = filtered.iter().sum();
    let average = |shift: u32| {
        if n {
            return String::new();
        }
        let scaled = i128::from(sum) * 10i128.pow(shift);
        let count = all.len() as i128;
        let (quotient, rest) = (scaled / count, scaled % count);
        let rounded = quotient + if rest.abs() * 2 >= count { rest.signum() } else { 0 };
        decimal(rounded, 10)
    };
    vec![
        rows.len().to_string(),
        filtered.len().to_string(),
        or_null(n, sum.to_string()),
        or_null(nf, (i128::from(sum_filtered) << 40).to_string()),
        or_null(n, show(Float64Array::from(vec![float(sum)]))),
        or_null(n, decimal(i128::from(sum), 2)),
        average(10),
        or_null(nf, show(Float64Array::from(vec![float(sum_filtered) / nf_count(&filtered)]))),
        average(8),
        all.iter().min().map_or(String::new(), |v| (v << 40).to_string()),
        all.iter().max().map_or(String::new(), |v| show(Float64Array::from(vec![float(*v)]))),
        filtered.iter().map(|v| text(*v)).min().unwrap_or_default(),
        all.iter().max().map_or(String::new(), |v| decimal(i128::from(*v), 2)),
        rows.iter().filter_map(|r| r.ts).max().map_or(String::new(), |ts| {
            show(TimestampMicrosecondArray::from(vec![ts]).with_timezone("UTC"))
        }),
    ]
}

pub(super) fn nf_count(values: &[i64]) -> f64 {
    values.len() as f64
}

pub(super) fn show(array: impl Array + 'static) -> String {
    array_value_to_string(&array, 0).unwrap()
}

pub(super) fn decimal(unscaled: i128, scale: i8) -> String {
    let array = Decimal128Array::from(vec![unscaled]).with_precision_and_scale(38, scale).unwrap();
    show(array)
}

/// What the twin makes of all rows so far.
#[derive(Default)]
pub(super) struct Twin {
    pub(super) rows: Vec<Row>,
}

impl Twin {
    /// Ends of all windows that contain `ts`, by trying every one near it.
    fn windows(spec: &WindowSpec, ts: i64) -> Vec<i64> {
        let first = (ts - spec.size - spec.offset) / spec.slide - 2;
        let last = (ts - spec.offset) / spec.slide + 2;
        (first..=last)
            .map(|k| k * spec.slide + spec.offset)
            .filter(|start| *start <= ts && ts < start + spec.size)
            .map(|start| start + spec.size)
            .collect()
    }

    fn open_windows(setting: &Setting, row: &Row) -> Vec<i64> {
        let (Some(spec), Some(ts)) = (&setting.window, row.ts) else {
            return Vec::new();
        };
        let mut ends = Self::windows(spec, ts);
        ends.retain(|end| {
            row.watermark == WATERMARK_NONE || end + setting.lateness > row.watermark
        });
        ends
    }

    pub(super) fn view(&self, setting: &Setting, closed: Option<i64>) -> View {
        let mut groups: BTreeMap<(i64, Vec<String>), Vec<&Row>> = BTreeMap::new();
        if setting.window.is_none() && setting.group.is_empty() {
            groups.insert((0, vec![]), vec![]);
        }
        for row in &self.rows {
            let key = key_of(setting, row);
            let ends =
                if setting.window.is_some() { Self::open_windows(setting, row) } else { vec![0] };
            for end in ends {
                groups.entry((end, key.clone())).or_default().push(row);
            }
        }
        if setting.emit == EmitMode::OnWindowClose {
            groups.retain(|(end, _), _| closed.is_some_and(|closed| *end <= closed));
        }
        groups.into_iter().map(|(key, rows)| (key, twin_results(&rows))).collect()
    }

    pub(super) fn counters(&self, setting: &Setting) -> Counters {
        let mut c = Counters::default();
        let spec = setting.window.unwrap();
        for row in &self.rows {
            c.rows_in += 1;
            let Some(ts) = row.ts else {
                c.null_time += 1;
                continue;
            };
            let all = Self::windows(&spec, ts).len();
            let open = Self::open_windows(setting, row).len();
            c.late_window_rows += (all - open) as u64;
            if all > 0 && open == 0 {
                c.late_rows += 1;
            } else {
                c.admitted += 1;
                c.rows_out += u64::from(all > 0);
            }
        }
        c
    }
}

pub(super) fn key_of(setting: &Setting, row: &Row) -> Vec<String> {
    let one = batch(std::slice::from_ref(row));
    let text = |c: &usize| {
        let column = one.column(*c);
        if column.is_null(0) { String::new() } else { array_value_to_string(column, 0).unwrap() }
    };
    setting.group.iter().map(text).collect()
}
