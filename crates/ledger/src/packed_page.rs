//! A page's sequences, and the bytes in which they are stored and sent.
//!
//! # Format, version 1
//!
//! All numbers are little endian.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `PGPP` |
//! | 2 | version: 1 |
//! | 2 | bytes per id: 2 if every id is below 2^16, else 4 |
//! | 8 | page |
//! | 4 | ids per sequence (`sl`), not 0 |
//! | 4 | sequences |
//! | 4 | dropped tokens |
//! | sequences × sl × bytes per id | the ids |
//! | 32 | the content's digest |
//!
//! A content has one encoding, and an encoding that differs in a bit is
//! refused.

use crate::{PageDigest, PageId, PageRow};

const MAGIC: [u8; 4] = *b"PGPP";
const VERSION: u16 = 1;
const HEADER_LEN: usize = 28;
const DIGEST_LEN: usize = 32;
const MIN_LEN: usize = HEADER_LEN + DIGEST_LEN;

/// A page's sequences, in order: a pure function of its rows and of how they
/// are tokenized and cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedPage {
    page: PageId,
    sl: u32,
    dropped_tokens: u32,
    /// `sl` ids for each sequence, one sequence after another.
    ids: Vec<u32>,
}

/// Why ids or bytes are not a packed page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackedPageError {
    /// The sequence length is 0.
    #[error("a packed page's sequence length is 0")]
    EmptySequences,
    /// The ids do not make whole sequences.
    #[error("{ids} ids do not make whole sequences of {sl}")]
    PartialSequence {
        /// How many ids there are.
        ids: usize,
        /// Ids per sequence.
        sl: u32,
    },
    /// More sequences than the format can count.
    #[error("{0} sequences are more than a packed page can hold")]
    TooManySequences(usize),
    /// Fewer bytes than every packed page has.
    #[error("a packed page has at least {MIN_LEN} bytes, these are {0}")]
    TooShort(usize),
    /// Something else altogether.
    #[error("these bytes are not a packed page: they do not begin with `PGPP`")]
    NotAPackedPage,
    /// Written by another version.
    #[error("packed page of version {0}, but only version {VERSION} is known: prepare it again")]
    UnknownVersion(u16),
    /// Neither 2 nor 4.
    #[error("a packed page's ids take 2 or 4 bytes, not {0}")]
    UnknownIdWidth(u16),
    /// Truncated, or with something after its end.
    #[error("a packed page of {sequences} sequences of {sl} ids has not {bytes} bytes")]
    WrongLength {
        /// As the header says.
        sequences: u32,
        /// As the header says.
        sl: u32,
        /// How many bytes there are.
        bytes: usize,
    },
    /// Four bytes per id where two would do.
    #[error("a packed page with ids below 65536 spends 4 bytes on each")]
    WastefulWidth,
    /// The content is not what was encoded.
    #[error("a packed page's digest does not match its content: fetch or prepare it again")]
    DigestMismatch,
}

impl PackedPage {
    /// A packed page of sequences of `sl` ids each, one after another in `ids`.
    ///
    /// # Errors
    /// If `sl` is 0, `ids` does not make whole sequences, or makes more than
    /// 2^32 - 1.
    pub fn new(
        page: PageId,
        sl: u32,
        dropped_tokens: u32,
        ids: Vec<u32>,
    ) -> Result<PackedPage, PackedPageError> {
        if sl == 0 {
            return Err(PackedPageError::EmptySequences);
        }
        if !ids.len().is_multiple_of(sl as usize) {
            return Err(PackedPageError::PartialSequence { ids: ids.len(), sl });
        }
        let sequences = ids.len() / sl as usize;
        if u32::try_from(sequences).is_err() {
            return Err(PackedPageError::TooManySequences(sequences));
        }
        Ok(PackedPage {
            page,
            sl,
            dropped_tokens,
            ids,
        })
    }

    /// Which page this is.
    pub fn page(&self) -> PageId {
        self.page
    }

    /// Ids per sequence.
    pub fn sl(&self) -> u32 {
        self.sl
    }

    /// Token ids at the page's end that filled no sequence.
    pub fn dropped_tokens(&self) -> u32 {
        self.dropped_tokens
    }

    /// All sequences' ids, one sequence after another.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// How many sequences there are.
    pub fn sequences(&self) -> u32 {
        // `new` refuses pages for which this would not fit.
        (self.ids.len() / self.sl as usize) as u32
    }

    /// The `sl` ids of one sequence; `None` beyond the last.
    pub fn sequence(&self, index: u32) -> Option<&[u32]> {
        self.ids.chunks_exact(self.sl as usize).nth(index as usize)
    }

    /// The page table's row for this page.
    pub fn row(&self) -> PageRow {
        PageRow::Packed {
            page: self.page,
            sequences: self.sequences(),
            digest: self.digest(),
            dropped_tokens: self.dropped_tokens,
        }
    }

    /// A digest of the content, whatever version of the format carries it:
    /// page, `sl`, sequences, dropped tokens and the ids as 32-bit numbers.
    pub fn digest(&self) -> PageDigest {
        let mut hasher = blake3::Hasher::new_derive_key("peregrine ledger packed page content v1");
        hasher.update(&self.page.0.to_le_bytes());
        hasher.update(&self.sl.to_le_bytes());
        hasher.update(&self.sequences().to_le_bytes());
        hasher.update(&self.dropped_tokens.to_le_bytes());
        // In pieces, so that a page is not held twice.
        for piece in self.ids.chunks(4096) {
            let bytes: Vec<u8> = piece.iter().flat_map(|id| id.to_le_bytes()).collect();
            hasher.update(&bytes);
        }
        PageDigest(*hasher.finalize().as_bytes())
    }

    /// The page's bytes, in the format that the module describes.
    pub fn encode(&self) -> Vec<u8> {
        let narrow = fits_u16(&self.ids);
        let width: u16 = if narrow { 2 } else { 4 };
        let body_len = self.ids.len() * usize::from(width);
        let mut bytes = Vec::with_capacity(HEADER_LEN + body_len + DIGEST_LEN);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&width.to_le_bytes());
        bytes.extend_from_slice(&self.page.0.to_le_bytes());
        bytes.extend_from_slice(&self.sl.to_le_bytes());
        bytes.extend_from_slice(&self.sequences().to_le_bytes());
        bytes.extend_from_slice(&self.dropped_tokens.to_le_bytes());
        if narrow {
            bytes.extend(self.ids.iter().flat_map(|id| (*id as u16).to_le_bytes()));
        } else {
            bytes.extend(self.ids.iter().flat_map(|id| id.to_le_bytes()));
        }
        bytes.extend_from_slice(&self.digest().0);
        bytes
    }

    /// Reads what [`PackedPage::encode`] wrote. Allocates in proportion to
    /// `bytes`, whatever their header claims.
    ///
    /// # Errors
    /// If the bytes are truncated, changed, or never were a packed page.
    pub fn decode(bytes: &[u8]) -> Result<PackedPage, PackedPageError> {
        let too_short = || PackedPageError::TooShort(bytes.len());
        let (header, rest) = bytes
            .split_first_chunk::<HEADER_LEN>()
            .ok_or_else(too_short)?;
        let (body, digest) = rest
            .split_last_chunk::<DIGEST_LEN>()
            .ok_or_else(too_short)?;
        let header = Header::parse(header)?;
        let expected_len = u64::from(header.sequences)
            .checked_mul(u64::from(header.sl))
            .and_then(|ids| ids.checked_mul(u64::from(header.width)));
        if expected_len != Some(body.len() as u64) {
            return Err(PackedPageError::WrongLength {
                sequences: header.sequences,
                sl: header.sl,
                bytes: bytes.len(),
            });
        }
        let ids: Vec<u32> = if header.width == 2 {
            let (ids, _) = body.as_chunks::<2>();
            ids.iter()
                .map(|id| u32::from(u16::from_le_bytes(*id)))
                .collect()
        } else {
            let (ids, _) = body.as_chunks::<4>();
            ids.iter().map(|id| u32::from_le_bytes(*id)).collect()
        };
        if header.width == 4 && fits_u16(&ids) {
            return Err(PackedPageError::WastefulWidth);
        }
        let packed = PackedPage::new(header.page, header.sl, header.dropped_tokens, ids)?;
        if packed.sequences() != header.sequences || packed.digest() != PageDigest(*digest) {
            return Err(PackedPageError::DigestMismatch);
        }
        Ok(packed)
    }
}

fn fits_u16(ids: &[u32]) -> bool {
    ids.iter().all(|id| *id <= u32::from(u16::MAX))
}

/// The fields before the ids, checked one by one.
struct Header {
    width: u16,
    page: PageId,
    sl: u32,
    sequences: u32,
    dropped_tokens: u32,
}

impl Header {
    fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Header, PackedPageError> {
        let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if bytes[..4] != MAGIC {
            return Err(PackedPageError::NotAPackedPage);
        }
        let version = u16_at(4);
        if version != VERSION {
            return Err(PackedPageError::UnknownVersion(version));
        }
        let width = u16_at(6);
        if width != 2 && width != 4 {
            return Err(PackedPageError::UnknownIdWidth(width));
        }
        let sl = u32_at(16);
        if sl == 0 {
            return Err(PackedPageError::EmptySequences);
        }
        Ok(Header {
            width,
            page: PageId(u64_at(8)),
            sl,
            sequences: u32_at(20),
            dropped_tokens: u32_at(24),
        })
    }
}
