//! What a model may be, by the block at which it is committed.

use std::fmt;
use std::fs;

const GIB: u64 = 1 << 30;

/// The `model_type`s (as in config.json) of the first architectures allowed:
/// GPT-2, Mistral, Llama, Bart, Falcon, GPT-NeoX and GPT-J.
const FIRST_TYPES: &[&str] = &[
    "gpt2", "mistral", "llama", "bart", "falcon", "gpt_neox", "gptj",
];

/// Those allowed since models of 6.9 billion parameters are: without GPT-2 and
/// GPT-J, with Phi and Gemma.
const LATER_TYPES: &[&str] = &[
    "mistral", "llama", "bart", "falcon", "gpt_neox", "phi", "gemma",
];

/// What validators demand of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Criteria {
    /// The most parameters it may have.
    pub max_parameters: u64,
    /// The most bytes that all files of its repository may have together.
    pub max_repository_bytes: u64,
    /// The length in tokens of the sequences it is evaluated on.
    pub sequence_length: u32,
    /// The architectures allowed, as config.json names them.
    pub model_types: &'static [&'static str],
    /// The token ids it is evaluated on.
    pub vocabulary: Vocabulary,
    /// Whether it is loaded in bfloat16 with flash attention.
    pub bf16_and_flash_attention: bool,
}

/// Whose token ids a model is evaluated on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    /// GPT-2's 50,257 (DistilGPT-2's are the same).
    Gpt2,
    /// GPT-4's.
    Gpt4,
}

impl Criteria {
    /// As the subnet had them in January 2024, before it kept a table by block.
    pub const JANUARY_2024: Self = Self {
        max_parameters: 122_268_040,
        max_repository_bytes: GIB,
        sequence_length: 1024,
        model_types: FIRST_TYPES,
        vocabulary: Vocabulary::Gpt2,
        bf16_and_flash_attention: false,
    };

    /// The table by block that later validators hold every model to, those of
    /// early blocks too. In rising order of the first block.
    const BY_BLOCK: [(u64, Self); 3] = [
        (
            0,
            Self {
                max_parameters: 186_000_000,
                max_repository_bytes: 5 * GIB,
                ..Self::JANUARY_2024
            },
        ),
        (
            2_405_920,
            Self {
                max_parameters: 772_000_000,
                max_repository_bytes: 5 * GIB,
                ..Self::JANUARY_2024
            },
        ),
        (
            2_786_061,
            Self {
                max_parameters: 6_900_000_000,
                max_repository_bytes: 15 * GIB,
                sequence_length: 4096,
                model_types: LATER_TYPES,
                vocabulary: Vocabulary::Gpt4,
                bf16_and_flash_attention: true,
            },
        ),
    ];

    /// What later validators demand of a model that is committed at `block`.
    #[must_use]
    pub fn at_block(block: u64) -> Self {
        let in_force = |(first, _): &&(u64, Self)| *first <= block;
        let row = Self::BY_BLOCK.iter().rev().find(in_force);
        row.map_or(Self::JANUARY_2024, |(_, criteria)| criteria.clone())
    }

    /// Every way in which a model falls short; none means that validators would
    /// evaluate it.
    #[must_use]
    pub fn check(&self, model: &ModelFacts) -> Vec<Violation> {
        let mut violations = Vec::new();
        if model.parameters > self.max_parameters {
            violations.push(Violation::Parameters {
                found: model.parameters,
                most: self.max_parameters,
            });
        }
        if model.repository_bytes > self.max_repository_bytes {
            violations.push(Violation::Bytes {
                found: model.repository_bytes,
                most: self.max_repository_bytes,
            });
        }
        if !self.model_types.contains(&model.model_type.as_str()) {
            violations.push(Violation::ModelType {
                found: model.model_type.clone(),
                allowed: self.model_types,
            });
        }
        let least_context = u64::from(self.sequence_length);
        if let Some(found) = model.context.filter(|&context| context < least_context) {
            violations.push(Violation::Context {
                found,
                least: least_context,
            });
        }
        let least_vocabulary = self.vocabulary.ids();
        if let Some(found) = model.vocabulary.filter(|&ids| ids < least_vocabulary) {
            violations.push(Violation::Vocabulary {
                found,
                least: least_vocabulary,
            });
        }
        violations
    }
}

impl Vocabulary {
    /// How many ids it has at the least, so that a smaller embedding cannot be
    /// evaluated.
    fn ids(self) -> u64 {
        match self {
            Self::Gpt2 => 50_257,
            // The merges of cl100k_base; its special tokens lie above them.
            Self::Gpt4 => 100_256,
        }
    }
}

/// What the criteria ask about a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFacts {
    /// Its architecture, as config.json's `model_type` names it.
    pub model_type: String,
    /// How many parameters it has, tied ones counted once.
    pub parameters: u64,
    /// The bytes of all files that are published.
    pub repository_bytes: u64,
    /// The longest sequence it can be given, if it has such a limit.
    pub context: Option<u64>,
    /// The rows of its token embedding, if known.
    pub vocabulary: Option<u64>,
}

impl ModelFacts {
    /// The facts about a GPT-2 on disk, if nothing but the files that make up
    /// the model is published.
    ///
    /// # Errors
    /// If a file's length cannot be read.
    pub fn of(model: &layout::ModelDir) -> std::io::Result<Self> {
        let mut repository_bytes = 0;
        for file in model.files() {
            repository_bytes += fs::metadata(file)?.len();
        }
        Ok(Self {
            model_type: "gpt2".to_owned(),
            parameters: model.count_parameters(),
            repository_bytes,
            context: Some(model.config().n_positions as u64),
            vocabulary: Some(model.config().vocab_size as u64),
        })
    }
}

/// One way in which a model falls short of the [`Criteria`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// It has too many parameters.
    Parameters {
        /// How many it has.
        found: u64,
        /// How many it may have.
        most: u64,
    },
    /// Its files are too large.
    Bytes {
        /// What they have together.
        found: u64,
        /// What they may have.
        most: u64,
    },
    /// Its architecture is not allowed.
    ModelType {
        /// What config.json says.
        found: String,
        /// What it may say.
        allowed: &'static [&'static str],
    },
    /// Validators' sequences are longer than it can take.
    Context {
        /// The longest it can take, in tokens.
        found: u64,
        /// The length of validators' sequences.
        least: u64,
    },
    /// Validators' token ids go beyond its embedding.
    Vocabulary {
        /// The rows of its embedding.
        found: u64,
        /// How many ids there are.
        least: u64,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parameters { found, most } => write!(
                f,
                "the model has {} parameters, and at most {} are allowed",
                grouped(*found),
                grouped(*most)
            ),
            Self::Bytes { found, most } => write!(
                f,
                "the model's files have {} bytes, and at most {} are allowed",
                grouped(*found),
                grouped(*most)
            ),
            Self::ModelType { found, allowed } => write!(
                f,
                "the model's type is {found:?}, and allowed are {}",
                allowed.join(", ")
            ),
            Self::Context { found, least } => write!(
                f,
                "the model takes sequences of at most {found} tokens, and validators' have {least}"
            ),
            Self::Vocabulary { found, least } => write!(
                f,
                "the model's vocabulary has {} tokens, and validators' at least {}",
                grouped(*found),
                grouped(*least)
            ),
        }
    }
}

/// Digits in groups of three, so that nine of them can be compared by eye.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest model that January 2024 allowed.
    fn largest() -> ModelFacts {
        ModelFacts {
            model_type: "gpt2".to_owned(),
            parameters: 122_268_040,
            repository_bytes: GIB,
            context: Some(1024),
            vocabulary: Some(50_257),
        }
    }

    #[test]
    fn the_limits_themselves_are_allowed() {
        assert_eq!(Criteria::JANUARY_2024.check(&largest()), []);
    }

    #[test]
    fn each_limit_is_named_with_what_was_found_and_what_is_allowed() {
        let beyond = ModelFacts {
            model_type: "bert".to_owned(),
            parameters: 122_268_041,
            repository_bytes: GIB + 1,
            context: Some(1023),
            vocabulary: Some(50_256),
        };
        let words: Vec<String> = Criteria::JANUARY_2024
            .check(&beyond)
            .iter()
            .map(Violation::to_string)
            .collect();
        let expected = [
            "122,268,041 parameters, and at most 122,268,040",
            "1,073,741,825 bytes, and at most 1,073,741,824",
            "\"bert\", and allowed are gpt2, mistral",
            "at most 1023 tokens, and validators' have 1024",
            "50,256 tokens, and validators' at least 50,257",
        ];
        assert_eq!(words.len(), expected.len(), "{words:?}");
        for (said, part) in words.iter().zip(expected) {
            assert!(said.contains(part), "{said}");
        }
    }

    #[test]
    fn what_is_not_known_of_a_model_is_not_held_against_it() {
        let unknown = ModelFacts {
            context: None,
            vocabulary: None,
            ..largest()
        };
        assert_eq!(Criteria::JANUARY_2024.check(&unknown), []);
    }

    #[test]
    fn each_row_begins_at_its_block() {
        let parameters = |block| Criteria::at_block(block).max_parameters;
        assert_eq!(parameters(0), 186_000_000);
        assert_eq!(parameters(2_405_919), 186_000_000);
        assert_eq!(parameters(2_405_920), 772_000_000);
        assert_eq!(parameters(2_786_060), 772_000_000);
        assert_eq!(parameters(2_786_061), 6_900_000_000);
        assert_eq!(parameters(u64::MAX), 6_900_000_000);
        assert_eq!(Criteria::at_block(2_786_060).max_repository_bytes, 5 * GIB);
        assert_eq!(Criteria::at_block(2_786_061).max_repository_bytes, 15 * GIB);
    }

    #[test]
    fn since_the_large_models_gpt2_is_not_allowed() {
        let criteria = Criteria::at_block(2_786_061);
        assert_eq!(criteria.sequence_length, 4096);
        let violations = criteria.check(&largest());
        let wrong_type = |violation: &Violation| matches!(violation, Violation::ModelType { .. });
        assert!(violations.iter().any(wrong_type), "{violations:?}");
    }

    #[test]
    fn digits_are_grouped_from_the_right() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (12_345_678, "12,345,678"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
