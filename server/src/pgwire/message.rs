//! Decodes what a client sends, strictly: every message is read to exactly its
//! end, every count is checked against the bytes that are there, text is UTF-8.
//!
//! The results are the message types of the crate `pgwire`; its own decoders
//! are not used because they read on past a message that is too short.

use bytes::{Buf, Bytes};
use pgwire::messages::extendedquery::{Bind, Close, Describe, Execute, Parse};
use tidemill_types::{Diagnostic, SqlState};

use super::frame::Frame;

/// A message of a running connection.
#[derive(Debug)]
pub enum Frontend {
    Query(String),
    Parse(Parse),
    Bind(Bind),
    Describe(Describe),
    Execute(Execute),
    Close(Close),
    Flush,
    Sync,
    Terminate,
    /// Rows of a COPY that is not running any more: PostgreSQL ignores them.
    CopyLeftover,
    /// A call through the deprecated function call message.
    FunctionCall,
}

/// Decodes one message. An error leaves the connection usable: the message's
/// end is known.
pub fn decode(frame: Frame) -> Result<Frontend, Diagnostic> {
    let mut body = Body { rest: frame.body };
    let message = match frame.tag {
        b'Q' => Frontend::Query(body.text()?),
        b'P' => Frontend::Parse(parse(&mut body)?),
        b'B' => Frontend::Bind(bind(&mut body)?),
        b'D' => Frontend::Describe(Describe::new(body.target()?, body.name()?)),
        b'E' => Frontend::Execute(Execute::new(body.name()?, body.i32()?)),
        b'C' => Frontend::Close(Close::new(body.target()?, body.name()?)),
        b'H' => Frontend::Flush,
        b'S' => Frontend::Sync,
        b'X' => Frontend::Terminate,
        b'd' | b'c' | b'f' => return Ok(Frontend::CopyLeftover),
        b'F' => return Ok(Frontend::FunctionCall),
        _ => return Err(malformed()),
    };
    if body.rest.is_empty() { Ok(message) } else { Err(malformed()) }
}

fn parse(body: &mut Body) -> Result<Parse, Diagnostic> {
    let (name, query) = (body.name()?, body.text()?);
    let types = (0..body.count(4)?).map(|_| body.u32()).collect::<Result<_, _>>()?;
    Ok(Parse::new(name, query, types))
}

fn bind(body: &mut Body) -> Result<Bind, Diagnostic> {
    let (portal, statement) = (body.name()?, body.name()?);
    let formats = (0..body.count(2)?).map(|_| body.i16()).collect::<Result<_, _>>()?;
    let values = (0..body.count(4)?).map(|_| body.value()).collect::<Result<_, _>>()?;
    let results = (0..body.count(2)?).map(|_| body.i16()).collect::<Result<_, _>>()?;
    Ok(Bind::new(portal, statement, formats, values, results))
}

/// What has not been read of a message.
struct Body {
    rest: Bytes,
}

impl Body {
    fn need(&self, bytes: usize) -> Result<(), Diagnostic> {
        if self.rest.len() >= bytes { Ok(()) } else { Err(malformed()) }
    }

    fn u32(&mut self) -> Result<u32, Diagnostic> {
        self.need(4)?;
        Ok(self.rest.get_u32())
    }

    fn i32(&mut self) -> Result<i32, Diagnostic> {
        self.need(4)?;
        Ok(self.rest.get_i32())
    }

    fn i16(&mut self) -> Result<i16, Diagnostic> {
        self.need(2)?;
        Ok(self.rest.get_i16())
    }

    /// A count of elements that have at least `bytes_each` bytes.
    fn count(&mut self, bytes_each: usize) -> Result<u16, Diagnostic> {
        self.need(2)?;
        let count = self.rest.get_u16();
        self.need(usize::from(count) * bytes_each)?;
        Ok(count)
    }

    /// A length and that many bytes, or NULL.
    fn value(&mut self) -> Result<Option<Bytes>, Diagnostic> {
        match self.i32()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| malformed())?;
                self.need(length)?;
                Ok(Some(self.rest.split_to(length)))
            }
        }
    }

    /// Text up to a NUL.
    fn text(&mut self) -> Result<String, Diagnostic> {
        let end = self.rest.iter().position(|b| *b == 0).ok_or_else(malformed)?;
        let text = self.rest.split_to(end);
        self.rest.advance(1);
        match std::str::from_utf8(&text) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(not_utf8(&text[error.valid_up_to()..])),
        }
    }

    /// The name of a statement or portal; `None`: the unnamed one.
    fn name(&mut self) -> Result<Option<String>, Diagnostic> {
        Ok(Some(self.text()?).filter(|name| !name.is_empty()))
    }

    /// What Describe and Close refer to: `S` a statement, `P` a portal.
    fn target(&mut self) -> Result<u8, Diagnostic> {
        self.need(1)?;
        match self.rest.get_u8() {
            target @ (b'S' | b'P') => Ok(target),
            _ => Err(malformed()),
        }
    }
}

fn malformed() -> Diagnostic {
    Diagnostic::new(SqlState::PROTOCOL_VIOLATION, "invalid message format")
}

/// Names the first bytes that are not text.
pub(super) fn not_utf8(from: &[u8]) -> Diagnostic {
    let bytes: Vec<String> = from.iter().take(4).map(|b| format!("0x{b:02x}")).collect();
    Diagnostic::new(
        SqlState::CHARACTER_NOT_IN_REPERTOIRE,
        format!("invalid byte sequence for encoding \"UTF8\": {}", bytes.join(" ")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(tag: u8, body: &[u8]) -> Result<Frontend, Diagnostic> {
        decode(Frame { tag, body: Bytes::copy_from_slice(body) })
    }

    #[test]
    fn reads_a_bind() {
        let body = b"p\0s\0\0\x01\0\x01\0\x02\0\0\0\x02hi\xff\xff\xff\xff\0\x01\0\x01";
        let Ok(Frontend::Bind(bind)) = decoded(b'B', body) else { panic!("a Bind") };
        assert_eq!(bind.portal_name.as_deref(), Some("p"));
        assert_eq!(bind.statement_name.as_deref(), Some("s"));
        assert_eq!(bind.parameter_format_codes, [1]);
        assert_eq!(bind.parameters, [Some(Bytes::from_static(b"hi")), None]);
        assert_eq!(bind.result_column_format_codes, [1]);
    }

    #[test]
    fn every_shortened_or_lengthened_message_is_refused() {
        let bodies: [(u8, &[u8]); 6] = [
            (b'Q', b"select 1\0"),
            (b'P', b"s\0select $1\0\0\x01\0\0\0\x17"),
            (b'B', b"p\0s\0\0\x01\0\x01\0\x01\0\0\0\x02hi\0\x01\0\x01"),
            (b'D', b"Sname\0"),
            (b'E', b"p\0\0\0\0\x05"),
            (b'C', b"Pname\0"),
        ];
        for (tag, body) in bodies {
            assert!(decoded(tag, body).is_ok());
            for end in 0..body.len() {
                let error = decoded(tag, &body[..end]).unwrap_err();
                assert_eq!(error.state, SqlState::PROTOCOL_VIOLATION, "{tag} cut at {end}");
            }
            let longer = [body, b"x"].concat();
            assert_eq!(decoded(tag, &longer).unwrap_err().state, SqlState::PROTOCOL_VIOLATION);
        }
    }

    #[test]
    fn counts_beyond_the_message_and_bad_text_are_refused() {
        let error = decoded(b'P', b"\0\0\xff\xff").unwrap_err();
        assert_eq!(error.state, SqlState::PROTOCOL_VIOLATION);
        let error = decoded(b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff").unwrap_err();
        assert_eq!(error.state, SqlState::PROTOCOL_VIOLATION);
        let error = decoded(b'Q', b"select '\xc3\x28'\0").unwrap_err();
        assert_eq!(error.state.code(), "22021");
        assert!(error.message.contains("0xc3 0x28"), "{}", error.message);
    }
}
