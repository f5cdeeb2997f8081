//! Functions that DataFusion lacks or spells otherwise: PostgreSQL's `to_char`
//! over timestamps, and those of other dialects that pasted queries use.
//!
//! | function | meaning |
//! |---|---|
//! | `mod(a, b)` | `a % b` |
//! | `year .. second(ts)` | that field of a timestamp, bigint |
//! | `to_char(ts, 'YYYY-MM-DD HH24:MI:SS')` | PostgreSQL's patterns |
//! | `date_format(ts, 'yyyy-MM-dd HH:mm:ss')` | Java's patterns |
//! | `split_index(text, separator, i)` | field `i`, counted from 0; NULL where there is none |
//! | `count_char(text, c)` | how often `c` occurs |
//! | `regexp_extract(text, pattern, i)` | group `i` of the first match, 0 for all of it |
//! | `round(x)`, `round(x, places)` | PostgreSQL's rounding |
//! | `pg_typeof(x)` | the name of the value's type |
//! | `format_type(oid, modifier)` | PostgreSQL's name of a type, as clients look it up |
//! | `repeat`, `lpad`, `rpad` | DataFusion's, with a limit of the result's size |

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringViewArray};
use arrow::compute::{DatePart, cast, date_part};
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use chrono::{DateTime, Utc};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarFunctionImplementation, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility, create_udf,
};
use sqlparser::tokenizer::Span;
use tidemill_types::SqlState;

use crate::error::PlanError;

mod bounded;
mod format_type;
mod modulo;
mod pattern;
mod regexp;
mod round;
mod type_of;

use pattern::{Pattern, Style};

const TEXT: DataType = DataType::Utf8View;

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// All of them.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    let mut functions: Vec<ScalarUDF> = [
        ("year", DatePart::Year),
        ("quarter", DatePart::Quarter),
        ("month", DatePart::Month),
        ("week", DatePart::Week),
        ("dayofyear", DatePart::DayOfYear),
        ("dayofmonth", DatePart::Day),
        ("hour", DatePart::Hour),
        ("minute", DatePart::Minute),
        ("second", DatePart::Second),
    ]
    .into_iter()
    .map(|(name, part)| {
        over_arrays(name, vec![timestamp()], DataType::Int64, move |a| {
            Ok(cast(&date_part(&a[0], part)?, &DataType::Int64)?)
        })
    })
    .collect();
    functions.extend([
        formatter("to_char", Style::PostgreSql),
        formatter("date_format", Style::Java),
        over_arrays("split_index", vec![TEXT, TEXT, DataType::Int64], TEXT, split_index),
        over_arrays("count_char", vec![TEXT, TEXT], DataType::Int64, count_char),
        modulo::modulo(),
        regexp::regexp_extract(),
        round::round(),
        type_of::pg_typeof(),
        format_type::format_type(),
        ScalarUDF::from(Proctime::new()),
    ]);
    functions.extend(bounded::bounded());
    functions.into_iter().map(Arc::new).collect()
}

/// An immutable function of whole columns; constants are spread out.
fn over_arrays(
    name: &str,
    arguments: Vec<DataType>,
    result: DataType,
    f: impl Fn(&[ArrayRef]) -> Result<ArrayRef> + Send + Sync + 'static,
) -> ScalarUDF {
    let implementation: ScalarFunctionImplementation = Arc::new(move |args: &[ColumnarValue]| {
        let all_constant = args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let result = f(&ColumnarValue::values_to_arrays(args)?)?;
        Ok(if all_constant {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?)
        } else {
            ColumnarValue::Array(result)
        })
    });
    create_udf(name, arguments, result, Volatility::Immutable, implementation)
}

fn split_index(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (text, separator) = (args[0].as_string_view(), args[1].as_string_view());
    let index: &Int64Array = args[2].as_primitive::<Int64Type>();
    let fields = text.iter().zip(separator).zip(index).map(|((t, s), i)| {
        let index = usize::try_from(i?).ok()?;
        t?.split(s?).nth(index)
    });
    Ok(Arc::new(fields.collect::<StringViewArray>()))
}

fn count_char(args: &[ArrayRef]) -> Result<ArrayRef> {
    let (text, sought) = (args[0].as_string_view(), args[1].as_string_view());
    let counts = text.iter().zip(sought).map(|(t, s)| {
        let (t, s) = (t?, s?);
        Some(if s.is_empty() { 0 } else { t.matches(s).count() as i64 })
    });
    Ok(Arc::new(counts.collect::<Int64Array>()))
}

/// A function of a timestamp and a pattern; a constant pattern is read once a batch.
fn formatter(name: &str, style: Style) -> ScalarUDF {
    let implementation: ScalarFunctionImplementation = Arc::new(move |args: &[ColumnarValue]| {
        let rows = args
            .iter()
            .find_map(|a| match a {
                ColumnarValue::Array(array) => Some(array.len()),
                ColumnarValue::Scalar(_) => None,
            })
            .unwrap_or(1);
        let times = args[0].to_array(rows)?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let texts: StringViewArray = match &args[1] {
            ColumnarValue::Scalar(pattern) => match pattern.try_as_str().flatten() {
                Some(text) => {
                    let pattern = Pattern::read(text, style)?;
                    times.iter().map(|t| Some(pattern.format(moment(t?)?))).collect()
                }
                None => StringViewArray::new_null(rows),
            },
            ColumnarValue::Array(patterns) => {
                let mut texts = Vec::with_capacity(rows);
                for (time, text) in times.iter().zip(patterns.as_string_view()) {
                    texts.push(match (time.and_then(moment), text) {
                        (Some(m), Some(text)) => Some(Pattern::read(text, style)?.format(m)),
                        _ => None,
                    });
                }
                texts.into_iter().collect()
            }
        };
        Ok(if args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_))) {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&texts, 0)?)
        } else {
            ColumnarValue::Array(Arc::new(texts))
        })
    });
    create_udf(name, vec![timestamp(), TEXT], TEXT, Volatility::Immutable, implementation)
}

fn moment(us: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(us)
}

/// `PROCTIME()`: known, so that the refusal says what is the matter.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Proctime {
    signature: Signature,
}

impl Proctime {
    fn new() -> Self {
        Proctime { signature: Signature::nullary(Volatility::Volatile) }
    }
}

impl ScalarUDFImpl for Proctime {
    fn name(&self) -> &str {
        "proctime"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        let message = "PROCTIME() is not supported";
        Err(PlanError::invalid(SqlState::FEATURE_NOT_SUPPORTED, message, Span::empty())
            .with_hint("Use the event time of the source.")
            .into())
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(ScalarValue::Null))
    }
}
