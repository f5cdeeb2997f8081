//! The window functions of batch plans: which windows contain a timestamp.
//!
//! Only [`crate::rules::expand_windows`] makes calls of them; their names cannot
//! be written by a user, since they begin with the reserved prefix.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayBuilder, ArrayRef, AsArray, Int64Builder, ListArray, PrimitiveArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int64Type, TimestampMicrosecondType};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use sqlparser::tokenizer::Span;
use tidemill_types::{SqlState, WindowSpec};

use crate::error::PlanError;

/// Windows that the rows of one batch may be in together: 256 MiB of timestamps,
/// which no account of memory covers.
const LIST_ENTRIES_MAX: i64 = 32 << 20;

/// `_tm_window_start(ts, size, slide, offset)`: where the tumbling window begins.
pub(crate) fn window_start() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Windows::new("_tm_window_start", false)))
}

/// `_tm_window_list(ts, size, slide, offset)`: where all windows begin.
pub(crate) fn window_list() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Windows::new("_tm_window_list", true)))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Windows {
    name: &'static str,
    list: bool,
    signature: Signature,
}

impl Windows {
    fn new(name: &'static str, list: bool) -> Self {
        Windows { name, list, signature: Signature::any(4, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Windows {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(if self.list {
            DataType::List(Arc::new(Field::new_list_field(arg_types[0].clone(), true)))
        } else {
            arg_types[0].clone()
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let window = WindowSpec::hop(
            microseconds(&args.args[1])?,
            microseconds(&args.args[2])?,
            microseconds(&args.args[3])?,
        );
        let times = args.args[0].to_array(args.number_rows)?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let entries = window.windows_per_row().saturating_mul(times.len() as i64);
        if self.list && entries > LIST_ENTRIES_MAX {
            let message = format!("{} rows are in {entries} windows", times.len());
            return Err(PlanError::invalid(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                message,
                Span::empty(),
            )
            .with_hint("A SELECT holds the windows of a batch of rows at once: hop less often.")
            .into());
        }
        Ok(ColumnarValue::Array(if self.list {
            lists(times, &window)
        } else {
            starts(times, &window)
        }))
    }
}

fn microseconds(argument: &ColumnarValue) -> Result<i64> {
    match argument {
        ColumnarValue::Scalar(ScalarValue::Int64(Some(us))) => Ok(*us),
        ColumnarValue::Array(column) if !column.is_empty() => {
            match column.as_primitive_opt::<Int64Type>() {
                Some(values) => Ok(values.value(0)),
                None => internal_err!("a window's length is no integer"),
            }
        }
        _ => internal_err!("a window's length is no constant"),
    }
}

fn starts(times: &TimestampMicrosecondArray, window: &WindowSpec) -> ArrayRef {
    let starts: TimestampMicrosecondArray =
        times.unary(|ts| window.window_start(window.latest_window_end(window.slice_end(ts))));
    Arc::new(starts.with_timezone_opt(zone(times)))
}

fn lists(times: &TimestampMicrosecondArray, window: &WindowSpec) -> ArrayRef {
    let mut values = Int64Builder::with_capacity(times.len());
    let mut lengths = Vec::with_capacity(times.len());
    for ts in times {
        let before = values.len();
        if let Some(ts) = ts {
            let slice_end = window.slice_end(ts);
            let last = window.latest_window_end(slice_end);
            let mut end = window.earliest_window_end(slice_end);
            while end <= last {
                values.append_value(window.window_start(end));
                match end.checked_add(window.slide) {
                    Some(next) => end = next,
                    None => break,
                }
            }
        }
        lengths.push(values.len() - before);
    }
    let starts: PrimitiveArray<TimestampMicrosecondType> = values.finish().reinterpret_cast();
    let starts = starts.with_timezone_opt(zone(times));
    let item = Arc::new(Field::new_list_field(starts.data_type().clone(), true));
    Arc::new(ListArray::new(item, OffsetBuffer::from_lengths(lengths), Arc::new(starts), None))
}

fn zone(times: &TimestampMicrosecondArray) -> Option<Arc<str>> {
    match times.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    }
}
