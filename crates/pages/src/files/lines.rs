//! JSON Lines and plain text: rows that are found by reading line after line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::ops::Range;

use serde_json::{Map, Value};

use super::ReadError;
use super::catalogue::IndexError;
use crate::column::take_text;

/// One offset is kept for this many rows.
pub(super) const ROWS_PER_MARK: u64 = 100;

/// A longer row is taken for a file of another format.
const MAX_ROW_BYTES: u64 = 256 << 20;

const READ_BUFFER: usize = 256 << 10;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// How a file's lines make rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineFormat {
    /// Every line that is not blank is a JSON object.
    JsonLines,
    /// Blank lines separate blocks; a block is a row, without its last line break.
    Text,
}

/// Counts rows, and notes where every hundredth begins.
pub(super) fn index(
    reader: impl BufRead,
    format: LineFormat,
    column: &str,
) -> Result<(u64, Vec<u64>), IndexError> {
    let mut rows = RowReader::new(reader, format, 0);
    let mut row = Vec::new();
    let mut marks = Vec::new();
    let mut count: u64 = 0;
    loop {
        let position = rows.position;
        if !rows.next(&mut row)? {
            return Ok((count, marks));
        }
        if count.is_multiple_of(ROWS_PER_MARK) {
            marks.push(position);
        }
        // A wrong column or format shows in the first row; better now than hours later.
        if count == 0
            && let Err(problem) = text_of(&row, format, column)
        {
            return Err(IndexError::Column(format!("in its first row, {problem}")));
        }
        count += 1;
    }
}

/// Appends the texts of `rows`.
pub(super) fn read(
    mut file: File,
    format: LineFormat,
    marks: &[u64],
    column: &str,
    rows: Range<u64>,
    texts: &mut Vec<String>,
) -> Result<(), ReadError> {
    let mark = rows.start / ROWS_PER_MARK;
    let position = usize::try_from(mark)
        .ok()
        .and_then(|mark| marks.get(mark))
        .copied()
        .ok_or_else(|| ReadError::File(format!("it has no row {}", rows.start)))?;
    file.seek(SeekFrom::Start(position))?;
    let reader = BufReader::with_capacity(READ_BUFFER, file);
    let mut reader = RowReader::new(reader, format, position);
    let mut row = Vec::new();
    for number in mark * ROWS_PER_MARK..rows.end {
        if !reader.next(&mut row)? {
            return Ok(());
        }
        if number >= rows.start {
            let text = text_of(&row, format, column)
                .map_err(|problem| ReadError::Row(format!("in row {number}, {problem}")))?;
            texts.push(text);
        }
    }
    Ok(())
}

fn text_of(row: &[u8], format: LineFormat, column: &str) -> Result<String, String> {
    match format {
        LineFormat::Text => match std::str::from_utf8(row) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(format!("there is something else than UTF-8: {error}")),
        },
        LineFormat::JsonLines => {
            let object: Map<String, Value> = serde_json::from_slice(row)
                .map_err(|error| format!("there is something else than a JSON object: {error}"))?;
            take_text(object, column)
                .map_err(|error| format!("there is no text under `{column}`: {error}"))
        }
    }
}

/// Reads row after row, and knows where it is.
struct RowReader<R> {
    reader: R,
    format: LineFormat,
    /// Bytes of the file that lie before what `next` will look at.
    position: u64,
    line: Vec<u8>,
}

impl<R: BufRead> RowReader<R> {
    fn new(reader: R, format: LineFormat, position: u64) -> Self {
        Self {
            reader,
            format,
            position,
            line: Vec::new(),
        }
    }

    /// Puts the next row's bytes into `row`; false at the end of the file.
    fn next(&mut self, row: &mut Vec<u8>) -> io::Result<bool> {
        row.clear();
        while self.next_line()? {
            let blank = self.line.trim_ascii().is_empty();
            match self.format {
                _ if blank && row.is_empty() => {}
                LineFormat::Text if blank => break,
                LineFormat::Text => {
                    row.extend_from_slice(&self.line);
                    if row.len() as u64 > MAX_ROW_BYTES {
                        return Err(too_long(self.position));
                    }
                }
                LineFormat::JsonLines => {
                    std::mem::swap(row, &mut self.line);
                    break;
                }
            }
        }
        row.truncate(length_without_line_breaks(row));
        Ok(!row.is_empty())
    }

    fn next_line(&mut self) -> io::Result<bool> {
        self.line.clear();
        let mut bounded = self.reader.by_ref().take(MAX_ROW_BYTES);
        let bytes = bounded.read_until(b'\n', &mut self.line)? as u64;
        if bytes == MAX_ROW_BYTES {
            return Err(too_long(self.position));
        }
        if self.position == 0 && self.line.starts_with(BYTE_ORDER_MARK) {
            self.line.drain(..BYTE_ORDER_MARK.len());
        }
        self.position += bytes;
        Ok(bytes > 0)
    }
}

/// The length of a row without the line breaks at its end.
fn length_without_line_breaks(row: &[u8]) -> usize {
    row.len()
        - row
            .iter()
            .rev()
            .take_while(|byte| matches!(byte, b'\n' | b'\r'))
            .count()
}

fn too_long(position: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!(
            "a row before byte {position} is longer than {} MiB; is it text?",
            MAX_ROW_BYTES >> 20
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(format: LineFormat, text: &str) -> Vec<String> {
        let mut reader = RowReader::new(text.as_bytes(), format, 0);
        let mut row = Vec::new();
        let mut rows = Vec::new();
        while reader.next(&mut row).unwrap() {
            rows.push(String::from_utf8(row.clone()).unwrap());
        }
        assert_eq!(reader.position, text.len() as u64);
        rows
    }

    #[test]
    fn blank_lines_separate_documents() {
        let text = "\u{feff}\n\none\ntwo\n \t\r\n\nthree\r\n  four\r\n\n\n";
        assert_eq!(
            rows(LineFormat::Text, text),
            ["one\ntwo", "three\r\n  four"]
        );
        assert_eq!(rows(LineFormat::Text, "no line break"), ["no line break"]);
        assert!(rows(LineFormat::Text, " \n\n").is_empty());
    }

    #[test]
    fn a_byte_order_mark_is_no_text() {
        assert_eq!(rows(LineFormat::Text, "\u{feff}one\n"), ["one"]);
        assert_eq!(rows(LineFormat::JsonLines, "\u{feff}{}\n"), ["{}"]);
    }

    #[test]
    fn every_line_that_is_not_blank_is_a_json_row() {
        assert_eq!(
            rows(LineFormat::JsonLines, "{\"a\":1}\n\n  \n{}\r\n{}"),
            ["{\"a\":1}", "{}", "{}"]
        );
    }

    proptest! {
        #[test]
        fn documents_survive_being_written_and_read(
            documents in prop::collection::vec("[a-z]{1,8}(\n[a-z]{1,8}){0,3}", 0..300),
            gap in "\n{2,4}",
        ) {
            let text = documents.join(&gap);
            prop_assert_eq!(rows(LineFormat::Text, &text), documents.clone());
            if !documents.is_empty() {
                let (count, marks) = index(text.as_bytes(), LineFormat::Text, "").unwrap();
                prop_assert_eq!(count as usize, documents.len());
                prop_assert_eq!(marks.len(), documents.len().div_ceil(100));
                for (mark, documents) in marks.iter().zip(documents.chunks(100)) {
                    let rest = &text[usize::try_from(*mark).unwrap()..];
                    let first = rows(LineFormat::Text, rest).into_iter().next();
                    prop_assert_eq!(first.as_ref(), documents.first());
                }
            }
        }
    }
}
