//! The header of a safetensors file.
//!
//! The format: eight bytes with the header's length (little endian), a JSON
//! object that gives each tensor's type, shape and place, padded with spaces
//! to a multiple of eight, then the tensors' bytes without gaps.
//! (<https://github.com/huggingface/safetensors#format>)

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::error::LayoutError;
use crate::tensors::TensorSpec;

/// Bytes of the length in front of the header.
const LENGTH_BYTES: u64 = 8;
/// What the safetensors library refuses to go beyond.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// One tensor of a safetensors file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorEntry {
    /// The tensor's name.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its shape; elements are in row-major order.
    pub shape: Vec<usize>,
    /// Where its bytes begin, counted from the end of the header.
    pub offset: u64,
    /// How many bytes it has.
    pub bytes: u64,
}

/// The header of one safetensors file, to be written or as read.
#[derive(Clone, Debug)]
pub struct SafetensorsHeader {
    entries: Vec<TensorEntry>,
    /// Length, JSON and padding.
    header_bytes: u64,
    data_bytes: u64,
    /// What was parsed or will be written; kept for its serialisation.
    metadata: Metadata,
}

impl SafetensorsHeader {
    /// The header of a file that holds these tensors in fp32, with the
    /// metadata `{"format": "pt"}` that transformers insists on. The file has
    /// the tensors in the byte order of their names, whatever order they come in.
    ///
    /// # Panics
    /// When two tensors have one name, or sizes overflow 64 bits: shapes of a
    /// validated configuration do neither.
    pub fn for_f32(tensors: &[TensorSpec]) -> SafetensorsHeader {
        let tensors = tensors
            .iter()
            .map(|spec| (spec.name.clone(), Dtype::F32, spec.shape.clone()))
            .collect();
        SafetensorsHeader::for_tensors(tensors)
    }

    /// As [`for_f32`](SafetensorsHeader::for_f32), for tensors of any type.
    /// The widest types come first, each type in name order, as the
    /// safetensors library has it.
    ///
    /// # Panics
    /// As [`for_f32`](SafetensorsHeader::for_f32).
    pub fn for_tensors(mut tensors: Vec<(String, Dtype, Vec<usize>)>) -> SafetensorsHeader {
        tensors.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
        let mut offset = 0;
        let mut infos = Vec::with_capacity(tensors.len());
        for (name, dtype, shape) in tensors {
            let bytes = shape.iter().product::<usize>() * dtype.bitsize() / 8;
            let data_offsets = (offset, offset + bytes);
            offset += bytes;
            infos.push((
                name,
                TensorInfo {
                    dtype,
                    shape,
                    data_offsets,
                },
            ));
        }
        let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let metadata = Metadata::new(Some(format), infos)
            .expect("offsets laid out one after the other are valid");
        let json_bytes = encode(&metadata).len() as u64;
        SafetensorsHeader::from_metadata(metadata, json_bytes)
    }

    /// Reads the header at the beginning of a file, and checks that the file is
    /// as long as the header says.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a whole safetensors file.
    pub fn read(path: &Path) -> Result<SafetensorsHeader, LayoutError> {
        let io_error = |source| LayoutError::io(path, source);
        let malformed = |reason: String| LayoutError::Safetensors {
            path: path.to_owned(),
            reason,
        };

        let mut file = File::open(path).map_err(io_error)?;
        let file_bytes = file.metadata().map_err(io_error)?.len();
        if file_bytes < LENGTH_BYTES {
            return Err(malformed(format!("it has only {file_bytes} bytes")));
        }
        let mut length = [0; LENGTH_BYTES as usize];
        file.read_exact(&mut length).map_err(io_error)?;
        let json_bytes = u64::from_le_bytes(length);
        // Compared before anything is allocated: the length may be garbage.
        if json_bytes > (file_bytes - LENGTH_BYTES).min(MAX_HEADER_BYTES) {
            return Err(malformed(format!(
                "its header would be {json_bytes} bytes long, and the file is {file_bytes}"
            )));
        }
        let mut json = vec![0; json_bytes as usize];
        file.read_exact(&mut json).map_err(io_error)?;
        let metadata: Metadata = serde_json::from_slice(&json)
            .map_err(|error| malformed(format!("its header cannot be parsed: {error}")))?;

        let header = SafetensorsHeader::from_metadata(metadata, json_bytes);
        if header.file_bytes() != file_bytes {
            return Err(malformed(format!(
                "its header tells of {} bytes, and the file has {file_bytes}",
                header.file_bytes()
            )));
        }
        Ok(header)
    }

    fn from_metadata(metadata: Metadata, json_bytes: u64) -> SafetensorsHeader {
        let mut entries = Vec::new();
        for name in metadata.offset_keys() {
            if let Some(info) = metadata.info(&name) {
                let (start, end) = info.data_offsets;
                entries.push(TensorEntry {
                    name,
                    dtype: info.dtype,
                    shape: info.shape.clone(),
                    offset: start as u64,
                    bytes: (end - start) as u64,
                });
            }
        }
        SafetensorsHeader {
            entries,
            header_bytes: LENGTH_BYTES + json_bytes,
            data_bytes: metadata.data_len() as u64,
            metadata,
        }
    }

    /// The tensors, in the order of their bytes.
    pub fn entries(&self) -> &[TensorEntry] {
        &self.entries
    }

    /// The bytes that a file with these tensors begins with, up to the first
    /// tensor's.
    pub fn to_bytes(&self) -> Vec<u8> {
        let json = encode(&self.metadata);
        let mut bytes = Vec::with_capacity(json.len() + LENGTH_BYTES as usize);
        bytes.extend((json.len() as u64).to_le_bytes());
        bytes.extend(json);
        bytes
    }

    /// Where the tensors' bytes begin in the file.
    pub fn data_start(&self) -> u64 {
        self.header_bytes
    }

    /// How many bytes the tensors have together.
    pub fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// How long the whole file is.
    pub fn file_bytes(&self) -> u64 {
        self.header_bytes + self.data_bytes
    }
}

fn encode(metadata: &Metadata) -> Vec<u8> {
    let mut json =
        serde_json::to_vec(metadata).expect("writing a map with text keys to memory cannot fail");
    json.resize(json.len().next_multiple_of(LENGTH_BYTES as usize), b' ');
    json
}
