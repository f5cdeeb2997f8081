//! The connectors by name.
//!
//! [`Connectors`] answers the planner's questions ([`ConnectorFacts`]) and opens
//! sources and sinks for jobs. The tables below are the one place where a
//! connector is enumerated; everything else about it is in its folder.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use tidemill_types::{
    ColumnFact, ConnectorFacts, ConnectorKind, Diagnostic, OptionFact, Options, SourceShape,
    SqlState,
};

use crate::error::ConnectorError;
use crate::options::wanted;
use crate::sink::{LoggedSink, Sink};
use crate::sinks::{self, blackhole};
use crate::source::Source;
use crate::sources::file::roots::Roots;
use crate::sources::{file, nexmark};
use tidemill_types::names;
use tidemill_types::plan::SinkLog;

/// What the server's configuration says about connectors.
#[derive(Clone, Debug, Default)]
pub struct ConnectorConfig {
    /// Directories that `file` may read and write below; none: it may do nothing.
    pub file_roots: Vec<PathBuf>,
}

/// The connectors of a server. A clone shares everything.
#[derive(Clone, Debug)]
pub struct Connectors {
    context: Arc<Context>,
}

/// What connectors need of the server.
#[derive(Debug)]
pub struct Context {
    pub roots: Roots,
}

type SourceShapeFn = fn(&Context, &Options, &[ColumnFact]) -> Result<SourceShape, Diagnostic>;
type SourceOpenFn = fn(&Context, &Options) -> Result<Arc<dyn Source>, ConnectorError>;
type SinkLogFn = fn(&Context, &Options, u64) -> Result<SinkLog, Diagnostic>;
type LoggedSinkOpenFn = fn(&Context, &Options) -> Result<Arc<dyn LoggedSink>, ConnectorError>;

struct SourceEntry {
    name: &'static str,
    doc: &'static str,
    options: &'static [OptionFact],
    shape: SourceShapeFn,
    open: SourceOpenFn,
}

struct SinkEntry {
    name: &'static str,
    doc: &'static str,
    options: &'static [OptionFact],
    check: fn(&Context, &Options) -> Result<Options, Diagnostic>,
    open: SinkOpen,
}

/// How a sink is opened, by its kind.
enum SinkOpen {
    Direct(fn(&Options) -> Result<Arc<dyn Sink>, ConnectorError>),
    Logged { log: SinkLogFn, open: LoggedSinkOpenFn },
}

/// By name.
static SOURCES: &[SourceEntry] = &[
    SourceEntry {
        name: file::NAME,
        doc: "Reads files below the directories of the configuration's `file_roots`, one split per \
              file, in the order of their paths.",
        options: file::OPTIONS,
        shape: |context, options, declared| file::shape(&context.roots, options, declared),
        open: |context, options| file::open(&context.roots, options),
    },
    SourceEntry {
        name: nexmark::NAME,
        doc: "Generates the Nexmark benchmark's events: one deterministic sequence of persons, \
              auctions and bids (1:3:46), the same for every table type.",
        options: nexmark::OPTIONS,
        shape: |_, options, declared| nexmark::shape(options, declared),
        open: |_, options| nexmark::open(options),
    },
];

/// By name.
static SINKS: &[SinkEntry] = &[
    SinkEntry {
        name: blackhole::NAME,
        doc: "Discards what it is given.",
        options: blackhole::OPTIONS,
        check: |_, options| blackhole::check(options),
        open: SinkOpen::Direct(blackhole::open),
    },
    SinkEntry {
        name: sinks::file::NAME,
        doc: sinks::file::DOC,
        options: sinks::file::OPTIONS,
        check: |context, options| sinks::file::check(&context.roots, options),
        open: SinkOpen::Logged {
            log: |context, options, incarnation| {
                sinks::file::log(&context.roots, options, incarnation)
            },
            open: |context, options| sinks::file::open(&context.roots, options),
        },
    },
];

fn kind_name(kind: ConnectorKind) -> &'static str {
    match kind {
        ConnectorKind::Source => "source",
        ConnectorKind::Sink => "sink",
    }
}

fn names_of(kind: ConnectorKind) -> Vec<&'static str> {
    match kind {
        ConnectorKind::Source => SOURCES.iter().map(|entry| entry.name).collect(),
        ConnectorKind::Sink => SINKS.iter().map(|entry| entry.name).collect(),
    }
}

fn source_entry(connector: &str) -> Result<&'static SourceEntry, Diagnostic> {
    SOURCES
        .iter()
        .find(|entry| entry.name == connector)
        .ok_or_else(|| unknown(ConnectorKind::Source, ConnectorKind::Sink, connector))
}

fn sink_entry(connector: &str) -> Result<&'static SinkEntry, Diagnostic> {
    SINKS
        .iter()
        .find(|entry| entry.name == connector)
        .ok_or_else(|| unknown(ConnectorKind::Sink, ConnectorKind::Source, connector))
}

fn unknown(wanted: ConnectorKind, other: ConnectorKind, connector: &str) -> Diagnostic {
    let kind = kind_name(wanted);
    let message = if names_of(other).contains(&connector) {
        format!("connector \"{connector}\" is a {}, not a {kind}", kind_name(other))
    } else {
        format!("there is no {kind} connector \"{connector}\"")
    };
    let what = format!("{kind} connectors");
    Diagnostic::new(SqlState::UNDEFINED_OBJECT, message).with_hint(names::hint(
        connector,
        &what,
        &names_of(wanted),
    ))
}

impl Connectors {
    /// Resolves the roots of the configuration once; a root that does not exist
    /// grants nothing until the next start.
    #[must_use]
    pub fn new(config: &ConnectorConfig) -> Self {
        Connectors { context: Arc::new(Context { roots: Roots::new(&config.file_roots) }) }
    }

    /// Opens a source with validated options. May touch the outside: a path that
    /// the configuration does not allow is refused here.
    pub fn open_source(
        &self,
        connector: &str,
        options: &Options,
    ) -> Result<Arc<dyn Source>, ConnectorError> {
        let entry = source_entry(connector).map_err(ConnectorError::Options)?;
        (entry.open)(&self.context, options)
    }

    /// Opens a sink without a log, with validated options.
    pub fn open_sink(
        &self,
        connector: &str,
        options: &Options,
    ) -> Result<Arc<dyn Sink>, ConnectorError> {
        let entry = sink_entry(connector).map_err(ConnectorError::Options)?;
        match entry.open {
            SinkOpen::Direct(open) => open(options),
            SinkOpen::Logged { .. } => Err(wrong_kind(connector, "is delivered to from a log")),
        }
    }

    /// Opens a sink that is delivered to from a log, with validated options.
    pub fn open_logged_sink(
        &self,
        connector: &str,
        options: &Options,
    ) -> Result<Arc<dyn LoggedSink>, ConnectorError> {
        let entry = sink_entry(connector).map_err(ConnectorError::Options)?;
        match entry.open {
            SinkOpen::Logged { open, .. } => open(&self.context, options),
            SinkOpen::Direct(_) => Err(wrong_kind(connector, "has no log")),
        }
    }

    /// The reference page of all connectors and their options, as Markdown.
    #[must_use]
    pub fn options_reference() -> String {
        let mut page = String::from(
            "# Connectors\n\n\
             A source or sink names its connector in `WITH (connector = '...', ...)`. An option\n\
             that a connector does not have, or a value of the wrong kind, is an error.\n\
             This page is generated from the connectors' own tables.\n",
        );
        page.push_str("\n## Sources\n");
        for entry in SOURCES {
            page.push_str(&section(entry.name, entry.doc, entry.options));
        }
        page.push_str("\n## Sinks\n");
        for entry in SINKS {
            page.push_str(&section(entry.name, entry.doc, entry.options));
        }
        page
    }
}

/// The plan and the connector disagree: an error of ours.
fn wrong_kind(connector: &str, what: &str) -> ConnectorError {
    let message = format!("internal error: connector \"{connector}\" {what}");
    ConnectorError::Options(Diagnostic::internal(message))
}

fn section(name: &str, doc: &str, options: &[OptionFact]) -> String {
    let mut text = format!("\n### `{name}`\n\n{doc}\n\n");
    if options.is_empty() {
        text.push_str("No options.\n");
        return text;
    }
    text.push_str("| option | value | default | |\n|---|---|---|---|\n");
    for fact in options {
        let default = match fact.default {
            Some(value) => format!("`{value}`"),
            None if fact.required => "required".to_string(),
            None => "none".to_string(),
        };
        let default = if default == "``" { "empty".to_string() } else { default };
        writeln!(text, "| `{}` | {} | {default} | {}. |", fact.name, wanted(fact.kind), fact.doc)
            .expect("writing to a string cannot fail");
    }
    text
}

impl ConnectorFacts for Connectors {
    fn names(&self, kind: ConnectorKind) -> Vec<&'static str> {
        names_of(kind)
    }

    fn options(&self, kind: ConnectorKind, connector: &str) -> Option<&'static [OptionFact]> {
        match kind {
            ConnectorKind::Source => source_entry(connector).ok().map(|entry| entry.options),
            ConnectorKind::Sink => sink_entry(connector).ok().map(|entry| entry.options),
        }
    }

    fn source_shape(
        &self,
        connector: &str,
        options: &Options,
        declared: &[ColumnFact],
    ) -> Result<SourceShape, Diagnostic> {
        (source_entry(connector)?.shape)(&self.context, options, declared)
    }

    fn sink_options(&self, connector: &str, options: &Options) -> Result<Options, Diagnostic> {
        (sink_entry(connector)?.check)(&self.context, options)
    }

    fn sink_log(
        &self,
        connector: &str,
        options: &Options,
        incarnation: u64,
    ) -> Result<Option<SinkLog>, Diagnostic> {
        match sink_entry(connector)?.open {
            SinkOpen::Direct(_) => Ok(None),
            SinkOpen::Logged { log, .. } => log(&self.context, options, incarnation).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connectors() -> Connectors {
        Connectors::new(&ConnectorConfig::default())
    }

    #[test]
    fn tables_are_in_order_and_their_defaults_are_valid() {
        assert!(names_of(ConnectorKind::Source).is_sorted());
        assert!(names_of(ConnectorKind::Sink).is_sorted());
        let shape = connectors().source_shape("nexmark", &Options::new(), &[]).unwrap();
        let with_default = nexmark::OPTIONS.iter().filter(|fact| fact.default.is_some());
        assert_eq!(shape.options.len(), with_default.count());
    }

    #[test]
    fn unknown_connectors_name_the_nearest() {
        let error = connectors().source_shape("nexmrk", &Options::new(), &[]).unwrap_err();
        assert_eq!(error.state, SqlState::UNDEFINED_OBJECT);
        assert!(error.hint.unwrap().contains("Did you mean \"nexmark\"?"));
        let error = connectors().open_source("blackhole", &Options::new()).unwrap_err();
        assert!(error.to_string().contains("is a sink, not a source"), "{error}");
        let error = connectors().sink_options("nexmark", &Options::new()).unwrap_err();
        assert!(error.message.contains("is a source, not a sink"), "{error}");
        assert!(error.hint.unwrap().contains("blackhole"));
    }

    #[test]
    fn facts_are_found_by_kind() {
        let connectors = connectors();
        assert!(connectors.options(ConnectorKind::Source, "nexmark").is_some());
        assert!(connectors.options(ConnectorKind::Sink, "nexmark").is_none());
        assert_eq!(connectors.options(ConnectorKind::Sink, "blackhole"), Some(&[][..]));
        assert_eq!(connectors.sink_log("blackhole", &Options::new(), 1), Ok(None));
        assert!(connectors.open_logged_sink("blackhole", &Options::new()).is_err());
    }
}
