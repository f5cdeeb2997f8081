//! `sum` and `avg` with PostgreSQL's result types.
//!
//! | argument | running sum | sum | avg |
//! |---|---|---|---|
//! | smallint, int | i64, checked | bigint | numeric(38, 10) |
//! | bigint | i128 | numeric(38, 0) | numeric(38, 10) |
//! | real, double precision | f64 with Neumaier's compensation | the same type | double precision |
//! | numeric(p, s) | 256 bits, checked | numeric(38, s) | numeric(38, max(s, 10)) |
//!
//! A result that does not fit its type is 22003; nothing wraps. Division rounds
//! half away from zero. Partial states have the columns of
//! [`tidemill_types::plan::AggregateCall::state_fields`].

mod distinct;
mod groups;
mod number;
mod single;

use std::sync::Arc;

use arrow::datatypes::{
    DataType, Decimal128Type, Decimal256Type, FieldRef, Float32Type, Float64Type, Int16Type,
    Int32Type, Int64Type,
};
use datafusion::common::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility,
};
use tidemill_types::plan::{AggregateCall, AggregateFunction};

use crate::error::PlanError;
use distinct::DistinctAccumulator;
use groups::SumGroups;
use single::OneGroup;

/// `sum`.
#[must_use]
pub fn sum_udaf() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(SumOrAvg::new(AggregateFunction::Sum)))
}

/// `avg`, also known as `mean`.
#[must_use]
pub fn avg_udaf() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(SumOrAvg::new(AggregateFunction::Avg)))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SumOrAvg {
    function: AggregateFunction,
    signature: Signature,
    aliases: Vec<String>,
}

impl SumOrAvg {
    fn new(function: AggregateFunction) -> Self {
        let aliases = match function {
            AggregateFunction::Avg => vec!["mean".to_owned()],
            _ => vec![],
        };
        SumOrAvg { function, signature: Signature::user_defined(Volatility::Immutable), aliases }
    }

    fn undefined(&self, types: &[DataType]) -> PlanError {
        let names: Vec<_> = types.iter().map(crate::types_sql::pg_type_name).collect();
        PlanError::UndefinedFunction {
            signature: format!("{}({})", self.function.name(), names.join(", ")),
            at: None,
            hint: Some("It needs one numeric argument; add an explicit cast.".to_owned()),
        }
    }

    /// The state columns for arguments of type `input`.
    fn state(&self, input: &DataType) -> Vec<FieldRef> {
        let call = AggregateCall {
            function: self.function,
            argument: None,
            filter: None,
            input_type: input.clone(),
            output_type: self.function.output_type(input).unwrap_or(DataType::Null),
            output_name: String::new(),
        };
        call.state_fields(0).into_iter().map(Arc::new).collect()
    }
}

/// The type that an argument is read as; `None`: it is not a number.
fn argument_type(given: &DataType) -> Option<DataType> {
    use DataType::{
        Decimal32, Decimal64, Decimal128, Float16, Int8, Int16, Int32, Int64, Null, UInt8, UInt16,
        UInt32, UInt64,
    };
    Some(match given {
        Int8 | UInt8 => Int16,
        UInt16 => Int32,
        UInt32 | Null => Int64,
        UInt64 => Decimal128(20, 0),
        Float16 => DataType::Float32,
        Decimal32(p, s) | Decimal64(p, s) => Decimal128(*p, *s),
        Int16 | Int32 | Int64 | DataType::Float32 | DataType::Float64 => given.clone(),
        Decimal128(..) | DataType::Decimal256(..) => given.clone(),
        _ => return None,
    })
}

impl AggregateUDFImpl for SumOrAvg {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types {
            [given] => match argument_type(given) {
                Some(data_type) => Ok(vec![data_type]),
                None => Err(self.undefined(arg_types).into()),
            },
            _ => Err(self.undefined(arg_types).into()),
        }
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let output = match arg_types {
            [input] => self.function.output_type(input),
            _ => None,
        };
        output.ok_or_else(|| self.undefined(arg_types).into())
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let input = args.expr_fields[0].data_type();
        macro_rules! make {
            ($t:ty) => {{
                let groups = SumGroups::<$t>::new(self.function, input)?;
                if args.is_distinct {
                    Box::new(DistinctAccumulator::new(groups, input.clone())) as _
                } else {
                    Box::new(OneGroup::new(groups)) as _
                }
            }};
        }
        Ok(match input {
            DataType::Int16 => make!(Int16Type),
            DataType::Int32 => make!(Int32Type),
            DataType::Int64 => make!(Int64Type),
            DataType::Float32 => make!(Float32Type),
            DataType::Float64 => make!(Float64Type),
            DataType::Decimal128(..) => make!(Decimal128Type),
            DataType::Decimal256(..) => make!(Decimal256Type),
            other => return Err(self.undefined(std::slice::from_ref(other)).into()),
        })
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let input = args.input_fields[0].data_type();
        Ok(if args.is_distinct { vec![distinct::state_field(input)] } else { self.state(input) })
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let input = args.expr_fields[0].data_type();
        macro_rules! make {
            ($t:ty) => {
                Box::new(SumGroups::<$t>::new(self.function, input)?)
            };
        }
        Ok(match input {
            DataType::Int16 => make!(Int16Type),
            DataType::Int32 => make!(Int32Type),
            DataType::Int64 => make!(Int64Type),
            DataType::Float32 => make!(Float32Type),
            DataType::Float64 => make!(Float64Type),
            DataType::Decimal128(..) => make!(Decimal128Type),
            DataType::Decimal256(..) => make!(Decimal256Type),
            other => return Err(self.undefined(std::slice::from_ref(other)).into()),
        })
    }
}

#[cfg(test)]
mod tests;
