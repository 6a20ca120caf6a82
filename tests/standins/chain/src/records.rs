//! What a stand-in tells of what has happened on it.

/// An attempt to submit an extrinsic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// blake2-256 of the extrinsic.
    pub hash: [u8; 32],
    /// Who signed it, if it could be decoded; the signature may still be wrong.
    pub signer: Option<[u8; 32]>,
    /// Its nonce, if it could be decoded.
    pub nonce: Option<u32>,
    /// The error's code and message if the pool did not take it.
    pub refused: Option<(i64, String)>,
}

/// A signed extrinsic in a block of the best chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Included {
    /// The block's number.
    pub block: u32,
    /// blake2-256 of the extrinsic.
    pub hash: [u8; 32],
    /// Who signed it.
    pub signer: [u8; 32],
    /// The call, as `Pallet.call`.
    pub call: String,
    /// Whether it did what it asks for; the error, as `Pallet.Error`, if not.
    pub result: Result<(), String>,
    /// Whether its block is final.
    pub is_final: bool,
}

/// A hotkey's commitment at the best block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The subnet.
    pub netuid: u16,
    /// The hotkey's public key.
    pub hotkey: [u8; 32],
    /// The block that it was made in.
    pub block: u32,
    /// The encoded `CommitmentInfo`.
    pub info: Vec<u8>,
    /// The bytes, if it is one `RawN` field.
    pub data: Option<Vec<u8>>,
}

impl Committed {
    /// The bytes as text, if it is one `RawN` field of UTF-8.
    pub fn text(&self) -> Option<&str> {
        self.data
            .as_deref()
            .and_then(|data| std::str::from_utf8(data).ok())
    }
}

/// The chain's heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Heads {
    /// The best block's number.
    pub best: u32,
    /// The finalized block's number.
    pub finalized: u32,
    /// How many extrinsics wait in the pool.
    pub pending: usize,
    /// How many connections are open.
    pub connections: usize,
}
