//! Which files there are, how many rows each has, and what their contents hash to.

use std::fs::{self, File, Metadata};
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::lines::{self, LineFormat};
use super::{ReadError, parquet_rows};
use crate::source::{SourceError, SourceInfo};

/// Folders deeper than this are taken for a loop of links.
const MAX_DEPTH: usize = 16;
const READ_BUFFER: usize = 1 << 20;

/// One indexed file.
#[derive(Debug)]
pub(super) struct DataFile {
    pub(super) path: PathBuf,
    /// Path below the folder that was opened, with `/` between its parts.
    pub(super) name: String,
    /// The row of the whole source that is this file's first.
    pub(super) first_row: u64,
    row_count: u64,
    layout: Layout,
    stamp: Stamp,
}

#[derive(Debug)]
enum Layout {
    Parquet,
    /// Where every [`lines::ROWS_PER_MARK`]th row begins.
    Lines {
        format: LineFormat,
        marks: Vec<u64>,
    },
}

#[derive(Clone, Copy)]
enum Format {
    Parquet,
    Lines(LineFormat),
}

/// What betrays that a file was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: Option<SystemTime>,
}

impl DataFile {
    /// Its rows, by their numbers in the whole source.
    pub(super) fn rows(&self) -> Range<u64> {
        self.first_row..self.first_row + self.row_count
    }

    /// Appends the texts of `rows`, numbered from the file's own first row.
    pub(super) fn read(
        &self,
        rows: Range<u64>,
        column: &str,
        texts: &mut Vec<String>,
    ) -> Result<(), ReadError> {
        let file = File::open(&self.path)?;
        if Stamp::of(&file.metadata()?) != self.stamp {
            return Err(ReadError::File(
                "it was changed since it was indexed; start again".into(),
            ));
        }
        match &self.layout {
            Layout::Parquet => parquet_rows::read(file, column, rows, texts),
            Layout::Lines { format, marks } => {
                lines::read(file, *format, marks, column, rows, texts)
            }
        }
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
        }
    }
}

/// Finds, counts and hashes the files at `root`.
pub(super) fn index(root: &Path, column: &str) -> Result<(Vec<DataFile>, SourceInfo), SourceError> {
    let mut hasher = blake3::Hasher::new();
    let mut files: Vec<DataFile> = Vec::new();
    let mut first_row = 0;
    for (name, path, format) in find(root)? {
        let file_error = |problem: String| SourceError::File {
            path: path.clone(),
            problem,
        };
        let (file, contents) = index_file(&path, &name, format, first_row, column)?;
        first_row = first_row
            .checked_add(file.row_count)
            .ok_or_else(|| file_error("the row count overflows".into()))?;
        // Lengths keep a name and the contents from flowing into each other.
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(&file.stamp.bytes.to_le_bytes());
        hasher.update(contents.as_bytes());
        files.push(file);
    }
    if first_row == 0 {
        return Err(SourceError::File {
            path: root.to_owned(),
            problem: "it holds no rows; expected .parquet, .jsonl or .txt files".into(),
        });
    }
    let revision = format!("blake3:{}", hasher.finalize().to_hex());
    Ok((
        files,
        SourceInfo {
            rows: first_row,
            revision,
        },
    ))
}

fn index_file(
    path: &Path,
    name: &str,
    format: Format,
    first_row: u64,
    column: &str,
) -> Result<(DataFile, blake3::Hash), SourceError> {
    let file_error = |error: io::Error| SourceError::File {
        path: path.to_owned(),
        problem: error.to_string(),
    };
    let file = File::open(path).map_err(file_error)?;
    let stamp = Stamp::of(&file.metadata().map_err(file_error)?);
    let mut hashing = Hashing {
        reader: file,
        hasher: blake3::Hasher::new(),
    };
    let (row_count, layout) = match format {
        Format::Parquet => {
            io::copy(
                &mut BufReader::with_capacity(READ_BUFFER, &mut hashing),
                &mut io::sink(),
            )
            .map_err(file_error)?;
            let file = File::open(path).map_err(file_error)?;
            let row_count = parquet_rows::count(file, column)
                .map_err(|error| error.into_source_error(path, column))?;
            (row_count, Layout::Parquet)
        }
        Format::Lines(format) => {
            let reader = BufReader::with_capacity(READ_BUFFER, &mut hashing);
            let (row_count, marks) = lines::index(reader, format, column)
                .map_err(|error| error.into_source_error(path, column))?;
            (row_count, Layout::Lines { format, marks })
        }
    };
    let file = DataFile {
        path: path.to_owned(),
        name: name.to_owned(),
        first_row,
        row_count,
        layout,
        stamp,
    };
    Ok((file, hashing.hasher.finalize()))
}

/// Why a file could not be indexed.
#[derive(Debug)]
pub(super) enum IndexError {
    File(String),
    Column(String),
}

impl From<io::Error> for IndexError {
    fn from(error: io::Error) -> Self {
        Self::File(error.to_string())
    }
}

impl IndexError {
    fn into_source_error(self, path: &Path, column: &str) -> SourceError {
        match self {
            Self::File(problem) => SourceError::File {
                path: path.to_owned(),
                problem,
            },
            Self::Column(problem) => SourceError::Column {
                what: path.display().to_string(),
                column: column.to_owned(),
                problem,
            },
        }
    }
}

/// Hashes what is read through it, so that one pass counts and hashes.
struct Hashing<R> {
    reader: R,
    hasher: blake3::Hasher,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..bytes]);
        Ok(bytes)
    }
}

/// The data files at `root`, in the bytewise order of their names.
fn find(root: &Path) -> Result<Vec<(String, PathBuf, Format)>, SourceError> {
    let error = |problem: String| SourceError::File {
        path: root.to_owned(),
        problem,
    };
    let metadata = fs::metadata(root).map_err(|cause| error(cause.to_string()))?;
    let mut found = Vec::new();
    if metadata.is_dir() {
        walk(root, "", 0, &mut found)?;
    } else {
        let name = root
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let format = format_of(root).ok_or_else(|| {
            error("its name ends in none of .parquet, .jsonl, .ndjson, .txt and .text".into())
        })?;
        found.push((name.unwrap_or_default(), root.to_owned(), format));
    }
    found.sort_by(|(one, ..), (other, ..)| one.as_bytes().cmp(other.as_bytes()));
    Ok(found)
}

fn walk(
    folder: &Path,
    prefix: &str,
    depth: usize,
    found: &mut Vec<(String, PathBuf, Format)>,
) -> Result<(), SourceError> {
    let error = |problem: String| SourceError::File {
        path: folder.to_owned(),
        problem,
    };
    if depth > MAX_DEPTH {
        return Err(error(format!(
            "it lies more than {MAX_DEPTH} folders deep; is it a loop?"
        )));
    }
    for entry in fs::read_dir(folder).map_err(|cause| error(cause.to_string()))? {
        let path = entry.map_err(|cause| error(cause.to_string()))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(error(format!(
                "the name {:?} in it is not UTF-8",
                path.file_name()
            )));
        };
        if name.starts_with('.') {
            continue;
        }
        let name = format!("{prefix}{name}");
        // Follows links: a Hub download is a folder of them.
        let metadata = fs::metadata(&path).map_err(|cause| SourceError::File {
            path: path.clone(),
            problem: cause.to_string(),
        })?;
        if metadata.is_dir() {
            walk(&path, &format!("{name}/"), depth + 1, found)?;
        } else if let Some(format) = format_of(&path) {
            found.push((name, path, format));
        }
    }
    Ok(())
}

fn format_of(path: &Path) -> Option<Format> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "parquet" => Some(Format::Parquet),
        "jsonl" | "ndjson" => Some(Format::Lines(LineFormat::JsonLines)),
        "txt" | "text" => Some(Format::Lines(LineFormat::Text)),
        _ => None,
    }
}
