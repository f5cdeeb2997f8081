//! What the planner may ask about connectors without depending on them.
//!
//! `server` hands the planner a [`ConnectorFacts`] backed by the `connectors`
//! crate. Options are declared once, as [`OptionFact`]s: the same table
//! validates them, answers `SHOW OPTIONS`, and generates the reference page.

use std::collections::BTreeMap;

use arrow::datatypes::DataType;

use crate::diagnostic::Diagnostic;
use crate::plan::SinkLog;

/// Option names (lower case, dots kept: `nexmark.event.num`) and their texts, as
/// the user wrote them, without the `connector` option itself.
pub type Options = BTreeMap<String, String>;

/// Whether a connector reads or writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectorKind {
    Source,
    Sink,
}

/// The form of an option's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OptionKind {
    Text,
    Integer {
        min: i64,
        max: i64,
    },
    Boolean,
    /// `5 s`, `100ms`, `1 hour`: a number and a unit, or SQL interval text.
    Duration,
    /// `2015-07-15 00:00:00` or RFC 3339, UTC where no zone is given.
    Timestamp,
    OneOf(&'static [&'static str]),
}

/// One option of a connector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OptionFact {
    pub name: &'static str,
    pub kind: OptionKind,
    pub required: bool,
    /// The text that stands in where the option is not given; `None`: nothing does.
    pub default: Option<&'static str>,
    pub doc: &'static str,
}

/// A column that a source offers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ColumnFact {
    pub name: String,
    pub data_type: DataType,
    pub nullable: bool,
}

/// The watermark that a source has where the user declares none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatermarkFact {
    pub column: String,
    /// How far the watermark stays behind the column's maximum, in microseconds.
    pub delay: i64,
}

/// What to do with a record that cannot be decoded. (`keep` arrives with dead
/// letters and is refused until then.)
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnError {
    /// Leave it out and count it.
    #[default]
    Drop,
    /// Fail the job, naming the record.
    Fail,
}

/// What a source will deliver, given its options and the user's columns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceShape {
    /// The columns under the user's names, in the user's order (the connector's
    /// own where the user declared none).
    pub columns: Vec<ColumnFact>,
    /// The connector's own name for each of `columns`; what
    /// [`crate::plan::SourceScan`] asks for.
    pub physical_names: Vec<String>,
    /// Queries may spell the columns' names with other case and underscores.
    pub loose_names: bool,
    /// The source ends by itself.
    pub bounded: bool,
    pub default_watermark: Option<WatermarkFact>,
    /// The options with every default filled in, as they are to be stored.
    pub options: Options,
}

/// The planner's view of the connectors.
pub trait ConnectorFacts: Send + Sync + std::fmt::Debug {
    /// Names of the connectors of a kind, sorted.
    fn names(&self, kind: ConnectorKind) -> Vec<&'static str>;

    /// The options of a connector; `None`: there is none of that name and kind.
    fn options(&self, kind: ConnectorKind, connector: &str) -> Option<&'static [OptionFact]>;

    /// Validates `options` and the declared columns (none: the connector's own)
    /// and says what the source will deliver. An unknown or ill-typed option is
    /// an error that names the nearest valid one. Does not touch the outside.
    fn source_shape(
        &self,
        connector: &str,
        options: &Options,
        declared: &[ColumnFact],
    ) -> Result<SourceShape, Diagnostic>;

    /// Validates a sink's options; answers them with defaults filled in.
    fn sink_options(&self, connector: &str, options: &Options) -> Result<Options, Diagnostic>;

    /// How a sink with these options logs its rows before they are delivered, for an
    /// incarnation of it that nobody else has; `None`: it has no log.
    fn sink_log(
        &self,
        _connector: &str,
        _options: &Options,
        _incarnation: u64,
    ) -> Result<Option<SinkLog>, Diagnostic> {
        Ok(None)
    }
}
