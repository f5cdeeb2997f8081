//! The configuration file: keys become defaults of the options of that name.
//!
//! The file knows no option of its own. A key is looked up among the declared
//! options, its value is checked by that option's parser, and then it takes the
//! place of the built-in default: that is what makes flags and environment win.

use std::path::Path;

use clap::error::ErrorKind;
use clap::{Arg, Command};

/// Options that mean nothing in a file.
const NOT_IN_FILE: [&str; 2] = ["help", "config"];

/// `command` with the values of the file at `path` as defaults.
pub fn with_file(mut command: Command, path: &Path) -> Result<Command, clap::Error> {
    let fail = |what: String| {
        Command::new("tidemill")
            .error(ErrorKind::InvalidValue, format!("{}: {what}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|e| fail(format!("cannot be read: {e}")))?;
    let table: toml::Table = toml::from_str(&text).map_err(|e| fail(e.to_string()))?;
    for (key, value) in table {
        let id = known_key(&command, &key).map_err(fail)?;
        let value = as_argument(&value)
            .ok_or_else(|| fail(format!("key `{key}` does not take a value of this type")))?;
        check(&command, &id, &value).map_err(|e| fail(format!("key `{key}`: {e}")))?;
        command = command.mut_subcommand("start", |start| {
            start.mut_arg(id, |argument| argument.default_value(value))
        });
    }
    Ok(command)
}

/// The option that a key names, with `-` or `_` between words.
fn known_key(command: &Command, key: &str) -> Result<String, String> {
    let wanted = key.replace('-', "_");
    let known: Vec<String> = command
        .find_subcommand("start")
        .into_iter()
        .flat_map(Command::get_arguments)
        .map(|argument: &Arg| argument.get_id().to_string())
        .filter(|id| !NOT_IN_FILE.contains(&id.as_str()))
        .collect();
    if known.contains(&wanted) {
        return Ok(wanted);
    }
    let nearest = tidemill_types::names::nearest(&wanted, known.iter().map(String::as_str));
    let hint = nearest.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    Err(format!("there is no key `{key}`{hint}"))
}

/// A value as it would stand on the command line.
fn as_argument(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Array(values) => {
            let values: Option<Vec<String>> = values.iter().map(as_argument).collect();
            values.map(|values| values.join(","))
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

/// Lets the option's own parser judge a value.
fn check(command: &Command, id: &str, value: &str) -> Result<(), String> {
    let flag = format!("--{}={value}", id.replace('_', "-"));
    match command.clone().try_get_matches_from(["tidemill", "start", &flag]) {
        Ok(_) => Ok(()),
        Err(error) => {
            // The first line says what is wrong; the rest is about usage.
            let text = error.to_string();
            Err(text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned())
        }
    }
}
