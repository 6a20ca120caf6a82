//! Parquet: one text column, read by row group, without decoding the others.

use std::fs::File;
use std::ops::Range;

use parquet::basic::Type as PhysicalType;
use parquet::column::reader::ColumnReader;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::ReadError;
use super::catalogue::IndexError;

impl From<ParquetError> for ReadError {
    fn from(error: ParquetError) -> Self {
        Self::File(error.to_string())
    }
}

impl From<ParquetError> for IndexError {
    fn from(error: ParquetError) -> Self {
        Self::File(error.to_string())
    }
}

/// The file's row count, if it has the text column.
pub(super) fn count(file: File, column: &str) -> Result<u64, IndexError> {
    let reader = SerializedFileReader::new(file)?;
    text_column(reader.metadata(), column).map_err(IndexError::Column)?;
    let rows = reader.metadata().file_metadata().num_rows();
    u64::try_from(rows).map_err(|_| IndexError::File(format!("it claims {rows} rows")))
}

/// Appends the texts of `rows`.
pub(super) fn read(
    file: File,
    column: &str,
    rows: Range<u64>,
    texts: &mut Vec<String>,
) -> Result<(), ReadError> {
    let reader = SerializedFileReader::new(file)?;
    let leaf = text_column(reader.metadata(), column).map_err(ReadError::File)?;
    let mut group_start: u64 = 0;
    for group in 0..reader.num_row_groups() {
        let row_group = reader.get_row_group(group)?;
        let group_rows = u64::try_from(row_group.metadata().num_rows()).unwrap_or(0);
        let wanted = super::overlap(&rows, &(group_start..group_start + group_rows));
        if !wanted.is_empty() {
            let ColumnReader::ByteArrayColumnReader(mut values) =
                row_group.get_column_reader(leaf)?
            else {
                return Err(ReadError::File(format!(
                    "the column `{column}` is not text"
                )));
            };
            let nullable = row_group
                .metadata()
                .column(leaf)
                .column_descr()
                .max_def_level();
            values.skip_records(to_usize(wanted.start - group_start)?)?;
            read_texts(&mut values, nullable, wanted, texts)?;
        }
        group_start += group_rows;
    }
    Ok(())
}

type TextReader = parquet::column::reader::ColumnReaderImpl<parquet::data_type::ByteArrayType>;

/// `present` is the definition level of a value that is not null.
fn read_texts(
    reader: &mut TextReader,
    present: i16,
    rows: Range<u64>,
    texts: &mut Vec<String>,
) -> Result<(), ReadError> {
    let wanted = to_usize(rows.end - rows.start)?;
    let mut levels: Vec<i16> = Vec::with_capacity(wanted);
    let mut values: Vec<ByteArray> = Vec::with_capacity(wanted);
    let (records, ..) = reader.read_records(wanted, Some(&mut levels), None, &mut values)?;
    if present == 0 {
        levels = vec![0; records];
    }
    let mut values = values.into_iter();
    for (level, number) in levels.into_iter().zip(rows) {
        let value = if level == present {
            values.next()
        } else {
            None
        };
        let text = match &value {
            None => "",
            Some(bytes) => std::str::from_utf8(bytes.data()).map_err(|error| {
                ReadError::Row(format!(
                    "in row {number}, there is something else than UTF-8: {error}"
                ))
            })?,
        };
        texts.push(text.to_owned());
    }
    Ok(())
}

/// The leaf index of a top-level text column.
fn text_column(metadata: &ParquetMetaData, column: &str) -> Result<usize, String> {
    let schema = metadata.file_metadata().schema_descr();
    let position = schema
        .columns()
        .iter()
        .position(|leaf| leaf.path().parts() == [column]);
    let Some(leaf) = position else {
        let names: Vec<String> = schema
            .columns()
            .iter()
            .map(|leaf| leaf.path().string())
            .collect();
        return Err(format!("it has the columns {}", names.join(", ")));
    };
    let descriptor = schema.column(leaf);
    if descriptor.physical_type() != PhysicalType::BYTE_ARRAY || descriptor.max_rep_level() > 0 {
        return Err(format!("it holds {}", descriptor.physical_type()));
    }
    Ok(leaf)
}

fn to_usize(rows: u64) -> Result<usize, ReadError> {
    usize::try_from(rows).map_err(|_| ReadError::File(format!("{rows} rows at once")))
}
