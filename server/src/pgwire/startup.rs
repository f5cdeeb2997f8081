//! The handshake: encryption requests, cancel requests, the startup message.
//!
//! Encryption is refused with `N` until the server has keys. Bytes that came
//! together with an encryption request were sent by somebody who did not wait
//! for the answer, as a man in the middle would: such a connection is closed.

use bytes::{Buf, Bytes};
use pgwire::messages::response::{GssEncResponse, SslResponse};
use pgwire::messages::startup::{Authentication, NegotiateProtocolVersion};
use tidemill_types::{Diagnostic, SqlState};

use super::frame::{Reader, WireError};
use super::output::Output;
use crate::session::api::SessionStart;

const CANCEL_CODE: i32 = 80_877_102;
const SSL_CODE: i32 = 80_877_103;
const GSSENC_CODE: i32 = 80_877_104;
const MAJOR_VERSION: i32 = 3;
/// Version 3.0 as NegotiateProtocolVersion names it.
const PROTOCOL_3_0: i32 = MAJOR_VERSION << 16;

/// What a client connects for.
#[derive(Debug)]
pub enum Opening {
    /// To cancel what another connection is doing.
    Cancel { pid: i32, secret: i32 },
    /// To work.
    Start(Startup),
}

/// A startup message.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Startup {
    pub user: String,
    pub database: String,
    /// Settings in the order in which they apply: `options` first, as it is the
    /// more general place, then the parameters of their own name.
    pub settings: Vec<(String, String)>,
    /// The client asked for more than protocol 3.0 has.
    negotiate: bool,
    /// Protocol options that it asked for.
    unknown_options: Vec<String>,
}

impl Startup {
    /// What the session is told.
    #[must_use]
    pub fn session(&self, backend_pid: i32) -> SessionStart {
        SessionStart {
            user: self.user.clone(),
            database: self.database.clone(),
            settings: self.settings.clone(),
            backend_pid,
        }
    }

    /// Tells the client which protocol is spoken and that it is let in.
    pub fn answer(&self, output: &mut Output) {
        if self.negotiate {
            let options = self.unknown_options.clone();
            output.put(&NegotiateProtocolVersion::new(PROTOCOL_3_0, options));
        }
        output.put(&Authentication::Ok);
    }
}

/// Reads packets until one says what the client wants.
pub async fn handshake(reader: &mut Reader, output: &mut Output) -> Result<Opening, WireError> {
    let (mut ssl_refused, mut gss_refused) = (false, false);
    loop {
        let mut packet = reader.startup_packet().await?;
        // At least four bytes: the shortest packet has eight with its length.
        let code = packet.get_i32();
        let refused = match code {
            CANCEL_CODE => return cancel(packet),
            SSL_CODE if packet.is_empty() => &mut ssl_refused,
            GSSENC_CODE if packet.is_empty() => &mut gss_refused,
            _ => return startup(code, &packet).map(Opening::Start).map_err(WireError::Fatal),
        };
        if std::mem::replace(refused, true) {
            return Err(WireError::Fatal(violation("encryption was refused already")));
        }
        if reader.has_buffered() {
            return Err(WireError::Fatal(violation(
                "received unencrypted data after an encryption request",
            )));
        }
        if code == SSL_CODE {
            output.put(&SslResponse::Refuse);
        } else {
            output.put(&GssEncResponse::Refuse);
        }
        output.flush().await.map_err(|_| WireError::Closed)?;
    }
}

fn cancel(mut packet: Bytes) -> Result<Opening, WireError> {
    if packet.len() != 8 {
        // No answer is due to a cancel request, not even to a bad one.
        return Err(WireError::Closed);
    }
    Ok(Opening::Cancel { pid: packet.get_i32(), secret: packet.get_i32() })
}

/// Reads a startup packet behind its version.
fn startup(version: i32, packet: &[u8]) -> Result<Startup, Diagnostic> {
    if version >> 16 != MAJOR_VERSION {
        return Err(Diagnostic::unsupported(format!(
            "unsupported frontend protocol {}.{}: server supports 3.0 to 3.0",
            version >> 16,
            version & 0xffff
        )));
    }
    let mut startup = Startup { negotiate: version != PROTOCOL_3_0, ..Startup::default() };
    let mut options = Vec::new();
    for (name, value) in pairs(packet)? {
        match name.as_str() {
            "user" => startup.user = value,
            "database" => startup.database = value,
            "options" => options.extend(parse_options(&value)?),
            "replication" => refuse_replication(&value)?,
            _ if name.starts_with("_pq_.") => {
                startup.negotiate = true;
                startup.unknown_options.push(name);
            }
            _ => startup.settings.push((name, value)),
        }
    }
    if startup.user.is_empty() {
        return Err(Diagnostic::new(
            SqlState::INVALID_AUTHORIZATION,
            "no PostgreSQL user name specified in startup packet",
        ));
    }
    if startup.database.is_empty() {
        startup.database.clone_from(&startup.user);
    }
    startup.settings.splice(0..0, options);
    Ok(startup)
}

fn refuse_replication(value: &str) -> Result<(), Diagnostic> {
    let off = ["false", "off", "no", "0"].iter().any(|o| value.eq_ignore_ascii_case(o));
    if off {
        Ok(())
    } else {
        Err(Diagnostic::unsupported("replication connections are not supported"))
    }
}

/// The names and values of a startup packet: NUL-terminated texts in pairs, and
/// an empty name at the end.
fn pairs(packet: &[u8]) -> Result<Vec<(String, String)>, Diagnostic> {
    let invalid = || violation("invalid startup packet layout: expected terminator as last byte");
    let mut texts = packet.split(|b| *b == 0);
    let mut pairs = Vec::new();
    loop {
        let name = texts.next().ok_or_else(invalid)?;
        if name.is_empty() {
            break;
        }
        let value = texts.next().ok_or_else(invalid)?;
        pairs.push((utf8(name)?, utf8(value)?));
    }
    // Splitting at the terminator leaves one empty rest, and nothing else may follow.
    if texts.next() == Some(&[]) && texts.next().is_none() { Ok(pairs) } else { Err(invalid()) }
}

fn utf8(text: &[u8]) -> Result<String, Diagnostic> {
    std::str::from_utf8(text)
        .map(str::to_owned)
        .map_err(|error| super::message::not_utf8(&text[error.valid_up_to()..]))
}

/// The settings in `options`: `-c name=value`, `-cname=value` or
/// `--name=value`, separated by blanks; a backslash keeps the next character.
fn parse_options(options: &str) -> Result<Vec<(String, String)>, Diagnostic> {
    let mut settings = Vec::new();
    let mut words = words(options).into_iter();
    while let Some(word) = words.next() {
        let invalid = || {
            Diagnostic::new(
                SqlState::SYNTAX_ERROR,
                format!("invalid command-line argument for server process: {word}"),
            )
            .with_hint("Only settings can be given: -c name=value.")
        };
        let setting = match word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            Some("") => words.next().ok_or_else(invalid)?,
            Some(setting) => setting.to_owned(),
            None => return Err(invalid()),
        };
        let (name, value) = setting.split_once('=').ok_or_else(invalid)?;
        settings.push((name.trim().replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

fn words(options: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = options.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => word.get_or_insert_default().extend(characters.next()),
            blank if blank.is_ascii_whitespace() => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

fn violation(message: &str) -> Diagnostic {
    Diagnostic::new(SqlState::PROTOCOL_VIOLATION, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8]) -> Result<Startup, Diagnostic> {
        startup(PROTOCOL_3_0, body)
    }

    #[test]
    fn reads_users_databases_and_settings_in_order() {
        let body = b"user\0ann\0application_name\0psql\0options\0-c a=1 --b-c=2 -cd=x\\ y\\\\\0\0";
        let startup = read(body).unwrap();
        assert_eq!((startup.user.as_str(), startup.database.as_str()), ("ann", "ann"));
        let settings: Vec<(&str, &str)> =
            startup.settings.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(
            settings,
            [("a", "1"), ("b_c", "2"), ("d", "x y\\"), ("application_name", "psql")]
        );
        assert!(!startup.negotiate);
    }

    #[test]
    fn refuses_bad_layouts() {
        for body in [&b""[..], b"user", b"user\0", b"user\0ann", b"user\0ann\0", b"user\0ann\0\0x"]
        {
            assert_eq!(read(body).unwrap_err().state, SqlState::PROTOCOL_VIOLATION, "{body:?}");
        }
        assert_eq!(read(b"\0").unwrap_err().state, SqlState::INVALID_AUTHORIZATION);
        assert_eq!(read(b"user\0a\0options\0-x 1\0\0").unwrap_err().state, SqlState::SYNTAX_ERROR);
        assert_eq!(read(b"user\0a\0options\0-c\0\0").unwrap_err().state, SqlState::SYNTAX_ERROR);
        assert_eq!(read(b"user\0\xff\0\0").unwrap_err().state.code(), "22021");
        let error = read(b"user\0a\0replication\0database\0\0").unwrap_err();
        assert_eq!(error.state, SqlState::FEATURE_NOT_SUPPORTED);
    }

    #[test]
    fn negotiates_what_is_newer_than_3_0() {
        let startup_3_2 = startup(PROTOCOL_3_0 + 2, b"user\0a\0_pq_.x\0y\0\0").unwrap();
        assert!(startup_3_2.negotiate);
        assert_eq!(startup_3_2.unknown_options, ["_pq_.x"]);
        let error = startup(2 << 16, b"user\0a\0\0").unwrap_err();
        assert_eq!(error.state, SqlState::FEATURE_NOT_SUPPORTED);
    }
}
