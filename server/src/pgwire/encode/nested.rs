//! Arrays and records: values made of values.
//!
//! The writers of their elements are boxed; a call per element is little beside
//! what nesting costs in any case.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, FieldRef, Fields};
use tidemill_types::Diagnostic;

use super::{NULL_LENGTH, Style, Visit, nested_oid, with_length, writer};
use crate::pgwire::types::Format;

type Boxed<'a> = Box<dyn Fn(usize, &mut Vec<u8>) + 'a>;

struct Boxing;

impl<'a> Visit<'a> for Boxing {
    type Out = Boxed<'a>;

    fn visit(self, write: impl Fn(usize, &mut Vec<u8>) + 'a) -> Boxed<'a> {
        Box::new(write)
    }
}

/// The elements of a list array.
struct Elements<'a> {
    values: &'a ArrayRef,
    item: &'a FieldRef,
    write: Boxed<'a>,
    /// The range of `values` that a row has.
    range: Box<dyn Fn(usize) -> std::ops::Range<usize> + 'a>,
}

fn elements<'a>(
    array: &'a dyn Array,
    format: Format,
    style: &'a Style,
) -> Result<Option<Elements<'a>>, Diagnostic> {
    let (values, item, range): (_, _, Box<dyn Fn(usize) -> std::ops::Range<usize> + 'a>) =
        match array.data_type() {
            DataType::List(item) => {
                let list = array.as_list::<i32>();
                let offsets = list.value_offsets();
                let range = move |row: usize| offsets[row] as usize..offsets[row + 1] as usize;
                (list.values(), item, Box::new(range))
            }
            DataType::LargeList(item) => {
                let list = array.as_list::<i64>();
                let offsets = list.value_offsets();
                let range = move |row: usize| offsets[row] as usize..offsets[row + 1] as usize;
                (list.values(), item, Box::new(range))
            }
            DataType::FixedSizeList(item, _) => {
                let list = array.as_fixed_size_list();
                let length = list.value_length() as usize;
                let range = move |row: usize| row * length..(row + 1) * length;
                (list.values(), item, Box::new(range))
            }
            _ => return Ok(None),
        };
    let write = writer(values, format, nested_oid(item), style, Boxing)?;
    Ok(Some(Elements { values, item, write, range }))
}

/// The writer of a list or struct array as text; `None`: it is neither.
pub fn text<'a>(array: &'a dyn Array, style: &'a Style) -> Result<Option<Boxed<'a>>, Diagnostic> {
    if let DataType::Struct(fields) = array.data_type() {
        return record_text(array, fields, style).map(Some);
    }
    let Some(elements) = elements(array, Format::Text, style)? else { return Ok(None) };
    let inner_array = is_list(elements.item.data_type());
    Ok(Some(Box::new(move |row, out| {
        out.push(b'{');
        for (count, index) in (elements.range)(row).enumerate() {
            if count > 0 {
                out.push(b',');
            }
            if elements.values.is_null(index) {
                out.extend_from_slice(b"NULL");
            } else if inner_array {
                (elements.write)(index, out);
            } else {
                quoted(
                    out,
                    needs_quotes_in_array,
                    |c| [b'\\', c],
                    |out| {
                        (elements.write)(index, out);
                    },
                );
            }
        }
        out.push(b'}');
    })))
}

fn record_text<'a>(
    array: &'a dyn Array,
    fields: &'a Fields,
    style: &'a Style,
) -> Result<Boxed<'a>, Diagnostic> {
    let members = members(array, fields, Format::Text, style)?;
    Ok(Box::new(move |row, out| {
        out.push(b'(');
        for (count, (_, values, write)) in members.iter().enumerate() {
            if count > 0 {
                out.push(b',');
            }
            if !values.is_null(row) {
                // A record doubles what an array escapes.
                quoted(out, needs_quotes_in_record, |c| [c, c], |out| write(row, out));
            }
        }
        out.push(b')');
    }))
}

/// The writer of a list or struct array in binary; `None`: it is neither.
pub fn binary<'a>(array: &'a dyn Array, style: &'a Style) -> Result<Option<Boxed<'a>>, Diagnostic> {
    if let DataType::Struct(fields) = array.data_type() {
        let members = members(array, fields, Format::Binary, style)?;
        return Ok(Some(Box::new(move |row, out| {
            out.extend_from_slice(&(members.len() as u32).to_be_bytes());
            for (type_oid, values, write) in &members {
                out.extend_from_slice(&type_oid.to_be_bytes());
                element(values, write, row, out);
            }
        })));
    }
    let Some(elements) = elements(array, Format::Binary, style)? else { return Ok(None) };
    if is_list(elements.item.data_type()) {
        return Err(Diagnostic::unsupported("arrays of arrays cannot be sent in binary format")
            .with_hint("Ask for the text format."));
    }
    let type_oid = nested_oid(elements.item);
    Ok(Some(Box::new(move |row, out| {
        let range = (elements.range)(row);
        let dimensions = u32::from(!range.is_empty());
        let has_null = range.clone().any(|index| elements.values.is_null(index));
        for word in [dimensions, u32::from(has_null), type_oid] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        if !range.is_empty() {
            // The length, and the lower bound.
            for word in [range.len() as u32, 1] {
                out.extend_from_slice(&word.to_be_bytes());
            }
        }
        for index in range {
            element(elements.values, &elements.write, index, out);
        }
    })))
}

type Member<'a> = (u32, &'a ArrayRef, Boxed<'a>);

fn members<'a>(
    array: &'a dyn Array,
    fields: &'a Fields,
    format: Format,
    style: &'a Style,
) -> Result<Vec<Member<'a>>, Diagnostic> {
    let member = |(field, values): (&'a FieldRef, &'a ArrayRef)| {
        let type_oid = nested_oid(field);
        let write = writer(values.as_ref(), format, type_oid, style, Boxing)?;
        Ok((type_oid, values, write))
    };
    fields.iter().zip(array.as_struct().columns()).map(member).collect()
}

fn element(values: &ArrayRef, write: &Boxed<'_>, index: usize, out: &mut Vec<u8>) {
    if values.is_null(index) {
        out.extend_from_slice(&NULL_LENGTH);
    } else {
        with_length(out, |out| write(index, out));
    }
}

fn is_list(data_type: &DataType) -> bool {
    matches!(data_type, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _))
}

/// Appends what `write` appends, in quotes if its text needs them.
fn quoted(
    out: &mut Vec<u8>,
    needs_quotes: fn(&[u8]) -> bool,
    escape: fn(u8) -> [u8; 2],
    write: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    write(out);
    if !needs_quotes(&out[start..]) {
        return;
    }
    let text = out.split_off(start);
    out.push(b'"');
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&escape(byte)),
            other => out.push(other),
        }
    }
    out.push(b'"');
}

fn needs_quotes_in_array(text: &[u8]) -> bool {
    text.is_empty()
        || text.eq_ignore_ascii_case(b"null")
        || text.iter().any(|b| is_special(*b) || matches!(b, b'{' | b'}'))
}

fn needs_quotes_in_record(text: &[u8]) -> bool {
    text.is_empty() || text.iter().any(|b| is_special(*b) || matches!(b, b'(' | b')'))
}

fn is_special(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | b',' | b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}
