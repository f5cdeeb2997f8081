//! Records as PostgreSQL's `COPY ... TO ... (FORMAT csv)` writes them.
//!
//! A field is quoted where a reader would take it for something else: it has the
//! delimiter, the quote or the end of a line in it, or it is the text of NULL, which
//! here is the empty one. Records end with a newline.

use arrow::array::{Array, RecordBatch};

use crate::formats::text::output::{Cells, Separator, cells};

/// How the records are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Style {
    pub delimiter: u8,
    pub quote: u8,
}

impl Style {
    /// Appends a record of names.
    pub fn header<'a>(self, names: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
        for (i, name) in names.enumerate() {
            self.separate(i, out);
            self.field(name.as_bytes(), out);
        }
        out.push(b'\n');
    }

    /// Appends the rows of a batch. `lead` gives each row's first field, where there
    /// is one that is not a column. `false`: a column's type has no text.
    #[must_use]
    pub fn rows(
        self,
        batch: &RecordBatch,
        lead: Option<&dyn Fn(usize) -> &'static str>,
        out: &mut Vec<u8>,
    ) -> bool {
        let columns = batch.columns();
        let cells: Option<Vec<Cells<'_>>> =
            columns.iter().map(|column| cells(column, Separator::Blank)).collect();
        let Some(cells) = cells else { return false };
        let mut text = Vec::new();
        for row in 0..batch.num_rows() {
            let mut fields = 0;
            if let Some(lead) = lead {
                out.extend_from_slice(lead(row).as_bytes());
                fields = 1;
            }
            for (column, cell) in columns.iter().zip(&cells) {
                self.separate(fields, out);
                fields += 1;
                if column.is_valid(row) {
                    text.clear();
                    cell(row, &mut text);
                    self.field(&text, out);
                }
            }
            out.push(b'\n');
        }
        true
    }

    fn separate(self, before: usize, out: &mut Vec<u8>) {
        if before > 0 {
            out.push(self.delimiter);
        }
    }

    fn field(self, text: &[u8], out: &mut Vec<u8>) {
        let special = |b: &u8| [self.delimiter, self.quote, b'\n', b'\r'].contains(b);
        // A line of only `\.` ends the input of older readers.
        if !text.is_empty() && text != b"\\." && !text.iter().any(special) {
            out.extend_from_slice(text);
            return;
        }
        out.push(self.quote);
        for byte in text {
            if *byte == self.quote {
                out.push(self.quote);
            }
            out.push(*byte);
        }
        out.push(self.quote);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringViewArray};

    use super::*;

    fn text(batch: &RecordBatch, lead: Option<&dyn Fn(usize) -> &'static str>) -> String {
        let style = Style { delimiter: b',', quote: b'"' };
        let mut out = Vec::new();
        let schema = batch.schema();
        style.header(schema.fields().iter().map(|f| f.name().as_str()), &mut out);
        assert!(style.rows(batch, lead, &mut out));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        let values = [Some(""), None, Some("a b"), Some("a,b"), Some("\"q\""), Some("x\ny\r")];
        let values: ArrayRef = Arc::new(StringViewArray::from_iter(values));
        let numbers: ArrayRef =
            Arc::new(Int64Array::from_iter((0..6).map(|i| (i != 3).then_some(i))));
        let batch = RecordBatch::try_from_iter([("a,\"", values), ("n", numbers)]).unwrap();
        assert_eq!(
            text(&batch, None),
            "\"a,\"\"\",n\n\"\",0\n,1\na b,2\n\"a,b\",\n\"\"\"q\"\"\",4\n\"x\ny\r\",5\n"
        );
    }

    #[test]
    fn a_kind_of_change_comes_first() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let lead = |row: usize| if row == 0 { "insert" } else { "delete" };
        assert_eq!(text(&batch, Some(&lead)), "n\ninsert,1\ndelete,\n");
        assert_eq!(text(&batch, None), "n\n1\n\n");
    }
}
