//! One safetensors file, opened for reading.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use safetensors::Dtype;

use crate::error::LayoutError;
use crate::header::{SafetensorsHeader, TensorEntry};

/// A safetensors file whose header has been read and whose length agrees with it.
#[derive(Debug)]
pub struct SafetensorsFile {
    path: PathBuf,
    header: SafetensorsHeader,
}

/// One tensor as its file holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorBytes {
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its elements in row-major order, little endian.
    pub bytes: Vec<u8>,
}

impl SafetensorsFile {
    /// Reads the header of a file.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a whole safetensors file.
    pub fn open(path: impl Into<PathBuf>) -> Result<SafetensorsFile, LayoutError> {
        let path = path.into();
        let header = SafetensorsHeader::read(&path)?;
        Ok(SafetensorsFile { path, header })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors in it, in the order of their bytes.
    pub fn entries(&self) -> &[TensorEntry] {
        self.header.entries()
    }

    /// Reads one of its tensors.
    ///
    /// # Errors
    /// When the file has changed or cannot be read.
    pub fn read_tensor(&self, entry: &TensorEntry) -> Result<TensorBytes, LayoutError> {
        let mut bytes = vec![0; entry.bytes as usize];
        let mut read = || -> io::Result<()> {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(self.header.data_start() + entry.offset))?;
            file.read_exact(&mut bytes)
        };
        read().map_err(|source| LayoutError::io(&self.path, source))?;
        Ok(TensorBytes {
            dtype: entry.dtype,
            shape: entry.shape.clone(),
            bytes,
        })
    }
}
