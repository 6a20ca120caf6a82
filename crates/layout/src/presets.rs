//! Models that can be asked for by name.

use crate::config::Gpt2Config;

/// A model that can be asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// What `--model` calls it.
    pub name: &'static str,
    /// What it is for, in a line of `--help`.
    pub purpose: &'static str,
    n_layer: usize,
    n_head: usize,
    n_embd: usize,
    n_positions: usize,
}

/// Every preset, largest first.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "gpt2-122m",
        purpose: "122,268,040 parameters: the most that subnet 9 first allowed",
        n_layer: 12,
        n_head: 10,
        n_embd: 760,
        n_positions: 1024,
    },
    Preset {
        name: "gpt2-demo",
        purpose: "7 million parameters: learns visibly in minutes on two CPU cores",
        n_layer: 4,
        n_head: 4,
        n_embd: 128,
        n_positions: 1024,
    },
    Preset {
        name: "gpt2-nano",
        purpose: "1.6 million parameters, contexts of 128: for trying things out",
        n_layer: 2,
        n_head: 2,
        n_embd: 32,
        n_positions: 128,
    },
];

impl Preset {
    /// Its configuration; what it does not set is GPT-2's default.
    pub fn config(&self) -> Gpt2Config {
        Gpt2Config {
            n_layer: self.n_layer,
            n_head: self.n_head,
            n_embd: self.n_embd,
            n_positions: self.n_positions,
            ..Gpt2Config::default()
        }
    }
}

/// The configuration of the preset of this name.
pub fn preset(name: &str) -> Option<Gpt2Config> {
    let found = PRESETS.iter().find(|preset| preset.name == name)?;
    Some(found.config())
}
