//! Whether a resume asks for the run that is stored.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use layout::Gpt2Config;

use crate::config::RunConfig;
use crate::error::RunError;

/// One setting in which a resume contradicts the stored run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    /// The flag that asks for something else, as its help spells it.
    pub flag: &'static str,
    /// The value that the run has.
    pub stored: String,
    /// The value that was asked for.
    pub asked: String,
}

impl Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            flag,
            stored,
            asked,
        } = self;
        write!(f, "{flag}: the run has {stored}, and {asked} was asked for")
    }
}

pub(crate) fn in_words(contradictions: &[Contradiction]) -> String {
    let mut text = String::from("the stored run is another one than the flags describe:");
    for contradiction in contradictions {
        text.push_str(&format!("\n{contradiction}"));
    }
    text + "\nleave these flags out to continue it, or name a new run with --run-id"
}

impl RunConfig {
    /// The run to go on with when `asked` is what the flags of a resume describe:
    /// the stored one, with the number of epochs and the path of local data that
    /// were asked for.
    ///
    /// # Errors
    /// [`RunError::Contradicts`] if `asked` is another run.
    pub fn resumed_as(&self, asked: Self) -> Result<Self, RunError> {
        let contradictions = contradictions(self, &asked);
        if contradictions.is_empty() {
            Ok(asked)
        } else {
            Err(RunError::Contradicts(contradictions))
        }
    }
}

/// Everything in which `asked` contradicts `stored`, in the order of the flags'
/// help. Empty exactly if both have the same [identity](RunConfig::identity).
pub fn contradictions(stored: &RunConfig, asked: &RunConfig) -> Vec<Contradiction> {
    let mut found = Vec::new();
    let mut differ = |flag: &'static str, stored: String, asked: String| {
        if stored != asked {
            found.push(Contradiction {
                flag,
                stored,
                asked,
            });
        }
    };
    // Taken apart, so that no field can be added and forgotten here.
    let RunConfig {
        run_id,
        seed,
        recipe,
        model,
        init,
        bs,
        sl,
        global_batch,
        num_epochs: _,
        pages_per_epoch,
        eval_pages,
        data,
        optimizer,
        schedule,
        clip_grad_norm,
        dropout,
    } = stored;
    differ("--run-id", shown(run_id), shown(&asked.run_id));
    differ("--seed", shown(seed), shown(&asked.seed));
    differ(
        "--pages_per_epoch",
        shown(pages_per_epoch),
        shown(&asked.pages_per_epoch),
    );
    differ("--eval_pages", shown(eval_pages), shown(&asked.eval_pages));
    differ(
        "--keep-long-documents",
        shown(&data.keep_long_documents),
        shown(&asked.data.keep_long_documents),
    );
    for (field, [stored, asked]) in differing_fields(model, &asked.model) {
        let shown = |value| format!("{field} {value}");
        differ("--preset / --model_config", shown(stored), shown(asked));
    }
    differ("--load_*", shown(init), shown(&asked.init));
    differ("--dropout", shown(dropout), shown(&asked.dropout));
    differ("--sl", shown(sl), shown(&asked.sl));
    differ("--bs", shown(bs), shown(&asked.bs));
    differ(
        "--global-batch",
        shown(global_batch),
        shown(&asked.global_batch),
    );
    differ("--recipe", shown(recipe), shown(&asked.recipe));
    let (adamw, asked_adamw) = (optimizer, &asked.optimizer);
    differ("--lr", shown(&adamw.lr), shown(&asked_adamw.lr));
    differ(
        "--schedule and its steps",
        shown(schedule),
        shown(&asked.schedule),
    );
    differ("--beta1", shown(&adamw.beta1), shown(&asked_adamw.beta1));
    differ("--beta2", shown(&adamw.beta2), shown(&asked_adamw.beta2));
    differ("--eps", shown(&adamw.eps), shown(&asked_adamw.eps));
    differ(
        "--weight-decay",
        shown(&adamw.weight_decay),
        shown(&asked_adamw.weight_decay),
    );
    differ("--decay", shown(&adamw.decay), shown(&asked_adamw.decay));
    differ(
        "--clip-grad-norm",
        shown(&clip_grad_norm.unwrap_or(0.0)),
        shown(&asked.clip_grad_norm.unwrap_or(0.0)),
    );
    let dataset = |config: &RunConfig| {
        let source = config.data.source.clone().without_path();
        format!("{source}, {} rows", config.data.rows)
    };
    differ("the data set", dataset(stored), dataset(asked));
    let tokenizer = |config: &RunConfig| {
        format!(
            "{} of {} ids",
            config.data.tokenizer, config.data.vocabulary
        )
    };
    differ("the tokenizer", tokenizer(stored), tokenizer(asked));
    differ(
        "the rule of packing",
        shown(&data.packing),
        shown(&asked.data.packing),
    );
    found
}

fn shown(value: &impl Display) -> String {
    value.to_string()
}

/// The model's fields that differ, by name, as JSON shows them. Its dropout
/// probabilities are the run's, and compared there.
fn differing_fields(stored: &Gpt2Config, asked: &Gpt2Config) -> BTreeMap<String, [String; 2]> {
    let asked = Gpt2Config {
        attn_pdrop: stored.attn_pdrop,
        embd_pdrop: stored.embd_pdrop,
        resid_pdrop: stored.resid_pdrop,
        ..asked.clone()
    };
    if *stored == asked {
        return BTreeMap::new();
    }
    let fields = |model: &Gpt2Config| match serde_json::to_value(model) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let asked_fields = fields(&asked);
    fields(stored)
        .into_iter()
        .filter_map(|(name, stored)| {
            let asked = asked_fields.get(&name)?;
            (stored != *asked).then(|| (name, [stored.to_string(), asked.to_string()]))
        })
        .collect()
}
