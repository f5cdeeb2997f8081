//! Session settings: each declared once, with its form, its default and a line of
//! documentation; the same table validates SET, answers SHOW and
//! `tm_catalog.settings`, and says what the client is told of.
//!
//! A session has two layers: what `SET` gives (kept when the transaction commits,
//! taken back when it does not) and above it what `SET LOCAL` gives (gone at the
//! transaction's end). A setting that exists for the sake of drivers but has only
//! one possible value here accepts that value and refuses others with 0A000.

use std::collections::BTreeMap;
use std::time::Duration;

use tidemill_types::{Diagnostic, SqlState};

/// The version that clients see and derive their behaviour from.
pub const SERVER_VERSION: &str = "15.18 (Tidemill 0.1.0)";
const SERVER_VERSION_NUM: &str = "150018";

/// The form of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SettingKind {
    Text,
    Boolean,
    Integer {
        min: i64,
        max: i64,
    },
    /// A length of time; a bare number counts milliseconds.
    Time,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Schema names, separated by commas.
    SearchPath,
    /// A time zone; only those that equal UTC.
    Zone,
    /// `ISO` and an order of day and month, which decides nothing here.
    DateStyle,
    /// Only these spellings of one value.
    Only(&'static [&'static str]),
    /// Known to the server, not to be set: 55P02.
    ReadOnly,
}

impl SettingKind {
    /// For `tm_catalog.settings`.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            SettingKind::Boolean => "boolean",
            SettingKind::Integer { .. } => "integer",
            SettingKind::Time => "duration",
            SettingKind::OneOf(_) => "enum",
            SettingKind::ReadOnly => "read-only",
            SettingKind::Text
            | SettingKind::SearchPath
            | SettingKind::Zone
            | SettingKind::DateStyle
            | SettingKind::Only(_) => "text",
        }
    }
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct SettingFact {
    /// As it is shown; names compare without regard to case.
    pub name: &'static str,
    pub kind: SettingKind,
    pub default: &'static str,
    /// The client is told of changes (ParameterStatus).
    pub reported: bool,
    pub doc: &'static str,
}

const fn fact(
    name: &'static str,
    kind: SettingKind,
    default: &'static str,
    doc: &'static str,
) -> SettingFact {
    SettingFact { name, kind, default, reported: false, doc }
}

const fn told(
    name: &'static str,
    kind: SettingKind,
    default: &'static str,
    doc: &'static str,
) -> SettingFact {
    SettingFact { name, kind, default, reported: true, doc }
}

const ISOLATION: SettingKind =
    SettingKind::OneOf(&["serializable", "repeatable read", "read committed", "read uncommitted"]);
const UTF8: SettingKind = SettingKind::Only(&["UTF8", "UTF-8", "UNICODE"]);
const ON: SettingKind = SettingKind::Only(&["on", "true", "yes", "1"]);
const MESSAGE_LEVELS: SettingKind = SettingKind::OneOf(&[
    "debug5", "debug4", "debug3", "debug2", "debug1", "debug", "log", "notice", "warning", "error",
]);

/// Every setting, by name.
pub const SETTINGS: &[SettingFact] = &[
    fact(
        "allowed_lateness",
        SettingKind::Time,
        "0",
        "How long after a window's end its late rows are still admitted. Captured by CREATE MATERIALIZED VIEW and CREATE SINK.",
    ),
    told("application_name", SettingKind::Text, "", "The name that the client gives itself."),
    fact("bytea_output", SettingKind::Only(&["hex"]), "hex", "The text form of bytea values."),
    told("client_encoding", UTF8, "UTF8", "The encoding of text on the wire."),
    fact(
        "client_min_messages",
        MESSAGE_LEVELS,
        "notice",
        "The least severe messages that are sent to the client.",
    ),
    told("DateStyle", SettingKind::DateStyle, "ISO, MDY", "The text form of dates: ISO 8601."),
    fact(
        "default_transaction_isolation",
        ISOLATION,
        "repeatable read",
        "The isolation level of new transactions. Every level reads one epoch.",
    ),
    told(
        "default_transaction_read_only",
        SettingKind::Boolean,
        "off",
        "Whether new transactions are read-only.",
    ),
    fact(
        "default_transaction_deferrable",
        SettingKind::Boolean,
        "off",
        "Whether new transactions are deferrable; without effect.",
    ),
    fact(
        "extra_float_digits",
        SettingKind::Integer { min: -15, max: 3 },
        "1",
        "Floating point numbers are always printed with the fewest digits that identify them.",
    ),
    fact(
        "idle_in_transaction_session_timeout",
        SettingKind::Only(&["0"]),
        "0",
        "How long a transaction may be idle; no limit.",
    ),
    told("in_hot_standby", SettingKind::ReadOnly, "off", "Whether the server is a standby."),
    told("integer_datetimes", SettingKind::ReadOnly, "on", "Timestamps are integers."),
    told(
        "IntervalStyle",
        SettingKind::Only(&["postgres"]),
        "postgres",
        "The text form of intervals.",
    ),
    told("is_superuser", SettingKind::ReadOnly, "on", "Whether the user may do everything."),
    fact(
        "late_rows",
        SettingKind::Only(&["drop"]),
        "drop",
        "What happens to rows that no window admits: they are left out and counted.",
    ),
    fact("lock_timeout", SettingKind::Only(&["0"]), "0", "How long to wait for a lock; no limit."),
    fact("max_identifier_length", SettingKind::ReadOnly, "63", "The longest identifier in bytes."),
    fact(
        "parallelism",
        SettingKind::Integer { min: 0, max: 1024 },
        "0",
        "How many workers run a job; 0: all. Captured by CREATE MATERIALIZED VIEW and CREATE SINK.",
    ),
    fact(
        "search_path",
        SettingKind::SearchPath,
        "public",
        "The schemas in which names without a schema are looked up; the first is where objects are created.",
    ),
    told("server_encoding", SettingKind::ReadOnly, "UTF8", "The encoding of stored text."),
    told("server_version", SettingKind::ReadOnly, SERVER_VERSION, "The version that clients see."),
    fact(
        "server_version_num",
        SettingKind::ReadOnly,
        SERVER_VERSION_NUM,
        "The version that clients see, as a number.",
    ),
    told("session_authorization", SettingKind::ReadOnly, "", "The session's user."),
    told("standard_conforming_strings", ON, "on", "A backslash in '...' is a backslash."),
    fact(
        "statement_timeout",
        SettingKind::Time,
        "0",
        "How long a statement may run; 0: no limit. A bare number counts milliseconds.",
    ),
    fact(
        "synchronize_seqscans",
        SettingKind::Boolean,
        "on",
        "Accepted for clients that set it; without effect.",
    ),
    told("TimeZone", SettingKind::Zone, "UTC", "The zone of timestamptz values on the wire."),
    fact(
        "transaction_deferrable",
        SettingKind::Boolean,
        "off",
        "Whether the transaction is deferrable; without effect.",
    ),
    fact(
        "transaction_isolation",
        ISOLATION,
        "repeatable read",
        "The transaction's isolation level. Every level reads one epoch.",
    ),
    fact(
        "transaction_read_only",
        SettingKind::Boolean,
        "off",
        "Whether the transaction is read-only.",
    ),
];

/// The setting of a name, in any case.
#[must_use]
pub fn find(name: &str) -> Option<&'static SettingFact> {
    // What `SET TIME ZONE` and `SHOW TRANSACTION ISOLATION LEVEL` are called inside.
    let name = match name {
        "time zone" => "TimeZone",
        "transaction isolation level" => "transaction_isolation",
        other => other,
    };
    SETTINGS.iter().find(|f| f.name.eq_ignore_ascii_case(name))
}

/// 42704.
#[must_use]
pub fn unknown(name: &str) -> Diagnostic {
    Diagnostic::new(
        SqlState::UNDEFINED_OBJECT,
        format!("unrecognized configuration parameter \"{name}\""),
    )
    .with_hint("SHOW ALL lists the settings.")
}

/// What a job keeps of the session that created it.
pub const CAPTURED: &[&str] =
    &["TimeZone", "allowed_lateness", "late_rows", "parallelism", "search_path"];

type Values = BTreeMap<&'static str, String>;

/// One session's settings. Only values that differ from the default are stored.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// What RESET goes back to: defaults as the connection's startup changed them.
    startup: Values,
    session: Values,
    effective: Values,
    /// `session` as it was when the open transaction began.
    before: Option<Values>,
    told: Values,
}

impl Settings {
    /// The settings of a new session of `user`.
    #[must_use]
    pub fn new(user: &str) -> Self {
        let mut settings = Settings::default();
        settings.startup.insert("session_authorization", user.to_owned());
        settings.session = settings.startup.clone();
        settings.effective = settings.startup.clone();
        settings
    }

    /// The values of [`CAPTURED`] settings, defaults included: those may change
    /// between versions, a job's may not.
    #[must_use]
    pub fn captured(&self) -> BTreeMap<String, String> {
        CAPTURED.iter().map(|n| ((*n).to_owned(), self.get(n).to_owned())).collect()
    }

    /// The settings that a job was created with.
    ///
    /// # Errors
    /// As [`Self::set`], for a value that another version has stored.
    pub fn of_job(captured: &BTreeMap<String, String>) -> Result<Settings, Diagnostic> {
        let mut settings = Settings::default();
        for (name, value) in captured {
            settings.set(name, std::slice::from_ref(value), false)?;
        }
        Ok(settings)
    }

    /// A setting of the startup message. A time zone other than UTC, which drivers
    /// send unasked, is answered by staying at UTC: `Some` is a notice of that.
    ///
    /// # Errors
    /// As [`Self::set`].
    pub fn set_at_startup(
        &mut self,
        name: &str,
        value: &str,
    ) -> Result<Option<Diagnostic>, Diagnostic> {
        let fact = find(name).ok_or_else(|| unknown(name))?;
        if fact.kind == SettingKind::Zone && !is_utc(value) {
            let notice = Diagnostic::new(
                SqlState::WARNING,
                format!("time zone \"{value}\" is not supported, the session uses UTC"),
            );
            return Ok(Some(notice));
        }
        let value = validate(fact, &[value.to_owned()])?;
        self.startup.insert(fact.name, value);
        self.session = self.startup.clone();
        self.effective = self.startup.clone();
        Ok(None)
    }

    /// `SET [LOCAL] name = values`.
    ///
    /// # Errors
    /// 42704 for an unknown name, 22023 for a value of the wrong form, 0A000 for
    /// one that is right elsewhere, 55P02 for a setting that cannot be set.
    pub fn set(&mut self, name: &str, values: &[String], local: bool) -> Result<(), Diagnostic> {
        let fact = find(name).ok_or_else(|| unknown(name))?;
        let value = validate(fact, values)?;
        if !local {
            self.session.insert(fact.name, value.clone());
        }
        self.effective.insert(fact.name, value);
        Ok(())
    }

    /// `RESET name`.
    ///
    /// # Errors
    /// 42704, 55P02.
    pub fn reset(&mut self, name: &str, local: bool) -> Result<(), Diagnostic> {
        let fact = find(name).ok_or_else(|| unknown(name))?;
        if fact.kind == SettingKind::ReadOnly {
            return Err(read_only(fact));
        }
        let startup = self.startup.get(fact.name).cloned();
        let put = |values: &mut Values| match &startup {
            Some(value) => drop(values.insert(fact.name, value.clone())),
            None => drop(values.remove(fact.name)),
        };
        if !local {
            put(&mut self.session);
        }
        put(&mut self.effective);
        Ok(())
    }

    /// `RESET ALL`.
    pub fn reset_all(&mut self) {
        self.session = self.startup.clone();
        self.effective = self.startup.clone();
    }

    /// A setting's present value.
    ///
    /// # Panics
    /// Never for a name of [`SETTINGS`].
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        let fact = find(name).expect("a declared setting");
        self.value(fact)
    }

    /// A setting's present value.
    #[must_use]
    pub fn value(&self, fact: &SettingFact) -> &str {
        self.effective.get(fact.name).map_or(fact.default, String::as_str)
    }

    /// A transaction begins.
    pub fn begin(&mut self) {
        self.before = Some(self.session.clone());
    }

    /// The transaction ends: `SET LOCAL` is undone, and `SET` too unless
    /// `committed`.
    pub fn end(&mut self, committed: bool) {
        if let Some(before) = self.before.take()
            && !committed
        {
            self.session = before;
        }
        self.effective = self.session.clone();
    }

    /// Goes back to what `earlier`, a copy from within the same transaction, says.
    pub fn restore(&mut self, earlier: &Settings) {
        self.session = earlier.session.clone();
        self.effective = earlier.effective.clone();
    }

    /// What the client has to be told since the last call.
    pub fn take_reported(&mut self) -> Vec<(&'static str, String)> {
        let mut changes = Vec::new();
        for fact in SETTINGS.iter().filter(|f| f.reported) {
            let value = self.value(fact).to_owned();
            if self.told.get(fact.name) != Some(&value) {
                self.told.insert(fact.name, value.clone());
                changes.push((fact.name, value));
            }
        }
        changes
    }

    /// `search_path` as schema names.
    #[must_use]
    pub fn search_path(&self) -> Vec<String> {
        let path = split_path(self.get("search_path"));
        path.into_iter().filter(|s| s != "$user" && s != "pg_catalog").collect()
    }

    /// `statement_timeout`; `None`: no limit.
    #[must_use]
    pub fn statement_timeout(&self) -> Option<Duration> {
        self.duration("statement_timeout")
    }

    /// `allowed_lateness`, in microseconds.
    #[must_use]
    pub fn allowed_lateness(&self) -> i64 {
        let micros = self.duration("allowed_lateness").unwrap_or_default().as_micros();
        i64::try_from(micros).unwrap_or(i64::MAX)
    }

    /// `parallelism`; `None`: all workers.
    #[must_use]
    pub fn parallelism(&self) -> Option<usize> {
        self.get("parallelism").parse().ok().filter(|n| *n > 0)
    }

    /// Whether a message of this severity goes to the client.
    #[must_use]
    pub fn sends(&self, warning: bool) -> bool {
        match self.get("client_min_messages") {
            "error" => false,
            "warning" => warning,
            _ => true,
        }
    }

    fn duration(&self, name: &str) -> Option<Duration> {
        milliseconds(self.get(name)).filter(|ms| *ms > 0).map(Duration::from_millis)
    }
}

fn read_only(fact: &SettingFact) -> Diagnostic {
    Diagnostic::new(
        SqlState::CANT_CHANGE_RUNTIME_PARAM,
        format!("parameter \"{}\" cannot be changed", fact.name),
    )
}

fn invalid(fact: &SettingFact, value: &str) -> Diagnostic {
    Diagnostic::new(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("invalid value for parameter \"{}\": \"{value}\"", fact.name),
    )
}

/// The value as it is stored and shown.
fn validate(fact: &SettingFact, values: &[String]) -> Result<String, Diagnostic> {
    let text = match values {
        [one] => one.trim(),
        several if matches!(fact.kind, SettingKind::SearchPath | SettingKind::DateStyle) => {
            return validate(fact, &[several.join(", ")]);
        }
        _ => {
            return Err(Diagnostic::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!("SET {} takes only one argument", fact.name),
            ));
        }
    };
    match fact.kind {
        SettingKind::Text => Ok(text.to_owned()),
        SettingKind::ReadOnly => Err(read_only(fact)),
        SettingKind::Boolean => boolean(text)
            .map(|b| if b { "on".to_owned() } else { "off".to_owned() })
            .ok_or_else(|| {
                Diagnostic::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    format!("parameter \"{}\" requires a Boolean value", fact.name),
                )
            }),
        SettingKind::Integer { min, max } => match text.parse::<i64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(number.to_string()),
            Ok(number) => Err(Diagnostic::new(
                SqlState::INVALID_PARAMETER_VALUE,
                format!(
                    "{number} is outside the valid range for parameter \"{}\" ({min} .. {max})",
                    fact.name
                ),
            )),
            Err(_) => Err(invalid(fact, text)),
        },
        SettingKind::Time => match milliseconds(text) {
            Some(ms) => Ok(show_milliseconds(ms)),
            None => Err(invalid(fact, text).with_hint(
                "Write a number and one of us, ms, s, min, h, d; a bare number counts ms.",
            )),
        },
        SettingKind::OneOf(words) => words
            .iter()
            .find(|w| w.eq_ignore_ascii_case(text))
            .map(|w| (*w).to_owned())
            .ok_or_else(|| {
                invalid(fact, text).with_hint(format!("Available values: {}.", words.join(", ")))
            }),
        SettingKind::SearchPath => Ok(join_path(&split_path(text))),
        SettingKind::Zone if is_utc(text) => Ok("UTC".to_owned()),
        SettingKind::Zone => {
            Err(Diagnostic::unsupported(format!("time zone \"{text}\" is not supported"))
                .with_hint("The only time zone is UTC; convert on the client."))
        }
        SettingKind::DateStyle => date_style(fact, text),
        SettingKind::Only(words) => {
            if words.iter().any(|w| w.eq_ignore_ascii_case(text)) {
                Ok(fact.default.to_owned())
            } else {
                Err(Diagnostic::unsupported(format!(
                    "setting \"{}\" to \"{text}\" is not supported",
                    fact.name
                ))
                .with_hint(format!("The only value is \"{}\".", fact.default)))
            }
        }
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "t" | "yes" | "y" | "1" => Some(true),
        "off" | "false" | "f" | "no" | "n" | "0" => Some(false),
        _ => None,
    }
}

fn date_style(fact: &SettingFact, text: &str) -> Result<String, Diagnostic> {
    for word in text.split(',').map(|w| w.trim().to_ascii_lowercase()) {
        match word.as_str() {
            "iso" | "mdy" | "us" | "noneuro" | "dmy" | "european" | "euro" | "ymd" | "default" => {}
            "postgres" | "sql" | "german" => {
                return Err(Diagnostic::unsupported(format!(
                    "date style \"{word}\" is not supported"
                ))
                .with_hint("The only date style is ISO."));
            }
            _ => return Err(invalid(fact, text)),
        }
    }
    Ok(fact.default.to_owned())
}

fn is_utc(text: &str) -> bool {
    const NAMES: &[&str] = &[
        "utc",
        "etc/utc",
        "gmt",
        "etc/gmt",
        "uct",
        "etc/uct",
        "zulu",
        "etc/zulu",
        "z",
        "universal",
        "etc/universal",
        "greenwich",
        "etc/greenwich",
        "gmt0",
        "gmt+0",
        "gmt-0",
        "0",
        "+0",
        "-0",
        "+00",
        "-00",
        "00:00",
        "+00:00",
        "utc+0",
        "default",
        "local",
    ];
    NAMES.iter().any(|n| n.eq_ignore_ascii_case(text))
}

/// The names of a search path; double quotes keep case and commas, two of them are
/// one that is meant.
fn split_path(text: &str) -> Vec<String> {
    let (mut names, mut name, mut quoted, mut was_quoted) =
        (Vec::new(), String::new(), false, false);
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if quoted && rest.next_if_eq(&'"').is_some() => name.push('"'),
            '"' => (quoted, was_quoted) = (!quoted, true),
            ',' if !quoted => {
                names.push(std::mem::take(&mut name));
                was_quoted = false;
            }
            c if c.is_whitespace() && !quoted => {}
            c if quoted || was_quoted => name.push(c),
            c => name.extend(c.to_lowercase()),
        }
    }
    names.push(name);
    names.retain(|n| !n.is_empty());
    names
}

/// What [`split_path`] reads back: with quotes where a name needs them.
fn join_path(names: &[String]) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let shown = names.iter().map(|name| match name.chars().all(plain) {
        true => name.clone(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// `5s`, `1 min`, `250`: milliseconds.
fn milliseconds(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let per_unit = match text[digits..].trim() {
        "us" => 0.001,
        "" | "ms" => 1.0,
        "s" | "sec" | "second" | "seconds" => 1000.0,
        "min" | "minute" | "minutes" => 60_000.0,
        "h" | "hour" | "hours" => 3_600_000.0,
        "d" | "day" | "days" => 86_400_000.0,
        _ => return None,
    };
    let ms = (number * per_unit).round();
    (ms <= f64::from(i32::MAX)).then_some(ms as u64)
}

/// In the largest unit that divides it, as PostgreSQL shows times.
fn show_milliseconds(ms: u64) -> String {
    const UNITS: &[(u64, &str)] =
        &[(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s"), (1, "ms")];
    match UNITS.iter().find(|(length, _)| ms > 0 && ms.is_multiple_of(*length)) {
        Some((length, unit)) => format!("{}{unit}", ms / length),
        None => "0".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(settings: &mut Settings, name: &str, value: &str) -> Result<(), String> {
        settings.set(name, &[value.to_owned()], false).map_err(|d| d.state.code().to_owned())
    }

    #[test]
    fn every_default_is_a_value_of_its_setting() {
        for fact in SETTINGS.iter().filter(|f| f.kind != SettingKind::ReadOnly) {
            let value = validate(fact, &[fact.default.to_owned()]);
            assert_eq!(value.as_deref(), Ok(fact.default), "{}", fact.name);
        }
    }

    #[test]
    fn values_are_checked_and_shown_as_postgresql_does() {
        let mut s = Settings::new("u");
        for (given, shown, duration) in [
            ("250", "250ms", 250),
            ("5s", "5s", 5000),
            ("2 min", "2min", 120_000),
            ("1500ms", "1500ms", 1500),
        ] {
            set(&mut s, "STATEMENT_TIMEOUT", given).unwrap();
            assert_eq!(s.get("statement_timeout"), shown);
            assert_eq!(s.statement_timeout(), Some(Duration::from_millis(duration)));
        }
        set(&mut s, "statement_timeout", "0").unwrap();
        assert_eq!(s.statement_timeout(), None);
        let refused = [
            ("statement_timeout", "soon", "22023"),
            ("no_such_setting", "1", "42704"),
            ("server_version", "16", "55P02"),
            ("timezone", "Europe/Berlin", "0A000"),
            ("client_encoding", "LATIN1", "0A000"),
            ("extra_float_digits", "9", "22023"),
            ("datestyle", "german", "0A000"),
        ];
        for (name, value, state) in refused {
            assert_eq!(set(&mut s, name, value), Err(state.to_owned()), "{name}");
        }
        set(&mut s, "timezone", "Etc/UTC").unwrap();
        set(&mut s, "search_path", "\"My, Schema\", Public").unwrap();
        assert_eq!(s.get("search_path"), "\"My, Schema\", public");
        assert_eq!(split_path("a, \"B c\""), ["a", "B c"]);
        assert_eq!(split_path(&join_path(&["a\"b".to_owned()])), ["a\"b"]);
    }

    #[test]
    fn a_jobs_settings_come_back_as_they_were() {
        let mut s = Settings::new("u");
        set(&mut s, "search_path", "\"My, Schema\", Public").unwrap();
        set(&mut s, "allowed_lateness", "90s").unwrap();
        set(&mut s, "parallelism", "3").unwrap();
        let restored = Settings::of_job(&s.captured()).unwrap();
        assert_eq!(restored.captured(), s.captured());
        assert_eq!(restored.search_path(), ["My, Schema", "public"]);
        assert_eq!((restored.allowed_lateness(), restored.parallelism()), (90_000_000, Some(3)));
    }

    #[test]
    fn transactions_take_settings_back() {
        let mut s = Settings::new("u");
        set(&mut s, "application_name", "a").unwrap();
        s.begin();
        set(&mut s, "application_name", "b").unwrap();
        s.set("search_path", &["x".to_owned()], true).unwrap();
        assert_eq!((s.get("application_name"), s.get("search_path")), ("b", "x"));
        s.end(false);
        assert_eq!((s.get("application_name"), s.get("search_path")), ("a", "public"));
        s.begin();
        set(&mut s, "application_name", "c").unwrap();
        s.set("search_path", &["x".to_owned()], true).unwrap();
        s.end(true);
        assert_eq!((s.get("application_name"), s.get("search_path")), ("c", "public"));
    }

    #[test]
    fn a_foreign_zone_at_startup_leaves_utc() {
        let mut s = Settings::new("u");
        assert!(s.set_at_startup("TimeZone", "Europe/Berlin").unwrap().is_some());
        assert!(s.set_at_startup("TimeZone", "GMT").unwrap().is_none());
        assert_eq!(s.get("timezone"), "UTC");
        let told = s.take_reported();
        assert!(told.contains(&("TimeZone", "UTC".to_owned())));
        assert!(s.take_reported().is_empty());
        set(&mut s, "application_name", "x").unwrap();
        assert_eq!(s.take_reported(), [("application_name", "x".to_owned())]);
    }
}
