//! The bytes of a safetensors file, straight from tensors.

use std::io::{self, BufRead, Read};

use tch::Tensor;

/// How much is copied out of a tensor at a time.
const CHUNK_BYTES: u64 = 1 << 20;

/// Reads as the safetensors file of a set of tensors would, without the file
/// or a copy of it: only a chunk is ever held beside the tensors.
///
/// It keeps the tensors alive, and can be sent to another thread.
#[derive(Debug)]
pub struct TensorReader {
    /// With how many bytes each has.
    tensors: Vec<(Tensor, u64)>,
    total_bytes: u64,
    /// The tensor being read, and how many of its bytes have been.
    current: usize,
    consumed: u64,
    chunk: Vec<u8>,
    /// How much of `chunk` has been handed out.
    used: usize,
}

impl TensorReader {
    /// Reads `header`, then the memory of `tensors`, which are contiguous and
    /// on the CPU.
    pub(crate) fn new(header: Vec<u8>, tensors: Vec<Tensor>) -> TensorReader {
        let sized = |tensor: Tensor| {
            let bytes = (tensor.numel() * tensor.kind().elt_size_in_bytes()) as u64;
            (tensor, bytes)
        };
        let tensors: Vec<(Tensor, u64)> = tensors.into_iter().map(sized).collect();
        let data_bytes: u64 = tensors.iter().map(|(_, bytes)| bytes).sum();
        TensorReader {
            total_bytes: header.len() as u64 + data_bytes,
            tensors,
            current: 0,
            consumed: 0,
            chunk: header,
            used: 0,
        }
    }

    /// How many bytes there are in all, read or not.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Refills the chunk; leaves it empty at the end.
    fn advance(&mut self) -> io::Result<()> {
        self.chunk.clear();
        self.used = 0;
        while let Some((tensor, bytes)) = self.tensors.get(self.current) {
            if self.consumed == *bytes {
                self.current += 1;
                self.consumed = 0;
                continue;
            }
            let length = CHUNK_BYTES.min(bytes - self.consumed);
            copy_bytes(tensor, self.consumed, length, &mut self.chunk)?;
            self.consumed += length;
            break;
        }
        Ok(())
    }
}

impl BufRead for TensorReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.used == self.chunk.len() {
            self.advance()?;
        }
        Ok(&self.chunk[self.used..])
    }

    fn consume(&mut self, amount: usize) {
        self.used += amount;
    }
}

impl Read for TensorReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut available = self.fill_buf()?;
        let length = available.read(into)?;
        self.consume(length);
        Ok(length)
    }
}

/// Copies part of a contiguous tensor's memory; both numbers are multiples of
/// its element's size.
fn copy_bytes(tensor: &Tensor, start: u64, length: u64, into: &mut Vec<u8>) -> io::Result<()> {
    let mut copy = || {
        let element = tensor.f_kind()?.elt_size_in_bytes() as u64;
        let flat = tensor.f_view([-1])?;
        let part = flat.f_narrow(0, (start / element) as i64, (length / element) as i64)?;
        into.resize(length as usize, 0);
        part.f_copy_data_u8(into, (length / element) as usize)
    };
    copy().map_err(|error: tch::TchError| io::Error::other(error.to_string()))
}
